"""The one training loop, on Accelerate; methods say what is special about them by its hooks.

- batch streams per term: a phase of several :class:`Stream`, each of its own batch size;
  their gradients are added before one step (DCCAE);
- inner and alternating steps: several :class:`Phase` with parameters of their own (critics);
- state per row: ``batch.rows`` says which rows of the training set a batch holds, and a phase may
  ``move`` that state by itself, on the rows that another phase has just seen (free codes);
- micro-batch gradients: a stream that is split into ``encode`` and ``terms_of`` (contrastive);
- gathering across processes: :func:`triptych.losses.gather.gather` inside the terms;
- after every step: ``after_step`` (a clamp on a scale).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.errors import ParameterError, TrainingError
from triptych.losses.gather import alone, from_first, several
from triptych.seeding import derive, torch_scope
from triptych.training import checkpoint
from triptych.training.batches import Batch, Rows, order_of, steps_per_epoch
from triptych.training.devices import accelerator_for, optimizer_for
from triptych.training.history import History, Means
from triptych.training.progress import interruptible, progress
from triptych.training.settings import Training

Terms = Mapping[str, Tensor]
# What gloo and NCCL say when a process is gone.
_GONE = ("gloo", "NCCL", "Connection", "connection", "Socket", "socket", "imed out", "peer")
Codes = dict[str, Tensor]


@dataclass(frozen=True)
class Stream:
    """Batches of one size and the terms computed on them.

    Args:
        terms: From a batch to named scalars, ``"loss"`` (their weighted sum) among them.
        batch_size: Rows per step; ``None`` for the setting's.
        encode: From a batch to codes, row by row, for micro-batches.
        terms_of: From codes of the whole batch to the terms, for micro-batches.
        least: Fewest rows that the terms can use; a last batch of fewer is dropped.
        order: Streams of one name go through the rows in one order: at equal sizes and steps they
            see the same batches. ``None``: an order of its own.
        judged: Terms on all validation rows from their means over batches, where the mean of the
            loss is not the loss of the means: some batches do not show a term.
    """

    terms: Callable[[Batch], Terms]
    batch_size: int | None = None
    encode: Callable[[Batch], Codes] | None = None
    terms_of: Callable[[Codes, Batch], Terms] | None = None
    least: int = 2
    order: str | None = None
    judged: Callable[[Means], dict[str, float]] = Means.result


@dataclass(frozen=True)
class Phase:
    """One kind of step; the phases of a plan take turns.

    Args:
        name: For the history, when there are several.
        streams: Whose losses are added.
        parameters: What this phase moves; ``None`` for all of the network.
        steps: How many steps before the next phase's turn.
        learning_rate: ``None`` for the setting's.
        moves: The terms themselves move what is theirs (buffers with state of their own), and no
            optimiser steps; for a state per row, which an optimiser of the whole would drag along.
    """

    name: str
    streams: tuple[Stream, ...]
    parameters: tuple[nn.Parameter, ...] | None = None
    steps: int = 1
    learning_rate: float | None = None
    moves: bool = False


@dataclass
class _Standing:
    """Where the fit stands; with the tensors, this is what a checkpoint holds."""

    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=History)
    means: Means = field(default_factory=Means)
    best_loss: float = float("inf")
    best_epoch: int | None = None
    best: dict[str, Tensor] | None = None
    stale: int = 0


class _Step(nn.Module):
    """Lets a distributed wrapper see the forward pass of any terms."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, run: Callable[..., Any], *inputs: Any) -> Any:
        return run(*inputs)


