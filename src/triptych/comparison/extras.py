"""What a fitted method has to show beside its figures: curves, examples, a map of its codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import signature
from itertools import permutations
from typing import Any

import numpy as np

from triptych.comparison.assignments import assigned
from triptych.comparison.decoded import reconstructions, swaps, traversals
from triptych.comparison.items import EXAMPLES, POINTS, draw, item, items
from triptych.dataset import Dataset
from triptych.errors import CapabilityError, DataError
from triptych.evaluation.baselines import BestSingle
from triptych.evaluation.codes import comparable, read_codes, usable_rows
from triptych.evaluation.columns import has_class_names, named_by_text
from triptych.evaluation.evaluate import curve_of, noise_of
from triptych.evaluation.noise_grid import noise_grid
from triptych.evaluation.retrieval import first_rows, retrieval, same_partner
from triptych.evaluation.zero_shot import TEMPLATES, zero_shot_of_label
from triptych.modalities import Modalities
from triptych.neighbours import nearest

FOUND = 5
CORRELATIONS = 100
PERMUTATIONS = 99
LEVEL = 0.95
# Components and rows of a permutation test that takes seconds: with many columns each of the
# permutations decomposes a matrix of rows by rows.
TESTED, TESTED_ROWS, WIDE, WIDE_ROWS = 10, 2000, 300, 300
# Columns up to which EM is run again for every permutation.
LEARNT_AGAIN = 150
KEPT_ROWS = 5000
# Ratios in decibels, and rows asked at each pair of them.
NOISE, NOISY_ROWS = (math.inf, 20.0, 10.0, 0.0, -10.0), 300


def gather(
    model: Any,
    test: Dataset,
    values: Mapping[str, Any],
    label: str | None,
    train: Dataset | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """All that one fitted method has to show, as plain values.

    The rows shown are drawn once for the data, so that methods can be compared on the same ones.

    Args:
        model: Fitted method.
        test: Rows to show.
        values: What :func:`triptych.evaluation.evaluate` said of it.
        label: Label that colours the map.
        train: Rows fitted, for the null of canonical correlations; none is shown without them.

    Returns:
        The extras by name, only those that there are; and what went wrong on the way, in words.
    """
    data = Dataset(
        test.X.select(*(m for m in test.X.names if m in model.names_in_)),
        labels=test.labels,
        groups=test.groups,
    )
    makers: dict[str, Callable[[], Any]] = {
        "parts": lambda: list(getattr(model, "parts_", ())),
        "choice": lambda: _choice(model),
        "history": lambda: _history(model),
        "correlations": lambda: _correlations(model),
        "null": lambda: {} if train is None else _null(model, train),
        "retrieval": lambda: _retrievals(model, data),
        "reconstructions": lambda: reconstructions(model, data.X),
        "swaps": lambda: swaps(model, data.X),
        "traversals": lambda: traversals(model, data.X),
        "map": lambda: _map(model, data, label),
        "missing": lambda: _missing(values),
        "noisy": lambda: _noisy(values),
        "kept": lambda: _kept(model, data, label),
        "zero_shot": lambda: _zero_shots(model, train, test, label),
        "gates": lambda: _gates(model),
        "predictions": lambda: _predictions(model, values),
        "noise": lambda: _noise(model, data, label),
        "assignments": lambda: _assignments(model, data.X),
    }
    extras, troubles = {}, []
    for name, make in makers.items():
        try:
            made = make()
        except (CapabilityError, DataError):
            continue  # it does not apply, and the table says why
        except Exception as error:  # a picture that cannot be drawn must not cost the figures
            troubles.append(f"no {name} to show: {type(error).__name__}: {error}")
            continue
        if made:
            extras[name] = made
    return extras, troubles


def _history(model: Any) -> dict[str, Any]:
    history = getattr(model, "history_", None)
    if history is None:
        return {}
    return {
        **{
            part: {
                # JSON has no NaN, which stands in epochs that did not show the term.
                term: [v if math.isfinite(v) else None for v in values]
                for term, values in history[part].items()
            }
            for part in ("train", "valid")
        },
        "best_epoch": getattr(history, "best_epoch", None),
    }


def _choice(model: Any) -> dict[str, str]:
    """Which modality a baseline took, and by what."""
    if not isinstance(model, BestSingle):
        return {}
    return {"modality": model.chosen_, "by": f"chosen by {model.chosen_by_}"}


def _correlations(model: Any) -> list[float]:
    found = np.asarray(getattr(model, "correlations_", ()), dtype=np.float64)
    return [float(r) for r in found.ravel()[:CORRELATIONS]] if found.ndim == 1 else []


def _null(model: Any, train: Dataset) -> dict[str, Any]:
    """What canonical correlations would be by chance, for methods that can permute rows.

    One row of each group stands for it, so that rows may change places; of many rows some are
    drawn, and their own correlations are recorded beside the null.
    """
    if not _correlations(model) or not hasattr(model, "permutation_test"):
        return {}
    if getattr(model, "n_iter_", 0) and sum(model.rank_.values()) > LEARNT_AGAIN:
        return {}
    X = train.X.select(*(m for m in train.X.names if m in model.names_in_))
    whole = np.all(list(X.present.values()), axis=0)
    rows = first_rows(train.groups, whole)
    weights = getattr(model, "weights_", None)
    wide = weights is None or sum(len(part) for part in weights.values()) > WIDE
    # All modalities together make the matrix that is decomposed.
    some = draw(rows, 2 * WIDE_ROWS // len(X.names) if wide else TESTED_ROWS, "null")
    asked: dict[str, Any] = {"n_permutations": PERMUTATIONS, "random_state": 0}
    if "n_components" in signature(model.permutation_test).parameters:
        asked["n_components"] = min(TESTED, len(_correlations(model)))
    test = model.permutation_test(X[some], **asked)
    return {
        "level": LEVEL,
        "by_chance": [float(r) for r in test.level(LEVEL)],
        "correlations": [float(r) for r in test.correlations],
        "p_values": [float(p) for p in test.p_values_fwe],
        "permutations": test.n_permutations,
        "rows": len(some),
        # By EM, or where rows lack a modality, other correlations are tested than shown.
        "all_rows": len(some) == getattr(model, "n_samples_", int(whole.sum()))
        and np.allclose(test.correlations, _correlations(model)[: len(test.correlations)]),
    }


def _missing(values: Mapping[str, Any]) -> dict[str, Any]:
    curve = curve_of(values)
    return {} if curve is None else {"share": list(curve.share), "accuracy": list(curve.value)}


def _noisy(values: Mapping[str, Any]) -> dict[str, Any]:
    curve = noise_of(values)
    return {} if curve is None else {"level": list(curve.level), "accuracy": list(curve.value)}


def _retrievals(model: Any, data: Dataset) -> list[dict[str, Any]]:
    out = []
    for a, b in permutations(data.X.names, 2):
        rows = first_rows(data.groups, data.X.present[a] & data.X.present[b])
        if len(rows) <= FOUND:
            continue
        some = data.X.select(a, b)[rows]
        # As in the measures: codes of one modality each, so that what is shown is what counts.
        za, zb = comparable(model, some, a), comparable(model, some, b)
        if za.shape[1] != zb.shape[1]:
            continue
        partners = same_partner(some, a, b)
        ranks = retrieval(za, zb, partners).ranks
        asked = draw(np.arange(len(rows)), EXAMPLES, "queries")
        indices, cosines = nearest(za[asked], zb, FOUND)
        queries, truths = items(some, a, asked), items(some, b, asked)
        examples = []
        for i, row in enumerate(asked):
            right = partners.tile(slice(row, row + 1))[0]
            found = [
                {"item": shown, "correct": bool(right[j]), "similarity": float(s)}
                for shown, j, s in zip(
                    items(some, b, indices[i]), indices[i], cosines[i], strict=True
                )
            ]
            examples.append(
                {
                    "query": queries[i],
                    "truth": truths[i],
                    "found": found,
                    "rank": int(ranks[row]),
                }
            )
        out.append({"query_modality": a, "target_modality": b, "examples": examples})
    return out


def _map(model: Any, data: Dataset, label: str | None) -> dict[str, Any]:
    rows = draw(np.flatnonzero(usable_rows(model, data.X)), POINTS, "map")
    if len(rows) < 3:
        return {}
    codes = read_codes(model, data.X[rows])
    Z = codes.joined(codes)
    Z = Z - Z.mean(axis=0)
    U, s, _ = np.linalg.svd(Z, full_matrices=False)
    xy = np.zeros((len(rows), 2))
    xy[:, : min(2, len(s))] = (U * s)[:, :2]
    names = [""] * len(rows)
    if label is not None and label in data.labels:
        names = [str(v) for v in np.asarray(data.labels[label])[rows]]
    return {"xy": [[float(f"{v:.4g}") for v in point] for point in xy], "labels": names}


def _zero_shots(
    model: Any, train: Dataset | None, test: Dataset, label: str | None
) -> list[dict[str, Any]]:
    """What was taken for what where classes are named by their words, by modality."""
    if train is None or label is None or not has_class_names(train.labels[label]):
        return []
    out = []
    for modality in named_by_text(test):
        if modality not in model.names_in_:
            continue
        found = zero_shot_of_label(model, train, test, label, modality)
        out.append(
            {
                "label": label,
                "modality": modality,
                "text": found.text,
                "templates": list(TEMPLATES),
                "classes": list(found.classes),
                "confusion": found.confusion.tolist(),
                "accuracy": found.accuracy,
                "top": {str(k): share for k, share in found.top_k.items()},
            }
        )
    return out


def _gates(model: Any) -> dict[str, Any]:
    """How open gates were over the training rows, for methods that have some."""
    found: Mapping[str, Mapping[str, Any]] = getattr(model, "gate_statistics_", {})
    return {
        name: {
            "mean": [float(f"{v:.4g}") for v in np.asarray(about["mean"]).ravel()],
            "spread": [float(f"{v:.4g}") for v in np.asarray(about["spread"]).ravel()],
            "saturated": float(about["saturated"]),
            "form": str(getattr(model, "form", "elementwise")),
        }
        for name, about in found.items()
    }


def _predictions(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What absence and noise cost the predictions, as the measures found."""
    curves = {"absence": "predict_missing", "noise": "predict_noise"}
    found = {cause: values[key] for cause, key in curves.items() if "at" in values.get(key, ())}
    return {
        cause: {
            "measure": "accuracy" if len(model.classes_) else "R²",
            "at": one["at"],
            "value": [float(f"{v:.5g}") for v in one["curve"]],
            "area": one["value"],
        }
        for cause, one in found.items()
    }


