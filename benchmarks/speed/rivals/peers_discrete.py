"""scikit-learn, infomeasure and dit on the same columns, each as its documentation has it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from numpy_discrete import draw


def prepare(peer: str, n: int, categories: int, dtype: str) -> dict[str, Any]:
    x, y = draw(n, categories, dtype)
    if peer == "scikit-learn":
        from sklearn.metrics import mutual_info_score
        from sklearn.metrics.cluster import entropy

        return {
            "entropy": lambda: float(entropy(x)),
            "information": lambda: float(mutual_info_score(x, y)),
        }
    if peer == "infomeasure":
        import infomeasure

        return {
            "entropy": lambda: float(infomeasure.entropy(x, approach="discrete")),
            "information": lambda: float(
                infomeasure.mutual_information(x, y, approach="discrete")
            ),
        }
    import dit

    def of(*columns: Any) -> float:
        d = dit.inference.distribution_from_data(np.stack(columns, axis=1), 1)
        names = [[i] for i in range(len(columns))]
        bits = (
            dit.shannon.entropy(d)
            if len(columns) == 1
            else dit.multivariate.coinformation(d, names)
        )
        return float(bits * np.log(2))

    return {"entropy": lambda: of(x), "information": lambda: of(x, y)}
