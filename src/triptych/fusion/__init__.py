"""Fusion: what is the one code of this sample?

One line per method: its public name and the file that defines it.
"""

from __future__ import annotations

from typing import Any

from triptych.lazy import attribute

_EXPORTS = {
    "AttentionFusion": "attention_fusion",
    "ConcatFusion": "concat_fusion",
    "GatedFusion": "gated_fusion",
    "EarlyFusion": "early_fusion",
    "IntactSpace": "intact_space",
    "LateFusion": "late_fusion",
    "LowRankFusion": "low_rank_fusion",
    "MultimodalAutoencoder": "multimodal_autoencoder",
    "MultimodalVAE": "multimodal_vae",
    "MultiplicativeFusion": "multiplicative_fusion",
    "MutualDependencyFusion": "mutual_dependency_fusion",
    "NestedAutoencoder": "nested_autoencoder",
    "TensorFusion": "tensor_fusion",
    "VCCA": "vcca",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
