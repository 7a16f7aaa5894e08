"""One picture or WAV file as an array, and what is said of files that are broken."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import FileError

COLOURS = {"rgb": 3, "grey": 1}
# Pillow's own limit of what it takes for an attack by a small file that unpacks to gigabytes.
MOST_PIXELS = 89_478_485
# Raster formats only: Pillow would start another program to draw PostScript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def read_picture(
    path: str | os.PathLike[str], size: tuple[int, int], colour: str = "rgb"
) -> NDArray[np.uint8]:
    """One picture file, brought to a size and a kind of colour as :class:`Pictures` does it.

    Args:
        path: The file.
        size: Width and height in pixels.
        colour: ``"rgb"`` or ``"grey"``.

    Returns:
        Shape (c, h, w).

    Raises:
        FileError: No picture, cut short, without pixels, or of more than 89 million.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    mode = "RGB" if colour == "rgb" else "L"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow only warns of is refused below
            with Image.open(path, formats=FORMATS) as file:
                width, height = file.size
                if width * height > MOST_PIXELS:
                    raise FileError(f"a picture of {width} × {height}, more than {MOST_PIXELS}")
                if width * height == 0:
                    raise FileError("a picture without pixels")
                # JPEG can be decoded at a fraction of its size; twice what is asked keeps detail.
                file.draft(mode, (2 * size[0], 2 * size[1]))
                picture = _flattened(ImageOps.exif_transpose(file), mode)
                picture = picture.resize(size, Image.Resampling.BILINEAR)
    except FileError:
        raise
    except Image.DecompressionBombError as error:
        raise FileError(f"a picture of more than {2 * MOST_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise FileError(f"expected a picture ({', '.join(FORMATS)}); it is none") from error
    except Exception as error:  # damage breaks decoders in more ways than there are names for
        why = getattr(error, "strerror", None) or error
        raise FileError(f"a picture that cannot be read; {why}") from error
    pixels = np.asarray(picture, dtype=np.uint8)  # (h, w) or (h, w, 3)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _flattened(picture: Any, mode: str) -> Any:
    """In mode ``"RGB"`` or ``"L"``: transparent pixels on white, 16 bits cut to the upper 8."""
    from PIL import Image

    if picture.mode.startswith("I"):
        deep = np.asarray(picture)
        if deep.min() < 0 or deep.max() > 65535:
            raise FileError(f"a picture of integers from {deep.min()} to {deep.max()}")
        picture = Image.fromarray((deep >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise FileError("a picture of real numbers, whose black and white are not known")
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        picture = Image.new("RGBA", seen.size, "white")
        picture.alpha_composite(seen)
    return picture if picture.mode == mode else picture.convert(mode)


def read_sound(path: str | os.PathLike[str]) -> tuple[int, NDArray[np.float32]]:
    """One WAV file: samples per second, and the mean of its channels (t,) from -1 to 1.

    Raises:
        FileError: No WAV file, cut short, without samples, or with NaN.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="Reached EOF")
            rate, samples = wavfile.read(Path(path))
    except OSError as error:
        raise FileError(f"cannot be read; {error.strerror or error}") from error
    except Exception as error:
        raise FileError(f"a WAV file that cannot be read; {error}") from error
    if samples.size == 0 or rate <= 0:
        raise FileError(f"a sound without samples ({samples.size} at {rate} a second)")
    whole = samples.dtype.kind in "iu"
    floats = samples.astype(np.float32 if samples.itemsize < 4 else np.float64)
    if samples.dtype == np.uint8:
        floats = (floats - 128) / 128
    elif whole:  # 24 bits come as the upper bits of 32
        floats = floats / 2.0 ** (8 * samples.itemsize - 1)
    if not np.isfinite(floats).all():
        raise FileError("a sound with NaN or infinity among its samples")
    mono = floats if floats.ndim == 1 else floats.mean(axis=1)
    return int(rate), mono.astype(np.float32)


def resampled(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """A sound at another rate, by SciPy's polyphase filter.

    Args:
        samples: Shape (t,).
        rate: Samples per second that it has.
        wanted: Samples per second that it gets.

    Returns:
        Shape (ceil(t · wanted / rate),).
    """
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    made = resample_poly(samples, wanted // common, rate // common)
    return np.asarray(made, dtype=np.float32)