def train(
    network: nn.Module,
    phases: tuple[Phase, ...],
    rows: Rows,
    settings: Training,
    *,
    seed: int,
    valid: Rows | None = None,
    after_step: Callable[[], None] = lambda: None,
    fingerprint: str = "",
) -> History:
    """Train ``network`` in place.

    Args:
        network: All parameters.
        phases: What is done in each round.
        rows: Training rows.
        settings: How to train.
        seed: Of the order of rows and of dropout.
        valid: Validation rows.
        after_step: Called after every optimiser step.
        fingerprint: What a checkpoint must have been made for to be taken up again.

    Returns:
        The terms of the loss by epoch. Global generators are left as they were found.

    Raises:
        TrainingError: The loss is not finite, with the term and the step; or another process of a
            distributed run has ended.
        KeyboardInterrupt: Passed on, after a checkpoint was written.
    """
    if settings.patience is not None and valid is None:
        raise ParameterError(
            "training__patience watches the validation loss: set training__validation_share, or "
            "give rows to watch (fit(..., validation=X_valid); on the command line, a split with "
            "a part 'valid')."
        )
    with torch_scope(derive(seed, "training")), interruptible() as interrupted:
        fit = None
        try:
            fit = _Fit(network, phases, rows, settings, seed, valid, after_step, fingerprint)
            return fit.run(interrupted)
        except RuntimeError as error:
            if not several() or not any(word in str(error) for word in _GONE):
                raise
            raise TrainingError(_left_alone(settings, fit)) from error


def _left_alone(settings: Training, fit: _Fit | None) -> str:
    """What a process says when another of its run is gone."""
    rank, many = torch.distributed.get_rank(), torch.distributed.get_world_size()
    when = "before the first step"
    if fit is not None:
        when = f"in epoch {fit.at.epoch}, step {fit.at.step}"
    words = (
        f"process {rank} of {many}: another process of this run has ended or cannot be reached, "
        f"{when}; its own error says why."
    )
    if settings.checkpoint is None or not Path(settings.checkpoint).exists():
        return words
    return f"{words} The same fit goes on from the checkpoint in {settings.checkpoint}."


