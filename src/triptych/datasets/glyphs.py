"""Pictures of characters and their Unicode names, drawn from the faces matplotlib ships with."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number
from triptych.dataset import Dataset
from triptych.errors import ParameterError
from triptych.modalities import Modalities

SIZE = 32
FONT_SIZE = 22
LAYOUT = 1  # raise when the drawing changes, so that older caches are not read
N_HELD_OUT = 600
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
)
UNSEEN_FACES = {"DejaVuSans-BoldOblique": "test", "DejaVuSerif-Italic": "test"}
WATCHED_FACE = "DejaVuSansMono-Bold"
SCRIPTS = ["ARABIC", "ARMENIAN", "BRAILLE", "CANADIAN", "CYRILLIC", "GEORGIAN", "GREEK", "HEBREW", "LAO", "LATIN", "LISU", "MATHEMATICAL", "NKO", "OGHAM", "TIFINAGH"]
BY_CATEGORY = {"S": "SYMBOL", "M": "MARK", "N": "NUMBER", "P": "PUNCTUATION"}


def load_glyphs(faces: int | Sequence[str] | None = None, *, cache: bool = True) -> Dataset:
    """Pictures of characters paired with their Unicode names: real, compositional, no download.

    Every printable named character of twelve DejaVu faces: 47,082 pairs of 6,685 characters with
    matplotlib 3.11. The character is shared by picture and name, the face is private to the picture.

    Args:
        faces: How many faces (the first ones), or their names; all twelve when left out.
        cache: Whether pictures are kept in the user's cache folder (``TRIPTYCH_CACHE``, else
            ``XDG_CACHE_HOME/triptych``) and read from there the next time.

    Returns:
        Data set with modalities ``"image"``, uint8 (n, 1, 32, 32), 0 is paper, and ``"text"``;
        labels ``"script"`` (first word of the name if it is one of 15 scripts, else what the
        category says: SYMBOL, MARK, NUMBER, PUNCTUATION, OTHER), ``"category"``, ``"face"`` and
        ``"character"``; groups are the characters. Split ``"characters"`` holds 600 characters
        out for ``"test"`` and 600 for ``"valid"``, in all faces; characters that share a picture
        stay together. Split ``"faces"`` (three faces or more) holds faces out.

    Raises:
        ParameterError: An unknown face.
    """
    chosen = _faces(faces)
    parts = [_face(name, cache) for name in chosen]
    codes = np.concatenate([c for c, _ in parts])
    images = np.concatenate([i for _, i in parts])[:, None]
    face = np.repeat(chosen, [len(c) for c, _ in parts])
    characters = [chr(c) for c in codes]
    names = [unicodedata.name(c) for c in characters]
    category = [unicodedata.category(c) for c in characters]
    splits = {"characters": _split_characters(codes, images)}
    if len(chosen) >= 3:
        splits["faces"] = _split_faces(face, chosen)
    return Dataset(
        X=Modalities({"image": images, "text": names}),
        labels={
            "script": np.array([_script(*pair) for pair in zip(names, category, strict=True)]),
            "category": np.array(category),
            "face": face,
            "character": np.array(characters),
        },
        groups=codes,
        splits=splits,
        name="glyphs",
    )


def first_of_each(dataset: Dataset) -> NDArray[np.intp]:
    """The first row of each group: one picture per character, from the first face that has it."""
    if dataset.groups is None:
        raise ParameterError(f"data set {dataset.name!r} has no groups.")
    return np.sort(np.unique(dataset.groups, return_index=True)[1])


def _faces(faces: int | Sequence[str] | None) -> list[str]:
    if faces is None:
        return list(FACES)
    if isinstance(faces, (int, np.integer)):
        check_number("faces", faces, low=1, high=len(FACES), integer=True)
        return list(FACES[: int(faces)])
    wanted = [faces] if isinstance(faces, str) else list(faces)
    for name in wanted:
        if name not in FACES:
            raise ParameterError(f"faces: unknown face {name!r}; there are {list(FACES)}.")
    if not wanted:
        raise ParameterError("faces: expected at least one.")
    return [name for name in FACES if name in wanted]


def _script(name: str, category: str) -> str:
    first = name.split()[0]
    return first if first in SCRIPTS else BY_CATEGORY.get(category[0], "OTHER")


def _face(face: str, cache: bool) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    path = _cache_path(face) if cache else None
    if path is not None and path.is_file():
        try:
            with np.load(path, allow_pickle=False) as held:
                return held["codes"], held["images"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            pass  # a damaged cache is drawn again
    codes, images = _draw(face)
    if path is not None:
        _keep(path, codes=codes, images=images)
    return codes, images


def _draw(face: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Codes (k,) and pictures (k, 32, 32) of one face."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font
    from PIL import Image, ImageDraw, ImageFont

    path = str(Path(get_data_path()) / "fonts" / "ttf" / f"{face}.ttf")
    codes = sorted(c for c in FT2Font(path).get_charmap() if _printable(chr(c)))
    images = np.zeros((len(codes), SIZE, SIZE), dtype=np.uint8)
    fonts = {
        size: ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
        for size in range(6, FONT_SIZE + 1)
    }
    for row, code in enumerate(codes):
        text, size = chr(code), FONT_SIZE
        left, top, right, bottom = fonts[size].getbbox(text, anchor="ls")
        while size > 6 and max(right - left, bottom - top) > SIZE:
            size -= 1  # the few wide ones are drawn smaller rather than cut
            left, top, right, bottom = fonts[size].getbbox(text, anchor="ls")
        # One baseline for all, moved only where a glyph would leave the picture.
        down = min(max(23, -top), SIZE - bottom)
        picture = Image.new("L", (SIZE, SIZE))
        across = (SIZE - (right - left)) // 2 - left
        ImageDraw.Draw(picture).text((across, down), text, fill=255, font=fonts[size], anchor="ls")
        images[row] = np.asarray(picture)
    return np.array(codes, dtype=np.int64), images


def _printable(character: str) -> bool:
    named = unicodedata.name(character, None) is not None
    return named and unicodedata.category(character)[0] not in "CZ"


def _cache_path(face: str) -> Path:
    import matplotlib
    import PIL
    from PIL import features

    key = (LAYOUT, PIL.__version__, features.version("freetype2"), matplotlib.__version__)
    digest = hashlib.sha256(repr((*key, unicodedata.unidata_version)).encode()).hexdigest()[:12]
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = os.environ.get("TRIPTYCH_CACHE") or str(Path(home) / "triptych")
    return Path(folder) / f"glyphs-{digest}-{face}.npz"


def _keep(path: Path, **arrays: NDArray[Any]) -> None:
    """Write a cache file whole; a folder that cannot be written costs only time."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as f:
            np.savez_compressed(f, **arrays)  # type: ignore[arg-type]
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)


