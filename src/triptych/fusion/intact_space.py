"""Intact space (Xu, Tao, Xu 2015): one whole sample behind several incomplete pictures of it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.contracts.method import Capabilities, Fusion
from triptych.errors import DataError, ParameterError, TriptychWarning, warn
from triptych.features import Features, fit_features
from triptych.fusion._residuals import Array, Loss, Maps, Seen, balanced, chunks, infer, step
from triptych.linalg import fixed_signs
from triptych.modalities import Modalities

# Of a residual's size: the Cauchy loss loses 5 % of least squares' efficiency on normal noise.
EFFICIENT = 2.385
# Least c, as a share of a typical row: residuals of exact data are rounding, not a scale.
LEAST = 1e-3
# Longest row that the start listens to, as a share of a typical row.
LOUD = 1.5
# A value further out than this, in spreads, has squares that leave the range of float64.
FARTHEST = 1e100
# How far c may lie from a typical row, as a factor: beyond, J is rounding.
RANGE = 1e8
DEFAULT_WIDTH = 50


class IntactSpace(Fusion):
    r"""Codes x of samples of which every modality is a linear, incomplete, noisy picture.

    .. math:: J = \frac{1}{n} \sum_i \Big[ \frac{1}{m_i} \sum_v
        \log\Big(1 + \frac{\lVert z_i^v - W_v x_i - b_v \rVert^2}{c^2}\Big)
        + C_2 \lVert x_i \rVert^2 \Big] + \frac{C_1}{m} \sum_v \lVert W_v \rVert_F^2

    with the m_i modalities present in row i, and z the scaled columns. The Cauchy loss forgets
    residuals far beyond c, so a modality that is grossly wrong in a row hardly moves its code.
    Codes and maps are solved for in turn with weights 1 / (c² + residual²) (iteratively reweighted
    residuals); J never rises. The solution is known up to an invertible map; of all, the one
    with the least penalties is kept, axes in falling order, the largest entry of each in W
    positive.

    Args:
        n_components: Width d of the codes, at most the columns of all modalities together;
            ``None`` takes 50, or the columns if they are fewer.
        c: Residual, in the unit of ``scaling``, from which influence falls; from 1e-8 to 1e8 of a
            typical row, beyond which J is rounding. ``None`` takes
            2.385 times the median residual, which falls while c is annealed from that of least
            squares; at least 0.001 of a typical row.
        map_penalty: C1 > 0.
        code_penalty: C2 > 0.
        scaling: ``"columns"`` gives each column unit spread and then each modality a typical row
            of length 1; ``"modality"`` does the latter only; ``"none"`` leaves columns as they
            are.
        offset: Whether b is learnt. Without it (as in the paper) columns are not centred.
        max_iter: Most passes over the rows, those of annealing among them; a warning says when
            they were not enough.
        tol: Relative fall of J in a pass at which learning stops; 0 makes ``max_iter`` passes.

    Attributes:
        maps_: W by modality, (p, d), of scaled columns.
        offsets_: b by modality, (p,), of scaled columns.
        centres_: What is taken from the columns before, (p,), by modality.
        spreads_: What they are then divided by, (p,), by modality.
        c_: The c that was used.
        objective_: J after every half step at ``c_``, never rising.
        n_iter_: Passes, those of annealing among them.
        converged_: Whether J fell by less than ``tol`` in the end.
        features_: How each modality becomes columns.

    ``transform`` finds codes of any rows from any modalities, the maps fixed; rows whose
    modalities contradict each other are asked from several starts, and keep the best. ``score``
    is minus the mean of the bracket in J. Time of a pass: O(n (d³ + d Σp)); memory: O(n (d + Σp)).

    References:
        Xu, Tao, Xu 2015, Multi-view Intact Space Learning, IEEE TPAMI 37, arXiv:1904.02340
        (without b, complete rows; c, C1 and C2 are ours to choose).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(300, 2))
        >>> X = {name: x @ rng.normal(size=(2, 6)) for name in ("a", "b", "c")}
        >>> X["a"][:30] = 50 * rng.normal(size=(30, 6))  # grossly wrong in one row of ten
        >>> codes = IntactSpace(n_components=2).fit_transform(X)
        >>> left = x - codes @ np.linalg.lstsq(codes, x, rcond=None)[0]
        >>> bool(np.abs(left).max() < 0.1)
        True
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        min_modalities=1,
        kinds=("vector", "image"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
    )

    def __init__(
        self,
        n_components: int | None = None,
        *,
        c: float | None = None,
        map_penalty: float = 0.06,
        code_penalty: float = 0.001,
        scaling: str = "columns",
        offset: bool = True,
        max_iter: int = 200,
        tol: float = 1e-6,
    ) -> None:
        self.n_components = n_components
        self.c = c
        self.map_penalty = map_penalty
        self.code_penalty = code_penalty
        self.scaling = scaling
        self.offset = offset
        self.max_iter = max_iter
        self.tol = tol

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.c is not None:
            check_number("c", self.c, low=0, open_low=True)
        check_number("map_penalty", self.map_penalty, low=0, open_low=True)
        check_number("code_penalty", self.code_penalty, low=0, open_low=True)
        check_choice("scaling", self.scaling, ("columns", "modality", "none"))
        check_choice("offset", self.offset, (True, False))
        check_number("max_iter", self.max_iter, low=1, integer=True)
        check_number("tol", self.tol, low=0)

    # -- learning --------------------------------------------------------------------------

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Any) -> None:
        # Rows that have nothing have nothing to say.
        some = np.any(np.stack(list(X.present.values())), axis=0)
        X = X if some.all() else X[some]
        features = fit_features(X)
        columns = sum(learnt.n_features for learnt in features.values())
        if self.n_components is not None and self.n_components > columns:
            raise ParameterError(
                f"n_components: expected at most {columns}, the columns of {list(X.names)} "
                f"together; got {self.n_components}."
            )
        d = min(DEFAULT_WIDTH, columns) if self.n_components is None else self.n_components
        self.features_ = features
        # Features divide pictures of whole numbers by 255.
        self.whole_ = {
            m: X.kind(m).form == "image" and np.asarray(X[:1][m]).dtype.kind in "iu"
            for m in X.names
        }
        self.centres_: dict[str, Array] = {}
        self.spreads_: dict[str, Array] = {}
        for name in sorted(X.names):
            self._learn_scale(X, name)
        Z = [self._scaled(X, name) for name in sorted(X.names)]
        present = np.stack([X.present[name] for name in sorted(X.names)], axis=1)  # (n, m)
        maps, loss = self._learn(Z, present, d)
        signs = fixed_signs(*maps.W)
        names = sorted(X.names)
        self.maps_ = {m: W * signs for m, W in zip(names, maps.W, strict=True)}
        self.offsets_ = dict(zip(names, maps.b, strict=True))
        self.c_ = loss.c

    def _learn_scale(self, X: Modalities, name: str) -> None:
        """Columns of unit spread, then a typical row of length 1.

        Outliers decide neither the centre nor the length.
        """
        there = X.present[name]
        values = self._columns(X[there], name)
        centre = np.median(values, axis=0) if self.offset else np.zeros(values.shape[1])
        # Near 1 before squares are taken: those of 1e±200 leave the range of float64.
        size = np.abs(values - centre).max(axis=0)
        size = np.where(size > 0, size, 1.0)
        away = (values - centre) / size
        spread = np.sqrt(np.mean((away - away.mean(0) * self.offset) ** 2, axis=0)) * size
        constant = spread <= 1e-14 * np.maximum(np.abs(values).max(axis=0), 1e-300)
        if constant.all():
            raise DataError(f"modality {name!r}: every column is constant, so nothing is learnt.")
        largest = float(np.where(constant, 0.0, size).max())
        if self.scaling == "none" and largest < 1 / FARTHEST:
            raise DataError(
                f"modality {name!r}: its values differ by {largest:.0e} at most, too little to "
                "compute with; scale them, or take another scaling."
            )
        if self.scaling == "columns":
            scale = np.where(constant, 1.0, spread)
        else:
            scale = np.full(len(spread), spread.max() if self.scaling == "modality" else 1.0)
        if self.scaling != "none":
            scale = scale * _typical(np.linalg.norm((values - centre) / scale, axis=1))
        self.centres_[name], self.spreads_[name] = centre, scale

    def _columns(self, X: Modalities, name: str) -> Array:
        found = self.features_[name].transform(X[name], X.present[name])
        dense = found.toarray() if hasattr(found, "toarray") else found
        return np.asarray(dense, dtype=np.float64)

    def _scaled(self, X: Modalities, name: str) -> Array:
        values: Array = (self._columns(X, name) - self.centres_[name]) / self.spreads_[name]
        values[~X.present[name]] = 0.0
        far = ~(np.abs(values) < FARTHEST)
        if far.any():
            row, column = (int(i) for i in np.argwhere(far)[0])
            raise DataError(
                f"modality {name!r}, row {row}, column {column}: it lies more than "
                f"{FARTHEST:.0e} spreads from the training rows, too far to compute with."
            )
        return values

    def _learn(self, Z: list[Array], present: NDArray[np.bool_], d: int) -> tuple[Maps, Loss]:
        typical = _typical(_lengths(Z)[present])
        if self.c is not None and not typical / RANGE <= self.c <= typical * RANGE:
            raise ParameterError(
                f"c: expected from {typical / RANGE:.3g} to {typical * RANGE:.3g}, as a typical "
                f"row has length {typical:.3g}; got {self.c!r}."
            )
        offset, floor = self.offset, LEAST * typical
        maps, lengths = _start(Z, present, d)
        loss = self._loss(max(self.c or 0.0, floor, EFFICIENT * float(np.median(lengths))))
        x = infer(Z, present, maps, loss, max_iter=2)
        x, maps = balanced(x, maps, loss, offset)
        passes = 0
        # c falls with the residuals, from least squares to what will be kept.
        while passes < self.max_iter // 2:
            maps, _, _, squares = step(Z, present, x, maps, loss, offset)
            passes += 1
            c = EFFICIENT * float(np.median(np.sqrt(squares[present])))
            c = min(loss.c, max(self.c or floor, c))
            settled = c > 0.99 * loss.c
            loss = self._loss(c)
            if settled:
                break
        loss = self._loss(self.c or loss.c)
        x = infer(Z, present, maps, loss, start=x, max_iter=10)
        x, maps = balanced(x, maps, loss, offset)
        self.objective_: list[float] = []
        self.converged_ = False
        for _ in range(max(self.max_iter - passes, 1)):
            maps, before, after, _ = step(Z, present, x, maps, loss, offset)
            passes += 1
            self.objective_ += [before, after]
            fallen = self.objective_[-3] - after if len(self.objective_) > 2 else np.inf
            self.converged_ = bool(fallen <= self.tol * abs(after))
            if self.tol and self.converged_:
                break
        x, maps = balanced(x, maps, loss, offset)
        self.objective_.append(self._bracket(Z, present, x, maps, loss) + loss.of_maps(maps))
        self.n_iter_ = passes
        if self.tol and not self.converged_:
            last = f"J still falls after max_iter={self.max_iter} passes, in the last one by"
            last = f"{last} {fallen / abs(after):.1g} of itself"
            if not np.isfinite(fallen):
                last = f"max_iter={self.max_iter} passes are too few to see J fall"
            warn(f"IntactSpace: {last} (tol={self.tol:.1g}).", TriptychWarning)
        return maps, loss

    def _loss(self, c: float) -> Loss:
        return Loss(c, self.map_penalty, self.code_penalty)

    # -- codes -----------------------------------------------------------------------------

    def _given(self, X: Modalities) -> tuple[list[Array], NDArray[np.bool_], Maps]:
        names = sorted(X.names)
        maps = Maps(
            tuple(self.maps_[name] for name in names),
            tuple(self.offsets_[name] for name in names),
        )
        present = np.stack([X.present[name] for name in names], axis=1)
        return [self._scaled(X, name) for name in names], present, maps

    def _transform(self, X: Modalities) -> Array:
        Z, present, maps = self._given(X)
        return infer(Z, present, maps, self._loss(self.c_))

    def _reconstruct(self, X: Modalities) -> Modalities:
        return self._decode(self._transform(X))

    def _code_width(self) -> int:
        return int(next(iter(self.maps_.values())).shape[1])

    def _decode(self, codes: Array) -> Modalities:
        out = {}
        for name in self.names_in_:
            scaled = codes @ self.maps_[name].T + self.offsets_[name]
            flat = scaled * self.spreads_[name] + self.centres_[name]
            out[name] = _restored(flat, self.features_[name], self.whole_[name])
        return Modalities(out, kinds={name: self.kinds_[name].form for name in out})

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        Z, present, maps = self._given(X)
        some = present.any(axis=1)
        if not some.any():
            raise DataError("score: no row has a modality.")
        Z, present = [z[some] for z in Z], present[some]
        loss = self._loss(self.c_)
        return -self._bracket(Z, present, infer(Z, present, maps, loss), maps, loss)

    @staticmethod
    def _bracket(
        Z: list[Array], present: NDArray[np.bool_], x: Array, maps: Maps, loss: Loss
    ) -> float:
        """Mean over rows of J without the maps' penalty."""
        total, grams = 0.0, maps.grams
        for part in chunks(*x.shape):
            seen = Seen([z[part] for z in Z], present[part], maps, grams)
            total += float(loss.of_rows(seen.squares(x[part]), present[part], x[part]).sum())
        return total / len(x)


