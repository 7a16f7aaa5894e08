"""Readers: what comes back, and what is said of files that cannot be used."""

import os
import zipfile

import numpy as np
import pytest
from scipy.sparse import csr_array

from triptych import Dataset, Modalities
from triptych.arrays import is_lazy
from triptych.datasets import load
from triptych.errors import DataError, FileError, ModalityError, ParameterError, ShapeError
from triptych.files import read, read_csv, read_npy_folder, read_npz, write_npz

SPEC = {"words": "caption:text", "size": "w,h:vector"}


def table(tmp_path, text, encoding="utf-8", name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def npz(tmp_path, **arrays):
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, values in arrays.items():
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(values))
    return path


def rich():
    """All forms at once, with absence in each."""
    rng = np.random.default_rng(0)
    return Dataset(
        Modalities(
            {
                "v": rng.normal(size=(4, 2)),
                "i": rng.integers(0, 255, (4, 1, 2, 3)).astype(np.uint8),
                "t": ["naïve ☃", None, "", " x "],
                "s": [rng.normal(size=(k, 2)) if k else None for k in (1, 3, 0, 2)],
                "w": [None, *(rng.normal(size=k) for k in (2, 1, 5))],
                "even": rng.normal(size=(4, 6)),
                "file": np.ones((4, 1)),
            },
            present={"v": [1, 0, 1, 1], "s": [0, 1, 0, 1]},
            kinds={"even": "waveform"},
        ),
        {"kind": np.array(["a", "b", "a", "c"], dtype=object), "size": np.array([1.5, 2, 3, 4])},
        ids=np.array(["p", "q", "r", "s"]),
        groups=np.array([0, 0, 1, 2]),
        splits={"split": np.array(["train", "test", "", "valid"]), "b": np.array(["test"] * 4)},
    )


def assert_equal(new, old):
    assert new.X.names == old.X.names
    for name in old.X.names:
        assert new.X.kind(name) == old.X.kind(name)
        np.testing.assert_array_equal(new.X.present[name], old.X.present[name])
        for row in np.flatnonzero(old.X.present[name]):
            np.testing.assert_array_equal(new.X[name][row], old.X[name][row])
    for a, b in ((new.labels, old.labels), (new.splits, old.splits)):
        assert list(a) == list(b)
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])
    np.testing.assert_array_equal(new.ids, old.ids)
    np.testing.assert_array_equal(new.groups, old.groups)


def test_npz_there_and_back(tmp_path):
    path = tmp_path / "new" / "d.npz"
    write_npz(rich(), path)
    assert_equal(read(path), rich())
    assert read(path).name == "d"
    assert [p.name for p in path.parent.iterdir()] == ["d.npz"]
    write_npz(rich()[[3, 1]], path)
    assert_equal(read(path), rich()[[3, 1]])
    with np.load(path, allow_pickle=False) as plain:  # numpy alone can read it
        assert plain["t"].tolist() == [" x ", ""]


def test_modalities_alone_are_written_too(tmp_path):
    write_npz({"a": np.eye(2)}, tmp_path / "d.npz")
    assert read(tmp_path / "d.npz").X["a"].tolist() == np.eye(2).tolist()


def test_load_takes_paths(tmp_path):
    write_npz({"a": np.eye(2)}, tmp_path / "d.npz")
    assert len(load(tmp_path / "d.npz")) == len(load(str(tmp_path / "d.npz"))) == 2


def test_names_chosen_by_the_caller(tmp_path):
    path = npz(tmp_path, a=np.eye(2), b=np.eye(2), **{"label:x": [1, 2], "label:y": [3, 4]})
    data = read(path, ["b"], labels=["y", "x"])
    assert data.X.names == ("b",) and list(data.labels) == ["y", "x"]
    with pytest.raises(
        ParameterError, match=r"modalities: expected some of \['a', 'b'\], got 'c'"
    ):
        read(path, ["c"])
    with pytest.raises(ParameterError, match=r"labels: expected some of \['x', 'y'\], got 'z'"):
        read(path, labels=["z"])
    with pytest.raises(ParameterError, match="are for tables"):
        read(path, {"a": "c:vector"})


