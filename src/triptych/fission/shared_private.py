"""Shared and private codes: agreement, separation, reconstruction, and labels if there are any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number
from triptych.contracts.method import Capabilities, Fission
from triptych.contracts.supervised import SupervisedMethod
from triptych.contracts.swapping import SwappingMethod
from triptych.errors import CapabilityError, DataError, DegenerateDataWarning, ParameterError, warn
from triptych.fission._network import Network, of_others
from triptych.fission._penalties import (
    AGREEMENTS,
    SEPARATIONS,
    agreement_is_seen,
    agreement_of,
    check_agreement_is_seen,
    separation_of,
)
from triptych.fission._presets import domain_separation, misa
from triptych.losses.divergence import scale_invariant_mse
from triptych.modalities import SHARED, Kind, Modalities
from triptych.nn.decoders import SquaredErrorDecoder
from triptych.nn.parts import Parts
from triptych.nn.shared_private import Form
from triptych.training.batches import Batch
from triptych.training.history import Means
from triptych.training.loop import Phase, Stream
from triptych.training.settings import Training


class SharedPrivate(SupervisedMethod, SwappingMethod, Fission):
    r"""For each modality a shared code s_m, which its partners have too, and a private code p_m.

    .. math:: L = \alpha\, \mathrm{agree}(s) + \beta\, \mathrm{separate}(s, p)
              + \gamma \sum_m \ell_m\big(x_m, D_m(s_{m' \neq m}, p_m)\big)
              + \tau\, \ell_y\big(y, C(s, p)\big)

    *Agreement* asks partners for the same shared code, sample by sample (``"contrastive"``,
    ``"cosine"``), or only for shared codes of one law (``"cmd"``, ``"mmd"``, ``"adversarial"``):
    then rows need no partners, and nothing says that partners' codes are near. *Separation* makes
    shared and private codes uncorrelated or independent over the batch. *Reconstruction* needs
    both parts; by default the shared part that a decoder reads is taken from another modality of
    the row, so that what only one modality knows has no place in it. *Labels*, where ``fit`` is
    given any, are predicted from the parts.

    With no more rows in a batch than columns in a code, codes can be orthogonal whatever they
    hold; a fit on so few warns. A shared code wider than a modality is allowed: it is a curved
    picture of few numbers, and holds no more than they do.

    Args:
        n_components: Width d of the shared code.
        n_private: Width of each private code.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (all kinds but waveforms).
        width: Width of each encoder's output.
        agreement: Weight alpha; the term is a mean over pairs of modalities.
        separation: Weight beta; the term is a mean over pairs of codes.
        reconstruction: Weight gamma.
        agreement_by: ``"contrastive"`` (InfoNCE), ``"cosine"``, ``"cmd"`` (five central moments),
            ``"mmd"`` (five Gaussian kernels about the median distance) or ``"adversarial"`` (a
            classifier of modalities, gradient reversed).
        agreement_after: Share of the training after which agreement counts.
        separation_by: ``"decorrelation"``, ``"orthogonality"`` (rows at unit length),
            ``"centred"`` (the same, columns centred first), ``"frobenius"``, ``"samples"`` (angle
            in each row) or ``"hsic"``.
        between_private: Whether private codes are kept from one another as well.
        reconstruction_by: ``"squared"`` or ``"scale_invariant"``, which forgives a constant
            added to a whole vector or picture.
        form: How the networks hang together.
        task: ``"auto"``, ``"classification"``, ``"multilabel"`` or ``"regression"``.
        task_weight: Weight tau of the labels' loss.
        modalities: How many modalities the weights are meant for; a fit on another number is
            refused. ``None``: any number.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        parts_: ``("shared", *names)``.
        target_: What is predicted; ``None`` after a fit without labels.
        history_: ``"loss"``, ``"agreement"`` (mean over the batches that have pairs to measure it
            on), ``"separation"``, the error of each modality, and ``"task"`` where there are
            labels.

    ``transform`` gives ``"shared"``, the mean of the shared codes of the modalities present (at
    unit length, where each is), and a private code for each modality given. ``reconstruct`` reads
    a private code of zeros, which stands for "unknown", where a modality is absent. ``score`` is
    minus the loss; with labels accuracy or R². :meth:`domain_separation` and :meth:`misa` have
    the settings of two papers.

    References:
        Bousmalis et al. 2016, Domain Separation Networks, arXiv:1608.06019 (the four terms).
        Hazarika et al. 2020, MISA, arXiv:2005.03545 (centred separation, between private codes
        too). Both hold lengths constant in the gradient, which lets codes shrink; correlations
        are the default here.
        Salzmann et al. 2010, Factorized Orthogonal Latent Spaces, AISTATS.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "sequence", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        uses_labels=True,
        reconstructs=True,
        predicts=True,
        distributes=True,
    )

    def __init__(
        self,
        n_components: int = 64,
        *,
        n_private: int = 32,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        width: int = 256,
        agreement: float = 1.0,
        separation: float = 1.0,
        reconstruction: float = 1.0,
        agreement_by: str = "contrastive",
        agreement_after: float = 0.0,
        separation_by: str = "decorrelation",
        between_private: bool = False,
        reconstruction_by: str = "squared",
        form: Form = Form(),
        task: str = "auto",
        task_weight: float = 1.0,
        modalities: int | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_private = n_private
        self.encoders = encoders
        self.decoders = decoders
        self.width = width
        self.agreement = agreement
        self.separation = separation
        self.reconstruction = reconstruction
        self.agreement_by = agreement_by
        self.agreement_after = agreement_after
        self.separation_by = separation_by
        self.between_private = between_private
        self.reconstruction_by = reconstruction_by
        self.form = form
        self.task = task
        self.task_weight = task_weight
        self.modalities = modalities
        self.training = training
        self.random_state = random_state

    # -- the authors' settings -------------------------------------------------------------

    @classmethod
    def domain_separation(
        cls, n_components: int = 100, *, agreement_by: str = "adversarial", **parameters: Any
    ) -> Self:
        """Domain separation networks: laws agree, pairs are not asked for.

        One map to shared codes, private encoders apart, both codes added for the decoder, the
        scale-invariant error, and labels from the shared codes alone. Weights 0.01
        (reconstruction), 0.25 (agreement, after the first twentieth of the training) and 0.075
        (separation, of two modalities, where the paper adds two terms); momentum with steps of
        0.01, batches of 32. The paper's modalities have one shape, so that it shares the whole
        shared encoder; here each has an encoder of its own below the common map.

        Args:
            n_components: Width of every code.
            agreement_by: ``"adversarial"`` or ``"mmd"``.
            parameters: Others of the class, in place of these.

        References:
            Bousmalis et al. 2016, arXiv:1608.06019. Weights, rate and the late agreement are
            those of a public port.
        """
        given = domain_separation(n_components, agreement_by)
        return cls(n_components, **{**given, **parameters})

    @classmethod
    def misa(cls, n_components: int = 128, *, modalities: int = 3, **parameters: Any) -> Self:
        """MISA: modality-invariant and modality-specific codes, for labels.

        Sigmoid codes of layer-normed features, one map to the shared ones; CMD of five moments;
        centred separation, between private codes too; decoders that rebuild the features from
        the sum of both codes; attention among all codes and two layers to the label. Weights 1
        (agreement), 0.3 (separation, which the paper adds up over its m + m(m - 1)/2 pairs) and 1
        (reconstruction, a mean over modalities). Adam 1e-4, batches of 128, dropout 0.5; of a
        validation the labels' loss alone chooses the epoch. Here
        gradients are clipped by their norm, the rate falls along a cosine, and the layer of
        attention norms first; the paper clips by value and halves the rate when it stops gaining.

        Args:
            n_components: Width of every code and of the features.
            modalities: How many there will be; sums of the paper are means here, so that the
                weights depend on it, and a fit on another number is refused.
            parameters: Others of the class, in place of these.

        References:
            Hazarika et al. 2020, arXiv:2005.03545; weights are the defaults of its code.
        """
        check_number("modalities", modalities, low=2, integer=True)
        given = misa(n_components, modalities)
        return cls(n_components, **{**given, **parameters})

    # -- fit -------------------------------------------------------------------------------

    @property
    def _needs_content(self) -> bool:  # type: ignore[override]
        return self.agreement_by == "contrastive"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("n_private", self.n_private, low=1, integer=True)
        check_number("width", self.width, low=1, integer=True)
        for name in ("agreement", "separation", "reconstruction", "task_weight"):
            check_number(name, getattr(self, name), low=0)
        if self.modalities is not None:
            check_number("modalities", self.modalities, low=2, integer=True)
        check_number("agreement_after", self.agreement_after, low=0, high=1)
        check_choice("agreement_by", self.agreement_by, AGREEMENTS)
        check_choice("separation_by", self.separation_by, tuple(SEPARATIONS))
        check_choice("reconstruction_by", self.reconstruction_by, ("squared", "scale_invariant"))
        if not isinstance(self.form, Form):
            raise ParameterError(f"form: expected Form(...), got {self.form!r}.")
        self.form.check_widths(self.n_components, self.n_private)
        if self.separation_by == "samples" and self.n_components != self.n_private:
            raise ParameterError(
                "separation_by='samples' takes the angle between the codes of a row, so "
                f"n_components and n_private must be equal; got {self.n_components} and "
                f"{self.n_private}."
            )
        if self.agreement_by == "cmd" and self.form.codes == "linear":
            raise ParameterError(
                "agreement_by='cmd' divides by the width of the interval that codes lie in; "
                "form__codes='linear' gives none. Choose 'sigmoid' or 'sphere'."
            )
        if self.decoders and self.form.rebuilds == "features":
            raise ParameterError(
                "decoders: with form__rebuilds='features' nothing is decoded to data; leave them "
                "out."
            )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self.parts_ = (SHARED, *X.names)
        if self.modalities not in (None, (m := len(X.names))):
            raise ParameterError(
                f"modalities: the weights are meant for {self.modalities} and there are {m}, "
                f"{list(X.names)}. Take SharedPrivate.misa(modalities={m}), or None for weights "
                "of your own."
            )
        widest = max(self.n_components, self.n_private)
        rows = min(len(X), self.training.batch_size)
        if rows <= widest and self.separation:
            warn(
                f"SharedPrivate: batches of {rows} rows and codes of {widest} columns. So few "
                "rows can be orthogonal whatever the codes hold, and separation then says little. "
                "Take narrower codes or more rows.",
                DegenerateDataWarning,
            )
        self._check_agreement(X, "X")
        if validation is not None:
            self._check_agreement(validation[0], "validation")
            if y is not None and validation[1] is None:
                raise DataError(
                    "validation: this fit learns labels, and without labels of the validation "
                    "rows its best epoch would be chosen as if there were none; give "
                    "validation=(X_valid, y_valid)."
                )
        super()._fit(X, y, validation)

    def _set_aside(self, X: Modalities, y: Any) -> Any:
        kept, y_kept, (held, y_held) = super()._set_aside(X, y)
        self._check_agreement(kept, "X without what training__validation_share sets aside")
        self._check_agreement(held, "the rows that training__validation_share sets aside")
        return kept, y_kept, (held, y_held)

    def _check_agreement(self, X: Modalities, where: str) -> None:
        """Refuse rows that say nothing of agreement, which would then count as perfect."""
        if self.agreement:
            check_agreement_is_seen(self.agreement_by, X.present, where)

    def _score(self, X: Modalities, y: Any) -> float:
        if y is not None and self.target_ is not None:
            return super()._score(X, y)
        self._check_agreement(X, "score")
        sums = Means()
        for batch, terms in self._judgements(X, y):
            sums.add({k: float(v) for k, v in terms.items()}, len(batch))
        return -self._judged(sums)["loss"]

    def _judged(self, sums: Means) -> dict[str, float]:
        """Means of terms, and their loss: batches that show no agreement count as the others."""
        found = sums.result()
        lacking = (1 - sums.share("agreement")) * found.get("agreement", 0.0)
        return {**found, "loss": found["loss"] + self.agreement * lacking}

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        stream = Stream(
            lambda batch: self._terms(network, batch), least=self._fewest, judged=self._judged
        )
        return (Phase("all", (stream,)),)

    def _build(self, kinds: Mapping[str, Kind]) -> Network:
        def maps(part: str, names: Iterable[str], n_in: int, n_out: int) -> Parts:
            made = {m: self._seeded(f"{part}:{m}", lambda: nn.Linear(n_in, n_out)) for m in names}
            return Parts(made)

        form, d, width = self.form, self.n_components, self.width
        wide = d if form.joined == "added" else d + self.n_private
        network = Network(
            form,
            self._encoder_parts(kinds, width),
            maps("shared", [SHARED] if form.common_map else kinds, width, d),
            maps("private", kinds, width, self.n_private),
            self._decoder_parts(kinds, wide)
            if form.rebuilds == "input"
            else maps("decoder", kinds, wide, width),
            (width, d, self.n_private),
        )
        if form.private_encoders:
            network.private_encoders = self._encoder_parts(kinds, width, "private encoder")
        if self.agreement_by == "adversarial":
            network.domains = self._seeded(
                "domains",
                lambda: nn.Sequential(nn.Linear(d, 100), nn.GELU(), nn.Linear(100, len(kinds))),
            )
        if self.agreement_after:
            network.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if (target := self.target_) is not None:
            network.head = self._seeded("head", lambda: network.reader(tuple(kinds), target.width))
        return network

    # -- codes -----------------------------------------------------------------------------

    def _transform(self, X: Modalities) -> Modalities:
        def parts(batch: Batch) -> dict[str, Tensor]:
            network: Any = self.network_
            shared, private = network.split(batch)
            return {SHARED: network.mean_shared(shared, batch.present), **private}

        return self._parts(X, parts, (SHARED, *X.names))

    # -- terms of the loss -----------------------------------------------------------------

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        features = network.features(batch)
        shared, private = network.split(batch, features)
        agreement = agreement_of(
            self.agreement_by,
            shared,
            batch,
            span=2.0 if self.form.codes == "sphere" else 1.0,
            domains=getattr(network, "domains", None),
        )
        separation = separation_of(
            self.separation_by, shared, private, batch, between_private=self.between_private
        )
        kept: Tensor | float = 1.0
        if self.form.withheld:
            kept = (torch.rand(len(batch), 1) >= self.form.withheld).to(batch.rows.device)
        codes = {}
        for m in batch.names:
            own = self.form.shared_from == "own"
            common = shared[m] if own else of_others(m, shared, batch)
            codes[m] = self.form.both(common, private[m] * kept)
        errors = self._errors(network, codes, batch, features)
        loss = (
            self._agreement_weight(network) * agreement
            + self.separation * separation
            + self.reconstruction * torch.stack(list(errors.values())).sum()
        )
        terms = {"separation": separation, **errors}
        if agreement_is_seen(self.agreement_by, batch.present):
            terms = {"agreement": agreement, **terms}
        if batch.y is not None and self.target_ is not None:
            outputs = network.read(shared, private, batch)
            terms["task"] = self._task_loss(outputs, batch)
            loss = loss + self.task_weight * terms["task"]
        return {"loss": loss, **terms}

    def _agreement_weight(self, network: Any) -> float:
        """Nothing at the beginning of a training that says so, whole in every judgement."""
        if not self.agreement_after or not network.training:
            return self.agreement
        late = int(network.steps) >= self.agreement_after * self._total_steps
        return self.agreement if late else 0.0

    def _after_step(self, network: Any) -> None:
        if self.agreement_after:
            network.steps += 1

    def _errors(
        self,
        network: Any,
        codes: Mapping[str, Tensor],
        batch: Batch,
        features: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Mean error of what is rebuilt over the rows that have it, by modality."""
        if self.form.rebuilds == "input" and self.reconstruction_by == "squared":
            return self._rebuilding(network, codes, batch)
        found = {}
        for m in batch.names:
            rows, decoder = batch.present[m], network.decoders[m]
            if not bool(rows.any()):
                found[m] = codes[m].sum() * 0.0
                continue
            if self.form.rebuilds == "input" and not isinstance(decoder, SquaredErrorDecoder):
                part = batch.part(rows)
                each = decoder.loss(codes[m][rows], part.values[m], part.lengths.get(m))
                found[m] = batch.mean(each, rows, m)
                continue
            made = decoder(codes[m][rows]).float()
            truth = (features[m] if self.form.rebuilds == "features" else batch.values[m])[rows]
            if self.reconstruction_by == "scale_invariant":
                each = scale_invariant_mse(made, truth.float())
            else:
                each = (made - truth.float()).square().flatten(1).mean(1)
            found[m] = batch.mean(each, rows, m)
        return found

    def _outputs(self, network: Any, batch: Batch) -> Tensor:
        outputs: Tensor = network.read(*network.split(batch), batch)
        return outputs

    # -- decoding --------------------------------------------------------------------------

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        return self._swapped_codes(network, batch, batch)

    def _swapped_codes(self, network: Any, batch: Batch, donors: Batch) -> Mapping[str, Tensor]:
        shared, private = network.split(batch)
        common = network.mean_shared(shared, batch.present)
        if donors is not batch:
            private = network.split(donors)[1]
        nothing = torch.zeros(len(batch), self.n_private, device=common.device)
        known = {m: p * donors.present[m][:, None] for m, p in private.items()}
        return {m: self.form.both(common, known.get(m, nothing)) for m in self.names_in_}

    def _check_decodes(self) -> None:
        if self.form.rebuilds == "features":
            raise CapabilityError(
                "this SharedPrivate rebuilds features, not data (form__rebuilds='features'); it "
                "can neither reconstruct nor swap."
            )

    def _reconstruct(self, X: Modalities) -> Modalities:
        self._check_decodes()
        return super()._reconstruct(X)

    def reconstruction_loss(self, given: Any, truth: Any) -> dict[str, float]:
        """Nats per token of texts rebuilt from other modalities, as every decoding method."""
        self._check_fitted()
        self._check_decodes()
        return super().reconstruction_loss(given, truth)
