r"""The least information about Y that is compatible with what each input alone tells.

.. math:: \min_{q \in \Delta_p} I_q(X_1, X_2; Y), \quad
    \Delta_p = \{ q : q(x_1, y) = p(x_1, y),\ q(x_2, y) = p(x_2, y) \}

H(Y) is fixed in Δ_p, so this is the minimum of the convex f(q) = Σ q log(q / Σ_y q). It is found
by a primal-dual interior-point method: -log q is a barrier with which f is compatible (relative
entropy: Nesterov and Nemirovskii 1994, §5.3), the product p(x1|y) p(x2|y) p(y) is a strictly
interior start, cells that are 0 all over Δ_p are known from the margins, and Newton's system is
diagonal plus rank one for each pair (x1, x2), so only (k1 + k2) ky unknowns are left to solve for.
Every step's multipliers give a lower bound of the minimum, hence how far f can be from it.

References:
    Bertschinger, Rauh, Olbrich, Jost and Ay 2014, arXiv:1311.2852, definition 1 and lemma 4.
    Makkeh, Theis and Vicente 2018, arXiv:1802.05876 (a cone programme for the same minimum).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE = 1e-9
"""Nats that f may lie above its minimum."""
_STEPS = 200
_BACK = 0.995  # share of the way to the boundary that a step may go


class Minimum(NamedTuple):
    """What was found.

    Args:
        q: The minimiser, shape (k1, k2, ky).
        value: I_q(X1, X2; Y) in nats.
        gap: Nats that ``value`` may lie above the true minimum: a bound, not a guess.
        first: How the minimum changes with p(x1, y), shape (k1, ky).
        second: How it changes with p(x2, y), shape (k2, ky). Together with -log p(y) these are
            the derivative of the minimum, a function homogeneous of degree 1 up to H(Y).
    """

    q: Array
    value: float
    gap: float
    first: Array
    second: Array


def least_information(table: Array, tolerance: float = TOLERANCE) -> Minimum:
    """Minimise I_q(X1, X2; Y) over Δ_p.

    Args:
        table: Probabilities p(x1, x2, y), shape (k1, k2, ky), sum 1.
        tolerance: Stop when the duality gap is below this, in nats.
    """
    rows, columns, labels = (table.sum(axis=tuple({0, 1, 2} - {a})) > 0 for a in range(3))
    p = table[np.ix_(rows, columns, labels)]
    inner = _solve(p, tolerance)
    q = np.zeros_like(table)
    q[np.ix_(rows, columns, labels)] = inner.q
    first = np.zeros((table.shape[0], table.shape[2]))
    second = np.zeros((table.shape[1], table.shape[2]))
    first[np.ix_(rows, labels)] = inner.first
    second[np.ix_(columns, labels)] = inner.second
    return Minimum(q, inner.value, inner.gap, first, second)


def _solve(p: Array, tolerance: float) -> Minimum:
    a, b, c = p.sum(axis=1), p.sum(axis=0), p.sum(axis=(0, 1))  # (k1, ky), (k2, ky), (ky,)
    q = a[:, None] * b[None] / c  # (k1, k2, ky)
    free = q > 0
    cells = int(free.sum())
    z = np.where(free, 1.0, 0.0)
    nu_a, nu_b = np.zeros_like(a), np.zeros_like(b)
    best = Minimum(q, np.inf, np.inf, nu_a, nu_b)
    centre = 0.1
    for _ in range(_STEPS):
        slope = _log_ratio(q, free)  # gradient of f
        w = np.where(free, slope + nu_a[:, None] + nu_b[None], 0.0)
        objective = float((q * slope).sum())
        gap = objective - _dual(nu_a, nu_b, free, a, b)
        if gap < best.gap:
            value = objective - float((c * np.log(c)).sum())
            best = Minimum(q, value, gap, -nu_a, -nu_b)
        if best.gap <= tolerance:
            break
        mu = float((q * z).sum()) / cells
        target = centre * mu
        step = _newton(q, z, w, free, target, a, b)
        most = min(1.0, _BACK * _reach(q, step.dq, free), _BACK * _reach(z, step.dz, free))
        # Newton's direction lessens the norm of the residuals, in any weights; f bends, so a long
        # step need not. Residuals of the gradient count by the mass that they act on.
        start = _residual(q, z, w, q, free, target)
        reach = most
        while reach > 1e-10:
            new_q = np.where(free, q + reach * step.dq, 0.0)
            new_z = np.where(free, z + reach * step.dz, 0.0)
            new_a, new_b = nu_a + reach * step.da, nu_b + reach * step.db
            new_w = np.where(free, _log_ratio(new_q, free) + new_a[:, None] + new_b[None], 0.0)
            if _residual(new_q, new_z, new_w, q, free, target) <= (1 - 0.01 * reach) * start:
                break
            reach *= 0.6
        else:
            break
        q, z, nu_a, nu_b = new_q, new_z, new_a, new_b
        centre = 0.05 if reach > 0.9 else (0.2 if reach > 0.5 else 0.6)
    return best


def _dual(nu_a: Array, nu_b: Array, free: NDArray[np.bool_], a: Array, b: Array) -> float:
    """A lower bound of the minimum of f from any multipliers.

    Σ q log(q / s) >= -Σ q ν wherever Σ_y exp(-ν) <= 1 for each pair of inputs (Gibbs), and a
    shift of ν for each x1 (or each x2) makes it so.
    """
    from scipy.special import logsumexp

    nu = nu_a[:, None] + nu_b[None]
    excess = logsumexp(np.where(free, -nu, -np.inf), axis=2)  # (k1, k2)
    shift = min(
        float(excess.max(axis=1) @ a.sum(axis=1)), float(excess.max(axis=0) @ b.sum(axis=1))
    )
    return -float((nu_a * a).sum() + (nu_b * b).sum()) - shift


class _Step(NamedTuple):
    dq: Array
    dz: Array
    da: Array
    db: Array


def _newton(
    q: Array, z: Array, w: Array, free: NDArray[np.bool_], target: float, a: Array, b: Array
) -> _Step:
    """Newton's step towards q z = ``target``, with the margins put right on the way."""
    from scipy.linalg import cho_factor, cho_solve

    k1, k2, ky = q.shape
    safe = np.where(free, q, 1.0)
    e = np.where(free, q / (1.0 + z), 0.0)  # inverse of the diagonal of Hessian + z / q
    left = np.maximum(np.where(free, q - e, 0.0).sum(axis=2), np.finfo(float).tiny)  # (k1, k2)
    right = np.where(free, target / safe - w, 0.0)  # minus the gradient of the Lagrangian

    def inverse(v: Array) -> Array:
        return np.asarray(e * (v + ((e * v).sum(axis=2) / left)[..., None]))

    # (Hessian + z / q)^-1 between the margins: rows (x1, y), then (x2, y).
    cross = e / left[..., None]
    top = np.einsum("ijy,ijw->iyw", cross, e)
    bottom = np.einsum("ijy,ijw->jyw", cross, e)
    top[:, range(ky), range(ky)] += e.sum(axis=1)
    bottom[:, range(ky), range(ky)] += e.sum(axis=0)
    side = np.einsum("ijy,ijw->iyjw", cross, e)
    side[:, range(ky), :, range(ky)] += e.transpose(2, 0, 1)
    na, nb = k1 * ky, k2 * ky
    S = np.zeros((na + nb, na + nb))
    for i, block in enumerate([*top, *bottom]):
        own = slice(i * ky, (i + 1) * ky)
        S[own, own] = block
    S[:na, na:] = side.reshape(na, nb)
    S[na:, :na] = S[:na, na:].T
    d = inverse(right)
    miss = np.concatenate(
        [(q.sum(axis=1) + d.sum(axis=1) - a).ravel(), (q.sum(axis=0) + d.sum(axis=0) - b).ravel()]
    )
    # Margins that are empty, and one margin of each y that follows from the others, are no
    # equations; a touch on the diagonal lets Cholesky pass them over.
    scale = np.sqrt(np.maximum(S.diagonal(), np.finfo(float).tiny))
    S /= scale[:, None]
    S /= scale[None]
    S[np.diag_indices_from(S)] = 1.0 + 1e-13 * len(S)
    factor = cho_factor(S, lower=True, overwrite_a=True, check_finite=False)
    nu = cho_solve(factor, miss / scale, check_finite=False) / scale
    da, db = nu[:na].reshape(k1, ky), nu[na:].reshape(k2, ky)
    dq = inverse(right - np.where(free, da[:, None] + db[None], 0.0))
    dz = np.where(free, target / safe - z - z / safe * dq, 0.0)
    return _Step(dq, dz, da, db)


def _residual(
    q: Array, z: Array, w: Array, weight: Array, free: NDArray[np.bool_], target: float
) -> float:
    """Norm of what is left of the conditions w = z (by ``weight``) and q z = target."""
    dual = weight * (w - z)
    centre = np.where(free, q * z - target, 0.0)
    return float(np.sqrt((dual**2).sum() + (centre**2).sum()))


def _reach(v: Array, dv: Array, free: NDArray[np.bool_]) -> float:
    """How far v may go along dv and stay positive, at most 1."""
    falling = free & (dv < 0)
    return float(min(1.0, (-v[falling] / dv[falling]).min(initial=np.inf)))


def _log_ratio(q: Array, free: NDArray[np.bool_]) -> Array:
    """log(q / sum over y of q), 0 in cells that are not free."""
    s = q.sum(axis=2, keepdims=True)
    return np.where(free, np.log(np.where(free, q, 1.0) / np.where(s > 0, s, 1.0)), 0.0)
