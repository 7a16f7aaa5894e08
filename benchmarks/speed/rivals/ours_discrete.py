"""triptych's plug-in of small whole numbers."""

from typing import Any

from numpy_discrete import draw

from triptych.information import entropy, mutual_information


def prepare(n: int, categories: int, dtype: str) -> dict[str, Any]:
    x, y = draw(n, categories, dtype)
    return {
        "entropy": lambda: entropy(x, estimator="plug-in").value,
        "information": lambda: mutual_information(x, y, estimator="plug-in").value,
    }
