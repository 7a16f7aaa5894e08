"""Similarities of tensors: the values of those of arrays, and gradients that are right."""

import pytest
import torch
from torch import Tensor

import triptych
from triptych import similarity as arrays
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.losses import similarity
from triptych.similarity import KERNELS, Kernel

OPTIONS: dict[str, dict] = {
    "polynomial": {"degree": 3, "gamma": 0.5, "offset": 2.0},
    "exponential": {"width": 1.5},
    "rbf": {"width": 1.5},
    "laplacian": {"gamma": 0.5},
}


def draw(n: int = 6, d: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    za, zb = torch.randn(2, n, d, dtype=dtype, generator=generator)
    return za, zb


def paired(name: str, za: Tensor, zb: Tensor) -> Tensor:
    return getattr(similarity, name)(za, zb, **OPTIONS.get(name, {}))


def kernel(name: str) -> Kernel:
    return Kernel(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", KERNELS)
def test_values_are_those_of_arrays(name):
    za, zb = draw()
    expected = torch.from_numpy(arrays.pairwise(kernel(name), za.numpy(), zb.numpy()))
    torch.testing.assert_close(similarity.pairwise(kernel(name), za, zb), expected)
    torch.testing.assert_close(paired(name, za, zb), expected.diagonal())
    opened = arrays.pairwise(name, za.numpy(), zb.numpy())
    torch.testing.assert_close(similarity.pairwise(name, za, zb), torch.from_numpy(opened))


def test_samples_axis_exponent_and_lazy_names():
    za, zb = draw()
    expected = arrays.centred_cosine(za.numpy(), zb.numpy(), axis="samples")
    found = triptych.losses.centred_cosine(za, zb, axis="samples")
    torch.testing.assert_close(found, torch.from_numpy(expected))
    big = 1e3 * za
    assert torch.isfinite(similarity.exponential(big, big, log=True)).all()
    for name in triptych.losses.__all__:
        assert getattr(triptych.losses, name).__name__.rpartition(".")[2] == name


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_those_of_differences(name):
    za, zb = (z.requires_grad_() for z in draw())
    assert torch.autograd.gradcheck(lambda a, b: paired(name, a, b), (za, zb))
    assert torch.autograd.gradcheck(lambda a, b: similarity.pairwise(kernel(name), a, b), (za, zb))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_equal_zero_and_constant_rows(name, dtype):
    za, _ = draw(dtype=dtype)
    za[1], za[2] = 0.0, 0.1
    za[3] = 1e-42 if dtype == torch.float32 else 1e-310  # below what has a finite inverse
    za.requires_grad_()
    for value in (
        paired(name, za, za),
        paired(name, za, za.detach()),
        similarity.pairwise(kernel(name), za),
    ):
        (gradient,) = torch.autograd.grad(value.sum(), za)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


def test_a_zero_row_has_cosine_zero_and_no_gradient():
    za, zb = draw()
    za[0] = 0
    za.requires_grad_()
    found = similarity.cosine(za, zb)
    (gradient,) = torch.autograd.grad(found.sum(), za)
    assert found[0] == 0
    assert (gradient[0] == 0).all()
    assert (gradient[1:] != 0).any()


def test_near_points_in_single_precision_keep_value_and_gradient():
    za, _ = draw(dtype=torch.float32)
    za = 100 * za
    zb = (za + 1e-2).requires_grad_()
    k = Kernel("rbf", width=2e-2)
    found = similarity.pairwise(k, za, zb).diagonal()
    exact_b = zb.detach().double().requires_grad_()
    exact = similarity.rbf(za.double(), exact_b, width=2e-2)
    # Taking off the middle rounds at 1e-5 of a width of 2e-2, in exponents near 1/2.
    torch.testing.assert_close(found.double(), exact, rtol=5e-3, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), zb)
    (expected,) = torch.autograd.grad(exact.sum(), exact_b)
    torch.testing.assert_close(gradient.double(), expected, rtol=5e-3, atol=1e-2)


def test_half_precision_is_computed_in_single():
    za, zb = (z.to(torch.bfloat16) for z in draw())
    assert similarity.cosine(za, zb).dtype == torch.float32
    assert similarity.pairwise("rbf", za, zb).dtype == torch.float32


def test_bad_arguments_are_named():
    za, zb = draw()
    with pytest.raises(ShapeError, match=r"got za \(6, 4\) and zb \(5, 4\)"):
        similarity.rbf(za, zb[:5])
    with pytest.raises(ShapeError, match=r"same d; got \(6, 4\) and \(6, 3\)"):
        similarity.pairwise("rbf", za, zb[:, :3])
    with pytest.raises(ParameterError, match="width"):
        similarity.rbf(za, zb, width=0.0)
    with pytest.raises(ParameterError, match="a name or a Kernel"):
        similarity.pairwise(3, za, zb)  # type: ignore[arg-type]


def test_what_is_no_tensor_of_floating_point_is_named():
    whole, single = torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 2)
    for call, message in (
        (lambda: similarity.cosine(whole, whole), "floating point, got torch.int64"),
        (lambda: similarity.pairwise("rbf", whole), "floating point, got torch.int64"),
        (lambda: similarity.linear([[1.0]], [[1.0]]), "got list; arrays have"),
        (lambda: similarity.pairwise("linear", single, single.double()), "of one dtype"),
    ):
        with pytest.raises(DataError, match=message):
            call()


def test_squares_that_overflow_leave_value_and_gradient_finite():
    far = torch.tensor([[0.0, 1.0], [0.0, 1e200], [1e200, 1e200]], dtype=torch.float64)
    far.requires_grad_()
    found = similarity.pairwise(Kernel("rbf", width=1.0), far)
    torch.testing.assert_close(found, torch.eye(3, dtype=torch.float64))
    found.sum().backward()
    assert torch.isfinite(far.grad).all()
