"""Coordination: where does each modality lie in comparable spaces?

One line per method: its public name and the file that defines it.
"""

from __future__ import annotations

from typing import Any

from triptych.lazy import attribute

_EXPORTS = {
    "BarlowTwins": "barlow_twins",
    "CCA": "cca",
    "CLIP": "clip",
    "ContrastivePairs": "contrastive_pairs",
    "CorrAE": "corr_ae",
    "DCCAE": "dccae",
    "DeepCCA": "deep_cca",
    "DistAE": "dist_ae",
    "GCCA": "gcca",
    "GatedCoordination": "gated_coordination",
    "KernelCCA": "kernel_cca",
    "MCCA": "mcca",
    "ProbabilisticCCA": "probabilistic_cca",
    "SigLIP": "siglip",
    "SimilarityAlignment": "similarity_alignment",
    "SplitAE": "split_ae",
    "Triplet": "triplet",
    "VICReg": "vicreg",
    "VSE": "vse",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
