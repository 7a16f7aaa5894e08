"""The page: whole, safe, self-contained, and written at once or not at all."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import pytest

from triptych.errors import FileError
from triptych.report import render, summarise

VOID = {"meta", "link", "img", "br", "wbr", "path", "circle"}
EVIL = "<script>alert('x')</script> & \"q\" $\\frac{1}$ [bold]"


class Checker(HTMLParser):
    """Follows the tags: what is open, headings, pictures, ids, links."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.images = [], [], []
        self.ids, self.links, self.tags, self.wrong = [], [], set(), []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if attrs.get("href", "").startswith("#"):
            self.links.append(attrs["href"][1:])
        self.wrong += [a for a in attrs if a.startswith("on")]

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


def check(path):
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and checker.wrong == []
    assert "script" not in checker.tags
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert not re.search(r"url\(|@import|https?://", text)
    assert all(image.get("alt") for image in checker.images)
    assert len(set(checker.ids)) == len(checker.ids)
    assert set(checker.links) <= set(checker.ids)
    assert checker.headings[0] == 1 and checker.headings.count(1) == 1
    steps = zip(checker.headings, checker.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    return text, checker


def test_the_whole_record_gives_one_sound_page(comparison, tmp_path):
    path = render(comparison, tmp_path / "deep" / "index.html")
    text, checker = check(path)
    assert len(checker.images) > 60
    for words in ("What this says", "loss is no longer finite", "sha256:9f2c", "2.13.0"):
        assert words in text
    assert 'class="right"' in text and 'class="wrong"' in text
    assert 'title="does not apply because it has no decoder"' in text
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


def test_same_record_same_bytes(comparison, tmp_path):
    one = render(comparison, tmp_path / "a.html").read_bytes()
    two = render(summarise(comparison), tmp_path / "b.html").read_bytes()
    assert one == two


def test_words_of_the_user_stay_words(comparison, tmp_path):
    comparison["title"] = EVIL
    comparison["data"]["name"] = EVIL
    comparison["settings"] = {EVIL: {EVIL: [EVIL]}}
    for row in comparison["rows"]:
        row["name"] += EVIL
        row["params"] = {EVIL: EVIL}
        row["why"] = EVIL
        extras = row["extras"]
        if "map" in extras:
            extras["map"]["labels"] = [EVIL + s for s in extras["map"]["labels"]]
        if "history" in extras:
            extras["history"]["train"][EVIL] = [1.0, 2.0]
        for shown in extras.get("retrieval", []):
            shown["query_modality"] = EVIL
            for example in shown["examples"]:
                example["truth"] = {"kind": "text", "text": EVIL}
        for column in comparison["columns"]:
            column["title"] = column["help"] = EVIL
    check(render(comparison, tmp_path / "index.html"))


@pytest.mark.parametrize("kept", [[0], [2], [5], []])
def test_few_rows_or_none(comparison, tmp_path, kept):
    comparison["rows"] = [comparison["rows"][i] for i in kept]
    check(render(comparison, tmp_path / "index.html"))


def test_empty_parts_and_numbers_that_are_none(comparison, tmp_path):
    comparison["rows"][1]["extras"] = {
        "history": {"train": {"loss": [None, None]}, "valid": {"loss": []}},
        "correlations": [],
        "retrieval": [{"query_modality": "a", "target_modality": "b", "examples": []}],
        "reconstructions": [],
        "map": {"xy": [], "labels": []},
        "missing": {"share": [], "accuracy": []},
        "noisy": {"level": [0.0, None], "accuracy": [0.5, None]},
        "swaps": [],
    }
    comparison["rows"][0]["extras"]["correlations"] = [float("nan")]
    comparison["rows"][3]["extras"]["reconstructions"][0]["examples"] = [
        {
            "given": [
                {"kind": "vector", "values": []},
                {"kind": "vector", "values": [1, None, 2]},
            ],
            "truth": {"kind": "text", "text": ""},
            "rebuilt": None,
        }
    ]
    text, _ = check(render(comparison, tmp_path / "index.html"))
    assert "nothing more to show" in text
    assert "(empty)" in text


def test_bare_record_and_very_long_names(tmp_path):
    check(render({"columns": [], "rows": []}, tmp_path / "bare.html"))
    long = "Very" * 60
    record = {
        "title": long,
        "columns": [{"key": "a", "title": long, "group": long, "better": "higher"}],
        "rows": [
            {"name": long, "panel": "fusion", "values": {"a": {"mean": i, "std": 0, "n": 2}}}
            for i in range(2)
        ],
    }
    check(render(record, tmp_path / "long.html"))


def test_labels_of_any_script_draw_without_a_warning(comparison, tmp_path, recwarn):
    labels = comparison["rows"][0]["extras"]["map"]["labels"]
    comparison["rows"][0]["extras"]["map"]["labels"] = ["漢字 $x_" for _ in labels]
    render(comparison, tmp_path / "index.html")
    assert [str(w.message) for w in recwarn] == []


def test_an_unwritable_place_is_said_and_the_old_page_stays(comparison, tmp_path, monkeypatch):
    path = tmp_path / "index.html"
    path.write_text("old")
    with pytest.raises(FileError, match=r"cannot write the report to .*in the way"):
        render(comparison, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write the report"):
        render(comparison, tmp_path / "file" / "index.html")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match=r"No space left on device.*unchanged"):
        render(comparison, path)
    assert path.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "index.html"]


def test_leaves_matplotlib_as_it_was(comparison, tmp_path):
    before, loaded = dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules
    render(comparison, tmp_path / "index.html")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_values_and_terminal_need_no_matplotlib():
    code = (
        "import sys; from triptych.report import summarise, text_table;"
        "text_table(summarise({'columns': [], 'rows': []}));"
        "assert not {'matplotlib', 'jinja2', 'torch', 'numpy'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
