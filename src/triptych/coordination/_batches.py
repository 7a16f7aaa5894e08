"""Learning from batches that are read once: moments stay, rows go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import ArrayLike

from triptych.contracts.method import Coordination, Data
from triptych.coordination import _reading, _roads
from triptych.coordination._solution import Penalties, Solution, warn_if_blurred
from triptych.errors import CapabilityError, DataError, DegenerateDataWarning, ParameterError, warn
from triptych.features import fit_features
from triptych.modalities import Kind, Modalities
from triptych.moments import Moments


class UnsolvedDataError(DataError, AttributeError):
    """Rows read in batches have no answer, so what is learnt from it is not there."""


class UnsolvedParameterError(ParameterError, AttributeError):
    """A parameter does not fit what was read in batches, so nothing is learnt from it."""


class Mergeable(Protocol):
    """Moments of some rows, which those of other rows join."""

    def merged(self, other: Any) -> Any:
        """Moments of the rows of both."""


class FromBatches(Coordination):
    """A method that needs only moments: ``fit`` of iterators, ``partial_fit``.

    It writes ``_solved`` (attributes that follow from moments), ``_moments_of``, ``_check_names``
    and ``_solve_moments``.
    """

    _solved: ClassVar[tuple[str, ...]] = ()
    moments_: Any

    def _moments_of(
        self, X: Data, kinds: Mapping[str, Kind] | None
    ) -> tuple[Modalities, Mergeable]:
        """A batch that goes on from others of these kinds, and its moments."""
        raise NotImplementedError

    def _solve_moments(self) -> None:
        """Learn from ``moments_`` alone."""
        raise NotImplementedError

    def _check_names(self, names: tuple[str, ...]) -> None:
        raise NotImplementedError

    def fit(
        self,
        X: Data | Iterator[Data],
        y: ArrayLike | None = None,
        *,
        validation: Any = None,
    ) -> Self:
        """Learn from paired modalities, or from an iterator of batches of them, read once.

        Args:
            X: Modalities, or a dict of them, n >= 2 rows; or an iterator (a generator, ``iter`` of
                a list) that gives them batch by batch: the same names and widths each time, any
                number of rows, n >= 2 together. Texts need all rows at once.
            y: Not used.
            validation: Checked, and not used.

        Returns:
            self

        Raises:
            DataError: The data cannot be used; names the modality and the row, and the batch.
            ParameterError: A parameter has a value that cannot be used.
        """
        for name in ("moments_", *self._solved):
            self.__dict__.pop(name, None)
        if not isinstance(X, Iterator):
            return super().fit(X, y, validation=validation)
        for name in ("names_in_", "kinds_", "features_"):
            self.__dict__.pop(name, None)
        try:
            batches = 0
            for batches, batch in enumerate(X, 1):
                self._read(batch, batches)
            if not batches:
                raise DataError("fit: the iterator gave no batch.")
            self._solve_moments()
        except Exception:
            for name in ("names_in_", "kinds_", "features_", "moments_", *self._solved):
                self.__dict__.pop(name, None)
            raise
        return self

    def partial_fit(self, X: Data, y: ArrayLike | None = None) -> Self:
        """Learn from more rows; what was read stays as moments, and batches are not kept.

        The correlations are solved for when first asked for, so errors of ``n_components`` show
        then; batches may be of any size >= 1.

        Args:
            X: Modalities of the names and widths of the first batch.
            y: Not used.

        Returns:
            self

        Raises:
            CapabilityError: After ``fit``, which keeps no moments to add to; or of texts.
        """
        if hasattr(self, "names_in_") and "moments_" not in self.__dict__:
            raise CapabilityError(
                "partial_fit goes on from partial_fit or from fit of an iterator; fit of arrays "
                "keeps no moments. Start with clone(model).partial_fit(...)."
            )
        self._read(X, None)
        return self

    def _read(self, X: Data, batch: int | None) -> None:
        """Add the moments of a batch; a batch that is refused changes nothing."""
        self._check_parameters()
        where = "" if batch is None else f"batch {batch}: "
        try:
            data, found = self._moments_of(X, getattr(self, "kinds_", None))
        except (DataError, CapabilityError) as error:
            raise type(error)(f"{where}{error}") from None
        before = self.__dict__.get("moments_")
        if before is None:
            self._check_names(data.names)
            self.names_in_, self.kinds_ = data.names, data.kinds
            self.features_ = fit_features(data)
        self.moments_ = found if before is None else before.merged(found)
        for name in self._solved:
            self.__dict__.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        # After partial_fit, what is solved for is solved when first asked for.
        if name in self._solved and "moments_" in self.__dict__:
            # Also an AttributeError, by which hasattr and getattr know that there is none.
            try:
                self._solve_moments()
            except DataError as error:
                raise UnsolvedDataError(str(error)) from error
            except ParameterError as error:
                raise UnsolvedParameterError(str(error)) from error
            return self.__dict__[name]
        return super().__getattribute__(name)  # what was not there, or refused, says so itself

    def _learnt(self) -> dict[str, Any]:
        if "moments_" in self.__dict__ and "correlations_" not in self.__dict__:
            self._solve_moments()
        return super()._learnt()


class PairFromBatches(FromBatches):
    """A method of two modalities, and perhaps confounds, that are known by their moments.

    It writes ``_solved``, ``_penalty``, ``_check_names`` and ``_learn``.
    """

    confounds: str | None
    solver: str
    moments_: Moments
    _penalty: Penalties

    def _learn(self, found: Solution) -> None:
        raise NotImplementedError

    def _moments_of(
        self, X: Data, kinds: Mapping[str, Kind] | None
    ) -> tuple[Modalities, Mergeable]:
        if self.solver not in ("auto", "cholesky"):
            raise ParameterError(
                f'solver: batches are read once, which "auto" and "cholesky" can; got '
                f"{self.solver!r}."
            )
        return _reading.batch_moments(X, self.confounds, kinds, type(self).__name__)

    def _solve_moments(self) -> None:
        """From moments of batches alone."""
        moments = self.moments_
        if moments.n < 2:
            raise DataError(f"CCA needs 2 rows with both modalities; got {moments.n}.")

        def unread(*_: Any) -> float:
            raise ParameterError(
                'shrinkage: "auto" reads rows twice, which batches cannot be; give a number.'
            )

        take = partial(_roads.from_moments, moments, self._penalty, unread, self.confounds)
        found = take(self.solver)
        if found is None:
            found = take("eigen")
            assert found is not None
            _warn_of_unseen(found)
        warn_if_blurred(found)
        self._learn(found)


def _warn_of_unseen(found: Solution) -> None:
    """Say what one pass cannot tell: whether directions that it leaves out are there."""
    for name in found.names:
        columns = int((~found.columns[name].constant).sum())
        most, seen = min(columns, found.n - 1), found.bases[name].rank
        if seen < most and found.penalties[name].none:
            warn(
                f"CCA: modality {name!r}: one pass over rows sees {seen} directions of {columns} "
                "columns. Nothing is lost if the others depend on these; but columns that nearly "
                "do, and rows that dwarf all others, look the same. Fit data that can be read "
                "twice, rescale or leave out such rows, or set a ridge.",
                DegenerateDataWarning,
            )
