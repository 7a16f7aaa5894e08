"""Similarity of rows: identities, formulas written plainly, near points and extreme scales."""

import math

import numpy as np
import pytest

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.similarity import (
    KERNELS,
    Kernel,
    centred_cosine,
    cosine,
    exponential,
    laplacian,
    linear,
    median_gamma,
    median_width,
    pairwise,
    polynomial,
    rbf,
    tiles,
)

PAIRED = {
    "cosine": cosine,
    "centred_cosine": centred_cosine,
    "linear": linear,
    "polynomial": lambda X, Y: polynomial(X, Y, degree=3, gamma=0.5, offset=2.0),
    "exponential": lambda X, Y: exponential(X, Y, width=1.5),
    "rbf": lambda X, Y: rbf(X, Y, width=1.5),
    "laplacian": lambda X, Y: laplacian(X, Y, gamma=0.5),
}
SET = {
    "polynomial": Kernel("polynomial", degree=3, gamma=0.5, offset=2.0),
    "exponential": Kernel("exponential", width=1.5),
    "rbf": Kernel("rbf", width=1.5),
    "laplacian": Kernel("laplacian", gamma=0.5),
}


def draw(n=7, p=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), rng.normal(size=(n, p))


def by_hand(name, x, y):
    """One pair of rows, number by number."""
    if name == "centred_cosine":
        x, y = [v - sum(x) / len(x) for v in x], [v - sum(y) / len(y) for v in y]
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    if name in ("cosine", "centred_cosine"):
        return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    squared = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    absolute = sum(abs(a - b) for a, b in zip(x, y, strict=True))
    return {
        "linear": dot,
        "polynomial": (0.5 * dot + 2) ** 3,
        "exponential": math.exp(dot / 1.5**2),
        "rbf": math.exp(-squared / (2 * 1.5**2)),
        "laplacian": math.exp(-0.5 * absolute),
    }[name]


@pytest.mark.parametrize("name", KERNELS)
def test_equals_the_formula_number_by_number(name):
    X, Y = draw()
    expected = np.array([[by_hand(name, x, y) for y in Y] for x in X])
    np.testing.assert_allclose(pairwise(SET.get(name, name), X, Y), expected, rtol=1e-11)
    np.testing.assert_allclose(PAIRED[name](X, Y), expected.diagonal(), rtol=1e-11)


@pytest.mark.parametrize("name", KERNELS)
def test_tiles_are_the_rows_of_the_whole_and_symmetric_psd(name):
    X, _ = draw(n=23)
    whole = pairwise(name, X)
    for rows in (1, 4, 23, 100):
        parts = list(tiles(name, X, X, rows=rows))
        assert [p.start for p, _ in parts] == list(range(0, 23, rows))
        np.testing.assert_allclose(np.vstack([b for _, b in parts]), whole, rtol=1e-12)
    np.testing.assert_allclose(whole, whole.T, rtol=1e-12)
    values = np.linalg.eigvalsh(whole)
    assert values[0] > -1e-12 * values[-1]  # rounding of 23 rows


def test_centred_cosine_is_pearson_along_the_axis_named():
    X, Y = draw(n=9, p=5)
    over_features = [np.corrcoef(x, y)[0, 1] for x, y in zip(X, Y, strict=True)]
    np.testing.assert_allclose(centred_cosine(X, Y, axis="features"), over_features, rtol=1e-12)
    over_samples = [np.corrcoef(X[:, j], Y[:, j])[0, 1] for j in range(5)]
    np.testing.assert_allclose(centred_cosine(X, Y, axis="samples"), over_samples, rtol=1e-12)
    with pytest.raises(ParameterError, match="axis: expected one of 'features', 'samples'"):
        centred_cosine(X, Y, axis="rows")


def quadratic_map(X):
    """Features whose inner products are (x·y + 1)²: squares, products, the columns, and 1."""
    p = X.shape[1]
    pairs = [math.sqrt(2) * X[:, i] * X[:, j] for i in range(p) for j in range(i)]
    return np.column_stack([X**2, *pairs, math.sqrt(2) * X, np.ones(len(X))])


