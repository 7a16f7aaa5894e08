"""The command line: what each command writes, says and exits with."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  its import draws from Python's global generator
from rich.console import Console
from typer.testing import CliRunner

import triptych
from triptych import Training, catalog
from triptych.cli import app, lists
from triptych.cli.comparing import _side_by_side
from triptych.cli.ground import guarded, parse_settings, parse_value, print_grid
from triptych.coordination import CCA
from triptych.errors import ParameterError
from triptych.fusion import MultimodalAutoencoder

SOURCE = Path(triptych.__file__).parent.parent
COMMANDS = (
    "compare",
    "fit",
    "embed",
    "evaluate",
    "reconstruct",
    "search",
    "measure",
    "report",
    "methods",
    "datasets",
)


def run(*words, code=0):
    """Run the command line in this process; what it printed and complained."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def data(tmp_path):
    """Pictures and words of three colours, with a split, as an npz file."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    path = tmp_path / "data.npz"
    np.savez(
        path,
        **{
            "image": (rng.random((3, 16))[y] * 150 + rng.random((90, 16)) * 60)
            .astype(np.uint8)
            .reshape(90, 1, 4, 4),
            "text": np.array(
                [f"{['red', 'green', 'blue'][k]} {'ab'[i % 2]}" for i, k in enumerate(y)]
            ),
            "label:colour": np.array(["r", "g", "b"])[y],
            "id": np.array([f"row{i}" for i in range(90)]),
            "split": np.array(["train"] * 60 + ["valid"] * 10 + ["test"] * 20),
        },
    )
    return path


@pytest.fixture
def model(tmp_path, data):
    """CCA of the training rows, saved."""
    run("fit", data, "--method", "CCA", "--output", tmp_path / "model", "--set", "ridge=0.5")
    return tmp_path / "model"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command):
    out, _ = run(command, "--help")
    assert "Usage:" in out and len(out.splitlines()) > 5
    assert "--debug" in out and "--json" in out


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys\n"
        "from triptych.cli import app\n"
        "for words in (['--help'], ['compare', '--help'], ['fit', '-h']):\n"
        "    try:\n        app(words)\n"
        "    except SystemExit as stop:\n        assert not stop.code\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def test_methods_and_datasets():
    out, _ = run("methods", "--json")
    (cca,) = [m for m in json.loads(out) if m["name"] == "CCA"]
    assert cca["panel"] == "coordination" and cca["capabilities"] == CCA.capabilities.as_dict() | {
        "kinds": list(CCA.capabilities.kinds)
    }
    assert {"n_components", "ridge"} <= set(cca["parameters"])
    assert "coordination" in run("methods")[0]
    names = {d["name"] for d in json.loads(run("datasets", "--json")[0])}
    assert {"glyphs", "digits"} <= names


def test_compare_writes_the_page_and_the_record_and_ends_with_a_table(tmp_path, data):
    folder = tmp_path / "report"
    words = ("compare", data, "--methods", "CCA", "--output", folder, "--set", "n_components=2")
    out, err = run(*words)
    assert "CCA" in out and "chance" in out and str(folder / "index.html") in out
    assert "1 of 5" in err and "CCA" in err
    record = json.loads((folder / "comparison.json").read_text())
    assert record["data"]["test"] == 20
    assert record["rows"][0]["params"]["n_components"] == 2
    assert (folder / "index.html").read_text(encoding="utf-8").startswith("<!")
    out, err = run(*words, "--json")
    assert err.count("finished before") == 5
    machine = json.loads(out)
    assert machine["rows"][0]["name"] == "CCA" and "extras" not in machine["rows"][0]


def test_a_setting_for_one_method_and_one_for_all(tmp_path, data):
    words = ("compare", data, "--methods", "cca", "--output", tmp_path / "r", "--json")
    out, _ = run(*words, "--set", "CCA.ridge=2", "--set", "n_components=1")
    params = json.loads(out)["rows"][0]["params"]
    assert (params["n_components"], params["ridge"]) == (1, 2)
    _, err = run(*words, "--set", "epochs=2", code=1)
    assert err == "error: --set: none of ['CCA'] has 'epochs'.\n"


def test_the_report_can_be_made_again(tmp_path, data):
    run("compare", data, "--methods", "CCA", "--output", tmp_path / "r")
    page = tmp_path / "page.html"
    out, _ = run("report", tmp_path / "r" / "comparison.json", "--output", page)
    assert page.is_file() and "CCA" in out
    broken = tmp_path / "broken.json"
    broken.write_text('{"rows": ')
    _, err = run("report", broken, code=1)
    assert err.startswith("error: ") and "line 1" in err and err.count("\n") == 1


def test_fit_then_embed(tmp_path, data, model):
    out, _ = run("embed", model, data, "--part", "test", "--output", tmp_path / "c.npz", "--json")
    assert json.loads(out)["shapes"]["image"][0] == 20
    codes = np.load(tmp_path / "c.npz", allow_pickle=False)
    raw = np.load(data)
    X = {"image": raw["image"][70:], "text": [str(t) for t in raw["text"][70:]]}
    expected = triptych.load(model).transform(X)
    np.testing.assert_array_equal(codes["text"], expected["text"])
    assert codes["id"][0] == "row70" and codes["label:colour"].shape == (20,)


def test_embed_says_which_modalities_the_model_does_not_share_with_the_data(tmp_path, data, model):
    raw = dict(np.load(data))
    more = tmp_path / "more.npz"
    np.savez(more, **{k: v for k, v in raw.items() if k != "text"}, extra=np.ones((90, 2)))
    _, err = run("embed", model, more, "--output", tmp_path / "c.npz")
    assert "'extra' is left aside" in err and "'text' is absent from all rows" in err
    _, err = run("embed", model, data, "--output", tmp_path / "d.npz")
    assert "note:" not in err


def test_fit_says_which_method_it_replaces(tmp_path, data, model):
    again = ("fit", data, "--method", "CCA", "--output", model)
    assert "note:" not in run(*again)[1]
    _, err = run("fit", data, "--method", "GCCA", "--output", model)
    assert f"{model} holds a fitted CCA; GCCA, once fitted, replaces it" in err


def test_a_stopped_fit_of_other_settings_says_what_to_do(tmp_path, data):
    epochs = ("--set", "training__epochs=1", "--set", "training__device=cpu")
    place = tmp_path / "m"
    fit = ("fit", data, "--method", "MultimodalAutoencoder", "--output", place, *epochs)
    kept = MultimodalAutoencoder(
        random_state=7,
        training=Training(epochs=1, device="cpu", checkpoint=str(tmp_path / ".m.checkpoint")),
    )
    raw = np.load(data)
    kept.fit({"image": raw["image"][:60], "text": [str(t) for t in raw["text"][:60]]})
    _, err = run(*fit, code=1)
    assert ".m.checkpoint belongs to another fit that was stopped" in err and "begin anew" in err
    shutil.rmtree(tmp_path / ".m.checkpoint")
    out, _ = run(*fit)
    assert "MultimodalAutoencoder of image, text learnt from 60 rows" in out


def test_rows_without_what_is_given_are_rebuilt_as_absent(tmp_path, data):
    raw = dict(np.load(data))
    lacking = np.arange(90) % 9 == 0
    np.savez(tmp_path / "gaps.npz", **raw, text__present=~lacking)
    model, out = tmp_path / "m", tmp_path / "r.npz"
    quick = ("--set", "training__epochs=1", "--set", "training__device=cpu")
    run("fit", data, "--method", "MultimodalAutoencoder", "--output", model, *quick)
    words, _ = run("reconstruct", model, tmp_path / "gaps.npz", "--given", "text", "-o", out)
    assert "80 rows, rebuilt from text (10 of 90 rows have none)" in words
    made = np.load(out)
    np.testing.assert_array_equal(made["image__present"], ~lacking)
    whole = triptych.load(model).reconstruct({"text": [str(t) for t in raw["text"][~lacking]]})
    np.testing.assert_array_equal(made["image"][~lacking], whole["image"])
    assert [str(t) for t in made["text"][~lacking]] == list(whole["text"])
    again, _ = run("reconstruct", model, data, "--given", "text,image", "-o", out)
    assert "90 rows, rebuilt from text, image" in again


def test_compare_says_whose_report_it_replaces(tmp_path, data):
    other = tmp_path / "other.npz"
    shutil.copy(data, other)
    place = tmp_path / "report"
    words = ("--methods", "CCA", "--output", place)
    assert "note:" not in run("compare", data, *words)[1]
    assert "note:" not in run("compare", data, *words)[1]
    _, err = run("compare", other, *words)
    assert f"{place} held a report on {Path(data).stem}, which the one on other replaces" in err


def test_fit_learns_from_training_rows(tmp_path, data, model):
    raw = np.load(data)
    X = {"image": raw["image"][:60], "text": [str(t) for t in raw["text"][:60]]}
    reference = CCA(ridge=0.5).fit(X)
    np.testing.assert_array_equal(triptych.load(model).correlations_, reference.correlations_)


def test_evaluate(data, model):
    out, _ = run("evaluate", model, data, "--json")
    values = json.loads(out)
    assert values["probe"]["value"] > 0.9 and "why" in values["reconstruction:image"]
    out, _ = run("evaluate", model, data)
    assert "Linear probe: colour" in out
    # Few measures by name, many by how many they are, each with its reason.
    assert "left out: Fit time, Peak memory; fitting was not measured" in out
    assert re.search(r"\d+ measures of Leakage; only fission methods have shared and", out)
    assert re.search(r"│Parameters +│ [\d,]+ +│ numbers", out)


def test_evaluate_shows_bits_where_values_are_in_nats(tmp_path, data):
    raw = np.load(data)
    X = {"image": raw["image"][:60], "text": [str(t) for t in raw["text"][:60]]}
    training = triptych.Training(epochs=1, device="cpu")
    method = MultimodalAutoencoder(2, width=8, training=training, random_state=0).fit(X)
    method.save(tmp_path / "m")
    values = json.loads(run("evaluate", tmp_path / "m", data, "--json")[0])
    nats = values["reconstruction:text:nats"]["value"]
    out, _ = run("evaluate", tmp_path / "m", data)
    assert re.search(rf"text rebuilt, cross-entropy +│ {nats / np.log(2):.4g} +│ bits", out)


def test_warnings_are_words_without_a_line_of_code():
    before = warnings.formatwarning

    @guarded
    def command():
        said = warnings.formatwarning(UserWarning("two\n lines"), UserWarning, "file.py", 3)
        assert said == "warning: two lines\n"

    command()
    assert warnings.formatwarning is before


def test_search_by_words_row_and_picture(tmp_path, data, model):
    from PIL import Image

    words = ("search", model, data, "-k", "3", "--json")
    (answer,) = json.loads(run(*words, "--query", "text=green a")[0])
    assert answer["among"] == "image" and len(answer["found"]) == 3
    assert answer["found"][0]["text"].startswith("green")
    assert {"row", "similarity", "id", "text", "colour"} == set(answer["found"][0])
    raw = np.load(data)
    Image.fromarray(raw["image"][7, 0]).save(tmp_path / "query.png")
    by_row, by_file = (
        json.loads(run(*words, "--query", f"image={value}")[0])[0]
        for value in ("@7", tmp_path / "query.png")
    )
    assert by_row["found"] == by_file["found"] and by_row["among"] == "text"
    two = json.loads(run(*words, "--query", "text=red", "--query", "text=blue")[0])
    assert [a["query"]["text"] for a in two] == ["red", "blue"]
    assert "image for text: red" in run(*words[:-1], "--query", "text=red")[0]


def test_reconstruct_says_who_cannot(tmp_path, data, model):
    out = tmp_path / "out.npz"
    _, err = run("reconstruct", model, data, "--given", "text", "--output", out, code=1)
    assert err == "error: CCA has no decoders; it cannot reconstruct.\n"
    assert not out.exists()


def test_a_csv_needs_to_be_told_its_modalities(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["name,w,h,d,kind"]
    for i in range(40):
        word = ["small", "large"][i % 2]
        w, h, d = rng.normal(size=3) + 5 * (i % 2)
        lines.append(f"{word} thing,{w},{h},{d},{word[0]}")
    path = tmp_path / "things.csv"
    path.write_text("\n".join(lines))
    words = ("--modality", "size=w,h,d:vector", "--modality", "name=name:text", "--label", "kind")
    out, _ = run("compare", path, *words, "--methods", "CCA", "-o", tmp_path / "r", "--json")
    record = json.loads(out)
    assert record["data"]["label"] == "kind" and record["rows"][0]["status"] == "ok"
    assert [m["kind"] for m in record["data"]["modalities"]] == ["vector", "text"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("compare", "nowhere"), "neither a file or folder nor a data set of ours (glyphs"),
        (("compare", "DATA", "--methods", "Nope"), "unknown method 'Nope'"),
        (("compare", "DATA", "--label", "size"), "expected one of 'colour'; got 'size'"),
        (("compare", "DATA", "--split", "x"), "split: expected one of"),
        (("compare", "DATA", "--set", "ridge"), "--set: expected name=value, got 'ridge'"),
        (("compare", "DATA", "--faces", "3"), "--faces is for the glyphs"),
        (("compare", "DATA", "--methods", "CCA", "-o", "DATA"), "cannot write"),
        (("compare", "DATA", "--methods", ","), "--methods: expected names with commas"),
        (
            ("fit", "DATA", "--method", "CCA", "-o", "M", "--set", "depth=2"),
            "no parameter 'depth'",
        ),
        (("fit", "DATA", "--method", "CCA", "-o", "M", "--set", "ridge=-1"), "ridge"),
        (("embed", "nomodel", "DATA", "-o", "c.npz"), "is not a saved model: no such folder"),
        (("search", "MODEL", "DATA", "--query", "sound=x"), "unknown modality 'sound'"),
        (("search", "MODEL", "DATA", "--query", "image=@90"), "from @0 to @89"),
        (("search", "MODEL", "DATA", "--query", "image=no.png"), "no.png: cannot be read"),
        (("report", "nothing.json"), "nothing.json cannot be read"),
        (("report", "DATA"), "no record of a comparison: it is not text"),
    ],
)
def test_a_mistake_ends_in_one_line_and_1(tmp_path, data, model, words, complaint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    _, err = run(*({"DATA": data, "MODEL": model}.get(w, w) for w in words), code=1)
    assert err.splitlines()[-1].startswith("error: ") and complaint in err
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # nothing half-written


def test_debug_shows_where(data):
    _, err = run("compare", data, "--methods", "Nope", "--debug", code=1)
    assert "Traceback" in err and "catalog.py" in err
    assert err.splitlines()[-1].startswith("error: unknown method")


@pytest.mark.parametrize(
    "words", [("compare",), ("fit", "x"), ("nope",), ("compare", "x", "--no")]
)
def test_wrong_usage_is_2(words):
    assert "Usage" in run(*words, code=2)[1]


def test_ctrl_c_is_130_and_finished_methods_are_kept(tmp_path, data, monkeypatch):
    import triptych.evaluation.baselines as baselines

    def stop(self, X, y, validation):
        raise KeyboardInterrupt

    monkeypatch.setattr(baselines.BestSingle, "_fit", stop)
    folder = tmp_path / "r"
    _, err = run("compare", data, "--methods", "CCA", "-o", folder, code=130)
    assert err.splitlines()[-1].startswith("error: stopped. Finished methods are kept in")
    assert not (folder / "index.html").exists()
    monkeypatch.undo()
    _, err = run("compare", data, "--methods", "CCA", "-o", folder)
    assert err.count("finished before") == 3


def test_a_method_that_fails_is_a_row_and_the_rest_is_shown(tmp_path, data, monkeypatch):
    def fail(self, X, y, validation):
        raise ValueError("broken inside")

    monkeypatch.setattr(CCA, "_fit", fail)
    # No method is left to judge, which a script learns from the exit code.
    out, err = run("compare", data, "--methods", "CCA", "-o", tmp_path / "r", code=1)
    assert "failed: ValueError: broken inside" in err and "chance" in out


def test_settings_are_read_as_values():
    got = parse_settings(["a=1", "b__c=1e-3", "d=true", "e=None", "f=cosine", 'g={"x": [1]}'])
    assert got == {"a": 1, "b__c": 1e-3, "d": True, "e": None, "f": "cosine", "g": {"x": [1]}}
    assert parse_value("(1, 2)") == (1, 2) and parse_value("a=b") == "a=b"
    with pytest.raises(ParameterError, match="name=value, got '=3'"):
        parse_settings(["=3"])


def test_measure_shows_a_table_a_reading_and_a_page(tmp_path, data):
    page = tmp_path / "measure.html"
    out, _ = run("measure", data, "--target", "colour", "--shuffles", 20, "--output", page)
    assert "image about colour" in out and "only image tells" in out and str(page) in out
    assert "bits to tell about colour" in out
    assert page.read_text(encoding="utf-8").startswith("<!")
    found = json.loads(run("measure", data, "--json", "--shuffles", 20)[0])
    assert found["target"] == "colour" and found["report"] is None
    assert found["modalities"][0]["about"]["unit"] == "bits"
    _, err = run("measure", data, "--target", "nope", code=1)
    assert "expected one of 'colour'" in err and "'nope'" in err


def test_no_name_and_no_value_is_cut_on_a_narrow_terminal():
    out = io.StringIO()
    names = ("MultimodalAutoencoder", "shuffled pairs (BarlowTwins)")
    header = ["method", *(f"Linear probe from part {i} alone: kind (accuracy)" for i in range(9))]
    rows = [(name, *["★ 0.920 ± 0.004"] * 9) for name in names]
    tables = _side_by_side(header, rows, 80)
    assert sorted(i for some in tables for i in some[1:]) == list(range(1, 10))
    assert len(tables) > 1 and all(some[0] == 0 for some in tables)
    for some in tables:
        shown = Console(file=out, width=80)
        print_grid(shown, [header[i] for i in some], [[row[i] for i in some] for row in rows])
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in out.getvalue()
    assert all(out.getvalue().count(name) == len(tables) for name in names)
    assert out.getvalue().count(" ★ 0.920 ± 0.004") == 18


def test_methods_are_listed_whole_at_80_columns(monkeypatch):
    monkeypatch.setattr(lists, "console", lambda: Console(width=80, highlight=False))
    out, _ = run("methods")
    assert max(map(len, out.splitlines())) <= 80 and "…" not in out
    assert all(f"  {cls.__name__}: " in out for cls in catalog.methods().values())
    assert "fission: what the modalities share" in out
    assert "2 modalities; " in out and "only vector, image, text" in out


def test_numbers_mixed_with_words_are_no_query(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 3))
    np.savez(tmp_path / "d.npz", a=z, b=z + rng.normal(size=z.shape))
    model = tmp_path / "m"
    run("fit", tmp_path / "d.npz", "--method", "CCA", "--set", "n_components=2", "-o", model)
    words = ("search", model, tmp_path / "d.npz", "--query")
    run(*words, "a=1,2,0.5")
    _, err = run(*words, "a=1,2,'x'", code=1)
    assert err.startswith("error: --query: 'a' is vector") and "got \"1,2,'x'\"" in err


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path, data):
    (tmp_path / "blocker").touch()
    words = ("fit", data, "--method", "CLIP", "--set", "training__epochs=1")
    _, err = run(*words, "-o", tmp_path / "blocker", code=1)
    assert "a file of that name is in the way" in err
    assert not (tmp_path / ".blocker.checkpoint").exists()


def test_rows_without_a_split_are_judged_with_a_warning(tmp_path, data, model):
    z = np.random.default_rng(0).normal(size=(40, 2))
    whole = tmp_path / "whole.npz"
    np.savez(whole, a=z, b=z[:, ::-1])
    run("fit", whole, "--method", "CCA", "--set", "n_components=1", "-o", tmp_path / "m")
    _, err = run("evaluate", tmp_path / "m", whole)
    assert "the data have no split, so 6 of 40 rows are judged" in " ".join(err.split())
    assert run("evaluate", model, data)[1] == ""


def test_a_label_that_no_probe_can_learn_is_told(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40, 2))
    given = {"a": z, "b": z[:, ::-1], "label:kind": np.full(40, "same")}
    np.savez(tmp_path / "d.npz", **given)
    words = ("compare", tmp_path / "d.npz", "--methods", "CCA", "-o", tmp_path / "r")
    _, err = run(*words, "--label", "kind", code=1)
    assert "label 'kind': expected numbers or from 2 to 500 classes, got the class same" in err
    out, _ = run(*words)
    assert "No label has numbers or enough classes to be read" in " ".join(out.split())
    assert "[1] " in out  # the reasons below the table count from 1


def test_methods_that_do_not_take_the_data_say_so(tmp_path):
    rng = np.random.default_rng(0)
    three, one = tmp_path / "three.npz", tmp_path / "one.npz"
    z = rng.normal(size=(40, 2))
    np.savez(three, a=z, b=z[:, ::-1], s=np.repeat(z[:, None], 4, axis=1))
    np.savez(one, a=z)
    words = ("--output", tmp_path / "r", "--methods")
    out, err = run("compare", three, *words, "GCCA,KernelCCA,ProbabilisticCCA")
    why = "KernelCCA takes at most 2 modalities; got ['a', 'b', 's']"
    assert f"KernelCCA  not tried: {why}" in err and "failed" not in err + out
    assert f"KernelCCA not tried: {why}" in " ".join(out.split())
    assert "KernelCCA and ProbabilisticCCA do not take such data" in " ".join(out.split())
    page = (tmp_path / "r" / "index.html").read_text(encoding="utf-8")
    assert "not tried: KernelCCA takes at most 2" in page and "It failed." not in page
    _, err = run("compare", three, *words, "KernelCCA", code=1)
    assert err.splitlines()[-1].startswith(f"error: no method could be judged: {why}")
    _, err = run("compare", one, *words, "GCCA", code=1)
    assert err == ("error: nothing to compare: GCCA needs at least 2 modalities; got ['a'].\n")


def test_a_report_is_not_put_where_a_file_is(tmp_path):
    (tmp_path / "taken").write_text("mine")
    _, said = run("compare", "glyphs", "--quick", "-o", tmp_path / "taken", code=1)
    assert "a file of that name is in the way" in said
    assert (tmp_path / "taken").read_text() == "mine"


def test_only_some_modalities(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(80, 2))
    np.savez(tmp_path / "three.npz", a=z, b=z + 1, c=rng.normal(size=(80, 3)))
    words = ("fit", str(tmp_path / "three.npz"), "--method", "CCA", "-o", str(tmp_path / "m"))
    _, said = run(*words, code=1)
    assert "on the command line with --only" in said
    out, _ = run(*words, "--only", "a, b")
    assert "CCA of a, b" in out
    _, said = run(*words, "--only", "a,d", code=1)
    assert "unknown modality 'd'" in said
    _, said = run(*words, "--only", "a,a", code=1)
    assert "--only: expected modalities, each once" in said


def test_data_of_other_shapes_are_not_judged(tmp_path, data, model):
    raw = dict(np.load(data))
    raw["image"] = raw["image"][..., :3]
    np.savez(tmp_path / "other.npz", **raw)
    _, said = run("evaluate", model, str(tmp_path / "other.npz"), code=1)
    assert "error: " in said and "'image'" in said
