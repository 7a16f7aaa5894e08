"""Samplers whose truth is known: correlations, information, factors, and parts of information."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.errors import ParameterError
from triptych.modalities import Modalities
from triptych.seeding import check_random_state, generator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearGaussian:
    """A Gaussian pair, and what is true of it.

    Args:
        X: The two modalities, vectors (n, p) and (n, q).
        correlations: Canonical correlations of the population (min(p, q),), largest first.
        mutual_information: I(A; B) of the population, in nats.
        weights: By modality, the directions (p, min(p, q)) whose projections have unit variance
            and these correlations.
        covariance: Of both modalities side by side, (p + q, p + q).
    """

    X: Modalities
    correlations: Floats
    mutual_information: float
    weights: Mapping[str, Floats]
    covariance: Floats


def linear_gaussian(
    n: int = 1000,
    correlations: Sequence[float] = (0.9, 0.6, 0.3),
    dims: tuple[int, int] = (8, 6),
    random_state: int | None = 0,
    names: tuple[str, str] = ("a", "b"),
) -> LinearGaussian:
    r"""Two Gaussian modalities with the canonical correlations asked for.

    Latent coordinates are standard normal, and pair i has correlation :math:`\rho_i`; the rest
    are independent. A random invertible matrix of condition number at most 10 then mixes each
    side, which leaves correlations and information as they are:

    .. math:: I(A; B) = -\tfrac{1}{2} \sum_i \log(1 - \rho_i^2)

    Args:
        n: Rows.
        correlations: Each 0 <= ρ < 1, at most as many as the smaller side has columns; the rest
            are 0.
        dims: Columns (p, q).
        random_state: Seed of the mixing and of the rows. The mixing does not depend on ``n``, so
            samples of two sizes have one population.
        names: Of the two modalities.
    """
    seed = check_random_state(random_state)
    check_number("n", n, low=1, integer=True)
    _check_pair("dims", dims)
    _check_pair("names", names)
    for p in dims:
        check_number("dims", p, low=1, integer=True)
    p, q = dims
    k = min(p, q)
    if len(correlations) > k:
        raise ParameterError(
            f"correlations: expected at most {k}, the columns of the smaller side; "
            f"got {len(correlations)}."
        )
    for rho in correlations:
        check_number("correlations", rho, low=0)
        if rho >= 1:
            raise ParameterError(f"correlations: expected numbers below 1, got {rho}.")
    r = np.zeros(k)
    r[: len(correlations)] = sorted(correlations, reverse=True)

    rng = generator(seed, "rows")
    za = rng.standard_normal((n, p))
    zb = rng.standard_normal((n, q))
    zb[:, :k] = r * za[:, :k] + np.sqrt(1 - r**2) * zb[:, :k]
    wa, wb = (_invertible(d, generator(seed, "mixing", i)) for i, d in enumerate(dims))
    cross = np.zeros((p, q))
    cross[range(k), range(k)] = r
    covariance = np.block([[wa @ wa.T, wa @ cross @ wb.T], [wb @ cross.T @ wa.T, wb @ wb.T]])
    a, b = names
    return LinearGaussian(
        X=Modalities({a: za @ wa.T, b: zb @ wb.T}),
        correlations=r,
        mutual_information=float(-0.5 * np.log1p(-(r**2)).sum()),
        weights={a: _inverse(wa).T[:, :k], b: _inverse(wb).T[:, :k]},
        covariance=covariance,
    )


@dataclass(frozen=True)
class SharedPrivateFactors:
    """Modalities made of factors that all share and factors of their own.

    Args:
        X: The modalities, vectors (n, p).
        shared: Factors that every modality shows, (n, d).
        private: By modality, factors that only it shows, (n, d_m).
    """

    X: Modalities
    shared: Floats
    private: Mapping[str, Floats]


def shared_private(
    n: int = 1000,
    *,
    n_shared: int = 2,
    n_private: int = 2,
    dims: int = 10,
    noise: float = 0.1,
    nonlinear: bool = False,
    random_state: int | None = 0,
    names: Sequence[str] = ("a", "b"),
) -> SharedPrivateFactors:
    """Modalities that mix shared and private factors, each in its own way.

    All factors are independent and standard normal. A modality shows its shared and private
    factors u (n, d + d_m) through a map that can be undone, plus white noise: a matrix with
    orthonormal columns or, if nonlinear, two rounds of a rotation and a leaky rectifier before it.

    Args:
        n: Rows.
        n_shared: Shared factors d.
        n_private: Private factors d_m of each modality.
        dims: Columns p of each modality, at least d + d_m.
        noise: Standard deviation of the white noise.
        nonlinear: Whether the mixing bends.
        random_state: Seed. Every modality has a stream keyed by its name, so adding one leaves
            the others as they are.
        names: Of the modalities, one or more.
    """
    seed = check_random_state(random_state)
    for word, value, low in (("n", n, 1), ("n_shared", n_shared, 0), ("n_private", n_private, 0)):
        check_number(word, value, low=low, integer=True)
    width = n_shared + n_private
    check_number("dims", dims, low=max(width, 1), integer=True)
    check_number("noise", noise, low=0, high=1e6)
    if width == 0:
        raise ParameterError("n_shared and n_private: expected at least one factor, got 0 and 0.")
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise ParameterError(f"names: expected different names, at least one; got {names!r}.")
    shared = generator(seed, "shared").standard_normal((n, n_shared))
    private, data = {}, {}
    for name in names:
        rng = generator(seed, "modality", name)
        rotations = [_orthonormal(width, width, rng) for _ in range(2)]
        outward = _orthonormal(dims, width, rng)
        private[name] = rng.standard_normal((n, n_private))
        u = np.concatenate([shared, private[name]], axis=1)  # (n, d + d_m)
        if nonlinear:
            for rotation in rotations:
                u = u @ rotation.T
                u = np.where(u > 0, u, 0.2 * u)
        data[name] = u @ outward.T + noise * rng.standard_normal((n, dims))
    return SharedPrivateFactors(Modalities(data), shared, private)


@dataclass(frozen=True)
class Gate:
    """Two binary inputs, an output, and how the information about it is divided, in bits.

    Args:
        X: The inputs, vectors (n, 1) of 0 and 1.
        y: The output (n,), 0 or 1.
        redundancy: What either input alone tells about y.
        unique: By input, what only it tells.
        synergy: What only both together tell.
    """

    X: Modalities
    y: NDArray[np.int64]
    redundancy: float
    unique: Mapping[str, float]
    synergy: float

    @property
    def mutual_information(self) -> float:
        """I(A, B; y): the sum of the four parts."""
        return self.redundancy + sum(self.unique.values()) + self.synergy


# I(a; a & b) = H(1/4) - H(1/2) / 2 in bits; OR is AND with 0 and 1 exchanged.
_ONE_INPUT_OF_AND = 0.75 * math.log2(4 / 3)
_GATES = {
    "and": (_ONE_INPUT_OF_AND, 0.0, 0.5),
    "or": (_ONE_INPUT_OF_AND, 0.0, 0.5),
    "xor": (0.0, 0.0, 1.0),
    "copy": (1.0, 0.0, 0.0),
    "unique": (0.0, 1.0, 0.0),
}


def logic_gate(
    gate: str = "xor",
    n: int = 1000,
    random_state: int | None = 0,
    *,
    balanced: bool = False,
    names: tuple[str, str] = ("a", "b"),
) -> Gate:
    """Fair coins into a gate: who tells what about the output is known exactly.

    ``"and"``, ``"or"``, ``"xor"``: y of two independent coins. ``"copy"``: one coin seen by both
    inputs is y, all redundant. ``"unique"``: y is the first input, the second is another coin. For
    these gates the measures of Williams and Beer and of Bertschinger et al. agree.

    Args:
        gate: Which.
        n: Rows.
        random_state: Seed.
        balanced: Whether every pair of inputs comes equally often, so that frequencies are the
            probabilities and plug-in estimates the truth; ``n`` must be a multiple of 4.
        names: Of the two inputs.

    References:
        Williams and Beer 2010, arXiv:1004.2515. Bertschinger et al. 2014, arXiv:1311.2852.
    """
    seed = check_random_state(random_state)
    check_choice("gate", gate, tuple(_GATES))
    check_number("n", n, low=1, integer=True)
    _check_pair("names", names)
    rng = generator(seed, "gate")
    if balanced and n % 4:
        raise ParameterError(f"n: expected a multiple of 4 when balanced, got {n}.")
    state = rng.permutation(np.arange(n) % 4) if balanced else rng.integers(0, 4, n)
    a, b = state // 2, state % 2
    if gate == "copy":
        b = a
    y = {"and": a & b, "or": a | b, "xor": a ^ b, "copy": a, "unique": a}[gate]
    redundancy, unique, synergy = _GATES[gate]
    return Gate(
        X=Modalities({names[0]: a[:, None].astype(float), names[1]: b[:, None].astype(float)}),
        y=y.astype(np.int64),
        redundancy=redundancy,
        unique={names[0]: unique, names[1]: 0.0},
        synergy=synergy,
    )


def _check_pair(word: str, value: object) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ParameterError(f"{word}: expected one for each of the two sides, got {value!r}.")
    if word == "names" and value[0] == value[1]:
        raise ParameterError(f"names: expected two different names, got {value!r}.")


def _orthonormal(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """A random matrix (rows, columns) with orthonormal columns."""
    q: Floats = np.linalg.qr(rng.standard_normal((rows, columns)))[0]
    return q


def _invertible(d: int, rng: np.random.Generator) -> Floats:
    """A random matrix (d, d) whose singular values lie between 0.3 and 3."""
    scales = np.exp(rng.uniform(np.log(0.3), np.log(3), d))
    mixed: Floats = (_orthonormal(d, d, rng) * scales) @ _orthonormal(d, d, rng).T
    return mixed


def _inverse(w: Floats) -> Floats:
    return np.asarray(np.linalg.inv(w), dtype=np.float64)
