"""Strong coordination: partners' codes agree under a similarity function that is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number, row_chunks
from triptych.contracts.method import Data
from triptych.coordination._contrastive import LARGEST_SCALE, Network, PairLoss
from triptych.errors import ModalityError, ParameterError
from triptych.losses import similarity
from triptych.losses.agreement import (
    POSITIVE,
    disagreement,
    similarity_logits,
    whiteness,
)
from triptych.losses.contrastive import info_nce
from triptych.losses.gather import gather
from triptych.losses.partner_softmax import similarity_info_nce
from triptych.losses.tiled import check_codes
from triptych.modalities import Kind, Modalities
from triptych.neighbours import first_best
from triptych.nn.parts import Parts
from triptych.similarity import KERNELS, Kernel
from triptych.training.batches import Batch
from triptych.training.settings import Training

BILINEAR = "bilinear"
GUARDS = ("variance", "negatives")
TILE_ENTRIES = 4_000_000
MOST = 700.0  # exp of more is no finite float64
FARTHEST = 1e30


class _Form(nn.Module):
    """W of a bilinear similarity x W y, a contraction; starts as the inner product."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.eye(width))

    def contract_(self) -> None:
        """Cut singular values to at most 1, since agreement could be bought with larger ones."""
        U, s, V = torch.linalg.svd(self.W)
        if float(s[0]) > 1:
            self.W.copy_(U * s.clamp(max=1) @ V)


class _Network(Network):
    def __init__(
        self, encoders: nn.Module, numbers: Mapping[str, float], forms: Parts | None
    ) -> None:
        super().__init__(encoders, numbers)
        self.forms = forms


