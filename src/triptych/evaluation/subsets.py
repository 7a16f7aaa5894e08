"""A method asked from every subset of modalities: what it rebuilds, tells, and carries over.

The three settings are those of Ngiam et al. 2011.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import as_labels
from triptych.errors import CapabilityError, DataError
from triptych.evaluation.codes import check_is_fitted, comparable, read_codes, usable_rows
from triptych.evaluation.probes import MAX_ROWS, linear_probe, subset
from triptych.evaluation.projection import Block, Projection
from triptych.evaluation.reconstruction import Reconstruction, reconstruct_given
from triptych.features import fit_features
from triptych.modalities import Modalities, as_modalities
from triptych.seeding import check_random_state

COMPONENTS = 64

Data = Mapping[str, Any] | Modalities


@dataclass(frozen=True)
class Setting:
    """One answer to: a linear probe taught on codes of some modalities, asked on those of others.

    Args:
        setting: ``"fusion"``, ``"cross-modality"`` or ``"shared representation"``.
        taught: Modalities that the codes of training rows show.
        asked: Modalities that the codes of test rows show.
        value: Accuracy, or R² where the labels are numbers.
    """

    setting: str
    taught: tuple[str, ...]
    asked: tuple[str, ...]
    value: float


def three_settings(
    model: Any,
    train: Data,
    y_train: Any,
    test: Data,
    y_test: Any,
    *,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> list[Setting]:
    """Ngiam's three questions to a method that was fitted on all modalities.

    * *fusion*: the probe is taught and asked on codes of all modalities;
    * *cross-modality*: on codes of one modality, the same both times;
    * *shared representation*: taught on codes of one modality, asked on codes of another.

    Codes of one modality are what the method infers from it alone: the code for fusion, the
    shared part for fission, the modality's own for coordination (which must be of one width).

    Args:
        model: A fitted method that transforms one modality alone.
        train: Modalities of the rows that the probe learns from.
        y_train: Their labels (n,).
        test: Modalities of other rows.
        y_test: Their labels (q,).
        random_state: Seed of the probe.
        max_rows: Most training rows of the probe.

    Raises:
        CapabilityError: The method needs all modalities.
        DataError: A modality that no row has.

    References:
        Ngiam et al. 2011, Multimodal Deep Learning, ICML, figure 1 and tables 1 to 3.
    """
    check_is_fitted(model)
    X, T = as_modalities(train), as_modalities(test)
    y, asked = as_labels(y_train, len(X), "y_train"), as_labels(y_test, len(T), "y_test")
    names = [m for m in X.names if m in model.names_in_ and m in T]
    X, T = X.select(*names), T.select(*names)

    def probe(a: NDArray[Any], ya: NDArray[Any], b: NDArray[Any], yb: NDArray[Any]) -> float:
        return linear_probe(a, ya, b, yb, random_state, max_rows=max_rows).value

    rows, held = usable_rows(model, X), usable_rows(model, T)
    codes, new = read_codes(model, X[rows]), read_codes(model, T[held])
    value = probe(codes.joined(codes), y[rows], new.joined(codes), asked[held])
    found = [Setting("fusion", tuple(names), tuple(names), value)]
    sides = {m: (_alone(model, X, m), _alone(model, T, m)) for m in names}
    for a, b in [(m, m) for m in names] + list(permutations(names, 2)):
        (za, ra), (zb, rb) = sides[a][0], sides[b][1]
        if za.shape[1] != zb.shape[1]:
            continue
        kind = "cross-modality" if a == b else "shared representation"
        found.append(Setting(kind, (a,), (b,), probe(za, y[ra], zb, asked[rb])))
    return found


def _alone(model: Any, X: Modalities, name: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rows = np.flatnonzero(X.present[name])
    if not len(rows):
        raise DataError(f"modality {name!r} is absent in all rows.")
    return comparable(model, X[rows], name), rows


def reconstruct_subsets(
    model: Any, train: Data, test: Data
) -> dict[tuple[str, ...], dict[str, Reconstruction]]:
    """How well every modality is rebuilt from every subset, its own members among them.

    Args:
        model: A fitted method that reconstructs.
        train: Modalities from which means are learnt.
        test: Rows to rebuild; those that have all of a subset, and the modality that is rebuilt.

    Returns:
        By subset, in the order of size, and by modality. What cannot be compared (texts of a
        method without a likelihood, sequences) is left out.

    Raises:
        CapabilityError: The method does not reconstruct.
    """
    check_is_fitted(model)
    if not model.capabilities.reconstructs:
        raise CapabilityError(f"{type(model).__name__} has no decoders.")
    data = as_modalities(test)
    names = [m for m in data.names if m in model.names_in_]
    found: dict[tuple[str, ...], dict[str, Reconstruction]] = {}
    for size in range(1, len(names) + 1):
        for given in combinations(names, size):
            rebuilt = {}
            for name in names:
                try:
                    rebuilt[name] = reconstruct_given(model, train, data, given, name)
                except (DataError, CapabilityError):
                    continue
            if rebuilt:
                found[given] = rebuilt
    return found


def coherence(
    model: Any,
    train: Data,
    y_train: Any,
    test: Data,
    y_test: Any,
    *,
    given: tuple[str, ...],
    name: str,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> float:
    """Share of rows whose modality, generated from others, still tells the row's label.

    A linear reader is taught on true samples of the modality (64 principal components of its
    features, see :mod:`triptych.features`) and asked on what the method makes of ``given``.

    Args:
        model: A fitted method that reconstructs.
        train: Modalities of the rows that the reader learns from.
        y_train: Their labels (n,).
        test: Modalities of other rows.
        y_test: Their labels (q,).
        given: Modalities that the method is shown.
        name: Modality that it makes.
        random_state: Seed of the reader.
        max_rows: Most rows of the reader.

    Returns:
        Accuracy, or R² where the labels are numbers; the reader's own on true samples bounds it.

    Raises:
        CapabilityError: The method does not reconstruct.
        DataError: No row has all of ``given``, or none has ``name``.

    References:
        Shi et al. 2019, arXiv:1911.03393, section 5 (with a deep classifier as the reader).
    """
    if not model.capabilities.reconstructs:
        raise CapabilityError(f"{type(model).__name__} has no decoders.")
    check_is_fitted(model)
    X, T = as_modalities(train), as_modalities(test)
    y, asked = as_labels(y_train, len(X), "y_train"), as_labels(y_test, len(T), "y_test")
    if not (model.capabilities.one_modality_at_transform or set(given) == set(model.names_in_)):
        raise CapabilityError(f"{type(model).__name__} needs every modality at transform.")
    seen = np.flatnonzero(X.present[name])
    rows = np.flatnonzero(np.all([T.present[m] for m in given], axis=0))
    if not len(seen) or not len(rows):
        raise DataError(f"no row has {name!r} to learn from, or {list(given)} to be shown.")
    seen = seen[subset(y[seen], y.dtype.kind == "f", max_rows, check_random_state(random_state))]
    true = X.select(name)[seen]
    reader = _projection(true, random_state)
    made = model.reconstruct(T.select(*given)[rows]).select(name)
    sides = reader.transform(true), reader.transform(made)
    return linear_probe(sides[0], y[seen], sides[1], asked[rows], random_state).value


@dataclass(frozen=True)
class Gain:
    """What a code tells beyond the data that it was made of.

    Args:
        value: Accuracy of the linear probe on the code (R² for numbers).
        single: The same on principal components of each modality by itself.
        concatenation: The same on those of all modalities side by side.
    """

    value: float
    single: dict[str, float]
    concatenation: float

    @property
    def over_single(self) -> float:
        """Beyond the best modality by itself."""
        return self.value - max(self.single.values())

    @property
    def over_concatenation(self) -> float:
        """Beyond all of them side by side."""
        return self.value - self.concatenation


def gain(
    model: Any,
    train: Data,
    y_train: Any,
    test: Data,
    y_test: Any,
    *,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> Gain:
    """The linear probe of a code beside those of the best modality and of all side by side.

    Features are those of :mod:`triptych.features`, standardised, 64 principal components; absent
    modalities are their means there. The best modality is chosen on the test rows, in its favour.

    Args:
        model: A fitted method.
        train: Modalities of the rows that probes learn from.
        y_train: Their labels (n,).
        test: Modalities of other rows.
        y_test: Their labels (q,).
        random_state: Seed of the probes.
        max_rows: Most training rows of a probe.
    """
    check_is_fitted(model)
    X, T = as_modalities(train), as_modalities(test)
    y, asked = as_labels(y_train, len(X), "y_train"), as_labels(y_test, len(T), "y_test")
    X, T = (part.select(*(m for m in part.names if m in model.names_in_)) for part in (X, T))
    rows, held = usable_rows(model, X), usable_rows(model, T)
    X, T, y, asked = X[rows], T[held], y[rows], asked[held]

    def told(*names: str) -> float:
        return told_by(names, X, y, T, asked, random_state=random_state, max_rows=max_rows)

    codes, new = read_codes(model, X), read_codes(model, T)
    pair = codes.joined(codes), y, new.joined(codes), asked
    value = linear_probe(*pair, random_state, max_rows=max_rows).value
    return Gain(value, {m: told(m) for m in X.names}, told(*X.names))


def told_by(
    names: Sequence[str],
    train: Modalities,
    y_train: NDArray[Any],
    test: Modalities,
    y_test: NDArray[Any],
    *,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> float:
    """What a linear probe reads from plain features of some modalities; see :func:`gain`."""
    reader = _projection(train.select(*names), random_state)
    return linear_probe(
        reader.transform(train),
        y_train,
        reader.transform(test),
        y_test,
        random_state,
        max_rows=max_rows,
    ).value


def _projection(X: Modalities, random_state: int | None) -> Projection:
    seed = check_random_state(random_state)
    blocks = tuple(Block.learn(features, X, seed) for features in fit_features(X).values())
    return Projection.learn(blocks, X, COMPONENTS, seed)