def _split_characters(codes: NDArray[np.int64], images: NDArray[np.uint8]) -> NDArray[Any]:
    """Characters held out; those that share a picture with another stay on one side."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    characters, character = np.unique(codes, return_inverse=True)
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    _, picture = np.unique(flat.view([("", np.void, flat.shape[1])])[:, 0], return_inverse=True)
    k = len(characters)
    n = k + int(picture.max()) + 1
    ones = np.ones(len(codes), dtype=np.int8)
    links = coo_array((ones, (character, k + picture)), shape=(n, n))
    _, component = connected_components(links, directed=False)
    # A hash of the smallest code orders the components, the same for any subset of faces.
    members: dict[int, list[int]] = {}
    for at, c in enumerate(component[:k]):
        members.setdefault(int(c), []).append(at)
    order = sorted(
        members.values(), key=lambda m: hashlib.sha256(str(characters[m[0]]).encode()).digest()
    )
    held = min(N_HELD_OUT, k // 5)
    part = np.full(k, "train")
    for name in ("test", "valid"):
        left = held
        for group in order:
            if part[group[0]] == "train" and len(group) <= left:
                part[group] = name
                left -= len(group)
    return part[character]


def _split_faces(face: NDArray[Any], chosen: list[str]) -> NDArray[Any]:
    part = {name: UNSEEN_FACES.get(name, "train") for name in chosen}
    if len(chosen) == len(FACES):
        part[WATCHED_FACE] = "valid"
    else:
        part = dict.fromkeys(chosen, "train")
        part[chosen[-1]], part[chosen[-2]] = "test", "valid"
    return np.array([part[name] for name in face])
