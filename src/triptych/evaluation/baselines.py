"""Honest baselines with the manners of a method, judged by the same measures.

They are no methods of the catalogue: each answers "compared with what?".
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone

from triptych.contracts.method import Capabilities, Coordination, Data, Fusion, Method
from triptych.errors import CapabilityError, DataError, NotFittedError
from triptych.evaluation.probes import linear_probe, subset
from triptych.evaluation.projection import MAX_ROWS, Block, Projection
from triptych.features import fit_features
from triptych.modalities import Modalities, as_modalities, make_parts
from triptych.seeding import check_random_state, derive, generator

FOLDS = 3

Held = tuple[Modalities, NDArray[Any] | None] | None

ANYTHING = Capabilities(
    min_modalities=1,
    missing_at_fit=True,
    missing_at_transform=True,
    one_modality_at_transform=True,
)


class Chance(Coordination):
    """Random codes that look at nothing: what luck alone scores.

    Args:
        n_components: Width of each code.
        random_state: Seed; codes are keyed by modality and by the number of rows asked for.
    """

    capabilities: ClassVar[Capabilities] = ANYTHING

    def __init__(self, n_components: int = 64, *, random_state: int | None = 0) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Held) -> None:
        self.seed_ = check_random_state(self.random_state)

    def _transform(self, X: Modalities) -> Modalities:
        n, d = len(X), self.n_components
        codes = {m: generator(self.seed_, "chance", m, n).standard_normal((n, d)) for m in X.names}
        return make_parts(codes, X.present)

    def drawn(
        self, n: int, a: str, b: str, draw: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Other codes (n, d) of two modalities, as often as one asks."""
        shape = (n, self.n_components)
        own, other = (generator(self.seed_, "chance", m, n, draw) for m in (a, b))
        return own.standard_normal(shape), other.standard_normal(shape)

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        """0: there is nothing to be good at."""
        return 0.0


class ShuffledPairs(BaseEstimator):
    """A coordination method fitted on pairs whose rows were shuffled.

    What it still scores does not come from the pairing but from each modality by itself, or
    from a measure that rewards the wrong thing. Every modality but the first is shuffled, in
    ``fit`` and in its validation rows; ``transform`` gets true rows.

    Args:
        method: The method, unfitted; linear CCA when left out.
        random_state: Seed of the shuffling.
    """

    def __init__(self, method: Method | None = None, *, random_state: int | None = 0) -> None:
        self.method = method
        self.random_state = random_state

    def fit(self, X: Data, y: ArrayLike | None = None, *, validation: Any = None) -> Self:
        """Shuffle, then fit a clone of the method; arguments as in ``Method.fit``."""
        seed = check_random_state(self.random_state)
        method = self._template() if self.method is None else self.method
        if validation is not None:
            X_valid, y_valid = validation if isinstance(validation, tuple) else (validation, None)
            validation = (shuffle_pairs(X_valid, derive(seed, "validation")), y_valid)
        self.method_ = clone(method).fit(shuffle_pairs(X, seed), y, validation=validation)
        return self

    @staticmethod
    def _template() -> Any:
        import triptych.coordination as coordination

        return coordination.CCA()

    def transform(self, X: Data) -> Any:
        """Codes of rows, as the method inside gives them."""
        return self._fitted().transform(X)

    def fit_transform(self, X: Data, y: ArrayLike | None = None, **fit_params: Any) -> Any:
        """``fit(X, y)`` and then ``transform(X)``."""
        return self.fit(X, y, **fit_params).transform(X)

    def _fitted(self) -> Any:
        if not hasattr(self, "method_"):
            raise NotFittedError("this ShuffledPairs is not fitted yet; call fit(X) first.")
        return self.method_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "method_")

    @property
    def panel(self) -> str:
        """The panel of the method inside."""
        return "coordination" if self.method is None else type(self.method).panel

    @property
    def capabilities(self) -> Capabilities:
        """Those of the method inside."""
        inner = vars(self).get("method_") or self.method or self._template()
        declared: Capabilities = inner.capabilities
        return declared

    def __getattr__(self, name: str) -> Any:
        # What the method inside learnt or can do: names_in_, retrieve, history_ and the like.
        if name.startswith("__") or "method_" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        return getattr(self.method_, name)


def shuffle_pairs(X: Data, seed: int) -> Modalities:
    """The same rows of each modality, in an order of its own for all but the first.

    The presence masks move with the rows. Permutations are keyed by modality name.
    """
    data = as_modalities(X)
    out = data.select(data.names[0])
    for name in data.names[1:]:
        order = generator(seed, "shuffle", name).permutation(len(data))
        out = out.merge(data.select(name)[order])
    return out


