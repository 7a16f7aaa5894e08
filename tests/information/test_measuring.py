"""What ``measure`` finds where the truth is known, what it says, and what it refuses."""

import html
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import sklearn.cluster
import sklearn.decomposition  # noqa: F401  its import draws from Python's global generator

from triptych import Dataset, Modalities
from triptych.datasets.synthetic import logic_gate
from triptych.errors import DataError, FileError, ParameterError
from triptych.information import measure
from triptych.information.measuring import kept
from triptych.report import measured_table, render_measurement, sheet_of
from triptych.report.areas import _lens, circles, overlap_distance, part_bars


def pictures(n=600, seed=0):
    """Pictures that show the kind, texts that show kind and mood, numbers that show nothing."""
    rng = np.random.default_rng(seed)
    kind, mood = rng.integers(0, 3, n), rng.integers(0, 2, n)
    shown = np.random.default_rng(9).random((3, 36))[kind] + 0.1 * rng.normal(size=(n, 36))
    words = [f"{'abc'[k]}x {['happy', 'sad'][m]} thing" for k, m in zip(kind, mood, strict=True)]
    X = Modalities(
        {
            "image": np.clip(shown * 120, 0, 255).astype(np.uint8).reshape(n, 1, 6, 6),
            "text": words,
            "noise": rng.normal(size=(n, 4)),
        }
    )
    labels = {"kind": np.array(["k0", "k1", "k2"])[kind], "both": 2 * kind + mood}
    return Dataset(X, labels=labels, name="pictures & <words>")


@pytest.fixture(scope="module")
def found():
    return measure(pictures(), "both", categories=6)


def test_gates_are_measured_exactly_when_balanced():
    for name, truth in (("and", (0.311, 0, 0, 0.5)), ("unique", (0, 1, 0, 0))):
        gate = logic_gate(name, 800, balanced=True)
        pair = measure(gate.X, gate.y).pairs[0]
        values = [part.value for part in pair.parts.parts.values()]
        assert values == pytest.approx(truth, abs=1e-3), name
        assert pair.between.value == pytest.approx(0, abs=1e-9) and pair.p_value > 0.05


def test_what_each_knows_alone(found):
    image, text, noise = found.modalities
    assert found.entropy.value == pytest.approx(math.log2(6), abs=0.02)
    assert image.about.value == pytest.approx(math.log2(3), abs=0.05)  # the kind, not the mood
    assert text.about.value > image.about.value + 0.3
    assert image.p_value < 0.02 and noise.p_value > 0.02
    assert noise.about.value == pytest.approx(noise.shuffled, abs=0.05)
    for one in found.modalities:
        low, high = one.about.interval
        assert low < one.about.value < high and one.about.unit == "bits"


def test_values_add_up(found):
    by_name = {one.name: one.about.value for one in found.modalities}
    for pair in found.pairs:
        parts = {name: part.value for name, part in pair.parts.parts.items()}
        a, b = pair.names
        first, second = (parts["redundancy"] + parts[u] for u in ("unique_1", "unique_2"))
        # The solver's bound of 1e-9 nats, times four.
        assert (first, second) == pytest.approx((by_name[a], by_name[b]), abs=1e-8)
        assert pair.parts.total.value == pytest.approx(sum(parts.values()), abs=1e-8)


def test_what_was_done_is_said(found):
    codes = {one.name: one.code for one in found.modalities}
    assert codes["image"].startswith("pixels, 6 clusters (k-means) of 10 principal components")
    assert codes["text"].startswith("TF-IDF of words, ") and found.target_code == "6 classes"
    assert any("image (image (1, 6, 6)) is judged by 6 clusters" in w for w in found.warnings)
    assert json.loads(json.dumps(found.as_dict()))["pairs"][0]["names"] == ["image", "text"]


def test_the_same_seed_says_the_same():
    data = pictures(200)
    assert measure(data, "kind", random_state=3) == measure(data, "kind", random_state=3)


def test_targets():
    data = pictures(300)
    assert measure(data).target == "kind"  # the first label
    assert measure(data, data.labels["kind"], n_shuffles=20).target == "target"
    assert measure(data.X.select("image"), data.labels["kind"]).pairs == ()
    wet = Dataset(data.X.merge({"rain": np.arange(300.0)[:, None]}), labels=data.labels)
    asked = measure(wet, "rain", n_shuffles=20)
    assert [one.name for one in asked.modalities] == ["image", "text", "noise"]
    assert asked.target_code == "8 bins of about equal frequency"


