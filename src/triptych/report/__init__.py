"""The answer of a comparison on one page: plain values first, then figures, then HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.lazy import attribute

if TYPE_CHECKING:
    from triptych.report.measured import Sheet as Sheet
    from triptych.report.measured import measured_table as measured_table
    from triptych.report.measured import render_measurement as render_measurement
    from triptych.report.measured import sheet_of as sheet_of
    from triptych.report.page import render as render
    from triptych.report.summary import Summary as Summary
    from triptych.report.summary import summarise as summarise
    from triptych.report.terminal import TextTable as TextTable
    from triptych.report.terminal import text_table as text_table

_EXPORTS = {
    "Sheet": "measured",
    "Summary": "summary",
    "TextTable": "terminal",
    "measured_table": "measured",
    "render": "page",
    "render_measurement": "measured",
    "sheet_of": "measured",
    "summarise": "summary",
    "text_table": "terminal",
}
__all__ = [
    "Sheet",
    "Summary",
    "TextTable",
    "measured_table",
    "render",
    "render_measurement",
    "sheet_of",
    "summarise",
    "text_table",
]


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
