"""Modules that fuse: each is its formula, and what is absent is never read."""

import itertools
import math

import pytest
import torch

from triptych.nn.fusing import (
    Concatenation,
    DiagonalInteraction,
    FiLM,
    GatedUnit,
    GeneralInteraction,
    InteractionChain,
    LowRankProduct,
    ModalityAttention,
    OuterProduct,
    outer_size,
)
from triptych.nn.parts import Parts

pytestmark = pytest.mark.usefixtures("torch_draws")
WIDTHS = {"a": 3, "b": 2, "c": 4}
EVEN = dict.fromkeys("abc", 4)
N = 5


def features(widths=WIDTHS, n=N):
    return {m: torch.randn(n, w, dtype=torch.float64) for m, w in widths.items()}


def there(widths=WIDTHS, n=N, **gone):
    mask = {m: torch.ones(n, dtype=torch.bool) for m in widths}
    for m, rows in gone.items():
        mask[m][rows] = False
    return mask


def chain(form, widths):
    main, *others = widths
    if form == "general":
        steps = {
            m: GeneralInteraction(6 if i else widths[main], widths[m], 6)
            for i, m in enumerate(others)
        }
    elif form == "diagonal":
        steps = {m: DiagonalInteraction(widths[m], widths[main]) for m in others}
    else:
        steps = {m: FiLM(widths[m], widths[main], 7) for m in others}
        for step in steps.values():
            torch.nn.init.normal_(step.generator[2].weight)
    return InteractionChain(main, Parts(steps))


MAKE = {
    "concatenation": lambda: Concatenation(WIDTHS, 6, 8),
    "additive attention": lambda: ModalityAttention(tuple(EVEN), 4, "additive"),
    "dot attention": lambda: ModalityAttention(tuple(EVEN), 4, "dot"),
    "raw gates": lambda: GatedUnit(WIDTHS, 6, gate_input="raw", tied=False),
    "projected gates": lambda: GatedUnit(WIDTHS, 6, gate_input="projected", tied=False),
    "outer product": lambda: OuterProduct(WIDTHS, 6),
    "low rank": lambda: LowRankProduct(WIDTHS, 6, 2),
    "general": lambda: chain("general", WIDTHS),
    "diagonal": lambda: chain("diagonal", WIDTHS),
    "film": lambda: chain("film", WIDTHS),
}


def made(name):
    return MAKE[name]().double(), EVEN if "attention" in name else WIDTHS


@pytest.mark.parametrize("name", MAKE)
def test_what_is_absent_is_never_read(name):
    module, widths = made(name)
    h, mask = features(widths), there(widths, a=[0, 4], b=[1, 4], c=[2, 4])
    code = module(h, mask)
    other = {m: torch.where(mask[m][:, None], v, math.nan) for m, v in h.items()}
    assert torch.equal(module(other, mask), code)
    assert bool(torch.isfinite(code).all())
    module(other, mask).square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in module.parameters())


@pytest.mark.parametrize("name", MAKE)
def test_a_gradient_reaches_every_parameter_and_every_modality(name):
    module, widths = made(name)
    h = {m: v.requires_grad_() for m, v in features(widths).items()}
    mask = there(widths, a=[0], b=[1], c=[2])  # what stands for the absent learns too
    module(h, mask).square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in module.parameters())
    assert all(bool((v.grad != 0).any()) for v in h.values())


@pytest.mark.parametrize("name", MAKE)
def test_rows_do_not_know_one_another(name):
    module, widths = made(name)
    h, mask = features(widths), there(widths, a=[0], b=[1, 3])
    whole = module(h, mask)
    for i in range(N):
        alone = module({m: v[i : i + 1] for m, v in h.items()}, _rows(mask, i))
        torch.testing.assert_close(alone[0], whole[i])


def _rows(mask, i):
    return {m: v[i : i + 1] for m, v in mask.items()}


def test_concatenation_reads_features_side_by_side():
    module = Concatenation(WIDTHS, 6, 8).double()
    h, mask = features(), there(b=[1])
    for i in range(N):
        parts = [h["a"][i], module.absent[1] if i == 1 else h["b"][i], h["c"][i]]
        torch.testing.assert_close(module(h, mask)[i], module.joint(torch.cat(parts)))


@pytest.mark.parametrize("score", ["additive", "dot"])
def test_attention_is_the_softmax_written_out(score):
    module = ModalityAttention(tuple(EVEN), 4, score).double()
    h, mask = features(EVEN), there(EVEN, a=[0], b=[0, 1])
    shares, code = module.shares(h, mask), module(h, mask)
    for i in range(N):
        has = [m for m in "abc" if mask[m][i]]
        raw = {}
        for m in has:
            key = module.key.weight @ h[m][i]
            if score == "additive":
                raw[m] = torch.exp(module.query @ torch.tanh(key + module.key.bias))
            else:
                raw[m] = torch.exp(module.query @ key / math.sqrt(4))
        total = sum(raw.values())
        expected = torch.stack([raw.get(m, 0 * total) / total for m in "abc"])
        torch.testing.assert_close(shares[i], expected)
        mean = sum(raw[m] / total * h[m][i] for m in has)
        torch.testing.assert_close(code[i], mean)
    torch.testing.assert_close(code[0], h["c"][0])  # the only one is all there is