def test_names_without_colons_mean_the_same(tmp_path):
    path = npz(
        tmp_path,
        label=np.eye(2),
        label__present=[1, 0],
        label__kind_of=[1, 2],
        split__own=["train", "test"],
    )
    data = read(path)
    assert data.X.names == ("label",) and data.X.present["label"].tolist() == [True, False]
    assert list(data.labels) == ["kind_of"] and list(data.splits) == ["own"]


def test_bytes_are_text(tmp_path):
    path = npz(tmp_path, t=np.array(["é".encode(), b"b"]), id=np.array([b"x", b"y"]))
    assert read(path).X["t"] == ["é", "b"] and read(path).ids.tolist() == ["x", "y"]
    with pytest.raises(DataError, match=r"key 't', row 1: expected text in UTF-8"):
        read(npz(tmp_path, t=np.array([b"b", b"\xff"])))


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"a": np.eye(2), "b": np.eye(3)}, ShapeError, r"d\.npz: every modality.*'a' 2, 'b' 3"),
        ({"a": [[1.0], [np.nan]]}, DataError, r"d\.npz: modality 'a'.*NaN at row 1, column 0"),
        ({"a": [1.0, 2.0]}, ShapeError, r"modality 'a'.*values\[:, None\]"),
        ({"a": 3.0}, ShapeError, r"key 'a': expected an entry for each row, got one value"),
        ({"a": [[1j]]}, DataError, r"modality 'a': expected real numbers or str"),
        ({"a": [["x", "y"]]}, ShapeError, r"modality 'a': expected one text per row"),
        ({"a": np.zeros((0, 2))}, DataError, "expected rows, got none"),
        ({"shared": np.eye(2)}, ModalityError, "'shared' is reserved"),
        ({"a__b": np.eye(2)}, ModalityError, "may not hold '__'"),
        ({"label:y": [1, 2]}, ModalityError, r"no modality among the keys \['label:y'\]"),
        ({"label:": [1, 2]}, DataError, r"key 'label:': a name must follow"),
        ({"a": np.eye(2), "b__present": [1, 1]}, ModalityError, r"'b' is not a modality; .*'a'"),
        (
            {"a": np.eye(2), "a__present": [1, 1, 1]},
            ShapeError,
            "presence of modality 'a'.*2 rows",
        ),
        ({"a": np.eye(2), "a__present": [2, 0]}, DataError, "presence of modality 'a'"),
        ({"a": np.eye(2), "label:y": [1, 2, 3]}, ShapeError, r"d\.npz: label 'y'.*2 rows.*\(3,\)"),
        ({"a": np.eye(2), "label:y": [1, np.nan]}, DataError, "label 'y'.*nan at row 1"),
        ({"a": np.eye(2), "label:y": [1, 2], "label__y": [1, 2]}, DataError, "label 'y' is there"),
        ({"a": np.eye(2), "id": [1, 1]}, DataError, "ids: expected unique ids"),
        ({"a": np.eye(2), "id": [1]}, ShapeError, "ids: expected 2 entries, got 1"),
        ({"a": np.eye(2), "group": np.eye(2)}, ShapeError, r"key 'group': expected shape \(2,\)"),
        ({"a": np.eye(2), "split": ["train", "dev"]}, DataError, r"split 'split'.*\['dev'\]"),
        ({"a": np.eye(2), "a__lengths": [1, 2]}, ShapeError, "lengths add up to 3, .*shape"),
        ({"a": np.eye(2), "a__lengths": [3, -1]}, DataError, "'a__lengths': expected whole"),
        ({"a": np.eye(2), "a__kind": "smell"}, DataError, "'a__kind': expected one of .*'smell'"),
        ({"a": np.eye(2), "a__kind": "image"}, ShapeError, "declared 'image'"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, error, said):
    with pytest.raises(error, match=said):
        read(npz(tmp_path, **arrays))


