"""White noise of a stated strength, as sensors have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse, row_chunks, rows_at_once
from triptych.errors import DataError, ModalityError, ParameterError, ShapeError
from triptych.media import loaded
from triptych.modalities import Modalities, as_modalities
from triptych.seeding import check_random_state, generator

# Least spread of noise, in steps of whole numbers, that rounding leaves about as it was.
FINEST = 0.5


def add_noise(
    X: Mapping[str, Any] | Modalities,
    snr: Mapping[str, Any],
    *,
    reference: Mapping[str, Any] | Modalities | None = None,
    random_state: int | None = 0,
) -> Modalities:
    r"""White Gaussian noise with a signal-to-noise ratio for each modality.

    .. math:: x + n, \qquad n \sim N\big(0,\; P_s\, 10^{-\mathrm{SNR} / 10}\big)

    The power of a signal is that of its changes, whatever its mean: an offset, or a dark instead
    of a bright background, carries nothing and adds nothing to it.

    * *waveform*: P is the variance of the row's own samples;
    * *image*: the variance of the row's own pixels, over all channels. Pictures that are mostly
      background have little power, so the same ratio hides more of a sound than of a drawing;
      ratios can be compared within a modality, not across;
    * *sequence* and *vector*: by column, its variance over all steps of the present rows of
      ``reference``, since columns may have different units.

    A silent recording or a picture of one value has no power, and no noise. Noise is drawn by
    modality name and scaled by its strength: with one seed it is the same at every ratio.

    Args:
        X: Modalities, n rows.
        snr: Decibels by modality: a number, or one for each row (n,); infinity is no noise.
            Modalities left out stay as they are.
        reference: Rows that say how strong columns are, the training rows for instance; ``X``
            itself when left out.
        random_state: Seed.

    Returns:
        The same modalities, rows and presence; noisy ones in floating point, not cut to the range
        of pictures. Pictures of whole numbers become whole numbers of int32, since methods tell
        from the type whether white is 255 or 1; noise finer than half a step is refused there.
        Files are read; a ``Spectrogram`` then has to be told the rate that sound files say
        themselves.

    Raises:
        ModalityError: ``snr`` names no modality of ``X``, or a text.
        ParameterError: A ratio is NaN, minus infinity or no number, or its noise is too strong or
            too fine for the data's type of numbers.
        ShapeError: Ratios are neither one number nor (n,).

    References:
        Barnum, Talukder, Yue 2020, arXiv:2011.07191 (noise on pictures and sounds).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = {"sound": rng.normal(size=(3, 4000)), "size": rng.normal(size=(3, 2))}
        >>> noisy = add_noise(Modalities(X, kinds={"sound": "waveform"}), {"sound": 10})
        >>> round(float(np.var(noisy["sound"] - X["sound"])), 2)
        0.1
    """
    data, seed = as_modalities(X), check_random_state(random_state)
    known = data if reference is None else as_modalities(reference)
    return with_noise(
        data, snr, lambda name: column_spread(name, data.kind(name).form, known), seed
    )


def with_noise(
    data: Modalities,
    snr: Mapping[str, Any],
    spread_of: Callable[[str], NDArray[np.float64]],
    seed: int,
) -> Modalities:
    """:func:`add_noise` where somebody knows the spread of each column already.

    Args:
        data: Modalities, n rows.
        snr: Decibels by modality.
        spread_of: Of a vector's or a sequence's name, the spread (p,) of its columns.
        seed: Of the draws.
    """
    made: dict[str, Any] = {}
    for name, ratio in snr.items():
        if name not in data:
            raise ModalityError(f"snr: unknown modality {name!r}; there are {list(data.names)}.")
        strength = _strength(name, ratio, len(data))
        if np.isinf(strength).all():
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            factor = 10 ** (-strength / 20)
            found = _noisy(name, data, spread_of, factor, generator(seed, "noise", name))
        _check_finite(name, found, data.present[name], strength)
        made[name] = found
    return Modalities(
        {name: made[name] if name in made else data[name] for name in data.names},
        present=data.present,
        kinds={name: kind.form for name, kind in data.kinds.items()},
    )


def _strength(name: str, ratio: Any, n: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(ratio, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"snr__{name}: expected decibels, got {ratio!r}.") from None
    if values.shape not in ((), (n,)):
        raise ShapeError(
            f"snr__{name}: expected one number or one for each of {n} rows, got shape "
            f"{values.shape}."
        )
    wrong = np.isnan(values) | np.isneginf(values)
    if wrong.any():
        got = values[wrong].reshape(-1)[0]
        raise ParameterError(f"snr__{name}: expected decibels, got {got}.")
    return np.broadcast_to(values, (n,))


def _check_finite(
    name: str, noisy: Any, present: NDArray[np.bool_], strength: NDArray[np.float64]
) -> None:
    if isinstance(noisy, np.ndarray) and np.isfinite(noisy).all():
        return
    for row in np.flatnonzero(present):
        if not np.isfinite(noisy[row]).all():
            raise ParameterError(
                f"snr__{name}: noise of {strength[row]:g} dB in row {row} is beyond what "
                f"{noisy[row].dtype} can hold."
            )


def _noisy(
    name: str,
    data: Modalities,
    spread_of: Callable[[str], NDArray[np.float64]],
    factor: NDArray[np.float64],
    draw: np.random.Generator,
) -> Any:
    """Values with noise of ``factor`` (n,) times the signal's own spread."""
    form, present = data.kind(name).form, data.present[name]
    if form == "text":
        raise ModalityError(f"snr: modality {name!r} is text, which has no signal power.")
    values = loaded(data[name])
    if is_sparse(values):
        values = values.toarray()
    spread = None
    if form in ("vector", "sequence"):
        spread = spread_of(name)
        width = next(
            (np.shape(v)[-1] for v, p in zip(values, present, strict=True) if p), len(spread)
        )
        if len(spread) != width:
            raise ShapeError(
                f"reference: modality {name!r} has {len(spread)} columns, X has {width}."
            )
    if isinstance(values, np.ndarray):
        whole = form == "image" and values.dtype.kind in "iu"
        if whole:
            _check_steps(name, values, present, factor)
        noisy = _noisy_array(values, present, factor, spread, draw)
        return _whole(noisy) if whole else noisy
    rows: list[NDArray[Any] | None] = []
    for row, there in enumerate(present):
        if not there:
            rows.append(None)
            continue
        clean = np.asarray(values[row])
        clean = _in_floats(clean)
        own = clean.std(dtype=np.float64) if spread is None else spread
        noise = draw.normal(size=clean.shape) * (factor[row] * own)
        rows.append((clean + noise).astype(clean.dtype))
    return rows


