"""Early fusion in the layers of a convolutional LSTM (Barnum, Talukder, Yue 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.method import Capabilities, Fusion
from triptych.contracts.supervised import SupervisedMethod
from triptych.errors import ParameterError, ShapeError
from triptych.fusion._equal_widths import Plan, Widths, count, equal_widths
from triptych.fusion._meeting_layers import MeetingLayers
from triptych.fusion._subsets import drawn_subsets
from triptych.modalities import Kind, Modalities
from triptych.nn.inputs import SequenceInput
from triptych.nn.spectrogram import Spectrogram, SpectrogramInput
from triptych.nn.steps import StepsInput
from triptych.training.batches import Batch
from triptych.training.settings import Training

LATE = "late"
# Numbers of all gates that are held at a time where nothing is learnt.
HELD = 1 << 24


class EarlyFusion(SupervisedMethod, Fusion):
    r"""Layers that read all modalities at once, from a layer that can be chosen.

    .. math:: a_t = W_x * x + W_h * h_{t-1} + U\, s_t + b, \qquad
              c_t = \sigma(a^f_t) \odot c_{t-1} + \sigma(a^i_t) \odot \tanh(a^g_t), \qquad
              h_t = \sigma(a^o_t) \odot \tanh(c_t)

    A picture x and a sound s meet in layer ``fuse_at`` of L layers of a convolutional LSTM: a
    frame of the sound is added at every place of the map. Before it each modality goes through
    as many layers of its own (the sound through LSTMs, the picture through convolutional ones);
    after it come layers of what both became. ``"late"`` gives each modality all L layers and
    puts their last states side by side. The code is read from the last state (a map by the means
    of 4 × 4 parts of it), and the label from the code.

    The kinds decide the layers: convolutional where there is a picture, recurrent where there is
    a sequence or waveform, dense (with GELU) for vectors alone. What has no time is the same at
    every step. What a modality adds is multiplied by its presence, so an absent one adds
    nothing; rows that lack all that has time are looked at for the typical number of steps.

    The number of weights is that of ``fuse_at=1`` with ``layers``, whichever layer is chosen: all
    widths are scaled together, then those of layers without maps a little more or less, until the
    count is as near as whole widths allow. ``widths_`` says which they are, ``n_parameters`` how
    many weights there are.

    Args:
        n_components: Width d of the code.
        fuse_at: Layer in which modalities meet, 1 to L, or ``"late"``.
        layers: Channels (or features) of each of the L layers at ``fuse_at=1``.
        kernel: Side of the convolutions, odd; a picture may not be smaller.
        stride: Of the convolutions of pictures in the first layer; maps are smaller by so much.
        steps: Sequences and waveforms of more frames become so many means over equal stretches
            of time; ``None`` leaves all frames. Modalities with time must have the same number
            of steps in each row.
        spectrogram: How waveforms become frames; one for all, or by modality name.
        equal_parameters: Whether widths are scaled; else they are ``layers`` (and ``kernel``
            times as much in own layers without maps).
        modality_dropout: Share of training rows of which a random non-empty subset of modalities
            is shown; the others show all that they have.
        task: ``"auto"``, ``"classification"``, ``"multilabel"`` or ``"regression"``.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        target_: What is predicted.
        widths_: ``"joint"`` and ``"alone"``: widths of layers with maps or of all modalities, and
            of the layers that modalities without maps have for themselves.
        history_: ``"loss"`` and ``"task"``.

    ``score`` is accuracy, or R² for numbers.

    References:
        Barnum, Talukder, Yue 2020, On the Benefits of Early Fusion in Multimodal Representation
        Learning, arXiv:2011.07191; Shi et al. 2015, arXiv:1506.04214 (the cell).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "sequence", "image", "waveform"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        needs_labels=True,
        predicts=True,
    )
    encoders = None  # layers take the place of encoders
    widths_: dict[str, tuple[int, ...]]

    def __init__(
        self,
        n_components: int = 64,
        *,
        fuse_at: int | str = 1,
        layers: tuple[int, ...] = (32, 32),
        kernel: int = 3,
        stride: int = 2,
        steps: int | None = None,
        spectrogram: Spectrogram | Mapping[str, Spectrogram] = Spectrogram(),
        equal_parameters: bool = True,
        modality_dropout: float = 0.0,
        task: str = "auto",
        training: Training = Training(epochs=20, batch_size=64),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.fuse_at = fuse_at
        self.layers = layers
        self.kernel = kernel
        self.stride = stride
        self.steps = steps
        self.spectrogram = spectrogram
        self.equal_parameters = equal_parameters
        self.modality_dropout = modality_dropout
        self.task = task
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self.layers, (tuple, list)):
            raise ParameterError(
                "layers: expected a tuple with the width of each layer, for instance (32, 32), "
                f"got {type(self.layers).__name__} {self.layers!r}."
            )
        if not self.layers:
            raise ParameterError(
                f"layers: expected the widths of at least one layer, got {self.layers!r}."
            )
        for at, width in enumerate(self.layers):
            check_number(f"layers[{at}]", width, low=1, integer=True)
        depth = len(self.layers)
        if self.fuse_at != LATE:
            if isinstance(self.fuse_at, str):
                raise ParameterError(
                    f"fuse_at: expected a layer from 1 to {depth} or 'late', got {self.fuse_at!r}."
                )
            check_number("fuse_at", self.fuse_at, low=1, high=depth, integer=True)
        check_number("kernel", self.kernel, low=1, integer=True)
        if self.kernel % 2 == 0:
            raise ParameterError(f"kernel: expected an odd number, got {self.kernel!r}.")
        check_number("stride", self.stride, low=1, integer=True)
        if self.steps is not None:
            check_number("steps", self.steps, low=1, integer=True)
        check_number("modality_dropout", self.modality_dropout, low=0, high=1)
        if not isinstance(self.spectrogram, (Spectrogram, Mapping)):
            raise ParameterError(
                "spectrogram: expected Spectrogram(...) or a dict of them by modality name, got "
                f"{self.spectrogram!r}."
            )

    # -- fit -------------------------------------------------------------------------------

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self.__dict__.pop("widths_", None)  # of a fit before
        if isinstance(self.spectrogram, Mapping):
            for name, settings in self.spectrogram.items():
                if name not in X.names or X.kind(name).form != "waveform":
                    raise ParameterError(
                        f"spectrogram: {name!r} is no waveform; there are {X.kinds}."
                    )
                if not isinstance(settings, Spectrogram):
                    raise ParameterError(
                        f"spectrogram__{name}: expected Spectrogram(...), got {settings!r}."
                    )
        for name in X.names:
            kind = X.kind(name)
            if kind.form == "image" and min(_sides(kind)) < self.kernel:
                h, w = _sides(kind)
                raise ShapeError(
                    f"modality {name!r}: pictures of {h} × {w} are smaller than the kernel, "
                    f"{self.kernel} × {self.kernel}; take a smaller one."
                )
        super()._fit(X, y, validation)

    def _learn_input(self, X: Modalities, name: str) -> Any:
        form, present = X.kind(name).form, X.present[name]
        if form == "waveform":
            given = self.spectrogram
            settings = given.get(name, Spectrogram()) if isinstance(given, Mapping) else given
            data = X[name]
            frames = SpectrogramInput.learn(name, data, present, settings)
            return StepsInput.learn(frames, self.steps, data, present)
        learnt = super()._learn_input(X, name)
        if isinstance(learnt, SequenceInput):
            return StepsInput.learn(learnt, self.steps, X[name], present)
        return learnt

    def _plan(self, kinds: Mapping[str, Kind], fuse_at: int) -> Plan:
        assert self.target_ is not None
        sources, sizes = {}, {}
        for name, kind in kinds.items():
            reader: Any = self.inputs_[name]
            if kind.form == "image":
                sources[name] = int(kind.shape[0] or 0), True
                h, w = _sides(kind)
                sizes[name] = math.ceil(h / self.stride), math.ceil(w / self.stride)
            elif isinstance(reader, StepsInput):
                sources[name] = reader.width, False
            else:
                sources[name] = len(reader.mean), False
        return Plan(
            sources,
            sizes,
            recurrent=any(isinstance(self.inputs_[m], StepsInput) for m in kinds),
            fuse_at=fuse_at,
            kernel=self.kernel,
            stride=self.stride,
            code=self.n_components,
            outputs=self.target_.width,
        )

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        layers = tuple(int(w) for w in self.layers)
        fuse_at = len(layers) + 1 if self.fuse_at == LATE else int(self.fuse_at)
        plan = self._plan(kinds, fuse_at)
        if not hasattr(self, "widths_"):
            budget = count(self._plan(kinds, 1), Widths(layers, layers))
            widths = Widths(layers, ())
            if fuse_at > 1:
                widths = equal_widths(plan, layers, budget if self.equal_parameters else None)
            self.widths_ = {"joint": widths.joint, "alone": widths.alone[: fuse_at - 1]}
        widths = Widths(**self.widths_)
        return self._seeded("layers", lambda: MeetingLayers(plan, widths))

    # -- loss and codes --------------------------------------------------------------------

    def _code(
        self, network: Any, batch: Batch, present: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Codes (b, d); ``present`` says what is shown, else all that there is."""
        shown = batch.present if present is None else present
        return network(batch.values, shown, self._looks(batch, shown))  # type: ignore[no-any-return]

    def _looks(self, batch: Batch, shown: Mapping[str, Tensor]) -> Tensor | None:
        """How many steps each row is looked at (b,): as many as what is shown has."""
        readers: dict[str, Any] = dict(self.inputs_)
        stepped = {m: r for m, r in readers.items() if isinstance(r, StepsInput)}
        if not stepped:
            return None
        timed = [m for m in batch.names if m in stepped]
        for a, b in combinations(timed, 2):
            apart = batch.lengths[a] != batch.lengths[b]
            apart = apart & batch.present[a] & batch.present[b]
            if bool(apart.any()):
                at = int(apart.nonzero()[0])
                raise ShapeError(
                    f"modalities {a!r} and {b!r}: row {int(batch.rows[at])} has "
                    f"{int(batch.lengths[a][at])} steps of one and {int(batch.lengths[b][at])} of "
                    "the other; layers step through both together. Bring them to one frame rate, "
                    "or set steps to at most the fewer of them."
                )
        steps = torch.zeros(len(batch), dtype=torch.long, device=batch.rows.device)
        for m in timed:
            steps = torch.maximum(steps, batch.lengths[m] * shown[m])
        return torch.where(steps > 0, steps, max(r.typical for r in stepped.values()))

    def _outputs(self, network: Any, batch: Batch) -> Tensor:
        return network.output(F.gelu(self._code(network, batch)))  # type: ignore[no-any-return]

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        present = batch.present
        if self.modality_dropout and network.training:
            there = torch.stack([present[m] for m in batch.names], dim=1)  # (b, m)
            draw = (torch.rand(len(there)) < self.modality_dropout).to(there.device)
            chosen = torch.where(draw[:, None], drawn_subsets(there), there)
            present = {m: chosen[:, i] for i, m in enumerate(batch.names)}
        outputs = network.output(F.gelu(self._code(network, batch, present)))
        task = self._task_loss(outputs, batch)
        return {"loss": task, "task": task}

    def _codes(self, X: Modalities, code: Any) -> dict[str, NDArray[np.float32]]:
        """Row pieces small enough that the states of all steps fit in memory."""

        def pieces(batch: Batch) -> dict[str, Tensor]:
            steps = self._looks(batch, batch.present)
            longest = 1 if steps is None else int(steps.max())
            plan = self.network_.plan
            assert isinstance(plan, Plan)
            area = math.prod(plan.size) if plan.size else 1
            per_row = longest * area * 5 * max(self.widths_["joint"])
            rows = max(1, HELD // per_row)
            found = [code(batch.part(slice(at, at + rows))) for at in range(0, len(batch), rows)]
            return {name: torch.cat([part[name] for part in found]) for name in found[0]}

        return super()._codes(X, pieces)

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(X, lambda batch: {"code": self._code(self.network_, batch)})["code"]


def _sides(kind: Kind) -> tuple[int, int]:
    return int(kind.shape[1] or 0), int(kind.shape[2] or 0)
