"""Tests by theory, against published figures and the cases that have a closed form."""

import numpy as np
import pytest
from scipy import stats

from triptych.canonical import bartlett, rao_f, wilks
from triptych.errors import DataError, ParameterError, ShapeError


def test_published_figures():
    # Psychological and academic measures of 600 students, 3 and 5 columns: UCLA's analysis with
    # the R packages CCA and CCP prints these.
    found = rao_f([0.4640861, 0.1675092, 0.1039911], 600, 3, 5)
    np.testing.assert_allclose(found.wilks, [0.7543611, 0.9614300, 0.9891858], atol=5e-8)
    np.testing.assert_allclose(found.statistic, [11.715733, 2.944459, 2.164612], atol=5e-6)
    np.testing.assert_array_equal(found.df1, [15, 8, 3])
    np.testing.assert_allclose(found.df2, [1634.653, 1186, 594], atol=5e-4)
    np.testing.assert_allclose(found.p_values, [7.498e-28, 2.905e-3, 9.109e-2], rtol=1e-3)
    assert found.n_significant() == 2
    assert found.n_significant(0.1) == 3


def test_one_column_is_the_f_test_of_regression():
    n, q, r = 40, 6, 0.55
    found = rao_f([r], n, 1, q)
    F = r**2 / q / ((1 - r**2) / (n - q - 1))
    np.testing.assert_allclose(found.statistic, F, rtol=1e-12)
    np.testing.assert_allclose(found.p_values, stats.f.sf(F, q, n - q - 1), rtol=1e-10)


def test_two_columns_are_exact():
    # Anderson 2003, section 8.4: with p = 2, (1 - sqrt(L)) / sqrt(L) (n - q - 2) / q is F with
    # 2 q and 2 (n - q - 2) degrees of freedom.
    n, q, rho = 25, 4, np.array([0.7, 0.3])
    root = np.sqrt(np.prod(1 - rho**2))
    F = (1 - root) / root * (n - q - 2) / q
    found = rao_f(rho, n, 2, q)
    np.testing.assert_allclose(found.statistic[0], F, rtol=1e-12)
    np.testing.assert_allclose(found.p_values[0], stats.f.sf(F, 2 * q, 2 * (n - q - 2)))


def test_bartlett_and_lawley_written_out():
    rho, n, p, q = np.array([0.9, 0.5, 0.2]), 30, 3, 5
    plain, better = bartlett(rho, n, p, q), bartlett(rho, n, p, q, lawley=True)
    for k in range(3):
        log = sum(np.log(1 - r**2) for r in rho[k:])
        df = (p - k) * (q - k)
        chi = -(n - 1 - (p + q + 1) / 2) * log
        lawley = -(n - k - (p + q + 3) / 2 + sum(r**-2 for r in rho[:k])) * log
        assert plain.statistic[k] == pytest.approx(chi, rel=1e-12)
        assert better.statistic[k] == pytest.approx(lawley, rel=1e-12)
        assert plain.p_values[k] == pytest.approx(stats.chi2.sf(chi, df), rel=1e-10)
        assert better.p_values[k] == pytest.approx(stats.chi2.sf(lawley, df), rel=1e-10)
    assert better.p_values[0] == plain.p_values[0]


def test_all_agree_on_many_rows():
    rho, n = [0.1, 0.05, 0.03], 5000
    p = [f(rho, n, 3, 4).p_values for f in (rao_f, bartlett)]
    np.testing.assert_allclose(*p, rtol=1e-3)  # they differ by terms in 1 / n²


@pytest.mark.parametrize("rho", [[1.0, 1.0, 0.5], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0, 0]])
def test_the_ends_of_the_range_give_no_nan(rho):
    for found in (
        rao_f(rho, 20, 3, 3),
        bartlett(rho, 20, 3, 3),
        bartlett(rho, 20, 3, 3, lawley=True),
    ):
        assert not np.isnan(found.statistic).any()
        assert ((found.p_values >= 0) & (found.p_values <= 1)).all()
        assert (found.p_values[np.array(rho) == 1] == 0).all()
        if rho[0] == 0:
            np.testing.assert_array_equal(found.p_values, 1)


def test_wilks_is_the_product():
    np.testing.assert_allclose(wilks([0.8, 0.6]), [0.36 * 0.64, 0.64])


def test_rows_too_few_and_correlations_too_few_are_said():
    with pytest.raises(DataError, match=r"rank 5 and 5 needs more rows than 8"):
        rao_f([0.9] * 5, 8, 5, 5)
    with pytest.raises(DataError, match=r"more than \(p \+ q \+ 3\) / 2 = 6.5 rows.*got 6"):
        bartlett([0.5] * 5, 6, 5, 5)
    with pytest.raises(ShapeError, match=r"all min\(p, q\) = 3 of them.*got 2"):
        rao_f([0.9, 0.5], 50, 3, 4)
    with pytest.raises(ParameterError, match=r"falling numbers in \[0, 1\]"):
        wilks([0.5, 0.9])
    with pytest.raises(ParameterError, match=r"falling numbers in \[0, 1\]"):
        wilks([np.nan])
    with pytest.raises(ParameterError, match="alpha"):
        rao_f([0.5], 50, 1, 4).n_significant(2)
