"""Training steps of CLIP, with cached gradients where the batch is larger than the micro-batch."""

import ctypes
from pathlib import Path

import numpy as np

from triptych import Training
from triptych.coordination import CLIP

ROWS = 16384


def mib(key):
    """A line of this process's memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise LookupError(key)


class Watched(CLIP):
    """Remembers how far memory rose between the first step and the last."""

    def _phases(self, network):
        # What reading the rows left free would otherwise be used again and not be counted.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self.before = mib("VmRSS")
        return super()._phases(network)

    def _after_training(self, X):
        self.rose = mib("VmHWM") - self.before
        super()._after_training(X)


def prepare(batch, micro):
    """One epoch over the same rows at any batch size."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, size=(ROWS, 3, 64, 64), dtype=np.uint8)
    X = {"image": image, "vector": rng.normal(size=(ROWS, 64)).astype(np.float32)}
    # Libraries that training loads are no part of a step.
    few = {name: values[:32] for name, values in X.items()}
    CLIP(128, training=Training(epochs=1, batch_size=32, device="cpu"), random_state=0).fit(few)
    training = Training(epochs=1, batch_size=batch, micro_batch_size=micro, device="cpu")

    def epoch():
        model = Watched(128, training=training, random_state=0).fit(X)
        return model.rose

    return {"epoch": epoch}
