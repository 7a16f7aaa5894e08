"""Information by copulas: the margins may have any shape, the dependence is normal or Student.

Every column is replaced by the quantiles of its ranks, which leaves information as it is. What
remains is fitted with a normal distribution, or with Student's t, whose columns go to extremes
together. When to use them: dependence that rises or falls steadily, in any number of dimensions
well below n. When not: dependence that bends back (circles, waves, spirals), of which they see
only the straight part; a test of the fit says so in the warnings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar
from scipy.special import digamma, gammaln, ndtri, stdtrit

from triptych.contracts.estimate import Estimate
from triptych.errors import DataError
from triptych.information._normal import fit, log_bias, of_normal_pair
from triptych.information._samples import (
    as_sample,
    check_paired,
    from_error,
    nothing_to_tell,
    on_one_scale,
    share_of_ties,
)

Floats = NDArray[np.float64]

ROWS = 10_000  # on which the test of the fit rests: what so many rows cannot show is small
DIRECTIONS = 8  # of each side that the test of the fit looks at
DEGREES = (0.3, 200.0)  # of freedom; above, Student's copula is the normal one
ROUNDS = 20  # of the fixed-point iteration for the matrix of Student's copula
TIES = 0.05  # share of tied values from which on ranks say too little

BENT = (
    "The dependence is not that of the copula (distances from the centre or mixed moments differ "
    "by more than chance): the estimate sees only part of it."
)


class Misfit(NamedTuple):
    """How far data are from a copula; each number over what chance allows.

    Args:
        radius: Largest gap between the distribution of distances from the centre and the model's.
        moments: Largest third or fourth mixed moment between the sides.
    """

    radius: float
    moments: float

    @property
    def found(self) -> bool:
        """Whether the data contradict the copula."""
        return self.radius > 1 or self.moments > 1


def gaussian(x: ArrayLike, y: ArrayLike, *, names: tuple[str, str] = ("x", "y")) -> Estimate:
    """Mutual information of a normal copula: the normal formula on normal scores of the ranks.

    Unchanged by any rising map of any column. Without bias where the copula is normal; where it
    is not, a test of the fit most often says so, and the estimate is most often too low.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q), n > p + q + 1.
        names: For messages.

    Returns:
        In nats, not clipped at 0.

    References:
        Ince et al. 2017, Human Brain Mapping 38, 1541-1573 (the normal copula).
    """
    prepared = ranks(x, y, names, "copula")
    if isinstance(prepared, Estimate):
        return prepared
    u, p, notes = prepared
    z = ndtri(u)
    z -= z.mean(axis=0)
    found = of_normal_pair(z[:, :p], z[:, p:], names, "copula", notes)
    return found.noting(BENT) if misfit_of_some(u, p, np.inf).found else found


def student(x: ArrayLike, y: ArrayLike, *, names: tuple[str, str] = ("x", "y")) -> Estimate:
    r"""Mutual information of Student's copula, whose columns go to extremes together.

    With matrix R and degrees of freedom :math:`\nu` of the most likely copula of all columns,

    .. math:: I = \tfrac12 \log \frac{|R_x| |R_y|}{|R|} + h_\nu(p) + h_\nu(q) - h_\nu(p + q)

    where :math:`h_\nu(d)` is the entropy of a standard Student vector: positive even without any
    correlation. Unchanged by any rising map of any column.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q), n > p + q + 1.
        names: For messages.

    Returns:
        In nats, not clipped at 0; its error from the spread of the log density ratios.

    References:
        Demarta and McNeil 2005, International Statistical Review 73, 111-129 (the t copula).
    """
    prepared = ranks(x, y, names, "student-copula")
    if isinstance(prepared, Estimate):
        return prepared
    u, p, notes = prepared
    n, d = u.shape
    fit(ndtri(u), " and ".join(names))  # refuses too few rows and dependent columns
    degrees = fit_degrees(u)
    scores = student_scores(u, degrees)
    R = student_matrix(scores, degrees)
    logs = [_log_determinant(R[part, part]) for part in (slice(p), slice(p, d), slice(d))]
    bias = log_bias(n, p) + log_bias(n, d - p) - log_bias(n, d)
    value = 0.5 * (logs[0] + logs[1] - logs[2] - bias)
    value += _entropy(degrees, p) + _entropy(degrees, d - p) - _entropy(degrees, d)
    parts = (
        _log_density(scores, R, degrees)
        - _log_density(scores[:, :p], R[:p, :p], degrees)
        - _log_density(scores[:, p:], R[p:, p:], degrees)
    )
    if misfit_of_some(u, p, degrees).found:
        notes = (*notes, BENT)
    error = float(parts.std(ddof=1) / np.sqrt(n))
    return from_error(value, error, n, "log density ratios", "student-copula", notes)


def ranks(
    x: ArrayLike, y: ArrayLike, names: tuple[str, str], estimator: str
) -> Estimate | tuple[Floats, int, tuple[str, ...]]:
    """Ranks over n + 1 of all columns (n, p + q), p and warnings; an estimate for constants."""
    X, Y = as_sample(x, names[0]), as_sample(y, names[1])
    n = check_paired({names[0]: X, names[1]: Y})
    if n < 4:
        raise DataError(f"{' and '.join(names)}: expected at least 4 rows, got {n}.")
    a, b = (on_one_scale(v, name, "none") for v, name in ((X, names[0]), (Y, names[1])))
    notes = (*a.warnings, *b.warnings)
    for sample, word in ((a, names[0]), (b, names[1])):
        if sample.values.shape[1] == 0:
            return nothing_to_tell(word, n, estimator, notes)
        share = share_of_ties(sample.values)
        if share > TIES:
            notes = (
                *notes,
                f"{word}: up to {100 * share:.0f} % of a column's values are repeated; their "
                "ranks are shared, which a copula of continuous margins does not expect.",
            )
    u = stats.rankdata(np.hstack([a.values, b.values]), axis=0) / (n + 1)
    return np.asarray(u), a.values.shape[1], notes


def student_scores(u: Floats, degrees: float) -> Floats:
    """Quantiles of Student's t at u (n, d); without ties all columns share one computation."""
    levels, place = np.unique(u, return_inverse=True)
    return np.asarray(stdtrit(degrees, levels)[place].reshape(u.shape))


