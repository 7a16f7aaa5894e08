"""Rows per second of the training loop beside a bare PyTorch loop that does the same steps.

Run: python benchmarks/speed/training_loop.py [epochs] [repeats]
Two modalities in memory, one small network, the same batches, loss, clipping, schedule and
optimiser on both sides; interleaved in one process, equal threads, medians. Target: ratio >= 0.9.
"""

import platform
import statistics
import sys
import time

import numpy as np
import torch

from triptych import Modalities, Training
from triptych.coordination import CLIP
from triptych.coordination._contrastive import Network
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows, order_of
from triptych.training.loop import train

N, P = 20_000, 256


def bare(model: CLIP, network: Network, rows: Rows, settings: Training) -> float:
    """Seconds of the same steps written out in PyTorch."""
    values = {m: rows.stored[m][0] for m in rows.readers}
    big = [p for p in network.parameters() if p.ndim >= 2]
    small = [p for p in network.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": big, "weight_decay": settings.weight_decay},
            {"params": small, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    size = settings.batch_size
    steps = -(-N // size)
    network.train()
    start = time.perf_counter()
    for epoch in range(settings.epochs):
        order = torch.from_numpy(order_of(0, "0.0", epoch, N))
        for step in range(steps):
            at = order[step * size : (step + 1) * size]
            za, zb = (
                torch.nn.functional.normalize(network.encoders[m](values[m][at]), dim=1)
                for m in values
            )
            logits = za @ zb.T * network.log_scale.exp()
            target = torch.arange(len(at))
            loss = (
                torch.nn.functional.cross_entropy(logits, target)
                + torch.nn.functional.cross_entropy(logits.T, target)
            ) / 2
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.rate_at(
                    epoch * steps + step, settings.epochs * steps
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip or 1e9)
            optimizer.step()
            with torch.no_grad():
                network.log_scale.clamp_(max=4.6052)
            loss.item()
    return time.perf_counter() - start


def main() -> None:
    """Print medians and their ratio."""
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 16))
    X = Modalities({m: z @ rng.normal(size=(16, P)) for m in "ab"})
    settings = Training(epochs=epochs, batch_size=256, device="cpu")
    model = CLIP(64, encoders={m: MLP() for m in "ab"}, training=settings, random_state=0)
    ours, theirs = [], []
    for _ in range(repeats + 1):
        model.fit(X)
        rows = Rows(X, model.inputs_)
        kinds = {m: X.kind(m) for m in X.names}
        network = model._build(kinds)
        # Only the loop is timed on both sides: fit also learns inputs and ids of equal content.

        content = Rows(X, model.inputs_, content=True)
        fresh = model._build(kinds)
        start = time.perf_counter()
        train(
            fresh,
            model._phases(fresh),
            content,
            settings,
            seed=0,
            after_step=lambda fresh=fresh: model._after_step(fresh),
        )
        ours.append(time.perf_counter() - start)
        theirs.append(bare(model, network, rows, settings))
    ours, theirs = ours[1:], theirs[1:]  # the first pass warms up
    a, b = statistics.median(ours), statistics.median(theirs)
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}"
    )
    print(f"triptych {N * epochs / a:10.0f} rows/s")
    print(f"bare     {N * epochs / b:10.0f} rows/s")
    print(f"ratio    {b / a:10.2f} (target >= 0.90)")


if __name__ == "__main__":
    main()
