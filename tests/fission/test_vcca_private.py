"""VCCAPrivate: what only one modality has lies in its own code, and the bound counts each code."""

import numpy as np
import pytest

from triptych import Training
from triptych.fission import VCCAPrivate
from triptych.nn.recipes import MLP, VectorDecoder

QUICK = Training(epochs=25, batch_size=25, learning_rate=1e-2, device="cpu")


def views(n=250, seed=0):
    """A shared code of two, and one private number in each modality."""
    rng = np.random.default_rng(seed)
    z, own = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    mix = np.random.default_rng(9)
    X = {
        m: np.column_stack([z, own[:, i]]) @ mix.normal(size=(3, p)) * scale
        for i, (m, p, scale) in enumerate((("a", 6, 1.0), ("b", 5, 20.0)))
    }
    return X, z, own


def small(cls=VCCAPrivate, depth=1, **kwargs):
    return cls(
        2,
        **{
            "encoders": {m: MLP(width=24, depth=depth) for m in "ab"},
            "decoders": {m: VectorDecoder(width=24, depth=depth) for m in "ab"},
            "training": QUICK,
            "random_state": 0,
            **kwargs,
        },
    )


def r2(Z, F, Z_new, F_new):
    Z, Z_new = (np.column_stack([z, np.ones(len(z))]) for z in (Z, Z_new))
    left = F_new - Z_new @ np.linalg.lstsq(Z, F, rcond=None)[0]
    return 1 - (left**2).sum() / ((F_new - F_new.mean(axis=0)) ** 2).sum()


def test_private_codes_hold_what_only_one_modality_has():
    X, z, own = views(400)
    new, z_new, own_new = views(seed=1)
    model = small(n_private=1, noise=0.3, dropout=0.1).fit(X)
    Z, Z_new = model.transform(X), model.transform(new)
    assert model.parts_ == Z.names == ("shared", "a", "b")
    assert r2(Z["shared"], z, Z_new["shared"], z_new) > 0.6
    for i, m in enumerate("ab"):
        told = r2(Z[m], own[:, [i]], Z_new[m], own_new[:, [i]])
        assert told > 0.4
        assert told > r2(Z["shared"], own[:, [i]], Z_new["shared"], own_new[:, [i]]) + 0.2


def test_the_private_loss_has_a_divergence_for_each_code():
    X, _, _ = views(60)
    model = small(n_private=2, training=Training(epochs=1, device="cpu")).fit(X)
    t = model.history_["train"]
    parts = t["a"][0] + t["b"][0] + t["kl"][0] + t["kl:a"][0] + t["kl:b"][0]
    assert t["loss"][0] == pytest.approx(parts, rel=1e-5)
    model.set_params(beta=0.0).fit(X)
    t = model.history_["train"]
    assert t["loss"][0] == pytest.approx(t["a"][0] + t["b"][0], rel=1e-5)


def test_likelihood_of_the_linear_model_with_private_codes():
    # x_m = W_m [z, h_m] + b_m + noise, so all of x is normal.
    X, _, _ = views(30)
    model = small(depth=0, n_private=1, noise=0.8, dropout=0.0).fit(X)
    C, b, x, volume = np.zeros((11, 11)), [], [], 0.0
    blocks = {"a": slice(0, 6), "b": slice(6, 11)}
    W = {}
    for m, at in blocks.items():
        line = model.network_.decoders[m].decoder.layers.layers[0]
        W[m] = line.weight.detach().numpy().astype(float)
        b.append(line.bias.detach().numpy())
        reader = model.inputs_[m]
        x.append((X[m] - reader.mean) / reader.scale)
        volume += np.log(reader.scale.astype(float)).sum()
        C[at, at] += W[m][:, 2:] @ W[m][:, 2:].T
    shared = np.concatenate([W[m][:, :2] for m in blocks])
    C += shared @ shared.T + 0.64 * np.eye(11)
    away = np.concatenate(x, 1) - np.concatenate(b)
    wanted = -0.5 * np.einsum("np,pq,nq->n", away, np.linalg.inv(C), away)
    wanted -= 0.5 * np.linalg.slogdet(2 * np.pi * C)[1] + volume
    found = model.log_likelihood(X, n_samples=3000)
    # Weights of 3,000 codes vary by some per cent, more in rows far out.
    assert np.abs(found - wanted).mean() < 0.3
