"""Restricted Boltzmann machines with sparse hidden units: a layer learnt before the whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import TrainingError
from triptych.values import register


@register
@dataclass(frozen=True)
class RBM:
    """How layers are learnt greedily by contrastive divergence, before the network as a whole.

    Weights begin near zero: a hundred steps or fewer leave them there, which is a worse start for
    the network than none. On few rows take more epochs and a larger step.

    Args:
        epochs: Passes over the rows for each layer; 0 leaves layers as they were drawn.
        learning_rate: Step size. Gaussian visible units need a small one.
        batch_size: Rows per step.
        momentum: In the end; 0.5 in the first fifth of the steps.
        sparsity: Weight of the penalty on mean activations.
        target: Mean activation that units are drawn to, in (0, 1).
        weight_decay: Pull of weights to zero in each step, as a share.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 100
    momentum: float = 0.9
    sparsity: float = 1.0
    target: float = 0.05
    weight_decay: float = 2e-4

    def __post_init__(self) -> None:
        check_number("RBM.epochs", self.epochs, low=0, integer=True)
        check_number("RBM.learning_rate", self.learning_rate, low=0, open_low=True)
        check_number("RBM.batch_size", self.batch_size, low=1, integer=True)
        check_number("RBM.momentum", self.momentum, low=0, high=0.999)
        check_number("RBM.sparsity", self.sparsity, low=0)
        check_number("RBM.target", self.target, low=1e-6, high=1 - 1e-6)
        check_number("RBM.weight_decay", self.weight_decay, low=0)


@dataclass(frozen=True)
class Machine:
    r"""Weights of a machine with binary hidden units.

    .. math:: E(v, h) = -\sum_j b_j h_j - \sum_{ij} v_i w_{ij} h_j
              + \begin{cases} \tfrac12 \sum_i (v_i - c_i)^2 & \text{gaussian } v \\
              -\sum_i c_i v_i & \text{binary } v \end{cases}

    Args:
        w: Shape (p, k).
        b: Of the hidden units, (k,).
        c: Of the visible ones, (p,).
        gaussian: Whether visible units are normal with variance 1; else binary.
    """

    w: Tensor
    b: Tensor
    c: Tensor
    gaussian: bool

    def hidden(self, v: Tensor) -> Tensor:
        """p(h = 1 | v), (n, k)."""
        return torch.sigmoid(v @ self.w + self.b)

    def visible(self, h: Tensor) -> Tensor:
        """Mean of v given h, (n, p)."""
        field = h @ self.w.T + self.c
        return field if self.gaussian else torch.sigmoid(field)

    def free_energy(self, v: Tensor) -> Tensor:
        """-log sum over h of exp(-E(v, h)), (n,)."""
        inside = torch.nn.functional.softplus(v @ self.w + self.b).sum(1)
        if self.gaussian:
            return 0.5 * (v - self.c).square().sum(1) - inside
        return -v @ self.c - inside


def train_rbm(
    data: Tensor, n_hidden: int, recipe: RBM, *, gaussian: bool, generator: torch.Generator
) -> Machine:
    """Learn a machine by contrastive divergence with one step.

    Args:
        data: Visible units (n, p): standardised values, or chances in [0, 1] for binary ones.
        n_hidden: k.
        recipe: How.
        gaussian: Whether visible units are normal; else binary.
        generator: Of the first weights, the order of rows, and the states drawn.

    Returns:
        The machine. The penalty ``sparsity * sum (target - mean activation)²`` moves the hidden
        biases, as is usual.

    Raises:
        TrainingError: Weights are no longer finite.

    References:
        Hinton 2002, Neural Computation 14 (contrastive divergence); Lee, Ekanadham, Ng 2008, NIPS
        (the penalty); Ngiam et al. 2011, section 3.1.
    """
    n, p = data.shape
    w = 0.01 * torch.randn(p, n_hidden, generator=generator)
    start = torch.logit(torch.tensor(recipe.target))
    b, c = start.repeat(n_hidden), data.mean(0).clone()
    if not gaussian:
        c = torch.logit(c.clamp(0.01, 0.99))
    speeds = [torch.zeros_like(part) for part in (w, b, c)]
    steps, done = recipe.epochs * -(-n // recipe.batch_size), 0
    for _ in range(recipe.epochs):
        order = torch.randperm(n, generator=generator)
        for at in range(0, n, recipe.batch_size):
            v = data[order[at : at + recipe.batch_size]]
            now = Machine(w, b, c, gaussian)
            h = now.hidden(v)
            drawn = (torch.rand(h.shape, generator=generator) < h).float()
            again = now.visible(drawn)
            h_again = now.hidden(again)
            size = len(v)
            quiet = recipe.target - h.mean(0)  # (k,)
            slopes = (
                (v.T @ h - again.T @ h_again) / size - recipe.weight_decay * w,
                (h - h_again).mean(0) + 2 * recipe.sparsity * quiet * (h * (1 - h)).mean(0),
                (v - again).mean(0),
            )
            momentum = 0.5 if done < steps / 5 else recipe.momentum
            for speed, slope in zip(speeds, slopes, strict=True):
                speed.mul_(momentum).add_(slope, alpha=recipe.learning_rate)
            w, b, c = (part + speed for part, speed in zip((w, b, c), speeds, strict=True))
            done += 1
    if not all(bool(torch.isfinite(part).all()) for part in (w, b, c)):
        raise TrainingError(
            "pretraining: a machine's weights are no longer finite. Lower RBM.learning_rate."
        )
    return Machine(w, b, c, gaussian)
