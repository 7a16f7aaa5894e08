"""The method under question, made small, and the words in which a check complains."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from triptych.contracts.method import Capabilities, Method
from triptych.modalities import Modalities
from triptych.testing.examples import example, first_forms, labels

ROWS = 36
Codes = dict[str, NDArray[Any]]


class Subject:
    """A method that is asked.

    Args:
        method: Class, made here with small settings (2 components, 2 epochs, seed 0) where it has
            such parameters; or an instance, taken as it is.
        factories: A user's factories by name, for reading the method back from disk.
        classes: A user's own frozen recipes, for the same.
    """

    def __init__(
        self,
        method: type[Method] | Method,
        *,
        factories: Mapping[str, Callable[..., Any]] | None = None,
        classes: Sequence[type] = (),
    ) -> None:
        self.cls = cast("type[Method]", method if isinstance(method, type) else type(method))
        self.name = self.cls.__name__
        self.factories, self.classes = factories, (self.cls, *classes)
        self.given = self._small() if isinstance(method, type) else clone(method)
        self.able: Capabilities = self.cls.capabilities
        self._fitted: Method | None = None

    def _small(self) -> Method:
        parameters = inspect.signature(self.cls).parameters
        needed = [
            p.name
            for p in parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if needed:
            raise AssertionError(
                f"{self.name} cannot be made without {needed}; check an instance instead."
            )
        chosen: dict[str, Any] = {}
        if "n_components" in parameters:
            chosen["n_components"] = 2
        if "random_state" in parameters:
            chosen["random_state"] = 0
        if "training" in parameters:
            from triptych.training.settings import Training

            chosen["training"] = Training(epochs=2, batch_size=16, device="cpu")
        return self.cls(**chosen)

    def new(self, **parameters: Any) -> Method:
        """An unfitted copy, with other parameters."""
        made: Method = clone(self.given)
        return made.set_params(**parameters) if parameters else made

    @property
    def X(self) -> Modalities:
        """Rows to learn from, of the plainest kind that the method takes."""
        return example(first_forms(self.able), ROWS, seed=0)

    @property
    def X_new(self) -> Modalities:
        """Other rows of the same world."""
        return example(first_forms(self.able), 9, seed=1)

    def y(self, n: int = ROWS, seed: int = 0) -> NDArray[np.intp] | None:
        """Labels, for methods that need them."""
        return labels(n, seed) if self.able.needs_labels else None

    def fit(self, X: Modalities | None = None, y: Any = None, **parameters: Any) -> Method:
        """A new copy, fitted."""
        data = self.X if X is None else X
        return self.new(**parameters).fit(data, self.y(len(data)) if y is None else y)

    @property
    def fitted(self) -> Method:
        """One fitted copy that checks share; nobody may fit it again."""
        if self._fitted is None:
            self._fitted = self.fit()
        return copy.copy(self._fitted)


def codes(model: Method, X: Any) -> Codes:
    """What ``transform`` gives, by part, whatever the panel."""
    found = model.transform(X)
    if isinstance(found, Modalities):
        return {name: np.asarray(found[name]) for name in found.names}
    return {"": np.asarray(found)}


def require(holds: bool | np.bool_, complaint: str) -> None:
    """Raise :class:`AssertionError` with the complaint unless it holds, under ``-O`` too."""
    if not holds:
        raise AssertionError(complaint)


def require_refusal(what: str, call: Callable[[], Any], *kinds: type[Exception]) -> str:
    """The message with which ``call`` refuses; it must be an error of one of these kinds.

    Args:
        what: What was asked, for the complaint.
        call: Does it.
        kinds: Errors of ours that are a clear answer.
    """
    wanted = " or ".join(kind.__name__ for kind in kinds)
    try:
        call()
    except kinds as error:
        require(bool(str(error).strip()), f"{what}: {type(error).__name__} says nothing")
        return str(error)
    except Exception as error:
        raise AssertionError(
            f"{what}: expected {wanted}, got {type(error).__name__}: {error}"
        ) from error
    raise AssertionError(f"{what}: expected {wanted}, but it was accepted")


def require_close(what: str, got: Codes, wanted: Codes, *, share: float) -> None:
    """Codes that differ by at most ``share`` of their own size, part by part."""
    require(set(got) == set(wanted), f"{what}: parts {sorted(got)}, expected {sorted(wanted)}")
    for part, z in wanted.items():
        whose = f" of {part!r}" if part else ""
        require(
            got[part].shape == z.shape,
            f"{what}: codes{whose} have shape {got[part].shape}, expected {z.shape}",
        )
        size = float(np.abs(z).max(initial=0.0))
        error = float(np.abs(got[part] - z).max(initial=0.0))
        require(
            error <= share * max(size, 1e-12),
            f"{what}: codes{whose} differ by {error:.3g}, and their size is {size:.3g}",
        )


def require_equal(what: str, got: Codes, wanted: Codes) -> None:
    """Codes that are equal byte for byte."""
    require(set(got) == set(wanted), f"{what}: parts {sorted(got)}, expected {sorted(wanted)}")
    for part, z in wanted.items():
        same = got[part].dtype == z.dtype and got[part].tobytes() == z.tobytes()
        require(same, f"{what}: codes{f' of {part!r}' if part else ''} are not the same bytes")