class SimilarityAlignment(PairLoss):
    r"""Codes of all modalities, trained to agree with their partners under a similarity g.

    With ``guard="variance"`` partners meet, and each code is held at mean 0, variance 1 and
    uncorrelated dimensions:

    .. math:: L = \frac{1}{n} \sum_i \Big[\tfrac{1}{2} g(a_i, a_i) + \tfrac{1}{2} g(b_i, b_i)
              - g(a_i, b_i)\Big] + w\,[\mathrm{guard}(A) + \mathrm{guard}(B)] / 2

    (1 - g for cosines, RBF and Laplacian; the two first terms keep linear, polynomial and
    exponential similarity from being bought with the length of codes). With
    ``guard="negatives"`` a row must agree with its partner more than with the other rows of the
    batch, by symmetric InfoNCE of :math:`s\,g`, or of :math:`\log g` where g is always positive
    (exponential, RBF, Laplacian). Without either, constant codes would agree perfectly.

    ``similarity`` is one of ``"cosine"``, ``"centred_cosine"``, ``"linear"``, ``"polynomial"``,
    ``"exponential"``, ``"rbf"``, ``"laplacian"``, a :class:`triptych.similarity.Kernel` with
    parameters of its own, or ``"bilinear"``: x W y with one W learnt for each pair of modalities,
    its singular values at most 1. Parameters of a kernel that are left open follow from the
    width d of what is tied, for codes of variance 1: degree 2, offset 1, gamma = 1 / d and
    width = sqrt(d), of positive kernels with negatives 1 / (t d) and sqrt(t d), where t is
    ``temperature``. Inside the loss, linear and bilinear are divided by d, so that the weight of
    the guard means the same for all.

    With ``partial=t`` only the first t dimensions of each code are tied, and the partner says
    nothing about the others. These are trained by the variance guard alone, whatever guards the
    tied ones: mean 0, variance 1, correlated neither with each other nor with the tied ones. So
    they hold something else of their modality, but nothing chooses what. ``retrieve`` and
    :meth:`similarities` read the tied ones.

    Args:
        n_components: Width of each code.
        similarity: Name or kernel, see above.
        partial: How many dimensions are tied; ``None`` for all.
        guard: ``"variance"`` or ``"negatives"``.
        guard_weight: Weight w > 0 of the variance guard.
        learn_width: Whether the width of ``rbf`` and ``exponential``, or 1 / gamma of
            ``laplacian``, is learnt; with negatives only, since without them the widest kernel
            agrees best.
        temperature: Of the softmax over negatives, in [0.01, 1]; where 1 / s starts, which is
            learnt and at least 0.01.
        encoders: Recipes or factories by modality name, else the kind's default.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"``; ``"a~b"``, the disagreement or, in nats, the InfoNCE of each pair;
            ``"a~b:similarity"``, the mean g of partners; ``"a:guard"``; with negatives also
            ``"a~b:information_lower_bound"`` = log n - L, ``"a~b:information_cap"``, ``"scale"``.
        kernel_: The similarity with every parameter a number; ``None`` for bilinear.
        effective_rank_: By modality, exp of the entropy of the variances along the principal
            axes of the training codes that are tied, from 1 (collapsed) to d.

    ``score`` is minus the loss, in batches of the training's size. Measures of
    :mod:`triptych.evaluation` compare codes by cosine, as for every method; ``retrieve`` by g.

    References:
        Bardes, Ponce and LeCun 2022, arXiv:2105.04906 (variance and covariance terms);
        van den Oord et al. 2018, arXiv:1807.03748 (negatives).
    """

    _on_sphere = False
    _needs_content = True
    kernel_: Kernel | None
    effective_rank_: dict[str, float]

    def __init__(
        self,
        n_components: int = 64,
        *,
        similarity: str | Kernel = "cosine",
        partial: int | None = None,
        guard: str = "variance",
        guard_weight: float = 1.0,
        learn_width: bool = False,
        temperature: float = 0.07,
        encoders: Mapping[str, Any] | None = None,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.similarity = similarity
        self.partial = partial
        self.guard = guard
        self.guard_weight = guard_weight
        self.learn_width = learn_width
        self.temperature = temperature
        self.encoders = encoders
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not isinstance(self.similarity, Kernel):
            check_choice("similarity", self.similarity, (*KERNELS, BILINEAR))
        check_choice("guard", self.guard, GUARDS)
        check_choice("learn_width", self.learn_width, (False, True))
        check_number("guard_weight", self.guard_weight, low=0, open_low=True)
        check_number("temperature", self.temperature, low=1 / LARGEST_SCALE, high=1)
        if self.partial is not None:
            check_number("partial", self.partial, low=1, high=self.n_components, integer=True)
        if self._name == "centred_cosine" and self._tied < 2:
            raise ParameterError(
                "n_components: centred_cosine correlates over the dimensions that are tied; "
                "expected at least 2, got 1."
            )
        if self.learn_width and self._name not in POSITIVE:
            raise ParameterError(
                f"learn_width: {self._name} has no width; {', '.join(POSITIVE)} have."
            )
        if self.learn_width and self.guard != "negatives":
            raise ParameterError(
                "learn_width: expected guard='negatives', since without them the widest kernel "
                f"agrees best; got guard={self.guard!r}."
            )

    @property
    def _name(self) -> str:
        return self.similarity.name if isinstance(self.similarity, Kernel) else self.similarity

    @property
    def _tied(self) -> int:
        return self.partial or self.n_components

    def _kernel(self) -> Kernel:
        """The similarity of tied codes; the inner product where W comes between."""
        d = self._tied
        if self._name == BILINEAR:
            return Kernel("linear")
        kernel = self.similarity if isinstance(self.similarity, Kernel) else Kernel(self._name)
        if kernel.name == "polynomial":
            return replace(
                kernel,
                gamma=kernel.gamma or 1 / d,
                degree=kernel.degree or 2,
                offset=1.0 if kernel.offset is None else kernel.offset,
            )
        size = d * self.temperature if self.guard == "negatives" else d
        if kernel.name == "laplacian":
            return replace(kernel, gamma=kernel.gamma or 1 / size)
        if kernel.name in ("rbf", "exponential"):
            return replace(kernel, width=kernel.width or math.sqrt(size))
        return kernel

    # -- fit -------------------------------------------------------------------------------

    def _numbers(self) -> dict[str, float]:
        if self.guard == "negatives" and self._name not in POSITIVE:
            return {"log_scale": -math.log(self.temperature)}
        # Of a kernel with a width, s makes it width / sqrt(s).
        return {"log_scale": 0.0} if self.learn_width else {}

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        forms = None
        if self._name == BILINEAR:
            forms = Parts({_key(a, b): _Form(self._tied) for a, b in self._pairs(tuple(kinds))})
        encoders = self._encoder_parts(kinds, self.n_components)
        return _Network(encoders, self._numbers(), forms)

    def _after_step(self, network: Any) -> None:
        with torch.no_grad():
            if hasattr(network, "log_scale"):
                network.log_scale.clamp_(max=math.log(LARGEST_SCALE))
            for key in network.forms or ():
                network.forms[key].contract_()

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        """The loss of n >= 2 rows of two modalities; what is bilinear is applied to ``za``."""
        kernel = self._kernel()
        unit = za.shape[1] if kernel.name == "linear" else 1
        if self.guard == "variance":
            return disagreement(kernel, za, zb).mean() / unit
        scale = network.log_scale.exp() if hasattr(network, "log_scale") else 1.0
        if kernel.name == "cosine":  # with fewer products
            return info_nce(za, zb, temperature=1 / scale, ids_a=ids_a, ids_b=ids_b)
        return similarity_info_nce(kernel, za, zb, factor=scale / unit, ids_a=ids_a, ids_b=ids_b)

    def _terms_of(
        self, network: Any, codes: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        whole = {m: gather(z).float() for m, z in codes.items()}
        for m, z in whole.items():
            check_codes(m, z)
        present = {m: gather(mask) for m, mask in batch.present.items()}
        content = {m: gather(ids) for m, ids in batch.content.items()}
        t = self._tied
        pairs: dict[str, Tensor] = {}
        shown: dict[str, Tensor] = {}
        with torch.autocast(batch.rows.device.type, enabled=False):
            for a, b in self._pairs(tuple(whole)):
                both = present[a] & present[b]
                # A slice is a view; taking rows by mask costs a copy there and one back.
                rows = slice(None) if bool(both.all()) else both
                za, zb = whole[a][rows][:, :t], whole[b][rows][:, :t]
                if network.forms is not None:
                    za = za @ network.forms[_key(a, b)].W
                if len(za) < 2:
                    # Nothing to compare; the sum keeps every parameter in the graph.
                    learnt = sum(p.sum() for p in network.parameters(recurse=False))
                    pairs[f"{a}~{b}"] = (za.sum() + zb.sum() + learnt) * 0.0
                    continue
                ids = [content[m][rows] if content else None for m in (a, b)]
                loss = pairs[f"{a}~{b}"] = self._pair(network, za, zb, *ids)
                shown |= self._about_pair(network, f"{a}~{b}", za, zb, loss)
            guards = {
                f"{m}:guard": self._guarded(z[present[m]])
                for m, z in whole.items()
                if self.guard == "variance" or t < self.n_components
            }
        loss = torch.stack(list(pairs.values())).mean()
        if guards:
            loss = loss + self.guard_weight * torch.stack(list(guards.values())).mean()
        if hasattr(network, "log_scale"):
            shown["scale"] = network.log_scale.detach().exp()
        return {"loss": loss, **pairs, **guards, **shown}

    def _guarded(self, z: Tensor) -> Tensor:
        """The variance guard of a modality's codes (n, d), or of those that are free."""
        if len(z) < 2:
            return z.sum() * 0.0
        if self.guard == "variance":
            return whiteness(z)
        # The negatives train what is tied; here it only says what the free ones must not repeat.
        tied = z[:, : self._tied].detach()
        tied = (tied - tied.mean(0)) / (tied.std(0) + 1e-6)
        return whiteness(torch.cat([tied, z[:, self._tied :]], dim=1))

    def _about_pair(
        self, network: Any, name: str, za: Tensor, zb: Tensor, loss: Tensor
    ) -> dict[str, Tensor]:
        kernel = self._learnt_kernel(network)
        with torch.no_grad():
            g = getattr(similarity, kernel.name)(za, zb, **kernel.parameters())
            # What lies beyond the range of numbers is no reason to stop.
            about = {f"{name}:similarity": g.clamp(-FARTHEST, FARTHEST).mean()}
            if self.guard == "negatives":
                cap = loss.new_tensor(math.log(len(za)))
                about[f"{name}:information_lower_bound"] = cap - loss.detach()
                about[f"{name}:information_cap"] = cap
            return about

    def _learnt_kernel(self, network: Any) -> Kernel:
        """The kernel with the width that was learnt."""
        kernel = self._kernel()
        if not self.learn_width:
            return kernel
        scale = float(network.log_scale.detach().exp())
        if kernel.gamma is not None:
            return replace(kernel, gamma=kernel.gamma * scale)
        assert kernel.width is not None
        return replace(kernel, width=kernel.width / math.sqrt(scale))

    def _after_training(self, X: Modalities) -> None:
        network: Any = self.network_
        self.kernel_ = None if self._name == BILINEAR else self._learnt_kernel(network)
        codes = self._codes(X, lambda batch: self._encode(network, batch))
        self.effective_rank_ = {
            m: effective_rank(z[X.present[m]][:, : self._tied]) for m, z in codes.items()
        }

    # -- comparing -------------------------------------------------------------------------

    def similarities(self, query: Data, among: Data) -> NDArray[np.float64]:
        """The similarity g of every query with every candidate.

        Args:
            query: One modality, q rows.
            among: One other modality, n rows; for a similarity that is not bilinear also the
                same one.

        Returns:
            Shape (q, n). What lies beyond the range of numbers is the largest number.

        Raises:
            ModalityError: If either is not one fitted modality, or no W was learnt for the two.
            DataError: If a row is absent.
        """
        return self._values(np.concatenate(list(self._compared(query, among))))

    def retrieve(
        self, query: Data, among: Data, k: int = 10
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Partners of largest similarity g of each query, in the tied dimensions.

        Arguments and results are those of every coordination method, with g for cosine.
        """
        check_number("k", k, low=1, integer=True)
        # By logarithms, which tell apart what is 0 as a number.
        rows, logits = first_best(self._compared(query, among), k)
        return rows, self._values(logits)

    def _values(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._name in POSITIVE:
            return np.exp(np.minimum(logits, MOST))
        return logits

    def _compared(self, query: Data, among: Data) -> Iterator[NDArray[np.float64]]:
        """g, or its logarithm where it is positive, of some queries with all, (some of q, n)."""
        self._check_fitted()
        (a, za), (b, zb) = (
            (name, torch.from_numpy(np.asarray(codes, dtype=np.float64)[:, : self._tied]))
            for name, codes in (self._side("query", query), self._side("among", among))
        )
        if self._name == BILINEAR:
            forms: Any = self.network_.forms
            held = [key for key in (_key(a, b), _key(b, a)) if key in tuple(forms)]
            if not held:
                raise ModalityError(f"no W was learnt for {a!r} and {b!r}.")
            W = forms[held[0]].W.detach().cpu().double()
            za = za @ (W if held[0] == _key(a, b) else W.T)
        kernel = self.kernel_ or Kernel("linear")
        step = max(1, TILE_ENTRIES // len(zb))
        for part in row_chunks(len(za), step):
            yield similarity_logits(kernel, za[part], zb).numpy()


def effective_rank(Z: NDArray[np.floating[Any]]) -> float:
    """Directions that codes (n, d) use: exp of the entropy of the shares of variance, 1 to d.

    1 also for codes that are all the same.

    References:
        Roy and Vetterli 2007, EUSIPCO (there of singular values; here of their squares).
    """
    centred = np.asarray(Z, dtype=np.float64) - np.mean(Z, axis=0, dtype=np.float64)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    if variances.sum() <= 0:
        return 1.0
    shares = variances / variances.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _key(a: str, b: str) -> str:
    return f"{len(a)}:{a}:{b}"  # two pairs of names are never the same
