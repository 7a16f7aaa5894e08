"""Probabilistic CCA: one latent code behind all modalities, by closed form and by EM."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from triptych.arrays import check_number
from triptych.canonical.many import Orders, permutation_of_many
from triptych.canonical.permutation import PermutationTest, permutation_test
from triptych.contracts.linear import of_rows
from triptych.contracts.method import Capabilities, Coordination, Data
from triptych.coordination._latent import Latent, Pattern, closed_form, expectation_maximisation
from triptych.coordination._sides import Side, chunks, dense, present_counts, read_sides
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, TriptychWarning, warn
from triptych.features import fit_features
from triptych.linalg import fixed_signs
from triptych.modalities import Modalities, make_parts

Array = NDArray[np.float64]
MOST = 1e150
TESTED_ITERATIONS = 10  # of EM, for each permutation


class ProbabilisticCCA(Coordination):
    r"""A normal latent code z that explains all that modalities share, by maximum likelihood.

    .. math:: z \sim N(0, I_d), \quad x_m \mid z \sim N(W_m z + \mu_m, \Psi_m)

    with a full covariance :math:`\Psi_m` in each modality. Two modalities without gaps are solved
    in closed form, :math:`W_1 = \Sigma_{11} A \sqrt{R}`, :math:`\Psi_1 = \Sigma_{11} - W_1 W_1^T`
    with the canonical weights A and correlations R; more modalities, and rows that lack some, by
    EM from a spectral start, each row teaching with what it has. The likelihood never falls.

    The code of a modality is the posterior mean E[z | x_m] of that modality alone, so it is drawn
    towards 0 where a modality says little; :meth:`posterior` uses all that a row has. Likelihood
    leaves the rotation of z free. Here :math:`\sum_m W_m^T \Psi_m^{-1} W_m` is diagonal and
    falling; two modalities, whose likelihood also leaves free which has the stronger W, have equal
    ones, and these are the canonical components. Of the columns of all modalities the one with the
    largest absolute loading on a component has a positive one.

    Args:
        n_components: Width d of the code, at most the second largest rank; ``None`` for that.
        ridge: Added to the variance (1) of every standardised column, >= 0; a number, or one by
            modality name. The likelihood is then that of rows with so much noise added (in EM a
            penalty, :math:`-\tfrac{r}{2} n_m \mathrm{tr}` of that block of the inverse
            covariance).
        max_iter: Most iterations of EM, each of three steps.
        tol: EM stops when an iteration adds less than this to the log-likelihood per row, nats.
            Where rows say little of a component the likelihood is flat and its weights settle
            late; a smaller ``tol`` then costs many iterations and gains little likelihood.

    Attributes:
        correlations_: Canonical correlations (d,) for two modalities without gaps; else how well
            modalities agree on each component, :math:`c / (c + 1)` with c the mean of
            :math:`w_m^T \Psi_m^{-1} w_m` over modalities, which is the same for two.
        loadings_: By modality, correlation (p, d) of each column with z under the model.
        means_: By modality, (p,); the model's, which differ from those of the rows with gaps.
        rank_: Numerical rank by modality. Directions in which no row varies are not modelled.
        likelihoods_: Mean log-likelihood per row, nats, after each iteration (less the penalty of
            a ridge), of columns as given; one value in closed form.
        n_iter_: Iterations; 0 in closed form.
        n_samples_: Rows learnt from: those that have something.
        features_: How each modality becomes columns.

    ``score`` is the mean log-likelihood per row of the modalities present, in nats; columns that
    do not vary with the rows fitted count in no density. ``reconstruct`` gives the mean of a new
    measurement of each modality, given those present.

    Warns:
        DegenerateDataWarning: A correlation of 1, for which the likelihood has no bound; noise
            is kept at 1e-8 of the variance.
        TriptychWarning: EM has not converged after ``max_iter`` iterations.

    References:
        Bach and Jordan 2005, TR 688, University of California, Berkeley, theorem 2 and section
        4.1; Varadhan and Roland 2008, Scand. J. Statist. 35 (acceleration of EM).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=(500, 1))
        >>> X = {name: z + rng.normal(size=(500, 3)) for name in ("a", "b", "c")}
        >>> present = {"a": rng.random(500) < 0.7}
        >>> model = ProbabilisticCCA(1).fit(Modalities(X, present=present))
        >>> model.correlations_.round(1)
        array([0.8])
        >>> model.reconstruct({"a": np.full((1, 3), 2.0)})["b"].round(1)
        array([[1.5, 1.5, 1.5]])
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
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
        ridge: float | Mapping[str, float] = 0.0,
        max_iter: int = 500,
        tol: float = 1e-7,
    ) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.max_iter = max_iter
        self.tol = tol

    def _check_parameters(self) -> None:
        super()._check_parameters()
        parts = self.ridge if isinstance(self.ridge, Mapping) else {"": self.ridge}
        for name, value in parts.items():
            check_number(f"ridge__{name}" if name else "ridge", value, low=0, high=MOST)
        check_number("max_iter", self.max_iter, low=1, integer=True)
        check_number("tol", self.tol, low=0)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        if isinstance(self.ridge, Mapping) and set(self.ridge) != set(X.names):
            raise ParameterError(
                f"ridge: expected a number for each of {list(X.names)}, got {dict(self.ridge)}."
            )
        counts = present_counts(X)
        if (counts > 1).sum() < 2:
            raise DataError(
                "ProbabilisticCCA needs 2 rows that have two modalities or more; got "
                f"{int((counts > 1).sum())}."
            )
        rows = X if (counts > 0).all() else X[counts > 0]
        features = fit_features(rows)
        sides = read_sides(rows, features)
        ranks = sides.ranks
        most = sorted(ranks.values())[-2]
        width = most if self.n_components is None else self.n_components
        if width > most:
            raise ParameterError(
                f"n_components: expected at most {most}, the second largest rank of the "
                f"modalities {ranks} over {len(rows)} rows; got {width}."
            )
        self.features_, self.rank_, self.n_samples_ = features, ranks, len(rows)
        self.images_ = {m: _white(rows, m) for m in rows.names}
        self.bases_: dict[str, Array] = {}
        self.whiteners_: dict[str, Array] = {}
        self.centres_: dict[str, Array] = {}
        noise = {}
        for m, side in sides.sides.items():
            self._read_side(m, side)
            added = self._ridge(m)
            noise[m] = added / (side.s**2 / side.columns.n + added)
        self.volumes_ = {m: _log_volume(side, self.bases_[m]) for m, side in sides.sides.items()}
        patterns = self._patterns(rows, features)
        if len(patterns) == 1 and len(ranks) == 2:
            latent, track = closed_form(patterns[0], noise, width)
            self.n_iter_ = 0
        else:
            latent, track, settled = expectation_maximisation(
                patterns, noise, sides, width, self.max_iter, self.tol
            )
            self.n_iter_ = len(track)
            if not settled:
                warn(
                    f"ProbabilisticCCA: EM has not converged after max_iter={self.max_iter} "
                    f"iterations; the last added {track[-1] - track[-2]:.2g} nats per row."
                    if len(track) > 1
                    else "ProbabilisticCCA: EM has not converged after one iteration.",
                    TriptychWarning,
                )
        self._keep(latent.fixed(), track, patterns)

    def _ridge(self, name: str) -> float:
        return float(self.ridge[name] if isinstance(self.ridge, Mapping) else self.ridge)

    def _read_side(self, name: str, side: Side) -> None:
        """Whitened coordinates of a modality: ``(columns - centre) @ whitener``, and back."""
        columns = side.columns
        root = np.sqrt(side.s**2 / columns.n + self._ridge(name))  # (r,)
        whitener = side.Vt.T / root / columns.spreads[:, None]
        whitener[columns.constant] = 0.0
        basis = side.Vt.T * root * columns.spreads[:, None]
        basis[columns.constant] = 0.0
        self.whiteners_[name], self.bases_[name] = whitener, basis  # (p, r)
        self.centres_[name] = columns.means

    def _keep(self, latent: Latent, track: list[float], patterns: list[Pattern]) -> None:
        loadings = {m: latent.loadings(m, self.bases_[m]) for m in latent.W}
        signs = fixed_signs(*loadings.values())
        self.loadings_ = {m: found * signs for m, found in loadings.items()}
        self.latent_weights_ = {m: W * signs for m, W in latent.W.items()}
        self.latent_noise_ = dict(latent.noise)
        self.latent_means_ = dict(latent.means)
        self.means_ = {m: self.centres_[m] + self.bases_[m] @ latent.means[m] for m in latent.W}
        strength = np.mean([np.diag(latent.strength[m]) for m in latent.W], axis=0)
        self.correlations_ = strength / (1 + strength)
        volume = sum(p.count * sum(self.volumes_[m] for m in p.names) for p in patterns)
        self.likelihoods_ = np.array(track) - volume / self.n_samples_
        if (self.correlations_ > 1 - 1e-7).any():
            warn(
                "ProbabilisticCCA: modalities agree on a component without any noise, so the "
                "likelihood has no bound; noise is kept at 1e-8. Set ridge > 0, take fewer "
                "columns or more rows.",
                DegenerateDataWarning,
            )

    @property
    def _latent(self) -> Latent:
        return Latent(self.latent_weights_, self.latent_noise_, self.latent_means_)

    # -- rows ------------------------------------------------------------------------------

    def _whitened(self, X: Modalities, name: str) -> Array:
        values = dense(X, name, self.features_[name]) - self.centres_[name]
        out: Array = values @ self.whiteners_[name]  # (n, r)
        out[~X.present[name]] = 0.0
        return out

    def _patterns(self, X: Modalities, features: Mapping[str, Any]) -> list[Pattern]:
        """Moments of the rows that have the same modalities, one for each such set."""
        names = sorted(X.names)
        masks = np.stack([X.present[m] for m in names], axis=1)  # (n, m)
        kinds, which = np.unique(masks, axis=0, return_inverse=True)
        widths = sum(features[m].n_features for m in names)
        found = []
        for i, kind in enumerate(kinds):
            own = tuple(m for m, there in zip(names, kind, strict=True) if there)
            rows = X[np.flatnonzero(which.reshape(-1) == i)]
            size = sum(self.rank_[m] for m in own)
            first, second = np.zeros(size), np.zeros((size, size))
            for part in chunks(rows, widths):
                some = rows[part]
                joint = np.hstack([self._whitened(some, m) for m in own])
                first += joint.sum(axis=0)
                second += joint.T @ joint
            found.append(Pattern(own, len(rows), first, second))
        return found

    def permutation_test(
        self,
        X: Data,
        n_permutations: int = 999,
        random_state: int | None = 0,
        groups: ArrayLike | None = None,
        *,
        exchange: str = "whole",
        n_components: int | None = None,
    ) -> PermutationTest:
        """Test ``correlations_`` by permuting the rows of each modality among those that have it.

        Two modalities without gaps are tested as those of :class:`CCA` with this ridge. Others are
        learnt again for every permutation, by at most 10 iterations of EM for the rows as they are
        and as they are permuted; ``correlations`` of the test are those.

        Args:
            X: The modalities fitted, n rows.
            n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
            random_state: Seed of the permutations.
            groups: Labels (n,) of rows that belong together.
            exchange: ``"whole"`` groups of the same size change places, or rows ``"within"`` each.
            n_components: Components tested; those of the method when left out.

        Returns:
            See :func:`~triptych.canonical.permutation.permutation_test` and
            :func:`~triptych.canonical.many.permutation_of_many`.
        """
        self._check_fitted()
        data = self._gate(X, "permutation_test", every_modality=True)
        kept = present_counts(data) > 0
        rows = data if kept.all() else data[kept]
        own = len(self.correlations_) if n_components is None else n_components
        how: dict[str, Any] = {
            "n_permutations": n_permutations,
            "groups": None if groups is None else of_rows(groups, kept, "groups"),
            "exchange": exchange,
            "random_state": random_state,
        }
        if rows.complete and len(rows.names) == 2:
            a, b = sorted(rows.names)
            n = len(rows)
            # Here variances have the divisor n.
            ridge = (self._ridge(a) * n / (n - 1), self._ridge(b) * n / (n - 1))
            sides = (dense(rows, m, self.features_[m]) for m in (a, b))
            return permutation_test(*sides, n_components=own, ridge=ridge, **how)
        again = clone(self).set_params(
            n_components=own, max_iter=min(self.max_iter, TESTED_ITERATIONS)
        )

        def correlations(orders: Orders) -> Array:
            moved = {m: rows.select(m)[orders[m]][m] for m in rows.names}
            kinds = {m: self.kinds_[m].form for m in rows.names}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TriptychWarning)
                again.fit(Modalities(moved, present=rows.present, kinds=kinds))
            found: Array = again.correlations_
            return found

        return permutation_of_many(correlations, rows.present, **how)

    def _transform(self, X: Modalities) -> Modalities:
        latent, codes = self._latent, {}
        for name in X.names:
            one = X.select(name)
            gain = latent.gain([name])  # (d, r)
            code = np.zeros((len(X), len(gain)))
            for part in chunks(X, self.features_[name].n_features):
                code[part] = (self._whitened(one[part], name) - latent.means[name]) @ gain.T
            codes[name] = np.where(X.present[name][:, None], code, 0.0)
        return make_parts(codes, X.present)

    def posterior(self, X: Data) -> tuple[Array, Array]:
        """Mean and covariance of z given all the modalities that each row has.

        Args:
            X: Any of the modalities fitted, n rows.

        Returns:
            Means (n, d) and covariances (n, d, d); 0 and I in rows that have nothing.
        """
        self._check_fitted()
        data = self._gate_transform(X)
        latent = self._latent
        width = len(self.correlations_)
        means = np.zeros((len(data), width))
        covariances = np.tile(np.eye(width), (len(data), 1, 1))
        for own, rows in _alike(data):
            centred = np.hstack([self._whitened(data[rows], m) - latent.means[m] for m in own])
            means[rows] = centred @ latent.gain(own).T
            covariances[rows] = np.linalg.inv(latent.precision(own))
        return means, covariances

    def _reconstruct(self, X: Modalities) -> Modalities:
        codes, _ = self.posterior(X)
        out = {}
        for m in self.names_in_:
            flat = self.means_[m] + codes @ self.latent_weights_[m].T @ self.bases_[m].T  # (n, p)
            shape = tuple(int(s or 0) for s in self.kinds_[m].shape)
            out[m] = (flat * self.images_[m]).reshape(len(flat), *shape)
        return Modalities(out, kinds={m: self.kinds_[m].form for m in out})

    def _score(self, X: Modalities, y: Any) -> float:
        latent, total, count = self._latent, 0.0, 0
        for own, rows in _alike(X):
            joint = np.hstack([self._whitened(X[rows], m) for m in own])
            pattern = Pattern(own, len(rows), joint.sum(axis=0), joint.T @ joint)
            total += latent.log_likelihood(pattern)
            total -= len(rows) * sum(self.volumes_[m] for m in own)
            count += len(rows)
        if not count:
            raise DataError("score: no row has a modality.")
        return total / count


