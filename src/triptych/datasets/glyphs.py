"""Pictures of characters beside their names: thousands of real pairs without a download."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number
from triptych.dataset import Dataset
from triptych.datasets.cache import cache_folder, cached
from triptych.errors import DataError, FileError, ParameterError
from triptych.modalities import Modalities

# Upright and regular first, so that the first faces alone differ as much as three faces can; bold
# and slanted together last, so that the faces held out combine what is learnt one at a time.
FACES = (
    "DejaVuSans",
    "DejaVuSerif",
    "DejaVuSansMono",
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Italic",
    "DejaVuSansMono-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif-BoldItalic",
    "DejaVuSansMono-BoldOblique",
)

SCRIPTS = (
    *("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "ARABIC", "NKO", "LAO"),
    *("CANADIAN", "TIFINAGH", "OGHAM", "OLD ITALIC", "LISU", "BRAILLE"),
    *("MATHEMATICAL", "COMBINING", "MODIFIER", "APL", "BOX", "ROMAN NUMERAL"),
    *("DOMINO", "PLAYING CARD", "HEXAGRAM", "TETRAGRAM"),
)
ARROWS = {"ARROW", "ARROWS", "ARROWHEAD", "HARPOON", "HARPOONS"}

SIDE = 32  # pixels
SIZE = 22  # pixels per em: 99 of 100 glyphs then fit as they are
BASELINE = 25  # rows above it; the other seven take descenders
HELD_OUT = 600  # characters in "valid", and as many in "test"
STYLE = 1  # raise it when the drawing changes, so that old pictures are not used


def load_glyphs(faces: int | Sequence[str] | None = None, cache: bool = True) -> Dataset:
    """Pictures and Unicode names of every printable character in the twelve DejaVu faces.

    The faces ship with matplotlib. A character is printable here if it has a name and its category
    is neither a separator (Z) nor of control (C). It is drawn at 22 pixels per em on a fixed
    baseline, so that size and height still tell letters apart; what would leave the picture is
    moved in, and the 2 in 1000 that are larger than a picture are drawn smaller.

    ``X`` has "image" uint8 (n, 1, 32, 32), ink 255 on 0, and "text": names such as ``"GREEK SMALL
    LETTER ALPHA WITH TONOS"``. Rows go face by face, and by code point within a face. All faces
    together are 47,082 rows of 6,685 characters (with the Unicode data of Python 3.11).

    ``labels`` are "script", "category" (of Unicode: ``"Lu"``), "face" and "character". The script
    is the name's first word, or two, if that is one of :data:`SCRIPTS`, which also lists families
    of symbols (``"BRAILLE"``, ``"MATHEMATICAL"``); otherwise ``"ARROW"`` if the name speaks of
    one, and ``"OTHER"`` for the rest: punctuation, signs, and families of fewer than 20.
    ``groups`` are code points: rows of one character. Upright and slanted faces share the outlines
    of many symbols: of all rows, the picture tells the face in at most 79 % (of letters, in 99 %;
    of the first three faces, in 96 %), and the character tells it in 14 %.

    ``splits``:

    * "characters": 600 characters to test on and 600 to watch, with all their faces, always the
      same for the same faces. Characters that share a picture (A and Α and А) stay on one side.
    * "faces": the last sixth of the faces tests, the sixth before is to watch; there with at
      least three faces. With all twelve these are slanted ones, bold and slanted among them.

    Args:
        faces: How many of :data:`FACES`, from the first, or their names; ``None`` takes all.
        cache: Whether to keep pictures in the user's cache folder and take them from there.

    Raises:
        ParameterError: An unknown face, one named twice, or none.
        FileError: matplotlib is installed without a face.
    """
    chosen = _chosen(faces)
    drawn = [_face(name, cache) for name in chosen]
    codes = np.concatenate([d["codes"] for d in drawn])  # (n,)
    pictures = np.concatenate([d["pictures"] for d in drawn])  # (n, 32, 32)
    face = np.repeat(np.array(chosen), [len(d["codes"]) for d in drawn])
    # Each character once, then spread over its faces.
    points, place = np.unique(codes, return_inverse=True)
    characters = [chr(point) for point in points.tolist()]
    names = [unicodedata.name(c) for c in characters]
    splits = {"characters": _split_characters(points, place, pictures)[place]}
    if len(chosen) > 2:
        held = max(1, len(chosen) // 6)
        parts = ["train"] * (len(chosen) - 2 * held) + ["valid"] * held + ["test"] * held
        splits["faces"] = np.repeat(np.array(parts), [len(d["codes"]) for d in drawn])
    return Dataset(
        Modalities({"image": pictures[:, None], "text": [names[i] for i in place.tolist()]}),
        labels={
            "script": np.array([script(name) for name in names])[place],
            "category": np.array([unicodedata.category(c) for c in characters])[place],
            "face": face,
            "character": np.array(characters)[place],
        },
        ids=np.array([f"U+{c:04X} {f}" for c, f in zip(codes.tolist(), face, strict=True)]),
        groups=codes.astype(np.int64),
        splits=splits,
        name="glyphs",
    )


def first_of_each(dataset: Dataset) -> NDArray[np.intp]:
    """Row of each group's first appearance, in order: one picture per character."""
    if dataset.groups is None:
        raise DataError(f"data set {dataset.name!r} has no groups to take the first row of.")
    return np.sort(np.unique(dataset.groups, return_index=True)[1])


