"""DeepMultimodalClustering in a world whose things, places and times are known."""

import warnings

import numpy as np
import pytest

from triptych import Training
from triptych.errors import DataError, DegenerateDataWarning, ModalityError, ParameterError
from triptych.evaluation import pointing_game
from triptych.fission import DeepMultimodalClustering
from triptych.nn import clusters
from triptych.nn.positions import ConvMap, FrameNet
from triptych.nn.recipes import MLP

KINDS, SIDE = 3, 16
PATTERNS = np.kron(
    np.array([[[1, 0], [0, 1]], [[1, 1], [0, 0]], [[1, 0], [1, 0]]]), np.ones((1, 2, 2))
)


def world(n, seed):
    """One thing a row: a texture somewhere in the picture, a chord at some time in the sound."""
    draw = np.random.default_rng(seed)
    who, at = draw.integers(KINDS, size=n), draw.integers(0, 3, size=(n, 2)) * 4
    image = 0.2 * draw.normal(size=(n, 1, SIDE, SIDE))
    sound, where = [], np.zeros((n, SIDE, SIDE), dtype=bool)
    for i, (y, x) in enumerate(at):
        image[i, 0, y : y + 8, x : x + 8] += np.tile(2.0 * PATTERNS[who[i]], (2, 2))
        where[i, y : y + 8, x : x + 8] = True
        frames = 0.2 * draw.normal(size=(int(draw.integers(8, 13)), 6))
        start = int(draw.integers(0, 5))
        frames[start : start + 3, 2 * who[i] : 2 * who[i] + 2] += 2.0
        sound.append(frames)
    return {"image": image, "sound": sound}, who, where


def method(epochs=1, **parameters):
    return DeepMultimodalClustering(
        **{
            "n_components": 6,
            "n_clusters": 4,
            "width": 24,
            "sharpness": 5.0,
            "negatives": "all",
            **parameters,
        },
        encoders={"image": ConvMap(width=8, cell=4, depth=0), "sound": FrameNet(24, 1, 3)},
        training=Training(epochs=epochs, batch_size=40, learning_rate=1e-2, device="cpu"),
        random_state=0,
    )


@pytest.fixture(scope="module")
def known():
    X, who, where = world(200, 1)
    return X, who, where, method(12).fit(world(400, 0)[0])


def others(who):
    """For each row another that holds another thing."""
    return np.array(
        [
            next(j for j in np.roll(np.arange(len(who)), -i) if who[j] != w)
            for i, w in enumerate(who)
        ]
    )


def test_right_pairs_score_higher_than_wrong_ones(known):
    X, who, _, model = known
    wrong = {"image": X["image"], "sound": [X["sound"][j] for j in others(who)]}
    assert (model.match(X) > model.match(wrong)).mean() > 0.9  # chance 0.5


def test_what_is_heard_is_found_where_it_is_seen(known):
    X, _, where, model = known
    maps = model.localise(X, "sound", "image")
    found = pointing_game(maps, where)
    assert found.value > 0.8
    assert found.chance == pytest.approx(0.25)


def test_localised_positions_add_up_to_the_score(known):
    X, _, _, model = known
    seen = model.localise(X, "sound", "image").sum((1, 2))
    heard = np.array([row.sum() for row in model.localise(X, "image", "sound")])
    np.testing.assert_allclose(seen, model.match(X), atol=1e-4)
    np.testing.assert_allclose(heard, model.match(X), atol=1e-4)


def test_the_score_is_the_loss_written_plainly(known):
    X = {m: v[:12] for m, v in known[0].items()}
    model = method().fit(X)
    a, b = (model.components(X)[m].astype(np.float64) for m in ("image", "sound"))

    def scored(i, j):
        return sum(
            a[i, c] @ b[j, c] / np.linalg.norm(a[i, c]) / np.linalg.norm(b[j, c]) for c in range(4)
        )

    S = np.array([[scored(i, j) for j in range(12)] for i in range(12)])
    np.testing.assert_allclose(np.diag(S), model.match(X), atol=1e-5)
    costs = [
        (max(0, 4 + S[i, j] - S[j, j]) + max(0, 4 + S[j, i] - S[j, j])) / 2
        for i in range(12)
        for j in range(12)
        if i != j
    ]
    assert model.score(X) == pytest.approx(-np.mean(costs), rel=1e-4)


