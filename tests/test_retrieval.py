"""The index of codes: what it finds, with whom it belongs, and how it is kept."""

import json
import sys

import numpy as np
import pytest

import triptych
from triptych import Training
from triptych.coordination import CCA, CLIP
from triptych.errors import (
    DataError,
    MissingDependencyError,
    ModalityError,
    NotFittedError,
    ParameterError,
    PersistenceError,
    ShapeError,
)
from triptych.fission import SharedPrivate
from triptych.neighbours import nearest
from triptych.retrieval import Index

WORDS = ("red fox", "blue fish", "green bird", "old stone")


@pytest.fixture(scope="module")
def data():
    """Vectors and words of four things; rows 1 and 5 lack the vector, row 2 the words."""
    rng = np.random.default_rng(0)
    things = rng.integers(0, 4, 40)
    vectors = rng.normal(size=(4, 6))[things] + 0.1 * rng.normal(size=(40, 6))
    words = [WORDS[i] for i in things]
    words[2] = None
    return triptych.Modalities(
        {"v": vectors, "words": words}, present={"v": ~np.isin(np.arange(40), (1, 5))}
    )


@pytest.fixture(scope="module")
def model(data):
    whole = np.all(list(data.present.values()), axis=0)
    return CCA(n_components=3, ridge=0.5).fit(data[whole])


def test_found_rows_are_rows_of_the_data(data, model):
    index = Index.build(model, data, "v")
    assert len(index) == 38 and index.n_rows == 40 and index.width == 3 and not index.approximate
    query = {"words": ["red fox", "green bird"]}
    rows, cosines = index.search(query, k=5, model=model)
    there = np.flatnonzero(data.present["v"])
    expected = nearest(
        model.transform(query)["words"], model.transform(data.select("v")[there])["v"], 5
    )
    np.testing.assert_array_equal(rows, there[expected[0]])
    np.testing.assert_allclose(cosines, expected[1], atol=1e-6)  # codes kept in float32 or not
    by_codes = index.search(model.transform(query)["words"], k=5)
    np.testing.assert_array_equal(by_codes[0], rows)
    assert not set(rows.ravel()) & {1, 5}
    assert [data["words"][i] for i in rows[:, 0]] == ["red fox", "green bird"]


def test_codes_in_pieces_are_the_codes(data, model, monkeypatch):
    whole = Index.build(model, data, "v").search(np.eye(3), k=38)
    monkeypatch.setattr("triptych.retrieval.CODED", 7)
    pieces = Index.build(model, data, "v").search(np.eye(3), k=38)
    np.testing.assert_array_equal(pieces[0], whole[0])