def test_the_explicit_map_has_the_polynomial_kernel_as_inner_product():
    X, Y = draw(p=3)
    np.testing.assert_allclose(
        quadratic_map(X) @ quadratic_map(Y).T,
        pairwise(Kernel("polynomial", degree=2, gamma=1.0, offset=1.0), X, Y),
        rtol=1e-12,
    )


def separates(F, inside):
    """Whether a plane has all rows marked on one side: a linear programme that is feasible."""
    from scipy.optimize import linprog

    sign = np.where(inside, 1.0, -1.0)
    A = -sign[:, None] * np.column_stack([F, np.ones(len(F))])
    return linprog(np.zeros(A.shape[1]), A, -np.ones(len(A)), bounds=(None, None)).status == 0


def test_rings_are_separable_after_the_map_and_not_before():
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    X, inside = np.vstack([ring, 3 * ring]), np.arange(40) < 20
    assert not separates(X, inside)
    assert separates(quadratic_map(X), inside)


def test_on_the_sphere_rbf_is_the_exponential_up_to_a_constant():
    X, Y = draw()
    X, Y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (X, Y))
    np.testing.assert_allclose(
        rbf(X, Y, width=0.7), math.exp(-1 / 0.7**2) * exponential(X, Y, width=0.7), rtol=1e-12
    )


def test_the_log_of_the_exponential_does_not_overflow():
    X = np.full((1, 4), 1e3)
    np.testing.assert_allclose(exponential(X, X, width=1.0, log=True), [4e6])
    assert exponential(X, X)[0] == np.inf
    np.testing.assert_allclose(
        np.log(exponential(*draw(), width=2.0)), exponential(*draw(), width=2.0, log=True)
    )


