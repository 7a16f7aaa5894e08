"""What deep methods have in common: a network built in ``fit``, trained, kept and restored.

A deep method writes how its network is built (``_build``) and which named terms its loss has
(``_terms``); the training loop, validation, history and report all read the same terms.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import is_lazy
from triptych.contracts.method import Method
from triptych.errors import DataError, ParameterError, TrainingError
from triptych.media import FileRows
from triptych.modalities import Kind, Modalities, make_parts
from triptych.nn.decoders import Decoder
from triptych.nn.inputs import Input, learn_input
from triptych.nn.parts import Parts
from triptych.nn.recipes import (
    DecoderRecipe,
    build_encoder,
    default_decoder,
    default_encoder,
)
from triptych.seeding import check_random_state, derive, generator, torch_scope
from triptych.training.batches import Batch, Rows, steps_in_training
from triptych.training.history import History
from triptych.training.loop import Phase, Stream, train
from triptych.training.settings import Training
from triptych.values import encode, is_value

CODE_ROWS = 1024


class DeepMethod(Method):
    """Base of methods that train networks; stands before the panel's base in a class's bases.

    A method's constructor stores ``encoders``, ``training`` and ``random_state``.
    """

    encoders: Mapping[str, Any] | None
    training: Training
    random_state: int | None
    inputs_: dict[str, Input]
    seed_: int
    history_: History
    network_: nn.Module
    # Whether the loss asks which rows have equal content.
    _needs_content = False
    _reads_in_pieces = True
    # Steps of the training, for what changes on the way.
    _total_steps: int = 0

    # -- what a method writes --------------------------------------------------------------

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        """The network for modalities of these kinds, in alphabetical order."""
        raise NotImplementedError

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Named scalars of the loss; ``"loss"`` is their weighted sum."""
        raise NotImplementedError

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        """What one round of training does; one step on one stream unless a method says more."""
        stream = Stream(lambda batch: self._terms(network, batch), least=self._fewest)
        return (Phase("all", (stream,)),)

    @property
    def _fewest(self) -> int:
        """Fewest rows of a batch that the loss can use; a last batch of fewer is left out."""
        return 2

    def _rows(self, X: Modalities, y: NDArray[Any] | None, where: str) -> Rows:
        """The rows that the loss reads: all, unless a method can use only some."""
        numbers = self._targets(y, "validation y" if where == "validation" else "y")
        return Rows(X, self.inputs_, numbers, content=self._needs_content)

    def _before_training(self, network: Any, rows: Rows) -> None:
        """Before the first step, with the rows that are learnt from."""

    def _after_step(self, network: Any) -> None:
        """After every optimiser step."""

    def _after_training(self, X: Modalities) -> None:
        """A closing step after training, for instance a linear CCA on the codes."""

    # -- pieces ----------------------------------------------------------------------------

    def _encoder(self, name: str, kind: Kind, width: int, part: str = "encoder") -> nn.Module:
        with torch_scope(derive(self.seed_, part, name)):
            recipe = (self.encoders or {}).get(name)
            return build_encoder(recipe, kind, self.inputs_[name], width)

    def _encoder_parts(
        self, kinds: Mapping[str, Kind], width: int, part: str = "encoder"
    ) -> Parts:
        """Encoders by modality; those of another ``part`` of the network begin elsewhere."""
        return Parts(
            {name: self._encoder(name, kind, width, part) for name, kind in kinds.items()}
        )

    def _decoder(self, name: str, kind: Kind, width: int, recipe: Any = None) -> Decoder:
        recipe = default_decoder(kind) if recipe is None else recipe
        if isinstance(recipe, type) or not isinstance(recipe, DecoderRecipe):
            raise ParameterError(
                f"decoders: expected a recipe, for instance VectorDecoder(), for {name!r}; got "
                f"{recipe!r}."
            )
        with torch_scope(derive(self.seed_, "decoder", name)):
            decoder = recipe.build(kind, self.inputs_[name], width)
        if not (hasattr(decoder, "loss") and hasattr(decoder, "generate")):
            raise ParameterError(
                f"decoders: {type(recipe).__name__} for {name!r} builds no decoder, which has "
                "loss and generate."
            )
        return decoder

    def _seeded(self, key: str, make: Callable[[], nn.Module]) -> nn.Module:
        with torch_scope(derive(self.seed_, "part", key)):
            return make()

    # -- fit -------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self.training, Training):
            raise ParameterError(
                f"training: expected Training(...), got {type(self.training).__name__}."
            )
        check_random_state(self.random_state)
        if self.encoders is not None and not isinstance(self.encoders, Mapping):
            raise ParameterError(
                'encoders: expected a dict by modality name, for instance {"image": ConvNet()}; '
                f"got {type(self.encoders).__name__}."
            )

    def _fit(
        self,
        X: Modalities,
        y: NDArray[Any] | None,
        validation: tuple[Modalities, NDArray[Any] | None] | None,
    ) -> None:
        self._check_fit(X)
        self.seed_ = check_random_state(self.random_state)
        if validation is None and self.training.validation_share > 0:
            X, y, validation = self._set_aside(X, y)
        self.inputs_ = {m: self._learn_input(X, m) for m in sorted(X.names)}
        network = self._build({m: X.kind(m) for m in sorted(X.names)})
        rows = self._rows(X, y, "fit")
        valid = None if validation is None else self._rows(*validation, "validation")
        self._total_steps = steps_in_training(len(rows), self.training, self._fewest)
        self._before_training(network, rows)
        self.history_ = train(
            network,
            self._phases(network),
            rows,
            self.training,
            seed=self.seed_,
            valid=valid,
            after_step=lambda: self._after_step(network),
            fingerprint=self._fingerprint(rows) if self.training.checkpoint else "",
        )
        self.network_ = network.eval()
        self._after_training(X)

    def _check_fit(self, X: Modalities) -> None:
        """Refuse recipes for modalities that there are not, and what needs a seed without one."""
        for label in ("encoders", "decoders"):
            for name in getattr(self, label, None) or {}:
                if name not in X.names:
                    raise ParameterError(
                        f"{label}: {name!r} is no modality; there are {list(X.names)}."
                    )
        if self.training.checkpoint is not None and self.random_state is None:
            raise ParameterError("random_state: a fit with a checkpoint needs a seed, got None.")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and self.random_state is None:
            raise ParameterError(
                "random_state: a fit on several processes needs a seed, got None."
            )

    def _learn_input(self, X: Modalities, name: str) -> Any:
        """What turns a modality into tensors."""
        return learn_input(
            X, name, (self.encoders or {}).get(name) or default_encoder(X.kind(name))
        )

    def _targets(self, y: NDArray[Any] | None, name: str) -> NDArray[Any] | None:
        """Labels as numbers, for methods that learn from them; ``name`` is for errors."""
        return None

    def _set_aside(
        self, X: Modalities, y: NDArray[Any] | None
    ) -> tuple[Modalities, NDArray[Any] | None, tuple[Modalities, NDArray[Any] | None]]:
        n_valid = max(2, round(len(X) * self.training.validation_share))
        if len(X) - n_valid < 2:
            raise DataError(
                f"training__validation_share sets {n_valid} of {len(X)} rows aside; fewer than 2 "
                "are left to learn from."
            )
        order = generator(self.seed_, "validation").permutation(len(X))
        kept, held = np.sort(order[n_valid:]), np.sort(order[:n_valid])
        for name in X.names:
            if not X.present[name][kept].any():
                raise DataError(
                    f"training__validation_share sets all {int(X.present[name].sum())} rows aside "
                    f"that have modality {name!r}, so none is left to learn it from; give "
                    "validation rows yourself, or set validation_share to 0."
                )
        y_kept, y_held = (None, None) if y is None else (y[kept], y[held])
        return X[kept], y_kept, (X[held], y_held)

    def _fingerprint(self, rows: Rows) -> str:
        """What a checkpoint belongs to: method, parameters, seed and training data."""
        parameters = self.get_params(deep=False)
        parameters["training"] = {
            k: v
            for k, v in vars(self.training).items()
            if k not in ("checkpoint", "checkpoint_every_s", "progress")
        }
        arrays: dict[str, NDArray[Any]] = {}
        known = {
            k: encode(v, arrays, k) if not is_value(v) else repr(v) for k, v in parameters.items()
        }
        digest = hashlib.sha256(json.dumps([type(self).__name__, known], sort_keys=True).encode())
        for name, (values, _) in rows.stored.items():
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(np.ascontiguousarray(values.numpy()).data)
            digest.update(np.ascontiguousarray(rows.present[name].numpy()).data)
        if rows.y is not None:
            digest.update(f"y {tuple(rows.y.shape)} {rows.y.dtype}".encode())
            digest.update(np.ascontiguousarray(rows.y.numpy()).data)
        for name, lazy in rows.lazy.items():
            digest.update(f"{name} {lazy.kind(name)} {len(lazy)}".encode())
            values = lazy[name]
            if isinstance(values, FileRows):  # every file is read once, and none decoded
                digest.update(b"".join(part or b"absent" for part in values.digests()))
        return digest.hexdigest()

    # -- codes -----------------------------------------------------------------------------

    def _device(self) -> torch.device:
        wanted = self.training.device
        if wanted in ("cuda", "auto") and torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")

    def _batches(self, X: Modalities, *, content: bool = False) -> Iterator[Batch]:
        """All rows in order, in pieces, on the device, with the network in evaluation mode."""
        device = self._device()
        self.network_.to(device).eval()
        pieces = any(is_lazy(values) for values in X._data.values())
        whole = None if pieces else Rows(X, self.inputs_, content=content)
        for start in range(0, len(X), CODE_ROWS):
            at = np.arange(start, min(start + CODE_ROWS, len(X)))
            source = (
                Rows(X[at], self.inputs_, content=content, first=start) if whole is None else whole
            )
            yield source.take(at if whole is not None else at - start, device)

    def _codes(
        self, X: Modalities, code: Callable[[Batch], Mapping[str, Tensor]]
    ) -> dict[str, NDArray[np.float32]]:
        """Codes of all rows by name, computed in pieces without gradients."""
        found: dict[str, list[NDArray[np.float32]]] = {}
        with torch.no_grad():
            for batch in self._batches(X):
                for name, values in code(batch).items():
                    if not bool(torch.isfinite(values).all()):
                        raise TrainingError(
                            f"the part {name!r} of the codes is not finite for some of rows "
                            f"{int(batch.rows[0])} to {int(batch.rows[-1])}: the network's "
                            "weights, or the values of these rows, have grown too large."
                        )
                    found.setdefault(name, []).append(values.float().cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _parts(
        self,
        X: Modalities,
        code: Callable[[Batch], Mapping[str, Tensor]],
        names: Sequence[str] | None = None,
    ) -> Modalities:
        """Codes as parts; zero, and marked absent, where the modality of the name is.

        Args:
            X: Rows.
            code: Codes of a batch by name.
            names: Which, in this order; those of ``X`` when left out.
        """
        codes = self._codes(X, code)
        for name in X.names:
            if name in codes:
                codes[name][~X.present[name]] = 0
        kept = {m: codes[m] for m in names or X.names}
        return make_parts(kept, {m: mask for m, mask in X.present.items() if m in kept})

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        """Minus the loss on these rows, in batches of the training's size."""
        total, seen = 0.0, 0
        for batch, terms in self._judgements(X, y):
            total += float(terms["loss"]) * len(batch)
            seen += len(batch)
        return -total / seen

    def _judgements(
        self, X: Modalities, y: NDArray[Any] | None
    ) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
        """Batches of the training's size and the terms of their loss, without gradients."""
        rows = self._rows(X, y, "score")
        device, seen = self._device(), 0
        fewest = min(self._fewest, self.training.batch_size)
        self.network_.to(device).eval()
        with torch.no_grad(), torch_scope(derive(self.seed_, "score")):
            for start in range(0, len(rows), self.training.batch_size):
                at = np.arange(start, min(start + self.training.batch_size, len(rows)))
                if len(at) < fewest and seen:
                    continue
                batch = rows.take(at, device)
                yield batch, self._terms(self.network_, batch)
                seen += len(at)

    # -- saving ----------------------------------------------------------------------------

    @property
    def n_parameters(self) -> int:
        """How many weights the network has."""
        self._check_fitted()
        return sum(p.numel() for p in self.network_.parameters())

    def _learnt(self) -> dict[str, Any]:
        learnt = super()._learnt()
        learnt.pop("network_")
        weights = {k: v.cpu().numpy() for k, v in self.network_.state_dict().items()}
        return {**learnt, "weights": weights}

    def _restore(self, learnt: Mapping[str, Any]) -> None:
        rest = dict(learnt)
        weights = rest.pop("weights")
        super()._restore(rest)
        network = self._build({m: self.kinds_[m] for m in sorted(self.kinds_)})
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
        self.network_ = network.eval()
