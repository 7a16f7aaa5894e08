import pytest
import torch
from torch import Tensor

from triptych.errors import ParameterError
from triptych.losses.bounds import infonce_lower_bound
from triptych.nn.critics import BilinearCritic, ConcatCritic, CriticRecipe, SeparableCritic
from triptych.nn.densities import (
    AutoregressiveDensity,
    DensityRecipe,
    GaussianDensity,
)

CRITICS = (
    SeparableCritic(width=8, n_components=3),
    SeparableCritic(width=8, depth=0),
    ConcatCritic(width=8),
    ConcatCritic(width=8, depth=1, tile=5),
    BilinearCritic(),
    BilinearCritic(rank=1),
)
DENSITIES = (
    GaussianDensity(width=8),
    GaussianDensity(depth=0),
    AutoregressiveDensity(width=8),
    AutoregressiveDensity(width=7, depth=1, components=1),
    AutoregressiveDensity(width=9, depth=3, components=2),
)


@pytest.mark.parametrize("recipe", CRITICS, ids=repr)
def test_a_score_depends_on_its_pair_alone_and_reaches_every_parameter(
    recipe: CriticRecipe, torch_draws: None
) -> None:
    critic = recipe.build(4, 3)
    x, y = torch.randn(6, 4), torch.randn(5, 3)
    scores = critic(x, y)
    assert scores.shape == (6, 5)
    one_by_one = torch.stack(
        [torch.cat([critic(x[i : i + 1], y[j : j + 1])[0] for j in range(5)]) for i in range(6)]
    )
    torch.testing.assert_close(scores, one_by_one)
    infonce_lower_bound(critic(x, torch.randn(6, 3)), both=True).backward()
    still = [name for name, p in critic.named_parameters() if p.grad is None]
    assert still == []


def test_tiles_change_neither_scores_nor_gradients(torch_draws: None) -> None:
    whole, tiled = ConcatCritic(width=8).build(4, 3), ConcatCritic(width=8, tile=7).build(4, 3)
    tiled.load_state_dict(whole.state_dict())
    x, y = torch.randn(9, 4), torch.randn(9, 3)
    for critic in (whole, tiled):
        infonce_lower_bound(critic(x, y)).backward()
    for a, b in zip(whole.parameters(), tiled.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    with torch.no_grad():
        torch.testing.assert_close(whole(x, y), tiled(x, y))


def test_a_concatenated_critic_is_one_network_on_the_pair(torch_draws: None) -> None:
    critic = ConcatCritic(width=8, depth=2).build(2, 3)
    x, y = torch.randn(4, 2), torch.randn(4, 3)
    weight = torch.cat([critic.of_x.weight, critic.of_y.weight], 1)
    hidden = torch.cat([x, y], 1) @ weight.T + critic.of_x.bias
    torch.testing.assert_close(critic.rest(hidden)[:, 0], critic(x, y).diagonal())


@pytest.mark.parametrize("n_x", [4, 0])
@pytest.mark.parametrize("recipe", DENSITIES, ids=repr)
def test_densities_integrate_to_one(recipe: DensityRecipe, n_x: int, torch_draws: None) -> None:
    model = recipe.build(n_x, 2)
    for p in model.parameters():  # away from the start, where much is zero
        p.data += 0.3 * torch.randn_like(p)
    grid = torch.linspace(-30, 30, 601)
    y = torch.cartesian_prod(grid, grid)  # (361201, 2)
    with torch.no_grad():
        x = torch.randn(1, n_x)
        total = model.log_density(x.expand(len(y), -1), y).double().exp().sum() * 0.1**2
    # A sum over a grid of step 0.1 for normals of spread about 1.
    assert total.item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("recipe", DENSITIES, ids=repr)
def test_all_pairs_are_the_pairs_one_by_one(recipe: DensityRecipe, torch_draws: None) -> None:
    model = recipe.build(4, 3)
    x, y = torch.randn(5, 4), torch.randn(6, 3)
    table = model.log_densities(x, y)
    assert table.shape == (5, 6)
    for j in range(6):
        column = model.log_density(x, y[j].expand(5, -1))
        torch.testing.assert_close(table[:, j], column, rtol=1e-4, atol=1e-4)


def test_gaussian_density_is_torch_s_own(torch_draws: None) -> None:
    model = GaussianDensity(width=8).build(4, 3)
    x, y = torch.randn(5, 4), torch.randn(5, 3)
    mean, log_scale = model._moments(x)
    theirs = torch.distributions.Normal(mean, log_scale.exp()).log_prob(y).sum(-1)
    torch.testing.assert_close(model.log_density(x, y), theirs)


@pytest.mark.parametrize("q", [1, 2, 5])
def test_a_column_is_given_only_those_before_it(q: int, torch_draws: None) -> None:
    model = AutoregressiveDensity(width=16, depth=3, components=2).build(2, q)

    def outputs(y: Tensor) -> Tensor:
        h = model.first(y) + model.context(torch.ones(1, 2))
        for layer in model.hidden:
            h = layer(torch.relu(h))
        return model.last(torch.relu(h)).view(q, -1)

    slopes = torch.autograd.functional.jacobian(outputs, torch.randn(1, q))[:, :, 0]
    reach = slopes.abs().sum(1) > 0  # (column read, column given)
    assert torch.equal(reach, torch.ones(q, q).tril(-1).bool())


def test_mistakes_are_named() -> None:
    with pytest.raises(ParameterError, match=r"ConcatCritic\.depth: .* >= 1, got 0"):
        ConcatCritic(depth=0)
    with pytest.raises(ParameterError, match=r"SeparableCritic\.width"):
        SeparableCritic(width=0)
    with pytest.raises(ParameterError, match=r"BilinearCritic\.rank"):
        BilinearCritic(rank=0)
    with pytest.raises(ParameterError, match=r"AutoregressiveDensity\.components"):
        AutoregressiveDensity(components=0)
