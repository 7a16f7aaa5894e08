"""Exact search of an index of ours."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from data_retrieval import K, sides

from triptych.retrieval import Index


def prepare(sizes):
    def make(rows):
        index = Index.from_codes(rows)
        return lambda query: index.search(query, K)[0]

    return sides(sizes, make)
