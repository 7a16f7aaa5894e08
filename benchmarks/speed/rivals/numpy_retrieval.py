"""The whole matrix of cosines, argpartition of each row, and a sort of what it found."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from data_retrieval import K, sides


def prepare(sizes):
    def make(rows):
        def search(query):
            cosines = query @ rows.T
            found = np.argpartition(cosines, -K, axis=1)[:, -K:]
            order = np.argsort(-np.take_along_axis(cosines, found, axis=1), axis=1)
            return np.take_along_axis(found, order, axis=1)

        return search

    return sides(sizes, make)
