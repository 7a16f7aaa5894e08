"""Losses that look across the batch: 2 and 4 processes give what one gives."""

import multiprocessing

import pytest
import torch

from triptych.losses.agreement import disagreement, whiteness
from triptych.losses.contrastive import info_nce
from triptych.losses.correlation import (
    correlation_maxvar,
    correlation_squares,
    correlation_trace_norm,
    eckart_young,
)
from triptych.losses.gather import gather
from triptych.losses.pairs import contrastive_pairs, hinge, sigmoid, triplet
from triptych.losses.partner_softmax import similarity_info_nce
from triptych.losses.redundancy import barlow_twins, vicreg
from triptych.similarity import Kernel

ROWS, WIDE, CODE = 12, 5, 4
RBF = Kernel("rbf", width=1.5)


def losses():
    return {
        "info_nce": lambda a, b, t, ids: info_nce(a, b, temperature=t, ids_a=ids),
        "sigmoid": lambda a, b, t, ids: sigmoid(a, b, temperature=t, bias=-1.0, ids_a=ids),
        "hinge": lambda a, b, t, ids: hinge(a, b, ids_a=ids),
        "hardest": lambda a, b, t, ids: hinge(a, b, hardest=True, ids_a=ids),
        "triplet": lambda a, b, t, ids: triplet(a, b, ids_a=ids),
        "pairs": lambda a, b, t, ids: contrastive_pairs(a, b, ids_a=ids),
        "barlow_twins": lambda a, b, t, ids: barlow_twins(a, b),
        "vicreg": lambda a, b, t, ids: vicreg(a, b),
        "trace_norm": lambda a, b, t, ids: correlation_trace_norm(a, b),
        "trace_norm, top 2": lambda a, b, t, ids: correlation_trace_norm(a, b, top=2),
        "squares": lambda a, b, t, ids: correlation_squares(a, b),
        "maxvar": lambda a, b, t, ids: correlation_maxvar([a, b, a * b]),
        "eckart_young": lambda a, b, t, ids: eckart_young([a, b]),
        "rbf, guarded": lambda a, b, t, ids: (
            disagreement(RBF, a, b).mean() + whiteness(a) + whiteness(b)
        ),
        "rbf, negatives": lambda a, b, t, ids: similarity_info_nce(
            RBF, a, b, factor=1 / t, ids_a=ids
        ),
    }


def values_and_gradients(dtype, rank=0, world=1):
    """By loss: its value, and the gradients of two encoders and a temperature, as one tensor."""
    generator = torch.Generator().manual_seed(0)
    xa, xb = torch.randn(2, ROWS, WIDE, generator=generator, dtype=torch.float64).to(dtype)
    start = torch.randn(2, WIDE, CODE, generator=generator, dtype=torch.float64).to(dtype)
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 9])
    found = {}
    for name, loss in losses().items():
        wa, wb = (w.clone().requires_grad_() for w in start)
        t = torch.tensor(0.2, dtype=dtype, requires_grad=True)
        mine = slice(rank, None, world)
        value = loss(gather(xa[mine] @ wa), gather(xb[mine] @ wb), t, gather(ids[mine]))
        value.backward()
        grads = [w.grad if w.grad is not None else torch.zeros_like(w) for w in (wa, wb, t)]
        whole = torch.cat([value.detach().reshape(1), *(g.flatten() for g in grads)])
        if world > 1:  # what data-parallel training does with gradients
            torch.distributed.all_reduce(whole)
            whole /= world
        found[name] = whole
    return found


def process(rank, world, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    found = {
        str(dtype): values_and_gradients(dtype, rank, world)
        for dtype in (torch.float32, torch.float64)
    }
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_give_what_one_gives(world, tmp_path):
    # Forked: starting Python and torch anew four times takes longer than all the work.
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=process, args=(r, world, tmp_path)) for r in range(world)]
    for p in started:
        p.start()
    for p in started:
        p.join(60)
        assert p.exitcode == 0
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        for name, expected in values_and_gradients(dtype).items():
            # Of the largest entry: sums over processes are taken in another order.
            error = (found[str(dtype)][name] - expected).abs().max() / expected.abs().max()
            assert float(error) <= tolerance, (name, dtype)
