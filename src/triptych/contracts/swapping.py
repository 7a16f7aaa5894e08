"""Methods that decode one row's shared part beside another row's private parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.method import Data
from triptych.errors import CapabilityError, ShapeError
from triptych.modalities import Modalities
from triptych.training.batches import Batch


class SwappingMethod(DecodingMethod):
    """Base of decoding methods with a shared code and private ones; stands before the panel's.

    A method writes ``_swapped_codes``.
    """

    def _swapped_codes(self, network: Any, batch: Batch, donors: Batch) -> Mapping[str, Tensor]:
        """By fitted modality, what its decoder reads: ``batch``'s shared, the donors' private."""
        raise NotImplementedError

    def swap(self, X: Data, donors: Data) -> Modalities:
        """What rows of ``X`` would be with the private parts of other rows.

        Row i of the result is decoded from what row i of ``X`` shares and from the private parts
        of row i of ``donors``: of drawn letters, the letter of the one in the face of the other,
        where the parts are told apart. Rows that are to meet several
        donors are repeated. ``swap(X, X)`` is ``reconstruct(X)``.

        Args:
            X: Any modalities that ``transform`` takes, n rows.
            donors: The same, n rows. A modality that a donor lacks has an unknown private part,
                as in ``reconstruct``.

        Returns:
            Modalities of all fitted names, n rows, in the units of the data.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError: Different numbers of rows.
            CapabilityError: The method was fitted without decoders of the data.
        """
        self._check_fitted()
        self._check_decodes()
        shared, private = self._gate_transform(X), self._gate_transform(donors)
        if len(shared) != len(private):
            raise ShapeError(
                f"swap: row i of X meets row i of donors; got {len(shared)} rows and "
                f"{len(private)}."
            )

        def codes() -> Iterator[Mapping[str, Tensor]]:
            pairs = zip(self._batches(shared), self._batches(private), strict=True)
            for batch, given in pairs:
                yield self._swapped_codes(self.network_, batch, given)

        with torch.no_grad():
            return self._restored(codes())

    def _check_decodes(self) -> None:
        """Refuse, where this fit has no decoders of the data."""
        if not self.capabilities.reconstructs:
            raise CapabilityError(f"{type(self).__name__} has no decoders.")
