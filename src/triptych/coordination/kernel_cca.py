"""Canonical correlations in the feature spaces of kernels, exact and for many rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number, row_chunks
from triptych.contracts.method import Capabilities
from triptych.coordination import _kernel_dual as dual
from triptych.coordination import _kernel_features as primal
from triptych.coordination._kernel_checks import (
    check_square,
    make_symmetric,
    require_finite,
    require_psd,
)
from triptych.coordination._kernel_given import PRECOMPUTED, Given, learnt, one_of, parts_of
from triptych.coordination._kernel_null import MOST_EXACT, OfKernels
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, warn
from triptych.features import fit_features
from triptych.linalg import EPS, fixed_signs
from triptych.modalities import Modalities, make_parts
from triptych.seeding import check_random_state, generator
from triptych.similarity import KERNELS, Kernel, centred_cosine, pairwise

Array = NDArray[np.float64]
APPROXIMATIONS = ("auto", "exact", None, "nystroem", "fourier")
# Single precision where products are many and their rounding is far below the ridge.
MANY_ROWS = 10_000
LEAST_RIDGE = 1e-6


class KernelCCA(OfKernels):
    r"""Functions of two modalities, from the spaces of two kernels, that correlate most.

    .. math:: \max_{A,B} \tfrac{1}{n-1} \mathrm{tr}(A^T K_x K_y B) \quad
              \tfrac{1}{n-1} A^T K_x^2 A + r_x A^T K_x A = I, \text{ the same for } y

    with kernels centred in their feature spaces. It is :class:`CCA` on the features, with the
    ridge r added to the variance of every direction there; with a linear kernel, on the columns
    (as given: neither centred columns nor units matter to ``CCA``, but units do here). Without a
    ridge, kernels of full rank correlate perfectly on any rows.

    Args:
        n_components: Width d of the codes, at most the smaller rank of the centred kernels;
            ``None`` for 10, or that rank if it is smaller.
        kernel: Name or :class:`triptych.similarity.Kernel` (``"rbf"``, ``"laplacian"``,
            ``"linear"``, ``"polynomial"``, ``"exponential"``, ``"cosine"``,
            ``"centred_cosine"``); a function of rows (a, p) and (b, p) that gives (a, b); or
            ``"precomputed"``, for a modality that is the kernel itself, (n, n) in ``fit`` and
            (rows, n) after. One for all, or by modality name. Parameters left open, as the width
            of ``"rbf"``, are learnt by the median heuristic from at most 1,000 rows.
        ridge: r >= 0; a number, or one by modality name. Larger is smoother. The paper's figure
            for 50,000 rows is 1e-4; few rows want more.
        approximation: ``"exact"`` (or ``None``) solves in the n rows: time n³, memory 5 n².
            ``"nystroem"`` takes features from kernels with some of the rows, ``"fourier"`` random
            cosines, for kernels of x - y (``"rbf"``, ``"laplacian"``); both take time n M² and
            memory M². ``"auto"`` is exact up to 4,000 complete rows and for precomputed kernels,
            else Nyström, whose features follow the data.
        n_features: M, features of an approximation, for each modality. Nyström takes all rows
            where there are fewer.
        random_state: Seed of landmarks, cosines and the rows of the median heuristic.

    Attributes:
        correlations_: Regularised canonical correlations (d,) of the rows fitted, falling, in
            [0, 1]. They say little by themselves; ``score`` on other rows does.
        approximation_: ``"exact"``, ``"nystroem"`` or ``"fourier"``.
        kernels_: By modality, the kernel with its numbers; ``None`` for a function and for
            precomputed ones.
        maps_: By modality, what makes features of rows: kernels with kept rows, or cosines. For a
            precomputed kernel, which of its columns.
        weights_: By modality, (M, d); the code is ``features @ weights_ - offsets_``.
        offsets_: By modality, (d,).
        features_: How each modality becomes columns.

    Codes of the rows fitted have variance 1 less what the ridge takes (divisor n - 1). Signs: of
    the weights of both modalities on a component, the largest in absolute value is positive.

    Modalities other than vectors are read through :mod:`triptych.features`; scale columns before
    if their units differ. Rows in which a modality is absent are left out of ``fit``; a modality
    alone can be transformed. From 10,000 rows on, features of bounded kernels are computed in
    single precision and summed in double, unless the ridge is below 1e-6 or the numbers given
    would not survive it: those in double precision that exceed 100 widths, or 1e±30.

    A cross-validated search takes rows and cannot cut the columns of a precomputed kernel, so a
    kernel that is not square is refused. One must also be symmetric and, once centred, positive
    semi-definite.

    Warns:
        DegenerateDataWarning: Without ridge, ranks add up to n or more; or the values of a kernel
            span more than the 16 digits of a matrix of them.

    References:
        Hardoon et al. 2004, Neural Computation 16; Wang et al. 2016, arXiv:1602.01024, eqs. 6-8
        (ridge there: n / (n - 1) of ours; FKCCA is ``"fourier"``, NKCCA ``"nystroem"``);
        Lopez-Paz et al. 2014, arXiv:1402.0119.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> angle = rng.uniform(0, 6.28, size=(300, 1))
        >>> X = {"circle": np.hstack([np.cos(angle), np.sin(angle)]), "angle": angle}
        >>> model = KernelCCA(2, ridge=1e-3).fit(X)
        >>> model.correlations_.round(1)
        array([1., 1.])
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        max_modalities=2,
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
    )

    def __init__(
        self,
        n_components: int | None = None,
        *,
        kernel: Given | Mapping[str, Given] = "rbf",
        ridge: float | Mapping[str, float] = 1e-2,
        approximation: str | None = "auto",
        n_features: int = 1000,
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.ridge = ridge
        self.approximation = approximation
        self.n_features = n_features
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for key, value in parts_of("ridge", self.ridge).items():
            check_number(key, value, low=0, high=1e150)
        for key, value in parts_of("kernel", self.kernel).items():
            if isinstance(value, str):
                check_choice(key, value, (*KERNELS, PRECOMPUTED))
            elif not isinstance(value, Kernel) and not callable(value):
                raise ParameterError(
                    f"{key}: expected a name, a Kernel or a function; got {value!r}."
                )
        check_choice("approximation", self.approximation, APPROXIMATIONS)
        check_number("n_features", self.n_features, low=1, integer=True)
        check_random_state(self.random_state)

    # -- fit -------------------------------------------------------------------------------

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        names = tuple(sorted(X.names))
        ridges = tuple(float(one_of("ridge", self.ridge, name, names)) for name in names)
        given = {name: one_of("kernel", self.kernel, name, names) for name in names}
        for name in names:
            if given[name] == PRECOMPUTED:
                check_square(name, X)
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError(f"KernelCCA needs 2 rows with both modalities; got {int(both.sum())}.")
        pairs = X if both.all() else X[both]
        seed = check_random_state(self.random_state)
        self.features_ = fit_features(pairs)
        sides = tuple(self._columns(name, pairs) for name in names)
        kernels = {side.name: learnt(given[side.name], side, seed) for side in sides}
        try:
            if self._choose(len(pairs), given) == "exact":
                self._fit_exact(sides, given, kernels, ridges, np.flatnonzero(both), seed)
            else:
                self._fit_features(sides, given, kernels, ridges, seed)
        except Exception:
            del self.features_
            raise

    def _choose(self, n: int, given: Mapping[str, Given]) -> str:
        fixed = [name for name in given if given[name] == PRECOMPUTED]
        if self.approximation in ("nystroem", "fourier"):
            if fixed:
                raise ParameterError(
                    f"approximation {self.approximation!r} makes features from rows; modality "
                    f"{fixed[0]!r} is a precomputed kernel. Take 'exact'."
                )
            return self.approximation
        exact = self.approximation != "auto" or bool(fixed) or n <= MOST_EXACT
        return "exact" if exact else "nystroem"

    def _fit_exact(
        self,
        sides: tuple[primal.Columns, ...],
        given: Mapping[str, Given],
        kernels: Mapping[str, Kernel | None],
        ridges: tuple[float, ...],
        fitted: NDArray[np.intp],
        seed: int,
    ) -> None:
        n = sides[0].n
        maps: dict[str, primal.KernelColumns] = {}
        matrices, means, sizes = [], [], []
        for side in sides:
            rows = side.read(slice(None)).astype(np.float64, copy=False)
            precomputed = given[side.name] == PRECOMPUTED
            if precomputed:
                K = rows[:, fitted]
                maps[side.name] = primal.KernelColumns(fitted)
            else:
                function: Any = kernels[side.name] or given[side.name]
                with np.errstate(over="ignore", invalid="ignore"):
                    K = pairwise(function, rows)
                maps[side.name] = primal.KernelColumns(rows, kernels[side.name])
            if kernels[side.name] is None:
                make_symmetric(side.name, K)
            require_finite(side.name, K)
            typical = float(np.median(K.diagonal()))
            K, columns = dual.centre(K)
            size = float(K.trace()) / n
            if abs(size) <= 10 * EPS * float(np.abs(columns).max()):
                raise DataError(
                    f"modality {side.name!r}: the centred kernel is 0: rows are equal."
                )
            if kernels[side.name] is None:
                require_psd(side.name, K)
            if 0 < typical < n * EPS * float(K.trace()):
                warn(
                    f"KernelCCA: modality {side.name!r}: half of the rows have a kernel below the "
                    "rounding of the largest, so exact kernel CCA does not see them. Widen the "
                    "kernel, scale the rows, or take approximation='nystroem'.",
                    DegenerateDataWarning,
                )
            K /= size  # the mean of its diagonal becomes 1, so that no product overflows
            matrices.append(K)
            means.append(columns)
            sizes.append(size)
        c1, c2 = ((n - 1) * r / size for r, size in zip(ridges, sizes, strict=True))
        found = self._solve_exact(matrices, (c1, c2), sides, seed)
        signs = fixed_signs(found.left, found.right)
        self.approximation_ = "exact"
        self.kernels_, self.maps_ = dict(kernels), maps
        self.correlations_ = found.correlations
        self.weights_, self.offsets_ = {}, {}
        parts = zip(sides, (found.left, found.right), means, sizes, strict=True)
        for side, coefficients, columns, size in parts:
            # Coefficients of sum 0 centre a new row by themselves.
            W = (coefficients - coefficients.mean(axis=0)) * signs / size
            self.weights_[side.name] = W
            self.offsets_[side.name] = columns @ W

    def _solve_exact(
        self,
        K: list[Array],
        c: tuple[float, float],
        sides: tuple[primal.Columns, ...],
        seed: int,
    ) -> dual.Dual:
        n = len(K[0])
        d = 10 if self.n_components is None else self.n_components
        if n > dual.FEW_ROWS and 10 * d <= n and min(c) > 0:
            draw = generator(seed, "subspace")
            leading = dual.solve_leading(K[0], K[1], *c, d, draw)
            if leading is not None:
                return leading
        spectra = [dual.spectrum(matrix) for matrix in K]
        rank = {side.name: len(s.values) for side, s in zip(sides, spectra, strict=True)}
        d = self._width(rank, n, max(c) > 0)
        return dual.solve_by_spectra(spectra[0], spectra[1], *c, d)

    def _width(self, rank: Mapping[str, int], n: int, ridged: bool) -> int:
        forced = sum(rank.values()) - (n - 1)
        if forced > 0 and not ridged:
            warn(
                f"KernelCCA: without ridge the ranks {dict(rank)} of the centred kernels of {n} "
                f"rows add up to {n} or more, so {forced} correlations are 1 for any data. Set "
                "ridge > 0.",
                DegenerateDataWarning,
            )
        most = min(rank.values())
        if self.n_components is not None and self.n_components > most:
            raise ParameterError(
                f"n_components: expected at most {most}, the smaller rank of the centred kernels "
                f"{dict(rank)} over {n} rows; got {self.n_components}."
            )
        return min(10, most) if self.n_components is None else self.n_components

    def _fit_features(
        self,
        sides: tuple[primal.Columns, ...],
        given: Mapping[str, Given],
        kernels: Mapping[str, Kernel | None],
        ridges: tuple[float, ...],
        seed: int,
    ) -> None:
        how = "fourier" if self.approximation == "fourier" else "nystroem"
        n = sides[0].n
        single = (
            n >= MANY_ROWS
            and min(ridges) >= LEAST_RIDGE
            and all(primal.fits_single(side, kernels[side.name]) for side in sides)
        )
        dtype = np.dtype(np.float32 if single else np.float64)
        maps: dict[str, Any] = {}
        make: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {}
        turns: dict[str, NDArray[Any] | None] = {}
        for side in sides:
            kernel, name = kernels[side.name], side.name
            draw = generator(seed, how, name)
            if how == "fourier":
                maps[name] = primal.draw_fourier(name, kernel, side.width, self.n_features, draw)
                turns[name] = None
                kind = np.dtype("f8") if kernel and kernel.name == "laplacian" else dtype
                make[name] = maps[name].cast(kind).transform
                continue
            chosen = np.sort(draw.choice(n, min(self.n_features, n), replace=False))
            rows = side.read(chosen).astype(np.float64)
            function: Any = kernel or given[name]
            with np.errstate(over="ignore", invalid="ignore"):
                K = pairwise(function, rows)
            if kernel is None:
                make_symmetric(name, K)
                require_psd(name, K)
            require_finite(name, K)
            kept, turn = primal.landmark_factor(name, K, dtype)
            maps[name] = primal.KernelColumns(rows[kept], kernel)
            turns[name] = turn
            make[name] = primal.nystroem(rows[kept], function, turn, dtype)
        widest = max(len(t) if t is not None else self.n_features for t in turns.values())
        found = primal.moments((sides[0], sides[1]), make, widest)
        for side, own in zip(sides, found.own, strict=True):
            require_finite(side.name, own)
            if not np.trace(own) > EPS:
                raise DataError(f"modality {side.name!r}: every row has the same features.")
        d = self.n_components or 10
        solved = primal.solve_moments(
            found, (ridges[0], ridges[1]), d, generator(seed, "subspace")
        )
        rank = {side.name: r for side, r in zip(sides, solved.rank, strict=True)}
        d = self._width(rank, n, max(ridges) > 0)
        signs = fixed_signs(solved.left[:, :d], solved.right[:, :d])
        self.approximation_ = how
        self.kernels_, self.maps_ = dict(kernels), maps
        self.correlations_ = solved.correlations[:d]
        self.weights_, self.offsets_ = {}, {}
        parts = zip(sides, (solved.left, solved.right), found.means, strict=True)
        for side, weights, means in parts:
            W = weights[:, :d] * signs
            self.offsets_[side.name] = means @ W
            upper = turns[side.name]
            self.weights_[side.name] = W if upper is None else upper @ W

    # -- transform -------------------------------------------------------------------------

    def _transform(self, X: Modalities) -> Modalities:
        codes = {}
        for name in X.names:
            seen, weights = X.present[name], self.weights_[name]
            code = np.zeros((len(X), weights.shape[1]))
            side = self._columns(name, X)
            step = max(16, primal.BLOCK_ENTRIES // max(len(weights), side.width))
            for part in row_chunks(len(X), step):
                here = np.flatnonzero(seen[part]) + part.start
                if len(here):
                    rows = side.read(here if len(here) < part.stop - part.start else part)
                    code[here] = self._map(name, rows) @ weights - self.offsets_[name]
            codes[name] = code
        return make_parts(codes, X.present)

    def _map(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        mapped = self.maps_[name]
        given = one_of("kernel", self.kernel, name, tuple(self.names_in_))
        if given == PRECOMPUTED:
            return rows[:, mapped.rows]
        with np.errstate(over="ignore", invalid="ignore"):
            found: NDArray[Any] = mapped.transform(
                rows.astype(np.float64, copy=False), given if callable(given) else None
            )
        require_finite(name, found)
        return found

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean over components of the correlation of the two variates on these rows, in [-1, 1].

        Rows in which a modality is absent are left out; a variate that is constant on these rows
        counts as correlation 0.
        """
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError("score: correlations need 2 rows with both modalities.")
        Z = self._transform(X[both])
        one, two = (Z[name] for name in Z.names)
        return float(centred_cosine(one, two, axis="samples").mean())