def test_assignments_lie_where_positions_lie(known):
    X, _, _, model = known
    shares = model.assign(X)
    assert shares["image"].shape == (200, 4, 4, 4)
    assert [s.shape for s in shares["sound"]] == [(4, len(row)) for row in X["sound"]]
    np.testing.assert_allclose(shares["image"].sum(1), 1, atol=1e-5)
    for s in shares["sound"][:20]:
        np.testing.assert_allclose(s.sum(0), 1, atol=1e-5)
    for m, usage in model.usage_.items():
        assert usage.sum() == pytest.approx(1), m


def test_one_modality_has_the_centres_it_has_beside_another(known):
    X, _, _, model = known
    whole = model.transform(X)
    assert model.parts_ == whole.names == ("image", "sound")
    assert whole["image"].shape == (200, 4, 6)
    assert (np.linalg.norm(whole["image"], axis=2) < 1 + 1e-6).all()
    np.testing.assert_allclose(
        model.transform({"sound": X["sound"]})["sound"], whole["sound"], atol=1e-5
    )


def test_one_wrong_partner_is_never_the_row_itself():
    model, n = method(negatives="one"), 5
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(20):
            wrong = model._wrong([torch.arange(n), torch.arange(n)])
            assert not wrong.diagonal().any()
            assert (wrong.sum(0) == 1).all()
            assert (wrong.sum(1) == 1).all()
        # Rows of equal sound are no wrong partners of each other's pictures.
        same = torch.tensor([0, 0, 1, 2, 3])
        for _ in range(20):
            wrong = model._wrong([torch.arange(n), same])
            assert not wrong[0, 1]
            assert not wrong[1, 0]


def test_silence_and_blackness_have_finite_codes_and_scores(known):
    X, _, _, model = known
    dull = {
        "image": np.concatenate([np.zeros((2, 1, SIDE, SIDE)), X["image"][:2]]),
        "sound": [X["sound"][0], np.zeros((9, 6)), np.zeros((9, 6)), X["sound"][1]],
    }
    assert np.isfinite(model.match(dull)).all()
    assert all(np.isfinite(z).all() for _, z in model.transform(dull).items())
    again = method().fit(
        {m: list(v) * 3 if m == "sound" else np.tile(v, (3, 1, 1, 1)) for m, v in dull.items()}
    )
    assert all(np.isfinite(v).all() for v in again.history_["train"].values())


def test_rows_that_never_meet_a_partner_are_refused(known):
    from triptych import Modalities

    X, _, _, model = known
    first = np.arange(200) < 100
    apart = Modalities(X).with_present({"image": first, "sound": ~first})
    with pytest.raises(DataError, match=r"fit: Deep.* both of 'image' and 'sound': 0"):
        method().fit(apart)
    with pytest.raises(DataError, match=r"score: Deep.* both of 'image' and 'sound': 0"):
        model.score(apart)
    with pytest.raises(DataError, match=r"score: Deep.* both of 'image' and 'sound': 1"):
        model.score({m: v[:1] for m, v in X.items()})


def test_identical_rows_teach_nothing_and_break_nothing():
    X, _, _ = world(1, 0)
    same = {"image": np.repeat(X["image"], 20, axis=0), "sound": X["sound"] * 20}
    with pytest.warns(DegenerateDataWarning, match="no wrong partners, and nothing is learnt"):
        model = method(2).fit(same)
    # What scores alike costs the margin, 4 of 4 clusters: not 0, the best that there is.
    assert model.history_["train"]["loss"] == [4.0, 4.0]
    assert model.score(same) == -4.0
    assert np.isfinite(model.transform(same)["image"]).all()


def test_the_one_wrong_partner_is_one_that_differs():
    import torch

    # Of shifts by 1, 2, 3, only that by 2 brings rows together that differ in both.
    content = [torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 0])]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(10):
            assert method(negatives="one")._wrong(content).sum() == 4


