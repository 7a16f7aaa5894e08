import json
import math

import numpy as np
import pytest
from scipy import sparse

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.features import Features, features_from_state, fit_features, transform_features
from triptych.modalities import Modalities


def test_vectors_are_themselves_and_sparse_stays_sparse():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    X = Modalities({"dense": values, "thin": sparse.csr_matrix(values)})
    out = transform_features(fit_features(X), X)
    assert out["dense"].dtype == np.float64
    np.testing.assert_array_equal(out["dense"], values)
    assert sparse.issparse(out["thin"])
    np.testing.assert_array_equal(out["thin"].toarray(), values)


def test_a_picture_gives_the_same_features_as_bytes_and_as_floats():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    learnt = fit_features(Modalities({"image": images}))["image"]
    whole, unit = learnt.transform(images), learnt.transform(images / 255.0)
    assert whole.shape == (4, 90) == (4, learnt.n_features)
    # float32 keeps 24 bits: one part in 2**24
    np.testing.assert_allclose(whole, unit, atol=2**-23)
    assert whole[1, 7] == pytest.approx(images[1, 0, 1, 1] / 255)


@pytest.mark.parametrize("as_list", [False, True])
def test_sequences_become_mean_and_deviation_over_time(as_list):
    rng = np.random.default_rng(0)
    steps = [rng.normal(size=(4, 3)) for _ in range(5)]
    data = [*steps[:-1], rng.normal(size=(9, 3))] if as_list else np.stack(steps)
    out = transform_features(fit_features(Modalities({"s": data})), Modalities({"s": data}))["s"]
    assert out.shape == (5, 6)
    for row in range(5):
        for j in range(3):
            column = [step[j] for step in data[row]]
            mean = sum(column) / len(column)
            spread = math.sqrt(sum((v - mean) ** 2 for v in column) / len(column))
            assert out[row, j] == pytest.approx(mean)
            assert out[row, 3 + j] == pytest.approx(spread)


def test_waveforms_of_any_length():
    X = Modalities({"sound": [np.array([1.0, 3.0]), np.array([2.0, 2.0, 2.0])]})
    out = fit_features(X)["sound"].transform(X["sound"])
    np.testing.assert_allclose(out, [[2, 1], [2, 0]])


def test_text_is_tfidf_written_out_by_hand():
    texts = ["Red cat", "red dog, RED", "blue cat"]
    X = Modalities({"text": texts})
    learnt = fit_features(X)["text"]
    # by number of texts, then by alphabet
    assert learnt.words == ("cat", "red", "blue", "dog")
    out = learnt.transform(texts)
    idf = {"cat": 2, "red": 2, "blue": 1, "dog": 1}
    idf = {word: math.log(4 / (1 + held)) + 1 for word, held in idf.items()}
    second = np.array([0, 2 * idf["red"], 0, idf["dog"]])
    np.testing.assert_allclose(out.toarray()[1], second / np.linalg.norm(second))
    np.testing.assert_allclose(np.linalg.norm(out.toarray(), axis=1), 1)


def test_text_keeps_the_most_common_words_and_unknown_words_are_zero():
    learnt = fit_features(Modalities({"t": ["a b", "a c", "a"]}), max_text=1)["t"]
    assert learnt.words == ("a",)
    np.testing.assert_array_equal(learnt.transform(["zzz", "a"]).toarray(), [[0], [1]])


def test_text_without_any_word_still_has_a_column():
    learnt = fit_features(Modalities({"t": ["!", "?"]}))["t"]
    assert learnt.transform(["!", "?"]).shape == (2, 1)


def test_absent_rows_are_zero_and_never_read():
    images = np.full((3, 1, 2, 2), 5, dtype=np.uint8)
    X = Modalities(
        {"image": images, "text": ["a b", None, "a"], "x": np.array([[1.0], [np.nan], [2.0]])},
        present={"image": [1, 0, 1], "x": [1, 0, 1]},
    )
    learnt = fit_features(X)
    assert learnt["text"].weights[0] == pytest.approx(1.0)  # log(3 / 3) + 1: two texts, not three
    out = transform_features(learnt, X)
    assert not out["image"][1].any() and out["text"].toarray()[1].sum() == 0 and out["x"][1] == 0
    assert np.isfinite(out["x"]).all()
    thin = sparse.csr_array(np.ones((3, 2)))
    X = Modalities({"thin": thin}, present={"thin": [1, 0, 1]})
    out = transform_features(fit_features(X), X)["thin"]
    np.testing.assert_array_equal(out.toarray(), [[1, 1], [0, 0], [1, 1]])


def test_absent_rows_of_lists_of_sequences():
    X = Modalities({"s": [np.ones((2, 1)), None, np.ones((3, 1))]})
    np.testing.assert_allclose(
        fit_features(X)["s"].transform(X["s"], X.present["s"]), [[1, 0], [0, 0], [1, 0]]
    )


def test_state_survives_json():
    X = Modalities({"text": ["one two", "two"], "image": np.zeros((2, 1, 2, 2))})
    for learnt in fit_features(X).values():
        again = features_from_state(json.loads(json.dumps(learnt.state())))
        assert again == learnt


def test_permuting_rows_permutes_features():
    texts = ["one two", "two three", "one", "three"]
    X = Modalities({"text": texts})
    order = [2, 0, 3, 1]
    a = transform_features(fit_features(X), X)["text"].toarray()
    b = transform_features(fit_features(X[order]), X[order])["text"].toarray()
    np.testing.assert_allclose(b, a[order])


def test_errors_name_the_modality():
    learnt = fit_features(Modalities({"pixels": np.zeros((2, 3))}))["pixels"]
    with pytest.raises(ShapeError, match=r"'pixels'.*\(3,\), got \(4,\)"):
        learnt.transform(np.zeros((2, 4)))
    with pytest.raises(DataError, match=r"'words': row 1 is None"):
        Features("words", "text").transform(["a", None])
    with pytest.raises(ShapeError, match=r"'s': expected 2 columns .* row 0"):
        Features("s", "sequence", (None, 2)).transform([np.zeros((3, 1))])
    with pytest.raises(ParameterError, match="max_text"):
        fit_features(Modalities({"t": ["a"]}), max_text=0)
    with pytest.raises(ParameterError, match="'words'"):
        features_from_state({"name": "t", "form": "text", "shape": []})
