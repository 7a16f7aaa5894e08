"""Forty pairs of variables whose mutual information is known although most are not normal.

Normal, Student and additive-noise pairs in 1 + 1 to 50 + 50 dimensions, and images of them under
maps that can be undone, which leave the information as it is: they bend margins, fold a line into
a roll, or wind a space around its axis.

References:
    Czyż, Grabowski, Vogt, Beerenwinkel and Marx 2023, Beyond Normal, arXiv:2306.11078.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, ndtr

from triptych.arrays import check_choice, check_number
from triptych.seeding import check_random_state, generator

Floats = NDArray[np.float64]
Map = Callable[[Floats], Floats]
Sampler = Callable[[int, np.random.Generator], tuple[Floats, Floats]]

RHO = 0.75  # of the pairs in 1 + 1 dimensions
STRONG = 0.8  # of the two pairs that depend in the sparse tasks
DENSE = 0.5  # between any two columns of the dense tasks


@dataclass(frozen=True)
class Task:
    """A joint distribution and its information.

    Args:
        name: As in :func:`tasks`.
        dims: Columns of x and of y.
        mutual_information: I(x; y) in nats.
        sampler: From a number of rows and a generator, x (n, p) and y (n, q).
    """

    name: str
    dims: tuple[int, int]
    mutual_information: float
    sampler: Sampler

    def sample(self, n: int = 10_000, random_state: int | None = 0) -> tuple[Floats, Floats]:
        """Rows x (n, p) and y (n, q).

        Args:
            n: Rows.
            random_state: Seed; each task has a stream of its own.
        """
        check_number("n", n, low=1, integer=True)
        return self.sampler(n, generator(check_random_state(random_state), self.name))

    def under(self, word: str, x: Map, y: Map | None = None) -> Task:
        """The task whose x and y are the images under maps that can be undone."""
        other = x if y is None else y
        inner = self.sampler

        def sampler(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
            a, b = inner(n, rng)
            return x(a), other(b)

        p, q = (f(np.zeros((1, d))).shape[1] for f, d in zip((x, other), self.dims, strict=True))
        return replace(self, name=f"{word}({self.name})", dims=(p, q), sampler=sampler)


def normal(name: str, correlation: Floats, p: int) -> Task:
    r"""Normal x (the first p columns) and y: :math:`\tfrac12 \log |R_x| |R_y| / |R|`."""
    L = np.linalg.cholesky(correlation)
    logs = [np.linalg.slogdet(R)[1] for R in (correlation[:p, :p], correlation[p:, p:])]
    information = (sum(logs) - 2 * float(np.log(np.diag(L)).sum())) / 2

    def sampler(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        z = rng.standard_normal((n, len(L))) @ L.T
        return z[:, :p], z[:, p:]

    return Task(name, (p, len(L) - p), float(information), sampler)


def dense(d: int) -> Task:
    """All 2 d columns correlate equally."""
    return normal(f"dense {d}+{d}", DENSE + (1 - DENSE) * np.eye(2 * d), d)


def sparse(d: int) -> Task:
    """The first two columns of x each correlate with their partner in y, the rest with nothing."""
    R = np.eye(2 * d)
    for i in range(2):
        R[i, d + i] = R[d + i, i] = STRONG
    return normal(f"sparse {d}+{d}", R, d)


def student(d: int, degrees: int) -> Task:
    """Uncorrelated Student columns, dependent because all share one scale."""

    def entropy(m: int) -> float:
        half = (degrees + m) / 2
        return float(
            -gammaln(half)
            + gammaln(degrees / 2)
            + m / 2 * math.log(degrees * math.pi)
            + half * (digamma(half) - digamma(degrees / 2))
        )

    def sampler(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        z = rng.standard_normal((n, 2 * d))
        z /= np.sqrt(rng.chisquare(degrees, size=(n, 1)) / degrees)
        return z[:, :d], z[:, d:]

    information = 2 * entropy(d) - entropy(2 * d)
    return Task(f"student {d}+{d} dof {degrees}", (d, d), information, sampler)


def additive(noise: float) -> Task:
    """X uniform on [0, 1], y = x + uniform noise on [-noise, noise]."""
    information = 1 / (4 * noise) if noise > 0.5 else noise - math.log(2 * noise)

    def sampler(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        x = rng.uniform(size=(n, 1))
        return x, x + rng.uniform(-noise, noise, size=(n, 1))

    return Task(f"additive {noise}", (1, 1), information, sampler)


def half_cube(x: Floats) -> Floats:
    """Longer tails: sign(x) |x|^1.5."""
    return x * np.sqrt(np.abs(x))


def wiggly_x(x: Floats) -> Floats:
    """A rising map with waves, for x."""
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)


def wiggly_y(y: Floats) -> Floats:
    """A rising map with waves, for y."""
    return y - 0.4 * np.sin(0.4 * y) + 0.17 * np.sin(1.3 * y + 3.5) + 0.02 * np.sin(4.3 * y - 2.5)


def two_humps(weight: float, first: float, second: float) -> Map:
    """The rising map from a normal to a mixture of two normals of spread 1."""
    grid = np.linspace(min(first, second) - 10, max(first, second) + 10, 200_001)
    levels = weight * ndtr(grid - first) + (1 - weight) * ndtr(grid - second)
    # Where the levels are 0 or 1 to the last digit, values would not be unique.
    rising = np.flatnonzero(np.diff(levels, prepend=-1.0) > 0)

    def go(x: Floats) -> Floats:
        return np.asarray(np.interp(ndtr(x), levels[rising], grid[rising]))

    return go


def swiss_roll(x: Floats) -> Floats:
    """A line [0, 1] rolled up in the plane."""
    t = 1.5 * np.pi * (1 + 2 * x[:, :1])
    return np.hstack([t * np.cos(t), t * np.sin(t)]) / 21


def spiral(plane: tuple[int, int], speed: float) -> Map:
    """Rows turned in a plane by an angle of speed times their squared length."""
    i, j = plane

    def go(x: Floats) -> Floats:
        angle = speed * (x**2).sum(axis=1)
        c, s = np.cos(angle), np.sin(angle)
        turned = x.copy()
        turned[:, i] = c * x[:, i] - s * x[:, j]
        turned[:, j] = s * x[:, i] + c * x[:, j]
        return turned

    return go


def identity(x: Floats) -> Floats:
    """The same."""
    return x


def spiralled(task: Task) -> Task:
    """X turned in its first plane, y in its second, more slowly the more dimensions there are."""
    p, q = task.dims
    return task.under("spiral", spiral((0, 1), 1 / p), spiral((1, 2), 1 / q))


def _tasks() -> list[Task]:
    pair = normal("normal", np.array([[1, RHO], [RHO, 1]]), 1)
    uniform = pair.under("cdf", ndtr)
    cauchy = student(1, 1)
    line = [
        pair,
        uniform,
        additive(0.1),
        additive(0.75),
        pair.under("bimodal", two_humps(0.3, 0, 5), two_humps(0.5, -1, 3)),
        pair.under("wiggly", wiggly_x, wiggly_y),
        pair.under("half-cube", half_cube),
        cauchy,
        cauchy.under("asinh", np.arcsinh),
        uniform.under("swiss-roll", swiss_roll, identity),
    ]
    wide = [*(dense(d) for d in (2, 3, 5, 25, 50)), *(sparse(d) for d in (2, 3, 5, 25))]
    tails = [student(d, v) for d, v in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))]
    bases = [sparse(d) for d in (3, 5, 25)]
    return [
        *line,
        *wide,
        *tails,
        *(base.under("cdf", ndtr) for base in bases),
        *(base.under("half-cube", half_cube) for base in bases),
        *(spiralled(base) for base in bases),
        *(spiralled(base.under("cdf", ndtr)) for base in bases),
        *(student(d, v).under("asinh", np.arcsinh) for d, v in ((2, 1), (3, 2), (5, 2))),
    ]


@cache
def tasks() -> Mapping[str, Task]:
    """The forty tasks by name, as the benchmark lists them."""
    return {task.name: task for task in _tasks()}


def load_task(name: str) -> Task:
    """One of the tasks.

    Args:
        name: For instance ``"spiral(sparse 5+5)"``; :func:`tasks` has them all.
    """
    check_choice("name", name, tuple(tasks()))
    return tasks()[name]
