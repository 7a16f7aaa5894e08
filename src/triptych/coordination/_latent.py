"""A normal latent code behind whitened modalities: posterior, likelihood, and its maximum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from triptych.coordination._sides import Sides

Array = NDArray[np.float64]

# Least noise in a direction, as a share of its variance.
LEAST = 1e-8
LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Pattern:
    """Moments of the rows that have the same modalities.

    Args:
        names: Which, by the alphabet.
        count: Rows.
        first: Sum of the whitened coordinates, shape (r,), modalities side by side.
        second: Sum of their outer products, shape (r, r).
    """

    names: tuple[str, ...]
    count: int
    first: Array
    second: Array


@dataclass(frozen=True)
class Latent:
    """The model x_m = W_m z + mean_m + noise_m, z ~ N(0, I), in whitened coordinates.

    Args:
        W: By modality, (r, d).
        noise: Covariance of the noise by modality, (r, r).
        means: By modality, (r,).
    """

    W: Mapping[str, Array]
    noise: Mapping[str, Array]
    means: Mapping[str, Array]

    @cached_property
    def inverse(self) -> dict[str, Array]:
        """Inverse of the noise by modality, (r, r)."""
        return {
            m: np.asarray(np.linalg.inv(noise), dtype=np.float64)
            for m, noise in self.noise.items()
        }

    @cached_property
    def log_noise(self) -> dict[str, float]:
        """Log-determinant of the noise by modality."""
        return {m: float(np.linalg.slogdet(noise)[1]) for m, noise in self.noise.items()}

    @cached_property
    def scaled(self) -> dict[str, Array]:
        """Noise^{-1} W by modality, (r, d)."""
        return {m: inverse @ self.W[m] for m, inverse in self.inverse.items()}

    @cached_property
    def strength(self) -> dict[str, Array]:
        """W^T noise^{-1} W by modality, (d, d)."""
        found = {m: self.W[m].T @ A for m, A in self.scaled.items()}
        return {m: (part + part.T) / 2 for m, part in found.items()}

    def precision(self, names: Sequence[str]) -> Array:
        """Inverse covariance of z given these modalities, shape (d, d)."""
        width = next(iter(self.W.values())).shape[1]
        return sum((self.strength[m] for m in names), start=np.eye(width))

    def gain(self, names: Sequence[str]) -> Array:
        """What turns centred coordinates of these modalities into E[z], shape (d, r)."""
        stacked = np.vstack([self.scaled[m] for m in names])
        return np.asarray(np.linalg.solve(self.precision(names), stacked.T), dtype=np.float64)

    def mean(self, names: Sequence[str]) -> Array:
        """Means of these modalities side by side."""
        return np.concatenate([self.means[m] for m in names])

    def log_likelihood(self, pattern: Pattern) -> float:
        """Of all rows of a pattern, in nats, of whitened coordinates."""
        names, n = pattern.names, pattern.count
        S = _centred(pattern, self.mean(names))
        logs, trace, edge = float(np.linalg.slogdet(self.precision(names))[1]), 0.0, 0
        for m in names:
            block = slice(edge, edge + len(self.noise[m]))
            logs += self.log_noise[m]
            trace += float(np.sum(self.inverse[m] * S[block, block]))
            edge = block.stop
        A = np.vstack([self.scaled[m] for m in names])
        trace -= float(np.sum(self.gain(names) * (A.T @ S)))
        return -0.5 * (n * (edge * LOG_2PI + logs) + trace)

    def penalty(self, added: Mapping[str, Array], counts: Mapping[str, int]) -> float:
        """Half the trace of the inverse joint covariance times the scatter that a ridge adds."""
        if not any(part.any() for part in added.values()):
            return 0.0
        names = list(self.W)
        A = np.vstack([self.scaled[m] for m in names])
        minus = np.einsum("rd,dr->r", A, self.gain(names))
        plus = np.concatenate([np.diag(self.inverse[m]) for m in names])
        scatter = np.concatenate([counts[m] * added[m] for m in names])
        return float(0.5 * scatter @ (plus - minus))

    def fixed(self) -> Latent:
        """The same distribution of the modalities, with what the likelihood leaves free fixed.

        sum_m W_m^T noise_m^{-1} W_m is made diagonal and falling. Of two modalities the likelihood
        also leaves free which has the stronger W; both are made equal, as in the closed form.
        """
        if len(self.W) == 2:
            (a, Wa), (b, Wb) = self.W.items()
            La, Lb = (np.linalg.cholesky(W @ W.T + self.noise[m]) for m, W in self.W.items())
            cross = np.linalg.solve(Lb, np.linalg.solve(La, Wa @ Wb.T).T).T
            P, rho, Qt = np.linalg.svd(cross, full_matrices=False)
            root = np.sqrt(np.clip(rho, 0.0, 1 - LEAST))[: Wa.shape[1]]
            P, Q = P[:, : len(root)] * root, Qt[: len(root)].T * root
            W = {a: La @ P, b: Lb @ Q}
            noise = {
                a: La @ (np.eye(len(P)) - P @ P.T) @ La.T,
                b: Lb @ (np.eye(len(Q)) - Q @ Q.T) @ Lb.T,
            }
            return Latent(W, noise, self.means)
        _, turn = np.linalg.eigh(self.precision(list(self.W)))
        return Latent({m: W @ turn[:, ::-1] for m, W in self.W.items()}, self.noise, self.means)

    def loadings(self, name: str, basis: Array) -> Array:
        """Correlation (p, d) of columns with z under the model; 0 for columns that do not vary."""
        W, size = self.W[name], np.abs(basis).max(axis=1, keepdims=True)
        B = basis / np.where(size > 0, size, 1.0)  # squares of 1e±150 leave the range of float64
        variance = np.einsum("pr,rs,ps->p", B, W @ W.T + self.noise[name], B)
        spread = np.sqrt(np.where(variance > 0, variance, 1.0))
        return np.clip(B @ W / spread[:, None], -1.0, 1.0)


def closed_form(
    pattern: Pattern, added: Mapping[str, Array], width: int
) -> tuple[Latent, list[float]]:
    """Maximum for two modalities without gaps (Bach and Jordan 2005, theorem 2).

    Args:
        pattern: All rows.
        added: Share of the ridge in each whitened coordinate, by modality, (r,).
        width: Components d.

    Returns:
        The model, and its mean log-likelihood per row, less the penalty, in a list.
    """
    a, b = pattern.names
    r = len(added[a])
    cross = pattern.second[:r, r:] / pattern.count
    P, rho, Qt = np.linalg.svd(cross, full_matrices=False)
    rho = np.clip(rho[:width], 0.0, 1 - LEAST)
    W = {a: P[:, :width] * np.sqrt(rho), b: Qt[:width].T * np.sqrt(rho)}
    # Whitened covariances are I, the ridge's share included.
    noise = {m: np.eye(len(w)) - w @ w.T for m, w in W.items()}
    latent = Latent(W, noise, {m: np.zeros(len(w)) for m, w in W.items()})
    return latent, [_objective(latent, [pattern], added)]


def expectation_maximisation(
    patterns: Sequence[Pattern],
    added: Mapping[str, Array],
    sides: Sides,
    width: int,
    max_iter: int,
    tol: float,
) -> tuple[Latent, list[float], bool]:
    """Maximum for any modalities and gaps; every iteration raises the penalised likelihood.

    An iteration is two steps of EM and a third from where they point to (Varadhan and Roland 2008,
    scheme S3), taken only if it does not lower the likelihood.

    Returns:
        The model, the mean log-likelihood per row (less the penalty) after each iteration, and
        whether the last one added less than ``tol``.
    """

    def rise(at: Latent) -> Latent:
        return _step(at, patterns, added)

    latent = _start(sides, width)
    track = [_objective(latent, patterns, added)]
    while len(track) <= max_iter:
        one = rise(latent)
        two = rise(one)
        far = _extrapolated(latent, one, two)
        latent = two if far is None else rise(far)
        value = _objective(latent, patterns, added)
        if far is not None and not value >= (plain := _objective(two, patterns, added)):
            latent, value = two, plain
        track.append(value)
        if track[-1] - track[-2] < tol:
            return latent, track[1:], True
    return latent, track[1:], False


def _extrapolated(start: Latent, one: Latent, two: Latent) -> Latent | None:
    """Where two steps point to, further on; ``None`` where that is no model."""
    step, bend = 0.0, 0.0
    for part in ("W", "means", "noise"):
        for m in start.W:
            a, b, c = (getattr(at, part)[m] for at in (start, one, two))
            step += float(np.sum((b - a) ** 2))
            bend += float(np.sum((c - 2 * b + a) ** 2))
    if not bend > 0:
        return None
    reach = max(1.0, np.sqrt(step / bend))
    found: dict[str, dict[str, Array]] = {"W": {}, "means": {}, "noise": {}}
    for part, values in found.items():
        for m in start.W:
            a, b, c = (getattr(at, part)[m] for at in (start, one, two))
            values[m] = a + 2 * reach * (b - a) + reach**2 * (c - 2 * b + a)
    if any(np.linalg.eigvalsh(noise)[0] < LEAST for noise in found["noise"].values()):
        return None
    return Latent(found["W"], found["noise"], found["means"])


def _start(sides: Sides, width: int) -> Latent:
    """Leading directions of all whitened products, as strong as modalities agree on them."""
    C = sides.assembled({m: np.ones(r) for m, r in sides.ranks.items()})
    values, vectors = np.linalg.eigh(C)
    m = len(sides.sides)
    # With two modalities m times the eigenvalue is 1 + ρ, and W = sqrt(ρ) times sqrt(2) v.
    agreement = np.clip((m * values[::-1][:width] - 1) / (m - 1), 0.05, 0.95)
    W = sides.split(vectors[:, ::-1][:, :width] * np.sqrt(m * agreement))
    for name, w in W.items():
        size = np.linalg.norm(w, 2)
        W[name] = w * min(1.0, np.sqrt(0.95) / size) if size > 0 else w
    noise = {name: np.eye(len(w)) - w @ w.T for name, w in W.items()}
    return Latent(W, noise, {name: np.zeros(len(w)) for name, w in W.items()})


def _step(latent: Latent, patterns: Sequence[Pattern], added: Mapping[str, Array]) -> Latent:
    """One iteration: moments of z given each row, then a regression of each modality on z."""
    names, width = list(latent.W), next(iter(latent.W.values())).shape[1]
    sums = {m: _Sums(len(latent.W[m]), width) for m in names}
    for pattern in patterns:
        _add_pattern(latent, pattern, sums)
    if any(part.any() for part in added.values()):
        _add_ridge(latent, sums, added)
    W, noise, means = {}, {}, {}
    for m in names:
        s = sums[m]
        normal = np.block([[s.zz, s.z[:, None]], [s.z[None], np.full((1, 1), float(s.n))]])
        right = np.column_stack([s.xz, s.x])  # (r, d + 1)
        both = np.linalg.solve(normal, right.T).T
        W[m], means[m] = both[:, :-1], both[:, -1]
        rest = (s.xx - both @ right.T) / s.n
        noise[m] = _floored((rest + rest.T) / 2)
    return Latent(W, noise, means)


class _Sums:
    """Expected moments of one modality and z over the rows that have it."""

    def __init__(self, r: int, d: int) -> None:
        self.n = 0
        self.x, self.z = np.zeros(r), np.zeros(d)
        self.xx, self.xz, self.zz = np.zeros((r, r)), np.zeros((r, d)), np.zeros((d, d))


def _add_pattern(latent: Latent, pattern: Pattern, sums: Mapping[str, _Sums]) -> None:
    """Add what the rows of a pattern expect of z to the sums of its modalities."""
    names, n = pattern.names, pattern.count
    mean, gain = latent.mean(names), latent.gain(names)
    z = gain @ (pattern.first - n * mean)
    zz: Array = (
        n * np.linalg.inv(latent.precision(names)) + gain @ _centred(pattern, mean) @ gain.T
    )
    xz = (pattern.second - np.outer(pattern.first, mean)) @ gain.T  # (r, d)
    edge = 0
    for m in names:
        block = slice(edge, edge + len(latent.W[m]))
        s = sums[m]
        s.n += n
        s.z += z
        s.zz += zz
        s.x += pattern.first[block]
        s.xx += pattern.second[block, block]
        s.xz += xz[block]
        edge = block.stop


def _add_ridge(latent: Latent, sums: Mapping[str, _Sums], added: Mapping[str, Array]) -> None:
    """The ridge as scatter without rows: z follows it by its mean, and adds no variance."""
    names = list(latent.W)
    gain, edge = latent.gain(names), 0
    zz = np.zeros((len(gain), len(gain)))
    for m in names:
        block = slice(edge, edge + len(added[m]))
        scatter = sums[m].n * added[m]
        part = gain[:, block] * scatter  # (d, r)
        sums[m].xx += np.diag(scatter)
        sums[m].xz += part.T
        zz += part @ gain[:, block].T
        edge = block.stop
    for s in sums.values():
        s.zz += zz


def _floored(noise: Array) -> Array:
    """The maximum of the likelihood among covariances with at least ``LEAST`` in any direction."""
    values, vectors = np.linalg.eigh(noise)
    if values[0] >= LEAST:
        return noise
    out: Array = (vectors * np.maximum(values, LEAST)) @ vectors.T
    return out


def _centred(pattern: Pattern, mean: Array) -> Array:
    cross = np.outer(pattern.first, mean)
    out: Array = pattern.second - cross - cross.T + pattern.count * np.outer(mean, mean)
    return out


def _objective(latent: Latent, patterns: Sequence[Pattern], added: Mapping[str, Array]) -> float:
    counts = {m: sum(p.count for p in patterns if m in p.names) for m in latent.W}
    total = sum(latent.log_likelihood(p) for p in patterns) - latent.penalty(added, counts)
    return total / sum(p.count for p in patterns)
