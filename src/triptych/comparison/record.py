"""``compare``: run every method, then put what was found into one record of plain values."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from triptych.arrays import check_number
from triptych.comparison.plan import Job, Wanted, jobs, plain
from triptych.comparison.runs import Parts, Step, checksum, run, unsuited, write_text
from triptych.contracts.persistence import versions
from triptych.dataset import PARTS, Dataset
from triptych.errors import DataError, ModalityError, ParameterError
from triptych.evaluation import columns
from triptych.evaluation.columns import choose_label
from triptych.modalities import Modalities
from triptych.seeding import check_random_state, generator

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}


def compare(
    dataset: Dataset | Mapping[str, Any] | Modalities,
    *,
    methods: Mapping[str, Wanted] | Sequence[Wanted] | None = None,
    label: str | None = None,
    split: str | None = None,
    seeds: Sequence[int] = (0,),
    training: Mapping[str, Any] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: Callable[[Step], None] | None = None,
    resume: bool = True,
) -> dict[str, Any]:
    """Run methods beside honest baselines, judge all by the same measures, and record it.

    A method that fails, or does not take such data, is a row that says why; the others go on.
    With ``output``, each run is kept when it is over, so a comparison that was stopped goes on
    where it was, and one with another method added runs only that.

    Args:
        dataset: Paired modalities with labels and splits. Without a split, rows are divided by
            chance into 70 % to learn from, 15 % to watch and 15 % to judge by, groups together.
        methods: Names of the catalogue, classes or unfitted methods, by name if a mapping; the
            whole catalogue when left out.
        label: Label to probe; the first that a probe can learn when left out.
        split: Name of the split; the first when left out.
        seeds: Each method is run once with each; means and standard deviations are over them.
        training: Parts of :class:`~triptych.Training` for methods that have it, for instance
            ``{"epochs": 5}``.
        params: Parameters by name of a method: ``{"CLIP": {"n_components": 32}}``.
        output: Folder in which finished runs are kept, under ``runs/``; ``None`` for nowhere.
        progress: Called with a :class:`Step` before and after each run.
        resume: Whether runs kept in ``output`` are used.

    Returns:
        A record of JSON values for :func:`triptych.report.render`: ``title``, ``created``,
        ``data``, ``versions``, ``settings``, ``seeds``, ``columns`` and ``rows``, one for each
        method, with ``status`` (``"ok"``, ``"failed"``, ``"unsuited"``), ``why``, ``params``,
        ``values`` by column, ``warnings`` and ``extras`` of the first seed.

    Raises:
        DataError: Data that nothing can be learnt from, or one modality alone.
        ParameterError: An unknown method, parameter, label or split.
        FileError: ``output`` cannot be written.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=(90, 2))
        >>> X = {"a": z + 0.1 * rng.normal(size=(90, 2)), "b": z @ rng.normal(size=(2, 3))}
        >>> record = compare(Dataset(Modalities(X)), methods=["CCA"])
        >>> [row["name"] for row in record["rows"]][:2]
        ['CCA', 'chance']
    """
    seeds = _check_seeds(seeds)
    data = dataset if isinstance(dataset, Dataset) else Dataset(Modalities(dataset))
    parts, split = divided(data, split, label)
    planned = jobs(methods, {} if training is None else training, params or {}, len(data.X.names))
    if len(data.X.names) < 2:
        whys = [unsuited(job, parts) for job in planned if job.panel != "baseline"]
        if whys and all(whys):
            raise ModalityError(f"nothing to compare: {whys[0]}")
    folder = None if output is None else Path(output) / "runs"
    if folder is not None:
        _try(folder)
    results: list[list[dict[str, Any]]] = [[] for _ in planned]
    total, done = len(planned) * len(seeds), 0
    say = progress or (lambda step: None)
    for job, found in zip(planned, results, strict=True):
        for i, seed in enumerate(seeds):
            say(Step(job.name, seed, done, total, "started"))
            result = run(job, parts, seed, show=i == 0, folder=folder, resume=resume)
            found.append({**result, "seed": seed})
            done += 1
            status = "kept" if result["kept"] else result["status"].replace("ok", "finished")
            say(Step(job.name, seed, done, total, status, result["why"]))
    # Those that learn labels only where they are given are fitted without them here.
    predicts = any(
        job.model.capabilities.predicts and job.model.capabilities.needs_labels for job in planned
    )
    listed = [
        column
        for column in columns(parts.train, parts.label)
        if predicts or column["group"] != "Prediction"
    ]
    record = {
        "title": f"Representations of {data.name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": _about(data, parts),
        "versions": versions(),
        "settings": {
            "split": split,
            "training": plain(dict(training or {})),
            "validation rows": 0 if parts.valid is None else len(parts.valid),
            "processors": os.cpu_count(),
        },
        "seeds": list(seeds),
        "columns": listed,
        "rows": [
            _row(job, found, [c["key"] for c in listed])
            for job, found in zip(planned, results, strict=True)
        ],
    }
    if output is not None:
        write_text(Path(output) / "comparison.json", json.dumps(record))
    return record


def divided(
    data: Dataset, split: str | None = None, label: str | None = None
) -> tuple[Parts, str]:
    """Rows to learn from, to watch and to judge by, and the name of the split.

    Args:
        data: All rows.
        split: Name of the split; the first when left out. Data without one are divided by
            chance, always in the same way, with groups kept together.
        label: Label to probe; chosen among those a probe can learn when left out.
    """
    if data.splits:
        name = next(iter(data.splits)) if split is None else split
    elif split is not None:
        raise ParameterError(f"split: data set {data.name!r} has none; got {split!r}.")
    else:
        name = "by chance"
        data = Dataset(
            data.X, data.labels, data.ids, data.groups, {name: _chance(data)}, data.name
        )
    pieces = {part: data.part(part, name) for part in PARTS[:3]}
    for part, least in (("train", 2), ("test", 1)):
        if len(pieces[part]) < least:
            raise DataError(
                f"split {name!r} of {data.name!r} has {len(pieces[part])} {part} rows; "
                f"a comparison needs at least {least}."
            )
    valid = pieces["valid"] if len(pieces["valid"]) else None
    chosen = choose_label(pieces["train"], label)
    return Parts(pieces["train"], valid, pieces["test"], chosen, checksum(data)), name


def _chance(data: Dataset) -> Any:
    n = len(data)
    if n < 4:
        raise DataError(f"{data.name!r}: expected at least 4 rows to divide, got {n}.")
    whose = np.arange(n) if data.groups is None else np.asarray(data.groups)
    names, place = np.unique(whose, return_inverse=True)
    order = generator(0, "split").permutation(len(names))
    held = max(1, round(len(names) * SHARES["test"]))
    parts = np.full(len(names), "train", dtype="<U5")
    parts[order[:held]] = "test"
    if len(names) >= 20:  # fewer are better spent on learning
        parts[order[held : 2 * held]] = "valid"
    return parts[place]


def _check_seeds(seeds: Sequence[int]) -> list[int]:
    if isinstance(seeds, (int, np.integer)):
        raise ParameterError(f"seeds: expected a list, got {seeds!r}; write [{seeds}].")
    found = [check_random_state(seed) for seed in seeds]
    check_number("number of seeds", len(found), low=1, integer=True)
    if len(set(found)) < len(found):
        raise ParameterError(f"seeds: expected different ones, got {found}.")
    return found


def _try(folder: Path) -> None:
    """Find out that nothing can be written before hours are spent, not after."""
    write_text(folder / "README", "Finished runs of triptych compare; it goes on from here.\n")


def _about(data: Dataset, parts: Parts) -> dict[str, Any]:
    modalities = []
    for name in data.X.names:
        kind = data.X.kind(name)
        modalities.append(
            {
                "name": name,
                "kind": kind.form,
                "shape": list(kind.shape),
                "present": float(data.X.present[name].mean()),
            }
        )
    return {
        "name": data.name,
        "rows": len(data),
        "train": len(parts.train),
        "test": len(parts.test),
        "modalities": modalities,
        "labels": [
            {"name": name, "classes": len(np.unique(np.asarray(y)))}
            for name, y in data.labels.items()
        ],
        "label": parts.label,
        "checksum": parts.checksum,
    }


def _row(job: Job, results: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """One method over its seeds."""
    good = [result for result in results if result["status"] == "ok"]
    bad = [f"seed {r['seed']}: {r['why']}" for r in results if r["status"] != "ok"]
    same = results[0]["status"] == "unsuited"  # whatever the seed
    why = "; ".join(bad) if len(results) > 1 and not same else results[0]["why"]
    return {
        "name": job.name,
        "panel": job.panel,
        "status": "ok" if good else results[0]["status"],
        "why": why or None,
        "params": job.params,
        "values": {key: _over_seeds([r["values"][key] for r in good]) for key in keys}
        if good
        else {},
        "warnings": list(dict.fromkeys(w for result in results for w in result["warnings"])),
        "extras": next((result["extras"] for result in good if result["extras"]), {}),
    }


def _over_seeds(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    numbers = [value["value"] for value in values if "value" in value]
    if not numbers:
        return {"why": values[0]["why"]}
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return {"mean": float(np.mean(numbers)), "std": spread, "n": len(numbers)}
