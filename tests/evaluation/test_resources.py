import time

import numpy as np
import pytest

from triptych.evaluation.resources import STATM, measure


def test_time_memory_and_result():
    def work():
        block = np.ones(25_000_000)  # 200 MB, written to
        time.sleep(0.2)
        return float(block[:3].sum())

    result, cost = measure(work)
    assert result == 3.0
    assert 0.2 <= cost.seconds < 10
    if STATM.exists():
        assert cost.memory == "resident, sampled"
        # sampled every 20 ms while the block is held for 200; pages freed before may be reused
        assert 150e6 < cost.peak_bytes < 400e6


def test_a_small_call_costs_little():
    _, cost = measure(lambda: None)
    assert cost.peak_bytes < 50e6 and cost.seconds < 1


def test_without_proc_the_high_water_mark_is_used(monkeypatch):
    import importlib

    module = importlib.import_module("triptych.evaluation.resources")
    monkeypatch.setattr(module, "STATM", module.Path("/nowhere"))
    _, cost = measure(lambda: None)
    assert cost.memory == "resident, high-water" and cost.peak_bytes >= 0


def test_an_error_goes_through_and_the_thread_ends():
    import threading

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)
    assert threading.active_count() == before