def _in_floats(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in a floating type that holds them: large whole ones need float64."""
    if values.dtype.kind == "f":
        return values
    return values.astype(np.result_type(values.dtype, np.float32))


def _own_spread(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Spread of each row (n, ...) over all its values, (n,)."""
    own = rows.std(axis=tuple(range(1, rows.ndim)), dtype=np.float64)
    return np.asarray(own, dtype=np.float64)


def _check_steps(
    name: str, values: NDArray[Any], present: NDArray[np.bool_], factor: NDArray[np.float64]
) -> None:
    """Refuse noise that would vanish between whole numbers, as in pictures of zeros and ones."""
    sizes = []
    for part in row_chunks(len(values), rows_at_once(values.shape)):
        some = present[part]
        sizes.append(factor[part][some] * _own_spread(values[part][some]))
    found = np.concatenate(sizes)
    found = found[found > 0]
    if len(found) and (typical := float(np.median(found))) < FINEST:
        raise ParameterError(
            f"snr__{name}: noise of a spread of {typical:.2g}, as it is in half of the rows, is "
            "lost between whole numbers; give these pictures as floats from 0 to 1."
        )


def _whole(noisy: NDArray[Any]) -> NDArray[Any]:
    """Rounded to int32; what that cannot hold becomes infinite, which is refused by row."""
    held = np.abs(noisy) < 2**31  # NaN is not
    return np.rint(noisy).astype(np.int32) if held.all() else np.where(held, noisy, np.inf)


def _noisy_array(
    values: NDArray[Any],
    present: NDArray[np.bool_],
    factor: NDArray[np.float64],
    spread: NDArray[np.float64] | None,
    draw: np.random.Generator,
) -> NDArray[Any]:
    """The same for rows of one shape (n, ...); zero where absent."""
    clean = _in_floats(values)
    out = np.zeros_like(clean)
    for part in row_chunks(len(clean), rows_at_once(clean.shape)):
        some = clean[part][present[part]]
        apart = (-1, *[1] * (clean.ndim - 1))
        own = _own_spread(some).reshape(apart)
        size = factor[part][present[part]].reshape(apart) * (own if spread is None else spread)
        out[part][present[part]] = some + draw.normal(size=some.shape) * size
    return out


def column_spread(name: str, form: str, reference: Modalities) -> NDArray[np.float64]:
    """Spread (p,) of each column of a modality over present rows and all their steps.

    Raises:
        DataError: ``reference`` does not have the modality in this form, or in no row.
    """
    if name not in reference or reference.kind(name).form != form:
        raise DataError(f"reference: modality {name!r} is not there as {form}.")
    values, present = reference[name], reference.present[name]
    if not present.any():
        raise DataError(f"reference: modality {name!r} is absent in all rows.")
    if is_sparse(values):
        return _sparse_spread(values[np.flatnonzero(present)])
    if isinstance(values, np.ndarray):
        whole = values[present].reshape(-1, values.shape[-1])
    else:
        whole = np.concatenate([v for v, p in zip(values, present, strict=True) if p])
    return np.asarray(whole.std(axis=0, dtype=np.float64))


def _sparse_spread(rows: Any) -> NDArray[np.float64]:
    """Spread of the columns of a sparse matrix (n, p), which may be too wide to be made dense."""
    from scipy.sparse import csc_array

    columns = csc_array(rows, dtype=np.float64)
    n, counts = columns.shape[0], np.diff(columns.indptr)
    mean = np.asarray(columns.sum(axis=0)).ravel() / n
    columns.data = np.square(columns.data - np.repeat(mean, counts))
    square = np.asarray(columns.sum(axis=0)).ravel() + (n - counts) * mean**2
    return np.asarray(np.sqrt(square / n))