def _noise(model: Any, data: Dataset, label: str | None) -> dict[str, Any]:
    """Accuracy under noise on the first two modalities that can have it, if labels were learnt."""
    noisy = [m for m in data.X.names if data.X.kind(m).form != "text"][:2]
    if label is None or not noisy or not model.capabilities.predicts:
        return {}
    y = np.asarray(data.labels[label])
    rows = draw(np.flatnonzero(usable_rows(model, data.X)), NOISY_ROWS, "noise")
    grid = noise_grid(model, data.X[rows], y[rows], dict.fromkeys(noisy, NOISE))
    return {
        "modalities": noisy,
        # Infinity has no place in JSON.
        "levels": [None if math.isinf(level) else level for level in NOISE],
        "value": grid.value.tolist(),
        "measure": grid.measure,
        "rows": grid.rows,
    }


def _assignments(model: Any, X: Modalities) -> list[dict[str, Any]]:
    """Clusters over pictures, for methods that say which position belongs to which."""
    if not hasattr(model, "assign") or not hasattr(model, "localise"):
        return []
    whole = np.all(list(X.present.values()), axis=0)
    rows = draw(np.flatnonzero(whole), EXAMPLES, "rebuilt")
    return assigned(
        model,
        X,
        rows,
        lambda name: items(X, name, rows),
        lambda pixels: item(pixels, "image", (0.0, 1.0)),
    )


def _kept(model: Any, data: Dataset, label: str | None) -> list[dict[str, Any]]:
    """How much of each modality and of the label each part of the code keeps, in nats."""
    from triptych.information.measuring import kept

    whole = np.all(list(data.X.present.values()), axis=0) & usable_rows(model, data.X)
    rows = draw(np.flatnonzero(whole), KEPT_ROWS, "kept")
    some = data.X[rows]
    codes = read_codes(model, some)
    full = {part: codes.parts[part] for part in codes if codes.present[part].all()}
    y = np.asarray(data.labels[label])[rows] if label is not None else None
    found = kept(full, some, y, name=label or "", unit="nats")
    return [
        {
            "part": one.part,
            "of": one.of,
            "nats": one.about.value,
            "interval": list(one.about.interval),
            "entropy": one.entropy,
            "chance": one.shuffled,
        }
        for one in found
    ]
