"""An index of codes: built once from a model and rows, searched often, saved without pickle.

Example:
    >>> index = Index.from_codes([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    >>> rows, cosines = index.search([[0.0, 1.0]], k=2)
    >>> rows.tolist(), cosines.round(3).tolist()
    ([[2, 1]], [[1.0, 0.8]])
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_finite, check_number, row_chunks
from triptych.contracts import persistence
from triptych.errors import (
    DataError,
    MissingDependencyError,
    ModalityError,
    ParameterError,
    PersistenceError,
    ShapeError,
)
from triptych.evaluation.codes import check_is_fitted, comparable
from triptych.modalities import Modalities, as_modalities
from triptych.neighbours import Searchable

CLASS = "triptych.retrieval.Index"
CODED = 1024  # rows that a model codes at a time
# Of the graph: neighbours kept by each node, and how widely it is built and searched.
LINKS, BUILT, SEARCHED = 32, 100, 64
ASKED = 4  # candidates of the graph for each neighbour, ranked again by their true cosine


class Index:
    """Codes of one modality's rows, searched by cosine; made by :meth:`build`, :meth:`from_codes`.

    Exact search multiplies tiles of queries with tiles of rows and never holds all cosines. With
    ``approximate=True`` a graph of neighbours (HNSW of faiss, the extra ``search``) proposes
    candidates and their true cosines rank them: some neighbours may be missed, none is wrong.

    Args:
        codes: Shape (n, d), finite.
        rows: Row of the data that each code belongs to (n,).
        n_rows: Rows of the data, those without the modality among them.
        modality: Its name; ``""`` for codes of unknown origin.
        model: Class of the model that made the codes; ``""`` if unknown.
        checksum: What that model learnt, as one word; ``""`` if unknown.
        graph: What faiss built, or ``None`` for exact search.

    References:
        Malkov and Yashunin 2020, doi:10.1109/TPAMI.2018.2889473 (HNSW).
    """

    def __init__(
        self,
        codes: NDArray[np.floating],
        *,
        rows: NDArray[np.intp],
        n_rows: int,
        modality: str = "",
        model: str = "",
        checksum: str = "",
        graph: Any = None,
    ) -> None:
        self._codes = Searchable.of(codes)
        self.rows, self.n_rows, self.modality = rows, n_rows, modality
        self.model, self.checksum = model, checksum
        self._graph = graph

    # -- making ----------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        model: Any,
        X: Mapping[str, Any] | Modalities,
        modality: str,
        *,
        approximate: bool = False,
    ) -> Index:
        """The index of one modality's codes by a fitted model; rows without it are left out.

        Args:
            model: Fitted method that codes the modality alone.
            X: Modalities, n rows; read some at a time.
            modality: Which to search.
            approximate: Whether faiss searches; else the search is exact.

        Raises:
            ModalityError: The model or the data do not know the modality, or no row has it.
            CapabilityError: The method cannot code one modality alone.
            MissingDependencyError: ``approximate`` without faiss.
        """
        check_is_fitted(model)
        data = as_modalities(X)
        for where, known in (("the model was fitted on", model.names_in_), ("X has", data.names)):
            if modality not in known:
                raise ModalityError(f"unknown modality {modality!r}; {where} {list(known)}.")
        rows = np.flatnonzero(data.present[modality])
        if not len(rows):
            raise ModalityError(f"modality {modality!r} is absent in all {len(data)} rows.")
        if approximate:
            _faiss()
        one = data.select(modality)
        parts = [
            _narrow(comparable(model, one[rows[part]], modality))
            for part in row_chunks(len(rows), CODED)
        ]
        return cls._of(
            np.concatenate(parts),
            approximate,
            rows=rows,
            n_rows=len(data),
            modality=modality,
            model=type(model).__name__,
            checksum=model.checksum(),
        )

    @classmethod
    def from_codes(
        cls,
        codes: ArrayLike,
        *,
        modality: str = "",
        model: Any = None,
        approximate: bool = False,
    ) -> Index:
        """The index of codes that are there already.

        Args:
            codes: Shape (n, d), n >= 1, finite; float32 stays so.
            modality: Whose codes they are.
            model: The fitted method that made them, so that queries by another are refused.
            approximate: Whether faiss searches; else the search is exact.
        """
        values = _as_codes(codes, "codes").copy()  # lengths are kept beside them
        if not len(values):
            raise DataError("codes: expected at least one row, got none.")
        if model is not None and modality not in model.names_in_:
            raise ModalityError(
                f"unknown modality {modality!r}; the model was fitted on {list(model.names_in_)}."
            )
        return cls._of(
            values,
            approximate,
            rows=np.arange(len(values)),
            n_rows=len(values),
            modality=modality,
            model="" if model is None else type(model).__name__,
            checksum="" if model is None else model.checksum(),
        )

    @classmethod
    def _of(cls, codes: NDArray[np.floating], approximate: bool, **about: Any) -> Index:
        index = cls(codes, **about)
        if approximate:
            index._graph = _graph(index._codes)
        return index

    # -- searching -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Columns d of the codes."""
        return int(self._codes.codes.shape[1])

    @property
    def approximate(self) -> bool:
        """Whether neighbours may be missed."""
        return self._graph is not None

    def search(
        self,
        query: ArrayLike | Mapping[str, Any] | Modalities,
        k: int = 10,
        *,
        model: Any = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The rows nearest to each query by cosine; of exact search, ties go to the earlier row.

        Args:
            query: Codes (q, d), or one modality, ``{"text": ["a black cat"]}``, for the model
                to code.
            k: How many, at most as many as are indexed.
            model: The model that the index was built with; needed to code, and else checked if
                given.

        Returns:
            rows: Rows of the data, best first, shape (q, k).
            cosines: Shape (q, k).

        Raises:
            ModalityError: A query of an unknown modality, or of several.
            DataError: Another model than the index was built with; names both.
            ParameterError: ``k`` above the rows indexed, or data without a model.
        """
        if model is not None:
            self.check_model(model)
        check_number("k", k, low=1, integer=True)
        if k > len(self):
            raise ParameterError(f"k: expected at most {len(self)}, the rows indexed; got {k}.")
        if isinstance(query, (Mapping, Modalities)):
            codes = _coded(query, model)
        else:
            codes = _as_codes(query, "query")
        if codes.shape[1] != self.width:
            raise ShapeError(
                f"query: expected codes of {self.width} columns as in the index, got "
                f"{codes.shape[1]}."
            )
        found, cosines = self._nearest(codes, k)
        return self.rows[found], cosines

    def check_model(self, model: Any) -> None:
        """Raise :class:`DataError` unless this is the model that the index was built with."""
        if not self.checksum:
            raise DataError(
                "the index holds codes of unknown origin; ask it with codes, or build it with the "
                "model."
            )
        found = model.checksum()
        if found != self.checksum:
            name = type(model).__name__
            raise DataError(
                f"index and model do not belong together: the index was built with a {self.model} "
                f"({self.checksum[:8]}), this is {'another' if name == self.model else 'a'} "
                f"{name} ({found[:8]}). Build the index again."
            )

    def _nearest(
        self, codes: NDArray[np.floating], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        if self._graph is None:
            return self._codes.nearest(codes, k)
        asked = min(ASKED * k, len(self))
        self._graph.hnsw.efSearch = max(SEARCHED, asked)
        _, proposed = self._graph.search(Searchable.of(codes).unit, asked)
        rows, cosines = self._codes.ranked(codes, proposed, k)
        few = np.flatnonzero((proposed >= 0).sum(axis=1) < k)  # the graph did not reach enough
        if len(few):
            rows[few], cosines[few] = self._codes.nearest(codes[few], k)
        return rows, cosines

    # -- saving ----------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write a folder with ``manifest.json`` and ``arrays.safetensors``, whole or not at all.

        Raises:
            PersistenceError: The disk refuses, or the folder holds other things.
        """
        learnt: dict[str, Any] = {"codes": self._codes.codes, "rows": self.rows}
        if self._graph is not None:
            learnt["graph"] = _faiss().serialize_index(self._graph)
        about = {
            "n_rows": self.n_rows,
            "modality": self.modality,
            "model": self.model,
            "checksum": self.checksum,
        }
        persistence.write(Path(path), cls=CLASS, parameters=about, learnt=learnt)

    @classmethod
    def load(cls, path: str | Path) -> Index:
        """Read what :meth:`save` wrote.

        Raises:
            PersistenceError: No index, altered, truncated or too new.
            MissingDependencyError: It was built for faiss, which is not installed.
        """
        held = persistence.read_manifest(Path(path)).get("class")
        if held != CLASS:
            raise PersistenceError(f"{path} is no index: it holds a {held}.")
        saved = persistence.read(Path(path))
        learnt, graph = saved.learnt, None
        if "graph" in learnt:
            graph = _faiss().deserialize_index(learnt["graph"])
        return cls(learnt["codes"], rows=learnt["rows"], graph=graph, **saved.parameters)

    def __repr__(self) -> str:
        how = "approximate" if self.approximate else "exact"
        of = f" of {self.modality!r}" if self.modality else ""
        by = f" by {self.model} ({self.checksum[:8]})" if self.model else ""
        return f"Index({len(self)} codes ({self.width},){of}{by}; {how})"


def _coded(query: Mapping[str, Any] | Modalities, model: Any) -> NDArray[np.floating]:
    if model is None:
        raise ParameterError("query: data are coded by a model; give model=..., or codes.")
    names = list(query) if isinstance(query, Mapping) else list(query.names)
    if len(names) != 1:
        raise ModalityError(f"query: expected one modality, got {names}.")
    (name,) = names
    if name not in model.names_in_:
        raise ModalityError(
            f"query: unknown modality {name!r}; {type(model).__name__} was fitted on "
            f"{list(model.names_in_)}."
        )
    data = as_modalities(query)
    absent = np.flatnonzero(~data.present[name])
    if len(absent):
        raise DataError(f"query: row {int(absent[0])} of {name!r} is absent.")
    return comparable(model, data, name)


def _as_codes(values: ArrayLike, name: str) -> NDArray[np.floating]:
    try:
        codes = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ShapeError(f"{name}: expected codes (n, d); {error}.") from error
    if codes.ndim != 2 or codes.shape[1] == 0:
        raise ShapeError(f"{name}: expected codes (n, d), got shape {codes.shape}.")
    if codes.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected numbers, got {codes.dtype}.")
    if codes.dtype not in (np.float32, np.float64):
        codes = codes.astype(np.float64)
    check_finite(codes, name)
    return codes


def _narrow(codes: NDArray[np.float64]) -> NDArray[np.floating]:
    """In float32 where nothing is lost by it, as of networks."""
    with np.errstate(over="ignore"):
        single = codes.astype(np.float32)
    return single if np.array_equal(single, codes) else codes


def _graph(codes: Searchable) -> Any:
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(codes.codes.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = BUILT, SEARCHED
    graph.add(codes.unit)
    return graph


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise MissingDependencyError(
            "approximate search needs faiss, which is not installed: pip install "
            "'triptych[search]'. Exact search needs nothing."
        ) from error
