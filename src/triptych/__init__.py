"""Representations of multimodal data: one code, comparable codes, or shared and private parts.

``import triptych`` is cheap: what stands below is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.lazy import attribute

if TYPE_CHECKING:
    from triptych import coordination as coordination
    from triptych import datasets as datasets
    from triptych import errors as errors
    from triptych import evaluation as evaluation
    from triptych import fission as fission
    from triptych import fusion as fusion
    from triptych import information as information
    from triptych import losses as losses
    from triptych import noise as noise
    from triptych import report as report
    from triptych import retrieval as retrieval
    from triptych import similarity as similarity
    from triptych import testing as testing
    from triptych.catalog import load as load
    from triptych.comparison import compare as compare
    from triptych.dataset import Dataset as Dataset
    from triptych.modalities import Modalities as Modalities
    from triptych.training.settings import Training as Training

__version__ = "0.1.0"

_EXPORTS = {
    "Dataset": "dataset",
    "Modalities": "modalities",
    "Training": "training.settings",
    "compare": "comparison",
    "coordination": "coordination",
    "datasets": "datasets",
    "errors": "errors",
    "evaluation": "evaluation",
    "fission": "fission",
    "fusion": "fusion",
    "information": "information",
    "load": "catalog",
    "losses": "losses",
    "noise": "noise",
    "report": "report",
    "retrieval": "retrieval",
    "similarity": "similarity",
    "testing": "testing",
}

__all__ = [*_EXPORTS, "__version__"]


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
