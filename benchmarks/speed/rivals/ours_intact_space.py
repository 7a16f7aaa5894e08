"""Intact space, and the batched solves and products that its passes cannot avoid."""

import numpy as np

from triptych.fusion import IntactSpace


def prepare(n, p, m, d, passes, wrong):
    """The same rows for both; ``wrong`` of them are gross errors in the first modality."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    Z = [x @ rng.normal(size=(d, p)) + 0.3 * rng.normal(size=(n, p)) for _ in range(m)]
    Z[0][: int(wrong * n)] = 30 * rng.normal(size=(int(wrong * n), p))
    X = {f"m{v}": z for v, z in enumerate(Z)}
    W = [rng.normal(size=(p, d)) for _ in range(m)]
    some = rng.normal(size=(256, d, 2 * d))
    systems = some @ some.transpose(0, 2, 1) / d + np.eye(d)
    right = rng.normal(size=(256, d))

    def limit():
        # Of each pass: z W and z^T x of every modality, the moments x^T x of every modality, and
        # for every row a Cholesky factor and its two triangular solves, here as the products
        # L x and L^T x, which touch the same numbers; nothing is put together or weighed.
        for _ in range(passes):
            for z, w in zip(Z, W, strict=True):
                z @ w
                z.T @ x
                x.T @ x
            for start in range(0, n, 256):
                rows = min(256, n - start)
                L = np.linalg.cholesky(systems[:rows])
                half = L @ right[:rows, :, None]
                L.transpose(0, 2, 1) @ half

    def fit():
        model = IntactSpace(d, max_iter=passes, tol=0.0).fit(X)
        falls = float(np.diff(model.objective_).max() / model.objective_[0])
        return {"passes": model.n_iter_, "largest rise": falls}

    return {"limit": limit, "fit": fit}
