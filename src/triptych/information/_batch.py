"""Redundancy, uniques and synergy of high-dimensional data, batch by batch.

The decomposition of Bertschinger et al. asks for the joint law q of (x1, x2, y) that keeps the
laws of (x1, y) and (x2, y) and has the least information I_q(x1, x2; y). Here it is sought on
the rows of a batch: three classifiers give p(y | x1), p(y | x2) and p(y | x1, x2); two networks
give affinities of every x1 and x2 of the batch for every label; Sinkhorn's scaling turns these
into a q with the marginals asked for, and the networks are trained to make I_q small.

When to use it: labels of a few classes, sides of many columns, thousands of rows. When not: data
that are tables, or become ones by clustering, for which the exact programme is better in every
way; a continuous target; many classes beside small batches, where most labels are hardly there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from triptych.arrays import as_labels, check_number
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ShapeError
from triptych.information._held_out import Floats, Ready, over_batches
from triptych.information._samples import as_sample
from triptych.linalg import standardise
from triptych.losses.coupling import coupled, information_of, refined
from triptych.modalities import Modalities
from triptych.nn.critics import dense
from triptych.seeding import check_random_state, derive, generator, torch_scope
from triptych.training.batches import Batch, Rows, steps_per_epoch
from triptych.training.loop import Phase, Stream, train
from triptych.training.settings import Training

# Shares of the rows: to train on, to choose epochs and temperatures on, to read values on.
SHARES = (0.5, 0.15, 0.35)
LEAST_ROWS = 200
BATCHES = 5
CODES = 10
NAME = "batch (Sinkhorn)"

SETTINGS = Training(batch_size=256, learning_rate=1e-3, weight_decay=1e-4)


class Quarters(NamedTuple):
    """Who tells what about y: four estimates that add up to I(x1, x2; y)."""

    redundancy: Estimate
    unique_1: Estimate
    unique_2: Estimate
    synergy: Estimate

    def to(self, unit: str) -> Quarters:
        """The same in another unit."""
        return Quarters(*(part.to(unit) for part in self))


def decomposition(
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    *,
    width: int = 64,
    depth: int = 2,
    steps: int = 300,
    affinity_steps: int | None = None,
    refine: int = 20,
    training: Training = SETTINGS,
    random_state: int | None = None,
) -> Quarters:
    """The batch estimator of the partial information decomposition.

    Half of the rows train classifiers and affinities, some choose epochs and temperatures, the
    rest are read in batches of disjoint rows. In each batch, with I_q of the q found there,

    - redundancy = I(x1; y) + I(x2; y) - I_q,
    - unique_1 = I_q - I(x2; y), unique_2 = I_q - I(x1; y),
    - synergy = I(x1, x2; y) - I_q.

    I(x1; y) and I(x2; y) are those of the batch's q, so redundancy and uniques are consistent to
    rounding and the uniques not negative; I(x1, x2; y) is what labels give, the entropy of y less
    the cross-entropy of its classifier on held-out rows, so that overconfidence is not taken for
    synergy. The synergy can be negative by chance.

    A q that is not the best makes the redundancy too small and the uniques too large. Since
    Sinkhorn's scaling of the batch's own mixture lowers I_q with every round, towards the least,
    ``refine`` rounds of it follow the networks.

    Args:
        x1: Numbers, shape (n, p) or (n,), n >= 200.
        x2: Of the same rows, shape (n, q) or (n,).
        y: Labels (n,), two classes or more.
        width: Units of a hidden layer.
        depth: Hidden layers of every network; 0 makes them linear.
        steps: Training steps of the classifiers, rounded up to whole epochs; sets
            ``training.epochs``.
        affinity_steps: The same for the affinities; ``None`` for as many. With 0 there are none,
            and ``refine`` starts from sides that are independent given y.
        refine: Rounds after the networks, on each batch that is read.
        training: Batch size, learning rate, schedule, device.
        random_state: Seed.

    Returns:
        Four estimates in nats; the standard errors are over held-out batches, given the networks.

    Raises:
        DataError: Too few rows, one class only, NaN, or numbers of the wrong type.
        ShapeError: The three are not of the same rows.

    References:
        Liang et al. 2023, arXiv:2302.12247, sec. 3.2 (there exp and scaling by division; here in
        logarithms; there without temperatures, a learnt scale and refinement).
        Bertschinger et al. 2014, arXiv:1311.2852.
    """
    seed = check_random_state(random_state)
    for name, value, low in (("width", width, 1), ("depth", depth, 0), ("steps", steps, 1)):
        check_number(name, value, low=low, integer=True)
    more = steps if affinity_steps is None else affinity_steps
    for name, value in (("affinity_steps", more), ("refine", refine)):
        check_number(name, value, low=0, integer=True)
    data = _Data.read(x1, x2, y)
    fit, stop, held = _parts(data.y, seed)
    data = data.scaled(fit)
    size = min(training.batch_size, len(held) // BATCHES)
    batch = min(training.batch_size, len(fit))
    per_epoch = steps_per_epoch(len(fit), batch)
    settings = replace(training, epochs=math.ceil(steps / per_epoch), batch_size=batch)
    rows, watched = data.rows(fit), data.rows(stop)

    with torch_scope(derive(seed, "weights")):
        classifiers = _Classifiers(data.widths, data.k, width=width, depth=depth)
        affinities = _Affinities(data.widths[:2], data.k, width=width, depth=depth)
    phase = Phase("classifiers", (Stream(classifiers.terms),))
    train(classifiers, (phase,), rows, settings, seed=seed, valid=watched)
    classifiers.calibrate(data.tensors(stop))

    def terms(batch: Batch) -> dict[str, Tensor]:
        a, b = batch.values["x1"], batch.values["x2"]
        with torch.no_grad():
            # The loop moves the network that it trains, and leaves this one where it was.
            first, second, _ = classifiers.to(a.device).log_posteriors(a, b)
        # The tolerance of the paper; what it misses, rounds without gradient mend when read.
        log_q = coupled(affinities(a, b), first, second, rounds=30, tolerance=1e-2)
        return {"loss": information_of(log_q)[0]}

    if more:
        phase = Phase("affinities", (Stream(terms),))
        settings = replace(settings, epochs=math.ceil(more / per_epoch))
        train(affinities, (phase,), rows, settings, seed=derive(seed, "affinities"), valid=watched)
        classifiers.to("cpu")
    else:
        affinities.silence()
    return _read(classifiers, affinities, data, held, size, refine, settings)


# -- data --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Data:
    x1: Floats
    x2: Floats
    y: NDArray[np.int64]
    k: int

    @classmethod
    def read(cls, x1: ArrayLike, x2: ArrayLike, y: ArrayLike) -> _Data:
        a, b = as_sample(x1, "x1"), as_sample(x2, "x2")
        if len(a) != len(b):
            raise ShapeError(
                f"x1 and x2 must be of the same rows; got {len(a)} of x1 and {len(b)} of x2."
            )
        labels, codes, counts = np.unique(
            as_labels(y, len(a)), return_inverse=True, return_counts=True
        )
        if len(labels) < 2:
            raise DataError(f"y: expected two classes or more, got one: {labels[0]}.")
        if len(a) < LEAST_ROWS:
            raise DataError(
                f"the batch decomposition takes at least {LEAST_ROWS} rows, and is poor below "
                f"thousands; got {len(a)}."
            )
        if counts.min() < 10:
            raise DataError(
                f"y: expected at least 10 rows of every class, which three parts share; got "
                f"{counts.min()} of {labels[counts.argmin()]}."
            )
        return cls(a, b, codes.astype(np.int64), len(labels))

    @property
    def widths(self) -> tuple[int, int, int]:
        """Columns of x1, of x2, of both."""
        p, q = self.x1.shape[1], self.x2.shape[1]
        return p, q, p + q

    def scaled(self, fit: NDArray[np.intp]) -> _Data:
        def on_scale(data: Floats) -> Floats:
            seen = standardise(data[fit])
            # A constant column becomes zero, whatever it does outside the training part.
            return np.where(seen.constant, 0.0, (data - seen.means) / seen.spreads)

        return replace(self, x1=on_scale(self.x1), x2=on_scale(self.x2))

    def rows(self, part: NDArray[np.intp]) -> Rows:
        reader = Ready()
        X = Modalities({"x1": self.x1[part], "x2": self.x2[part]})
        return Rows(X, {"x1": reader, "x2": reader}, self.y[part])

    def tensors(self, part: NDArray[np.intp]) -> tuple[Tensor, Tensor, Tensor]:
        a, b = (torch.from_numpy(v[part].astype(np.float32)) for v in (self.x1, self.x2))
        return a, b, torch.from_numpy(self.y[part])


def _parts(y: NDArray[np.int64], seed: int) -> tuple[NDArray[np.intp], ...]:
    """Three parts with the same shares of every class, each in random order."""
    rng = generator(seed, "parts")
    parts: list[list[NDArray[np.intp]]] = [[], [], []]
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        first, second = (int(len(rows) * sum(SHARES[:i])) for i in (1, 2))
        for part, piece in zip(parts, np.split(rows, [first, second]), strict=True):
            part.append(piece)
    return tuple(rng.permutation(np.concatenate(part)) for part in parts)


# -- networks ----------------------------------------------------------------------------------


class _Classifiers(nn.Module):
    """p(y | x1), p(y | x2) and p(y | x1, x2), each with a temperature."""

    temperatures: Tensor

    def __init__(self, widths: tuple[int, int, int], k: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(dense(p, k, width=width, depth=depth) for p in widths)
        self.register_buffer("temperatures", torch.ones(3))

    def logits(self, x1: Tensor, x2: Tensor) -> list[Tensor]:
        inputs = (x1, x2, torch.cat([x1, x2], 1))
        return [net(x) for net, x in zip(self.nets, inputs, strict=True)]  # each (n, k)

    def log_posteriors(self, x1: Tensor, x2: Tensor) -> list[Tensor]:
        """Calibrated log p(y | .), each (n, k)."""
        pairs = zip(self.logits(x1, x2), self.temperatures, strict=True)
        return [F.log_softmax(logits / t, 1) for logits, t in pairs]

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.y is not None
        logits = self.logits(batch.values["x1"], batch.values["x2"])
        names = ("x1", "x2", "both")
        terms = {n: F.cross_entropy(v, batch.y) for n, v in zip(names, logits, strict=True)}
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def calibrate(self, part: tuple[Tensor, Tensor, Tensor]) -> None:
        """The temperature of each that fits the part best, Guo et al. 2017, arXiv:1706.04599."""
        from scipy.optimize import minimize_scalar

        x1, x2, y = part
        with torch.no_grad():
            every = [v.double() for v in self.logits(x1, x2)]
        for i, logits in enumerate(every):

            def loss(log_t: float, logits: Tensor = logits) -> float:
                return float(F.cross_entropy(logits * math.exp(-log_t), y))

            # A classifier that has learnt nothing may want to be flatter without end.
            found = minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded")
            self.temperatures[i] = math.exp(found.x)


class _Affinities(nn.Module):
    """How well x1_a and x2_b go together under label y: products of standardised codes."""

    def __init__(self, widths: tuple[int, ...], k: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.k = k
        self.nets = nn.ModuleList(dense(p, k * CODES, width=width, depth=depth) for p in widths)
        self.log_scale = nn.Parameter(torch.zeros(k))

    def silence(self) -> None:
        """Make all affinities 0."""
        with torch.no_grad():
            self.log_scale.fill_(-torch.inf)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Affinities (k, n, n)."""
        codes = []
        for net, x in zip(self.nets, (x1, x2), strict=True):
            z = net(x).view(len(x), self.k, CODES)
            codes.append((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-6).sqrt())
        products = torch.einsum("akd,bkd->kab", codes[0], codes[1]) / math.sqrt(CODES)
        return products * self.log_scale.exp()[:, None, None]


