"""Methods whose loss looks across the batch learn on two processes what they learn on one."""

import multiprocessing
import os
import socket
from dataclasses import replace

import numpy as np
import torch
from accelerate import PartialState
from typer.testing import CliRunner

from triptych import Training, load
from triptych.cli import app
from triptych.coordination import (
    DCCAE,
    VSE,
    CorrAE,
    DeepCCA,
    GatedCoordination,
    SigLIP,
    SimilarityAlignment,
)
from triptych.fission import MultiviewInformationBottleneck, SelfSupervisedMultiview
from triptych.nn.recipes import MLP

# Plain descent: Adam divides gradients that are nought but rounding by their own size.
TRAINING = Training(epochs=2, batch_size=24, learning_rate=0.05, optimizer="sgd", device="cpu")
# Twelve rows of each batch for each of two processes, in three pieces.
PIECES = replace(TRAINING, micro_batch_size=5)
GIVEN = {"encoders": {m: MLP(width=8, depth=1) for m in "ab"}, "random_state": 0}
METHODS = {
    "trace norm": lambda: DeepCCA(3, training=TRAINING, **GIVEN),
    "squares": lambda: DeepCCA(3, objective="squares", training=TRAINING, **GIVEN),
    "Eckart-Young": lambda: DeepCCA(3, objective="eckart_young", training=TRAINING, **GIVEN),
    "running covariance": lambda: DeepCCA(3, objective="noi", training=TRAINING, **GIVEN),
    "DCCAE": lambda: DCCAE(3, reconstruction_batch_size=8, training=TRAINING, **GIVEN),
    "CorrAE": lambda: CorrAE(3, training=TRAINING, **GIVEN),
    "guarded": lambda: SimilarityAlignment(3, similarity="bilinear", training=TRAINING, **GIVEN),
    "multi-view": lambda: SelfSupervisedMultiview(
        3, n_private=2, width=8, training=TRAINING, **GIVEN
    ),
    "bottleneck": lambda: MultiviewInformationBottleneck(
        3, n_private=2, width=8, beta=1.0, training=TRAINING, **GIVEN
    ),
    "in pieces": lambda: SigLIP(3, temperature=0.5, training=PIECES, **GIVEN),
    "a width learnt in pieces": lambda: SimilarityAlignment(
        3, similarity="rbf", guard="negatives", learn_width=True, training=PIECES, **GIVEN
    ),
    "hardest negatives": lambda: VSE(
        3, negatives="hardest", warm_up=2, training=TRAINING, **GIVEN
    ),
    "cross gates": lambda: GatedCoordination(
        3, gates="cross", width=8, training=TRAINING, **GIVEN
    ),
}


def views(n=96):
    z = np.random.default_rng(0).normal(size=(n, 4))
    return {"a": np.tanh(z), "b": np.c_[z, z**2]}


def fitted():
    """By method the loss of each epoch, and all weights."""
    found = {}
    for name, make in METHODS.items():
        model = make().fit(views())
        weights = [v.flatten().double() for v in model.network_.state_dict().values()]
        found[name] = torch.cat([torch.tensor(model.history_["train"]["loss"]), *weights])
    return found


def process(rank, port, work, folder):
    """One process of two, as torchrun starts it."""
    about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({k: str(v) for k, v in about.items()}, MASTER_ADDR="127.0.0.1")
    PartialState._reset_state()  # that of the process forked from
    torch.set_num_threads(1)
    work(rank, folder)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def on_two(work, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked: starting Python and torch anew takes longer than all the work.
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=process, args=(rank, port, work, folder)) for rank in (0, 1)]
    for p in started:
        p.start()
    for p in started:
        p.join(60)
        assert p.exitcode == 0


def fit_all(rank, folder):
    torch.save(fitted(), f"{folder}/{rank}.pt")


def command(folder, name):
    asked = ["fit", f"{folder}/data.npz", "--method", "DeepCCA", "-o", f"{folder}/{name}"]
    more = ["n_components=3", "training__epochs=2", "training__batch_size=24"]
    settings = [word for one in (*more, "training__device=cpu") for word in ("--set", one)]
    return CliRunner().invoke(app, [*asked, *settings])


def fit_by_command(rank, folder):
    found = command(folder, "two")
    (folder / f"{rank}.txt").write_text(f"{found.exit_code} {found.stdout}")


def test_the_command_that_torchrun_starts_writes_one_model(tmp_path):
    np.savez(tmp_path / "data.npz", **views())
    assert command(tmp_path, "one").exit_code == 0
    on_two(fit_by_command, tmp_path)
    assert "learnt from 96 rows" in (tmp_path / "0.txt").read_text()
    assert (tmp_path / "1.txt").read_text() == "0 "  # the first one speaks for all
    one, two = (load(tmp_path / name).correlations_ for name in ("one", "two"))
    # Adam over eight steps, in float32.
    np.testing.assert_allclose(one, two, rtol=1e-3)
    assert not list(tmp_path.glob(".*"))


def test_two_processes_learn_what_one_learns(tmp_path):
    alone = fitted()
    on_two(fit_all, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, expected in alone.items():
        assert torch.equal(first[name][2:], second[name][2:]), name
        # Of the largest entry, over 8 steps: sums over processes are taken in another order.
        error = (first[name] - expected).abs().max() / expected.abs().max()
        assert float(error) < 1e-5, (name, float(error))
