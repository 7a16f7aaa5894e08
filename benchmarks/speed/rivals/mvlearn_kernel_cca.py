"""Kernel CCA of mvlearn: KMCCA with all singular values kept."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def prepare(**given: Any) -> dict[str, Callable[[], Any]]:
    """Piece ``fit``: (1 - r) K² + r K, with r where the ridge beside the variance is ours."""
    from mvlearn.embed import KMCCA

    sys.path.insert(0, str(Path(__file__).parent))
    from kernel_rows import draw

    X = list(draw(given["n"], given["p"], given["dtype"]).values())
    weight = given["ridge"] * (given["n"] - 1)
    gamma = 1 / (2 * given["width"] ** 2)

    def fit() -> list[float]:
        model = KMCCA(
            n_components=given["d"],
            kernel="rbf",
            kernel_params={"gamma": gamma},
            regs=weight / (1 + weight),
            sval_thresh=0,
        )
        found: list[float] = (model.fit(X).evals_ - 1).tolist()
        return found

    return {"fit": fit}