class ConcatPCA(Fusion):
    """Standardised features of all modalities side by side, then principal components.

    A row that lacks a modality gets that modality's mean features. Features are those of
    :mod:`triptych.features`; each modality has the same total variance.

    Args:
        n_components: Components to keep, at most the rows and columns.
        max_text: Most words of a text modality.
        random_state: Seed of the rows and of the randomised SVD.
    """

    capabilities: ClassVar[Capabilities] = ANYTHING

    def __init__(
        self, n_components: int = 64, *, max_text: int = 2000, random_state: int | None = 0
    ) -> None:
        self.n_components = n_components
        self.max_text = max_text
        self.random_state = random_state

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Held) -> None:
        seed = check_random_state(self.random_state)
        learnt = fit_features(X, self.max_text)
        blocks = tuple(Block.learn(features, X, seed) for features in learnt.values())
        self.projection_ = Projection.learn(blocks, X, self.n_components, seed)

    def _transform(self, X: Modalities) -> NDArray[np.float64]:
        return self.projection_.transform(X)

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        """Share of the variance of these rows' standardised features that is explained."""
        return self.projection_.explains(X)


class BestSingle(Fusion):
    """Principal components of the one modality that says most about the label.

    The choice is made by the linear probe on validation rows if they have labels, else by three
    folds of the training rows, and without usable labels by the share of variance that the
    components explain; ``chosen_by_`` says which. ``chosen_`` is the modality, ``scores_`` the
    figure of each. A row that lacks the chosen modality gets its mean features.

    Args:
        n_components: Components to keep, at most the rows and columns.
        max_text: Most words of a text modality.
        random_state: Seed of the rows, the folds and the randomised SVD.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        min_modalities=1, missing_at_fit=True, missing_at_transform=True
    )

    def __init__(
        self, n_components: int = 64, *, max_text: int = 2000, random_state: int | None = 0
    ) -> None:
        self.n_components = n_components
        self.max_text = max_text
        self.random_state = random_state

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Held) -> None:
        seed = check_random_state(self.random_state)
        candidates = {}
        for name, features in fit_features(X, self.max_text).items():
            block = Block.learn(features, X, seed)
            candidates[name] = Projection.learn((block,), X, self.n_components, seed)
        held = validation if validation is not None and validation[1] is not None else None
        try:
            if y is None:
                raise DataError("no labels")
            self.scores_ = {m: _judge(c, X, y, held, seed) for m, c in candidates.items()}
            where = f"{FOLDS} folds of the training rows" if held is None else "validation rows"
            self.chosen_by_ = f"a linear probe on {where}"
        except DataError:
            self.scores_ = {m: candidate.explained for m, candidate in candidates.items()}
            self.chosen_by_ = "the share of variance explained, for want of usable labels"
        self.chosen_ = max(self.scores_, key=lambda m: (self.scores_[m], m))
        self.projection_ = candidates[self.chosen_]

    def _transform(self, X: Modalities) -> NDArray[np.float64]:
        if self.chosen_ not in X:
            raise CapabilityError(f"BestSingle chose {self.chosen_!r}, which is not there.")
        return self.projection_.transform(X)

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        """Share of the variance of the chosen modality's features that is explained."""
        return self.projection_.explains(X)


def _judge(candidate: Projection, X: Modalities, y: NDArray[Any], held: Held, seed: int) -> float:
    rows = subset(y, y.dtype.kind == "f", MAX_ROWS, seed)
    Z, y = candidate.transform(X[rows]), y[rows]
    if held is not None and held[1] is not None:
        return linear_probe(Z, y, candidate.transform(held[0]), held[1], seed).value
    fold = generator(seed, "folds").permutation(len(y)) % FOLDS
    return float(
        np.mean(
            [
                linear_probe(Z[fold != f], y[fold != f], Z[fold == f], y[fold == f], seed).value
                for f in range(FOLDS)
            ]
        )
    )


def default_baselines(
    n_components: int = 64, *, method: Method | None = None, random_state: int | None = 0
) -> dict[str, Any]:
    """The baselines that always stand beside methods, unfitted, by the name to show.

    Args:
        n_components: Width of codes.
        method: What :class:`ShuffledPairs` fits; linear CCA when left out.
        random_state: Seed of all.
    """
    return {
        "chance": Chance(n_components, random_state=random_state),
        "shuffled pairs": ShuffledPairs(method, random_state=random_state),
        "best single modality": BestSingle(n_components, random_state=random_state),
        "concatenation + PCA": ConcatPCA(n_components, random_state=random_state),
    }
