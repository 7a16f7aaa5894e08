"""Deep multimodal clustering (Hu, Nie, Li 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number
from triptych.contracts.method import Capabilities, Data, Fission
from triptych.errors import DataError, DegenerateDataWarning, ModalityError, ParameterError, warn
from triptych.fission._partnered import PartneredRows
from triptych.losses.clustering import match_hinge, pair_scores, squash, unit, unrolled_clusters
from triptych.modalities import Kind, Modalities
from triptych.nn.clusters import DEAD, Clusters
from triptych.nn.parts import Parts
from triptych.nn.positions import Positions, build_positions
from triptych.training.batches import Batch, Rows
from triptych.training.settings import Training

Maps = dict[str, Any]


class Clustered(NamedTuple):
    """One modality of a batch.

    Args:
        u: Squashed local features, (b, p, c).
        centres: (b, k, d), not normalised.
        share: Assignments, (b, p, k).
        positions: What the encoder gave.
    """

    u: Tensor
    centres: Tensor
    share: Tensor
    positions: Positions


class DeepMultimodalClustering(PartneredRows, Fission):
    r"""The positions of each modality in k clusters, of which the j-th matches across modalities.

    Encoders keep positions: cells of a picture, frames of a sound, words of a text. Each
    cluster has a projection W_j, the same for all modalities, and in it a centre:

    .. math:: s_{ij} = \operatorname{softmax}_j \langle c_j / \lVert c_j \rVert, W_j u_i \rangle,
              \qquad c_j = \sum_i s_{ij} W_j u_i

    in turns, a fixed number of times. A pair of a row's modalities scores :math:`S = \sum_j
    \cos(c_j^a, c_j^b)`, and right pairs must score higher than wrong ones by a margin:

    .. math:: L = \operatorname{mean} \max\big(0, m + S(\text{wrong}) - S(\text{right})\big)

    No label and no place is needed: what is heard wherever it is seen comes to lie in one
    cluster. With more than two modalities L is the mean over pairs that a row has; rows of one
    modality have no part in it.

    Args:
        n_components: Width d of a centre.
        n_clusters: How many clusters k, at least 2. Fewer than there are things to tell apart
            makes clusters share; of too many some die or double.
        encoders: Recipes that keep positions (:class:`~triptych.nn.positions.ConvMap`,
            ``FrameNet``, ``WordStates``) or factories by modality name, else the kind's default.
        width: Features c of a position.
        iterations: How often centres are taken.
        sharpness: Factor z on the products inside the softmax, > 0; 1 in the authors' code. Larger
            gives each position to fewer clusters, and what is localised lies nearer its place.
        margin: m > 0; ``None`` takes k, the paper's.
        negatives: ``"one"`` wrong partner for each row, as in the paper, or ``"all"`` of the
            batch, in both directions. Rows of equal content are never wrong partners.
        warm_start: Whether ``fit`` goes on from the weights of the fit before, if there was one
            of the same modalities and sizes: scenes of one thing first, then of several.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and wrong partners.

    Attributes:
        parts_: The names of the modalities.
        usage_: By modality, the mean share of each cluster over all training positions, (k,).
        reseeded_: How many times a cluster died in this fit (less than a fiftieth of an equal
            share of the positions) and was seeded anew by splitting the fullest.
        history_: ``"loss"``, the mean scores ``"right"`` and ``"wrong"`` in [-k, k], and
            ``"dead"``, how many clusters are.

    ``transform`` gives centres (n, k, d) for each modality, of length below 1; any modality by
    itself will do. ``assign`` says which position belongs to which cluster, ``match`` how well a
    row's modalities fit, ``localise`` which positions make them fit. ``score`` is minus the loss.

    References:
        Hu, Nie, Li 2019, Deep Multimodal Clustering for Unsupervised Audiovisual Learning, CVPR,
        arXiv:1807.03094, sections 3.1 and 3.2; settings of the authors' code.

    Example:
        >>> import numpy as np
        >>> from triptych import Training
        >>> draw = np.random.default_rng(0)
        >>> X = {"image": draw.random((20, 1, 16, 16)), "sound": draw.random((20, 9, 5))}
        >>> few = Training(epochs=1, device="cpu")
        >>> model = DeepMultimodalClustering(4, n_clusters=3, training=few, random_state=0).fit(X)
        >>> model.transform(X)["sound"].shape, model.assign(X)["image"].shape
        ((20, 3, 4), (20, 3, 4, 4))
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("image", "sequence", "waveform", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
    )
    _needs_content = True
    usage_: dict[str, NDArray[np.float64]]
    reseeded_: int

    def __init__(
        self,
        n_components: int = 16,
        *,
        n_clusters: int = 10,
        encoders: Mapping[str, Any] | None = None,
        width: int = 128,
        iterations: int = 3,
        sharpness: float = 5.0,
        margin: float | None = None,
        negatives: str = "one",
        warm_start: bool = False,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_clusters = n_clusters
        self.encoders = encoders
        self.width = width
        self.iterations = iterations
        self.sharpness = sharpness
        self.margin = margin
        self.negatives = negatives
        self.warm_start = warm_start
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("n_clusters", self.n_clusters, low=2, integer=True)
        check_number("width", self.width, low=1, integer=True)
        check_number("iterations", self.iterations, low=1, integer=True)
        check_number("sharpness", self.sharpness, low=0, open_low=True)
        if self.margin is not None:
            check_number("margin", self.margin, low=0, open_low=True)
        check_choice("negatives", self.negatives, ("one", "all"))
        if self.training.micro_batch_size is not None:
            raise ParameterError(
                "training__micro_batch_size: DeepMultimodalClustering takes its batches whole."
            )

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        given = self.encoders or {}

        def encoder(m: str) -> Callable[[], nn.Module]:
            return lambda: build_positions(given.get(m), kinds[m], self.inputs_[m], self.width)

        encoders = Parts({m: self._seeded(f"encoder:{m}", encoder(m)) for m in kinds})
        network = self._seeded(
            "clusters",
            lambda: Clusters(encoders, self.n_clusters, self.n_components, self.width),
        )
        before = getattr(self, "network_", None)
        if self.warm_start and before is not None:
            known, new = before.state_dict(), network.state_dict()
            if {k: v.shape for k, v in known.items()} == {k: v.shape for k, v in new.items()}:
                network.load_state_dict(known)
                network.reseeded.zero_()  # type: ignore[operator]  # counted anew in each fit
        return network

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self.parts_ = X.names
        super()._fit(X, y, validation)

    def _before_training(self, network: Any, rows: Rows) -> None:
        for a, b in combinations(rows.content, 2):
            both = rows.present[a] & rows.present[b]
            # Where neither is the same throughout, some two rows differ in both.
            ids = [rows.content[m][both] for m in (a, b)]
            if all(bool((of != of[:1]).any()) for of in ids):
                return
        _warn(
            "wherever two modalities are together, one of them is the same in all rows: there are "
            "no wrong partners, and nothing is learnt."
        )

    # -- the loss --------------------------------------------------------------------------

    def _clustered(self, network: Any, batch: Batch) -> dict[str, Clustered]:
        found = {}
        for m in batch.names:
            at: Positions = network.encoders[m](batch.values[m], batch.lengths.get(m))
            u = squash(at.features.float())
            if at.mask is not None:
                u = torch.where(at.mask[..., None], u, 0.0)
            centres, share = unrolled_clusters(
                u,
                network.projections,
                at.mask,
                iterations=self.iterations,
                sharpness=self.sharpness,
            )
            found[m] = Clustered(u, centres, share, at)
        return found

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        clustered = self._clustered(network, batch)
        if network.training:
            network.watch(c.share[batch.present[m]] for m, c in clustered.items())
        nothing = torch.stack([c.centres.sum() for c in clustered.values()]).sum() * 0.0
        losses, right, wrong = [], [], []
        for a, b in combinations(batch.names, 2):
            both = batch.present[a] & batch.present[b]
            if int(both.sum()) < 2:
                continue
            scores = pair_scores(clustered[a].centres[both], clustered[b].centres[both])
            pairs = self._wrong([batch.content[m][both] for m in (a, b)])
            margin = float(self.n_clusters if self.margin is None else self.margin)
            loss = match_hinge(scores, pairs, margin=margin)
            if self.negatives == "all":
                loss = (loss + match_hinge(scores.T, pairs.T, margin=margin)) / 2
            # Rows that are all alike score alike, which costs the margin.
            loss = torch.where(pairs.any(), loss, margin)
            losses.append(loss)
            right.append(scores.detach().diagonal().mean())
            wrong.append((scores.detach() * pairs).sum() / pairs.sum().clamp_min(1))
        mean = {
            name: torch.stack(values).mean() if values else nothing
            for name, values in (("loss", losses), ("right", right), ("wrong", wrong))
        }
        return {**mean, "dead": network.dead().sum().float()}

    def _wrong(self, content: list[Tensor]) -> Tensor:
        """Which pairs (n, n) are compared: rows that differ in both modalities."""
        n, device = len(content[0]), content[0].device
        differ = torch.ones(n, n, dtype=torch.bool, device=device)
        for ids in content:
            differ &= ids[:, None] != ids[None, :]
        if self.negatives == "all":
            return differ
        # Everybody's wrong partner stands the same number of rows further on: where some differ.
        at = torch.arange(n, device=device)
        useful = differ[(at + at[1:, None]) % n, at].any(1)  # of shifts by 1 to n - 1
        shifts = (torch.nonzero(useful)[:, 0] + 1).tolist() or [1]
        shift = shifts[int(torch.randint(len(shifts), ()))]
        one = torch.eye(n, dtype=torch.bool, device=device).roll(shift, dims=0)
        return differ & one

    def _after_step(self, network: Any) -> None:
        network.reseed()

    def _after_training(self, X: Modalities) -> None:
        k = self.n_clusters
        totals = {m: np.zeros(k) for m in X.names}
        most = dict.fromkeys(X.names, 0)
        for batch, clustered in self._pieces(X):
            for m, c in clustered.items():
                there = c.share[batch.present[m]]
                totals[m] += there.sum((0, 1)).double().cpu().numpy()
                if len(there):
                    most[m] = max(most[m], int((there.sum(2) > 0).sum(1).max()))
        self.usage_ = {m: total / max(total.sum(), 1e-300) for m, total in totals.items()}
        self.reseeded_ = int(self.network_.reseeded)  # type: ignore[arg-type]
        for m, positions in most.items():
            if positions < k:
                _warn(f"modality {m!r} has at most {positions} positions for n_clusters={k}.")
        dead = np.flatnonzero(np.mean(list(self.usage_.values()), axis=0) < DEAD / k)
        if self.reseeded_ or len(dead):
            _warn(
                f"of {k} clusters some died while learning and were seeded anew, {self.reseeded_} "
                f"times in all; dead at the end: {dead.tolist()}. Fewer (n_clusters) may do."
            )

    # -- what is asked ---------------------------------------------------------------------

    def _pieces(self, X: Modalities) -> Iterator[tuple[Batch, dict[str, Clustered]]]:
        with torch.no_grad():
            for batch in self._batches(X):
                yield batch, self._clustered(self.network_, batch)

    def _transform(self, X: Modalities) -> Modalities:
        def centres(batch: Batch) -> dict[str, Tensor]:
            found = self._clustered(self.network_, batch)
            return {m: squash(c.centres) for m, c in found.items()}

        return self._parts(X, centres)

    def components(self, X: Data) -> Modalities:
        """Centres (n, k, d) of the clusters of each row and modality: what ``transform`` gives."""
        found: Modalities = self.transform(X)
        return found

    def assign(self, X: Data) -> Maps:
        """Which position belongs to which cluster.

        Args:
            X: Any modalities that were fitted, n rows.

        Returns:
            By modality, shares in [0, 1] that sum to 1 over clusters at each position: an array
            (n, k, h, w) for pictures, zero where a row lacks it; a list of n arrays (k, t_i) for
            all else, ``None`` where a row lacks it.
        """
        self._check_fitted()
        data = self._gate_transform(X)
        return self._maps(data, lambda c: {m: part.share.mT for m, part in c.items()})

    def match(self, X: Data) -> NDArray[np.float64]:
        """How well the modalities of each row belong together.

        Args:
            X: At least two of the modalities fitted, n rows, each of which has two or more.

        Returns:
            S in [-k, k], mean over the pairs of modalities that a row has, shape (n,).

        Raises:
            DataError: A row with fewer than two modalities; it is named.
        """
        self._check_fitted()
        data = self._gate_transform(X)
        masks = np.stack([data.present[m] for m in data.names])
        if (few := masks.sum(axis=0) < 2).any():
            raise DataError(
                f"match compares modalities: row {int(np.flatnonzero(few)[0])} has fewer than two "
                f"of {list(self.names_in_)}."
            )
        found = []
        for batch, clustered in self._pieces(data):
            total, count = torch.zeros(2, len(batch), device=batch.rows.device)
            for a, b in combinations(batch.names, 2):
                both = batch.present[a] & batch.present[b]
                own = (unit(clustered[a].centres) * unit(clustered[b].centres)).sum((1, 2))
                total, count = total + torch.where(both, own, 0.0), count + both
            found.append((total / count).double().cpu().numpy())
        return np.concatenate(found)

    def localise(self, X: Data, source: str, target: str) -> Any:
        r"""Where in one modality the other is found: what each position adds to their score.

        .. math:: h_i = \sum_j s_{ij} \langle c_j / \lVert c_j \rVert, W_j u_i \rangle
            \,/\, \lVert c_j' \rVert, \qquad \sum_i h_i = S

        with c of the source, and s, u and c' of the target.

        Args:
            X: Both modalities, present in all n rows.
            source: Modality that is looked for.
            target: Modality in which it is looked for.

        Returns:
            An array (n, h, w) for pictures, a list of n arrays (t_i,) for all else.

        Raises:
            ModalityError: A modality that is not in ``X``, or the same twice.
            DataError: A row that lacks one of them; it is named.
        """
        self._check_fitted()
        data = self._gate_transform(X)
        for m in (source, target):
            if m not in data or source == target:
                raise ModalityError(
                    f"localise: expected two of {list(data.names)}; got {source!r} and {target!r}."
                )
            if not data.present[m].all():
                row = int(np.flatnonzero(~data.present[m])[0])
                raise DataError(f"localise: row {row} has no {m!r}.")
        W = self.network_.projections

        def added(clustered: Mapping[str, Clustered]) -> dict[str, Tensor]:
            of, at = clustered[source], clustered[target]
            length = torch.linalg.vector_norm(at.centres, dim=2, keepdim=True)  # (b, k, 1)
            aimed = unit(of.centres) / length.clamp_min(1e-6)
            pulling = torch.einsum("bkd,kdc->bkc", aimed, W)
            return {target: (at.share * (at.u @ pulling.mT)).sum(2)[:, None]}

        found = self._maps(data.select(source, target), added)[target]
        return found[:, 0] if isinstance(found, np.ndarray) else [row[0] for row in found]

    def _maps(
        self, X: Modalities, read: Callable[[Mapping[str, Clustered]], Mapping[str, Tensor]]
    ) -> Maps:
        """Values (b, q, p) laid out by place: arrays of pictures, lists of all else."""
        arrays: dict[str, list[Any]] = {}
        for batch, clustered in self._pieces(X):
            for m, values in read(clustered).items():
                at = clustered[m].positions
                there = batch.present[m].cpu().numpy()
                laid = values.reshape(*values.shape[:2], *at.shape).float().cpu().numpy()
                if self.kinds_[m].form == "image":
                    laid[~there] = 0
                    arrays.setdefault(m, []).append(laid)
                    continue
                counts = [at.shape[0]] * len(batch)
                if at.mask is not None:
                    counts = at.mask.sum(1).tolist()
                arrays.setdefault(m, []).extend(
                    row[:, :count].copy() if is_there else None
                    for row, count, is_there in zip(laid, counts, there, strict=True)
                )
        return {
            m: np.concatenate(parts) if self.kinds_[m].form == "image" else parts
            for m, parts in arrays.items()
        }


def _warn(message: str) -> None:
    warn(f"DeepMultimodalClustering: {message}", DegenerateDataWarning)