def student_matrix(scores: Floats, degrees: float) -> Floats:
    """The most likely matrix R (d, d), unit diagonal, of Student scores (n, d)."""
    n, d = scores.shape
    R = np.eye(d)
    for _ in range(ROUNDS):
        weights = (degrees + d) / (degrees + _distances(scores, R))
        S = (scores * weights[:, None]).T @ scores / n
        spread = np.sqrt(np.diag(S))
        new = S / np.outer(spread, spread)
        done = np.abs(new - R).max() < 1e-6
        R = new
        if done:
            break
    return R


def fit_degrees(u: Floats) -> float:
    """The most likely degrees of freedom of Student's copula of ranks u (n, d)."""
    some = u if len(u) <= ROWS else u[:: -(-len(u) // ROWS)]

    def loss(log_degrees: float) -> float:
        degrees = float(np.exp(log_degrees))
        scores = student_scores(some, degrees)
        R = student_matrix(scores, degrees)
        ones = np.ones((1, 1))
        margins = sum(_log_density(column[:, None], ones, degrees).sum() for column in scores.T)
        return float(margins - _log_density(scores, R, degrees).sum())

    low, high = np.log(DEGREES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def _distances(scores: Floats, R: Floats) -> Floats:
    """Squared Mahalanobis distances (n,) from 0."""
    L = np.linalg.cholesky(R)
    white = solve_triangular(L, scores.T, lower=True, check_finite=False)
    squares: Floats = np.einsum("dn,dn->n", white, white)
    return squares


def _log_determinant(R: Floats) -> float:
    return 2 * float(np.log(np.diag(np.linalg.cholesky(R))).sum())


def _log_density(scores: Floats, R: Floats, degrees: float) -> Floats:
    """Of a Student vector with matrix R at scores (n, d)."""
    d = len(R)
    constant = (
        gammaln((degrees + d) / 2)
        - gammaln(degrees / 2)
        - d / 2 * np.log(degrees * np.pi)
        - _log_determinant(R) / 2
    )
    tail = (degrees + d) / 2 * np.log1p(_distances(scores, R) / degrees)
    return np.asarray(constant - tail)


def _entropy(degrees: float, d: int) -> float:
    """Of a standard Student vector of d columns, in nats."""
    half = (degrees + d) / 2
    return float(
        gammaln(degrees / 2)
        - gammaln(half)
        + d / 2 * np.log(degrees * np.pi)
        + half * (digamma(half) - digamma(degrees / 2))
    )


def misfit_of_some(u: Floats, p: int, degrees: float) -> Misfit:
    """The test of the fit on at most ROWS rows of the ranks."""
    some = u if len(u) <= ROWS else u[:: -(-len(u) // ROWS)]
    if np.isfinite(degrees):
        scores = student_scores(some, degrees)
        return misfit(scores, p, degrees, student_matrix(scores, degrees))
    scores = ndtri(some)
    return misfit(scores, p, degrees, np.corrcoef(scores.T))


def misfit(scores: Floats, p: int, degrees: float, R: Floats) -> Misfit:
    """Whether scores look like a normal or Student sample, as far as their sides depend.

    Both are elliptical. Seen from the whitened centre, the distance follows an F distribution
    (chi-squared in the normal case), all directions s are alike, and squares and products of the
    first side's coordinates correlate with those of the other side as on a sphere.

    Args:
        scores: Normal or Student quantiles of ranks, (n, d), d = p + q.
        p: Columns of the first side.
        degrees: Of freedom; infinite for the normal copula.
        R: Matrix of the copula (d, d).
    """
    n, d = scores.shape
    white = _canonical(scores, p, R)  # (n, d)
    squares = (white**2).sum(axis=1)
    if np.isfinite(degrees):
        level = stats.f.cdf(squares / d, d, degrees)
    else:
        level = stats.chi2.cdf(squares * (d / squares.mean()), d)
    gap = float(np.abs(np.sort(level) - (np.arange(n) + 0.5) / n).max())
    # Kolmogorov's limit at 0.1 %, 1.95, is wide here: ranks take out part of the chance.
    radius = gap * np.sqrt(n) / 1.8

    s = white * np.sqrt(d / squares)[:, None]
    m, q = min(p, DIRECTIONS), min(d - p, DIRECTIONS)
    a, b = s[:, :m], s[:, p : p + q]
    (i, j), (k, h) = np.triu_indices(m), np.triu_indices(q)
    aa, bb = a[:, i] * a[:, j], b[:, k] * b[:, h]
    both_squares = np.outer(i == j, k == h)
    fourth = _correlations(aa, bb) + both_squares / (d - 1)
    if d == 2:  # the two squares have a fixed sum
        fourth = np.zeros_like(fourth)
    z = np.concatenate(
        [v.ravel() for v in (fourth, _correlations(aa, b), _correlations(a, bb))]
    ) * np.sqrt(n)
    limit = float(stats.norm.isf(5e-5 / len(z)))
    return Misfit(radius, float(np.abs(z).max()) / limit)


def _correlations(a: Floats, b: Floats) -> Floats:
    """Between the columns of a (n, k) and b (n, l): (k, l)."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))
    return np.asarray(a.T @ b / np.where(size > 0, size, 1.0))


def _canonical(scores: Floats, p: int, R: Floats) -> Floats:
    """Whitened coordinates (n, d).

    The first side's canonical variates, strongest first, then what they leave of the other's.
    """
    La, Lb = np.linalg.cholesky(R[:p, :p]), np.linalg.cholesky(R[p:, p:])
    cross = solve_triangular(La, R[:p, p:], lower=True)
    cross = solve_triangular(Lb, cross.T, lower=True).T  # (p, q)
    U, c, Vt = np.linalg.svd(cross)
    A = U.T @ solve_triangular(La, scores[:, :p].T, lower=True)
    B = Vt @ solve_triangular(Lb, scores[:, p:].T, lower=True)
    k = len(c)
    B[:k] = (B[:k] - c[:, None] * A[:k]) / np.sqrt(np.maximum(1 - c**2, 1e-12))[:, None]
    return np.vstack([A, B]).T
