"""What must hold whatever the table: chain rule, symmetry, data processing, invariances, dit."""

import dit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from triptych.information import (
    conditional_entropy,
    conditional_mutual_information,
    cross_entropy,
    dual_total_correlation,
    entropy,
    interaction_information,
    joint_entropy,
    js_divergence,
    kl_divergence,
    mutual_information,
    o_information,
    total_correlation,
)

ROUNDING = 1e-12
quick = settings(max_examples=60, deadline=None, derandomize=True)


def tables(shape):
    """Probability tables, some of whose cells are 0."""

    def scaled(weights):
        total = weights.sum()
        return weights / total if total else np.full(weights.shape, 1 / weights.size)

    whole = st.integers(0, 9).map(float)
    return arrays(float, shape, elements=whole).map(scaled)


def samples(k=3, n=40):
    return arrays(np.int64, (n, 3), elements=st.integers(0, k - 1))


@quick
@given(tables((3, 2, 4)))
def test_chain_rules(p):
    def mi(q):
        return float(mutual_information(probabilities=q))

    pairs = mi(p.reshape(3, 8))  # I(X; Y, Z)
    assert pairs == pytest.approx(
        mi(p.sum(axis=2))
        + float(conditional_mutual_information(probabilities=p.transpose(0, 2, 1))),
        abs=ROUNDING,
    )
    joint = float(joint_entropy(probabilities=p))
    assert joint == pytest.approx(
        float(entropy(probabilities=p.sum(axis=(0, 2))))
        + float(conditional_entropy(probabilities=p.transpose(0, 2, 1).reshape(12, 2))),
        abs=ROUNDING,
    )


@quick
@given(tables((3, 3)), st.permutations(range(3)))
def test_symmetry_bounds_and_one_to_one_maps(p, order):
    found = float(mutual_information(probabilities=p))
    assert found == pytest.approx(float(mutual_information(probabilities=p.T)), abs=ROUNDING)
    assert found == pytest.approx(float(mutual_information(probabilities=p[order])), abs=ROUNDING)
    least = min(float(entropy(probabilities=p.sum(axis=a))) for a in (0, 1))
    assert 0 <= found <= least + ROUNDING


@quick
@given(tables((3, 3)), arrays(float, (3, 4), elements=st.integers(1, 9).map(float)))
def test_data_processing(p, channel):
    """X - Y - Z: what passes through a channel can only lose."""
    channel = channel / channel.sum(axis=1, keepdims=True)
    p_xz = p @ channel
    assert float(mutual_information(probabilities=p_xz)) <= (
        float(mutual_information(probabilities=p)) + ROUNDING
    )


@quick
@given(tables((6,)), tables((6,)))
def test_divergences(p, q):
    kl = float(kl_divergence(probabilities=(p, q)))
    js = float(js_divergence(probabilities=(p, q)))
    assert kl >= 0 and (kl == np.inf) == bool(((p > 0) & (q == 0)).any())
    assert 0 <= js <= np.log(2) + ROUNDING
    assert js == pytest.approx(float(js_divergence(probabilities=(q, p))), abs=ROUNDING)
    assert float(cross_entropy(probabilities=(p, q))) == pytest.approx(
        float(entropy(probabilities=p)) + kl, abs=1e-10
    )
    assert float(kl_divergence(probabilities=(p, p))) == 0


@quick
@given(samples(), st.sampled_from(["plug-in", "grassberger", "miller-madow", "jackknife"]))
def test_of_samples_as_of_their_frequencies_and_in_any_order(rows, estimator):
    x, y, z = rows.T
    found = conditional_mutual_information(x, y, z, estimator=estimator)
    order = np.random.default_rng(0).permutation(len(x))
    again = conditional_mutual_information(
        np.array(["c", "a", "b"])[x[order]], 7 - y[order], z[order], estimator=estimator
    )
    assert found.value == pytest.approx(again.value, abs=ROUNDING)
    assert found.standard_error == pytest.approx(again.standard_error, abs=1e-9)
    assert np.isfinite([found.value, found.standard_error, *found.interval]).all()
    whole = mutual_information(x, np.stack([y, z], axis=1), estimator=estimator).value
    parts = mutual_information(x, z, estimator=estimator).value + found.value
    assert whole == pytest.approx(parts, abs=1e-10)
    if estimator == "plug-in":
        table = np.zeros((3, 3, 3))
        np.add.at(table, (x, y, z), 1 / len(x))
        exact = float(conditional_mutual_information(probabilities=table))
        assert found.value == pytest.approx(exact, abs=1e-10)


