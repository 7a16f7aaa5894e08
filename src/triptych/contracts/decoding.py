"""Deep methods with a decoder for every modality: rebuilding what is absent, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.contracts.deep import CODE_ROWS, DeepMethod
from triptych.contracts.method import Data
from triptych.errors import CapabilityError, ShapeError
from triptych.modalities import Kind, Modalities, as_modalities
from triptych.nn.decoders import Decoder, TokenModel
from triptych.nn.inputs import END, SequenceInput, TextInput
from triptych.nn.parts import Parts
from triptych.nn.sequence_decoder import SequenceValues
from triptych.training.batches import Batch, Rows


class DecodingMethod(DeepMethod):
    """Base of deep methods whose network has ``decoders`` by modality.

    A method writes ``_decoder_codes``: what each decoder reads, for all fitted names, from the
    modalities that a batch has. Its constructor stores ``decoders``, recipes by name or ``None``.
    """

    decoders: Mapping[str, Any] | None

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        """By modality, the code (b, d) that its decoder reads."""
        raise NotImplementedError

    def _decoder_parts(self, kinds: Mapping[str, Kind], width: int) -> Parts:
        given = self.decoders or {}
        return Parts({m: self._decoder(m, k, width, given.get(m)) for m, k in kinds.items()})

    def _rebuilding(
        self, network: Any, codes: Mapping[str, Tensor], batch: Batch, *, given: str | None = None
    ) -> dict[str, Tensor]:
        """Mean loss of each decoder over the rows that have its modality, and ``given`` if any."""
        found = {}
        for name in batch.names:
            names = (name,) if given is None else (given, name)
            mask = (
                batch.present[name]
                if given is None
                else batch.present[name] & batch.present[given]
            )
            rows = slice(None) if bool(mask.all()) else mask
            lengths = batch.lengths.get(name)
            if not bool(mask.any()):
                found[name] = codes[name].sum() * 0.0
                continue
            each = network.decoders[name].loss(
                codes[name][rows],
                batch.values[name][rows],
                None if lengths is None else lengths[rows],
            )
            found[name] = batch.mean(each, mask, *names)
        return found

    def _read_by_decoders(self, network: Any, code: Tensor) -> Mapping[str, Tensor]:
        """By modality, what its decoder reads of codes (b, d): the code itself unless said."""
        return dict.fromkeys(self.names_in_, code)

    def _decode(self, codes: NDArray[np.float64]) -> Modalities:
        device = self._device()
        self.network_.to(device).eval()
        whole = torch.from_numpy(codes.astype(np.float32)).to(device)
        pieces = torch.split(whole, CODE_ROWS)
        with torch.no_grad():
            return self._restored(self._read_by_decoders(self.network_, part) for part in pieces)

    def _reconstruct(self, X: Modalities) -> Modalities:
        with torch.no_grad():
            return self._restored(
                self._decoder_codes(self.network_, batch) for batch in self._batches(X)
            )

    def _restored(self, codes: Iterable[Mapping[str, Tensor]]) -> Modalities:
        """Modalities, in the units of the data, of what decoders read, piece by piece."""
        pieces: dict[str, list[Any]] = {m: [] for m in self.names_in_}
        for piece in codes:
            for name, parts in pieces.items():
                decoder: Decoder = self.network_.decoders[name]  # type: ignore[index, assignment]
                reader, made = self.inputs_[name], decoder.generate(piece[name])
                if isinstance(reader, SequenceInput):
                    assert isinstance(decoder, SequenceValues)
                    parts.append(reader.restore(made, decoder.lengths(piece[name])))
                else:
                    parts.append(reader.restore(made))
        data = {
            m: [t for part in parts for t in part]
            if isinstance(parts[0], list)
            else np.concatenate(parts)
            for m, parts in pieces.items()
        }
        return Modalities(data, kinds={m: self.kinds_[m].form for m in data})

    def reconstruction_loss(self, given: Data, truth: Data) -> dict[str, float]:
        """How badly texts are rebuilt from other modalities, in nats per token.

        Args:
            given: Modalities from which the code is made.
            truth: Texts of the same rows, by name; rows in which they are absent are left out.

        Returns:
            By name of each text in ``truth``: negative log-likelihood per token, ends counted.
        """
        self._check_fitted()
        data, known = self._gate_transform(given), self._texts(truth, given)
        if not known:
            return {}
        rows = Rows(as_modalities(truth).select(*known), self.inputs_)
        sums = {m: [0.0, 0.0] for m in known}
        with torch.no_grad():
            for at, batch in enumerate(self._batches(data)):
                codes = self._decoder_codes(self.network_, batch)
                start = at * CODE_ROWS
                wanted = rows.take(np.arange(start, start + len(batch)), batch.rows.device)
                for name in known:
                    decoder: TokenModel = self.network_.decoders[name]  # type: ignore[index, assignment]
                    nats, tokens = decoder.token_loss(
                        codes[name], wanted.values[name], wanted.lengths[name]
                    )
                    mask = wanted.present[name]
                    sums[name][0] += float(nats[mask].sum())
                    sums[name][1] += float(tokens[mask].sum())
        return {m: nats / max(tokens, 1.0) for m, (nats, tokens) in sums.items()}

    def reconstruction_baseline(self, truth: Data) -> dict[str, float]:
        """Nats per token of texts for someone who knows only how often tokens occur.

        Frequencies are those of the training texts, each token counted once more than seen.
        """
        self._check_fitted()
        data, found = as_modalities(truth), {}
        for name in self._texts(truth, truth):
            reader = self.inputs_[name]
            assert isinstance(reader, TextInput)
            counts = reader.frequency + 1.0
            cost = -np.log(counts / counts.sum())
            tokens, lengths = reader.tensors(data[name], data.present[name])
            flat = tokens.numpy()
            used = np.arange(flat.shape[1]) < lengths.numpy()[:, None]
            n_ends = int(data.present[name].sum())
            end = cost[END]
            total = cost[flat][used].sum() + end * n_ends
            found[name] = float(total / max(int(lengths.sum()) + n_ends, 1))
        return found

    def _texts(self, truth: Data, given: Data) -> list[str]:
        data = as_modalities(truth)
        if len(data) != len(as_modalities(given)):
            raise ShapeError(f"given has {len(as_modalities(given))} rows, truth has {len(data)}.")
        names = [m for m in data.names if data.kind(m).form == "text" and m in self.names_in_]
        for name in names:
            if not hasattr(self.network_.decoders[name], "token_loss"):  # type: ignore[index]
                raise CapabilityError(f"the decoder of {name!r} gives no likelihood of tokens.")
        return names