def test_python_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "d.npz", a=np.eye(2), b=np.array([Trap()], dtype=object))
    np.save(tmp_path / "b.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match=r"d\.npz, key 'b': it holds Python objects.*dtype=str"):
        read(tmp_path / "d.npz")
    with pytest.raises(FileError, match=r"b\.npy: it holds Python objects"):
        read(tmp_path)
    (tmp_path / "b.npy").write_bytes(b"cos\nmkdir\n(S'sprung'\ntR.")
    with pytest.raises(FileError, match=r"b\.npy: it holds Python objects"):
        read(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_damage_is_told_and_nothing_else_is_raised(tmp_path):
    path = tmp_path / "d.npz"
    write_npz({"a": np.arange(20.0).reshape(10, 2)}, path)
    whole = path.read_bytes()
    for cut in (0, 1, 30, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match=r"d\.npz: expected an \.npz file"):
            read(path)
    refused = 0
    for at in range(0, len(whole), 3):
        bad = bytearray(whole)
        bad[at] ^= 0xFF
        path.write_bytes(bad)
        try:
            read(path)
        except (FileError, DataError) as error:
            refused += "d.npz" in str(error)
    assert refused > len(whole) // 3 * 0.8  # the rest are fields of a zip that nobody reads
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError, match=r"key 'readme\.txt': .*it is no array"):
        read(path)


def test_what_is_not_there_or_of_another_kind(tmp_path):
    for missing in ("none.npz", "none", "none.xyz"):
        with pytest.raises(FileError, match=f"{missing}: no such file"):
            read(tmp_path / missing)
    with pytest.raises(FileError, match=r"none\.csv: cannot be read; No such file"):
        read(tmp_path / "none.csv", SPEC)
    with pytest.raises(FileError, match=r"none: expected a folder of \.npy files"):
        read_npy_folder(tmp_path / "none")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(FileError, match=r"expected an \.npz file, .*'\.xlsx'"):
        read(tmp_path / "t.xlsx")
    with pytest.raises(FileError, match="found none"):
        read(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FileError, match=r"folder\.npz: cannot be read"):
        read_npz(tmp_path / "folder.npz")


def test_a_folder_is_memory_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(8.0).reshape(4, 2))
    np.save(tmp_path / "t.npy", np.array(["p", "q", "", "s"]))
    np.save(tmp_path / "t__present.npy", np.array([1, 1, 0, 1]))
    np.save(tmp_path / "label:y.npy", np.arange(4))
    np.save(tmp_path / "split.npy", np.array(["train", "train", "valid", "test"]))
    np.save(tmp_path / "id.npy", np.arange(4))
    (tmp_path / "notes.txt").write_text("passed over")
    (tmp_path / ".hidden.npy").write_text("passed over")
    data = read(tmp_path)
    assert is_lazy(data.X["a"]) and data.X["t"] == ["p", "q", "", "s"]
    assert data.X.present["t"].tolist() == [True, True, False, True]
    assert not is_lazy(data.labels["y"]) and len(data.part("train")) == 2
    assert data.name == tmp_path.name
    assert read(tmp_path, ["a"]).X.names == ("a",)


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((40, 2)))
    whole = (tmp_path / "a.npy").read_bytes()
    for damaged in (b"", whole[:50], whole[:-8], b"\x93NUMPY" + b"\xff" * 200):
        (tmp_path / "a.npy").write_bytes(damaged)
        with pytest.raises(FileError, match=r"a\.npy: "):
            read(tmp_path)


def test_csv_with_absent_cells(tmp_path):
    path = table(tmp_path, 'caption,w,h,kind,n\n"a ""b""",1,2,x,3\n,3,4,y,4\nc, , ,x,5\n')
    data = read(path, SPEC, labels=["kind", "n"])
    assert data.X["words"] == ['a "b"', None, "c"]
    assert data.X.present["size"].tolist() == [True, True, False]
    assert data.X["size"][1].tolist() == [3, 4]
    assert data.labels["kind"].tolist() == ["x", "y", "x"]
    assert data.labels["n"].dtype.kind == "i" and data.labels["n"].tolist() == [3, 4, 5]
    assert data.name == "t"


def test_csv_of_a_spreadsheet(tmp_path):
    """A byte order mark, CRLF, a cell of two lines, blank lines, tabs."""
    body = '\ufeffcaption,w,h\r\n"two\nlines",1,2\r\n\r\né,3,4'
    data = read(table(tmp_path, body), SPEC)
    assert data.X["words"] == ["two\nlines", "é"] and data.X["size"].tolist() == [[1, 2], [3, 4]]
    tabs = table(tmp_path, "caption\tw\th\na, b\t1\t2\n", name="t.tsv")
    assert read(tabs, SPEC).X["words"] == ["a, b"]