def test_attention_of_nothing_is_zero():
    module = ModalityAttention(tuple(EVEN), 4, "dot").double()
    code = module(features(EVEN), there(EVEN, a=[2], b=[2], c=[2]))
    assert not bool(code[2].any()) and bool(code[1].any())


@pytest.mark.parametrize("gate_input", ["raw", "projected"])
def test_the_tied_unit_is_that_of_the_paper(gate_input):
    widths = {"t": 3, "v": 2}
    module = GatedUnit(widths, 4, gate_input=gate_input, tied=True).double()
    h = features(widths)
    wt, wv = (module.project[m].weight for m in "tv")
    code = module(h, there(widths))
    for i in range(N):
        t, v = h["t"][i], h["v"][i]
        heard = torch.cat([t, v] if gate_input == "raw" else [wt @ t, wv @ v])
        z = 1 / (1 + torch.exp(-(module.gate.weight @ heard)))
        expected = z * torch.tanh(wt @ t) + (1 - z) * torch.tanh(wv @ v)
        torch.testing.assert_close(code[i], expected)


def test_gates_of_several_modalities_need_not_sum_to_one():
    module = GatedUnit(WIDTHS, 6, gate_input="raw", tied=False).double()
    h = features()
    gates, code = module.gates(h, there()), module(h, there())
    for i in range(N):
        heard = torch.cat([h[m][i] for m in "abc"])
        z = [torch.sigmoid(U @ heard) for U in module.gate.weight.split(6)]
        torch.testing.assert_close(gates[:, i], torch.stack(z))
        expected = sum(
            zm * torch.tanh(module.project[m].weight @ h[m][i])
            for m, zm in zip("abc", z, strict=True)
        )
        torch.testing.assert_close(code[i], expected)
    assert float((gates.sum(0) - 1).abs().min().detach()) > 1e-3


def test_gates_of_those_present_keep_the_sum_of_all():
    module = GatedUnit(WIDTHS, 6, gate_input="raw", tied=False).double()
    h, mask = features(), there(b=[0], c=[0, 1])
    gates = module.gates(h, mask)
    for i, has in ((0, "a"), (1, "ab")):
        heard = torch.cat([h[m][i] * mask[m][i] for m in "abc"])
        z = {
            m: torch.sigmoid(U @ heard)
            for m, U in zip("abc", module.gate.weight.split(6), strict=True)
        }
        total = sum(z.values()) / sum(z[m] for m in has)
        for j, m in enumerate("abc"):
            expected = z[m] * total if m in has else torch.zeros(6, dtype=torch.float64)
            torch.testing.assert_close(gates[j, i], expected)
    pair = {"t": 3, "v": 2}
    tied = GatedUnit(pair, 4, gate_input="raw", tied=True).double()
    h = features(pair)
    alone = tied(h, there(pair, v=[0, 1, 2, 3, 4]))
    torch.testing.assert_close(alone, torch.tanh(tied.project["t"](h["t"])))


def test_the_one_that_is_there_speaks_through_a_gate_shut_tight():
    pair = {"t": 3, "v": 2}
    module = GatedUnit(pair, 4, gate_input="raw", tied=True)
    torch.nn.init.constant_(module.gate.weight, -1e4)
    h = {m: torch.ones(2, w) for m, w in pair.items()}
    torch.testing.assert_close(
        module(h, there(pair, n=2, v=[0, 1])), module.project["t"](h["t"]).tanh()
    )


def test_gates_shut_tight_stay_finite_beside_many_that_are_open():
    widths = dict.fromkeys("abcdefgh", 2)
    module = GatedUnit(widths, 4, gate_input="raw", tied=False)
    torch.nn.init.constant_(module.gate.weight, 1e4)
    with torch.no_grad():
        module.gate.weight[:4] = -1e4
    h = {m: torch.ones(3, 2) for m in widths}
    mask = there(widths, n=3, **{m: [0, 1] for m in "bcdefgh"})
    mask["a"][1] = False  # row 1 has nothing
    gates = module.gates(h, mask)
    # One for all eight that it speaks for, less its own.
    torch.testing.assert_close(gates[0, 0], torch.full((4,), 7.0))
    assert not bool(gates[:, 1].any()) and not bool(gates[1:, 0].any())
    module(h, mask).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in module.parameters())


def test_the_outer_product_has_every_product():
    module = OuterProduct(WIDTHS, 6).double()
    h = features()
    products = module.products(h, there(b=[1]))
    assert products.shape == (N, outer_size(WIDTHS)) == (N, 4 * 3 * 5)
    for i in range(N):
        sides = [[1.0, *(h[m][i].tolist() if (m, i) != ("b", 1) else [0.0, 0.0])] for m in "abc"]
        expected = [x * y * z for x, y, z in itertools.product(*sides)]
        torch.testing.assert_close(products[i], torch.tensor(expected, dtype=torch.float64))


