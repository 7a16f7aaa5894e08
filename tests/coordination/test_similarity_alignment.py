"""Codes that agree under any similarity: formulas, guards, partial ties and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from triptych import Modalities, Training, load
from triptych.coordination import CLIP, SimilarityAlignment
from triptych.coordination import similarity_alignment as module
from triptych.coordination.similarity_alignment import effective_rank
from triptych.errors import DataError, ModalityError, ParameterError
from triptych.losses import partner_softmax
from triptych.nn.recipes import MLP
from triptych.similarity import Kernel, pairwise
from triptych.training.batches import Rows

SIMILARITIES = (
    "cosine",
    "centred_cosine",
    "linear",
    "polynomial",
    Kernel("polynomial", degree=3),
    "exponential",
    "rbf",
    "laplacian",
    "bilinear",
)
FAST = Training(epochs=15, batch_size=64, learning_rate=1e-2, device="cpu")
SHORT = Training(epochs=2, batch_size=64, learning_rate=1e-2, device="cpu")
WIDTHS = {"a": 12, "b": 14, "c": 10}


def views(n=128, seed=0, names="ab"):
    z = np.random.default_rng(seed).normal(size=(n, 8))
    mix = np.random.default_rng(9)
    sides = {m: np.tanh(z @ mix.normal(size=(8, p)) / 3) for m, p in WIDTHS.items()}
    return {m: sides[m] for m in names}


def make(similarity="cosine", names="ab", training=FAST, d=8, **more):
    encoders = {m: MLP(width=48, depth=1) for m in names}
    given = {"encoders": encoders, "training": training, "random_state": 0, **more}
    return SimilarityAlignment(d, similarity=similarity, **given)


def terms_of(model, X):
    X = Modalities(X) if isinstance(X, dict) else X
    batch = Rows(X, model.inputs_, content=True).take(np.arange(len(X)))
    with torch.no_grad():
        return {k: float(v) for k, v in model._terms(model.network_, batch).items()}


def codes_of(model, X):
    Z = model.transform(X)
    return [np.asarray(Z[m], dtype=float) for m in Z.names]


def name_of(similarity):
    return similarity.name + "3" if isinstance(similarity, Kernel) else similarity


class Collapsed(nn.Module):
    """Almost the same code for every row, and almost the same unit in every place."""

    def __init__(self, n_in, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, 48), nn.GELU(), nn.Linear(48, width))
        with torch.no_grad():
            w = self.layers[2].weight
            w.copy_(1e-2 * w[:1] + 1e-3 * w)
            self.layers[2].bias.fill_(1.0)

    def forward(self, x, lengths=None):
        return self.layers(x)


def collapsed(kind, width):
    return Collapsed(kind.shape[0], width)


@pytest.mark.parametrize("similarity", SIMILARITIES, ids=name_of)
def test_a_collapsed_start_recovers_under_the_variance_guard(similarity):
    X = views()
    if similarity == "cosine":  # the start is the same for all
        start = make(similarity, encoders=dict.fromkeys("ab", collapsed))
        start.set_params(training__learning_rate=1e-9, training__epochs=1).fit(X)
        assert max(start.effective_rank_.values()) < 1.5
    model = make(similarity, encoders=dict.fromkeys("ab", collapsed)).fit(X)
    assert min(model.effective_rank_.values()) >= 0.5 * 8
    assert all(np.isfinite(z).all() for z in codes_of(model, X))


@pytest.mark.parametrize("similarity", ["cosine", "centred_cosine", "laplacian"])
def test_a_collapsed_start_recovers_with_negatives(similarity):
    X, new = views(), views(50, seed=1)
    model = make(similarity, guard="negatives", encoders=dict.fromkeys("ab", collapsed))
    model.set_params(training__epochs=40).fit(X)
    found, _ = model.retrieve({"a": new["a"]}, {"b": new["b"]}, k=5)
    assert (found == np.arange(50)[:, None]).any(axis=1).mean() > 0.5  # chance is 0.1
    if similarity != "laplacian":  # its distances can tell rows apart along a few directions
        assert min(model.effective_rank_.values()) >= 0.5 * 8


@pytest.mark.parametrize("guard", ["variance", "negatives"])
@pytest.mark.parametrize("similarity", SIMILARITIES, ids=name_of)
def test_unseen_partners_are_found_by_the_similarity_itself(similarity, guard):
    model = make(similarity, guard=guard).fit(views())
    new = views(50, seed=1)
    found, values = model.retrieve({"a": new["a"]}, {"b": new["b"]}, k=5)
    assert (found == np.arange(50)[:, None]).any(axis=1).mean() > 0.5  # chance is 0.1
    whole = model.similarities({"a": new["a"]}, {"b": new["b"]})
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(np.take_along_axis(whole, found, axis=1), values)
    Z = {m: np.asarray(z, dtype=float) for m, z in model.transform(new).items()}
    if similarity == "bilinear":
        W = model.network_.forms["1:a:b"].W.detach().numpy()
        np.testing.assert_allclose(whole, Z["a"] @ W @ Z["b"].T, rtol=1e-6, atol=1e-6)
        assert np.linalg.svd(W, compute_uv=False).max() <= 1 + 1e-5
        back = model.similarities({"b": new["b"]}, {"a": new["a"]})
        np.testing.assert_allclose(back, whole.T, rtol=1e-9, atol=1e-9)
    else:
        np.testing.assert_allclose(whole, pairwise(model.kernel_, Z["a"], Z["b"]), rtol=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES, ids=name_of)
def test_the_loss_is_the_formula(similarity):
    X = views(30)
    model = make(similarity, training=SHORT, guard_weight=0.5).fit(X)
    A, B = codes_of(model, X)
    W, kernel = np.eye(8), model.kernel_
    if similarity == "bilinear":
        W, kernel = model.network_.forms["1:a:b"].W.detach().numpy(), Kernel("linear")
    k = [np.diag(pairwise(kernel, x, y)) for x, y in ((A @ W, A @ W), (B, B), (A @ W, B))]
    unit = 8 if kernel.name == "linear" else 1
    agreement = np.mean((k[0] + k[1]) / 2 - k[2]) / unit
    guards = []
    for Z in (A, B):
        R = np.corrcoef(Z, rowvar=False)
        moments = np.mean(Z.mean(0) ** 2 + (Z.std(0, ddof=1) - 1) ** 2)
        guards.append(moments + 0.2 * ((R**2).sum() - 8) / 8)
    found = terms_of(model, X)
    # Float32 codes, and 1e-8 added to variances.
    assert found["a~b"] == pytest.approx(agreement, rel=1e-3, abs=1e-5)
    assert found["a~b:similarity"] == pytest.approx(np.mean(k[2]), rel=1e-4, abs=1e-5)
    assert found["loss"] == pytest.approx(agreement + 0.5 * np.mean(guards), rel=1e-3)
    assert model.score(X) == pytest.approx(-found["loss"], rel=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES, ids=name_of)
def test_with_negatives_the_loss_is_the_softmax_of_the_similarity(similarity):
    X = views(30)
    model = make(similarity, training=SHORT, guard="negatives").fit(X)
    A, B = codes_of(model, X)
    if similarity == "bilinear":
        logits = A @ model.network_.forms["1:a:b"].W.detach().numpy() @ B.T / 8
    else:
        logits = pairwise(model.kernel_, A, B) / (8 if similarity == "linear" else 1)
    found = terms_of(model, X)
    if "scale" in found:
        logits = logits * found["scale"]
    else:
        logits = np.log(logits)
    rows = [logits[i, i] - np.log(np.exp(logits[i]).sum()) for i in range(30)]
    cols = [logits[i, i] - np.log(np.exp(logits[:, i]).sum()) for i in range(30)]
    assert found["loss"] == pytest.approx(-(np.mean(rows) + np.mean(cols)) / 2, rel=1e-3)
    bound = found["a~b:information_lower_bound"]
    assert bound == pytest.approx(math.log(30) - found["loss"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES, ids=name_of)
def test_with_negatives_large_batches_are_worked_on_in_tiles(similarity, monkeypatch):
    X = views(30)
    model = make(similarity, training=SHORT, guard="negatives").fit(X)
    whole, sizes = terms_of(model, X)["loss"], []
    logits = partner_softmax.similarity_logits

    def watched(kernel, a, b):
        sizes.extend([len(a), len(b)])
        return logits(kernel, a, b)

    monkeypatch.setattr(partner_softmax, "side", lambda device: 8)
    monkeypatch.setattr(partner_softmax, "similarity_logits", watched)
    assert terms_of(model, X)["loss"] == pytest.approx(whole, rel=1e-5)
    assert max(sizes, default=0) <= 8


def test_cosine_with_negatives_is_clip():
    X = views(96)
    ours = make("cosine", training=SHORT, guard="negatives").fit(X)
    encoders = {m: MLP(width=48, depth=1) for m in "ab"}
    clip = CLIP(8, encoders=encoders, training=SHORT, random_state=0).fit(X)
    np.testing.assert_allclose(
        ours.history_["train"]["loss"], clip.history_["train"]["loss"], rtol=1e-5
    )


def test_several_positives_are_no_negatives():
    X = views(40)
    X["b"] = X["b"][np.arange(40) // 4]  # ten different partners, each of four rows
    model = make("rbf", training=SHORT, guard="negatives").fit(X)
    A, B = codes_of(model, X)
    logits = np.log(pairwise(model.kernel_, A, B))
    q = (np.arange(40)[:, None] // 4 == np.arange(40) // 4) / 4
    expected = 0.0
    for L in (logits, logits.T):
        expected -= (q * (L - np.log(np.exp(L).sum(1, keepdims=True)))).sum(1).mean() / 2
    assert terms_of(model, X)["loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("guard", ["variance", "negatives"])
def test_three_modalities_and_rows_that_lack_some(guard):
    X = views(120, names="abc")
    present = {"a": np.arange(120) % 3 != 0, "c": np.arange(120) % 4 != 1}
    scribbled = {m: np.array(v) for m, v in X.items()}
    for m, mask in present.items():
        scribbled[m][~mask] = 1e5
    models = [
        make("linear", "abc", training=SHORT, guard=guard).fit(Modalities(data, present=present))
        for data in (X, scribbled)
    ]
    assert {"a~b", "a~c", "b~c"} <= set(models[0].history_["train"])
    Z = [model.transform(X) for model in models]
    for m in "abc":
        np.testing.assert_array_equal(Z[0][m], Z[1][m])
    found, _ = models[0].retrieve({"a": X["a"]}, {"c": X["c"]}, k=3)
    assert found.shape == (120, 3)
    anchored = make("linear", "abc", training=SHORT, guard=guard, anchor="b").fit(X)
    assert "a~c" not in anchored.history_["train"]


@pytest.mark.parametrize("guard", ["variance", "negatives"])
def test_only_some_dimensions_are_tied(guard):
    X, new = views(), views(50, seed=1)
    training = Training(epochs=50, batch_size=64, learning_rate=1e-2, device="cpu")
    model = make("cosine", training=training, partial=4, guard=guard).fit(X)
    Z = {m: np.asarray(z, dtype=float) for m, z in model.transform(X).items()}
    assert Z["a"].shape == (128, 8)
    cross = np.abs(np.corrcoef(Z["a"], Z["b"], rowvar=False)[:8, 8:])
    assert cross[:4, :4].diagonal().min() > 0.8  # tied
    for code in Z.values():
        own = np.corrcoef(code, rowvar=False)
        free = code[:, 4:]
        # Alive, and something else than what is tied.
        assert np.abs(free.std(0) - 1).max() < 0.3 and np.abs(free.mean(0)).max() < 0.3
        assert np.abs(own[:4, 4:]).mean() < 0.2
    # Free dimensions have no say in what is found.
    found, _ = model.retrieve({"a": new["a"]}, {"b": new["b"]}, k=1)
    T = {m: np.asarray(z, dtype=float)[:, :4] for m, z in model.transform(new).items()}
    np.testing.assert_array_equal(found[:, 0], pairwise("cosine", T["a"], T["b"]).argmax(1))
    # The partner's loss does not reach them: their encoders differ only by the guard.
    terms = terms_of(model, X)
    assert terms["a:guard"] > 0 and set(model.effective_rank_) == {"a", "b"}
    assert max(model.effective_rank_.values()) <= 4


def test_the_pair_loss_sends_no_gradient_into_free_dimensions():
    X = views(40)
    model = make("linear", training=SHORT, partial=3, guard="negatives").fit(X)
    batch = Rows(Modalities(X), model.inputs_, content=True).take(np.arange(40))
    codes = {
        m: z.detach().requires_grad_() for m, z in model._encode(model.network_, batch).items()
    }
    terms = model._terms_of(model.network_, codes, batch)
    (pair,) = torch.autograd.grad(terms["a~b"], codes["a"], retain_graph=True)
    (guard,) = torch.autograd.grad(terms["a:guard"], codes["a"])
    assert bool((pair[:, 3:] == 0).all()) and bool((pair[:, :3] != 0).any())
    assert bool((guard[:, :3] == 0).all()) and bool((guard[:, 3:] != 0).any())


@pytest.mark.parametrize("name", ["rbf", "exponential", "laplacian"])
def test_a_learnt_width(name, tmp_path):
    X = views(96)
    wide = Kernel(name, gamma=0.05) if name == "laplacian" else Kernel(name, width=6.0)
    fixed = make(wide, guard="negatives").fit(X)
    learnt = make(wide, guard="negatives", learn_width=True).fit(X)
    assert fixed.kernel_ == wide and "scale" not in fixed.history_["train"]
    size = {"laplacian": "gamma"}.get(name, "width")
    assert getattr(learnt.kernel_, size) != getattr(wide, size)
    assert learnt.history_["train"]["loss"][-1] < fixed.history_["train"]["loss"][-1]
    learnt.save(tmp_path / "model")
    again = load(tmp_path / "model")
    query = {"a": X["a"][:3]}, {"b": X["b"]}
    np.testing.assert_array_equal(again.similarities(*query), learnt.similarities(*query))


def test_micro_batches_change_nothing():
    X = views(96)
    settings = {"epochs": 2, "batch_size": 48, "learning_rate": 0.02, "optimizer": "sgd"}
    codes = []
    for micro in (None, 10):
        training = Training(micro_batch_size=micro, device="cpu", **settings)
        codes.append(make("bilinear", training=training, guard="negatives").fit(X).transform(X))
    # Float32 over four steps; the third and fourth digit would show a lost piece.
    np.testing.assert_allclose(codes[0]["a"], codes[1]["a"], atol=1e-4)


@pytest.mark.parametrize("similarity", ["rbf", "bilinear"])
def test_candidates_are_ranked_in_tiles(similarity, monkeypatch):
    X = views(40)
    model = make(similarity, training=SHORT).fit(X)
    given = {"a": X["a"]}, {"b": X["b"]}
    whole = model.similarities(*given)
    monkeypatch.setattr(module, "TILE_ENTRIES", 100)
    rows, found = model.retrieve(*given, k=6)
    best = np.argsort(-whole, axis=1, kind="stable")[:, :6]
    assert np.array_equal(rows, best)
    np.testing.assert_allclose(found, np.take_along_axis(whole, best, axis=1), rtol=1e-12)


def test_effective_rank():
    Z = np.random.default_rng(0).normal(size=(2000, 4))
    assert effective_rank(Z) == pytest.approx(4, abs=0.02)
    assert effective_rank(Z[:, :1] * np.ones(4)) == pytest.approx(1)
    assert effective_rank(np.ones((5, 3))) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"similarity": "sine"}, "similarity: expected one of 'cosine'"),
        ({"guard": None}, "guard: expected one of 'variance', 'negatives'"),
        ({"guard_weight": 0}, "guard_weight"),
        ({"partial": 9}, "partial: expected a whole number >= 1 and <= 8"),
        ({"temperature": 2}, "temperature"),
        ({"similarity": "centred_cosine", "partial": 1}, "at least 2"),
        (
            {"similarity": "linear", "learn_width": True, "guard": "negatives"},
            "linear has no width",
        ),
        ({"similarity": "rbf", "learn_width": True}, "the widest kernel agrees best"),
        ({"anchor": "z"}, "anchor"),
    ],
)
def test_parameters_that_cannot_be_used(settings, message):
    with pytest.raises(ParameterError, match=message):
        make(training=SHORT, **settings).fit(views(20))


def test_what_cannot_be_compared_is_named():
    X = views(30, names="abc")
    model = make("bilinear", "abc", training=SHORT, anchor="b").fit(X)
    with pytest.raises(ModalityError, match="no W was learnt for 'a' and 'c'"):
        model.similarities({"a": X["a"]}, {"c": X["c"]})
    with pytest.raises(ModalityError, match="query: expected one modality"):
        model.retrieve(X, {"b": X["b"]})
    holed = Modalities({"a": X["a"]}, present={"a": np.arange(30) != 4})
    with pytest.raises(DataError, match="query: row 4 of 'a' is absent"):
        model.retrieve(holed, {"b": X["b"]})
    with pytest.raises(DataError, match=r"all 30 rows of modality 'b' have the same content"):
        make(training=SHORT).fit({"a": X["a"], "b": np.ones((30, 14))})