@quick
@given(samples())
def test_what_many_variables_share(rows):
    x, y, z = rows.T
    by = {"estimator": "plug-in"}
    total = float(total_correlation(x, y, z, **by))
    dual = float(dual_total_correlation(x, y, z, **by))
    assert min(total, dual) >= -ROUNDING
    assert float(o_information(x, y, z, **by)) == pytest.approx(total - dual, abs=1e-10)
    # Of three variables O-information and interaction information are the same.
    assert float(interaction_information(x, y, z, **by)) == pytest.approx(total - dual, abs=1e-10)
    assert float(total_correlation(x, y, **by)) == pytest.approx(
        float(mutual_information(x, y, **by)), abs=1e-10
    )
    assert float(mutual_information(x, x, **by)) == pytest.approx(
        float(entropy(x, **by)), abs=1e-10
    )


def as_dit(p):
    outcomes = ["".join(map(str, at)) for at in np.ndindex(*p.shape)]
    return dit.Distribution(outcomes, p.ravel().tolist())


@pytest.mark.parametrize("seed", range(4))
def test_dit_agrees(seed):
    rng = np.random.default_rng(seed)
    p = rng.random((2, 3, 2, 2)) * (rng.random((2, 3, 2, 2)) > 0.3)
    p /= p.sum()
    d = as_dit(p)
    every = [[0], [1], [2], [3]]
    pairs = [
        (entropy(probabilities=p), dit.shannon.entropy(d)),
        (total_correlation(probabilities=p), dit.multivariate.total_correlation(d, every)),
        (
            dual_total_correlation(probabilities=p),
            dit.multivariate.dual_total_correlation(d, every),
        ),
        (interaction_information(probabilities=p), dit.multivariate.coinformation(d, every)),
        (o_information(probabilities=p), dit.multivariate.o_information(d, every)),
        (
            conditional_mutual_information(probabilities=p[..., 0] / p[..., 0].sum()),
            dit.multivariate.coinformation(as_dit(p[..., 0] / p[..., 0].sum()), [[0], [1]], [2]),
        ),
    ]
    for ours, theirs in pairs:
        assert float(ours.to("bits")) == pytest.approx(theirs, abs=1e-9)  # dit keeps 1e-9
    q = rng.random(5)
    q /= q.sum()
    r = rng.random(5)
    r /= r.sum()
    both = [dit.Distribution([str(i) for i in range(5)], v.tolist()) for v in (q, r)]
    assert float(kl_divergence(probabilities=(q, r), unit="bits")) == pytest.approx(
        dit.divergences.kullback_leibler_divergence(*both), abs=1e-9
    )
    assert float(js_divergence(probabilities=(q, r), unit="bits")) == pytest.approx(
        dit.divergences.jensen_shannon_divergence(both), abs=1e-9
    )


def test_signs_of_interaction():
    x, y = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    by = {"estimator": "plug-in", "unit": "bits"}
    assert float(interaction_information(x, y, x ^ y, **by)) == pytest.approx(-1)
    assert float(interaction_information(x, x, x, **by)) == pytest.approx(1)
    assert float(o_information(x, x, x, **by)) == pytest.approx(1)
    assert float(o_information(x, y, x ^ y, **by)) == pytest.approx(-1)
    assert float(dual_total_correlation(x, y, x ^ y, **by)) == pytest.approx(2)
