"""What the report says, tested as values."""

import base64
import copy
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from triptych.errors import DataError
from triptych.report import summarise, text_table
from triptych.report.exhibits import CodeMap, Null
from triptych.report.figures import (
    _within,
    code_map,
    correlation_bars,
    line_style,
    loss_of_rows,
)
from triptych.report.numbers import show, show_pair
from triptych.report.reading_exhibits import read_exhibits, read_item
from triptych.report.summary import _error
from triptych.report.table import Column


def cell(summary, row, key):
    at = [c.key for c in summary.columns].index(key)
    return next(r for r in summary.rows if r.name == row).cells[at]


def tiny(values, baselines=(), better="higher", seeds=(0, 1, 2), group="Probes", unit=""):
    """A comparison of one column: name to (mean, std)."""

    def record(name, pair, panel):
        value = {"mean": pair[0], "std": pair[1], "n": len(seeds)}
        return {"name": name, "panel": panel, "status": "ok", "values": {"a": value}}

    return {
        "columns": [{"key": "a", "title": "A", "unit": unit, "better": better, "group": group}],
        "rows": [record(n, p, "fusion") for n, p in values.items()]
        + [record(n, p, "baseline") for n, p in dict(baselines).items()],
        "data": {"name": "d", "label": "colour"},
        "seeds": list(seeds),
    }


def test_marks_the_best_and_those_within_its_spread():
    summary = summarise(tiny({"near": (0.89, 0.02), "top": (0.9, 0.01), "far": (0.8, 0.01)}))
    assert [r.cells[0].mark for r in summary.rows] == ["tied", "best", ""]
    assert "too close to call" in summary.lead


def test_lower_is_better_where_the_column_says_so():
    summary = summarise(tiny({"a": (3.0, 0.1), "b": (2.0, 0.1)}, better="lower"))
    assert [r.cells[0].mark for r in summary.rows] == ["", "best"]
    assert "b is best at reading colour from the codes" in summary.lead


def test_a_column_without_direction_marks_nothing():
    summary = summarise(tiny({"a": (3.0, 0.1), "b": (2.0, 0.1)}, better=None))
    assert {r.cells[0].mark for r in summary.rows} == {""}
    assert summary.findings == ()


def test_a_baseline_that_nobody_clearly_beats_is_named_in_the_lead():
    summary = summarise(tiny({"a": (0.9, 0.02)}, {"plain": (0.89, 0.0), "chance": (0.1, 0.0)}))
    assert [r.cells[0].mark for r in summary.rows] == ["best", "unbeaten", ""]
    assert "mind plain: that baseline is not clearly beaten" in summary.lead
    assert "No method clearly beats the baseline plain (0.890 ± 0.000)" in summary.findings[0].text


def test_a_cheap_baseline_is_no_yardstick_of_cost():
    summary = summarise(
        tiny({"a": (9.0, 0.1)}, {"chance": (0.0, 0.0)}, "lower", group="Resources")
    )
    assert [r.cells[0].mark for r in summary.rows] == ["best", ""]


def test_one_seed_says_that_the_spread_is_unknown():
    summary = summarise(tiny({"a": (0.9, 0.0), "b": (0.8, 0.0)}, seeds=(0,)))
    assert "spread is not known" in summary.caution
    assert summary.rows[0].cells[0].spread == ""
    assert "Clearly" not in summary.findings[0].text


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_lead_of_one_test_row_is_no_lead(seeds):
    record = tiny(
        {"a": (0.905, 0.0), "b": (0.9, 0.0), "c": (0.8, 0.0)}, seeds=seeds, unit="accuracy"
    )
    assert [r.cells[0].mark for r in summarise(record).rows] == ["best", "", ""]
    record["data"]["test"] = 200
    summary = summarise(record)
    assert [r.cells[0].mark for r in summary.rows] == ["best", "tied", ""]
    assert "a and b are too close to call" in summary.lead
    assert "within what so many test rows can tell" in summary.findings[0].text
    assert "so many test rows give" in summary.caution
    likely = (0.905 * 200 + 2) / 204
    assert summary.rows[0].cells[0].error == pytest.approx(math.sqrt(likely * (1 - likely) / 204))


