"""faiss's exact index of inner products."""

import sys
from pathlib import Path

import faiss

sys.path.insert(0, str(Path(__file__).parent))

from data_retrieval import K, sides


def prepare(sizes):
    def make(rows):
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        return lambda query: index.search(query, K)[1]

    return sides(sizes, make)
