"""The exhibits of a method, read from the plain record of a comparison."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from typing import Any

from triptych.report.exhibits import (
    CodeMap,
    Curve,
    Exhibits,
    Fading,
    Found,
    Gate,
    Item,
    Keeps,
    Naming,
    Noise,
    Null,
    Query,
    Rebuilt,
    Reconstruction,
    Retrieval,
    Swaps,
    Traversal,
)
from triptych.report.numbers import finite

_PNG = b"\x89PNG\r\n\x1a\n"


def read_exhibits(extras: Mapping[str, Any] | None) -> Exhibits:
    """The ``extras`` of one row of a comparison; what is absent or not finite is left out."""
    extras = extras or {}
    return Exhibits(
        curves=_curves(extras.get("history") or {}),
        correlations=_numbers(extras.get("correlations")),
        null=_null(extras.get("null") or {}),
        retrieval=tuple(
            _retrieval(r) for r in _each(extras.get("retrieval")) if r.get("examples")
        ),
        reconstructions=tuple(
            _reconstruction(r) for r in _each(extras.get("reconstructions")) if r.get("examples")
        ),
        traversals=tuple(
            Traversal(
                str(one.get("modality", "")),
                _numbers(one.get("steps")),
                tuple(
                    (int(line.get("dimension", 0)), tuple(map(read_item, line.get("items") or ())))
                    for line in _each(one.get("lines"))
                ),
            )
            for one in _each(extras.get("traversals"))
        ),
        code_map=_code_map(extras.get("map") or {}),
        missing=_points(extras.get("missing") or {}, "share"),
        noisy=_points(extras.get("noisy") or {}, "level"),
        swaps=tuple(
            Swaps(
                str(one.get("modality", "")),
                tuple(map(read_item, one.get("shared") or ())),
                tuple(map(read_item, one.get("private") or ())),
                tuple(tuple(map(read_item, cells)) for cells in one.get("cells") or ()),
            )
            for one in _each(extras.get("swaps"))
        ),
        kept=_kept(extras.get("kept")),
        naming=_naming(extras.get("zero_shot")),
        gates=_gates(extras.get("gates") or {}),
        fading=_fading(extras.get("predictions") or {}),
        noise=_noise(extras.get("noise") or {}),
        assignments=_sets(extras.get("assignments")),
    )


def _sets(values: Any) -> tuple[tuple[tuple[str, Item], ...], ...]:
    """Things by what they are, several that belong together."""
    return tuple(
        tuple((str(name).replace("_", " "), read_item(part)) for name, part in one.items())
        for one in _each(values)
    )


def read_item(value: Any) -> Item:
    """One item of the record. A picture that is no PNG becomes words that say so."""
    if not isinstance(value, Mapping):
        return Item("text", "" if value is None else str(value))
    if value.get("kind") == "image":
        return _picture(str(value.get("png") or ""))
    if value.get("kind") == "vector":
        return Item("vector", values=_numbers(value.get("values")))
    return Item("text", str(value.get("text", "")))


def _picture(png: str) -> Item:
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(_PNG) or len(data) < 24:
        return Item("text", "(picture unreadable)")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    return Item("image", png=png, width=width, height=height)


def _each(value: Any) -> Iterable[Mapping[str, Any]]:
    return [v for v in (value or ()) if isinstance(v, Mapping)]


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(v for v in map(finite, _flat(values)) if v is not None)


def _flat(values: Any) -> Iterable[Any]:
    if values is None:
        return
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _curves(history: Mapping[str, Any]) -> tuple[Curve, ...]:
    train, valid = history.get("train") or {}, history.get("valid") or {}
    curves = (
        Curve(str(term), _gapped(train.get(term)), _gapped(valid.get(term)))
        for term in dict.fromkeys([*train, *valid])
    )
    known = [c for c in curves if not all(map(math.isnan, c.train + c.valid))]
    return tuple(sorted(known, key=lambda c: c.term != "loss"))


def _gapped(values: Any) -> tuple[float, ...]:
    numbers = (finite(v) for v in values or ())
    return tuple(math.nan if v is None else v for v in numbers)


def _retrieval(value: Mapping[str, Any]) -> Retrieval:
    queries = []
    for example in _each(value["examples"]):
        found = tuple(
            Found(read_item(f.get("item")), bool(f.get("correct")), finite(f.get("similarity")))
            for f in _each(example.get("found"))
        )
        rank = finite(example.get("rank"))
        queries.append(
            Query(
                read_item(example.get("query")),
                read_item(example.get("truth")),
                found,
                None if rank is None else int(rank),
            )
        )
    return Retrieval(
        str(value.get("query_modality", "")), str(value.get("target_modality", "")), tuple(queries)
    )


def _reconstruction(value: Mapping[str, Any]) -> Reconstruction:
    examples = tuple(
        Rebuilt(
            tuple(read_item(g) for g in _as_list(e.get("given"))),
            read_item(e.get("truth")),
            read_item(e.get("rebuilt")),
        )
        for e in _each(value["examples"])
    )
    given = tuple(str(g) for g in _as_list(value.get("given")))
    return Reconstruction(str(value.get("absent", "")), given, examples)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _code_map(value: Mapping[str, Any]) -> CodeMap | None:
    xy, labels = value.get("xy") or (), value.get("labels") or ()
    kept = []
    for i, point in enumerate(xy):
        x, y = finite(point[0]), finite(point[1])
        if x is not None and y is not None:
            kept.append(((x, y), str(labels[i]) if i < len(labels) else ""))
    if not kept:
        return None
    return CodeMap(tuple(point for point, _ in kept), tuple(label for _, label in kept))


def _null(value: Mapping[str, Any]) -> Null | None:
    by_chance, found, p_values = (
        _numbers(value.get(key)) for key in ("by_chance", "correlations", "p_values")
    )
    level = finite(value.get("level"))
    if level is None or not by_chance or not len(by_chance) == len(found) == len(p_values):
        return None
    return Null(
        level=level,
        by_chance=by_chance,
        correlations=found,
        p_values=p_values,
        permutations=int(finite(value.get("permutations")) or 0),
        rows=int(finite(value.get("rows")) or 0),
        all_rows=bool(value.get("all_rows")),
    )


def _kept(values: Any) -> tuple[Keeps, ...]:
    found = []
    for v in _each(values):
        numbers = [finite(v.get(key)) for key in ("nats", "entropy", "chance")]
        if None not in numbers and (numbers[1] or 0) > 0:
            nats, entropy, chance = (float(number or 0) for number in numbers)
            found.append(Keeps(str(v.get("part")), str(v.get("of")), nats, entropy, chance))
    return tuple(found)


def _naming(values: Any) -> tuple[Naming, ...]:
    found = []
    for v in _each(values):
        classes = tuple(str(name) for name in v.get("classes") or ())
        confusion = tuple(
            tuple(int(finite(n) or 0) for n in row) for row in v.get("confusion") or ()
        )
        accuracy = finite(v.get("accuracy"))
        square = len(confusion) == len(classes) and all(len(r) == len(classes) for r in confusion)
        if accuracy is None or not classes or not square or not sum(map(sum, confusion)):
            continue
        tops = ((finite(k), finite(share)) for k, share in (v.get("top") or {}).items())
        found.append(
            Naming(
                label=str(v.get("label") or ""),
                modality=str(v.get("modality") or ""),
                text=str(v.get("text") or ""),
                templates=tuple(str(t) for t in v.get("templates") or ()),
                classes=classes,
                confusion=confusion,
                accuracy=accuracy,
                top=tuple(
                    (int(k), share) for k, share in tops if k is not None and share is not None
                ),
            )
        )
    return tuple(found)


def _gates(values: Mapping[str, Any]) -> tuple[Gate, ...]:
    found = []
    for name, v in values.items():
        mean = _numbers(v.get("mean")) if isinstance(v, Mapping) else ()
        if mean:
            spread, saturated = _numbers(v.get("spread")), finite(v.get("saturated")) or 0.0
            plain = v.get("form") != "attention"
            found.append(Gate(str(name), mean, spread, saturated, plain))
    return tuple(found)


def _fading(values: Mapping[str, Any]) -> tuple[Fading, ...]:
    found = []
    for cause, v in values.items():
        known = v if isinstance(v, Mapping) else {}
        at, value = _numbers(known.get("at")), _numbers(known.get("value"))
        area = finite(known.get("area"))
        if area is not None and len(at) == len(value) > 1:
            found.append(Fading(str(cause), str(known.get("measure") or ""), at, value, area))
    return tuple(found)


def _noise(v: Mapping[str, Any]) -> Noise | None:
    names, levels = tuple(map(str, v.get("modalities") or ())), tuple(v.get("levels") or ())
    found = v.get("value") or ()
    rows = found if len(names) == 2 else [found]
    value = tuple(tuple(finite(cell) for cell in row) for row in rows)
    whole = all(len(row) == len(levels) and None not in row for row in value)
    if not names or not levels or not whole or len(value) != len(levels) ** (len(names) - 1):
        return None
    kept = tuple(tuple(cell for cell in row if cell is not None) for row in value)
    steps = tuple(finite(level) for level in levels)
    return Noise(names, steps, kept, str(v.get("measure") or "accuracy"), int(v.get("rows") or 0))


def _points(value: Mapping[str, Any], across: str) -> tuple[tuple[float, float], ...]:
    pairs = zip(value.get(across) or (), value.get("accuracy") or (), strict=False)
    numbers = ((finite(s), finite(a)) for s, a in pairs)
    found = tuple(sorted((s, a) for s, a in numbers if s is not None and a is not None))
    return found if len(found) > 1 else ()