def test_saved_and_read_again(tmp_path, data, model):
    index = Index.build(model, data, "v")
    index.save(tmp_path / "index")
    model.save(tmp_path / "model")
    again, copy = Index.load(tmp_path / "index"), triptych.load(tmp_path / "model")
    assert repr(again) == repr(index) and "of 'v' by CCA" in repr(again)
    query = {"words": ["old stone"]}
    for a, b in zip(
        again.search(query, model=copy), index.search(query, model=model), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    index.save(tmp_path / "index")  # in place of the old one
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == [
        "arrays.safetensors",
        "manifest.json",
    ]


def test_a_model_and_its_copy_have_one_checksum_and_no_other(tmp_path, data, model):
    whole = data[np.all(list(data.present.values()), axis=0)]
    few = Training(epochs=1, batch_size=8)
    clip = CLIP(n_components=4, training=few, random_state=0).fit(whole)
    other = CLIP(n_components=4, training=few, random_state=1).fit(whole)
    clip.save(tmp_path / "clip")
    assert triptych.load(tmp_path / "clip").checksum() == clip.checksum() != other.checksum()
    index = Index.build(clip, data, "v")
    with pytest.raises(DataError, match=r"do not belong together: .*with a CLIP \(.*another CLIP"):
        index.search({"words": ["a"]}, model=other)
    with pytest.raises(DataError, match=r"built with a CLIP \(.*\), this is a CCA \("):
        index.search(np.eye(4), model=model)
    with pytest.raises(NotFittedError):
        CCA().checksum()


def test_the_shared_part_is_what_fission_is_searched_by(data):
    whole = data[np.all(list(data.present.values()), axis=0)]
    model = SharedPrivate(training=Training(epochs=1, batch_size=8), random_state=0).fit(whole)
    index = Index.build(model, data, "v")
    rows, _ = index.search({"words": ["red fox"]}, k=3, model=model)
    codes = model.transform({"words": ["red fox"]})["shared"]
    np.testing.assert_array_equal(index.search(codes, k=3)[0], rows)


def test_questions_that_have_no_answer(data, model):
    index = Index.build(model, data, "v")
    with pytest.raises(
        ModalityError, match=r"query: unknown modality 'sound'; CCA .*'v', 'words'"
    ):
        index.search({"sound": np.eye(3)}, model=model)
    with pytest.raises(ModalityError, match="expected one modality, got"):
        index.search({"v": np.eye(6)[:1], "words": ["a"]}, model=model)
    with pytest.raises(DataError, match="query: row 1 of 'words' is absent"):
        index.search({"words": ["a", None]}, model=model)
    with pytest.raises(ParameterError, match="coded by a model"):
        index.search({"words": ["a"]})
    with pytest.raises(ParameterError, match="k: expected at most 38, the rows indexed; got 39"):
        index.search(np.eye(3), k=39)
    with pytest.raises(ShapeError, match="codes of 3 columns as in the index, got 4"):
        index.search(np.eye(4), k=1)
    with pytest.raises(DataError, match="NaN at row 0"):
        index.search([[np.nan, 0, 0]], k=1)
    with pytest.raises(ModalityError, match=r"unknown modality 'x'; the model was fitted on"):
        Index.build(model, data, "x")
    with pytest.raises(ModalityError, match=r"unknown modality 'words'; X has \['v'\]"):
        Index.build(model, data.select("v"), "words")
    gone = data.with_present({"v": np.zeros(40, bool)})
    with pytest.raises(ModalityError, match="'v' is absent in all 40 rows"):
        Index.build(model, gone, "v")


def test_codes_of_unknown_origin(model):
    index = Index.from_codes(np.eye(3, dtype=np.float32), modality="v")
    assert index.search([[0, 1, 0]], k=1)[0].tolist() == [[1]]
    with pytest.raises(DataError, match="unknown origin"):
        index.search({"words": ["a"]}, model=model)
    known = Index.from_codes(np.eye(3), modality="v", model=model)
    assert known.search({"words": ["red fox"]}, k=1, model=model)[0].shape == (1, 1)
    with pytest.raises(DataError, match="at least one row"):
        Index.from_codes(np.zeros((0, 3)))
    with pytest.raises(ShapeError, match=r"codes \(n, d\), got shape \(3,\)"):
        Index.from_codes([1, 2, 3])
    with pytest.raises(DataError, match=r"codes.*NaN at row 1"):
        Index.from_codes([[1.0], [np.nan]])
    with pytest.raises(ModalityError, match="unknown modality 'x'"):
        Index.from_codes(np.eye(3), modality="x", model=model)


def test_what_is_no_index_or_was_altered(tmp_path, data, model):
    model.save(tmp_path / "model")
    with pytest.raises(PersistenceError, match=r"model is no index: it holds a .*CCA"):
        Index.load(tmp_path / "model")
    Index.build(model, data, "v").save(tmp_path / "index")
    with pytest.raises(PersistenceError, match=r"holds a triptych\.retrieval\.Index"):
        triptych.load(tmp_path / "index")
    with pytest.raises(PersistenceError, match="no such folder"):
        Index.load(tmp_path / "none")
    arrays = tmp_path / "index" / "arrays.safetensors"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-1])
    with pytest.raises(PersistenceError, match="altered or cut short"):
        Index.load(tmp_path / "index")
    arrays.write_bytes(whole)
    manifest = tmp_path / "index" / "manifest.json"
    told = json.loads(manifest.read_text())
    told["parameters"]["checksum"] = "0" * 64
    manifest.write_text(json.dumps(told, indent=1, sort_keys=True))
    with pytest.raises(PersistenceError, match="was altered"):
        Index.load(tmp_path / "index")


def test_without_faiss_the_extra_is_named(data, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'triptych\[search\]'"):
        Index.build(model, data, "v", approximate=True)


def test_the_graph_finds_nearly_all_and_tells_true_cosines(tmp_path):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(3000, 16)).astype(np.float32)
    exact, graph = Index.from_codes(codes), Index.from_codes(codes, approximate=True)
    assert graph.approximate and "approximate" in repr(graph)
    queries = rng.normal(size=(50, 16))
    (a, _), (b, t) = exact.search(queries), graph.search(queries)
    found = np.mean([len(set(x) & set(y)) / 10 for x, y in zip(a, b, strict=True)])
    assert found > 0.95  # a graph of 3,000 nodes that looks at 64 of them; measured 0.998
    assert (np.diff(t, axis=1) <= 0).all()
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    q = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(t, np.einsum("qkd,qd->qk", unit[b], q), atol=1e-6)  # float32 units
    graph.save(tmp_path / "graph")
    again = Index.load(tmp_path / "graph")
    np.testing.assert_array_equal(again.search(queries)[0], b)
    few = Index.from_codes(codes[:5], approximate=True)
    np.testing.assert_array_equal(
        few.search(queries, k=5)[0], Index.from_codes(codes[:5]).search(queries, k=5)[0]
    )


def test_codes_that_change_later_are_not_the_ones_indexed():
    rng = np.random.default_rng(0)
    codes, query = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(2, 4))
    index = Index.from_codes(codes)
    rows, cosines = index.search(query, 3)
    codes *= -50
    again = index.search(query, 3)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], cosines)


def test_a_model_before_fit_and_ragged_queries_are_refused(data):
    with pytest.raises(NotFittedError, match="CLIP is not fitted"):
        Index.build(CLIP(4), data, "a")
    with pytest.raises(ShapeError, match="query: expected codes"):
        Index.from_codes(np.eye(3)).search([[1, 2], [3]], k=1)
