"""White noise of a stated strength, as sensors have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse, row_chunks, rows_at_once
from triptych.errors import DataError, ModalityError, ParameterError, ShapeError
from triptych.media import loaded
from triptych.modalities import Modalities, as_modalities
from triptych.seeding import check_random_state, generator


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
        from the type whether white is 255 or 1. Files are read; a ``Spectrogram`` then has to be
        told the rate that sound files say themselves.

    Raises:
        ModalityError: ``snr`` names no modality of ``X``, or a text.
        ParameterError: A ratio is NaN, minus infinity or no number, or its noise is too strong for
            the data's type of numbers.
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
    made: dict[str, Any] = {}
    for name, ratio in snr.items():
        if name not in data:
            raise ModalityError(f"snr: unknown modality {name!r}; there are {list(data.names)}.")
        strength = _strength(name, ratio, len(data))
        if np.isinf(strength).all():
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            factor = 10 ** (-strength / 20)
            found = _noisy(name, data, known, factor, generator(seed, "noise", name))
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
    reference: Modalities,
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
        spread = _columns(name, form, reference)
        width = next(
            (np.shape(v)[-1] for v, p in zip(values, present, strict=True) if p), len(spread)
        )
        if len(spread) != width:
            raise ShapeError(
                f"reference: modality {name!r} has {len(spread)} columns, X has {width}."
            )
    if isinstance(values, np.ndarray):
        noisy = _noisy_array(values, present, factor, spread, draw)
        return _whole(noisy) if form == "image" and values.dtype.kind in "iu" else noisy
    rows: list[NDArray[Any] | None] = []
    for row, there in enumerate(present):
        if not there:
            rows.append(None)
            continue
        clean = np.asarray(values[row])
        clean = clean if clean.dtype.kind == "f" else clean.astype(np.float32)
        own = clean.std(dtype=np.float64) if spread is None else spread
        noise = draw.normal(size=clean.shape) * (factor[row] * own)
        rows.append((clean + noise).astype(clean.dtype))
    return rows


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
    clean = values if values.dtype.kind == "f" else values.astype(np.float32)
    out = np.zeros_like(clean)
    for part in row_chunks(len(clean), rows_at_once(clean.shape)):
        some = clean[part][present[part]]
        apart = (-1, *[1] * (clean.ndim - 1))
        own = some.std(axis=tuple(range(1, clean.ndim)), dtype=np.float64).reshape(apart)
        size = factor[part][present[part]].reshape(apart) * (own if spread is None else spread)
        out[part][present[part]] = some + draw.normal(size=some.shape) * size
    return out


def _columns(name: str, form: str, reference: Modalities) -> NDArray[np.float64]:
    """Spread of each column over present rows and all their steps."""
    if name not in reference or reference.kind(name).form != form:
        raise DataError(f"reference: modality {name!r} is not there as {form}.")
    values, present = reference[name], reference.present[name]
    if is_sparse(values):
        values = values.toarray()
    if not present.any():
        raise DataError(f"reference: modality {name!r} is absent in all rows.")
    if isinstance(values, np.ndarray):
        whole = values[present].reshape(-1, values.shape[-1])
    else:
        whole = np.concatenate([v for v, p in zip(values, present, strict=True) if p])
    return np.asarray(whole.std(axis=0, dtype=np.float64))
