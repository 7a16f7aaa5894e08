"""Labels as users give them."""

import numpy as np
import pytest

from triptych.arrays import as_labels
from triptych.errors import DataError, ShapeError


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (np.array(["a", "b"], dtype=object), "U"),
        (np.array([1, 2], dtype=object), "i"),
        (np.array([1.5, 2], dtype=object), "f"),
        ([True, False], "b"),
    ],
)
def test_objects_become_what_they_are(y, kind):
    assert as_labels(y, 2).dtype.kind == kind


@pytest.mark.parametrize(
    ("y", "error", "said"),
    [
        (np.array([1, "a"], dtype=object), DataError, "a number at row 0 and a string at row 1"),
        (np.array([1.0, np.nan], dtype=object), DataError, "nan at row 1"),
        (np.array([1, None], dtype=object), DataError, "None at row 1"),
        ([[1], [1, 2]], ShapeError, "unlike in length"),
        (np.zeros((2, 0)), ShapeError, r"\(2, 0\)"),
        (np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]"), DataError, "datetime64"),
        (np.array([1j, 2j]), DataError, "complex128"),
        (np.array([object(), 1], dtype=object), DataError, "object at row 0"),
    ],
)
def test_labels_that_are_none_are_refused(y, error, said):
    with pytest.raises(error, match=said):
        as_labels(y, 2)
