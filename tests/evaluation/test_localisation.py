"""The pointing game and overlap on maps made by hand."""

import numpy as np
import pytest

from triptych.errors import DataError, ShapeError
from triptych.evaluation import overlap, pointing_game


def thing(rows, columns, side=8):
    mask = np.zeros((side, side), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_the_largest_value_must_lie_on_the_thing():
    maps = np.zeros((4, 8, 8))
    maps[0, 2, 2] = maps[1, 7, 7] = maps[2, 0, 5] = maps[3, 3, 3] = 1
    things = np.stack([thing(slice(0, 4), slice(0, 4))] * 4)
    found = pointing_game(maps, things)
    assert (found.value, found.chance, found.n) == (0.5, 0.25, 4)


def test_a_coarse_cell_points_with_its_centre():
    maps = np.zeros((2, 2, 2))
    maps[:, 0, 1] = 1  # rows 0 to 3, columns 4 to 7: its centre is (2, 6)
    things = np.stack([thing(2, 6), thing(1, 5)])
    assert pointing_game(maps, things).value == 0.5


def test_a_constant_map_does_as_well_as_chance():
    things = np.stack([thing(slice(0, 2), slice(None)), thing(slice(0, 4), slice(0, 4))])
    found = pointing_game(np.zeros((2, 8, 8)), things)
    assert found.value == found.chance == 0.25


def test_overlap_is_intersection_over_union():
    maps = np.zeros((3, 8, 8))
    maps[0, :4, :4] = 0.9
    maps[0, 7, 7] = 0.3  # below half of the way
    maps[1, :4, :] = -1.0
    maps[1, :4, :4] = 5.0
    things = np.stack(
        [thing(slice(0, 4), slice(0, 4)), thing(slice(0, 4), slice(0, 8)), thing(0, 0)]
    )
    found = overlap(maps, things)
    np.testing.assert_allclose(found.each, [1, 0.5, 0])  # the last map is constant
    assert found.mean == pytest.approx(0.5)
    assert found.success == pytest.approx(1 / 3)  # one half is not exceeded
    # Above 20, 10 and 0 of the 20 thresholds 0, 0.05, ..., 0.95.
    assert found.auc == pytest.approx((20 + 10 + 0) / 60)


def test_overlap_repeats_coarse_maps():
    maps = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    assert overlap(maps, thing(slice(0, 4), slice(0, 4))[None]).mean == 1
    assert overlap(maps[:, 0], np.array([[True, True, False, False]])).mean == 1
    assert overlap(maps, thing(slice(0, 4), slice(0, 4))[None], threshold=0).mean == 0.25


def test_what_cannot_be_judged_is_named():
    things = np.stack([thing(0, 0), thing(1, 1)])
    with pytest.raises(DataError, match="in row 1 there is no thing"):
        pointing_game(np.zeros((2, 8, 8)), np.stack([things[0], np.zeros((8, 8), bool)]))
    with pytest.raises(DataError, match="in row 0 the map is not finite"):
        pointing_game(np.full((2, 8, 8), np.nan), things)
    with pytest.raises(DataError, match="masks of booleans"):
        overlap(np.zeros((2, 8, 8)), things.astype(float))
    with pytest.raises(ShapeError, match="multiple"):
        overlap(np.zeros((2, 3, 8)), things)
    with pytest.raises(ShapeError, match="at least as fine"):
        pointing_game(np.zeros((2, 16, 16)), things)
