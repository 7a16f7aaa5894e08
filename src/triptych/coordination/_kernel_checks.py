"""What a kernel matrix must be, of a user's or of ours: square, finite, symmetric, positive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DataError, ShapeError
from triptych.modalities import Modalities

Array = NDArray[np.float64]

# As shares of the largest entry and of the trace; kernels are often stored in single precision.
ASYMMETRY = 1e-5
NEGATIVE = 1e-7


def check_square(name: str, X: Modalities) -> None:
    """Refuse a precomputed kernel that does not have one column for each row."""
    kind = X.kind(name)
    if kind.form == "vector" and kind.shape == (len(X),):
        return
    shape = (len(X), *kind.shape)
    raise ShapeError(
        f"modality {name!r}: a precomputed kernel is square, each row with each row; got {shape}. "
        "Where rows were taken, as a cross-validated search does, the same columns must be: give "
        "the rows themselves and name the kernel."
    )


def require_finite(name: str, K: NDArray[Any]) -> None:
    """Refuse NaN and infinity in what a kernel gave."""
    if not np.isfinite(K).all():
        raise DataError(
            f"modality {name!r}: the kernel overflows or is not a number. Scale the columns, or "
            "give the kernel a larger width or a smaller gamma or degree."
        )


def make_symmetric(name: str, K: Array) -> None:
    """Refuse a kernel that is not symmetric to rounding in single precision; make it exactly so.

    Args:
        name: The modality.
        K: Shape (n, n); written into.
    """
    require_finite(name, K)
    gap = np.abs(K - K.T)
    if gap.max() > ASYMMETRY * np.abs(K).max():
        i, j = np.unravel_index(int(gap.argmax()), K.shape)
        raise DataError(
            f"modality {name!r}: a kernel is symmetric; got {K[i, j]:g} for rows {i} and {j} and "
            f"{K[j, i]:g} the other way round."
        )
    K += K.T.copy()
    K /= 2


def require_psd(name: str, K: Array) -> None:
    """Refuse a kernel with an eigenvalue that is negative beyond rounding in single precision.

    Args:
        name: The modality.
        K: Symmetric, shape (n, n).
    """
    shifted = K.copy()
    shifted[np.diag_indices(len(K))] += NEGATIVE * max(abs(float(K.trace())), 1e-300)
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(K)
        raise DataError(
            f"modality {name!r}: the kernel is not positive semi-definite; its smallest "
            f"eigenvalue is {values[0]:.3g}, its largest {values[-1]:.3g}."
        ) from None
