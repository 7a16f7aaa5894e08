"""The cell beside a plainly written one, and torch's own LSTM."""

import pytest
import torch
import torch.nn.functional as F

from triptych.errors import ShapeError
from triptych.nn.conv_lstm import JoinedLayer, Signal
from triptych.nn.lstm_states import gate_scale, lstm_states

B, T, D = 2, 4, 3


def plain_cell(weight, recurrent, bias, x, frames, sound_weight):
    """Channels first, one step after another, exactly as the equations stand."""
    b, _, h, w = x.shape
    state = cell = x.new_zeros(b, D, h, w)
    states = []
    for frame in frames:
        a = F.conv2d(x, weight, padding=1) + F.conv2d(state, recurrent, padding=1)
        a = a + (frame @ sound_weight.T)[:, :, None, None] + bias[:, None, None]
        i, f, o, g = a.chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        state = torch.sigmoid(o) * torch.tanh(cell)
        states.append(state)
    return torch.stack(states)


def signals(dtype=torch.float64):
    x = torch.randn(B, 2, 5, 4, dtype=dtype)
    frames = torch.randn(T, B, 6, dtype=dtype)
    picture = Signal(x.permute(0, 2, 3, 1).contiguous(), timed=False, maps=True)
    return x, frames, {"image": picture, "sound": Signal(frames, timed=True, maps=False)}


def layer(**given):
    inputs = {"image": (2, True), "sound": (6, False)}
    kwargs = {"size": (5, 4), "kernel": 3, "recurrent": True, **given}
    return JoinedLayer(inputs, D, **kwargs).double()


def test_a_picture_and_a_sound_meet_as_the_equations_say(torch_draws):
    net = layer()
    x, frames, both = signals()
    found = net(both, B, T).values.permute(0, 1, 4, 2, 3)
    weights = net.inputs["image"].weight, net.state.weight, net.bias
    wanted = plain_cell(*weights, x, frames, net.inputs["sound"].weight)
    torch.testing.assert_close(found, wanted)
    ask = torch.randn_like(wanted)
    parameters = list(net.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(found, parameters, ask),
        torch.autograd.grad(wanted, parameters, ask),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    with torch.no_grad():
        torch.testing.assert_close(net(both, B, T).values.permute(0, 1, 4, 2, 3), wanted)


def test_without_maps_it_is_torchs_lstm(torch_draws):
    net = JoinedLayer({"x": (5, False)}, D, size=None, kernel=3, recurrent=True).double()
    x = torch.randn(T, B, 5, dtype=torch.float64)
    other = torch.nn.LSTM(5, D).double()
    order = [0, 1, 3, 2]  # torch has i, f, g, o

    def turned(weight):
        blocks = weight.detach().chunk(4)
        return torch.cat([blocks[i] for i in order])

    with torch.no_grad():
        other.weight_ih_l0.copy_(turned(net.inputs["x"].weight))
        other.weight_hh_l0.copy_(turned(net.state.weight))
        other.bias_ih_l0.copy_(turned(net.bias))
        other.bias_hh_l0.zero_()
    found = net({"x": Signal(x, timed=True, maps=False)}, B, T).values
    torch.testing.assert_close(found, other(x)[0])


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_gradients_of_every_input(maps, steps, torch_draws):
    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    kernel, place = ((4 * D, D, 3, 3), (2, 2)) if maps else ((4 * D, D), ())
    weight_x = (4 * D, 2, 3, 3) if maps else (4 * D, 2)
    weight, static, flat = draw(*kernel), draw(B, *place, 4 * D), draw(steps, B, 4 * D)
    x, weight_x, bias = draw(steps, B, *place, 2), draw(*weight_x), draw(4 * D)

    def run(weight, static, flat, x, weight_x, bias):
        given = {"static": static, "flat": flat, "x": x, "weight_x": weight_x, "bias": bias}
        return lstm_states(weight, steps, **given)

    every = (weight, static, flat, x, weight_x, bias)
    assert torch.autograd.gradcheck(run, every, fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda w, s: run(w, s, None, None, None, None), (weight, static), fast_mode=True
    )
    assert torch.autograd.gradcheck(
        lambda w, x, v: run(w, None, None, x, v, None), (weight, x, weight_x), fast_mode=True
    )


def test_asked_twice_the_gradients_are_the_same(torch_draws):
    net, (_, _, both) = layer(), signals()
    parameters = list(net.parameters())
    states = net(both, B, T).values
    ask = torch.randn_like(states)
    once = torch.autograd.grad(states, parameters, ask, retain_graph=True)
    other = net(both, B, T).values  # takes the memory that the first has given back
    again = torch.autograd.grad(states, parameters, ask)
    fresh = torch.autograd.grad(other, parameters, ask)
    for a, b, c in zip(once, again, fresh, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


def test_one_sigmoid_is_a_tanh():
    scale = gate_scale(D, torch.zeros(1, dtype=torch.float64))
    a = torch.linspace(-4, 4, 4 * D, dtype=torch.float64)
    states = lstm_states(torch.zeros(4 * D, D, dtype=torch.float64), 1, static=(a * scale)[None])
    i, _, o, g = a.chunk(4)
    wanted = torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g))
    torch.testing.assert_close(states[0, 0], wanted)


def test_a_state_has_seen_no_later_step(torch_draws):
    net, (_, frames, both) = layer(), signals()
    later = frames.clone()
    later[2:] = 100
    changed = {**both, "sound": Signal(later, timed=True, maps=False)}
    once, again = net(both, B, T).values, net(changed, B, T).values
    torch.testing.assert_close(once[:2], again[:2])
    assert not torch.allclose(once[2], again[2])


def test_what_is_absent_adds_nothing(torch_draws):
    net, (_, _, both) = layer(), signals()
    here, gone = torch.tensor([True, True]), torch.tensor([True, False])
    masked = net(both, B, T, {"image": here, "sound": gone}).values
    alone = net({"image": both["image"]}, B, T).values
    torch.testing.assert_close(masked[:, 1], alone[:, 1])
    torch.testing.assert_close(masked[:, 0], net(both, B, T).values[:, 0])
    heard = net({"sound": both["sound"]}, B, T).values  # the bias and the sound, at every place
    torch.testing.assert_close(
        heard, net(both, B, T, {"image": torch.tensor([False] * 2), "sound": here}).values
    )


def test_without_time_it_is_a_convolution(torch_draws):
    net = layer(recurrent=False, stride=2, size=(3, 2))
    x, frames, both = signals()
    both["sound"] = Signal(frames[0], timed=False, maps=False)
    wanted = F.conv2d(x, net.inputs["image"].weight, net.bias, stride=2, padding=1)
    wanted = F.gelu(wanted + (frames[0] @ net.inputs["sound"].weight.T)[:, :, None, None])
    torch.testing.assert_close(net(both, B).values.permute(0, 3, 1, 2), wanted)


def test_pictures_of_other_sizes_are_brought_to_one(torch_draws):
    net = layer(size=(10, 8))
    *_, both = signals()
    assert net(both, B, T).values.shape == (T, B, 10, 8, D)


def test_somebody_must_say_how_many_rows():
    with pytest.raises(ShapeError, match="static or x must say how many rows"):
        lstm_states(torch.zeros(4, 1, 3, 3), 1, flat=torch.zeros(1, 1, 4))
