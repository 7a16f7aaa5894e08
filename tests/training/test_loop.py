"""The loop: exact resume, hooks, limits, and what it refuses."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import triptych
from triptych import Modalities, Training
from triptych.coordination import CLIP
from triptych.errors import DataError, ParameterError, PersistenceError, TrainingError
from triptych.fusion import MultimodalAutoencoder
from triptych.nn.inputs import learn_input
from triptych.nn.recipes import MLP
from triptych.training import checkpoint
from triptych.training.batches import Batch, Rows, content_ids, order_of
from triptych.training.loop import Phase, Stream, train

QUICK = Training(epochs=3, batch_size=16, device="cpu")


def pairs(n=64, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return Modalities({"a": z @ rng.normal(size=(3, 6)), "b": z @ rng.normal(size=(3, 5))})


def rows_of(X, **kwargs):
    return Rows(X, {m: learn_input(X, m) for m in X.names}, **kwargs)


def clip(**training):
    small = {m: MLP(width=16, depth=1, dropout=0.2) for m in "ab"}
    given = {"epochs": 3, "batch_size": 16, "device": "cpu", **training}
    return CLIP(4, encoders=small, training=Training(**given), random_state=0)


def weights(model):
    return b"".join(v.numpy().tobytes() for v in model.network_.state_dict().values())


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_loop import clip, pairs
clip(checkpoint=sys.argv[1], checkpoint_every_s=0.0, **{settings!r}).fit(pairs())
"""


@pytest.mark.parametrize("seed", range(2))
def test_killed_and_resumed_is_byte_for_byte_the_uninterrupted_fit(tmp_path, seed):
    folder, settings = tmp_path / "point", {"epochs": 150, "validation_share": 0.2}
    script = KILLED.format(tests=str(Path(__file__).parent), settings=settings)
    fit = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(triptych.__file__).parents[1]),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
    )
    deadline = time.monotonic() + 60
    while not folder.exists() and fit.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    # Anywhere in a step, a validation or the writing of a checkpoint, which follow one another
    # every few milliseconds.
    time.sleep(np.random.default_rng(seed).uniform(0, 0.3))
    fit.kill()
    assert fit.wait(60) == -signal.SIGKILL
    state = checkpoint.load(folder)
    assert state is not None and 0 < state["epoch"] * 4 + state["step"] < 150 * 4
    resumed = clip(checkpoint=str(folder), checkpoint_every_s=1e9, **settings).fit(pairs())
    whole = clip(**settings).fit(pairs())
    assert weights(resumed) == weights(whole)
    assert resumed.history_ == whole.history_


