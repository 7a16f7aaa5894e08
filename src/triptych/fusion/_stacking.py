"""Stacking: a linear model that reads scores which other models gave to rows they had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.nn.targets import Target
from triptych.seeding import generator
from triptych.values import register

# Weight of half the squared coefficients beside the summed loss, scores at unit spread.
RIDGE = 1.0


@register
@dataclass(frozen=True)
class Stacker:
    """Outputs (n, k) as a linear function of scores (n, p) that are brought to unit spread.

    Args:
        mean: Shape (p,).
        scale: Shape (p,), > 0.
        weight: Shape (p, k).
        bias: Shape (k,).
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def outputs(self, scores: Tensor) -> Tensor:
        """Outputs (n, k) of scores (n, p)."""
        mean, scale, weight, bias = (
            torch.from_numpy(np.asarray(v)).to(scores)
            for v in (self.mean, self.scale, self.weight, self.bias)
        )
        return (scores - mean) / scale @ weight + bias


def learn_stacker(scores: NDArray[Any], y: NDArray[Any], target: Target) -> Stacker:
    """Fit by the target's own loss and a ridge, to the optimum of that convex problem.

    Args:
        scores: Shape (n, p).
        y: Labels as numbers, n rows.
        target: What they are.
    """
    values = scores.astype(np.float64)
    mean, spread = values.mean(0), values.std(0)
    scale = np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1.0), spread, 1.0)
    inputs = torch.from_numpy((values - mean) / scale)
    wanted = torch.from_numpy(y if target.task == "classification" else y.astype(np.float64))
    weight = torch.zeros(inputs.shape[1], target.width, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(target.width, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def cost() -> Tensor:
        solver.zero_grad()
        ridge = RIDGE / 2 * weight.square().sum() / len(inputs)
        value = target.loss(inputs @ weight + bias, wanted) + ridge
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(cost)  # type: ignore[no-untyped-call]
    return Stacker(mean, scale, weight.detach().numpy(), bias.detach().numpy())


def folds_of_rows(y: NDArray[Any], target: Target, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold (n,) of every row; classes are spread evenly over folds.

    Args:
        y: Labels as numbers, n rows.
        target: What they are.
        folds: How many.
        seed: Of the order in which rows are dealt.
    """
    order = generator(seed, "folds").permutation(len(y))
    if target.task == "classification":
        order = order[np.argsort(y[order], kind="stable")]
    found = np.empty(len(y), dtype=np.intp)
    found[order] = np.arange(len(y)) % folds
    return found
