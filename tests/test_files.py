"""Readers: what comes back, and what is said of files that cannot be used."""

import numpy as np
import pytest

from triptych import Dataset, Modalities
from triptych.errors import DataError, FileError, ParameterError
from triptych.files import read, write_npz

SPEC = {"words": "caption:text", "size": "w,h:vector"}


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_npz_there_and_back(tmp_path):
    X = Modalities(
        {"a": np.arange(6.0).reshape(3, 2), "t": ["x", None, "z"]}, present={"a": [1, 1, 0]}
    )
    old = Dataset(
        X,
        {"y": np.array([1, 0, 1])},
        ids=np.array(["p", "q", "r"]),
        groups=np.array([0, 0, 1]),
        splits={"s": np.array(["train", "test", ""])},
    )
    write_npz(old, tmp_path / "d.npz")
    new = read(tmp_path / "d.npz")
    assert new.X["t"] == ["x", "", "z"]
    assert new.X.present["t"].tolist() == [True, False, True]
    assert new.X.present["a"].tolist() == [True, True, False]
    assert new.labels["y"].tolist() == [1, 0, 1] and new.ids[2] == "r"
    assert new.splits["s"][1] == "test" and new.groups.tolist() == [0, 0, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]


def test_folder_is_memory_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    np.save(tmp_path / "label:y.npy", np.arange(4))
    data = read(tmp_path)
    assert isinstance(data.X["a"], np.memmap) and data.labels["y"].tolist() == [0, 1, 2, 3]


def test_csv_with_absent_cells(tmp_path):
    path = table(tmp_path, 'caption,w,h,kind,n\n"a ""b""",1,2,x,3\n,3,4,y,4\nc,,,x,5\n')
    data = read(path, SPEC, labels=["kind", "n"])
    assert data.X["words"] == ['a "b"', None, "c"]
    assert data.X.present["size"].tolist() == [True, True, False]
    assert data.X["size"][1].tolist() == [3, 4]
    assert data.labels["kind"].tolist() == ["x", "y", "x"] and data.labels["n"].sum() == 12


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("caption,w,h\na,1\n", FileError, r"line 2: expected 3 cells.*got 2"),
        ("caption,w,h\na,1,2\nb,x,2\n", DataError, r"line 3, column 'w'.*got 'x'"),
        ("caption,w,h\na,1,\n", DataError, r"line 2, column 'h'.*an empty cell"),
        ("caption,w,h\na,nan,1\n", DataError, r"'size'.*NaN at row 0, column 0"),
        ("caption,w\na,1\n", ParameterError, r"names column 'h'"),
        ("caption,w,w\n", FileError, r"'w' stands twice"),
        ("caption,w,h\n", DataError, r"no rows"),
        ("", FileError, r"no header"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, error, said):
    with pytest.raises(error, match=said):
        read(table(tmp_path, text), SPEC)


def test_another_encoding_is_named_with_its_line(tmp_path):
    path = table(tmp_path, "caption,w,h\na,1,2\nmüll,3,4\n", "latin-1")
    with pytest.raises(FileError, match=r"line 3: expected UTF-8, got byte 0xfc"):
        read(path, SPEC)


def test_damaged_and_pickled_archives(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, a=np.zeros((3, 2)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FileError, match="not an npz archive"):
        read(path)
    np.savez(path, a=np.array([{}, {}], dtype=object))
    with pytest.raises(FileError, match="key 'a' cannot be read"):
        read(path)
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "none.npz")


def test_rows_that_do_not_fit_name_the_file(tmp_path):
    np.savez(tmp_path / "d.npz", a=np.zeros((3, 2)), b=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"d\.npz.*'a' 3, 'b' 2"):
        read(tmp_path / "d.npz")


def test_an_old_file_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "d.npz"
    path.write_bytes(b"old")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(FileError, match="No space left"):
        write_npz(Dataset(Modalities({"a": np.zeros((2, 2))})), path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
