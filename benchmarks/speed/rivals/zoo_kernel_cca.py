"""Kernel CCA of cca-zoo."""

from collections.abc import Callable
from typing import Any


def prepare(**given: Any) -> dict[str, Callable[[], Any]]:
    """Piece ``fit``: (1 - c) K² / (n - 1) + c K, whose ridge beside the variance is c / (1 - c)."""
    from cca_zoo.nonparametric import KCCA
    from kernel_cca import draw

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
