"""The deep rows of noisy two-view MNIST, by the protocol and the queue of noisy_mnist.py.

    python benchmarks/papers/noisy_mnist_deep.py run [--only METHOD] [--seconds S] [--seed N]
    python benchmarks/papers/noisy_mnist_deep.py table

Networks as in the paper in size, three hidden layers of 1,024 units and a linear one, decoders
alike; with layer norm and GELU instead of sigmoids and layer-wise pretraining, AdamW instead of
SGD with momentum, and a fixed number of epochs instead of early stopping. Pictures are centred and
scaled as a whole, not by pixel: a pixel that is nearly always black would become noise.
"""

from collections.abc import Mapping
from typing import Any

import noisy_mnist as protocol
import numpy as np

from triptych import Modalities, Training
from triptych.coordination import DCCAE, ContrastivePairs, CorrAE, DeepCCA, DistAE, SplitAE
from triptych.nn.recipes import MLP, VectorDecoder

VIEWS = ("turned", "noisy")
# The paper's long version; contrastive from Wang et al. 2016 (VCCA), which gives the error alone.
PUBLISHED = {
    "DeepCCA": (2.9, 97.0, 92.0),
    "DCCAE": (2.2, 97.5, 93.4),
    "ContrastivePairs": (2.7, np.nan, np.nan),
    "SplitAE": (11.9, 64.0, 69.0),
    "CorrAE": (12.9, 65.5, 67.2),
    "DistAE-1": (16.0, 53.5, 60.2),
    "DistAE-2": (15.2, 62.6, 65.6),
}
CLASSES: dict[str, tuple[type, dict[str, Any]]] = {
    "DeepCCA": (DeepCCA, {}),
    "DCCAE": (DCCAE, {"reconstruction_batch_size": 100}),
    "ContrastivePairs": (ContrastivePairs, {}),
    "SplitAE": (SplitAE, {"sources": ["turned"]}),
    "CorrAE": (CorrAE, {"reconstruction_batch_size": 100}),
    "DistAE-1": (DistAE, {"form": "relative"}),
    "DistAE-2": (DistAE, {"form": "affine"}),
}


def pictures(values: Mapping[str, np.ndarray]) -> Modalities:
    """The views as pictures (n, 1, 28, 28)."""
    return Modalities({name: v.reshape(-1, 1, 28, 28) for name, v in values.items()})


class Flat:
    """A fitted method that takes the views as rows of pixels, as the queue gives them."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.correlations_ = getattr(model, "correlations_", np.empty(0))

    def transform(self, values: Mapping[str, np.ndarray]) -> Any:
        """Codes of the views given."""
        return self.model.transform(pictures(values))


def deep(name: str) -> Any:
    """What fits a method of this name with settings."""
    method, fixed = CLASSES[name]

    def fit(X: Modalities, settings: Mapping[str, Any], seed: int) -> Flat:
        asked = ("reconstruction", "reconstruction_batch_size", "margin")
        more = {**fixed, **{k: settings[k] for k in asked if k in settings}}
        decoders = {v: VectorDecoder(width=1024, depth=3) for v in VIEWS}
        if name not in ("DeepCCA", "ContrastivePairs"):
            more["decoders"] = decoders
        seen = CLASSES[name][1].get("sources", VIEWS)
        model = method(
            settings["width"],
            **more,
            encoders={
                v: MLP(width=1024, depth=3, dropout=settings.get("dropout", 0.0)) for v in seen
            },
            training=Training(
                epochs=settings["epochs"],
                batch_size=settings["batch"],
                learning_rate=settings.get("rate", 1e-3),
                weight_decay=settings.get("decay", 1e-2),
            ),
            random_state=seed,
        )
        return Flat(model.fit(pictures({v: np.asarray(X[v]) for v in VIEWS})))

    return fit


protocol.METHODS = {name: deep(name) for name in CLASSES}
protocol.PUBLISHED = PUBLISHED
protocol.SETTINGS = {
    "DeepCCA": [{"width": 10, "epochs": 20, "batch": 1000}],
    "DCCAE": [
        {"width": 10, "epochs": 20, "batch": 1000, "reconstruction": r} for r in (1e-2, 1e-3)
    ],
    "ContrastivePairs": [{"width": 10, "epochs": 20, "batch": 256, "margin": 1.0}],
    "SplitAE": [{"width": 10, "epochs": 12, "batch": 200}],
    "CorrAE": [
        *(
            {"width": 10, "epochs": 12, "batch": 1000, "reconstruction": r}
            for r in (1.0, 10.0, 100.0)
        ),
        # Correlations unit by unit need no large batch, and small ones make five times the steps.
        *(
            {
                "width": 10,
                "epochs": 12,
                "batch": 200,
                "reconstruction": r,
                "reconstruction_batch_size": None,
            }
            for r in (1.0, 10.0, 100.0)
        ),
    ],
    "DistAE-1": [{"width": 20, "epochs": 12, "batch": 200, "reconstruction": 1.0}],
    "DistAE-2": [{"width": 10, "epochs": 12, "batch": 200, "reconstruction": 1.0}],
}
protocol.FINAL = {name: {} for name in CLASSES}

if __name__ == "__main__":
    protocol.main()