def test_clusters_that_die_are_seeded_anew_and_said(monkeypatch):
    X, _, _ = world(80, 0)
    monkeypatch.setattr(clusters, "DEAD", 0.9)  # all that hold less than nearly their part
    with pytest.warns(DegenerateDataWarning, match=r"of 4 clusters .* (\d+) times in all"):
        # Steps enough for the running shares to leave where they start.
        model = method(5, sharpness=20.0).set_params(training__batch_size=8).fit(X)
    assert model.reseeded_ > 0
    assert max(model.history_["train"]["dead"]) > 0


def test_clusters_that_died_are_counted_whichever_epoch_is_kept(monkeypatch):
    X, _, _ = world(40, 0)
    made = []

    def reseed(self):
        made.append(1)
        self.reseeded += 1
        if len(made) > 1:  # clusters without a place: the first epoch is the best
            self.projections.data.zero_()

    monkeypatch.setattr(clusters.Clusters, "reseed", reseed)
    model = method(3, warm_start=True)
    with pytest.warns(DegenerateDataWarning, match="3 times in all"):
        model.fit(X, validation=X)
    assert model.history_.best_epoch == 0
    assert model.reseeded_ == len(made) == 3
    with pytest.warns(DegenerateDataWarning, match="3 times in all"):
        assert model.fit(X).reseeded_ == 3  # a warm start counts its own


def test_a_dead_cluster_is_split_off_the_fullest():
    import torch

    model = method().fit(world(40, 0)[0])
    network = model.network_
    before = network.projections.detach().clone()
    network.share[:] = torch.tensor([0.1, 0.0, 0.6, 0.3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model._after_step(network)
    after = network.projections.detach()
    assert int(network.reseeded) == 1
    assert float(network.share[1]) == pytest.approx(1 / 4)
    torch.testing.assert_close(after[[0, 2, 3]], before[[0, 2, 3]])
    cosine = torch.nn.functional.cosine_similarity(after[1].flatten(), before[2].flatten(), dim=0)
    assert 0.85 < float(cosine) < 1  # noise of 0.3 beside it: about 0.96


def test_more_clusters_than_positions_are_said():
    X, _, _ = world(40, 0)
    with pytest.warns(DegenerateDataWarning, match="'sound' has at most 12 positions for n_clus"):
        method(n_clusters=14).fit(X)


def test_a_fit_without_trouble_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(2).fit(world(80, 0)[0])


def test_rows_with_gaps_learn_from_what_they_have(known):
    X, _, _, model = known
    from triptych import Modalities

    there = np.arange(200) % 4 != 0
    holed = Modalities(X).with_present({"sound": there})
    shares = model.assign(holed)["sound"]
    assert [s is None for s in shares] == (~there).tolist()
    assert model.score(holed) == pytest.approx(model.score(Modalities(X)[there]), rel=0.05)
    with pytest.raises(DataError, match="match compares modalities: row 0 has fewer than two"):
        model.match(holed)
    with pytest.raises(DataError, match="localise: row 0 has no 'sound'"):
        model.localise(holed, "image", "sound")


def test_what_cannot_be_used_is_named(known):
    X, _, _, model = known
    with pytest.raises(ModalityError, match="at least 2 modalities"):
        method().fit({"image": X["image"]})
    with pytest.raises(ModalityError, match="modality 'size' is vector"):
        method().fit({"image": X["image"], "size": np.ones((200, 3))})
    for bad, word in (
        ({"n_clusters": 1}, "n_clusters"),
        ({"margin": 0}, "margin"),
        ({"negatives": "some"}, "negatives"),
        ({"sharpness": -1}, "sharpness"),
    ):
        with pytest.raises(ParameterError, match=word):
            method(**bad).fit(X)
    with pytest.raises(ParameterError, match="MLP gives one code a row and keeps no positions"):
        method().set_params(encoders={"image": MLP()}).fit(X)
    with pytest.raises(ModalityError, match="localise: expected two of"):
        model.localise(X, "image", "image")


def test_a_warm_start_goes_on_from_the_fit_before():
    X, _, _ = world(80, 0)
    warm = method(6, warm_start=True).fit(X)
    first, reached = (warm.history_["train"]["loss"][at] for at in (0, -1))
    again = warm.fit(X).history_["train"]["loss"][0]
    assert again < (first + reached) / 2
    cold = method(6).fit(X)
    assert cold.fit(X).history_["train"]["loss"][0] == pytest.approx(first)
