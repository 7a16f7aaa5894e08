"""Tables in Parquet: the same answers as from CSV, and what is said of columns of other types."""

import sys

import numpy as np
import pytest
from PIL import Image

from triptych.errors import DataError, FileError, MissingDependencyError, ParameterError
from triptych.files import read, read_parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(tmp_path, **columns):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_the_same_as_from_csv(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (3, 2), {"a": "red", "b": "blue"}[name]).save(tmp_path / f"{name}.png")
    path = write(
        tmp_path,
        id=["p", "q", "r"],
        path=["a.png", None, "b.png"],
        caption=pa.array(["red", "none", None]).dictionary_encode(),
        w=pa.array([1, None, 3], pa.int32()),
        h=[0.5, None, 2.5],
        kind=["x", "y", "x"],
        split=["train", "test", ""],
    )
    (tmp_path / "t.csv").write_text(
        "id,path,caption,w,h,kind,split\np,a.png,red,1,0.5,x,train\nq,,none,,,y,test\n"
        "r,b.png,,3,2.5,x,\n"
    )
    spec = {"image": "path:picture:3x2", "words": "caption", "size": "w,h"}
    one, two = (read(p, spec, labels=["kind"]) for p in (path, tmp_path / "t.csv"))
    assert one.X.names == two.X.names and one.X.kinds == two.X.kinds
    for name in one.X.names:
        present = two.X.present[name]
        np.testing.assert_array_equal(one.X.present[name], present)
        for row in np.flatnonzero(present):
            np.testing.assert_array_equal(one.X[name][row], two.X[name][row])
    assert one.ids.tolist() == two.ids.tolist() and one.labels["kind"].tolist() == ["x", "y", "x"]
    assert one.splits["split"].tolist() == two.splits["split"].tolist() and one.name == "t"


def test_a_column_of_lists_is_a_vector(tmp_path):
    fixed = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    path = write(tmp_path, v=fixed, u=[[1], None, [5]], label=[1, 2, 3])
    data = read(path, {"v": "v", "both": "v,u:vector"}, labels=["label"])
    assert data.X["v"].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert data.X.present["v"].tolist() == [True, False, True]
    assert data.X["both"][2].tolist() == [3, 4, 5] and data.labels["label"].dtype.kind == "i"
    ragged = write(tmp_path, v=[[1.0], [2.0, 3.0]])
    with pytest.raises(DataError, match=r"t\.parquet, row 1, column 'v': expected 1 numbers.* 2"):
        read(ragged, {"v": "v"})


@pytest.mark.parametrize(
    ("columns", "spec", "error", "said"),
    [
        ({"v": [1.0, float("nan")]}, "v", DataError, r"row 1, column 'v': .*got nan"),
        ({"v": ["1", "x"]}, "v:vector", DataError, r"row 1, column 'v': .*got 'x'"),
        ({"v": [1]}, "w", ParameterError, r"no column 'w'; columns: v \(numbers\)"),
        (
            {"v": [b"\x89PNG"]},
            "v:text",
            DataError,
            "column 'v': expected text or numbers, got bin",
        ),
        ({"v": [{"a": 1}]}, "v:text", DataError, "column 'v': expected text or numbers, got str"),
        ({"p": ["no.png"]}, "p:picture", FileError, r"t\.parquet, row 0, column 'p': .*no such"),
        ({"v": pa.array([], pa.float64())}, "v", FileError, "expected rows, got none"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, columns, spec, error, said):
    with pytest.raises(error, match=said):
        read(write(tmp_path, **columns), {"m": spec})


def test_modalities_must_be_named(tmp_path):
    with pytest.raises(ParameterError, match=r"say which columns .*columns: v \(numbers\)"):
        read(write(tmp_path, v=[1]))


def test_damage_and_absence(tmp_path):
    path = write(tmp_path, v=[1, 2])
    whole = path.read_bytes()
    for cut in (0, 4, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match=r"t\.parquet: cannot be read as Parquet"):
            read(path, {"v": "v"})
    with pytest.raises(FileError, match=r"none\.parquet: cannot be read"):
        read(tmp_path / "none.parquet", {"v": "v"})


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'triptych\[parquet\]'"):
        read_parquet(tmp_path / "t.parquet", {"v": "v"})