@pytest.mark.parametrize("name", ["cosine", "centred_cosine"])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_zero_and_constant_rows_give_zero_and_scales_do_not_matter(name, scale):
    X, Y = draw(p=3)
    X[2] = 0.0 if name == "cosine" else 0.1  # 0.1 three times has a mean that rounds
    found = PAIRED[name](scale * X, Y)
    assert found[2] == 0
    np.testing.assert_allclose(found, PAIRED[name](X, Y), rtol=1e-12)
    np.testing.assert_allclose(pairwise(name, scale * X, Y).diagonal(), found, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_points_far_from_the_origin_keep_their_digits(dtype):
    rng = np.random.default_rng(1)
    eps = np.finfo(dtype).eps
    X = (1e3 + 100 * rng.normal(size=(6, 5))).astype(dtype)
    Y = (X + (1e3 * eps * 50 * rng.normal(size=X.shape)).astype(dtype)).astype(dtype)
    gap = (X.astype(float) - Y.astype(float)) ** 2
    width = float(np.sqrt(gap.sum(axis=1).mean()))
    expected = np.exp(-gap.sum(axis=1) / (2 * width**2))
    # Differences of near numbers are exact; the middle that is taken off before rounds once.
    found = pairwise(Kernel("rbf", width=width), X, Y).diagonal()
    np.testing.assert_allclose(found, expected, atol=0.05)
    np.testing.assert_allclose(rbf(X, Y, width=width), expected, rtol=100 * eps)
    assert (pairwise(Kernel("rbf", width=width), X).diagonal() == 1).all()
    assert found.dtype == dtype


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_single_precision_is_close_by_either_road(spread):
    X, Y = (spread * v.astype(np.float32) for v in draw(n=40, p=20))
    kernel = Kernel("rbf", width=3.0)
    found = pairwise(kernel, X, Y)
    assert found.dtype == np.float32
    # Exponents up to 32 are sums of numbers that round at 6e-8 of their size.
    np.testing.assert_allclose(
        found, pairwise(kernel, X.astype(float), Y.astype(float)), atol=1e-5
    )
    assert (found <= 1).all()


def test_median_heuristic_and_its_degenerate_rows():
    X, _ = draw(n=30)
    i, j = np.triu_indices(30, 1)
    squared = ((X[i] - X[j]) ** 2).sum(axis=1)
    assert median_width(X) == pytest.approx(math.sqrt(np.median(squared) / 2))
    assert median_gamma(X) == pytest.approx(1 / np.median(np.abs(X[i] - X[j]).sum(axis=1)))
    assert median_width(1e200 * X) == pytest.approx(1e200 * median_width(X))
    many, _ = draw(n=400)
    assert median_width(many, rows=50) == median_width(many, rows=50, random_state=0)
    assert median_width(many, rows=50) != median_width(many, rows=50, random_state=1)
    # 24 chosen rows of 400 and all of them agree within the spread of a median.
    assert median_width(many, rows=100) == pytest.approx(median_width(many), rel=0.2)
    twice = np.zeros((10, 2))
    twice[9] = [3, 4]
    assert median_width(twice) == pytest.approx(math.sqrt(25 / 2))
    with pytest.raises(DataError, match="all 5 rows drawn are equal"):
        median_width(np.ones((5, 2)))
    with pytest.raises(DataError, match="needs 2 rows; got 1"):
        median_width(np.ones((1, 2)))


def test_kernels_learn_what_is_left_open():
    X, _ = draw(n=20)
    assert Kernel("rbf").learnt(X).width == median_width(X)
    assert Kernel("rbf", width=2.0).learnt(X).width == 2.0
    assert Kernel("laplacian").learnt(X).gamma == median_gamma(X)
    learnt = Kernel("polynomial").learnt(X)
    assert (learnt.degree, learnt.offset) == (2, 1.0)
    assert learnt.gamma == pytest.approx(1 / (X**2).sum(axis=1).mean())
    assert Kernel("cosine").learnt(X) == Kernel("cosine")


def test_a_function_is_a_kernel_if_its_shape_is_right():
    X, Y = draw()
    np.testing.assert_array_equal(pairwise(lambda A, B: A @ B.T, X, Y), X @ Y.T)
    with pytest.raises(ShapeError, match=r"of shape \(7, 7\); got float64 \(7,\)"):
        pairwise(lambda A, B: A.sum(axis=1), X, Y)


def test_bad_arguments_are_named():
    X, Y = draw()
    with pytest.raises(ShapeError, match=r"got X \(7, 4\) and Y \(6, 4\)"):
        cosine(X, Y[:6])
    with pytest.raises(ShapeError, match="X has 4 and Y 3"):
        pairwise("linear", X, Y[:, :3])
    with pytest.raises(ShapeError, match="X: expected rows of real numbers"):
        rbf(X[0], Y[0])
    with pytest.raises(ParameterError, match="kernel: expected one of 'cosine'"):
        Kernel("gaussian")
    with pytest.raises(ParameterError, match="kernel 'linear' has no width"):
        Kernel("linear", width=1.0)
    for bad in ({"width": 0.0}, {"width": math.nan}, {"width": math.inf}, {"width": "1"}):
        with pytest.raises(ParameterError, match="width"):
            Kernel("rbf", **bad)
    with pytest.raises(ParameterError, match="degree: expected a whole number >= 1"):
        Kernel("polynomial", degree=1.5)
    with pytest.raises(ParameterError, match="offset"):
        polynomial(X, Y, offset=-1.0)
    with pytest.raises(ParameterError, match="rows: expected a whole number >= 1"):
        list(tiles("linear", X, Y, rows=0))


def test_what_is_not_finite_is_named():
    bad = np.array([[0.0, 1.0], [np.nan, 2.0], [3.0, 1.0]])
    for call in (
        lambda: cosine(bad, bad),
        lambda: pairwise("rbf", bad),
        lambda: median_width(bad),
    ):
        with pytest.raises(DataError, match="X: expected finite numbers, got nan at row 1, col"):
            call()


def test_squares_that_overflow_leave_the_kernel_in_its_range():
    far = np.array([[0.0, 1.0], [0.0, 1e200], [1e200, 1e200]])
    found = pairwise(Kernel("rbf", width=1.0), far)
    np.testing.assert_array_equal(found, np.eye(3))
