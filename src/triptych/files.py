"""Readers and writers of paired data: ``.npz``, folders of ``.npy``, and CSV.

In all of them a name says what an entry is:

============================  =================================================================
``label:<name>``              labels, one per row
``id``                        names of the rows, unique
``group``                     rows with the same group belong together
``split``, ``split:<name>``   ``train``, ``valid``, ``test`` or nothing, by row
``<modality>__present``       booleans: which rows have the modality
``<modality>__lengths``       lengths of sequences or waveforms that lie end to end in
                              ``<modality>``; 0 where absent
``<modality>__kind``          what the array is where its shape does not tell: ``waveform``
anything else                 a modality
============================  =================================================================

``label__<name>`` and ``split__<name>`` mean the same, for systems whose file names take no colon.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse
from triptych.dataset import Dataset
from triptych.errors import DataError, FileError, ModalityError, ParameterError, TriptychError
from triptych.files_csv import read_csv
from triptych.folders import write_file
from triptych.modalities import Modalities
