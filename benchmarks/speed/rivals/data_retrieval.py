"""The same codes for every side of the benchmark of search."""

import numpy as np

K = 10


def codes(q, n, d):
    """Queries (q, d) and rows (n, d) of length one, float32, all drawn from one generator."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=(q + n, d)).astype(np.float32)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    return both[:q], both[q:]


def sides(sizes, make):
    """Pieces of work: by size, the search that ``make`` gives for rows that stand ready."""

    def piece(q, n, d):
        query, rows = codes(q, n, d)
        search = make(rows)
        # Which rows were found, in one number that all sides can be held to.
        return lambda: int(np.sort(np.asarray(search(query)), axis=1).sum())

    return {f"{q} {n} {d}": piece(q, n, d) for q, n, d in sizes}