def test_a_value_that_is_no_share_has_no_error_by_rows():
    record = tiny({"a": (0.905, 0.0), "b": (0.9, 0.0)}, unit="R²")
    record["data"]["test"] = 200
    assert [r.cells[0].mark for r in summarise(record).rows] == ["best", ""]


def test_an_r2_below_zero_is_praised_nowhere():
    record = tiny({"a": (-0.01, 0.0), "b": (-0.2, 0.0)}, unit="R²", group="Reconstruction")
    summary = summarise(record)
    assert "best" not in summary.lead and "close" not in summary.lead
    assert summary.findings[0].text == "No method does better here than always saying the mean."


def test_nats_are_shown_as_bits():
    summary = summarise(tiny({"a": (math.log(2) * 3, math.log(2))}, unit="nats per token"))
    assert summary.columns[0].unit == "bits per token"
    assert summary.rows[0].cells[0].mean == pytest.approx(3)
    assert summary.findings[0].value == "3.00 ± 1.00 bits per token"


def test_what_does_not_apply_keeps_its_reason_once(comparison):
    summary = summarise(comparison)
    absent = cell(summary, "CCA", "r2")
    assert absent.mean is None and absent.text == "–"
    assert summary.notes[absent.note - 1] == "does not apply because it has no decoder"
    assert len(set(summary.notes)) == len(summary.notes) == 2


def test_not_a_number_is_no_value(comparison):
    comparison["rows"][1]["values"]["r1"] = {"mean": math.nan, "std": None, "n": 3}
    comparison["rows"][1]["values"].pop("r10")
    summary = summarise(comparison)
    assert cell(summary, "CLIP", "r1").why == "the result was not a finite number"
    assert cell(summary, "CLIP", "r10").why == "not measured"
    assert cell(summary, "SharedPrivate", "r1").mark == "best"


def test_reading_of_the_whole_record(comparison):
    summary = summarise(comparison)
    assert summary.lead.startswith("4 of 5 methods ran beside 4 baselines on glyphs: 47,000 rows")
    assert "CLIP is best at finding the partner" in summary.lead
    assert "DCCAE failed and is not judged." in summary.lead
    found = {f.group: f for f in summary.findings}
    assert list(found) == ["probe", "retrieval", "reconstruction", "leakage", "cost"]
    assert found["retrieval"].winner == "CLIP"
    assert "all 4 columns" in found["retrieval"].text
    assert found["leakage"].text == "Only SharedPrivate has a value here; the notes say why."
    assert found["cost"].value == "2.10 ± 0.01 s"
    assert summary.created == "2026-03-01 12:00 UTC"


def test_summary_leaves_the_record_as_it_was(comparison):
    before = copy.deepcopy(comparison)
    summarise(comparison)
    assert repr(comparison) == repr(before)


def test_one_reason_for_several_methods_is_said_once():
    record = tiny({"a": (1.0, 0.0), "b": (0.5, 0.0), "c": (0.2, 0.0)})
    for row in record["rows"][:2]:
        row |= {"status": "failed", "why": "DataError: row 3 is broken"}
    notes = text_table(summarise(record)).notes
    said = [note for note in notes if "row 3 is broken" in note]
    first, second = (row["name"] for row in record["rows"][:2])
    assert said == [f"{first}, {second} failed: DataError: row 3 is broken"]


def test_all_failed_and_nothing_at_all():
    record = tiny({"a": (1.0, 0.0)})
    record["rows"][0] |= {"status": "failed", "why": None}
    summary = summarise(record)
    assert "Every method failed, so there is nothing to compare" in summary.lead
    assert summary.rows[0].why == "no reason was recorded"
    assert summarise({"columns": [], "rows": []}).findings == ()


