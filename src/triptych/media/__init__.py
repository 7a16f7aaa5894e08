"""Pictures and sounds that stay in their files until rows of them are read.

``Modalities`` keeps them as they are; slices share the paths. Each reading opens the files again,
so memory holds what is being worked on and no more.
"""

from triptych.media.options import of_kind, picture_options, sound_options
from triptych.media.reading import COLOURS, FORMATS, read_picture, read_sound, resampled
from triptych.media.rows import FileRows, Origin, Pictures, Sounds, loaded

__all__ = [
    "COLOURS",
    "FORMATS",
    "FileRows",
    "Origin",
    "Pictures",
    "Sounds",
    "loaded",
    "of_kind",
    "picture_options",
    "read_picture",
    "read_sound",
    "resampled",
    "sound_options",
]
