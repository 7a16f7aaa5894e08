"""Deep canonically correlated autoencoders (Wang et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from triptych.arrays import check_choice
from triptych.contracts.method import Capabilities
from triptych.coordination._correlated import CorrelatedCodes
from triptych.coordination._rebuilding import RebuildingCodes
from triptych.coordination.deep_cca import correlation_loss
from triptych.training.settings import Training

OBJECTIVES = ("trace_norm", "squares", "eckart_young")


class DCCAE(RebuildingCodes, CorrelatedCodes):
    r"""Deep CCA whose codes must also rebuild their own modality.

    .. math:: L = -\sum_i \rho_i\big(f(X), g(Y)\big) +
              \lambda \sum_m \ell_m\big(x_m, \hat x_m(f_m(x_m))\big)

    With ``reconstruction`` = 0 it is :class:`DeepCCA`; the larger, the nearer to autoencoders side
    by side. The two terms have batches of their own size, as in the paper: ``training``'s, large,
    for the correlations, ``reconstruction_batch_size``, small, for the errors; their gradients are
    added before each step. Errors are means over a modality's standardised columns where the
    paper sums over pixels, so its lambda is ``reconstruction`` divided by the columns.

    Args:
        n_components: Width d of each modality's code.
        reconstruction: Weight lambda >= 0 of the errors.
        reconstruction_batch_size: Rows of the errors' batches; ``None`` for the same batch.
        objective: ``"trace_norm"``, ``"squares"`` or ``"eckart_young"``, as in :class:`DeepCCA`.
        ridge: Added to the variances of codes inside the objective.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        training: Epochs, batch size of the correlations, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        correlations_: Canonical correlations (d,) of the training codes, falling.
        projections_: By modality, (d, d): what the closing CCA does to the network's codes.
        means_: By modality, (d,): means of the network's codes.
        history_: ``"agreement"`` (minus the sum of correlations) and each modality's error.

    Rows in which a modality is absent are left out of ``fit``. An absent modality is rebuilt from
    the code that least squares predicts from those present. ``score`` is the mean correlation of
    the components on the rows given.

    References:
        Wang, Arora, Livescu, Bilmes 2015, On Deep Multi-View Representation Learning, ICML;
        long version arXiv:1602.01024.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
        distributes=True,
    )

    def __init__(
        self,
        n_components: int = 10,
        *,
        reconstruction: float = 1.0,
        reconstruction_batch_size: int | None = 100,
        objective: str = "trace_norm",
        ridge: float = 1e-4,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        training: Training = Training(batch_size=1000),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.reconstruction = reconstruction
        self.reconstruction_batch_size = reconstruction_batch_size
        self.objective = objective
        self.ridge = ridge
        self.encoders = encoders
        self.decoders = decoders
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("objective", self.objective, OBJECTIVES)

    def _least(self) -> int:
        return 4 if self.objective == "eckart_young" else super()._least()

    def _rows_needed(self) -> int:
        return self._least()

    def _agreement(
        self, network: Any, codes: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        return correlation_loss(self.objective, codes, self.ridge)
