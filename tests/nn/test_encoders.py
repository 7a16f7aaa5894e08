import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from triptych.errors import CapabilityError, ParameterError, ShapeError
from triptych.modalities import Kind, Modalities
from triptych.nn.encoders import moved
from triptych.nn.inputs import END, PAD, ImageInput, TextInput, VectorInput, learn_input
from triptych.nn.recipes import (
    MLP,
    ConvNet,
    ImageDecoder,
    Recurrent,
    TextDecoder,
    TextEncoder,
    VectorDecoder,
    build_encoder,
    default_decoder,
    default_encoder,
)
from triptych.values import decode, encode, registered

pytestmark = pytest.mark.usefixtures("torch_draws")

VECTOR, IMAGE = Kind("vector", (5,)), Kind("image", (1, 8, 8))
SEQUENCE, WAVE, TEXT = Kind("sequence", (None, 3)), Kind("waveform", (None,)), Kind("text")
RECIPES = (MLP, ConvNet, Recurrent, TextEncoder, VectorDecoder, ImageDecoder, TextDecoder)
WORDS = TextInput("{}", 30, 12, np.zeros(30))
NUMBERS = VectorInput(np.zeros(5, np.float32), np.ones(5, np.float32))
PIXELS = ImageInput(np.zeros(1, np.float32), np.ones(1, np.float32), False, 0.0, 1.0)


def padded() -> dict[str, tuple[Kind, Tensor, Tensor]]:
    """Batches of four rows; the second is empty."""
    lengths = torch.tensor([5, 0, 9, 1])
    return {
        "sequence": (SEQUENCE, torch.randn(4, 9, 3), lengths),
        "waveform": (WAVE, torch.randn(4, 150, 1), torch.tensor([150, 0, 81, 1])),
        "text": (TEXT, torch.randint(4, 30, (4, 9)), lengths),
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_frozen_registered_and_come_back_from_a_file(recipe):
    made = recipe(width=64)
    assert registered()[recipe.__name__] is recipe
    assert decode(encode(made, {}, "r"), {}, {}, {}) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.width = 3
    with pytest.raises(ParameterError, match=rf"{recipe.__name__}\.width.*got 0"):
        recipe(width=0)


@pytest.mark.parametrize(
    "size", [(1, 1, 1), (3, 1, 40), (1, 8, 8), (2, 7, 5), (1, 32, 32), (1, 3, 150)]
)
def test_pictures_of_any_size_are_read_and_written(size):
    kind = Kind("image", size)
    values = torch.randn(2, *size)
    encoder = build_encoder(ConvNet(width=8), kind, PIXELS, 6)
    assert encoder(values).shape == (2, 6)
    # One row alone, in training mode: no norm may need company.
    assert torch.isfinite(encoder(values[:1])).all()
    decoder = ImageDecoder(width=8).build(kind, PIXELS, 6)
    assert decoder.generate(torch.randn(2, 6)).shape == values.shape
    assert decoder.loss(torch.randn(2, 6), values).shape == (2,)


def test_augmentation_moves_and_resizes_in_training_only():
    image = torch.zeros(200, 1, 9, 9)
    image[:, 0, 4, 4] = 1
    assert torch.allclose(moved(image, 0, 0.0), image, atol=1e-5)
    where = moved(image, 2, 0.0).flatten(2).sum(1)
    rows, columns = where.argmax(1) // 9, where.argmax(1) % 9
    for at in (rows, columns):
        assert set(at.tolist()) == {2, 3, 4, 5, 6}
    block = torch.zeros(200, 1, 15, 15)
    block[:, 0, 5:10, 5:10] = 1
    # Areas change by up to 1.5 squared either way; 25 pixels to begin with.
    mass = moved(block, 0, 0.5).sum((1, 2, 3))
    assert 9 < mass.min() < 15 < 45 < mass.max() < 60
    encoder = build_encoder(
        ConvNet(width=8, shift=2, scale=0.2), Kind("image", (1, 9, 9)), PIXELS, 3
    )
    values = torch.randn(2, 1, 9, 9)
    assert not torch.equal(encoder(values), encoder(values))
    encoder.eval()
    assert torch.equal(encoder(values), encoder(values))


@pytest.mark.parametrize("form", ["sequence", "waveform", "text"])
def test_a_row_does_not_see_padding_nor_its_neighbours(form):
    kind, values, lengths = padded()[form]
    encoder = build_encoder(None, kind, WORDS, 6).eval()
    together = encoder(values, lengths)
    assert torch.isfinite(together).all()
    for row, length in enumerate(lengths.tolist()):
        alone = values[row : row + 1, : max(length, 1)]
        # Sums of float32 in another order.
        assert torch.allclose(encoder(alone, lengths[row : row + 1])[0], together[row], atol=1e-5)
    filler = torch.randint(4, 30, values.shape) if form == "text" else torch.randn(values.shape)
    beyond = torch.arange(values.shape[1]) >= lengths[:, None]
    beyond[1] = False if form == "text" else beyond[1]  # an empty text reads one padding
    beyond = beyond.reshape(*beyond.shape, *[1] * (values.ndim - 2))
    assert torch.allclose(
        encoder(torch.where(beyond, filler, values), lengths), together, atol=1e-5
    )


@pytest.mark.parametrize("form", ["sequence", "waveform", "text"])
def test_order_is_read(form):
    kind, values, _ = padded()[form]
    encoder = build_encoder(None, kind, WORDS, 6).eval()
    assert not torch.allclose(encoder(values), encoder(values.flip(1)), atol=1e-4)


@pytest.mark.parametrize("form", ["vector", "image", "sequence", "waveform", "text"])
def test_a_gradient_reaches_every_parameter(form):
    batches = {
        **padded(),
        "vector": (VECTOR, torch.randn(4, 5), None),
        "image": (IMAGE, torch.randn(4, 1, 8, 8), None),
    }
    kind, values, lengths = batches[form]
    encoder = build_encoder(None, kind, WORDS, 6)
    encoder(values, lengths).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_token_dropout_only_while_training():
    kind, values, lengths = padded()["text"]
    encoder = build_encoder(TextEncoder(dropout=0.0, token_dropout=0.5), kind, WORDS, 6)
    assert not torch.equal(encoder(values, lengths), encoder(values, lengths))
    encoder.eval()
    assert torch.equal(encoder(values, lengths), encoder(values, lengths))


class Second(nn.Module):
    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.n_out = n_out

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        return lengths[:, None].float().expand(-1, self.n_out)


def test_a_factory_is_given_lengths_if_it_takes_them():
    _, values, lengths = padded()["sequence"]
    second = build_encoder(lambda kind, n: Second(n), SEQUENCE, WORDS, 2)
    assert torch.equal(second(values, lengths)[:, 0], lengths.float())
    flat = build_encoder(lambda kind, n: nn.Linear(kind.n_features, n), VECTOR, NUMBERS, 2)
    assert flat(torch.randn(3, 5), None).shape == (3, 2)


def test_errors_name_the_kind_and_both_shapes():
    wrong = build_encoder(lambda kind, n: nn.Linear(5, n + 1), VECTOR, NUMBERS, 2)
    with pytest.raises(ShapeError, match=r"kind vector \(5\).*\(3, 2\).*got \(3, 3\)"):
        wrong(torch.randn(3, 5))
    with pytest.raises(ParameterError, match=r"TextEncoder is for text.*image \(1, 8, 8\)"):
        build_encoder(TextEncoder(), IMAGE, PIXELS, 2)
    with pytest.raises(ParameterError, match="Linear already built"):
        build_encoder(nn.Linear(5, 2), VECTOR, NUMBERS, 2)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"write MLP\(\)"):
        build_encoder(MLP, VECTOR, NUMBERS, 2)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="torch module; got int"):
        build_encoder(lambda kind, n: 3, VECTOR, NUMBERS, 2)  # type: ignore[arg-type,return-value]
    with pytest.raises(ParameterError, match="got 'conv'"):
        build_encoder("conv", VECTOR, NUMBERS, 2)  # type: ignore[arg-type]
    with pytest.raises(CapabilityError, match="no decoder for a modality of kind waveform"):
        default_decoder(WAVE)
    with pytest.raises(CapabilityError, match="no encoder for a modality of kind graph"):
        default_encoder(Kind("graph"))


