"""The command line on a table of pictures and sounds: fit, embed, compare, search."""

import json

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  its import draws from Python's global generator
from PIL import Image
from scipy.io import wavfile
from typer.testing import CliRunner

import triptych
from triptych.cli import app

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 pictures, captions and tones of three colours; some rows lack one."""
    here = tmp_path_factory.mktemp("data")
    (here / "pics").mkdir()
    rng = np.random.default_rng(0)
    lines = ["id,path,take,caption,category"]
    for i in range(60):
        name = list(COLOURS)[i % 3]
        pixels = np.array(COLOURS[name]) + rng.integers(-25, 25, (8, 8, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(here / "pics" / f"{i}.png")
        pitch = 200 + 150 * (i % 3) + rng.normal()
        tone = np.sin(2 * np.pi * pitch * np.arange(400) / 4000) * (0.3 + 0.2 * (i % 3))
        wavfile.write(here / f"{i}.wav", 4000, (tone * 30000).astype(np.int16))
        caption = "" if i == 5 else f"{name} {'square' if i % 2 else 'thing'}"
        path = "" if i == 7 else f"pics/{i}.png"
        lines.append(f"p{i},{path},{i}.wav,{caption},{name}")
    (here / "t.csv").write_text("\n".join(lines))
    return here


@pytest.fixture(scope="module")
def spec(folder):
    return (
        folder / "t.csv",
        *("--modality", "image=path:picture:8x8", "--modality", "words=caption:text"),
        *("--label", "category"),
    )


@pytest.fixture(scope="module")
def model(folder, spec):
    clip = ("--method", "CLIP", "--set", "n_components=8", "--set", "training__epochs=4")
    quick = ("--set", "training__batch_size=16", "--set", "training__learning_rate=0.003")
    run("fit", *whole(folder, spec), *clip, *quick, "-o", folder / "model")
    return folder / "model"


def whole(folder, spec):
    """The table without the rows that lack something, and how to read it."""
    table = folder / "whole.csv"
    lines = (folder / "t.csv").read_text().splitlines()
    table.write_text("\n".join(line for line in lines if ",," not in line))
    return (table, *spec[1:])


def test_fit_embed_and_evaluate(folder, spec, model, tmp_path):
    out, _ = run("embed", model, *spec, "-o", tmp_path / "c.npz", "--json")
    assert json.loads(out)["shapes"] == {"image": [60, 8], "words": [60, 8]}
    codes = np.load(tmp_path / "c.npz")
    assert np.flatnonzero(~codes["image__present"]).tolist() == [7]
    data = triptych.load(model).transform({"words": ["red thing"]})
    np.testing.assert_allclose(codes["words"][0], data["words"][0], atol=1e-6)  # float32
    values = json.loads(run("evaluate", model, *whole(folder, spec), "--json")[0])
    assert values["probe"]["value"] > 0.9


def test_compare_shows_the_pictures(spec, tmp_path):
    out, _ = run("compare", *spec, "--methods", "CCA", "-o", tmp_path, "--json")
    record = json.loads(out)
    assert [m["kind"] for m in record["data"]["modalities"]] == ["image", "text"]
    assert record["rows"][0]["status"] == "ok"
    assert "data:image/png;base64" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_search_by_words_and_by_picture_file(folder, spec, model):
    words = ("search", model, *spec, "-k", "3", "--json")
    (answer,) = json.loads(run(*words, "--query", "red thing")[0])
    assert answer["query"] == {"words": "red thing"} and answer["among"] == "image"
    assert [hit["category"] for hit in answer["found"]] == ["red"] * 3
    assert answer["found"][0]["image"].startswith("pics/") and "id" in answer["found"][0]
    (answer,) = json.loads(run(*words, "--query-file", folder / "pics" / "4.png")[0])
    assert answer["among"] == "words" and answer["found"][0]["words"].startswith("green")
    by_row, by_file, by_name = (
        json.loads(run(*words, *query)[0])[0]["found"]
        for query in (
            ("--query", "image=@4"),
            ("--query", f"image={folder / 'pics' / '4.png'}"),
            ("--query-file", f"image={folder / 'pics' / '4.png'}"),
        )
    )
    assert by_row == by_file == by_name == answer["found"]
    among = json.loads(run(*words, "--query", "image=@4", "--among", "image")[0])[0]
    assert among["found"][0]["row"] == 4
    table = run(*words[:-1], "--query", "red thing")[0]
    assert "image for words: red thing" in table and "pics/" in table


def test_an_index_is_made_used_and_kept_apart(folder, spec, model, tmp_path, monkeypatch):
    kept = tmp_path / "index"
    words = ("search", model, *spec, "-k", "3", "--json", "--query", "blue square")
    first = run(*words, "--index", kept)[0]
    assert first == run(*words)[0]
    from triptych.retrieval import Index

    monkeypatch.setattr(Index, "build", None)  # not made again
    assert run(*words, "--index", kept)[0] == first
    _, err = run(*words, "--index", kept, "--among", "words", code=1)
    assert "is an index of 'image', not 'words'" in err
    _, err = run(*words, "--index", kept, "--approximate", code=1)
    assert "is an exact index" in err
    fewer = ("search", model, *whole(folder, spec), "--query", "a", "--index", kept)
    assert "was made from 60 rows, the data have 58" in run(*fewer, code=1)[1]
    monkeypatch.undo()
    cca = ("--method", "CCA", "--set", "ridge=0.5")
    run("fit", *whole(folder, spec), *cca, "-o", tmp_path / "cca")
    other = ("search", tmp_path / "cca", *spec, "--query", "a", "--index", kept)
    assert "index and model do not belong together" in run(*other, code=1)[1]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ((), "nothing to look for"),
        (("--query", ""), "expected words, got nothing"),
        (("--query", "sound=x"), "unknown modality 'sound'; the model knows ['image', 'words']"),
        (("--query", "words="), "nothing after 'words='"),
        (("--query", "words=a", "--query", "image=@3"), "queries of one modality"),
        (("--query", "image=@7"), "'image' is absent in row 7"),
        (("--query-file", "none.png"), "none.png: cannot be read; there is no such file"),
        (("--query-file", "pics"), "pics: cannot be read; there is no such file"),
        (("--query-file", "cut.png"), "cut.png: a picture that cannot be read; "),
        (("--query-file", "t.csv"), "t.csv: expected a picture (PNG"),
        (("--query-file", "0.wav"), "expected one modality of kind waveform"),
    ],
)
def test_questions_that_have_no_answer(folder, spec, model, query, complaint, monkeypatch):
    monkeypatch.chdir(folder)
    body = (folder / "pics" / "1.png").read_bytes()
    (folder / "cut.png").write_bytes(body[: len(body) // 2])
    _, err = run("search", model, *spec, *query, code=1)
    assert complaint in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_broken_picture_ends_a_fit_with_its_row(folder, spec, tmp_path):
    body = (folder / "pics" / "1.png").read_bytes()
    (folder / "bad.png").write_bytes(body[: len(body) // 2])
    table = folder / "bad.csv"
    table.write_text(whole(folder, spec)[0].read_text() + "\nq,bad.png,0.wav,a word,red\n")
    words = ("--method", "CCA", "-o", tmp_path / "m")
    _, err = run("fit", table, *spec[1:], *words, code=1)
    assert "bad.csv, line 60, column 'path': " in err and "cannot be read" in err
    assert not (tmp_path / "m").exists()


def test_sounds(folder, tmp_path):
    spec = (folder / "t.csv", "--modality", "tone=take:sound:2000:0.15s")
    spec = (*spec, "--modality", "image=path:picture:8x8", "--label", "category")
    lines = (folder / "t.csv").read_text().splitlines()
    (folder / "heard.csv").write_text(
        "\n".join(line for line in lines if not line.startswith("p7,"))
    )
    run("fit", folder / "heard.csv", *spec[1:], "--method", "CCA", "-o", tmp_path / "m")
    words = ("search", tmp_path / "m", *spec, "-k", "2", "--json")
    by_file = json.loads(run(*words, "--query-file", folder / "3.wav")[0])
    by_row = json.loads(run(*words, "--query", "tone=@3")[0])
    assert by_file[0]["found"] == by_row[0]["found"]
    assert by_file[0]["found"][0]["tone"].endswith(".wav")
