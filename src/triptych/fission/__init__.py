"""Fission: which parts are shared, private, clustered?

One line per method: its public name and the file that defines it.
"""

from __future__ import annotations

from typing import Any

from triptych.lazy import attribute

_EXPORTS = {
    "MFM": "mfm",
    "DeepMultimodalClustering": "deep_multimodal_clustering",
    "MultiviewInformationBottleneck": "multiview_information_bottleneck",
    "SelfSupervisedMultiview": "self_supervised_multiview",
    "SharedPrivate": "shared_private",
    "VCCAPrivate": "vcca_private",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
