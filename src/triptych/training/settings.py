"""One frozen, checked value with every setting of training, shared by all deep methods."""

from __future__ import annotations

import math
from dataclasses import dataclass

from triptych.arrays import check_choice, check_number
from triptych.errors import ParameterError
from triptych.values import register


@register
@dataclass(frozen=True)
class Training:
    """How a deep method is trained.

    Args:
        epochs: Passes over the training rows.
        batch_size: Rows per step, over all processes.
        micro_batch_size: Rows that the encoders see at once in methods whose loss looks across
            the batch; gradients are exact, memory follows this size. ``None``: the whole batch.
        learning_rate: Largest step size.
        weight_decay: Decoupled decay of weight matrices; biases, norms and scales are spared.
        optimizer: ``"adamw"`` or ``"sgd"`` (momentum 0.9).
        schedule: ``"cosine"`` falls to zero at the last step, ``"constant"`` stays.
        warmup: Share of all steps in which the rate rises linearly, in [0, 1).
        gradient_clip: Largest norm of the gradient; ``None`` for no limit.
        accumulate: Batches whose gradients are added up before one step.
        watch: Term of the validation that tells which epoch is better, smaller is: the whole
            ``"loss"`` or one by its name in ``history_``, for instance ``"task"``.
        patience: Epochs without a better validation before training stops; ``None``: never.
        validation_share: Share of rows set aside for validation when ``fit`` is given none.
        keep_best: Whether the weights of the epoch of the best validation are kept; else the last.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"32"``, ``"bf16"`` or ``"16"`` (mixed).
        checkpoint: Folder from which an interrupted ``fit`` goes on, exactly; ``None``: none.
        checkpoint_every_s: Seconds between checkpoints; 0 writes one after every step.
        progress: Whether a progress bar is shown.
    """

    epochs: int = 50
    batch_size: int = 256
    micro_batch_size: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimizer: str = "adamw"
    schedule: str = "cosine"
    warmup: float = 0.05
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    watch: str = "loss"
    patience: int | None = None
    validation_share: float = 0.0
    keep_best: bool = True
    device: str = "auto"
    precision: str = "32"
    checkpoint: str | None = None
    checkpoint_every_s: float = 30.0
    progress: bool = False

    def __post_init__(self) -> None:
        check_number("training__epochs", self.epochs, low=1, integer=True)
        check_number("training__batch_size", self.batch_size, low=2, integer=True)
        if self.micro_batch_size is not None:
            check_number("training__micro_batch_size", self.micro_batch_size, low=1, integer=True)
        check_number("training__learning_rate", self.learning_rate, low=0, open_low=True)
        check_number("training__weight_decay", self.weight_decay, low=0)
        check_choice("training__optimizer", self.optimizer, ("adamw", "sgd"))
        check_choice("training__schedule", self.schedule, ("cosine", "constant"))
        check_number("training__warmup", self.warmup, low=0, high=0.99)
        if self.gradient_clip is not None:
            check_number(
                "training__gradient_clip",
                self.gradient_clip,
                low=0,
                open_low=True,
                infinite=True,
            )
        check_number("training__accumulate", self.accumulate, low=1, integer=True)
        if not isinstance(self.watch, str):
            raise ParameterError(
                f"training__watch: expected the name of a term, got {self.watch!r}."
            )
        if self.patience is not None:
            check_number("training__patience", self.patience, low=1, integer=True)
        check_number("training__validation_share", self.validation_share, low=0, high=0.9)
        check_choice("training__device", self.device, ("auto", "cpu", "cuda", "mps"))
        check_choice("training__precision", self.precision, ("32", "bf16", "16"))
        check_number("training__checkpoint_every_s", self.checkpoint_every_s, low=0, infinite=True)
        if self.checkpoint is not None and not isinstance(self.checkpoint, str):
            raise ParameterError(
                f"training__checkpoint: expected a path as str, got {self.checkpoint!r}."
            )

    def rate_at(self, step: int, total: int) -> float:
        """Factor on the learning rate at a step of ``total``."""
        rising = self.warmup * total
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.schedule == "constant":
            return 1.0
        share = (step - rising) / max(1.0, total - rising)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
