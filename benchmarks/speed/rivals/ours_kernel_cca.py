"""Kernel CCA: ours, and the matrix products that no method can avoid."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from triptych.coordination import KernelCCA
from triptych.similarity import Kernel

BLOCK = 4096


def prepare(**given: Any) -> dict[str, Callable[[], Any]]:
    """Pieces ``fit`` and ``limit`` of one kind: exact, fourier or nystroem."""
    sys.path.insert(0, str(Path(__file__).parent))
    from kernel_rows import draw

    X = draw(given["n"], given["p"], given["dtype"])
    kind, d, M, width = given["kind"], given["d"], given.get("features", 0), given["width"]

    def fit() -> list[float]:
        model = KernelCCA(
            d,
            kernel=Kernel("rbf", width=width),
            ridge=given["ridge"],
            approximation=kind,
            n_features=max(M, 1),
            random_state=0,
        )
        found: list[float] = model.fit(X).correlations_.tolist()
        return found

    rng = np.random.default_rng(0)
    W = {name: rng.normal(size=(v.shape[1], M)).astype(v.dtype) for name, v in X.items()}

    def exact_limit() -> None:
        A, B = X.values()
        Ka, Kb = A @ A.T, B @ B.T
        Ka @ Kb

    def features_limit() -> None:
        # Features are one product of the rows; then the three products of moments.
        for start in range(0, given["n"], BLOCK):
            Z = [v[start : start + BLOCK] @ W[name] for name, v in X.items()]
            Z[0].T @ Z[0], Z[1].T @ Z[1], Z[0].T @ Z[1]

    return {"fit": fit, "limit": exact_limit if kind == "exact" else features_limit}
