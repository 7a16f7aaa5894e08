"""The main job: methods of all panels and honest baselines on one data set, by one measure."""

from triptych.comparison.record import compare, divided
from triptych.comparison.runs import Parts, Step, write_text

__all__ = ["Parts", "Step", "compare", "divided", "write_text"]
