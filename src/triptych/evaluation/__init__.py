"""How good a representation is: the same measures for every method, and honest baselines."""

from typing import Any

_EXPORTS = {
    "Chance": "baselines",
    "ShuffledPairs": "baselines",
    "BestSingle": "baselines",
    "ConcatPCA": "baselines",
    "baselines": "baselines",
    "COLUMNS": "columns",
    "columns": "columns",
    "evaluate": "evaluate",
    "leakage": "leakage",
    "linear_probe": "probes",
    "knn_probe": "probes",
    "reconstruct_absent": "reconstruction",
    "reconstruction_r2": "reconstruction",
    "measure": "resources",
    "retrieval": "retrieval",
    "same_partner": "retrieval",
    "missing_curve": "robustness",
}

__all__ = sorted(_EXPORTS)
