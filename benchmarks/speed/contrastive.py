"""Contrastive losses, value and gradients, beside the products they need and beside peers.

python benchmarks/speed/contrastive.py                   # n = 1,024 and 4,096
python benchmarks/speed/contrastive.py --n 16384
python benchmarks/speed/contrastive.py --n 65536 --alone # ours only: the dense form needs 32 GB
python benchmarks/speed/contrastive.py --steps           # memory of cached-gradient training
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from rivals import Rival, heading, interleave  # noqa: E402

# By peer: its file, what is run, and the largest n that is tried.
PEERS = {
    "open_clip": ("open_clip_contrastive.py", ("ClipLoss", "SigLipLoss"), 16384),
    "lightly": ("lightly_contrastive.py", ("NTXentLoss",), 4096),
    "pytorch-metric-learning": (
        "metric_learning_contrastive.py",
        ("NTXentLoss, one direction",),
        1024,
    ),
}


def losses(n: int, *, d: int, threads: int, repeats: int, alone: bool, only: list[str]) -> None:
    arguments = {"n": n, "d": d, "temperature": 0.05}
    with ExitStack() as stack:
        work = HERE / "rivals" / "triptych_contrastive.py"
        ours = stack.enter_context(Rival("triptych", work, threads=threads, **arguments))
        pieces = {} if alone else {"three products": (ours, "products")}
        pieces |= {f"triptych {p}": (ours, p) for p in only}
        if n <= 4096 and not alone:
            pieces |= {f"{p} (torch)": (ours, p) for p in ("plain", "plain, log-sums")}
        for name, (script, runs, most) in PEERS.items():
            if n > most or alone:
                continue
            file = HERE / "rivals" / script
            peer = stack.enter_context(
                Rival(name, file, environment="contrastive", threads=threads, **arguments)
            )
            # At the largest sizes one peer's rivals take minutes; its plain loss is enough.
            pieces |= {f"{name} {run}": (peer, run) for run in (runs if n < 9000 else runs[:1])}
        found = interleave(pieces, repeats=repeats, warm_up=0 if alone else 1)
    print(f"\n{heading(threads)}; n = {n:,}, d = {d}, float32\n")
    print("| loss and gradients | s | CPU s | × the products | MiB | slowest / fastest |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    limit = found["three products"].cpu if "three products" in found else float("nan")
    for name, t in found.items():
        if t.error:
            print(f"| {name} | {t.error} | | | | |")
            continue
        share = "" if alone else f"{t.cpu / limit:.2f}"
        print(
            f"| {name} | {t.seconds:.3f} | {t.cpu:.3f} | {share} | {t.mib:.0f} | {t.spread:.2f} |"
        )


def steps(*, threads: int) -> None:
    work = HERE / "rivals" / "triptych_steps.py"
    print(f"\n{heading(threads)}; CLIP, ConvNet on 64 x 64 x 3 and MLP on 64, micro-batch 256\n")
    print("| batch | s per 16,384 rows | MiB of training | × one micro-batch |")
    print("| ---: | ---: | ---: | ---: |")
    own = float("nan")
    for batch in (256, 16384):
        with Rival("triptych", work, threads=threads, batch=batch, micro=256) as ours:
            record = ours.run("epoch")
        if "error" in record:
            print(f"| {batch:,} | {record['error']} | | |")
            continue
        own = record.get("value") if batch == 256 else own
        share = record["value"] / own
        print(f"| {batch:,} | {record['seconds']:.2f} | {record['mib']:.0f} | {share:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, nargs="*", default=[1024, 4096])
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="ours without the rest")
    parser.add_argument("--only", nargs="*", default=["info_nce", "sigmoid", "hinge", "hardest"])
    parser.add_argument("--steps", action="store_true", help="memory of training instead")
    given = parser.parse_args()
    if given.steps:
        steps(threads=given.threads)
        return
    for n in given.n:
        losses(
            n,
            d=given.d,
            threads=given.threads,
            repeats=given.repeats,
            alone=given.alone,
            only=given.only,
        )


if __name__ == "__main__":
    main()