def script(name: str) -> str:
    """Script or family of symbols, from a character's Unicode name.

    Example:
        >>> [script(n) for n in ("GREEK SMALL LETTER PHI", "ARABIC-INDIC DIGIT ONE", "COLON")]
        ['GREEK', 'ARABIC', 'OTHER']
    """
    words = name.replace("-", " ").split()
    for known in (words[0], " ".join(words[:2])):
        if known in SCRIPTS:
            return known
    return "ARROW" if ARROWS & set(words) else "OTHER"


def _chosen(faces: int | Sequence[str] | None) -> tuple[str, ...]:
    if faces is None:
        return FACES
    if isinstance(faces, (int, np.integer)) or not isinstance(faces, (str, Sequence)):
        check_number("faces", faces, low=1, high=len(FACES), integer=True)
        return FACES[:faces]
    named = (faces,) if isinstance(faces, str) else tuple(faces)
    for name in named:
        if name not in FACES:
            raise ParameterError(f"faces: expected names among {list(FACES)}, got {name!r}.")
    if not named or len(set(named)) < len(named):
        raise ParameterError(f"faces: expected different faces, at least one; got {list(named)}.")
    return named


def _face(name: str, cache: bool) -> Mapping[str, NDArray[Any]]:
    """Code points (k,) and pictures (k, 32, 32) of one face, drawn or from the cache."""
    import matplotlib
    import PIL
    from PIL import features

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    try:
        body = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"face {name!r}: expected {path}, which matplotlib ships with; {error.strerror}."
        ) from error
    if not cache:
        return _draw(path)
    versions = (
        f"style {STYLE}, Pillow {PIL.__version__}, FreeType {features.version('freetype2')}, "
        f"matplotlib {matplotlib.__version__}, Unicode {unicodedata.unidata_version}, "
    )
    key = hashlib.sha256(versions.encode() + hashlib.sha256(body).digest()).hexdigest()[:16]
    return cached(cache_folder() / "glyphs" / f"{name}-{key}.npz", lambda: _draw(path), _good)


def _good(arrays: Mapping[str, NDArray[Any]]) -> bool:
    codes, pictures = arrays["codes"], arrays["pictures"]
    return (
        codes.dtype == np.int32
        and pictures.dtype == np.uint8
        and pictures.shape == (len(codes), SIDE, SIDE)
        and len(codes) > 0
    )


def _draw(path: Path) -> dict[str, NDArray[Any]]:
    from matplotlib.ft2font import FT2Font
    from PIL import Image, ImageDraw, ImageFont

    codes = [code for code in sorted(FT2Font(str(path)).get_charmap()) if _printable(chr(code))]
    # The basic layout draws one glyph as it is, whether or not a shaping library is installed.
    basic = ImageFont.Layout.BASIC
    fonts = {SIZE: ImageFont.truetype(str(path), SIZE, layout_engine=basic)}
    pictures = np.zeros((len(codes), SIDE, SIDE), dtype=np.uint8)
    for row, code in enumerate(codes):
        size, box = SIZE, fonts[SIZE].getbbox(chr(code), anchor="ls")
        while box[2] - box[0] > SIDE or box[3] - box[1] > SIDE:
            size -= 1
            if size not in fonts:
                fonts[size] = ImageFont.truetype(str(path), size, layout_engine=basic)
            box = fonts[size].getbbox(chr(code), anchor="ls")
        left, top, right, bottom = (round(edge) for edge in box)  # of the ink, from the baseline
        x = (SIDE - (right - left)) // 2 - left
        y = min(max(BASELINE, -top), SIDE - bottom)
        picture = Image.new("L", (SIDE, SIDE))
        ImageDraw.Draw(picture).text((x, y), chr(code), fill=255, font=fonts[size], anchor="ls")
        pictures[row] = np.asarray(picture)
    return {"codes": np.array(codes, dtype=np.int32), "pictures": pictures}


def _printable(character: str) -> bool:
    named = unicodedata.name(character, None) is not None
    return named and unicodedata.category(character)[0] not in "CZ"


def _split_characters(
    points: NDArray[Any], place: NDArray[np.intp], pictures: NDArray[np.uint8]
) -> NDArray[np.str_]:
    """Part of each character (k,): whole families of look-alikes, in the order of a hash."""
    root = list(range(len(points)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    seen: dict[bytes, int] = {}
    for i, picture in zip(place.tolist(), pictures, strict=True):
        a, b = sorted((find(seen.setdefault(picture.tobytes(), i)), find(i)))
        root[b] = a
    families: dict[int, list[int]] = {}
    for i in range(len(points)):
        families.setdefault(find(i), []).append(i)

    def order(family: list[int]) -> bytes:
        return hashlib.sha256(f"glyph {points[family[0]]}".encode()).digest()

    parts = np.full(len(points), "train")
    waiting = sorted(families.values(), key=order)
    for part in ("test", "valid"):
        left, later = HELD_OUT, []
        for family in waiting:
            if len(family) <= left:
                parts[family] = part
                left -= len(family)
            else:
                later.append(family)
        waiting = later
    return parts