@pytest.fixture
def listening():
    """SIGINT raises as on a terminal, also where the tests run in a script's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_leaves_a_checkpoint_between_steps(tmp_path, listening):
    model, seen = clip(epochs=50, checkpoint=str(tmp_path / "point")), []

    def step(network):
        seen.append(1)
        if len(seen) == 7:
            os.kill(os.getpid(), signal.SIGINT)

    model._after_step = step
    with pytest.raises(KeyboardInterrupt):
        model.fit(pairs())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = clip(epochs=50, checkpoint=str(tmp_path / "point")).fit(pairs())
    assert weights(resumed) == weights(clip(epochs=50).fit(pairs()))


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    folder = str(tmp_path / "point")
    clip(checkpoint=folder).fit(pairs())
    with pytest.raises(ParameterError, match="belongs to another fit"):
        clip(checkpoint=folder).fit(pairs(seed=1))
    (tmp_path / "point" / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(PersistenceError, match="no checkpoint that can be read"):
        clip(checkpoint=folder).fit(pairs())


def test_micro_batches_give_the_gradient_of_the_whole_batch():
    plain = {m: MLP(width=16, depth=1) for m in "ab"}

    def fitted(micro):
        training = Training(
            epochs=2, batch_size=32, micro_batch_size=micro, device="cpu", optimizer="sgd"
        )
        return CLIP(4, encoders=plain, training=training, random_state=0).fit(pairs())

    whole, pieces = fitted(None), fitted(5)
    for a, b in zip(
        whole.network_.state_dict().values(), pieces.network_.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_pieces_of_a_batch_are_refused_where_rows_depend_on_one_another():
    def normed(kind, width):
        return nn.Sequential(nn.Linear(kind.shape[0], width), nn.BatchNorm1d(width))

    training = Training(epochs=1, batch_size=32, device="cpu")
    model = CLIP(4, encoders={"a": normed}, training=training, random_state=0)
    assert np.isfinite(model.fit(pairs()).history_["train"]["loss"]).all()
    with pytest.raises(ParameterError, match=r"micro_batch_size: encoders.* is a BatchNorm1d"):
        model.set_params(training__micro_batch_size=8).fit(pairs())


class Numbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.u, self.v = nn.Parameter(torch.tensor(5.0)), nn.Parameter(torch.tensor(-3.0))


def test_streams_add_gradients_of_batches_of_their_own_size():
    network, sizes = Numbers(), {"big": [], "small": []}

    def term(name):
        def terms(batch: Batch):
            sizes[name].append(len(batch))
            return {"loss": network.u * len(batch)}

        return terms

    phase = Phase("all", (Stream(term("big"), 32), Stream(term("small"), 4)))
    settings = Training(
        epochs=1,
        learning_rate=0.1,
        gradient_clip=None,
        schedule="constant",
        warmup=0,
        optimizer="sgd",
        weight_decay=0,
        device="cpu",
    )
    train(network, (phase,), rows_of(pairs(32)), settings, seed=0)
    assert sizes == {"big": [32], "small": [4]}
    assert network.u.item() == pytest.approx(5.0 - 0.1 * 36)


def test_phases_take_turns_and_move_only_their_own():
    network, turns = Numbers(), []

    def term(name, p):
        def terms(batch):
            turns.append(name)
            return {"loss": (p - 1) ** 2}

        return terms

    critic = Phase("critic", (Stream(term("u", network.u)),), (network.u,), steps=3)
    main = Phase("main", (Stream(term("v", network.v)),), (network.v,))
    history = train(network, (critic, main), rows_of(pairs(20)), QUICK, seed=0)
    assert turns == ["u", "u", "u", "v"] * 6  # two rounds an epoch
    assert network.u.item() < 5 and network.v.item() > -3
    assert set(history.train) == {"loss", "loss:main.0"}


def test_a_phase_may_move_its_own_state_on_the_rows_just_seen():
    network, seen = Numbers(), {"net": [], "state": []}
    network.register_buffer("count", torch.zeros(20))

    def learns(batch):
        seen["net"].append(batch.rows.tolist())
        return {"loss": (network.u - 1) ** 2}

    def moves(batch):
        seen["state"].append(batch.rows.tolist())
        network.count[batch.rows] += 1
        return {"loss": network.count[batch.rows].mean()}

    first = Phase("net", (Stream(learns, order="same"),))
    second = Phase("state", (Stream(moves, order="same"),), moves=True)
    history = train(network, (first, second), rows_of(pairs(20)), QUICK, seed=0)
    assert seen["net"] == seen["state"]
    epochs = len(history)
    assert network.count.tolist() == [epochs] * 20
    # Each term is the mean over its own rows: those of one phase do not dilute another's.
    assert history.train["loss:state.0"] == pytest.approx(list(range(1, epochs + 1)))


def test_state_per_row_is_reached_by_the_rows_of_a_batch(torch_draws):
    X = pairs(30)
    rows = rows_of(X)
    free = nn.Embedding(30, 6)
    target = rows.take(np.arange(30)).values["a"]

    def terms(batch):
        return {"loss": ((free(batch.rows) - batch.values["a"]) ** 2).mean()}

    settings = Training(epochs=300, batch_size=8, learning_rate=0.1, weight_decay=0, device="cpu")
    train(free, (Phase("codes", (Stream(terms),)),), rows, settings, seed=0)
    assert ((free.weight - target) ** 2).mean() < 1e-3


def test_best_weights_come_back_and_patience_stops():
    network = Numbers()

    def terms(batch):
        # u rises by one each step; the loss on validation rows is least at u = 8.
        return {"loss": -network.u if network.training else (network.u - 8) ** 2}

    settings = Training(
        epochs=30, batch_size=32, patience=4, optimizer="sgd", learning_rate=1.0, warmup=0,
        schedule="constant", gradient_clip=1.0, weight_decay=0, device="cpu",
    )  # fmt: skip
    history = train(
        network, (Phase("all", (Stream(terms),)),), rows_of(pairs(32)), settings,
        seed=0, valid=rows_of(pairs(8)),
    )  # fmt: skip
    losses = history["valid"]["loss"]
    assert history.best_epoch == int(np.argmin(losses))
    assert len(losses) == history.best_epoch + 1 + 4
    assert (network.u.item() - 8) ** 2 == pytest.approx(min(losses))


def test_patience_without_validation_is_refused():
    with pytest.raises(ParameterError, match="training__patience watches"):
        clip(patience=2).fit(pairs())


def test_a_loss_that_is_not_finite_is_named():
    network = Numbers()

    def terms(batch):
        return {"loss": network.u, "odd": network.u / 0.0}

    with pytest.raises(TrainingError, match=r"'odd'.*inf in epoch 0, step 0"):
        train(network, (Phase("all", (Stream(terms),)),), rows_of(pairs()), QUICK, seed=0)


def test_accumulated_batches_are_one_step():
    def fitted(**training):
        network = Numbers()

        def terms(batch):
            return {"loss": network.u * batch.values["a"].mean()}

        settings = Training(
            epochs=1, optimizer="sgd", gradient_clip=None, device="cpu", **training
        )
        train(network, (Phase("all", (Stream(terms),)),), rows_of(pairs(64)), settings, seed=0)
        return network.u.item()

    assert fitted(batch_size=8, accumulate=8) == pytest.approx(fitted(batch_size=64), rel=1e-6)


def test_precisions_one_after_another():
    for precision in ("32", "bf16", "32"):
        model = clip(precision=precision).fit(pairs())
        assert np.isfinite(model.transform(pairs())["a"]).all()


def test_a_fit_in_a_thread_needs_no_signals():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(lambda: clip().fit(pairs())).result().history_) == 3


def test_every_row_once_an_epoch_and_another_order_the_next():
    orders = [order_of(0, "0.0", epoch, 50) for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == list(range(50))
    assert (orders[0] != orders[1]).any() and (orders[0] == orders[2]).all()


def test_content_ids_are_equal_for_equal_content_only():
    images = np.array([[1, 2], [3, 4], [1, 2]])
    assert content_ids(images, np.ones(3, bool)).tolist() == [0, 1, 0]
    ids = content_ids(["x", "y", "x", "x"], np.array([1, 1, 1, 0], bool))
    assert ids[0] == ids[2] and ids[3] not in ids[:3]


def test_absent_rows_reach_the_network_as_zeros_and_are_never_read():
    values = np.ones((4, 2))
    values[2] = np.nan
    X = Modalities({"a": values + np.arange(4)[:, None]}, present={"a": [1, 1, 0, 1]})
    batch = rows_of(X).take(np.arange(4))
    assert batch.values["a"][2].tolist() == [0, 0] and torch.isfinite(batch.values["a"]).all()
    assert batch.present["a"].tolist() == [True, True, False, True]


def test_memory_mapped_data_give_the_same_batches(tmp_path):
    X = pairs()
    np.save(tmp_path / "a.npy", X["a"])
    mapped = Modalities({"a": np.load(tmp_path / "a.npy", mmap_mode="r"), "b": X["b"]})
    rows = np.array([5, 1, 7])
    one, two = rows_of(X).take(rows), rows_of(mapped).take(rows)
    assert torch.equal(one.values["a"], two.values["a"])


def test_values_too_far_to_compute_with_are_named():
    X = pairs()
    far = np.array(X["a"])
    far[5, 2] = 1e30
    for model in (clip().fit(X), MultimodalAutoencoder(2, training=QUICK, random_state=0).fit(X)):
        for ask in (model.transform, model.score):
            with pytest.raises(DataError, match="modality 'a', row 5, value 2: it lies more than"):
                ask({"a": far, "b": X["b"]})
    # Where it is absent it is never read.
    absent = Modalities({"a": far, "b": X["b"]}, present={"a": np.arange(64) != 5})
    assert np.isfinite(clip().fit(X).transform(absent)["a"]).all()


DISTRIBUTED = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, {tests!r})
    import numpy as np, torch
    from test_loop import pairs
    from triptych import Training
    from triptych.coordination import CLIP
    from triptych.errors import ParameterError
    from triptych.fission import SharedPrivate
    from triptych.nn.recipes import MLP
    training = Training(epochs=3, batch_size=16, device="cpu", optimizer="sgd")
    small = {{m: MLP(width=16, depth=1) for m in "ab"}}
    model = CLIP(4, encoders=small, training=training, random_state=0)
    # The last batch has 2 rows, one for each of two processes.
    model.fit(pairs(66), validation=pairs(33, seed=1))
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    if not several or torch.distributed.get_rank() == 0:
        held = [v.numpy() for v in model.network_.state_dict().values()]
        np.savez(sys.argv[1], np.array(model.history_["valid"]["loss"]), *held)
    if several:
        # A row too many for two; some rows lack a modality.
        X = pairs(67).with_present({{"b": np.arange(67) % 3 > 0}})
        model = SharedPrivate(2, training=training, random_state=0).fit(X)
        mine = torch.cat([v.flatten() for v in model.network_.state_dict().values()])
        theirs = [torch.empty_like(mine) for _ in range(2)]
        torch.distributed.all_gather(theirs, mine)
        assert torch.equal(theirs[0], theirs[1]) and torch.isfinite(mine).all()
        for refused, why in (
            (dict(random_state=None), "needs a seed"),
            (dict(random_state=0, training=Training(batch_size=15, device="cpu")), "15 rows"),
        ):
            try:
                CLIP(2, **refused).fit(pairs(20))
            except ParameterError as error:
                assert why in str(error), error
            else:
                raise AssertionError(why)
    """
)


def test_two_processes_train_as_one(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(DISTRIBUTED.format(tests=str(Path(__file__).parent)))
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(triptych.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    alone = [sys.executable, str(script), str(tmp_path / "1.npz")]
    two = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
        str(script), str(tmp_path / "2.npz"),
    ]  # fmt: skip
    for command in (alone, two):
        run = subprocess.run(
            command, env=env, check=False, timeout=120, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two_:
        assert len(one.files) == len(two_.files) > 1
        for key in one.files:
            # Sums of 16 float32 in another order, over 15 steps.
            np.testing.assert_allclose(one[key], two_[key], rtol=1e-5, atol=1e-6)
