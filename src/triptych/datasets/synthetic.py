"""Samplers whose truth is known: correlations, information, factors, decomposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.errors import ParameterError
from triptych.modalities import Modalities
from triptych.seeding import check_random_state, generator

LN2 = float(np.log(2))


@dataclass(frozen=True)
class Sample:
    """What a sampler drew and what is true of it.

    Args:
        X: Modalities ``"a"`` and ``"b"``.
        truth: Known quantities and factors by name; information in nats.
        y: Target (n,), where the sampler has one.
    """

    X: Modalities
    truth: Mapping[str, Any] = field(default_factory=dict)
    y: NDArray[Any] | None = None


def linear_gaussian(
    n: int = 1000,
    correlations: Sequence[float] = (0.9, 0.5),
    dims: tuple[int, int] = (5, 4),
    random_state: int | None = 0,
) -> Sample:
    """Two Gaussian vectors with given canonical correlations.

    Args:
        n: Rows.
        correlations: Canonical correlations in (-1, 1) exclusive, at most min(dims) of them.
        dims: Widths of ``"a"`` and ``"b"``.
        random_state: Seed.

    Returns:
        Truth ``"correlations"``, falling and padded with zeros, and ``"mutual_information"``
        = -1/2 sum log(1 - rho**2), in nats.
    """
    check_number("n", n, low=1, integer=True)
    rho = np.sort(np.abs(np.asarray(correlations, dtype=float)))[::-1]
    if len(rho) > min(dims) or (rho >= 1).any():
        raise ParameterError(
            f"correlations: expected at most {min(dims)} numbers below 1, got {list(correlations)}."
        )
    seed = check_random_state(random_state)
    rng = generator(seed, "draws")
    A = rng.normal(size=(n, dims[0]))
    B = rng.normal(size=(n, dims[1]))
    k = len(rho)
    B[:, :k] = rho * A[:, :k] + np.sqrt(1 - rho**2) * B[:, :k]
    a, b = (Z @ _mixing(generator(seed, "mixing", m), Z.shape[1]) for Z, m in ((A, "a"), (B, "b")))
    full = np.concatenate([rho, np.zeros(min(dims) - k)])
    information = float(-0.5 * np.log1p(-(rho**2)).sum())
    return Sample(
        Modalities({"a": a, "b": b}),
        {"correlations": full, "mutual_information": information},
    )


def shared_private(
    n: int = 1000,
    n_shared: int = 2,
    n_private: int = 2,
    dims: tuple[int, int] = (20, 15),
    noise: float = 0.05,
    nonlinear: bool = False,
    random_state: int | None = 0,
) -> Sample:
    """Each modality mixes the shared factors with private ones of its own.

    Args:
        n: Rows.
        n_shared: Shared factors, standard normal.
        n_private: Private factors of each modality, standard normal, independent of all others.
        dims: Widths of ``"a"`` and ``"b"``, each at least ``n_shared + n_private``.
        noise: Standard deviation of Gaussian noise on every column.
        nonlinear: Whether the mixture goes through tanh and a second mixture.
        random_state: Seed.

    Returns:
        Truth ``"shared"`` (n, n_shared) and ``"private"``, by modality (n, n_private).
    """
    check_number("n", n, low=1, integer=True)
    check_number("noise", noise, low=0)
    if min(dims) < n_shared + n_private:
        raise ParameterError(f"dims: expected at least {n_shared + n_private} each, got {dims}.")
    seed = check_random_state(random_state)
    shared = generator(seed, "shared").normal(size=(n, n_shared))
    data, private = {}, {}
    for name, width in zip(("a", "b"), dims, strict=True):
        rng = generator(seed, "modality", name)
        private[name] = rng.normal(size=(n, n_private))
        Z = np.column_stack([shared, private[name]])
        X = Z @ _mixing(rng, width)[: Z.shape[1]]
        if nonlinear:
            X = np.tanh(X) @ _mixing(rng, width)
        data[name] = X + noise * rng.normal(size=(n, width))
    return Sample(Modalities(data), {"shared": shared, "private": private})


def logic_gate(gate: str, n: int = 1000, random_state: int | None = 0) -> Sample:
    """Bits ``"a"`` and ``"b"`` and a target y made of them, with its known decomposition.

    Args:
        gate: ``"and"``, ``"xor"``, ``"copy"`` (a = b = y: all redundant) or ``"unique"`` (y = a).
        n: Rows.
        random_state: Seed.

    Returns:
        Truth ``"redundancy"``, ``"unique_a"``, ``"unique_b"`` and ``"synergy"`` in nats
        (Bertschinger et al. 2014), which add up to I(a, b; y).
    """
    check_number("n", n, low=1, integer=True)
    check_choice("gate", gate, ("and", "xor", "copy", "unique"))
    rng = generator(check_random_state(random_state), "bits", gate)
    a, b = rng.integers(0, 2, size=(2, n))
    if gate == "copy":
        b = a.copy()
    y = {"and": a & b, "xor": a ^ b, "copy": a, "unique": a}[gate]
    # AND: I(a; y) = h(1/4) - 1/2 bits, all of it redundant; the rest of h(1/4), 1/2, is synergy.
    quarter = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    parts = {
        "and": (quarter - LN2 / 2, 0.0, 0.0, LN2 / 2),
        "xor": (0.0, 0.0, 0.0, LN2),
        "copy": (LN2, 0.0, 0.0, 0.0),
        "unique": (0.0, LN2, 0.0, 0.0),
    }[gate]
    names = ("redundancy", "unique_a", "unique_b", "synergy")
    X = Modalities({"a": a[:, None].astype(float), "b": b[:, None].astype(float)})
    return Sample(X, dict(zip(names, map(float, parts), strict=True)), y)


def _mixing(rng: np.random.Generator, width: int) -> NDArray[np.float64]:
    """An invertible map (width, width) of modest condition."""
    left, _ = np.linalg.qr(rng.normal(size=(width, width)))
    right, _ = np.linalg.qr(rng.normal(size=(width, width)))
    mixing: NDArray[np.float64] = (left * np.geomspace(2, 0.5, width)) @ right
    return mixing