def test_columns_that_say_what_they_are(tmp_path):
    header = "id,caption,label:kind,split,group,split:own,g1,g2"
    text = f"{header}\n007,a,x,train,1,,1,2\n7,b,y,,1,test,3,4\n"
    data = read(table(tmp_path, text), {"genes": "g*:vector", "words": "caption"})
    assert data.ids.tolist() == ["007", "7"] and data.groups.tolist() == ["1", "1"]
    assert data.labels["kind"].tolist() == ["x", "y"]
    assert data.splits["split"].tolist() == ["train", ""]
    assert data.splits["own"].tolist() == ["", "test"]
    # group matches g* and is a number; the file's order decides.
    assert data.X["genes"].tolist() == [[1, 1, 2], [1, 3, 4]]
    assert data.X.kind("words").form == "text"
    assert list(read(table(tmp_path, text), {"x": "g1"}, labels=["kind"]).labels) == ["kind"]


def test_kinds_left_out_follow_from_the_cells(tmp_path):
    path = table(tmp_path, "a,b,c:d\n1,x,1\n2.5e3,2,2\n")
    data = read(path, {"p": "a", "q": "b", "r": "a,c:d", "s": "c:d", "u": "a,c:d:waveform"})
    forms = [data.X.kind(m).form for m in "pqrsu"]
    assert forms == ["vector", "text", "vector", "vector", "waveform"]
    assert data.X["r"].tolist() == [[1, 1], [2500, 2]]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        ("1 -2 0", "i", [1, -2, 0]),
        ("1 2.5 1e3", "f", [1, 2.5, 1000]),
        ("007 7 8", "U", ["007", "7", "8"]),
        ("1 x 2", "U", ["1", "x", "2"]),
        ("nan 1 2", "U", ["nan", "1", "2"]),
        ("1_0 1 2", "U", ["1_0", "1", "2"]),
        ("99999999999999999999 1 2", "f", [1e20, 1, 2]),
    ],
)
def test_labels_are_numbers_or_words(tmp_path, cells, kind, values):
    body = "y,w\n" + "\n".join(f"{cell},1" for cell in cells.split())
    y = read(table(tmp_path, body), {"v": "w"}, labels=["y"]).labels["y"]
    assert y.dtype.kind == kind and y.tolist() == values


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("caption,w,h\na,1\n", FileError, r"t\.csv, line 2: expected 3 cells .*got 2"),
        ('caption,w,h\n"a\nb",1,2\nc,1,2,3\n', FileError, r"line 4: expected 3 cells .*got 4"),
        ("caption,w,h\na,1,2\nb,x,2\n", DataError, r"line 3, column 'w': .*got 'x'"),
        ('caption,w,h\n"a\nb",1,2\nb,1,"1,5"\n', DataError, r"line 4, column 'h': .*got '1,5'"),
        ("caption,w,h\na,1,\n", DataError, r"line 2, column 'h': .*an empty cell"),
        ("caption,w,h\na,nan,1\n", DataError, r"line 2, column 'w': .*finite number, got 'nan'"),
        ("caption,w,h\na,1e999,1\n", DataError, r"line 2, column 'w': .*got '1e999'"),
        ("caption,w,h\na,1_0,1\n", DataError, r"line 2, column 'w': .*got '1_0'"),
        ("caption,w\na,1\n", ParameterError, r"'size': .*t\.csv has no column 'h'.*w \(numbers\)"),
        ("caption;w;h\na;1;2\n", ParameterError, r"separated by commas, not semicolons"),
        ("caption,w,w\na,1,2\n", FileError, r"line 1: expected different .*\['w'\] twice"),
        ("caption,w,h\n", FileError, r"expected rows below"),
        ("", FileError, r"it is empty"),
        ("\n\n", FileError, r"it is empty"),
        ('caption,w,h\na,1,2\n"b,1,2\n', FileError, r"line 3: "),
        ('caption,w,h\n"a"b,1,2\n', FileError, r"line 2: "),
        ("caption,w,h\n" + "x" * 200_000 + ",1,2\n", FileError, r"line 2: field larger"),
        ("id,caption,w,h\n1,a,1,2\n1,b,1,2\n", DataError, r"t\.csv: ids: .*'1'.* twice"),
        ("id,caption,w,h\n,a,1,2\n", DataError, r"line 2, column 'id': .*empty cell"),
        ("label:y,caption,w,h\nx,a,1,2\n,b,1,2\n", DataError, r"line 3, column 'label:y'"),
        ("split,caption,w,h\nfold1,a,1,2\n", DataError, r"split 'split'.*\['fold1'\]"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, error, said):
    with pytest.raises(error, match=said):
        read(table(tmp_path, text), SPEC)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("caption,w,h\na,1,2\nmüll,3,4\n".encode("latin-1"), "line 3: expected UTF-8, .*0xfc"),
        ("caption,w,h\na,1,2\n".encode("utf-16"), "line 1: expected UTF-8, got byte 0xff"),
        (b"\x89PNG\r\n\x1a\n", "line 1: expected UTF-8, got byte 0x89"),
    ],
)
def test_another_encoding_is_named_with_its_line(tmp_path, body, said):
    with pytest.raises(FileError, match=said):
        read(table(tmp_path, body), SPEC)


