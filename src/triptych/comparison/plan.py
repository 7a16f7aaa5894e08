"""Which methods are compared, with which parameters, and which baselines beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych import catalog
from triptych.contracts.method import Method
from triptych.errors import ParameterError
from triptych.evaluation.baselines import default_baselines

# What a method needs on data of any kind: without ridge, CCA of pictures and words finds
# correlations of 1 in the training rows and nothing else.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    name: {"ridge": 1.0} for name in ("CCA", "GCCA", "MCCA", "ProbabilisticCCA")
}

EXAMPLES = {"training": "{'epochs': 8}", "params": "{'CCA': {'ridge': 0.1}}"}

Wanted = str | Method | type[Method]


@dataclass(frozen=True)
class Job:
    """A method with its parameters, to be run once per seed.

    Args:
        name: How it is called in the table.
        panel: Its panel, or ``"baseline"``.
        model: Unfitted.
    """

    name: str
    panel: str
    model: Any

    def seeded(self, seed: int) -> Any:
        """A fresh unfitted copy with this seed."""
        from sklearn.base import clone

        model = clone(self.model)
        own = {k for k in model.get_params() if k.rpartition("__")[2] == "random_state"}
        return model.set_params(**dict.fromkeys(own, seed))

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as plain values."""
        found = self.model.get_params(deep=False)
        return {name: plain(value) for name, value in found.items() if name != "random_state"}


def jobs(
    methods: Mapping[str, Wanted] | Sequence[Wanted] | None,
    training: Mapping[str, Any],
    params: Mapping[str, Mapping[str, Any]],
    n_modalities: int,
) -> list[Job]:
    """What is to be run, baselines last; refuses unknown names and parameters.

    Args:
        methods: Names of the catalogue, classes or unfitted methods, by name if a mapping; all
            of the catalogue when ``None``.
        training: Parts of :class:`~triptych.training.settings.Training` for methods that have it.
        params: Parameters by name of a method.
        n_modalities: Modalities of the data.
    """
    if isinstance(methods, str):
        raise ParameterError(f"methods: expected a list, got {methods!r}; write [{methods!r}].")
    for what, parts in (("training", training), ("params", params)):
        if not isinstance(parts, Mapping):
            raise ParameterError(
                f"{what}: expected a mapping from names to values, for instance "
                f"{EXAMPLES[what]}, got {type(parts).__name__}. What it does not name keeps each "
                "method's own value."
            )
    chosen: Iterable[tuple[str | None, Wanted]]
    if methods is None:
        chosen = [(None, cls) for cls in catalog.methods().values()]
    elif isinstance(methods, Mapping):
        chosen = methods.items()
    else:
        chosen = [(None, wanted) for wanted in methods]
    out: dict[str, Job] = {}
    for given, wanted in chosen:
        cls = catalog.find(wanted) if isinstance(wanted, str) else wanted
        model: Any = cls() if isinstance(cls, type) else cls
        name = base = given or type(model).__name__
        for i in range(2, 1000):
            if name not in out:
                break
            name = f"{base} {i}"
        out[name] = Job(name, model.panel, _prepared(model, cls is not model, training))
    lost = [name for name in params if name not in {job.name for job in out.values()}]
    if lost:
        raise ParameterError(f"params: no method {lost[0]!r} is compared; there are {list(out)}.")
    for name, values in params.items():
        out[name].model.set_params(**values)
    return [*out.values(), *_baselines(out, n_modalities)]


def _prepared(model: Any, ours: bool, training: Mapping[str, Any]) -> Any:
    """A copy with the defaults of a comparison where the user has not chosen."""
    from sklearn.base import clone

    copy = clone(model)
    if ours:
        copy.set_params(**DEFAULTS.get(type(copy).__name__, {}))
    if training and "training" in copy.get_params(deep=False):
        copy.set_params(**{f"training__{name}": value for name, value in training.items()})
    return copy


def _baselines(chosen: Mapping[str, Job], n_modalities: int) -> list[Job]:
    # Pairs are shuffled for a linear method: cheap, and sensitive to the pairing.
    inner, linear = None, "CCA" if n_modalities == 2 else "MCCA"
    if n_modalities >= 2:
        own = [job.model for job in chosen.values() if type(job.model).__name__ == linear]
        inner = own[0] if own else _prepared(catalog.find(linear)(), True, {})
    out = []
    for name, model in default_baselines(method=inner).items():
        inside = name == "shuffled pairs" and inner is not None
        out.append(Job(f"{name} ({type(inner).__name__})" if inside else name, "baseline", model))
    return [job for job in out if inner is not None or not job.name.startswith("shuffled")]


def plain(value: Any) -> Any:
    """JSON values for a parameter, to show and to tell runs apart."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "get_params"):
        inner = {k: plain(v) for k, v in value.get_params(deep=False).items()}
        return {"method": type(value).__name__, **inner}
    return getattr(value, "__qualname__", type(value).__qualname__)
