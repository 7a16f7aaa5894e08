"""Unrolled clustering of positions beside the matrix products that it cannot do without.

    python benchmarks/speed/dmc.py [--threads N] [--repeats R]

*Needed* are the products of the formulas with nothing between them, from operands made before:
positions by pulled centres (r - 1 times), shares by positions (r - 1), pooled features by
projections (r) and centres by projections (r - 1), forward, or forward and backward. *Every
projection made* is the equation as it is written: W_j u_i for all clusters and positions first.
All three take turns; medians.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.losses.clustering import unit, unrolled_clusters

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rivals import heading

ROUNDS = 3
# Rows, positions, features, clusters, components: the authors' picture maps, and smaller ones.
SIZES = ((16, 256, 512, 10, 16), (64, 64, 128, 10, 16), (64, 256, 64, 32, 16))


def needed(u: Tensor, W: Tensor, share: Tensor, pulling: Tensor) -> Tensor:
    """The products alone."""
    b, _, k = share.shape
    total = (u.sum(1).expand(k, b, -1) @ W.mT).sum()
    for _ in range(ROUNDS - 1):
        logits = u @ pulling.permute(1, 2, 0)
        centres = (share.mT @ u).transpose(0, 1) @ W.mT
        pulled = centres @ W
        total = total + logits.sum() + centres.sum() + pulled.sum()
    return total


def every_projection(u: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
    """The equation as it is written, in whole-tensor form."""
    k, d, _ = W.shape
    projected = (u @ W.flatten(0, 1).T).unflatten(2, (k, d))  # (b, p, k, d)
    logits = u.new_zeros(*u.shape[:2], k)
    for step in range(ROUNDS):
        share = F.softmax(logits, 2)
        centres = torch.einsum("bpk,bpkd->bkd", share, projected)
        if step < ROUNDS - 1:
            logits = torch.einsum("bkd,bpkd->bpk", unit(centres), projected)
    return centres, share


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(size: tuple[int, ...], backward: bool, repeats: int) -> list[float]:
    """Median seconds of what is needed, ours, and every projection made."""
    b, p, c, k, d = size
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        made = torch.randn(*shape, generator=generator) / c**0.5
        return made.requires_grad_(backward)

    u, W = normal(b, p, c), normal(k, d, c)
    share = F.softmax(torch.randn(b, p, k, generator=generator), 2).requires_grad_(backward)
    pulling = normal(k, b, c)
    ours, plain = unrolled_clusters(u, W, iterations=ROUNDS), every_projection(u, W)
    assert all(torch.allclose(x, y, atol=1e-4) for x, y in zip(ours, plain, strict=True))

    def whole(make: Callable[[], Tensor]) -> Callable[[], object]:
        if not backward:
            return make
        return lambda: make().backward()

    works = [
        whole(lambda: needed(u, W, share, pulling)),
        whole(lambda: unrolled_clusters(u, W, iterations=ROUNDS)[0].sum()),
        whole(lambda: every_projection(u, W)[0].sum()),
    ]
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(heading(given.threads) + "\n")
    print(
        "| rows, positions, features, clusters, components | | needed ms | ours ms | ratio | "
        "every projection made ms |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        for backward in (False, True):
            need, ours, plain = (1e3 * s for s in measured(size, backward, given.repeats))
            print(
                f"| {', '.join(map(str, size))} | {'with gradients' if backward else 'forward'} | "
                f"{need:.2f} | {ours:.2f} | {ours / need:.2f} | {plain:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
