"""Fusions that learn from labels learn on two processes what they learn on one."""

import multiprocessing
import os
import socket

import numpy as np
import torch
from accelerate import PartialState

from triptych import Modalities, Training
from triptych.fusion import (
    AttentionFusion,
    ConcatFusion,
    GatedFusion,
    LateFusion,
    LowRankFusion,
    MultiplicativeFusion,
    MutualDependencyFusion,
    TensorFusion,
)
from triptych.nn.recipes import MLP

# Plain descent: Adam divides gradients that are nought but rounding by their own size.
GIVEN = {
    "training": Training(
        epochs=2, batch_size=24, learning_rate=0.05, optimizer="sgd", device="cpu"
    ),
    "encoders": {m: MLP(width=8, depth=1) for m in "ab"},
    "random_state": 0,
}
ALL = {**GIVEN, "modality_dropout": 0.0}  # whose draws belong to a process
METHODS = {
    "concat": lambda: ConcatFusion(3, width=4, **ALL),
    "attention": lambda: AttentionFusion(3, **ALL),
    "gated": lambda: GatedFusion(3, width=4, **ALL),
    "tensor": lambda: TensorFusion(3, width=4, **ALL),
    "low rank": lambda: LowRankFusion(3, width=4, **ALL),
    "film": lambda: MultiplicativeFusion(3, width=4, form="film", **ALL),
    "late": lambda: LateFusion(width=4, **GIVEN),
    "dependency": lambda: MutualDependencyFusion(
        3, width=4, options={"rank": 2}, measure="kl", weight=0.5, critic_width=8, **ALL
    ),
    "stacking": lambda: LateFusion("stacking", folds=2, width=4, **GIVEN),
}


def world(n=96):
    """Rows of which some lack a modality, and some both: processes have unequal shares of them.

    Of each modality there is an even number, as a predictor that reads it alone shares them.
    """
    z = np.random.default_rng(0).normal(size=(n, 4))
    rows = np.arange(n)
    gone = {"a": rows % 7 != 1, "b": (rows % 5 != 2) & (rows % 7 != 1) | (rows > 36)}
    return Modalities({"a": np.tanh(z), "b": np.c_[z, z**2]}, present=gone), (z[:, 0] > 0) * 1


def fitted():
    """By method the loss of each epoch, all weights, and codes of rows that lack something."""
    X, y = world()
    asked = X[np.any(list(X.present.values()), axis=0)]
    found = {}
    for name, make in METHODS.items():
        rows = X
        if name == "stacking":  # whose folds would have odd numbers of rows, of which one sits out
            rows = X.with_present(dict.fromkeys("ab", np.ones(len(X), bool)))
        model = make().fit(rows, y)
        weights = [v.flatten().double() for v in model.network_.state_dict().values()]
        codes = torch.from_numpy(model.transform(asked)).flatten().double()
        found[name] = torch.cat(
            [torch.tensor(model.history_["train"]["loss"]).double(), *weights, codes]
        )
    return found


def process(rank, port, folder):
    """One process of two, as torchrun starts it."""
    about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({k: str(v) for k, v in about.items()}, MASTER_ADDR="127.0.0.1")
    PartialState._reset_state()  # that of the process forked from
    torch.set_num_threads(1)
    torch.save(fitted(), f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_learn_what_one_learns(tmp_path):
    alone = fitted()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked: starting Python and torch anew takes longer than all the work.
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=process, args=(r, port, tmp_path)) for r in (0, 1)]
    for p in started:
        p.start()
    for p in started:
        p.join(60)
        assert p.exitcode == 0
    first, second = (torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1))
    for name, expected in alone.items():
        # The first numbers are losses, each process's of its own rows.
        assert torch.equal(first[name][2:], second[name][2:]), name
        error = (first[name] - expected)[2:].abs().max() / expected.abs().max()
        # Of the largest entry, over 8 steps: sums over processes are taken in another order.
        assert float(error) < 1e-5, (name, float(error))