def test_squared_error_is_the_mean_over_columns_or_pixels():
    code = torch.randn(3, 4)
    flat = VectorDecoder(width=8)  # reads a picture as a vector
    for kind, shape, recipe in (
        (VECTOR, (3, 5), default_decoder(VECTOR)),
        (IMAGE, (3, 1, 8, 8), default_decoder(IMAGE)),
        (IMAGE, (3, 1, 8, 8), flat),
    ):
        decoder = recipe.build(kind, NUMBERS, 4)
        values = torch.randn(shape)
        predicted = decoder.generate(code)
        for row in range(3):
            pairs = zip(predicted[row].flatten(), values[row].flatten(), strict=True)
            squares = [(p - v).item() ** 2 for p, v in pairs]
            expected = sum(squares) / len(squares)
            assert decoder.loss(code, values)[row].item() == pytest.approx(expected, rel=1e-4)


def test_token_loss_is_the_sum_over_the_text_and_its_end():
    decoder = TextDecoder(width=16).build(TEXT, WORDS, 4)
    code, tokens, lengths = torch.randn(2, 4), torch.tensor([[5, 9, 7], [8, 0, 0]]), [3, 1]
    nats, count = decoder.token_loss(code, tokens, torch.tensor(lengths))
    assert count.tolist() == [4, 2]
    for row, length in enumerate(lengths):
        state = torch.tanh(decoder.start(code[row]))[None, None]
        beside, last, total = decoder.beside(code[row]), 1, 0.0
        for wanted in [*tokens[row, :length].tolist(), END]:
            given = torch.cat([decoder.tokens.weight[last], beside])[None, None]
            step, state = decoder.cell(given, state)
            total -= torch.log_softmax(decoder.out(step[0, 0]), 0)[wanted].item()
            last = wanted
        assert nats[row].item() == pytest.approx(total, rel=1e-4)
    assert torch.allclose(decoder.loss(code, tokens, torch.tensor(lengths)), nats / count)
    empty = decoder.loss(code, tokens, torch.tensor([0, 0]))
    assert torch.isfinite(empty).all()


def test_text_decoder_learns_what_codes_say_and_stops_at_the_end():
    texts = ["red square", "blue circle of five", "green"]
    X = Modalities({"text": texts})
    reader = learn_input(X, "text")
    assert isinstance(reader, TextInput)
    tokens, lengths = reader.tensors(texts, np.ones(3, dtype=bool))
    code = torch.eye(3)
    decoder = TextDecoder(width=32).build(TEXT, reader, 3)
    start = decoder.loss(code, tokens, lengths).mean().item()
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        decoder.loss(code, tokens, lengths).mean().backward()
        optimizer.step()
    assert decoder.loss(code, tokens, lengths).mean().item() < 0.1 * start
    made = decoder.generate(code)
    assert made.shape[1] <= reader.max_length
    assert reader.restore(made) == texts
    after = (made == END).cumsum(1) - (made == END).long()
    assert (made[after > 0] == PAD).all()
