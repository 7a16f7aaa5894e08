"""What each modality knows about a target, what they share, and what only together they tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import as_labels, check_choice, check_number
from triptych.contracts.estimate import UNITS, Estimate
from triptych.dataset import Dataset
from triptych.errors import DataError, ParameterError
from triptych.features import fit_features
from triptych.information._compact import FEW, compact
from triptych.information._counting import tally
from triptych.information._discrete import MUTUAL
from triptych.information._variables import Codes, Variable, as_variable
from triptych.information.partial import Decomposition, of_tally
from triptych.information.quantities import by_counts
from triptych.information.significance import permutations_of
from triptych.modalities import Modalities
from triptych.seeding import check_random_state, derive, generator

LEAST_ROWS = 40
LEAST_SHUFFLES = 20
MOST_CATEGORIES = 20
MOST_CLASSES = 200
ROWS_PER_CELL = 4
_WIDE = 500


@dataclass(frozen=True)
class Knows:
    """One modality.

    Args:
        name: Of the modality.
        code: How it became categories, in words.
        entropy: Of these categories.
        about: What they tell about the target, I(modality; target).
        shuffled: The same with the target shuffled: what chance alone gives.
        p_value: Chance of so large an ``about`` where there is nothing to tell.
    """

    name: str
    code: str
    entropy: Estimate
    about: Estimate
    shuffled: float
    p_value: float


@dataclass(frozen=True)
class Together:
    """Two modalities.

    Args:
        names: Of the two.
        between: What they tell about each other, whatever it is.
        shuffled: The same with the rows of one shuffled.
        p_value: Chance of so large a ``between`` where there is nothing.
        parts: Redundancy, unique parts and synergy about the target.
    """

    names: tuple[str, str]
    between: Estimate
    shuffled: float
    p_value: float
    parts: Decomposition


@dataclass(frozen=True)
class Measurement:
    """All that :func:`measure` found, as plain values.

    Args:
        data: What the data are called.
        target: What the target is called.
        target_code: How the target became categories, in words.
        entropy: Of the target: the most that can be told about it.
        rows: Rows with everything present, on which all values rest.
        unit: Of all values.
        modalities: One entry for each.
        pairs: One entry for each two.
        warnings: What a reader should know.
    """

    data: str
    target: str
    target_code: str
    entropy: Estimate
    rows: int
    unit: str
    modalities: tuple[Knows, ...]
    pairs: tuple[Together, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)


def measure(
    data: Dataset | Mapping[str, Any] | Modalities,
    target: Any = None,
    *,
    unit: str = "bits",
    categories: int | None = None,
    n_shuffles: int = 100,
    random_state: int | None = 0,
) -> Measurement:
    """Measure what each modality knows about a target, alone, in common, and together.

    Each modality becomes categories: whole numbers of one column as they are; one column of
    numbers in bins of equal frequency; everything else through its features
    (:mod:`triptych.features`) and principal components to k-means clusters. All values are those
    of these codes, by frequencies (plug-in), so that they add up: what a modality knows is what
    it has in common with the other plus what it has for itself. A coarse code loses information,
    so what is said of images and texts is a lower bound; chance adds some, which ``shuffled``
    shows.

    Args:
        data: Modalities and labels, or modalities alone.
        target: Name of a label or of a modality with one column, or an array (n,); the first
            label that can be used when left out. Floats are cut into bins.
        unit: ``"bits"`` or ``"nats"``.
        categories: Categories of each modality; when left out so many that a cell of two
            modalities and the target would hold about 4 rows if all were alike, from 2 to 20.
        n_shuffles: Shuffles for chance and p-values, >= 20; decompositions take a tenth of it.
        random_state: Seed of clusters and shuffles.

    Raises:
        DataError: Too few rows with everything present, or a target of one class or of classes
            that hardly repeat.
        ParameterError: An unknown target.

    Example:
        >>> from triptych.datasets.synthetic import logic_gate
        >>> gate = logic_gate("xor", 400, balanced=True)
        >>> found = measure(gate.X, gate.y)
        >>> [f"{part.value:.2f}" for part in found.pairs[0].parts.parts.values()]
        ['0.00', '0.00', '0.00', '1.00']
    """
    check_choice("unit", unit, tuple(UNITS))
    # Fewer could not give a p-value below 0.05, and what is there would be called chance.
    check_number("n_shuffles", n_shuffles, low=LEAST_SHUFFLES, integer=True)
    if categories is not None:
        check_number("categories", categories, low=2, integer=True)
    seed = check_random_state(random_state)
    whole = data if isinstance(data, Dataset) else Dataset(Modalities(data))
    name, y, names = _target(whole, target)
    rows = np.flatnonzero(np.all([whole.X.present[m] for m in names], axis=0))
    if len(rows) < LEAST_ROWS:
        raise DataError(
            f"{whole.name!r}: expected at least {LEAST_ROWS} rows with all of {list(names)}, got "
            f"{len(rows)} of {len(whole)}."
        )
    X, y = whole.X.select(*names)[rows], y[rows]
    goal, goal_told = _goal(name, y, seed)
    size = _size(len(rows), len(np.unique(goal.indices()))) if categories is None else categories
    made = {m: _coded(X, m, size, seed) for m in names}
    warnings = [note for _, _, notes in made.values() for note in notes]
    variables = {m: _counted(m, codes) for m, (codes, _, _) in made.items()}
    wanted = _counted(name, goal)
    knows = []
    for m, v in variables.items():
        about, shuffled, p = _between(v, wanted, n_shuffles, seed)
        entropy = _plug_in([v], {(0,): 1.0})
        knows.append(
            Knows(m, made[m][1], entropy.to(unit), about.to(unit), shuffled * UNITS[unit], p)
        )
    pairs = []
    for a, b in combinations(names, 2):
        between, shuffled, p = _between(variables[a], variables[b], n_shuffles, seed)
        counted = tally([made[a][0], made[b][0], goal])
        words = {a: made[a][1], b: made[b][1], name: goal_told}
        shuffles = max(n_shuffles // 10, 1)
        parts = of_tally(counted, "broja", shuffles, derive(seed, a, b), words)
        pairs.append(Together((a, b), between.to(unit), shuffled * UNITS[unit], p, parts.to(unit)))
        warnings += [f"{a} and {b}: {w}" for w in parts.total.warnings]
    groups = None if whole.groups is None else len(np.unique(np.asarray(whole.groups)[rows]))
    if groups is not None and groups < len(rows):
        warnings.append(
            f"the {len(rows)} rows come in {groups} groups, and intervals and chance take rows as "
            "independent: both are too narrow."
        )
    if len(rows) < len(whole):
        lost = len(whole) - len(rows)
        warnings.append(f"{lost} of {len(whole)} rows lack a modality and were left out.")
    return Measurement(
        data=whole.name,
        target=name,
        target_code=goal_told,
        entropy=_plug_in([wanted], {(0,): 1.0}).to(unit),
        rows=len(rows),
        unit=unit,
        modalities=tuple(knows),
        pairs=tuple(pairs),
        warnings=tuple(dict.fromkeys(warnings)),
    )


@dataclass(frozen=True)
class Keeps:
    """How much of something a code keeps.

    Args:
        part: Of the code.
        of: A modality, or the target.
        about: What the part tells about it, I(part; it).
        entropy: All there is to tell.
        shuffled: What chance alone gives.
    """

    part: str
    of: str
    about: Estimate
    entropy: float
    shuffled: float


def kept(
    codes: Mapping[str, NDArray[Any]],
    X: Modalities,
    target: Any = None,
    *,
    name: str = "target",
    unit: str = "bits",
    n_shuffles: int = 20,
    random_state: int | None = 0,
) -> tuple[Keeps, ...]:
    """How much of each modality and of a target each part of a code keeps.

    All become categories as in :func:`measure`, and values are those of the categories.

    Args:
        codes: Parts of a code by name, (n, d) each.
        X: The modalities of the same rows, all present.
        target: Classes or numbers (n,), or ``None``.
        name: Of the target.
        unit: ``"bits"`` or ``"nats"``.
        n_shuffles: Shuffles for chance.
        random_state: Seed of clusters and shuffles.

    Raises:
        DataError: Too few rows, or rows that lack a modality.
    """
    seed = check_random_state(random_state)
    n = len(X)
    if n < LEAST_ROWS or not X.complete:
        raise DataError(f"kept: expected at least {LEAST_ROWS} complete rows, got {n}.")
    things = {}
    if target is not None:
        things[name] = _counted(name, _goal(name, as_labels(target, n, name), seed)[0])
    size = int(min(max(sqrt(n / ROWS_PER_CELL), 2), MOST_CATEGORIES))
    for m in X.names:
        things[m] = _counted(m, _coded(X, m, size, seed)[0])
    out = []
    for part, values in codes.items():
        flat = np.asarray(values, dtype=np.float64).reshape(n, -1)
        code = _counted(part, compact(Variable(part, flat, numbers=flat), size, seed)[0])
        for of, thing in things.items():
            about, shuffled, _ = _between(code, thing, n_shuffles, seed)
            whole = _plug_in([thing], {(0,): 1.0}).to(unit).value
            out.append(Keeps(part, of, about.to(unit), whole, shuffled * UNITS[unit]))
    return tuple(out)


def _target(data: Dataset, target: Any) -> tuple[str, NDArray[Any], tuple[str, ...]]:
    """Name and values (n,) of the target, and the modalities that are asked about it."""
    if target is None:
        usable = [m for m, y in data.labels.items() if _classes(np.asarray(y)) > 1]
        if not usable:
            raise ParameterError(f"target: {data.name!r} has no label to take; name one.")
        target = usable[0]
    if not isinstance(target, str):
        return "target", as_labels(target, len(data), "target"), data.X.names
    if target in data.labels:
        return target, as_labels(data.labels[target], len(data), target), data.X.names
    if target not in data.X or len(data.X.names) == 1:
        known = (*data.labels, *(data.X.names if len(data.X.names) > 1 else ()))
        check_choice("target", target, known)
    others = tuple(m for m in data.X.names if m != target)
    kind = data.X.kind(target)
    if kind.form == "vector" and kind.shape == (1,) and data.X.present[target].all():
        column = data.X[target]
        column = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
        return target, column[:, 0], others
    raise ParameterError(
        f"target: expected a label, or a modality of one column that all rows have; {target!r} "
        f"is {kind}."
    )


def _classes(y: NDArray[Any]) -> int:
    return len(np.unique(y.astype(str) if y.dtype.kind == "O" else y))


def _goal(name: str, y: NDArray[Any], seed: int) -> tuple[Codes, str]:
    v = as_variable(y, name)
    if v.discrete:
        classes = len(np.unique(v.labels()))
        if classes > min(MOST_CLASSES, len(y) // 5):
            raise DataError(
                f"target {name!r}: expected classes that repeat, at most {MOST_CLASSES}; got "
                f"{classes} in {len(y)} rows. If these are measurements, give them as floats."
            )
    else:
        v = as_variable(y.astype(np.float64), name, discrete=False)
    codes, told = compact(v, 8, seed)
    seen = len(np.unique(codes.indices()))
    if seen < 2:
        raise DataError(f"target {name!r}: expected at least two classes, got {seen}.")
    return codes, f"{seen} classes" if v.discrete else told


def _size(n: int, classes: int) -> int:
    """Categories of each modality, so that cells are not too many for n rows."""
    return int(min(max(sqrt(n / (ROWS_PER_CELL * classes)), 2), MOST_CATEGORIES))


def _coded(X: Modalities, name: str, size: int, seed: int) -> tuple[Codes, str, list[str]]:
    """Categories of one modality, how they were made, and what to know of that."""
    kind = X.kind(name)
    values = X[name]
    one = kind.form == "vector" and kind.shape == (1,)
    if one and isinstance(values, np.ndarray) and values.dtype.kind in "biu":
        v = as_variable(values[:, 0], name)
        seen = len(np.unique(v.labels()))
        if seen <= max(size, FEW):
            assert v.codes is not None
            return v.codes, f"its {seen} values", []
    features = fit_features(X.select(name))[name].transform(values, X.present[name])
    numbers = _dense(features, derive(seed, "features", name))
    v = Variable(name, numbers, numbers=numbers)
    codes, told = compact(v, size, seed)
    notes = []
    if kind.form != "vector":
        told = f"{_FEATURES[kind.form]}, {told}"
    if numbers.shape[1] > 1 and "clusters" in told:
        notes.append(
            f"{name} ({kind}) is judged by {size} clusters: what they do not show is not counted."
        )
    return codes, told, notes


_FEATURES = {
    "image": "pixels",
    "text": "TF-IDF of words",
    "sequence": "means and spreads over time",
    "waveform": "mean and spread over time",
}


def _dense(features: Any, seed: int) -> NDArray[np.float64]:
    """Numbers (n, p); many sparse columns as their leading singular directions."""
    if not hasattr(features, "toarray"):
        return np.asarray(features, dtype=np.float64)
    if features.shape[1] <= _WIDE:
        return np.asarray(features.toarray(), dtype=np.float64)
    from sklearn.decomposition import TruncatedSVD

    reduced = TruncatedSVD(50, random_state=seed).fit_transform(features)
    return np.asarray(reduced, dtype=np.float64)


def _counted(name: str, codes: Codes) -> Variable:
    return Variable(name, codes.values, codes=codes)


def _plug_in(variables: list[Variable], terms: Mapping[tuple[int, ...], float]) -> Estimate:
    return by_counts(variables, terms, "plug-in", None)


def _between(
    v: Variable, w: Variable, n_shuffles: int, seed: int
) -> tuple[Estimate, float, float]:
    """Information of two codes in nats, the mean when shuffled, and the p-value."""
    assert v.codes is not None and w.codes is not None
    found = _plug_in([v, w], MUTUAL)
    rng = generator(seed, "shuffles", v.name, w.name)
    tested = permutations_of(found, tally([v.codes, w.codes]), n_shuffles, rng)
    return found, tested.bias, tested.p_value
