"""A process of a distributed run dies: the others say so, and the checkpoint goes on."""

import json
import multiprocessing
import os
import socket

import numpy as np
import torch
from accelerate import PartialState

from triptych import Training
from triptych.coordination import CLIP
from triptych.nn.recipes import MLP
from triptych.training import checkpoint

LAST = 5  # steps after which a process is gone


def views(n=48):
    z = np.random.default_rng(0).normal(size=(n, 3))
    return {"a": np.tanh(z), "b": np.c_[z, z**2]}


def model(folder):
    return CLIP(
        3,
        encoders={m: MLP(width=8, depth=1) for m in "ab"},
        training=Training(
            epochs=3,
            batch_size=16,
            device="cpu",
            checkpoint=None if folder is None else str(folder),
            checkpoint_every_s=0,
        ),
        random_state=0,
    )


def process(rank, port, folder, told, dies):
    """One process of two; what became of it goes to ``told``."""
    about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({k: str(v) for k, v in about.items()}, MASTER_ADDR="127.0.0.1")
    PartialState._reset_state()  # that of the process forked from
    torch.set_num_threads(1)
    fitted, steps = model(folder), 0

    def count(network):
        nonlocal steps
        steps += 1
        if dies and rank == 1 and steps == LAST:
            os._exit(9)

    fitted._after_step = count
    try:
        fitted.fit(views())
    except Exception as error:
        found = {"error": type(error).__name__, "words": str(error)}
    else:
        found = {"codes": np.asarray(fitted.transform(views())["a"]).tolist()}
    (told / f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)  # without waiting for a process that is gone


def run(place, folder, dies=False):
    place.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked: starting Python and torch anew takes longer than all the work.
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=process, args=(rank, port, folder, place, dies)) for rank in (0, 1)
    ]
    for p in started:
        p.start()
    for p in started:
        p.join(60)
    assert [p.exitcode for p in started] == ([0, 9] if dies else [0, 0])
    return json.loads((place / "0.json").read_text())


def test_the_others_end_with_a_clear_error_and_the_checkpoint_goes_on(tmp_path):
    folder = tmp_path / "checkpoint"
    # Also loads what the processes forked from this one would each load anew.
    alone = model(None).fit(views()).transform(views())
    left = run(tmp_path / "died", folder, dies=True)
    assert left["error"] == "TrainingError"
    assert "process 0 of 2: another process of this run has ended" in left["words"]
    assert f"goes on from the checkpoint in {folder}" in left["words"]
    state = checkpoint.load(folder)
    # 3 steps an epoch. The one that was written last is whole, whatever came after it.
    assert state["epoch"] * 3 + state["step"] in (LAST - 1, LAST)
    went_on = run(tmp_path / "again", folder)
    # Sums of float32 over two processes are taken in another order.
    np.testing.assert_allclose(went_on["codes"], alone["a"], rtol=1e-4, atol=1e-5)
