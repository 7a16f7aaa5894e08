import math

import pytest
import torch
from torch import nn

from triptych.errors import ParameterError, ShapeError
from triptych.losses.adversarial import domain_adversarial, reverse_gradient


def test_reversal_is_the_identity_forward_and_minus_it_backward():
    z = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    made = reverse_gradient(z, 0.3)
    assert torch.equal(made, z)
    made.square().sum().backward()
    torch.testing.assert_close(z.grad, -0.3 * 2 * z.detach())
    with pytest.raises(ParameterError, match="factor"):
        reverse_gradient(z, -1.0)


def test_each_modality_weighs_the_same_and_the_value_is_the_formula(torch_draws):
    codes = [torch.randn(5, 3), torch.randn(2, 3)]
    classifier = nn.Linear(3, 2)
    total = 0.0
    for at, z in enumerate(codes):
        for row in classifier(z).tolist():
            total += (math.log(sum(math.exp(v) for v in row)) - row[at]) / len(z) / 2
    assert domain_adversarial(codes, classifier).item() == pytest.approx(
        math.log(2) - total, rel=1e-5
    )


def test_classifier_goes_downhill_and_codes_uphill(torch_draws):
    a, b = torch.randn(20, 2) + 1, torch.randn(20, 2) - 1
    classifier = nn.Linear(2, 2)
    a.requires_grad_()
    before = domain_adversarial([a, b], classifier)
    before.backward()
    with torch.no_grad():
        # One small step each, against its gradient, as an optimiser would take it.
        for weight in classifier.parameters():
            weight -= 0.1 * weight.grad
        better = domain_adversarial([a, b], classifier)
        misled = domain_adversarial([a - 5 * a.grad, b], classifier)
    # A better classifier tells more, and codes that mislead it tell less.
    assert better > before.detach()
    assert misled < better


def test_what_cannot_be_told_apart_costs_nothing_and_what_can_log_m():
    z = torch.zeros(4, 3)
    blind = domain_adversarial([z, z, z], lambda s: torch.zeros(len(s), 3))
    assert blind.item() == pytest.approx(0, abs=1e-6)  # log 3 in float32
    told = [100 * torch.eye(3)[[at] * 4] for at in range(3)]
    assert domain_adversarial(told, lambda s: s).item() == pytest.approx(math.log(3))
    with pytest.raises(ShapeError, match="two modalities or more"):
        domain_adversarial([z], lambda s: s)
    with pytest.raises(ShapeError, match="logit for each of 2"):
        domain_adversarial([z, z], lambda s: s)
