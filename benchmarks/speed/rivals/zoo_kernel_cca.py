"""Kernel CCA of cca-zoo."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def prepare(**given: Any) -> dict[str, Callable[[], Any]]:
    """Piece ``fit``: (1 - c) K² / (n - 1) + c K, so that our ridge is c / (1 - c)."""
    from cca_zoo.nonparametric import KCCA

    sys.path.insert(0, str(Path(__file__).parent))
    from kernel_rows import draw

    X = list(draw(given["n"], given["p"], given["dtype"]).values())
    share = given["ridge"] / (1 + given["ridge"])

    def fit() -> None:
        KCCA(
            n_components=given["d"],
            kernel="rbf",
            gamma=1 / (2 * given["width"] ** 2),
            shrinkage=share,
        ).fit(X)

    return {"fit": fit}