def test_an_absent_modality_takes_only_its_own_products_away():
    module, pair = OuterProduct(WIDTHS, 6).double(), OuterProduct({"a": 3, "c": 4}, 6).double()
    with torch.no_grad():
        kept = module.linear.weight.view(6, 4, 3, 5)[:, :, 0]  # where b enters as 1
        pair.linear.weight.copy_(kept.flatten(1))
        pair.linear.bias.copy_(module.linear.bias)
    h = features()
    torch.testing.assert_close(module(h, there(b=list(range(N)))), pair(h, there()))


def test_low_rank_fusion_is_tensor_fusion_with_its_own_tensor():
    low, full = LowRankProduct(WIDTHS, 6, 2).double(), OuterProduct(WIDTHS, 6).double()
    with torch.no_grad():
        low.bias.normal_()
        full.linear.weight.copy_(low.tensor())
        full.linear.bias.copy_(low.bias)
    h, mask = features(), there(a=[0], b=[1])
    torch.testing.assert_close(low(h, mask), full(h, mask))


def test_low_rank_fusion_of_full_rank_is_any_tensor_fusion():
    full = OuterProduct(WIDTHS, 6).double()
    low = LowRankProduct(WIDTHS, 6, 4 * 3).double()
    W = full.linear.weight.view(6, 4, 3, 5)
    with torch.no_grad():
        # One term for each (i, j): it picks entry i of a and j of b, and reads c by W[:, i, j].
        a, b, c = (f.view(-1, 12, 6).zero_() for f in low.factors)
        for r, (i, j) in enumerate(itertools.product(range(4), range(3))):
            a[i, r], b[j, r] = 1, 1
            c[:, r] = W[:, i, j].T
        low.bias.copy_(full.linear.bias)
    h, mask = features(), there(c=[3])
    torch.testing.assert_close(low(h, mask), full(h, mask))


def test_factors_are_parameters_of_the_module():
    names = [name for name, _ in LowRankProduct(WIDTHS, 6, 2).named_parameters()]
    assert names == ["bias", "factors.0", "factors.1", "factors.2"]


def test_low_rank_products_begin_at_the_spread_of_their_inputs():
    widths = dict.fromkeys("abcdef", 50)
    low = LowRankProduct(widths, 400, 8).double()
    code = low(features(widths, 200), there(widths, 200))
    # Heavy tails of a product of six normals: an order of magnitude is what can be told.
    assert 0.3 < float(code.square().mean().sqrt().detach()) < 3


def test_the_general_interaction_is_its_formula():
    module = GeneralInteraction(3, 2, 4).double()
    x, z = torch.randn(N, 3, dtype=torch.float64), torch.randn(N, 2, dtype=torch.float64)
    yes = torch.ones(N, dtype=torch.bool)
    found = module(x, z, yes, yes)
    for i, o in itertools.product(range(N), range(4)):
        both = sum(z[i, j] * module.W[j, k, o] * x[i, k] for j in range(2) for k in range(3))
        alone = module.U.weight[o] @ z[i] + module.V.weight[o] @ x[i] + module.V.bias[o]
        torch.testing.assert_close(found[i, o], both + alone)
    torch.testing.assert_close(module(x, z, yes, ~yes), module.V(x))
    torch.testing.assert_close(module(x, z, ~yes, yes), module.U(z) + module.V.bias)


def test_gating_is_the_general_interaction_with_a_diagonal_tensor():
    gate, general = DiagonalInteraction(2, 3).double(), GeneralInteraction(3, 2, 3).double()
    with torch.no_grad():
        general.W.copy_(torch.einsum("oz,xo->zxo", gate.W.weight, torch.eye(3).double()))
        general.U.weight.copy_(gate.U.weight)
        general.V.weight.copy_(torch.diag(gate.v))
        general.V.bias.copy_(gate.U.bias)
    x, z = torch.randn(N, 3, dtype=torch.float64), torch.randn(N, 2, dtype=torch.float64)
    x_there, z_there = torch.rand(N) < 0.6, torch.rand(N) < 0.6
    torch.testing.assert_close(gate(x, z, x_there, z_there), general(x, z, x_there, z_there))


def test_film_scales_and_shifts_and_begins_as_nothing():
    module = FiLM(2, 3, 7).double()
    x, z = torch.randn(N, 3, dtype=torch.float64), torch.randn(N, 2, dtype=torch.float64)
    yes = torch.ones(N, dtype=torch.bool)
    assert torch.equal(module(x, z, yes, yes), x)
    torch.nn.init.normal_(module.generator[2].weight)
    more, beta = module.generator(z).chunk(2, dim=1)
    torch.testing.assert_close(module(x, z, yes, yes), (1 + more) * x + beta)
    assert torch.equal(module(x, z, yes, ~yes), x)
    torch.testing.assert_close(module(x, z, ~yes, yes), beta)


def test_a_chain_lets_the_others_act_one_after_another():
    module = chain("general", WIDTHS).double()
    h, yes = features(), torch.ones(N, dtype=torch.bool)
    first = module.steps["b"](h["a"].tanh(), h["b"].tanh(), yes, yes)
    expected = module.steps["c"](first, h["c"].tanh(), yes, yes)
    torch.testing.assert_close(module(h, there()), expected)
