"""Entropy, information and divergence of continuous samples from nearest-neighbour distances.

Distances are in the max-norm after every column was brought to spread 1 (which changes none of
the quantities but for entropy, where it is given back), so columns of very different scale weigh
the same. When to use them: few dimensions (up to four or so together) and any shape of
dependence. When not: many dimensions, where the k-th neighbour is far away and the estimates of
information fall short; each says so in its warnings where the data show it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

from triptych.arrays import as_labels, check_choice
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError
from triptych.information._densities import divergence, entropy
from triptych.information._growth import doubts, growth, growth_of
from triptych.information._samples import (
    as_sample,
    check_paired,
    check_rows,
    from_contributions,
    jittered,
    near_ceiling,
    nothing_to_tell,
    on_one_scale,
    repeated_rows,
    share_of_ties,
)
from triptych.information._space import (
    both,
    counts,
    counts_within_neighbours,
    kth_distances,
    kth_distances_and_popularity,
    neighbours,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

__all__ = ["conditional", "divergence", "entropy", "ksg", "mixed", "ross"]

MARGINS = ("standard", "normal", "none")
TIES = 0.05  # share of tied values in a column from which on counts in it are not to be trusted


def ksg(
    x: ArrayLike,
    y: ArrayLike,
    *,
    k: int = 3,
    version: int = 1,
    margins: str = "standard",
    random_state: int | None = 0,
    names: tuple[str, str] = ("x", "y"),
) -> Estimate:
    r"""Mutual information by Kraskov, Stögbauer and Grassberger.

    .. math:: \hat I_1 = \psi(k) + \psi(n) - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle

    counts the rows whose x (or y) lies nearer than the k-th neighbour in the joint space;

    .. math:: \hat I_2 = \psi(k) - 1/k + \psi(n) - \langle \psi(n_x) + \psi(n_y) \rangle

    counts those within the extent in x (or y) of the k neighbours.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q).
        k: Neighbours: 2 to 5 for estimates, more for tests of independence.
        version: 1 or 2.
        margins: ``"standard"``: columns of spread 1; ``"normal"``: normal scores of the ranks,
            which leave the information as it is and tame heavy tails; ``"none"``.
        random_state: Seed of the noise that repeated rows need (with a warning).
        names: For messages.

    Returns:
        In nats, not clipped at 0, with pointwise variance.

    References:
        Kraskov, Stögbauer and Grassberger 2004, Phys. Rev. E 69, 066138, eqs. 8 and 9.
    """
    check_choice("version", version, (1, 2))
    check_choice("margins", margins, MARGINS)
    title = ("ksg" if version == 1 else "ksg-2") + ("-ranks" if margins == "normal" else "")
    X, Y = as_sample(x, names[0]), as_sample(y, names[1])
    n = check_paired({names[0]: X, names[1]: Y})
    notes = check_rows(n, k, " and ".join(names))
    a, b = on_one_scale(X, names[0], margins), on_one_scale(Y, names[1], margins)
    notes += [*a.warnings, *b.warnings]
    for sample, word in ((a, names[0]), (b, names[1])):
        if sample.values.shape[1] == 0:
            return nothing_to_tell(word, n, title, tuple(notes))
    zx, zy = a.values, b.values
    by = _ksg_1 if version == 1 else _ksg_2
    parts, popularity, distances = by(zx, zy, k)
    if not distances.all():
        notes.append(repeated_rows(distances, k, " and ".join(names)))
        zx, zy = jittered(zx, random_state, "x"), jittered(zy, random_state, "y")
        parts, popularity, _ = by(zx, zy, k)
    notes += _ties((zx, zy), names)
    if zx.shape[1] + zy.shape[1] > 2:
        # The automatic choice takes ranks, and its warnings must be worth something.
        found = growth(zx, zy, parts, k, thorough=margins == "normal")
        notes += doubts(found, (zx.shape[1], zy.shape[1]), n)
    ceiling = float(digamma(n) - digamma(k))
    notes += near_ceiling(float(parts.mean()), ceiling, " and ".join(names))
    return from_contributions(parts, popularity / k, estimator=title, warnings=tuple(notes))


def _ksg_1(x: Floats, y: Floats, k: int) -> tuple[Floats, Ints, Floats]:
    """Contributions, in-degrees and distances (n,) of the first version."""
    distances, popularity, nx, ny = counts_within_neighbours(x, y, k)
    psi = digamma(np.arange(1, len(x) + 1))  # psi[m - 1] is the digamma function of m
    # The query itself is in the counts, which makes them n_x + 1.
    return psi[k - 1] + psi[-1] - psi[nx - 1] - psi[ny - 1], popularity, distances


def _ksg_2(x: Floats, y: Floats, k: int) -> tuple[Floats, Ints, Floats]:
    """Contributions, in-degrees and distances (n,) of the second version."""
    rows = neighbours(np.hstack([x, y]), k)
    extents = []
    for z in (x, y):
        extent = np.zeros(len(z))
        for column in range(k):  # one neighbour at a time keeps memory linear
            gap = np.abs(z[rows[:, column]] - z).max(axis=1)
            np.maximum(extent, gap, out=extent)
        extents.append(extent)
    nx, ny = both(
        lambda: counts(x, extents[0], closed=True),
        lambda: counts(y, extents[1], closed=True),
        n=len(x),
    )
    psi = digamma(np.arange(1, len(x) + 1))
    # The query itself is in the counts, which are n_x + 1.
    parts = psi[k - 1] - 1 / k + psi[-1] - psi[nx - 2] - psi[ny - 2]
    return parts, np.bincount(rows.ravel(), minlength=len(x)), np.maximum(*extents)


def mixed(
    x: ArrayLike, y: ArrayLike, *, k: int = 5, names: tuple[str, str] = ("x", "y")
) -> Estimate:
    r"""Mutual information of variables that are continuous, discrete, or both, by Gao et al.

    .. math:: \hat I = \langle \psi(\tilde k_i) + \log n - \psi(n_{x,i}) - \psi(n_{y,i}) \rangle

    Where the k-th neighbour is at a distance, the counts are those of KSG, the row itself
    included; where it is at distance 0, :math:`\tilde k_i` is the number of rows at distance 0
    and the counts are of equal values. Ties need no noise here. Columns are divided by the power
    of two nearest to their spread, which leaves equal differences of whole numbers equal.

    Args:
        x: Sample (n,) or (n, p); categories as numbers (their distances matter) or 0/1 columns.
        y: Sample (n,) or (n, q).
        k: Neighbours.
        names: For messages.

    Returns:
        In nats, not clipped at 0, with pointwise variance.

    References:
        Gao, Kannan, Oh and Viswanath 2017, arXiv:1709.06212, algorithm 1; with psi of counts
        that include the row for the paper's log(n_x + 1), as its authors' program has it.
    """
    X, Y = as_sample(x, names[0]), as_sample(y, names[1])
    n = check_paired({names[0]: X, names[1]: Y})
    notes = check_rows(n, k, " and ".join(names))
    a, b = on_one_scale(X, names[0], "exact"), on_one_scale(Y, names[1], "exact")
    notes += [*a.warnings, *b.warnings]
    for sample, word in ((a, names[0]), (b, names[1])):
        if sample.values.shape[1] == 0:
            return nothing_to_tell(word, n, "mixed", tuple(notes))
    zx, zy = a.values, b.values
    parts = _gao(zx, zy, k)
    if zx.shape[1] + zy.shape[1] > 2:
        found = growth_of(parts, lambda rows: _gao(zx[rows], zy[rows], k), k)
        notes += doubts(found, (zx.shape[1], zy.shape[1]), n)
    ceiling = float(np.log(n) - digamma(k))
    notes += near_ceiling(float(parts.mean()), ceiling, " and ".join(names))
    return from_contributions(parts, estimator="mixed", warnings=tuple(notes))


def _gao(x: Floats, y: Floats, k: int) -> Floats:
    """Contributions (n,) to the mixed estimate."""
    joint, n = np.hstack([x, y]), len(x)
    distances = kth_distances(joint, k)
    same = np.flatnonzero(distances == 0)

    def within(z: Floats) -> Ints:
        found = counts(z, distances)
        found[same] = _equal_rows(z)[same]
        return found

    nx, ny = both(lambda: within(x), lambda: within(y), n=n)
    ks = np.full(n, k)
    ks[same] = _equal_rows(joint)[same]
    return np.asarray(digamma(ks) + np.log(n) - digamma(nx) - digamma(ny))


def _equal_rows(z: Floats) -> NDArray[np.int64]:
    """How many rows equal each row, itself included, (n,)."""
    order = np.lexsort(z.T)
    s = z[order]
    starts = np.flatnonzero(np.append(True, (s[1:] != s[:-1]).any(axis=1)))
    sizes = np.diff(np.append(starts, len(z)))
    found = np.empty(len(z), dtype=np.int64)
    found[order] = np.repeat(sizes, sizes)
    return found


def ross(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    k: int = 3,
    random_state: int | None = 0,
    names: tuple[str, str] = ("x", "labels"),
) -> Estimate:
    r"""Mutual information of a continuous variable and a label, by Ross.

    .. math:: \hat I = \langle \psi(n) + \psi(k_i) - \psi(n_{c(i)}) - \psi(m_i) \rangle

    with :math:`n_c` the rows of the row's own class, and :math:`m_i` the rows of any class nearer
    than the k-th neighbour of its own class, the row itself included. Small classes use
    :math:`k_i = n_c - 1`; a class of one row is left out, with a warning.

    Args:
        x: Sample (n,) or (n, p).
        labels: (n,), any type.
        k: Neighbours.
        random_state: Seed of the noise that repeated rows need (with a warning).
        names: For messages.

    Returns:
        In nats, not clipped at 0, with pointwise variance.

    References:
        Ross 2014, PLoS ONE 9(2): e87357, eq. 6.
    """
    X = as_sample(x, names[0])
    codes = np.unique(as_labels(labels, len(X), names[1]), return_inverse=True)[1]
    notes = check_rows(len(X), k, names[0])
    sizes = np.bincount(codes)
    if len(sizes) == 1:
        raise DataError(f"{names[1]}: expected at least two classes, got one.")
    lonely = sizes[codes] == 1
    if lonely.all():
        raise DataError(
            f"{names[1]}: expected classes of at least 2 rows, got {len(sizes)} classes of one."
        )
    if lonely.any():
        notes.append(f"{names[1]}: {int(lonely.sum())} classes of a single row were left out.")
        X, codes = X[~lonely], np.unique(codes[~lonely], return_inverse=True)[1]
        sizes = np.bincount(codes)
    n = len(X)
    sample = on_one_scale(X, names[0])
    notes += sample.warnings
    if sample.values.shape[1] == 0:
        return nothing_to_tell(names[0], n, "ross", tuple(notes))
    z, ks = sample.values, np.minimum(k, sizes - 1)
    distances = _within_classes(z, codes, ks)
    if not distances.all():
        notes.append(repeated_rows(distances, k, names[0]))
        z = jittered(z, random_state, "x")
        distances = _within_classes(z, codes, ks)

    def contributions(rows: NDArray[np.intp]) -> Floats | None:
        some = np.bincount(codes[rows], minlength=len(sizes))
        if some.min() <= k:
            return None
        near = _within_classes(z[rows], codes[rows], np.full(len(sizes), k))
        psi = digamma(len(rows)) + digamma(k) - digamma(some)[codes[rows]]
        return np.asarray(psi - digamma(counts(z[rows], near)))

    m = counts(z, distances)
    parts = digamma(n) + digamma(ks)[codes] - digamma(sizes)[codes] - digamma(m)
    if z.shape[1] > 1:
        notes += doubts(growth_of(parts, contributions, k), (z.shape[1],), n)
    return from_contributions(np.asarray(parts), estimator="ross", warnings=tuple(notes))


def _within_classes(z: Floats, codes: NDArray[np.intp], ks: NDArray[np.int64]) -> Floats:
    """Distance of each row to neighbour ks[c] of its own class c, (n,)."""
    distances = np.empty(len(z))
    for c, k in enumerate(ks):
        rows = np.flatnonzero(codes == c)
        distances[rows] = kth_distances(z[rows], int(k))
    return distances


def conditional(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    *,
    k: int = 3,
    random_state: int | None = 0,
    names: tuple[str, str, str] = ("x", "y", "z"),
) -> Estimate:
    r"""Conditional mutual information I(x; y | z) by Frenzel and Pompe.

    .. math::

        \hat I = \psi(k) - \langle \psi(n_{xz} + 1) + \psi(n_{yz} + 1) - \psi(n_z + 1) \rangle

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q).
        z: Sample (n,) or (n, r) of the condition; constant, it conditions on nothing.
        k: Neighbours.
        random_state: Seed of the noise that repeated rows need (with a warning).
        names: For messages.

    Returns:
        In nats, not clipped at 0, with pointwise variance.

    References:
        Frenzel and Pompe 2007, Phys. Rev. Lett. 99, 204101, eq. 2.
    """
    arrays = [as_sample(v, name) for v, name in zip((x, y, z), names, strict=True)]
    n = check_paired(dict(zip(names, arrays, strict=True)))
    notes = check_rows(n, k, ", ".join(names))
    samples = [on_one_scale(v, name) for v, name in zip(arrays, names, strict=True)]
    notes += [note for sample in samples for note in sample.warnings]
    for sample, word in zip(samples[:2], names[:2], strict=True):
        if sample.values.shape[1] == 0:
            return nothing_to_tell(word, n, "frenzel-pompe", tuple(notes))
    zx, zy, zz = (sample.values for sample in samples)
    distances, popularity = kth_distances_and_popularity(np.hstack([zx, zy, zz]), k)
    if not distances.all():
        notes.append(repeated_rows(distances, k, ", ".join(names)))
        zx, zy, zz = (jittered(v, random_state, w) for v, w in ((zx, "x"), (zy, "y"), (zz, "z")))
        distances, popularity = kth_distances_and_popularity(np.hstack([zx, zy, zz]), k)
    notes += _ties((zx, zy, zz), names)
    parts, ceiling = _frenzel_pompe(zx, zy, zz, k, distances)
    notes += near_ceiling(float(parts.mean()), ceiling, ", ".join(names))

    def contributions(rows: NDArray[np.intp]) -> Floats:
        some = zx[rows], zy[rows], zz[rows]
        return _frenzel_pompe(*some, k, kth_distances(np.hstack(some), k))[0]

    widths = [v.shape[1] for v in (zx, zy, zz)]
    notes += doubts(growth_of(parts, contributions, k), widths, n)
    return from_contributions(
        parts, popularity / k, estimator="frenzel-pompe", warnings=tuple(notes)
    )


def _frenzel_pompe(
    x: Floats, y: Floats, z: Floats, k: int, distances: Floats
) -> tuple[Floats, float]:
    """Contributions (n,) and the most their mean can be.

    The counts hold the query itself, which makes them n + 1.
    """
    n = len(x)
    xz, yz, zs = both(
        lambda: counts(np.hstack([x, z]), distances),
        lambda: counts(np.hstack([y, z]), distances),
        lambda: counts(z, distances) if z.shape[1] else np.full(n, n),
        n=n,
    )
    psi = digamma(np.arange(1, n + 1))
    parts = np.asarray(psi[k - 1] - psi[xz - 1] - psi[yz - 1] + psi[zs - 1])
    return parts, float(psi[zs - 1].mean() - psi[k - 1])


def _ties(values: tuple[Floats, ...], names: tuple[str, ...]) -> list[str]:
    """A warning for every sample with a column of many repeated values."""
    return [
        f"{name}: up to {100 * share:.0f} % of a column's values are repeated; counts of "
        "neighbours assume continuous values, and the mixed estimator does not."
        for z, name in zip(values, names, strict=True)
        if (share := share_of_ties(z)) > TIES
    ]
