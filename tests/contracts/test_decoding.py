"""Methods with decoders: means over the rows that have a modality, however batches fall."""

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.coordination import SplitAE
from triptych.errors import DataError, ParameterError
from triptych.fission import SharedPrivate
from triptych.fusion import MultimodalAutoencoder, MultimodalVAE, NestedAutoencoder
from triptych.nn.shared_private import Form
from triptych.training.batches import Rows

QUICK = Training(epochs=2, batch_size=32, device="cpu")


def make(cls, **kwargs):
    wide = {"width": 8, "training": QUICK, "random_state": 0, **kwargs}
    return cls(3, **{k: v for k, v in wide.items() if k != "width" or cls is not SplitAE})


METHODS = [
    lambda: make(MultimodalAutoencoder, modality_dropout=0.0),
    lambda: make(NestedAutoencoder, code_steps=3, inference_steps=5),
    lambda: make(SplitAE),
    lambda: make(SharedPrivate, agreement=0.0, separation=0.0, form=Form(withheld=0.0)),
]


def gappy():
    """96 rows of which the first 40 have both modalities and the others the second alone."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(96, 2))
    X = {"a": x @ rng.normal(size=(2, 5)), "b": x @ rng.normal(size=(2, 4))}
    return X, Modalities(X, present={"a": np.arange(96) < 40}), rng.permutation(96)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_rows_moves_no_judgement_where_a_modality_is_absent(method):
    X, gaps, order = gappy()
    model = method().fit(X)
    assert model.score(gaps) == pytest.approx(model.score(gaps[order]), rel=1e-5)
    model.training = Training(epochs=2, batch_size=96, device="cpu")
    one_batch = model.score(gaps)
    model.training = QUICK
    assert model.score(gaps) == pytest.approx(one_batch, rel=1e-5)
    watched = [
        method().fit(X, validation=v).history_["valid"]["loss"] for v in (gaps, gaps[order])
    ]
    assert watched[0] == pytest.approx(watched[1], rel=1e-5)


def test_batches_add_up_to_the_mean_over_rows_that_have_it():
    X, gaps, order = gappy()
    model = make(MultimodalAutoencoder).fit(X)
    rows, each = Rows(gaps, model.inputs_), np.random.default_rng(0).random(96)
    found = 0.0
    for at in np.split(order, (7, 50)):
        batch = rows.take(at)
        there = batch.present["a"]
        found += len(at) / 96 * float(batch.mean(torch.from_numpy(each[at])[there], there, "a"))
    assert found == pytest.approx(each[:40].mean())
    assert rows.share("a") == 40 / 96 and rows.share("b") == 1 and rows.share("b", "a") == 40 / 96


@pytest.mark.parametrize("cls", [MultimodalAutoencoder, NestedAutoencoder, MultimodalVAE, SplitAE])
def test_a_width_without_a_default_is_no_none(cls):
    with pytest.raises(ParameterError, match="n_components: expected a whole number >= 1, got No"):
        cls(None).fit(gappy()[0])


def test_split_autoencoders_judge_rows_that_have_a_source():
    X, gaps, _ = gappy()
    model = make(SplitAE, sources=["a"]).fit(X)
    assert model.codable_rows(gaps).sum() == 40
    with pytest.raises(DataError, match=r"score: no row has any of \['a'\], which is coded"):
        model.score(gaps[40:])
