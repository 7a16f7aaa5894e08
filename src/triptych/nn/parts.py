"""Modules by modality name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn


class Parts(nn.Module):
    """Modules by name, where a name may be anything a modality is called (``"type"``, ``"a.b"``).

    Args:
        modules: By modality; kept in alphabetical order, so that the order given changes nothing.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(sorted(modules))
        self.held = nn.ModuleDict({_key(name): modules[name] for name in self.names})

    def __getitem__(self, name: str) -> nn.Module:
        return self.held[_key(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def _key(name: str) -> str:
    # torch refuses dots and names of its own attributes as keys.
    return "of_" + name.replace("%", "%25").replace(".", "%2E")