@pytest.mark.parametrize(
    ("modalities", "said"),
    [
        (None, r"say which columns make which modality.*columns: caption, w \(numbers\)"),
        ({}, "say which columns"),
        ({"p": "caption:image"}, "'p': a table's columns are one of .*got 'image'"),
        ({"p": "w,caption:text"}, r"'p': text is one column, got \['w', 'caption'\]"),
        ({"p": "z*:vector"}, r"no column 'z\*'"),
        ({"p": ""}, "no column ''"),
        ({"p": ["w"]}, "'p': expected 'column,column:kind', got list"),
        (["w"], "needs columns by modality"),
    ],
)
def test_modalities_that_a_table_cannot_make(tmp_path, modalities, said):
    with pytest.raises(ParameterError, match=said):
        read(table(tmp_path, "caption,w,h\na,1,2\n"), modalities)


def test_an_unknown_label_lists_the_columns(tmp_path):
    with pytest.raises(ParameterError, match=r"labels: .* no column 'z'; columns: caption, w"):
        read_csv(table(tmp_path, "caption,w,h\na,1,2\n"), SPEC, labels=["z"])


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"a": csr_array(np.eye(2))}, DataError, "'a': sparse matrices cannot be written"),
        ({"id": np.eye(2)}, ModalityError, "modality 'id': .*rename it"),
        ({"split": np.eye(2)}, ModalityError, "modality 'split'"),
        ([np.eye(2)], ModalityError, "modalities have names"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, data, error, said):
    with pytest.raises(error, match=said):
        write_npz(data, tmp_path / "d.npz")
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "d.npz"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:

        def full(*_args, **_kwargs):
            raise OSError(28, "No space left on device")

        patch.setattr(np.lib.format, "write_array", full)
        with pytest.raises(FileError, match=r"d\.npz: No space left on device.*unchanged"):
            write_npz({"a": np.eye(2)}, path)
        patch.setattr(np.lib.format, "write_array", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_npz({"a": np.eye(2)}, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileError, match=r"cannot write .*sub\.npz"):
        write_npz({"a": np.eye(2)}, path / "sub.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FileError, match="a folder of that name is in the way"):
        write_npz({"a": np.eye(2)}, tmp_path / "folder.npz")
    with pytest.raises(ParameterError, match=r"ends in \.npz, got 'codes'"):
        write_npz({"a": np.eye(2)}, "codes")


@pytest.mark.parametrize("where", ["labels", "ids"])
def test_labels_and_ids_are_of_one_type(where):
    mixed = np.array([1, "x"], dtype=object)
    given = {"labels": {"y": mixed}} if where == "labels" else {"ids": mixed}
    with pytest.raises(DataError, match="a number at row 0 and a string at row 1"):
        Dataset(Modalities({"a": np.eye(2)}), **given)
