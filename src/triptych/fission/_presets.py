"""The authors' settings of SharedPrivate, whose class methods say what they are."""

from __future__ import annotations

from typing import Any

from triptych.nn.shared_private import Form
from triptych.training.settings import Training


def domain_separation(n_components: int, agreement_by: str) -> dict[str, Any]:
    """Of domain separation networks, Bousmalis et al. 2016."""
    return {
        "n_private": n_components,
        "agreement": 0.25,
        "separation": 2 * 0.075,
        "reconstruction": 0.01,
        "agreement_by": agreement_by,
        "agreement_after": 0.05,
        "separation_by": "orthogonality",
        "reconstruction_by": "scale_invariant",
        "form": Form(
            codes="linear",
            common_map=True,
            private_encoders=True,
            shared_from="own",
            joined="added",
            reads="shared",
            withheld=0.0,
        ),
        "training": Training(
            batch_size=32, learning_rate=1e-2, optimizer="sgd", weight_decay=1e-6
        ),
    }


def misa(n_components: int, modalities: int) -> dict[str, Any]:
    """Of MISA, Hazarika et al. 2020, whose sums over pairs are means here."""
    return {
        "n_private": n_components,
        "width": n_components,
        "agreement": 1.0,
        "separation": 0.3 * (modalities + modalities * (modalities - 1) / 2),
        "reconstruction": 1.0 / modalities,
        "agreement_by": "cmd",
        "separation_by": "centred",
        "between_private": True,
        "modalities": modalities,
        "form": Form(
            codes="sigmoid",
            common_map=True,
            rebuilds="features",
            shared_from="own",
            joined="added",
            head="attention",
            dropout=0.5,
            withheld=0.0,
        ),
        "training": Training(batch_size=128, learning_rate=1e-4, weight_decay=0.0, watch="task"),
    }