def _alike(X: Modalities) -> list[tuple[tuple[str, ...], NDArray[np.intp]]]:
    """Rows that have the same modalities, with their names by the alphabet; none left out."""
    names = sorted(X.names)
    masks = np.stack([X.present[m] for m in names], axis=1)
    kinds, which = np.unique(masks, axis=0, return_inverse=True)
    return [
        (
            tuple(m for m, there in zip(names, kind, strict=True) if there),
            np.flatnonzero(which.reshape(-1) == i),
        )
        for i, kind in enumerate(kinds)
        if kind.any()
    ]


def _white(X: Modalities, name: str) -> float:
    """What features divide pictures of whole numbers by."""
    data = X[:1][name]
    whole = X.kind(name).form == "image" and np.asarray(data).dtype.kind in "iu"
    return 255.0 if whole else 1.0


def _log_volume(side: Side, basis: Array) -> float:
    """Logarithm of the volume of a unit cube of whitened coordinates, among columns as given."""
    varies = ~side.columns.constant
    B = basis[varies]
    if B.shape[0] == B.shape[1]:
        root = np.linalg.norm(B / side.columns.spreads[varies, None], axis=0)
        return float(np.log(root).sum() + np.log(side.columns.spreads[varies]).sum())
    size = np.abs(B).max()
    R = np.linalg.qr(B / size, mode="r")
    return float(np.log(np.abs(np.diag(R))).sum() + B.shape[1] * np.log(size))
