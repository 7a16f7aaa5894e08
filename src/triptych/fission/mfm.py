"""The multimodal factorisation model (Tsai et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from triptych.arrays import check_choice, check_modalities_named, check_number
from triptych.contracts.method import Capabilities, Data, Fission
from triptych.contracts.supervised import SupervisedMethod
from triptych.contracts.swapping import SwappingMethod
from triptych.errors import DataError, ParameterError
from triptych.fission._mfm_network import Latents, MFMNetwork, proper_subsets
from triptych.losses.divergence import decorrelation, hsic, mmd
from triptych.losses.gather import gather
from triptych.modalities import SHARED, Kind, Modalities
from triptych.nn.parts import Parts
from triptych.seeding import check_random_state, derive, torch_scope
from triptych.training.batches import Batch
from triptych.training.settings import Training

KERNELS = ("imq", "gaussian", "authors")
GENERATE_ROWS = 1024
# A z_y of all modalities learns from complete rows alone, one of any of them from every row.
JOINTLY_FROM = 0.5


class MFM(SupervisedMethod, SwappingMethod, Fission):
    r"""A discriminative factor of all modalities, and a generative factor of each.

    Codes :math:`z_y, z_{a1}, \ldots, z_{am} \sim N(0, I)` become factors
    :math:`f_y = G_y(z_y)`, :math:`f_{am} = G_{am}(z_{am})`; the label is :math:`D(f_y)` and
    modality m is :math:`F_m(f_{am}, f_y)`. Encoders read z_y from all modalities together and
    z_am from its own. What is minimised is a relaxed Wasserstein distance between the *joint*
    laws of data and label and of what is generated:

    .. math:: L = \sum_m \lambda_m c_m(x_m, \hat x_m) + \tau\, c_y(y, \hat y)
              + \lambda \sum_z \mathrm{MMD}\big(Q_z, N(0, I)\big)
              + \iota \sum_{z, z'} \mathrm{corr}^2(z, z') + \sigma S

    *Surrogates* (S) learn codes from fewer modalities: of every training row some are hidden, and
    a network of its own must give z_y and the hidden z_a (held constant here, so that they are
    not learnt to be easy), from which the unchanged decoders rebuild what is hidden, and D the
    label. Only codes are imputed, never raw data. Where fewer than half of the training rows are
    complete, surrogates give z_y of all rows: an encoder of all modalities together would learn
    from the few that are.

    The divergences see one code at a time, and the prior says more: that codes are independent.
    Without iota nothing keeps the label, which z_y has, out of z_a as well, and decoders may then
    read it there.

    c is the mean squared error of standardised columns (or nats per token), and for labels the
    cross-entropy or, for numbers, the absolute error.

    Args:
        n_components: Width d of z_y.
        n_private: Width of each z_a; or widths by modality name.
        factors: Width of every factor f.
        encoders: Recipes or factories by modality name, else the kind's default; the encoders of
            z_a, of z_y and of surrogates are made alike. (The authors' z_y of sequences comes
            from a memory fusion network; here encoders meet in one hidden layer.)
        decoders: Decoder recipes by name, else the kind's default (all kinds but waveforms).
        width: Width of the features that meet for z_y.
        weights: λ_m by modality name, 1 where left out.
        prior: Weight λ of the divergences from the prior.
        kernel: Of the divergence: ``"imq"`` with the constant 2 d of Wasserstein autoencoders,
            ``"gaussian"`` with the median distance, or ``"authors"``, a Gaussian of width d / √2,
            which is nearly constant for wide codes and then needs weights of 10 to 200.
        independence: Weight ι of squared correlations between any two codes; 0 is the paper's.
        surrogate: Weight σ.
        dropout: Share of hidden units of generators and D left out while training.
        task: ``"auto"``, ``"classification"``, ``"multilabel"`` or ``"regression"``.
        task_weight: Weight τ.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and draws.

    Attributes:
        parts_: ``("shared", *names)``.
        jointly_: Whether z_y of complete rows is read from all modalities together.
        history_: ``"loss"``, ``"task"``, the error of each modality, ``"prior"`` (summed over
            codes), ``"dependence"`` (summed over pairs of codes; where ``independence`` weighs
            it), and of surrogates ``"surrogate"`` (squared distance of codes),
            ``"surrogate task"`` and ``"surrogate error"``.

    ``transform`` gives z_y as ``"shared"`` and z_a by modality; :meth:`factors_of` the factors.
    Decoders all see f_y, so it may come to hold what is private: decode with private codes
    permuted (:meth:`swap`) to see. Wide private codes come to hold what is shared: a few columns
    and ``independence=1`` keep more of it in z_y. ``score`` is accuracy or R².

    References:
        Tsai, Liang, Zadeh, Morency, Salakhutdinov 2019, Learning Factorized Multimodal
        Representations, ICLR, arXiv:1806.06176.
        Tolstikhin et al. 2018, Wasserstein Auto-Encoders, ICLR, arXiv:1711.01558 (the kernel).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "sequence", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        needs_labels=True,
        reconstructs=True,
        predicts=True,
    )
    jointly_: bool = True

    def __init__(
        self,
        n_components: int = 32,
        *,
        n_private: int | Mapping[str, int] = 32,
        factors: int = 32,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        width: int = 128,
        weights: Mapping[str, float] | None = None,
        prior: float = 1.0,
        kernel: str = "imq",
        independence: float = 0.0,
        surrogate: float = 1.0,
        dropout: float = 0.0,
        task: str = "auto",
        task_weight: float = 1.0,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_private = n_private
        self.factors = factors
        self.encoders = encoders
        self.decoders = decoders
        self.width = width
        self.weights = weights
        self.prior = prior
        self.kernel = kernel
        self.independence = independence
        self.surrogate = surrogate
        self.dropout = dropout
        self.task = task
        self.task_weight = task_weight
        self.training = training
        self.random_state = random_state

    # -- fit -------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        widths = self.n_private if isinstance(self.n_private, Mapping) else {"": self.n_private}
        for name, value in widths.items():
            key = f"n_private__{name}" if name else "n_private"
            check_number(key, value, low=1, integer=True)
        for name in ("factors", "width"):
            check_number(name, getattr(self, name), low=1, integer=True)
        for name in ("prior", "independence", "surrogate", "task_weight"):
            check_number(name, getattr(self, name), low=0)
        if not isinstance(self.weights, Mapping | None):
            raise ParameterError(
                'weights: expected a dict by modality name, for instance {"image": 2.0}; got '
                f"{self.weights!r}."
            )
        for name, weight in (self.weights or {}).items():
            check_number(f"weights__{name}", weight, low=0)
        check_choice("kernel", self.kernel, KERNELS)
        check_number("dropout", self.dropout, low=0, high=0.99)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self.parts_ = (SHARED, *X.names)
        for label in ("weights", "n_private"):
            given = getattr(self, label)
            check_modalities_named(label, given if isinstance(given, Mapping) else (), X.names)
        if isinstance(self.n_private, Mapping):
            lacking = [m for m in X.names if m not in self.n_private]
            if lacking:
                raise ParameterError(f"n_private: no width for {lacking}.")
        complete = np.logical_and.reduce(list(X.present.values()))
        self.jointly_ = bool(complete.mean() >= JOINTLY_FROM)
        super()._fit(X, y, validation)

    def _build(self, kinds: Mapping[str, Kind]) -> MFMNetwork:
        assert self.target_ is not None
        given = self.n_private
        widths = {m: given[m] if isinstance(given, Mapping) else given for m in kinds}
        n_out = self.target_.width
        own = {m: self._encoder(m, k, widths[m], "private encoder") for m, k in kinds.items()}
        parts = [
            Parts(own),
            self._encoder_parts(kinds, self.width),
            self._encoder_parts(kinds, self.width, "surrogate"),
            self._decoder_parts(kinds, 2 * self.factors),
        ]
        network = self._seeded(
            "network",
            lambda: MFMNetwork(
                *parts,
                widths={"": self.n_components, **widths},
                width=self.width,
                factors=self.factors,
                n_out=n_out,
                dropout=self.dropout,
                jointly=self.jointly_,
            ),
        )
        assert isinstance(network, MFMNetwork)
        return network

    # -- terms of the loss -----------------------------------------------------------------

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        z = network.latents(batch)
        errors = self._rebuilding(network, network.decoder_codes(z), batch)
        known = torch.stack(list(batch.present.values())).any(dim=0)
        prior = self._from_prior(z.label, known)
        for m, code in z.private.items():
            prior = prior + self._from_prior(code, batch.present[m])
        terms = {**errors, "prior": prior}
        loss = self._weighted(errors) + self.prior * prior
        if self.independence:
            terms["dependence"] = self._dependence(z, known, batch)
            loss = loss + self.independence * terms["dependence"]
        if batch.y is not None:
            terms["task"] = self._task_loss(network.read(z), batch)
            loss = loss + self.task_weight * terms["task"]
        if self.surrogate:
            added = self._surrogate_terms(network, batch, z)
            terms |= added
            loss = loss + self.surrogate * (
                added["surrogate"]
                + added["surrogate error"]
                + self.task_weight * added.get("surrogate task", torch.zeros_like(loss))
            )
        return {"loss": loss, **terms}

    def _weighted(self, errors: Mapping[str, Tensor]) -> Tensor:
        weights = self.weights or {}
        return torch.stack([weights.get(m, 1.0) * error for m, error in errors.items()]).sum()

    def _from_prior(self, code: Tensor, present: Tensor) -> Tensor:
        """MMD of the codes (b, d) that are there and as many draws of N(0, I)."""
        z = gather(code)[gather(present)]
        if len(z) < 2:
            return code.sum() * 0.0
        d = z.shape[1]
        drawn = torch.randn(z.shape).to(z.device)
        if self.kernel == "imq":
            return mmd(z, drawn, kernel="imq", widths=math.sqrt(2 * d))
        return mmd(z, drawn, widths=d / math.sqrt(2) if self.kernel == "authors" else None)

    def _dependence(self, z: Latents, known: Tensor, batch: Batch) -> Tensor:
        """Squared correlations of every two codes, over the rows that have both."""
        codes = [(z.label, known), *((z.private[m], batch.present[m]) for m in batch.names)]
        found = z.label.sum() * 0.0
        for (one, a), (other, b) in combinations(codes, 2):
            rows = gather(a & b)
            if int(rows.sum()) > 1:
                found = found + decorrelation(gather(one)[rows], gather(other)[rows])
        return found

    def _surrogate_terms(self, network: Any, batch: Batch, z: Latents) -> dict[str, Tensor]:
        """How far surrogates are from the codes, and what is made of them from the data."""
        shown = proper_subsets(batch.present)
        usable = torch.stack(list(shown.values())).any(dim=0)
        made = network.without(batch, shown)
        known = usable & torch.stack(list(batch.present.values())).all(dim=0)
        apart = _mean_where((made.label - z.label.detach()).square().mean(dim=1), known)
        hidden = {m: batch.present[m] & ~shown[m] & usable for m in batch.names}
        for m, mask in hidden.items():
            distance = (made.private[m] - z.private[m].detach()).square().mean(dim=1)
            apart = apart + _mean_where(distance, mask)
        # What is shown keeps its own private code, as it would when modalities are absent.
        private = {m: torch.where(shown[m][:, None], z.private[m], made.private[m]) for m in shown}
        codes = network.decoder_codes(Latents(made.label, private))
        gone = Batch(batch.values, batch.lengths, hidden, batch.rows)
        terms = {
            "surrogate": apart,
            "surrogate error": self._weighted(self._rebuilding(network, codes, gone)),
        }
        if batch.y is not None:
            terms["surrogate task"] = self._task_loss(network.read(made), batch, usable)
        return terms

    def _loss_of_labels(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self._asked().task == "regression":
            return F.l1_loss(outputs, y)
        return super()._loss_of_labels(outputs, y)

    # -- codes, labels, decoding -----------------------------------------------------------

    def _outputs(self, network: Any, batch: Batch) -> Tensor:
        outputs: Tensor = network.read(network.latents(batch))
        return outputs

    def _transform(self, X: Modalities) -> Modalities:
        def parts(batch: Batch) -> dict[str, Tensor]:
            network: Any = self.network_
            z = network.latents(batch)
            return {SHARED: z.label, **{m: z.private[m] for m in X.names}}

        return self._parts(X, parts, (SHARED, *X.names))

    def factors_of(self, X: Data) -> Modalities:
        """Factors f_y as ``"shared"`` and f_a by modality, each (n, factors).

        Args:
            X: Any modalities that ``transform`` takes.
        """
        self._check_fitted()
        data = self._gate_transform(X)

        def parts(batch: Batch) -> dict[str, Tensor]:
            network: Any = self.network_
            label, private = network.factors_of(network.latents(batch))
            return {SHARED: label, **{m: private[m] for m in data.names}}

        return self._parts(data, parts, (SHARED, *data.names))

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        codes: Mapping[str, Tensor] = network.decoder_codes(network.latents(batch))
        return codes

    def _swapped_codes(self, network: Any, batch: Batch, donors: Batch) -> Mapping[str, Tensor]:
        label, private = network.latents(batch).label, network.latents(donors).private
        codes: Mapping[str, Tensor] = network.decoder_codes(Latents(label, private))
        return codes

    def sample(self, n: int, random_state: int | None = None) -> tuple[Modalities, NDArray[Any]]:
        """Rows of all modalities and their labels, generated from codes drawn from the prior.

        Args:
            n: Rows.
            random_state: Seed of the draws; ``None`` for others every time.
        """
        self._check_fitted()
        check_number("n", n, low=1, integer=True)
        network: Any = self.network_.to(self._device()).eval()
        outputs: list[NDArray[np.float32]] = []

        def codes() -> Iterator[Mapping[str, Tensor]]:
            for start in range(0, n, GENERATE_ROWS):
                rows = min(GENERATE_ROWS, n - start)
                drawn = torch.randn(rows, sum(network.sizes)).to(self._device())
                label, *private = torch.split(drawn, network.sizes, dim=1)
                z = Latents(label, dict(zip(network.private.names, private, strict=True)))
                outputs.append(network.read(z).float().cpu().numpy())
                yield network.decoder_codes(z)

        with torch.no_grad(), torch_scope(derive(check_random_state(random_state), "sample")):
            made = self._restored(codes())
        return made, self._asked().labels(np.concatenate(outputs))

    # -- interpretation --------------------------------------------------------------------

    def information(self, X: Data) -> dict[str, dict[str, float]]:
        r"""How much f_y and f_a each tell about what is generated, by modality.

        .. math:: r_m = \frac{\mathrm{HSIC}_n(f_y, \hat x_m)}{\mathrm{HSIC}_n(f_{am}, \hat x_m)}

        HSIC with Gaussian kernels of the median width, divided by the sizes of both centred
        kernels, so that 1 is the most.

        Args:
            X: Any modalities that ``transform`` takes, n >= 2 rows; all kinds but text are
                judged.

        Returns:
            By modality ``"shared"``, ``"private"`` and their ``"ratio"``, which is infinite where
            the private factor tells nothing.
        """
        self._check_fitted()
        data = self._gate_transform(X)
        if len(data) < 2:
            raise DataError(f"information needs at least 2 rows; got {len(data)}.")
        network: Any = self.network_
        pieces: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for batch in self._batches(data):
                label, private = network.factors_of(network.latents(batch))
                found = {SHARED: label}
                for m in self._judged():
                    made = network.decoders[m].generate(torch.cat([label, private[m]], dim=1))
                    found |= {f"f:{m}": private[m], f"x:{m}": made.flatten(1)}
                for key, value in found.items():
                    pieces.setdefault(key, []).append(value)
            whole = {key: torch.cat(parts) for key, parts in pieces.items()}
            answer = {}
            for m in self._judged():
                made = whole[f"x:{m}"]
                shared = float(hsic(whole[SHARED], made, normalised=True))
                own = float(hsic(whole[f"f:{m}"], made, normalised=True))
                ratio = shared / own if own > 0 else math.inf
                answer[m] = {"shared": shared, "private": own, "ratio": ratio}
        return answer

    def gradient_flow(self, X: Data, factor: str = SHARED) -> dict[str, NDArray[np.float32]]:
        r"""How strongly what is generated follows a factor, place by place.

        .. math:: \lVert \partial \hat x_m^t / \partial f \rVert_F^2

        Args:
            X: Any modalities that ``transform`` takes, n rows.
            factor: ``"shared"`` (f_y) or ``"private"`` (each modality's own f_a).

        Returns:
            By modality, all kinds but text, in standardised units: columns of vectors (n, p),
            pixels of images (n, h, w), and steps of sequences (n, t) up to the longest seen.
        """
        self._check_fitted()
        check_choice("factor", factor, (SHARED, "private"))
        data = self._gate_transform(X)
        network: Any = self.network_
        first = 0 if factor == SHARED else self.factors
        found: dict[str, list[NDArray[np.float32]]] = {m: [] for m in self._judged()}
        for batch in self._batches(data):
            with torch.no_grad():
                codes = network.decoder_codes(network.latents(batch))
            for m, parts in found.items():
                flow = _squared_slopes(
                    network.decoders[m].generate, codes[m], range(first, first + self.factors)
                )
                form = self.kinds_[m].form
                if form in ("image", "sequence"):  # over channels, or over a frame's columns
                    flow = flow.sum(dim=1 if form == "image" else 2)
                parts.append(flow.cpu().numpy())
        return {m: np.concatenate(parts) for m, parts in found.items()}

    def _judged(self) -> list[str]:
        return [m for m in self.names_in_ if self.kinds_[m].form != "text"]


def _squared_slopes(made: Any, code: Tensor, columns: range) -> Tensor:
    """Sum over columns k of the code of the squared derivative of ``made(code)`` by it."""
    total: Tensor | None = None
    # Rows do not mix, so one direction for all of them is one column of every row's Jacobian;
    # cuDNN has no second derivative of a GRU, which the products with directions are made of.
    with torch.backends.cudnn.flags(enabled=False):
        for k in columns:
            along = torch.zeros_like(code)
            along[:, k] = 1
            _, moved = torch.autograd.functional.jvp(made, code, along)  # type: ignore[no-untyped-call]
            slope: Tensor = moved.detach().square()
            total = slope if total is None else total + slope
    assert total is not None
    return total


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (b,) where mask (b,) is true; 0 where it nowhere is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
