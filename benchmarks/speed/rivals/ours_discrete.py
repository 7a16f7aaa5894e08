"""triptych's plug-in of small whole numbers."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from numpy_discrete import draw

from triptych.information import entropy, mutual_information


def prepare(n: int, categories: int, dtype: str) -> dict[str, Any]:
    x, y = draw(n, categories, dtype)
    return {
        "entropy": lambda: entropy(x, estimator="plug-in").value,
        "information": lambda: mutual_information(x, y, estimator="plug-in").value,
    }
