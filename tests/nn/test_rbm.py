"""Restricted Boltzmann machines beside sums over all their states."""

import itertools

import pytest
import torch

from triptych.errors import ParameterError, TrainingError
from triptych.nn.rbm import RBM, Machine, train_rbm


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def energy(machine, v, h):
    """The energy written out."""
    total = -float(machine.b @ h)
    for i in range(len(v)):
        for j in range(len(h)):
            total -= float(v[i] * machine.w[i, j] * h[j])
        total += float(
            0.5 * (v[i] - machine.c[i]) ** 2 if machine.gaussian else -machine.c[i] * v[i]
        )
    return total


def states(k):
    return [torch.tensor(s, dtype=torch.float32) for s in itertools.product((0, 1), repeat=k)]


@pytest.mark.parametrize("gaussian", [True, False])
def test_posteriors_are_those_of_the_energy(gaussian):
    make = seeded()
    machine = Machine(
        torch.randn(3, 4, generator=make),
        torch.randn(4, generator=make),
        torch.randn(3, generator=make),
        gaussian,
    )
    v = torch.randn(3, generator=make) if gaussian else torch.tensor([1.0, 0.0, 1.0])
    weight = torch.tensor([-energy(machine, v, h) for h in states(4)]).softmax(0)
    wanted = sum(p * h for p, h in zip(weight, states(4), strict=True))
    torch.testing.assert_close(machine.hidden(v[None])[0], wanted, rtol=1e-4, atol=1e-5)
    total = torch.logsumexp(torch.tensor([-energy(machine, v, h) for h in states(4)]), 0)
    torch.testing.assert_close(machine.free_energy(v[None])[0], -total, rtol=1e-4, atol=1e-4)
    h = torch.tensor([1.0, 0.0, 1.0, 1.0])
    if gaussian:  # the energy's minimum over v
        best = machine.visible(h[None])[0].requires_grad_()
        loss = 0.5 * (best - machine.c).square().sum() - best @ machine.w @ h
        (slope,) = torch.autograd.grad(loss, best)
        torch.testing.assert_close(slope, torch.zeros(3), atol=1e-5, rtol=0)
    else:
        odds = torch.tensor([-energy(machine, s, h) for s in states(3)]).softmax(0)
        mean = sum(p * s for p, s in zip(odds, states(3), strict=True))
        torch.testing.assert_close(machine.visible(h[None])[0], mean, rtol=1e-4, atol=1e-5)


def test_learning_raises_the_exact_likelihood():
    # Two prototypes of six bits, each bit flipped with chance 0.05.
    make = seeded(1)
    prototypes = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    data = prototypes[torch.randint(0, 2, (400,), generator=make)]
    data = (data - (torch.rand(data.shape, generator=make) < 0.05).float()).abs()

    def likelihood(recipe):
        machine = train_rbm(data, 3, recipe, gaussian=False, generator=seeded())
        all_v = torch.stack(states(6))
        log_z = torch.logsumexp(-machine.free_energy(all_v), 0)
        return float((-machine.free_energy(data) - log_z).mean())

    recipe = {"learning_rate": 0.05, "sparsity": 0.0, "batch_size": 20, "weight_decay": 0.0}
    drawn, learnt = likelihood(RBM(epochs=0, **recipe)), likelihood(RBM(epochs=40, **recipe))
    # Independent bits cost 6 log 2 = 4.16 nats; the truth log 2 + 6 H(0.05) = 1.88.
    assert drawn < -4.1
    # One step of contrastive divergence is biased; far more than half of the way is enough.
    assert learnt > -2.8


def test_units_become_as_sparse_as_asked():
    data = torch.randn(500, 8, generator=seeded(2))
    means = [
        float(
            train_rbm(
                data,
                12,
                RBM(epochs=30, learning_rate=0.01, sparsity=10.0, target=t),
                gaussian=True,
                generator=seeded(),
            )
            .hidden(data)
            .mean()
        )
        for t in (0.05, 0.3)
    ]
    assert means[0] == pytest.approx(0.05, abs=0.03)
    assert means[1] == pytest.approx(0.3, abs=0.05)


def test_what_cannot_be_used_is_named():
    with pytest.raises(ParameterError, match=r"RBM.target: expected a number >= 1e-06"):
        RBM(target=0)
    with pytest.raises(TrainingError, match=r"Lower RBM.learning_rate"):
        train_rbm(
            100 * torch.randn(50, 4, generator=seeded()),
            3,
            RBM(learning_rate=1e6, epochs=20),
            gaussian=True,
            generator=seeded(),
        )
