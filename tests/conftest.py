"""What every test has: one thread, no screen, and global state that must stay as it was."""

import os

# Before NumPy or torch is imported: two test processes with two pools each would fight.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def _digest(state: Any) -> str:
    return repr([part.tolist() if isinstance(part, np.ndarray) else part for part in state])


def _globals() -> dict[str, Any]:
    """What code can change for everybody; torch only where the test has loaded it."""
    state: dict[str, Any] = {
        "random's generator": random.getstate(),
        "numpy.random's generator": _digest(np.random.get_state()),  # noqa: NPY002
        "numpy's treatment of errors": np.geterr(),
        "the working folder": os.getcwd(),
    }
    if torch := sys.modules.get("torch"):
        state |= {
            "torch's default dtype": torch.get_default_dtype(),
            "torch's default device": str(torch.get_default_device()),
            "torch's generator": torch.random.get_rng_state().numpy().tobytes(),
            "torch's gradient mode": torch.is_grad_enabled(),
            "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
            "torch's threads": torch.get_num_threads(),
        }
    return state


@pytest.fixture(autouse=True)
def unchanged_globals() -> Iterator[None]:
    """Fail a test after which a global generator or default is not what it was."""
    before = _globals()
    yield
    after = _globals()
    changed = [name for name, value in before.items() if after[name] != value]
    if changed:
        pytest.fail(
            f"left changed: {', '.join(changed)}. Pass generators and dtypes on; a test that "
            "builds torch modules by hand asks for the fixture torch_draws.",
            pytrace=False,
        )


@pytest.fixture
def torch_draws(unchanged_globals: None) -> Iterator[None]:
    """For tests that draw from torch's global generator: seeded here, put back afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets: TRIPTYCH_DATA, else shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TRIPTYCH_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is no folder; set TRIPTYCH_DATA to one")
    return folder