def _typical(lengths: Array) -> float:
    """Median length; the mean where most are zero."""
    median = float(np.median(lengths))
    return median if median > 0 else max(float(np.mean(lengths)), 1e-300)


def _lengths(Z: list[Array]) -> Array:
    """|z| by row and modality, shape (n, m)."""
    return np.stack([np.linalg.norm(z, axis=1) for z in Z], axis=1)


def _start(Z: list[Array], present: NDArray[np.bool_], d: int) -> tuple[Maps, Array]:
    """Maps from the singular vectors of all modalities side by side, and residuals' lengths.

    Rows much longer than others are shortened, so that gross errors do not choose the directions;
    absent rows are zero here, and only here.
    """
    lengths = _lengths(Z)
    clipped = []
    for v, z in enumerate(Z):
        loud = LOUD * _typical(lengths[present[:, v], v])
        clipped.append(z * np.minimum(1.0, loud / np.maximum(lengths[:, v], 1e-300))[:, None])
    wide = np.concatenate(clipped, axis=1)  # (n, sum p)
    V = _directions(wide, d)  # (sum p, d)
    scores = wide @ V
    unit = np.sqrt(np.mean(scores**2, axis=0))
    unit = np.where(unit > 0, unit, 1.0)
    edges = np.cumsum([z.shape[1] for z in Z])[:-1]
    W = tuple(np.ascontiguousarray(part) for part in np.split(V * unit, edges))
    left = [z - scores @ part.T for z, part in zip(clipped, np.split(V, edges), strict=True)]
    b = tuple(np.zeros(z.shape[1]) for z in Z)
    return Maps(W, b), _lengths(left)[present]


def _directions(wide: Array, d: int) -> Array:
    """The d leading right singular vectors of (n, p), through the smaller Gram matrix."""
    n, p = wide.shape
    if p <= n:
        _, V = np.linalg.eigh(wide.T @ wide)
        return np.ascontiguousarray(V[:, ::-1][:, :d])
    _, U = np.linalg.eigh(wide @ wide.T)
    found = np.linalg.qr(wide.T @ U[:, ::-1][:, : min(d, n)])[0]
    return np.pad(found, ((0, 0), (0, d - found.shape[1])))


def _restored(flat: Array, features: Features, whole: bool) -> Array:
    """Columns (n, p) back in the units and shape of the data."""
    shape = tuple(int(s or 0) for s in features.shape)
    return (flat * (255.0 if whole else 1.0)).reshape(len(flat), *shape)
