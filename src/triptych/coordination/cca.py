"""Canonical correlation analysis of two modalities, exact (Hotelling 1936)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number, is_sparse
from triptych.bases import Penalty
from triptych.contracts.linear import CanonicalInference
from triptych.contracts.method import Capabilities, Data
from triptych.coordination import _reading
from triptych.coordination._batches import PairFromBatches
from triptych.coordination._choice import SOLVERS, solve
from triptych.coordination._solution import Solution
from triptych.errors import (
    DataError,
    DegenerateDataWarning,
    ModalityError,
    ParameterError,
    warn,
)
from triptych.features import Features
from triptych.linalg import fixed_signs, standardise
from triptych.modalities import Modalities, make_parts

# Finite, and so that (n - 1) times it is finite too.
MOST = 1e150
# A first correlation that unrelated data of this size would show, from which on fit warns.
INFLATED = 0.8


class CCA(CanonicalInference, PairFromBatches):
    r"""Directions of two modalities whose projections correlate most.

    .. math:: \max_{A,B} \mathrm{tr}(A^T \Sigma_{12} B) \quad
              A^T \Sigma_{11} A = B^T \Sigma_{22} B = I

    Any number of rows and columns will do, and dependent and constant columns only lower the
    rank. Modalities other than vectors are read through :mod:`triptych.features` (pictures
    flattened, texts as TF-IDF of words). Rows are read in blocks from memory, memory-mapped
    files, sparse matrices (which stay sparse) or Dask arrays, whose own scheduler then does the
    work; the result is the same to rounding.

    Args:
        n_components: Width d of the codes, at most the smaller of the two ranks; ``None`` for
            that rank.
        ridge: Added to the variance (1) of every standardised column, >= 0; a number, or one by
            modality name. 0 is plain CCA; the larger, the nearer to partial least squares.
        shrinkage: c in [0, 1], or by modality name: the correlation matrix R of the columns
            becomes (1 - c) R + c I, the same directions as with ridge c / (1 - c). ``"auto"``
            takes the c of least expected squared error in closed form (Ledoit and Wolf 2003;
            Schäfer and Strimmer 2005), which reads the rows once more.
        confounds: Name of a third modality whose linear effect, intercept included, is removed
            from the two (partial CCA). It gets no code. ``transform`` removes its effect where
            it is given; where it is not, it is taken to be at its mean.
        solver: How the problem is solved.

            * ``"cholesky"``: factors of the moments of one pass; error ~ condition².
            * ``"refined"``: a second pass in the basis the first one made (Cholesky-QR twice);
              error ~ condition, dependent columns found.
            * ``"svd"``: singular vectors of all rows in memory (Björck and Golub 1973); about
              four float64 arrays (n, p) for each modality.
            * ``"dual"``: products of rows (n, n) in place of columns, for p >> n with a ridge.
            * ``"randomized"``: subspace iteration from ``n_components`` + 10 random directions,
              for columns too many for (p, p), with a penalty; see ``error_bound_``.
            * ``"auto"``: Cholesky where the factor says that the correlations are exact to
              2e-11 (4e-7 after products of float32), else refined (svd for small data). With
              n <= max(p): dual if both modalities are regularised and the data are large, else
              svd. Randomized if n and p exceed 10,000 and ``n_components`` is at most 200.
        random_state: Seed of the randomised solver.

    Attributes:
        correlations_: Canonical correlations (d,) of the rows fitted, falling, in [0, 1]. They
            are too high when columns are many for the rows; ``score`` on other rows is not. With
            a ridge or shrinkage, the regularised ones.
        all_correlations_: The same for all pairs, (min rank,), as tests of significance need
            them; with the randomised solver, those of the d components only.
        weights_: By modality, (p, d) for the columns as given; 0 for constant columns.
        means_: By modality, (p,); the code is ``(columns - means_) @ weights_``.
        loadings_: By modality, correlation (p, d) of each column with its variate, in [-1, 1]; 0
            for constant columns.
        cross_loadings_: By modality, correlation (p, d) of each column with the variate of the
            other modality.
        explained_variance_: By modality, share (d,) of the variance of its standardised columns
            that its variate explains: the mean squared loading.
        redundancy_: By modality, share (d,) that the other's variate explains: the mean squared
            cross-loading.
        rank_: Numerical rank by modality; with the randomised solver, where it is above
            ``n_components`` + 10, the most it can be.
        n_samples_: Complete rows learnt from.
        solver_: The solver that was used.
        error_bound_: Estimate from above of the error of ``correlations_`` by rounding, from the
            condition of the factors. For the randomised solver a bound by residuals: each of
            ``correlations_`` is that near to a true one (which are the leading ones but for a
            start of probability 0); power passes go on until it is 1e-6, or 30 are done.
        chance_correlation_: The first correlation that unrelated data of this many rows and these
            ranks show without regularisation (Wachter 1980), in [0, 1].
        shrinkage_: By modality, the c that was used.
        features_: How each modality becomes columns.
        moments_: Moments so far, after ``partial_fit`` or ``fit`` of an iterator.

    Codes (variates) of the rows fitted have variance 1 (divisor n - 1) and are uncorrelated with
    one another when nothing is regularised. Signs: of the columns of both modalities, the one
    with the largest absolute loading on a component has a positive loading; ties go to the
    modality first in the alphabet. Thus neither the order of modalities nor the unit of a column
    matters.

    Rows in which a modality is absent are left out of ``fit`` (``missing_at_fit``: only complete
    pairs are learnt from, words of a text too). A modality alone can be transformed; the code of
    an absent one is absent in the mask.

    Warns:
        DegenerateDataWarning: Without regularisation, the ranks add up to n or more, so that
            correlations of 1 are there for any data; or n is so near to their sum that unrelated
            data would show a first correlation of 0.8 or more (``chance_correlation_``; n below
            2.5 times the sum for equal ranks); or one pass over rows, which a stream and
            ``"cholesky"`` have, cannot tell the correlations to 1e-6, or whether columns depend
            on one another.

    References:
        Hotelling 1936, Biometrika 28; Björck and Golub 1973, Math. Comp. 27; Yamamoto et al.
        2015, ETNA 44 (Cholesky-QR twice); Wachter 1980, Ann. Stat. 8.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> shared = rng.normal(size=(500, 1))
        >>> X = {"a": shared + rng.normal(size=(500, 3)), "b": 5 - shared}
        >>> model = CCA().fit(X)
        >>> model.correlations_.round(2), model.loadings_["b"].round(2)
        (array([0.87]), array([[1.]]))
        >>> halves = CCA().fit({m: rows[part] for m, rows in X.items()} for part in
        ...                    (slice(0, 200), slice(200, 500)))
        >>> bool(np.allclose(halves.correlations_, model.correlations_, rtol=1e-12))
        True
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        max_modalities=2,
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        streams=True,
    )
    _looks_in_fit: ClassVar[bool] = True
    _solved: ClassVar[tuple[str, ...]] = (
        "correlations_",
        "all_correlations_",
        "weights_",
        "loadings_",
        "cross_loadings_",
        "explained_variance_",
        "redundancy_",
        "means_",
        "rank_",
        "n_samples_",
        "solver_",
        "error_bound_",
        "chance_correlation_",
        "shrinkage_",
        "confound_weights_",
    )
    features_: dict[str, Features]
    correlations_: NDArray[np.float64]
    all_correlations_: NDArray[np.float64]
    weights_: dict[str, NDArray[np.float64]]
    means_: dict[str, NDArray[np.float64]]
    loadings_: dict[str, NDArray[np.float64]]
    cross_loadings_: dict[str, NDArray[np.float64]]
    explained_variance_: dict[str, NDArray[np.float64]]
    redundancy_: dict[str, NDArray[np.float64]]
    rank_: dict[str, int]
    n_samples_: int
    solver_: str
    error_bound_: float
    chance_correlation_: float
    shrinkage_: dict[str, float]
    confound_weights_: dict[str, NDArray[np.float64]]

    def __init__(
        self,
        n_components: int | None = None,
        *,
        ridge: float | Mapping[str, float] = 0.0,
        shrinkage: float | str | Mapping[str, float | str] = 0.0,
        confounds: str | None = None,
        solver: str = "auto",
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.shrinkage = shrinkage
        self.confounds = confounds
        self.solver = solver
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for label, high in (("ridge", MOST), ("shrinkage", 1.0)):
            given = getattr(self, label)
            for name, value in (given if isinstance(given, Mapping) else {"": given}).items():
                if label == "shrinkage" and isinstance(value, str) and value == "auto":
                    continue
                check_number(f"{label}__{name}" if name else label, value, low=0, high=high)
        check_choice("solver", self.solver, SOLVERS)
        if self.confounds is not None and not isinstance(self.confounds, str):
            raise ParameterError(
                f"confounds: expected the name of a modality, got {self.confounds!r}."
            )
        if self.solver == "randomized" and self.n_components is None:
            raise ParameterError('solver="randomized" needs n_components, how many to look for.')

    # -- learning --------------------------------------------------------------------------

    def _gate_fit(self, X: Data) -> Modalities:
        return _reading.gate(X, self.confounds, super()._gate_fit)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self._check_names(X.names)
        reading = _reading.Reading(X)
        self.features_ = reading.features
        self._learn(
            solve(
                reading,
                self._penalty,
                self.confounds,
                self.solver,
                n_components=self.n_components,
                regularised={
                    name: bool(
                        self._given("ridge", name) != 0 or self._given("shrinkage", name) != 0
                    )
                    for name in X.names
                    if name != self.confounds
                },
                random_state=self.random_state,
            )
        )

    def _check_names(self, names: tuple[str, ...]) -> None:
        pair = [name for name in names if name != self.confounds]
        for label in ("ridge", "shrinkage"):
            given = getattr(self, label)
            if isinstance(given, Mapping) and set(given) != set(pair):
                raise ParameterError(
                    f"{label}: expected a number for each of {pair}, got {dict(given)}."
                )

    def _given(self, label: str, name: str) -> Any:
        given = getattr(self, label)
        return given[name] if isinstance(given, Mapping) else given

    def _penalty(self, name: str, learn: Callable[[], float]) -> Penalty:
        shrinkage = self._given("shrinkage", name)
        c = learn() if isinstance(shrinkage, str) else float(shrinkage)
        return Penalty(1 - c, c + float(self._given("ridge", name)))

    @property
    def _regularised(self) -> bool:
        every = [*_values(self.ridge), *_values(self.shrinkage)]
        return any(value != 0 for value in every)

    def _learn(self, found: Solution) -> None:
        """Turn two bases into attributes."""
        a, b = found.names
        rank = {name: found.bases[name].rank for name in (a, b)}
        most = min(rank.values())
        width = most if self.n_components is None else self.n_components
        if width > most:
            raise ParameterError(
                f"n_components: expected at most {most}, the smaller rank of the modalities "
                f"{rank} over {found.n} rows; got {width}."
            )
        chance = _chance(rank, found.n)
        self._warn_if_degenerate(rank, found.n, chance)
        rho, parts = found.pairs(width)
        signs = fixed_signs(*(parts[name].loadings for name in (a, b)))
        self.rank_, self.n_samples_, self.solver_ = rank, found.n, found.solver
        self.error_bound_, self.chance_correlation_ = found.error, chance
        self.all_correlations_, self.correlations_ = rho, rho[:width].copy()
        self.means_ = {name: columns.means for name, columns in found.columns.items()}
        for part in parts.values():
            for values in part:
                values *= signs
        self.weights_ = {name: part.weights for name, part in parts.items()}
        self.loadings_ = {name: part.loadings for name, part in parts.items()}
        self.cross_loadings_ = {name: part.cross for name, part in parts.items()}
        varying = {name: ~found.columns[name].constant for name in (a, b)}
        self.explained_variance_ = {
            name: np.mean(self.loadings_[name][varying[name]] ** 2, axis=0) for name in (a, b)
        }
        self.redundancy_ = {
            name: np.mean(self.cross_loadings_[name][varying[name]] ** 2, axis=0)
            for name in (a, b)
        }
        self.shrinkage_ = {name: 1 - found.penalties[name].keep for name in (a, b)}
        self.confound_weights_ = {
            name: slopes @ self.weights_[name] for name, slopes in found.slopes.items()
        }
        if found.confound_means is not None and self.confounds is not None:
            self.means_[self.confounds] = found.confound_means

    def _warn_if_degenerate(self, rank: Mapping[str, int], n: int, chance: float) -> None:
        if self._regularised:
            return
        # Two spaces of centred columns share the n - 1 dimensions that there are.
        forced = sum(rank.values()) - (n - 1)
        if forced > 0:
            text = (
                f"CCA: the ranks {rank} of {n} rows add up to {n} or more, so {forced} "
                "correlations are 1 for any data. Set ridge > 0, take fewer columns or more rows."
            )
        elif chance >= INFLATED:
            text = (
                f"CCA: {n} rows are few for the ranks {rank}: unrelated data would show a first "
                f"correlation of about {chance:.2f}. Judge by score on other rows, set "
                'shrinkage="auto", or take fewer columns.'
            )
        else:
            return
        warn(text, DegenerateDataWarning)

    # -- using -----------------------------------------------------------------------------

    def _transform(self, X: Modalities) -> Modalities:
        removed = self._confounded(X)
        codes = {}
        for name in X.names:
            if name == self.confounds:
                continue
            seen = X.present[name]
            columns = self.features_[name].transform(X[name], seen)
            if is_sparse(columns):
                code = columns @ self.weights_[name] - self.means_[name] @ self.weights_[name]
            else:
                # Centred first: a large mean would cost digits of the product.
                code = (columns - self.means_[name]) @ self.weights_[name]  # (n, d)
            if removed is not None:
                code = code - removed @ self.confound_weights_[name]
            codes[name] = np.where(seen[:, None], code, 0.0)
        if not codes:
            raise ModalityError(
                f"transform: only the confounds {self.confounds!r} came, which get no code."
            )
        return make_parts(codes, {name: X.present[name] for name in codes})

    def _confounded(self, X: Modalities) -> NDArray[np.float64] | None:
        """Centred confounds (n, p_c), 0 where they are absent."""
        if self.confounds is None or self.confounds not in X:
            return None
        seen = X.present[self.confounds]
        columns = self.features_[self.confounds].transform(X[self.confounds], seen)
        dense = np.asarray(columns.toarray() if is_sparse(columns) else columns)
        return np.where(seen[:, None], dense - self.means_[self.confounds], 0.0)

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean over components of the correlation of the two variates on these rows, in [-1, 1].

        Rows in which a modality is absent are left out; a variate that is constant on these rows
        counts as correlation 0.
        """
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError("score: correlations need 2 rows with both modalities.")
        Z = self._transform(X[both])
        A, B = (standardise(Z[name]).values for name in Z.names)
        return float(np.mean((A * B).sum(axis=0) / (len(A) - 1)))


def _values(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, Mapping) else [given]


def _chance(rank: Mapping[str, int], n: int) -> float:
    """First correlation of unrelated data in the limit of many rows and columns."""
    a, b = (min(r / max(n - 1, 1), 1.0) for r in rank.values())
    if a + b >= 1:
        return 1.0
    return float(np.sqrt(a + b - 2 * a * b + 2 * np.sqrt(a * b * (1 - a) * (1 - b))))
