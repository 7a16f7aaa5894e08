"""Robustness: accuracy when modalities go missing at test time, or under noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import as_labels, check_number, row_chunks
from triptych.errors import CapabilityError, DataError, ParameterError
from triptych.evaluation.codes import Codes, read_codes, usable_rows
from triptych.evaluation.probes import MAX_ROWS, Reader, linear_reader
from triptych.modalities import Modalities, as_modalities
from triptych.noise import column_spread, with_noise
from triptych.seeding import check_random_state, derive, generator

SHARES = (0.0, 0.3, 0.6, 0.9)
# Spread of the noise, in spreads of the signal.
LEVELS = (0.0, 0.5, 1.0, 2.0)
# Rows that are noisy at a time: a sparse matrix, or rows in files, may not fit in memory as noise.
NOISY_AT_ONCE = 2048


@dataclass(frozen=True)
class MissingCurve:
    """Quality of a linear probe as modalities are taken away.

    Args:
        share: Chance with which each modality of a row was taken away.
        value: Accuracy (R² for numbers) at each share.
        taken: Share that was really taken, less because every row keeps one modality.
    """

    share: tuple[float, ...]
    value: tuple[float, ...]
    taken: tuple[float, ...]


@dataclass(frozen=True)
class NoiseCurve:
    """Quality of a linear probe under noise.

    Args:
        level: Spread of the noise on all modalities but texts, in spreads of the signal: of a
            picture's or a recording's own, of a column's in training rows.
        value: Accuracy (R² for numbers) at each level.
    """

    level: tuple[float, ...]
    value: tuple[float, ...]


def drop_modalities(
    X: Mapping[str, Any] | Modalities, share: float, random_state: int | None = 0
) -> Modalities:
    """Take each modality of each row away with chance ``share``; one always stays.

    Which one stays is drawn evenly among those present. With one seed, what is missing at a
    small share is missing at every larger one too. The draws are keyed by modality name.

    Args:
        X: Modalities, n rows.
        share: From 0 to 1.
        random_state: Seed.
    """
    check_number("share", share, low=0, high=1)
    data, seed = as_modalities(X), check_random_state(random_state)
    luck = np.stack([generator(seed, "missing", name).random(len(data)) for name in data.names])
    held = np.stack([data.present[name] for name in data.names])  # (m, n)
    luck = np.where(held, luck, -1.0)
    keep = (luck >= share) | (luck == luck.max(axis=0))
    return data.with_present({name: keep[i] & held[i] for i, name in enumerate(data.names)})


def noisy_modalities(
    X: Mapping[str, Any] | Modalities,
    level: float,
    random_state: int | None = 0,
    *,
    reference: Mapping[str, Any] | Modalities | None = None,
) -> Modalities:
    """White noise on all modalities but texts, by :func:`triptych.noise.add_noise`.

    With one seed the noise is the same at every level, scaled.

    Args:
        X: Modalities, n rows.
        level: Spread of the noise, in spreads of the signal, 0 to 1e6.
        random_state: Seed.
        reference: Rows that say how strong columns are, the training rows for instance; ``X``
            itself when left out.

    Raises:
        DataError: All modalities are texts, or numbers of a type that cannot hold the noise.
    """
    check_number("level", level, low=0, high=1e6)
    data, seed = as_modalities(X), check_random_state(random_state)
    return noise_like(data if reference is None else reference)(data, level, seed)


def noise_like(
    reference: Mapping[str, Any] | Modalities,
) -> Callable[[Modalities, float, int], Modalities]:
    """What makes rows noisy by a level and a seed, as :func:`noisy_modalities`, again and again.

    The spread of the columns of ``reference`` is looked at once.
    """
    known = as_modalities(reference)

    @cache
    def spread_of(name: str) -> NDArray[np.float64]:
        form = known.kind(name).form if name in known else ""
        return column_spread(name, form, known)

    def make(data: Modalities, level: float, seed: int) -> Modalities:
        noisy = [name for name in data.names if data.kind(name).form != "text"]
        if not noisy:
            raise DataError("noise is for numbers; all modalities are texts.")
        ratio = 0.0 - 20 * math.log10(level) if level > 0 else math.inf
        try:
            return with_noise(data, dict.fromkeys(noisy, ratio), spread_of, seed)
        except ParameterError as error:  # the level is a good one, but not for these numbers
            name, _, said = str(error).removeprefix("snr__").partition(": ")
            raise DataError(f"modality {name!r} under noise: {said}") from error

    return make


def missing_curve(
    model: Any,
    train: Mapping[str, Any] | Modalities,
    y_train: Any,
    test: Mapping[str, Any] | Modalities,
    y_test: Any,
    *,
    shares: Sequence[float] = SHARES,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> MissingCurve:
    """Accuracy of a linear probe against the share of missing modalities.

    The probe is trained once on codes of training rows as they are, and asked on test rows with
    modalities taken away: what a user meets whose sensors fail after training.

    Args:
        model: A fitted method that takes missing modalities at transform.
        train: Modalities, n rows.
        y_train: Labels (n,).
        test: Modalities, q rows.
        y_test: Labels (q,).
        shares: Chances of loss, each from 0 to 1.
        random_state: Seed of what is taken and of the probe.
        max_rows: Most training rows of the probe.

    Raises:
        CapabilityError: The method needs every modality at transform.
    """
    if not model.capabilities.missing_at_transform:
        raise CapabilityError(f"{type(model).__name__} needs every modality at transform.")
    codes, reader, T, asked = _taught(model, train, y_train, test, y_test, random_state, max_rows)
    return missing_curve_of(reader, model, codes, T, asked, shares, random_state)


def noise_curve(
    model: Any,
    train: Mapping[str, Any] | Modalities,
    y_train: Any,
    test: Mapping[str, Any] | Modalities,
    y_test: Any,
    *,
    levels: Sequence[float] = LEVELS,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> NoiseCurve:
    """Accuracy of a linear probe against noise on all modalities but texts at once.

    The probe is trained once on codes of clean training rows, and asked on codes of noisy test
    rows. :func:`~triptych.evaluation.noise_grid.noise_grid` tells modalities apart.

    Args:
        model: A fitted method.
        train: Modalities, n rows.
        y_train: Labels (n,).
        test: Modalities, q rows.
        y_test: Labels (q,).
        levels: Spreads of the noise, in spreads of the signal.
        random_state: Seed of the noise and of the probe.
        max_rows: Most training rows of the probe.

    Raises:
        DataError: All modalities are texts, or numbers of a type that cannot hold the noise.
    """
    if not isinstance(levels, Sequence) or isinstance(levels, str) or not len(levels):
        raise ParameterError(f"levels: expected spreads, for instance (0, 1); got {levels!r}.")
    for level in levels:
        check_number("levels", level, low=0, high=1e6)
    codes, reader, T, asked = _taught(model, train, y_train, test, y_test, random_state, max_rows)
    return noise_curve_of(reader, model, codes, T, asked, levels, random_state, train)


def _taught(
    model: Any,
    train: Mapping[str, Any] | Modalities,
    y_train: Any,
    test: Mapping[str, Any] | Modalities,
    y_test: Any,
    random_state: int | None,
    max_rows: int,
) -> tuple[Codes, Reader, Modalities, NDArray[Any]]:
    """Codes of training rows, the probe that learnt from them, and the rows to ask it about."""
    X, T = as_modalities(train), as_modalities(test)
    seen, asked = as_labels(y_train, len(X), "y_train"), as_labels(y_test, len(T), "y_test")
    rows, held = usable_rows(model, X), usable_rows(model, T)
    codes = read_codes(model, X[rows])
    reader = linear_reader(codes.joined(codes), seen[rows], random_state, max_rows=max_rows)
    return codes, reader, T[held], asked[held]


def missing_curve_of(
    reader: Reader,
    model: Any,
    codes: Codes,
    test: Modalities,
    y_test: NDArray[Any],
    shares: Sequence[float],
    random_state: int | None,
) -> MissingCurve:
    """The curve of a reader that has learnt from ``codes``; see :func:`missing_curve`."""
    full = _count(test)
    values, taken = [], []
    for share in shares:
        fewer = drop_modalities(test, share, random_state)
        Z = read_codes(model, fewer).joined(codes)
        values.append(reader.score(Z, y_test).value)
        taken.append(1 - _count(fewer) / full)
    return MissingCurve(tuple(float(s) for s in shares), tuple(values), tuple(taken))


def noise_curve_of(
    reader: Reader,
    model: Any,
    codes: Codes,
    test: Modalities,
    y_test: NDArray[Any],
    levels: Sequence[float],
    random_state: int | None,
    train: Mapping[str, Any] | Modalities,
) -> NoiseCurve:
    """The curve of a reader that has learnt from ``codes``; see :func:`noise_curve`."""
    seed, noisy, values = check_random_state(random_state), noise_like(train), []
    for level in levels:
        Z = []
        for part in row_chunks(len(test), NOISY_AT_ONCE):
            own = derive(seed, "noise", str(part.start))
            Z.append(read_codes(model, noisy(test[part], level, own)).joined(codes))
        values.append(reader.score(np.concatenate(Z), y_test).value)
    return NoiseCurve(tuple(float(v) for v in levels), tuple(values))


def _count(X: Modalities) -> float:
    masks: list[NDArray[np.bool_]] = list(X.present.values())
    return float(np.stack(masks).sum())