def test_rows_that_lack_a_modality_and_groups_are_said():
    data = pictures(300)
    present = np.arange(300) % 3 > 0
    some = Dataset(
        data.X.with_present({"text": present}), labels=data.labels, groups=np.arange(300) // 2
    )
    found = measure(some, "kind", n_shuffles=20)
    assert found.rows == 200 and "100 of 300 rows lack" in found.warnings[-1]
    assert any("groups" in w and "too narrow" in w for w in found.warnings)


def test_bad_input_is_named():
    data = pictures(300)
    with pytest.raises(ParameterError, match=r"expected one of .*'kind'.* got 'nope'"):
        measure(data, "nope")
    with pytest.raises(ParameterError, match="'noise' is vector"):
        measure(data, "noise")
    with pytest.raises(DataError, match="at least 40 rows"):
        measure(data[:30], "kind")
    with pytest.raises(DataError, match="at least two classes, got 1"):
        measure(data.X, np.ones(300, dtype=int))
    with pytest.raises(DataError, match="classes that repeat"):
        measure(data.X, np.arange(300))
    with pytest.raises(ParameterError, match="no label to take"):
        measure(data.X)
    with pytest.raises(ParameterError, match="n_shuffles: expected a whole number >= 20"):
        measure(data, "kind", n_shuffles=10)
    with pytest.raises(ParameterError, match="unit"):
        measure(data, "kind", unit="bytes")


def test_what_codes_keep():
    data = pictures(600)
    kind = (data.labels["both"] // 2).astype(float)
    rng = np.random.default_rng(1)
    codes = {
        "shared": kind[:, None] + 0.01 * rng.normal(size=(600, 1)),
        "noise": rng.normal(size=(600, 2)),
    }
    found = {(k.part, k.of): k for k in kept(codes, data.X, data.labels["both"], name="both")}
    assert set(found) == {(p, of) for p in codes for of in ("both", "image", "text", "noise")}
    shared = found["shared", "both"]
    assert shared.about.value == pytest.approx(math.log2(3), abs=0.2)  # bins cut across kinds
    assert shared.entropy == pytest.approx(math.log2(6), abs=0.02)
    lost = found["noise", "both"]
    assert lost.about.value == pytest.approx(lost.shuffled, abs=0.06)
    with pytest.raises(DataError, match="at least 40 complete rows"):
        kept({"a": kind[:20]}, data.X[:20])


def test_the_reading_follows_from_the_values(found):
    sheet = sheet_of(found)
    words = " ".join(sheet.lead)
    assert sheet.title == "What image, text and noise tell about both"
    assert "noise alone tells no more than chance would." in words
    assert words.index("text tells") < words.index("image tells")
    assert "only text tells" in words
    lines = [line for _, block in sheet.blocks for line in block]
    about = next(line for line in lines if line.what == "image about both")
    assert about.share == pytest.approx(found.modalities[0].about.value / found.entropy.value)
    table = measured_table(found)
    assert table.header[1] == "value (bits)" and {len(row) for row in table.rows} == {5}
    assert len(table.rows) == len(lines) + len(sheet.blocks)


def test_the_page_holds_everything_and_escapes_names(found, tmp_path):
    page = render_measurement(found, tmp_path / "new" / "measure.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>") and "<words>" not in page
    assert "pictures &amp; &lt;words&gt;" in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    assert page.count("<figure") == 2 + len(found.pairs)  # circles for every pair
    for sentence in sheet_of(found).lead:
        assert html.escape(sentence) in page
    with pytest.raises(FileError):
        render_measurement(found, tmp_path)


def test_what_only_rounding_left_is_drawn_as_nothing(found):
    pair = found.pairs[0]
    left = replace(pair.parts.unique_1, value=7e-11)
    pair = replace(pair, parts=replace(pair.parts, unique_1=left))
    drawn = circles(pair, "y", "bits"), part_bars([pair], 1.0, "y", "bits")
    assert f"{pair.names[0]} alone 0," in drawn[0].alt and "unique 1 0," in drawn[1].alt


@pytest.mark.parametrize("areas", [(1.0, 1.0, 0.5), (3.0, 0.2, 0.1), (2.0, 1.0, 0.0), (2, 1, 1)])
def test_circles_are_true(areas):
    first, second, common = areas
    d = overlap_distance(first, second, common)
    r, s = (math.sqrt(a / math.pi) for a in (first, second))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-r, d + s, 200_000), rng.uniform(-max(r, s), max(r, s), 200_000)
    inside = (x**2 + y**2 < r**2) & ((x - d) ** 2 + y**2 < s**2)
    box = (d + s + r) * 2 * max(r, s)
    share = common / box
    noise = 5 * box * math.sqrt(share * (1 - share) / 200_000) + 1e-9  # of counting points
    assert inside.mean() * box == pytest.approx(common, abs=noise)
    assert _lens(r, s, d) == pytest.approx(common, abs=1e-7)  # flat where one holds the other
