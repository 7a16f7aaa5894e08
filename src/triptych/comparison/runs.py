"""One run: a method with one seed, fitted and judged, and kept on disk when it is over."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych import catalog
from triptych.arrays import is_sparse, row_chunks
from triptych.comparison.extras import gather
from triptych.comparison.plan import Job
from triptych.contracts.persistence import versions
from triptych.dataset import Dataset
from triptych.errors import FileError
from triptych.evaluation import evaluate, measure
from triptych.media import FileRows
from triptych.modalities import Modalities

FORMAT = 2


@dataclass(frozen=True)
class Step:
    """What a comparison is doing.

    Args:
        name: The method.
        seed: Its seed.
        done: Runs that are over.
        total: Runs in all.
        status: ``"started"``, ``"finished"``, ``"kept"`` (from before), ``"failed"``, or
            ``"unsuited"`` (the method does not take data like these, so it was not tried).
        why: Why it failed or was not tried.
    """

    name: str
    seed: int
    done: int
    total: int
    status: str
    why: str | None = None

    def __str__(self) -> str:
        why = f": {self.why}" if self.why else ""
        return (
            f"{self.done} of {self.total} done; {self.name}, seed {self.seed}, {self.status}{why}"
        )


@dataclass(frozen=True)
class Parts:
    """The rows of a comparison.

    Args:
        train: Rows to learn from.
        valid: Rows to watch, or ``None``.
        test: Rows to judge by.
        label: Label that is probed, or ``None``.
        checksum: Of all that the result depends on in the data.
    """

    train: Dataset
    valid: Dataset | None
    test: Dataset
    label: str | None
    checksum: str


def checksum(data: Dataset) -> str:
    """SHA-256 over the modalities, what is present, labels, groups and splits.

    Of pictures and sounds in files every file is read once, and none decoded.
    """
    digest = hashlib.sha256()
    for name in data.X.names:
        present = data.X.present[name]
        digest.update(f"|{name}|{data.X.kind(name)}|".encode())
        digest.update(np.packbits(present).tobytes())
        rows = np.flatnonzero(present)
        for part in row_chunks(len(rows)):
            _update(digest, data.X[rows[part]][name])
    columns = [*data.labels.items(), ("group", data.groups), *data.splits.items()]
    for name, values in columns:
        digest.update(
            f"|{name}|{None if values is None else np.asarray(values).tolist()}".encode()
        )
    return "sha256:" + digest.hexdigest()


def _update(digest: Any, values: Any) -> None:
    if isinstance(values, FileRows):
        for part in values.digests():
            digest.update(part or b"")
    elif is_sparse(values):
        values = values.tocsr()
        values.sum_duplicates()
        for array in (values.indptr, values.indices, values.data):
            digest.update(array.tobytes())
    elif isinstance(values, list):
        for value in values:
            body = (
                value.encode("utf-8", "surrogatepass")
                if isinstance(value, str)
                else np.ascontiguousarray(value).tobytes()
            )
            digest.update(len(body).to_bytes(8, "little") + body)
    else:
        digest.update(np.ascontiguousarray(values).tobytes())


def run(
    job: Job, parts: Parts, seed: int, *, show: bool, folder: Path | None, resume: bool
) -> dict[str, Any]:
    """Fit and judge one method with one seed.

    Args:
        job: The method.
        parts: The rows.
        seed: Seed of the method and of the measures.
        show: Whether extras are gathered.
        folder: Where the result is kept; ``None`` for nowhere.
        resume: Whether a result kept there is used.

    Returns:
        ``status``, ``why``, ``values``, ``extras``, ``warnings``, and ``kept``: whether it is
        from before. A failure is not kept on disk, so that the next call tries again.
    """
    if why := unsuited(job, parts):
        nothing: dict[str, Any] = {"values": {}, "extras": {}, "warnings": []}
        return {"status": "unsuited", "why": why, **nothing, "kept": False}
    place = None if folder is None else folder / _file_name(job, parts, seed, show)
    if resume and place is not None and (found := read_result(place)) is not None:
        return {**found, "kept": True}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = _fit_and_judge(job, parts, seed, show)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            result = {"status": "failed", "why": why, "values": {}, "extras": {}, "warnings": []}
    said = [f"{w.category.__name__}: {w.message}" for w in caught]
    result["warnings"] = list(dict.fromkeys([*result["warnings"], *said]))
    if place is not None and result["status"] == "ok":
        write_text(place, json.dumps({"format": FORMAT, **result}))
    return {**result, "kept": False}


def unsuited(job: Job, parts: Parts) -> str:
    """Why a method by its own declaration does not take such data; ``""`` if it does."""
    able = job.model.capabilities
    why = able.refusal(parts.train.X)
    if not why and able.needs_labels and parts.label is None:
        why = "needs labels; the data have none that can be learnt."
    return why and f"{type(job.model).__name__} {why}"


def _fit_and_judge(job: Job, parts: Parts, seed: int, show: bool) -> dict[str, Any]:
    model, label = job.seeded(seed), parts.label
    able = model.capabilities
    train, valid = parts.train, parts.valid
    if not able.missing_at_fit:
        train = _complete(train)
        valid = None if valid is None else _complete(valid)
    # Labels go to those who ask for them; a baseline chooses by them.
    labelled = label is not None and (able.needs_labels or job.panel == "baseline")
    y = train.labels[label] if labelled and label is not None else None
    if valid is not None and label is not None and able.needs_labels:
        shown = train.labels[label]
        if shown.dtype.kind != "f":
            # A class that no training row has cannot be learnt, and the method would refuse it.
            valid = valid[np.isin(valid.labels[label], shown)]
    held: Any = None
    if valid is not None and len(valid):
        held = (valid.X, valid.labels[label] if labelled and label is not None else None)
    if "training" in model.get_params(deep=False):
        _warm_up()
    _, cost = measure(lambda: model.fit(train.X, y, validation=held))
    values = evaluate(
        model, parts.train, parts.test, label=label, random_state=seed, resources=cost
    )
    extras, troubles = gather(model, parts.test, values, label, train) if show else ({}, [])
    return {
        "status": "ok",
        "why": None,
        "values": values,
        "extras": extras,
        "warnings": troubles,
    }


@functools.cache
def _warm_up() -> None:
    """The process's first step of training loads and sets up much; no method should pay for it."""
    from triptych.training.settings import Training

    rows = np.arange(16.0).reshape(8, 2)
    small = catalog.find("CLIP")(2, training=Training(epochs=1), random_state=0)
    small.fit(Modalities({"a": rows, "b": -rows}))


def _complete(data: Dataset) -> Dataset:
    whole = np.all(list(data.X.present.values()), axis=0)
    return data if whole.all() else data[whole]


def _file_name(job: Job, parts: Parts, seed: int, show: bool) -> str:
    about = {
        "format": FORMAT,
        "class": f"{type(job.model).__module__}.{type(job.model).__qualname__}",
        "params": job.params,
        "data": parts.checksum,
        "label": parts.label,
        "seed": seed,
        "extras": show,
        "versions": versions(),
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9]+", "_", job.name).strip("_") or "method"
    return f"{slug}-{seed}-{key[:16]}.json"


def read_result(path: Path) -> dict[str, Any] | None:
    """A result that was kept; ``None`` if there is none, or if it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and {"values", "extras", "warnings"} <= found.keys()
    return found if whole and found.get("format") == FORMAT else None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        FileError: The disk refuses; what was there before is unchanged.
    """
    fresh = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.new"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}. What was there is unchanged."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