@pytest.mark.parametrize("bad", [None, [], {"rows": []}, {"columns": [{}], "rows": [3]}])
def test_refuses_what_is_no_comparison(bad):
    with pytest.raises(DataError, match=r"columns|compare wrote"):
        summarise(bad)


def test_many_columns_leave_two_of_each_kind_for_one_look():
    record = tiny({"a": (0.5, 0.0)})
    groups = ["Probes", "Retrieval", "Missing modalities", "Noise", "Resources"]
    record["columns"] = [
        {"key": f"{g}{i}", "title": f"{g}{i}", "better": "higher", "group": g}
        for g in groups
        for i in range(6)
    ]
    value = {"mean": 0.5, "std": 0.0, "n": 3}
    record["rows"][0]["values"] = {c["key"]: value for c in record["columns"]}
    summary = summarise(record)
    assert [summary.columns[i].key for i in summary.key_columns] == [
        *("Probes0", "Probes3"),
        *("Retrieval0", "Retrieval3"),
        *("Missing modalities3", "Noise3"),  # one place of a curve stands for it
        "Resources0",
    ]
    speaks = [summary.headline(group) for group in summary.groups]
    assert [summary.columns[at].key for at in speaks] == [
        *("Probes0", "Retrieval0", "Missing modalities3", "Noise3", "Resources0")
    ]
    assert [finding.measure.split()[0] for finding in summary.findings] == [
        summary.columns[at].title.split()[0] for at in speaks
    ]
    assert len(text_table(summary).header) == 8
    assert len(text_table(summary, "retrieval").header) == 7


def test_text_table_is_rectangular_and_explains_its_signs(comparison):
    table = text_table(summarise(comparison))
    assert {len(row) for row in table.rows} == {len(table.header)}
    rows = {row[0]: row for row in table.rows}
    assert "★ 0.431 ± 0.008" in rows["CLIP"]
    assert rows["DCCAE"][1] == "failed"
    assert any(note.startswith("[1] does not apply") for note in table.notes)
    assert any(note.startswith("DCCAE failed: TrainingError") for note in table.notes)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (0.4314, "0.431"),
        (1.0, "1.000"),
        (-0.25, "−0.250"),
        (31.24, "31.2"),
        (988.0, "988"),
        (65536, "65,536"),
        (842113, "842 k"),
        (1.31072e6, "1.31 M"),
        (2e-5, "2e−05"),
        (-0.0001, "−0.0001"),
    ],
)
def test_numbers_keep_three_digits(value, told):
    assert show(value) == told


def test_spread_is_rounded_where_the_mean_is():
    assert show_pair(31.24, 0.512) == ("31.2", "0.5")
    assert show_pair(1.31e6, 2e4) == ("1.31 M", "0.02 M")


def test_exhibits_leave_out_what_is_not_finite():
    shown = read_exhibits(
        {
            "history": {"train": {"b": [1.0], "loss": [None, 2.0]}, "valid": {}},
            "correlations": [[0.9, None], [0.5]],
            "map": {"xy": [[0, 0], [math.nan, 1]], "labels": ["a", "b"]},
            "missing": {"share": [0.5, 0], "accuracy": [0.4, 0.9]},
        }
    )
    assert [c.term for c in shown.curves] == ["loss", "b"]
    assert shown.correlations == (0.9, 0.5)
    assert shown.code_map.labels == ("a",)
    assert shown.missing == ((0.0, 0.9), (0.5, 0.4))
    assert not read_exhibits({}) and not read_exhibits(None)


def test_curves_of_rows_that_lose_something_say_so_in_words():
    shown = read_exhibits({"noisy": {"level": [2, 0, 1], "accuracy": [-0.25, 0.9, None]}})
    assert shown.noisy == ((0.0, 0.9), (2.0, -0.25))
    picture = loss_of_rows({"A": shown.noisy, "none": ()}, "noisy", "R²")
    assert picture.title == "Under noise"
    assert picture.alt.startswith("R² under noise")
    assert (
        "A from 0.900 at 0 to \N{MINUS SIGN}0.250 at 2" in picture.alt
        and "none" not in picture.alt
    )
    missing = loss_of_rows({"A": ((0.0, 1.0), (0.5, 0.5))}, "missing")
    assert "at 50%" in missing.alt and missing.title == "Missing modalities"
    assert loss_of_rows({"none": ()}, "missing") is None