# -- reading -----------------------------------------------------------------------------------


def _read(
    classifiers: _Classifiers,
    affinities: _Affinities,
    data: _Data,
    held: NDArray[np.intp],
    size: int,
    refine: int,
    settings: Training,
) -> Quarters:
    values, posterior = [], []
    affinities.double()
    classifiers.double()
    shares = torch.from_numpy(np.bincount(data.y, minlength=data.k) / len(data.y))
    entropy = float(torch.special.entr(shares).sum())
    batches = [held[i : i + size] for i in range(0, len(held) - size + 1, size)]
    for part in batches:
        x1, x2, y = data.tensors(part)
        x1, x2 = x1.double(), x2.double()
        with torch.no_grad():
            first, second, joint = classifiers.log_posteriors(x1, x2)
            log_q = coupled(affinities(x1, x2), first, second)
            log_q = refined(log_q, first, second, refine)
            least, one, two = (float(v) for v in information_of(log_q))
        told = entropy - float(F.nll_loss(joint, y))
        values.append((one + two - least, least - two, least - one, told - least))
        claimed = entropy - float(torch.special.entr(joint.exp()).sum(1).mean())
        posterior.append(claimed - told)
    table = np.array(values)  # (batches, 4)
    notes = _notes(np.array(posterior), size, settings)
    reason = f"read on {len(batches) * size} held-out rows in batches of {size}"
    return Quarters(*(_mean(column, size, notes, reason) for column in table.T))


def _mean(column: Floats, size: int, notes: tuple[str, ...], reason: str) -> Estimate:
    return over_batches(
        float(column.mean()),
        float(column.std(ddof=1) / math.sqrt(len(column))),
        batches=len(column),
        rows=len(column) * size,
        given="given the networks",
        estimator=NAME,
        warnings=notes,
        reason=reason,
    )


def _notes(excess: Floats, size: int, settings: Training) -> tuple[str, ...]:
    notes = []
    error = excess.std(ddof=1) / math.sqrt(len(excess))
    if abs(excess.mean()) > 0.02 + 3 * error:
        notes.append(
            f"the classifier of both claims {excess.mean():+.2f} nats more than its labels "
            "confirm: it is not calibrated, which goes into all four numbers"
        )
    if size < settings.batch_size:
        notes.append(
            f"few rows: read in batches of {size}, where every x1 meets only {size} of x2"
        )
    return tuple(notes)
