"""Nyström features of scikit-learn, then ridge CCA of cca-zoo."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def prepare(**given: Any) -> dict[str, Callable[[], Any]]:
    """Piece ``fit``."""
    from cca_zoo.linear import RidgeCCA
    from sklearn.kernel_approximation import Nystroem

    sys.path.insert(0, str(Path(__file__).parent))
    from kernel_rows import draw

    X = list(draw(given["n"], given["p"], given["dtype"]).values())
    gamma = 1 / (2 * given["width"] ** 2)

    def fit() -> None:
        maps = [Nystroem(gamma=gamma, n_components=given["features"], random_state=0) for _ in X]
        Z = [one.fit_transform(v) for one, v in zip(maps, X, strict=True)]
        RidgeCCA(given["d"], shrinkage=given["ridge"]).fit(Z)

    return {"fit": fit}
