"""How good a representation is: the same measures for every method, and honest baselines."""

from typing import TYPE_CHECKING, Any

# Not lazy, so that a function is found where its module has the same name; NumPy is all it costs.
from triptych.evaluation.clustering import cluster_scores
from triptych.evaluation.columns import COLUMNS, columns
from triptych.evaluation.dependence import dependence
from triptych.evaluation.disentanglement import dci, mig, sap
from triptych.evaluation.evaluate import curve_of, evaluate, noise_of
from triptych.evaluation.geometry import alignment, modality_gap, uniformity
from triptych.evaluation.leakage import leakage
from triptych.evaluation.localisation import overlap, pointing_game
from triptych.evaluation.noise_grid import NoiseGrid, noise_grid
from triptych.evaluation.prediction import (
    calibration,
    prediction_by_absence,
    prediction_by_noise,
    prediction_score,
)
from triptych.evaluation.probes import knn_probe, linear_probe
from triptych.evaluation.reconstruction import reconstruct_absent, reconstruction_r2
from triptych.evaluation.resources import measure
from triptych.evaluation.retrieval import Partners, first_rows, retrieval, same_partner
from triptych.evaluation.robustness import (
    drop_modalities,
    missing_curve,
    noise_curve,
    noisy_modalities,
)
from triptych.evaluation.subsets import coherence, gain, reconstruct_subsets, three_settings
from triptych.evaluation.zero_shot import ZeroShotScore, zero_shot
from triptych.lazy import attribute

if TYPE_CHECKING:
    from triptych.evaluation.baselines import (
        BestSingle,
        Chance,
        ConcatPCA,
        ShuffledPairs,
        default_baselines,
    )

# Their base class loads scikit-learn.
_EXPORTS = {
    "BestSingle": "baselines",
    "Chance": "baselines",
    "ConcatPCA": "baselines",
    "ShuffledPairs": "baselines",
    "default_baselines": "baselines",
}

__all__ = [
    "COLUMNS",
    "BestSingle",
    "Chance",
    "ConcatPCA",
    "NoiseGrid",
    "Partners",
    "ShuffledPairs",
    "ZeroShotScore",
    "alignment",
    "calibration",
    "cluster_scores",
    "coherence",
    "columns",
    "curve_of",
    "dci",
    "default_baselines",
    "dependence",
    "drop_modalities",
    "evaluate",
    "first_rows",
    "gain",
    "knn_probe",
    "leakage",
    "linear_probe",
    "measure",
    "mig",
    "missing_curve",
    "modality_gap",
    "noise_curve",
    "noise_grid",
    "noise_of",
    "noisy_modalities",
    "overlap",
    "pointing_game",
    "prediction_by_absence",
    "prediction_by_noise",
    "prediction_score",
    "reconstruct_absent",
    "reconstruct_subsets",
    "reconstruction_r2",
    "retrieval",
    "same_partner",
    "sap",
    "three_settings",
    "uniformity",
    "zero_shot",
]


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
