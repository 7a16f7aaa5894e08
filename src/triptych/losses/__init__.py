"""Losses and similarities: pure functions on tensors.

One line per name: the file that defines it. What is here is imported when first used.
"""

from __future__ import annotations

from typing import Any

from triptych.lazy import attribute

_EXPORTS = {
    "alignment": "contrastive",
    "barlow_twins": "redundancy",
    "centred_cosine": "similarity",
    "cmd": "divergence",
    "contrastive_pairs": "pairs",
    "cosine": "similarity",
    "decorrelation": "divergence",
    "domain_adversarial": "adversarial",
    "exponential": "similarity",
    "frobenius": "divergence",
    "gaussian_kl": "variational",
    "hinge": "pairs",
    "hsic": "divergence",
    "info_nce": "contrastive",
    "inverse_prediction": "multiview",
    "laplacian": "similarity",
    "linear": "similarity",
    "mmd": "divergence",
    "match_hinge": "clustering",
    "orthogonality": "divergence",
    "pair_scores": "clustering",
    "pairwise": "similarity",
    "polynomial": "similarity",
    "product_of_experts": "variational",
    "rbf": "similarity",
    "reverse_gradient": "adversarial",
    "sample_orthogonality": "divergence",
    "scale_invariant_mse": "divergence",
    "residual_entropy": "multiview",
    "sigmoid": "pairs",
    "similarity": "similarity",
    "symmetric_kl": "multiview",
    "triplet": "pairs",
    "uniformity": "contrastive",
    "unrolled_clusters": "clustering",
    "vicreg": "redundancy",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
