"""MIG, DCI and SAP where the answer is known."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from triptych.errors import DataError, ShapeError
from triptych.evaluation import dci, mig, sap

N = 2000


@pytest.fixture(scope="module")
def factors():
    return np.random.default_rng(0).integers(0, 4, size=(N, 2))


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).normal(size=(N, 2))


def test_a_column_for_each_factor_is_perfect(factors, noise):
    codes = np.column_stack([3.0 * factors[:, 1], noise[:, 0], -factors[:, 0]])
    # What two independent columns of 2000 rows seem to share: (4 - 1)(20 - 1) / 2n = 0.014 nats.
    assert mig(codes, factors) == pytest.approx(1, abs=0.03)
    found = dci(codes, factors, max_rows=600)
    assert found.disentanglement == pytest.approx(1, abs=0.02)
    assert found.completeness == pytest.approx(1, abs=0.02)
    assert found.informativeness == 1
    assert found.importance.shape == (3, 2)
    np.testing.assert_allclose(found.importance.sum(0), 1)
    # Classes on a line: a support vector machine with one border a class tells the outer ones.
    assert sap(codes[:, [1, 2, 0]], factors) == sap(codes, factors)


def test_mig_is_the_gap_of_sklearns_information(factors, noise):
    codes = np.column_stack([factors[:, 0] + 0.5 * noise[:, 0], factors.sum(1) + noise[:, 1]])
    cut = [
        np.minimum(np.floor(20 * (c - c.min()) / (c.max() - c.min())), 19).astype(int)
        for c in codes.T
    ]
    gaps = []
    for v in factors.T:
        told = sorted(mutual_info_score(c, v) for c in cut)
        gaps.append((told[1] - told[0]) / mutual_info_score(v, v))
    assert mig(codes, factors) == pytest.approx(np.mean(gaps))


def test_two_columns_that_say_the_same_have_no_gap(factors):
    codes = np.column_stack([factors[:, 0], factors[:, 0]])
    assert mig(codes, factors[:, 0]) == 0
    assert sap(codes, factors[:, 0]) == 0


def test_turned_codes_are_entangled(noise):
    v = np.random.default_rng(2).normal(size=(N, 2))
    turned = v @ np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    straight = v + 0.01 * noise
    assert sap(straight, v) > 0.95  # squared correlations of 1 and about 1/n
    assert sap(turned, v) < 0.06  # both columns have one half, with errors of about 0.02
    assert mig(straight, v) > mig(turned, v) + 0.4
    told, mixed = (dci(codes, v, max_rows=500) for codes in (straight, turned))
    assert told.disentanglement > 0.9 > 0.4 > mixed.disentanglement
    assert told.completeness > 0.9 > 0.4 > mixed.completeness


def test_sap_of_numbers_is_the_gap_of_squared_correlations(noise):
    v = np.random.default_rng(2).normal(size=N)
    codes = np.column_stack([v + noise[:, 0], 0.5 * v + noise[:, 1], np.full(N, 3.0)])
    squared = sorted(np.corrcoef(c, v)[0, 1] ** 2 for c in codes.T[:2])
    assert sap(codes, v) == pytest.approx(squared[1] - squared[0])


def test_sap_of_classes_is_the_gap_of_accuracies(noise):
    v = np.arange(N) % 2
    codes = np.column_stack([v + 0.01 * noise[:, 0], noise[:, 1], np.full(N, 3.0)])
    # One column tells all, another nothing: accuracy 1 and about one half, 660 rows: ± 0.02.
    assert sap(codes, v) == pytest.approx(0.5, abs=0.08)


def test_constant_columns_know_nothing(factors):
    codes = np.column_stack([factors[:, 0], np.full(N, 1e9), np.zeros(N)])
    assert mig(codes, factors[:, 0]) == pytest.approx(1)
    found = dci(codes, factors, max_rows=300)
    assert np.isfinite([found.disentanglement, found.completeness]).all()
    assert found.importance[1:, 0].sum() == 0


def test_same_seed_same_score(factors, noise):
    codes = np.column_stack([factors + noise, noise])
    assert dci(codes, factors, max_rows=200).importance.tobytes() == (
        dci(codes, factors, max_rows=200).importance.tobytes()
    )


def test_what_has_no_answer_is_refused(factors):
    codes = factors + 0.0
    with pytest.raises(DataError, match="mig: factor 1 has one value"):
        mig(codes, np.column_stack([factors[:, 0], np.zeros(N, int)]))
    with pytest.raises(DataError, match="sap: factor 0 has one value"):
        sap(codes, np.zeros(N))
    with pytest.raises(DataError, match="a code of one column"):
        mig(codes[:, :1], factors)
    with pytest.raises(DataError, match="dci: with one factor"):
        dci(codes, factors[:, 0])
    with pytest.raises(ShapeError, match="expected factors"):
        sap(codes, factors[:-1])