class _Fit:
    def __init__(
        self,
        network: nn.Module,
        phases: tuple[Phase, ...],
        rows: Rows,
        settings: Training,
        seed: int,
        valid: Rows | None,
        after_step: Callable[[], None],
        fingerprint: str,
    ) -> None:
        self.network, self.phases, self.rows, self.valid = network, phases, rows, valid
        self.settings, self.seed, self.after_step = settings, seed, after_step
        self.fingerprint = fingerprint
        self.accelerator = accelerator_for(settings)
        # Every process takes as many rows of a batch as the others, so that parts can be gathered
        # and means over processes are means over rows; up to N - 1 rows sit out an epoch.
        self.n = len(rows) - len(rows) % self.accelerator.num_processes
        self._check_shares()
        self._check_rows_alone()
        self.moved = [
            []
            if phase.moves
            else [p for p in (phase.parameters or network.parameters()) if p.requires_grad]
            for phase in phases
        ]
        self.rates = [p.learning_rate or settings.learning_rate for p in phases]
        bare = [
            optimizer_for(moved, settings, rate)
            for phase, moved, rate in zip(phases, self.moved, self.rates, strict=True)
            if not phase.moves
        ]
        prepared = self.accelerator.prepare(_Step(network), *bare)
        self.wrapped, self.optimizers = prepared[0], list(prepared[1:])
        self.optimizer_of = dict(
            zip([t for t, p in enumerate(phases) if not p.moves], self.optimizers, strict=True)
        )
        self.device = self.accelerator.device
        # Without a gradient scaler Accelerate's own backward and step add only a search for
        # optional packages, at every step; data-parallel hooks work on plain backward too.
        self.plain = self.accelerator.scaler is None
        first = phases[0].streams[0]
        size = (first.batch_size or settings.batch_size) * settings.accumulate
        self.rounds = steps_per_epoch(self.n, size, first.least)
        self.total = self.rounds * settings.epochs
        self.at = _Standing()
        self.written = time.monotonic()
        self.orders: dict[tuple[str, int], np.ndarray[Any, Any]] = {}

    def _check_shares(self) -> None:
        n = self.accelerator.num_processes
        for stream in (s for phase in self.phases for s in phase.streams):
            size = stream.batch_size or self.settings.batch_size
            if size % n:
                raise ParameterError(
                    f"training__batch_size: {n} processes share each batch equally; {size} rows "
                    f"cannot be shared. Take a multiple of {n}."
                )
        if self.n < 2:
            raise ParameterError(
                f"{n} processes cannot share {len(self.rows)} training rows; start fewer."
            )

    def _check_rows_alone(self) -> None:
        """Refuse to code a batch in pieces where a row's code depends on the rows beside it."""
        if self.settings.micro_batch_size is None:
            return
        for name, module in self.network.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise ParameterError(
                    f"training__micro_batch_size: {name} is a {type(module).__name__}, whose "
                    "output depends on which rows it sees at once, so the gradient would not be "
                    "that of the batch. Normalise each row by itself (LayerNorm), or leave "
                    "micro_batch_size out."
                )

    # -- the run ---------------------------------------------------------------------------

    def run(self, interrupted: threading.Event) -> History:
        self._resume()
        with progress(self.settings, self.total, self.accelerator.is_main_process) as advance:
            advance(self.at.epoch * self.rounds + self.at.step, self.at.history)
            while self.at.epoch < self.settings.epochs and not self._patient_no_more():
                self.network.train()
                while self.at.step < self.rounds:
                    self._round()
                    self.at.step += 1
                    advance(1, self.at.history)
                    if interrupted.is_set():
                        self._write(force=True)
                        raise KeyboardInterrupt
                    self._write()
                self._end_epoch()
                self._write(force=self.at.epoch == self.settings.epochs)
        if self.at.best is not None and self.settings.keep_best:
            self.network.load_state_dict(self.at.best)
        self.network.eval()
        self.network.to("cpu")
        return self.at.history

    def _patient_no_more(self) -> bool:
        return self.settings.patience is not None and self.at.stale >= self.settings.patience

    def _round(self) -> None:
        done = self.at.epoch * self.rounds + self.at.step
        for turn, phase in enumerate(self.phases):
            for inner in range(phase.steps):
                self._one_step(turn, phase, done * phase.steps + inner, done)

    def _one_step(self, turn: int, phase: Phase, count: int, done: int) -> None:
        if phase.moves:
            self._move(turn, phase, count)
            return
        optimizer, parts = self.optimizer_of[turn], self.settings.accumulate
        for group in optimizer.param_groups:
            group["lr"] = self.rates[turn] * self.settings.rate_at(done, self.total)
        optimizer.zero_grad(set_to_none=True)
        for at, stream in enumerate(phase.streams):
            for piece in range(parts):
                chosen = self._chosen(f"{turn}.{at}", stream, count * parts + piece)
                last = at == len(phase.streams) - 1 and piece == parts - 1
                quiet = nullcontext() if last else self.accelerator.no_sync(self.wrapped)
                with quiet:
                    terms = self._backward(stream, chosen, parts)
                self._record(turn, phase, at, terms, len(chosen))
        if self.settings.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(self.moved[turn], self.settings.gradient_clip)
        (optimizer.optimizer if self.plain else optimizer).step()
        self.after_step()

    def _move(self, turn: int, phase: Phase, count: int) -> None:
        parts = self.settings.accumulate
        for at, stream in enumerate(phase.streams):
            for piece in range(parts):
                chosen = self._chosen(f"{turn}.{at}", stream, count * parts + piece)
                terms = stream.terms(self.rows.take(chosen, self.device))
                self._record(turn, phase, at, terms, len(chosen))

    def _record(self, turn: int, phase: Phase, at: int, terms: Terms, rows: int) -> None:
        numbers = torch.stack([t.detach().float() for t in terms.values()]).tolist()
        values = dict(zip(terms, numbers, strict=True))
        for name, value in values.items():
            if not np.isfinite(value):
                raise TrainingError(
                    f"the term {name!r} of the loss became {value} in epoch {self.at.epoch}, step "
                    f"{self.at.step}. Lower training__learning_rate, or look for extreme values."
                )
        self.at.means.add(_named(values, turn, phase, at), rows)

    def _chosen(self, key: str, stream: Stream, count: int) -> NDArray[np.intp]:
        """The rows of a batch that this process has."""
        size = stream.batch_size or self.settings.batch_size
        key = key if stream.order is None else f"order:{stream.order}"
        epoch, step = divmod(count, steps_per_epoch(self.n, size, stream.least))
        if (key, epoch) not in self.orders:
            for old in [k for k in self.orders if k[0] == key]:
                del self.orders[old]
            self.orders[key, epoch] = order_of(self.seed, key, epoch, len(self.rows))
        chosen = self.orders[key, epoch][: self.n][step * size : (step + 1) * size]
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        return chosen[share]

    def _backward_of(self, loss: Tensor) -> None:
        if self.plain:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.accelerator.backward(loss)

    def _backward(self, stream: Stream, chosen: NDArray[np.intp], parts: int) -> Terms:
        micro = self.settings.micro_batch_size
        if micro is None or micro >= len(chosen):
            batch = self.rows.take(chosen, self.device)
            with self.accelerator.autocast():
                terms: Terms = self.wrapped(stream.terms, batch)
            self._backward_of(terms["loss"] / parts)
            return terms
        if stream.encode is None or stream.terms_of is None:
            raise ParameterError(
                "training__micro_batch_size is for methods whose loss looks across the batch; "
                "use training__accumulate here."
            )
        return self._backward_in_pieces(stream.encode, stream.terms_of, chosen, micro, parts)

    def _backward_in_pieces(
        self,
        encode: Callable[[Batch], Codes],
        terms_of: Callable[[Codes, Batch], Terms],
        chosen: NDArray[np.intp],
        micro: int,
        parts: int,
    ) -> Terms:
        """Cached gradients (Gao et al. 2021, arXiv:2101.06983): exact, memory of one piece.

        Rows are taken anew for every piece: a whole batch of them as floats would be larger than
        all that one piece needs.
        """
        pieces = [slice(i, i + micro) for i in range(0, len(chosen), micro)]
        batch = self.rows.take(chosen, self.device, values=False)
        states = {k: v.new_empty(len(pieces), *v.shape) for k, v in _generators().items()}
        codes: dict[str, Tensor] = {}
        with torch.no_grad(), self.accelerator.autocast():
            for i, part in enumerate(pieces):
                piece = self.rows.take(chosen[part], self.device)
                for k, state in _generators().items():
                    states[k][i] = state
                for m, code in encode(piece).items():
                    # Room for all at once: what is kept piece by piece would sit in the room
                    # that each piece frees, and the next one would not fit in again.
                    if m not in codes:
                        codes[m] = code.new_empty(len(chosen), *code.shape[1:])
                    codes[m][part] = code
        for code in codes.values():
            code.requires_grad_()
        with self.accelerator.autocast():
            terms: Terms = terms_of(codes, batch)
        # Parameters of the loss itself (a scale) get their gradient here.
        with self.accelerator.no_sync(self.wrapped):
            self._backward_of(terms["loss"] / parts)
        after = _generators()
        for i, part in enumerate(pieces):
            piece = self.rows.take(chosen[part], self.device)
            _set_generators({k: v[i].clone() for k, v in states.items()})
            with self.accelerator.autocast():
                again = self.wrapped(encode, piece)
            grads = [codes[m].grad[part] for m in again if codes[m].grad is not None]  # type: ignore[index]
            kept = [again[m] for m in again if codes[m].grad is not None]
            torch.autograd.backward(kept, grads)
        _set_generators(after)
        return terms

    # -- epochs ----------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        train = self.at.means.result()
        valid = self._validate() if self.valid is not None else {}
        if valid:
            watched = self._watched(valid)
            if watched < self.at.best_loss:
                self.at.best_loss, self.at.best_epoch = watched, self.at.epoch
                self.at.stale = 0
                if self.settings.keep_best:
                    self.at.best = {k: v.clone() for k, v in self.network.state_dict().items()}
            else:
                self.at.stale += 1
        best = self.at.best_epoch if self.settings.keep_best else None
        self.at.history = self.at.history.with_epoch(train, valid, best)
        self.at.means = Means()
        self.at.epoch, self.at.step = self.at.epoch + 1, 0

    def _watched(self, valid: Mapping[str, float]) -> float:
        if self.settings.watch not in valid:
            raise ParameterError(
                f"training__watch: expected a term of the validation, one of {sorted(valid)}; got "
                f"{self.settings.watch!r}."
            )
        return valid[self.settings.watch]

    def _validate(self) -> dict[str, float]:
        """The same terms on the validation rows, in evaluation mode, with draws of their own.

        Every process goes through all of them; the first one's word counts, since a difference
        in the last digit must not let one process stop while the others go on.
        """
        assert self.valid is not None
        means = Means()
        self.network.eval()
        with torch.no_grad(), alone(), torch_scope(derive(self.seed, "validation")):
            for turn, phase in enumerate(self.phases):
                for at, stream in enumerate(phase.streams):
                    size = stream.batch_size or self.settings.batch_size
                    sums = Means()
                    for step in range(steps_per_epoch(len(self.valid), size, stream.least)):
                        chosen = np.arange(step * size, min((step + 1) * size, len(self.valid)))
                        with self.accelerator.autocast():
                            terms = stream.terms(self.valid.take(chosen, self.device))
                        sums.add({k: float(v) for k, v in terms.items()}, len(chosen))
                    means.add(_named(stream.judged(sums), turn, phase, at), 1)
        found = means.result()
        values = from_first(list(found.values()), self.device)
        return dict(zip(found, values, strict=True))

    # -- checkpoints -----------------------------------------------------------------------

    def _write(self, *, force: bool = False) -> None:
        if self.settings.checkpoint is None:
            return
        due = time.monotonic() - self.written >= self.settings.checkpoint_every_s
        if not (force or due) or not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "fingerprint": self.fingerprint,
            "epoch": self.at.epoch,
            "step": self.at.step,
            "history": self.at.history,
            "sums": self.at.means.sums,
            "rows": self.at.means.rows,
            "best_loss": self.at.best_loss,
            "best_epoch": self.at.best_epoch,
            "best": self.at.best,
            "stale": self.at.stale,
            "network": self.network.state_dict(),
            "optimizers": [_optimizer_state(o.state_dict()) for o in self.optimizers],
            "scaler": None if scaler is None else scaler.state_dict(),
            "generators": _generators(),
        }
        checkpoint.save(Path(self.settings.checkpoint), state)
        self.written = time.monotonic()

    def _resume(self) -> None:
        if self.settings.checkpoint is None:
            return
        state = checkpoint.load(Path(self.settings.checkpoint))
        if state is None:
            return
        if state["fingerprint"] != self.fingerprint:
            raise ParameterError(
                f"{self.settings.checkpoint} belongs to another fit that was stopped, of other "
                "data, parameters or seed: remove it to begin anew, or name another folder in "
                "training__checkpoint."
            )
        self.network.load_state_dict(state["network"])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            full = optimizer.state_dict()
            full["state"] = {int(k): v for k, v in held.items()}
            optimizer.load_state_dict(full)
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.at = _Standing(
            state["epoch"],
            state["step"],
            state["history"],
            Means(state["sums"], state["rows"]),
            state["best_loss"],
            state["best_epoch"],
            state["best"],
            state["stale"],
        )
        _set_generators(state["generators"])


def _named(values: Mapping[str, float], turn: int, phase: Phase, at: int) -> dict[str, float]:
    """Terms of one stream as the history has them: the first stream's loss is the loss."""
    loss = f"loss:{phase.name}.{at}" if turn or at else "loss"
    return {loss if k == "loss" else k: v for k, v in values.items()}


def _optimizer_state(state: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in state["state"].items()}


def _generators() -> dict[str, Tensor]:
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def _set_generators(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
