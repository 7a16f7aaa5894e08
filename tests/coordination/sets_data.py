"""Modalities with something in common, for the tests of methods of many."""

import numpy as np


def related(n=150, widths=(5, 4, 3), d=2, noise=1.0, seed=0):
    """Modalities ``a``, ``b``, ... of ``d`` shared factors, in units and means of their own."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(n, d)) * [1.5, 1.0][:d]
    return {
        name: (shared @ random.normal(size=(d, p)) + noise * random.normal(size=(n, p)))
        * random.uniform(0.1, 10, p)
        + random.normal(size=p)
        for name, p in zip("abcdef", widths, strict=False)
    }


def standard(X):
    return {m: (v - v.mean(axis=0)) / v.std(axis=0, ddof=1) for m, v in X.items()}


def same_up_to_sign(one, two, *, rtol):
    """Columns equal up to their signs, to ``rtol`` of the largest entry."""
    one, two = np.asarray(one), np.asarray(two)
    two = two * np.sign((one * two).sum(axis=0))
    np.testing.assert_allclose(one, two, atol=rtol * np.abs(one).max(), rtol=0)