def test_many_lines_look_different_and_no_accuracy_beyond_1_is_marked():
    assert len({line_style(i)[:2] for i in range(49)}) == 49
    lines = {f"m{i}": ((0.0, 1.0), (0.5, 0.9), (2.0, 0.5 - i / 1000)) for i in range(30)}
    picture = loss_of_rows(lines, "noisy")
    svg = base64.b64decode(picture.uri.split(",")[1]).decode()
    marked = re.findall(r">(\d\.\d+)<", svg)
    # Levels that were measured stand below, accuracies at the side.
    assert marked[:3] == ["0.0", "0.5", "2.0"]
    assert marked[3:] and max(map(float, marked[3:])) == 1.0


def test_a_null_is_read_whole_or_not_at_all():
    whole = {
        "level": 0.95,
        "by_chance": [0.5, 0.4],
        "correlations": [0.9, 0.3],
        "p_values": [0.01, 0.2],
        "permutations": 99,
        "rows": 40,
        "all_rows": True,
    }
    null = read_exhibits({"null": whole}).null
    assert (null.by_chance, null.p_values, null.rows) == ((0.5, 0.4), (0.01, 0.2), 40)
    assert null.beyond() == 1
    assert read_exhibits({"null": {**whole, "p_values": [0.01, 0.05]}}).null.beyond() == 2
    for broken in ({"level": None}, {"p_values": [0.01]}, {"by_chance": []}):
        assert read_exhibits({"null": {**whole, **broken}}).null is None


def test_the_figure_says_its_null_in_words():
    null = Null(0.95, (0.5, 0.4), (0.9, 0.3), (0.01, 0.2), 99, 40, True)
    said = correlation_bars([0.9, 0.3], "CCA", null).alt
    for words in (
        "99 permutations of the rows fitted",
        "0.500",
        "p = 0.010",
        "1 component of CCA",
    ):
        assert words in said
    drawn = correlation_bars([0.9, 0.3, 0.1], "CCA", replace(null, all_rows=False)).alt
    assert "40 rows drawn" in drawn
    assert "chance" not in correlation_bars([0.9, 0.3], "CCA").alt


@pytest.mark.parametrize("png", ["", "not base64!", "aGVsbG8="])
def test_a_picture_that_is_no_png_becomes_words(png):
    assert read_item({"kind": "image", "png": png}).text == "(picture unreadable)"


def test_a_few_codes_far_out_do_not_squeeze_the_others_into_a_spot():
    rng = np.random.default_rng(0)
    xy = rng.uniform(-1, 1, (200, 2))
    xy[:2] = (500, 0), (0, -900)
    held, moved = _within(xy)
    assert moved == 2 and np.abs(held).max() < 2.1
    np.testing.assert_array_equal(held[2:], xy[2:])
    assert "2 codes from farther out" in code_map(CodeMap(xy.tolist(), ("a",) * 200), "M").alt
    column = np.column_stack([xy[:, 0], np.zeros(200)])  # an axis on which all are alike
    column[5, 1] = 3
    assert _within(column)[0][5, 1] == 3


def test_where_all_rows_are_right_some_doubt_is_left():
    # 60 of 60 rows are no clear lead over 59 of 60.
    column = Column("probe", "Linear probe", "accuracy", "higher", "probe", "")
    errors = [_error({column.key: {"mean": share}}, column, 60.0) for share in (1.0, 59 / 60, 0.5)]
    assert errors[0] == pytest.approx(math.sqrt((62 / 64) * (2 / 64) / 64))
    assert errors[0] + errors[1] > 1 - 59 / 60
    assert errors[2] == pytest.approx(0.5 / 8)
    assert _error({column.key: {"mean": 1.0}}, column, None) == 0
