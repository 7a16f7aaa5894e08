"""Measures of codes themselves: retrieval, reconstruction, leakage between parts, geometry."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import CapabilityError, DataError
from triptych.evaluation.baselines import Chance
from triptych.evaluation.case import Case, Value, number, value_of
from triptych.evaluation.codes import comparable
from triptych.evaluation.columns import DEPTHS, private, told
from triptych.evaluation.dependence import DependenceScore, dependence
from triptych.evaluation.geometry import alignment, modality_gap, uniformity
from triptych.evaluation.leakage import leakage
from triptych.evaluation.probes import linear_probe
from triptych.evaluation.reconstruction import reconstruct_absent
from triptych.evaluation.retrieval import first_rows, mean_retrieval, retrieval, same_partner
from triptych.modalities import SHARED
from triptych.neighbours import unit_rows

# Shuffles of rows, whose mean dependence is taken off; it settles after few.
PERMUTATIONS = 10
# Draws of codes that look at nothing, whose mean is what luck alone finds.
CHANCE_DRAWS = 20
# Codes of one modality that are looked at for whether they point anywhere in the other's.
RIGHT_ANGLES = 64


def retrievals(case: Case) -> dict[str, Value]:
    """Ranks between codes that modalities get by themselves, both ways."""
    out: dict[str, Value] = {}
    for a, b in combinations(case.names, 2):
        both = case.attempt(_retrieve, case, a, b)
        for side, (query, target) in enumerate(((a, b), (b, a))):
            key = f"retrieval:{query}>{target}"
            found = both if isinstance(both, str) else both[side]
            for k in DEPTHS:
                out[f"{key}:R@{k}"] = recall_at(found, k)
            out[f"{key}:median_rank"] = value_of(found, "median_rank")
            out[f"{key}:mAP"] = value_of(found, "mean_average_precision")
    return out


def _retrieve(case: Case, a: str, b: str) -> Any:
    case.needs(a, b)
    X = case.test.X
    rows = first_rows(case.test.groups, X.present[a] & X.present[b])
    if len(rows) < 2:
        raise DataError(f"{len(rows)} test rows have both {a!r} and {b!r}; 2 are needed.")
    some = X.select(a, b)[rows]
    za, zb = comparable(case.model, some, a), comparable(case.model, some, b)
    if za.shape[1] != zb.shape[1]:
        raise DataError(
            f"codes of {a!r} and {b!r} have different widths, {za.shape[1]} and {zb.shape[1]}."
        )
    if _at_right_angles(za, zb):
        raise DataError(
            f"codes of {a!r} alone and of {b!r} alone are at right angles: no candidate is nearer "
            "than another."
        )
    partners = same_partner(some, a, b)
    draws = [(za, zb)]
    if isinstance(case.model, Chance):  # one draw would be luck
        draws = [case.model.drawn(len(za), a, b, draw) for draw in range(CHANCE_DRAWS)]
    return (
        mean_retrieval([retrieval(za, zb, partners, DEPTHS) for za, zb in draws]),
        mean_retrieval([retrieval(zb, za, partners.swapped(), DEPTHS) for za, zb in draws]),
    )


def _at_right_angles(za: NDArray[np.float64], zb: NDArray[np.float64]) -> bool:
    """Whether all cosines between the two are 0 but for rounding, and no code is zero."""
    a, b = unit_rows(za[:RIGHT_ANGLES]), unit_rows(zb)
    return bool(a.any(axis=1).all() and b.any(axis=1).all() and np.abs(a @ b.T).max() < 1e-9)


def reconstructions(case: Case) -> dict[str, Value]:
    """Each modality rebuilt from the others."""
    out: dict[str, Value] = {}
    for name in case.names if len(case.names) > 1 else ():
        found = case.attempt(_rebuild, case, name)
        out[f"reconstruction:{name}"] = value_of(found, "value")
        out[f"reconstruction:{name}:nats"] = value_of(found, "loss")
    return out


def _rebuild(case: Case, name: str) -> Any:
    case.needs(name)
    return reconstruct_absent(case.model, case.all_train.X, case.X(case.test), name)


def leakages(case: Case) -> dict[str, Value]:
    """What parts tell of one another and of each label, and how they depend."""
    out: dict[str, Value] = {}
    ways = [(SHARED, private(a)) for a in case.names]
    for a, b in [*ways, *((b, a) for a, b in ways)]:
        found = case.attempt(_leak, case, a, b)
        out[f"leakage:{a}>{b}"] = value_of(found, "value")
    for a, b in ways:
        depends = case.attempt(_depend, case, a, b)
        out[f"dependence:{a}~{b}:hsic"] = value_of(depends, "excess")
        # An estimate about 0 may lie below it, which is no less dependent.
        known = depends if isinstance(depends, str) else max(0.0, depends.information)
        out[f"dependence:{a}~{b}:information"] = number(known)
    for part in (SHARED, *(private(a) for a in case.names)):
        for name in case.labels:
            found = case.attempt(_tell, case, part, name)
            out[f"leakage:{part}>{told(name)}"] = value_of(found, "value")
    return out


def _parts(case: Case, *parts: str) -> list[tuple[list[NDArray[np.float64]], NDArray[np.bool_]]]:
    """Per data set: codes of the parts in rows that have all of them, and those rows."""
    if case.model.panel != "fission":
        raise CapabilityError("only fission methods have shared and private parts.")
    if SHARED not in case.model.parts_:
        raise CapabilityError("its parts are clusters, and none is shared or private.")
    keys = [part.removeprefix("private:") for part in parts]
    case.needs(*(key for key in keys if key != SHARED))
    out = []
    for codes in case.codes:
        lacking = [part for part, key in zip(parts, keys, strict=True) if key not in codes]
        if lacking:
            raise DataError(f"the code has no part {lacking[0]!r}.")
        rows = np.all([codes.present[key] for key in keys], axis=0)
        if not rows.any():
            raise DataError(f"no row has all of {list(parts)}.")
        out.append(([codes.parts[key][rows] for key in keys], rows))
    return out


def _leak(case: Case, source: str, target: str) -> Any:
    ((za, zb), _), ((ta, tb), _) = _parts(case, source, target)
    return leakage(za, zb, ta, tb, case.seed)


def _depend(case: Case, a: str, b: str) -> DependenceScore:
    ((za, zb), _) = _parts(case, a, b)[1]
    return dependence(za, zb, permutations=PERMUTATIONS, random_state=case.seed)


def _tell(case: Case, part: str, label: str) -> Any:
    ((train,), a), ((test,), b) = _parts(case, part)
    y = case.y(case.train, label)[case.rows[0]][a]
    asked = case.y(case.test, label)[case.rows[1]][b]
    return linear_probe(train, y, test, asked, case.seed)


def geometry(case: Case) -> dict[str, Value]:
    """Gap and alignment of pairs of codes, uniformity of each."""
    out: dict[str, Value] = {}
    for a, b in combinations(case.names, 2):
        both = case.attempt(_places, case, a, b)
        for what, measure in (("gap", modality_gap), ("alignment", alignment)):
            found = both if isinstance(both, str) else case.attempt(measure, *both)
            out[f"{what}:{a}~{b}"] = number(found)
    for a in case.names:
        alone = case.attempt(_places, case, a)
        found = alone if isinstance(alone, str) else case.attempt(uniformity, *alone)
        out[f"uniformity:{a}"] = number(found)
    return out


def _places(case: Case, *names: str) -> list[NDArray[np.float64]]:
    """Codes of the modalities in the test rows that have them all."""
    if case.model.panel != "coordination":
        raise CapabilityError("only coordination gives every modality a code of its own.")
    case.needs(*names)
    codes = case.codes[1]
    lacking = [name for name in names if name not in codes]
    if lacking:
        raise DataError(f"no test row has a code of {lacking[0]!r}.")
    rows = np.all([codes.present[name] for name in names], axis=0)
    if not rows.any():
        raise DataError(f"no test row has all of {list(names)}.")
    return [codes.parts[name][rows] for name in names]


def recall_at(found: Any, k: int) -> Value:
    """Recall among the first k, which says something where there are more candidates."""
    if isinstance(found, str):
        return {"why": found}
    if found.n_targets <= k:
        return {"why": f"does not apply: there are {found.n_targets} candidates, all within {k}"}
    return {"value": found.recall[k]}
