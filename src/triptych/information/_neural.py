"""Neural estimators: a critic or a density is trained on one part and read on held-out pairs.

Of all that :mod:`triptych.losses.bounds` offers. When to use which:

- ``"infonce"``: the calmest. First choice while the answer stays a nat below log(batch size);
  it can never exceed that, however large the truth.
- ``"smile"``: past log n in high dimension. Neither a lower nor an upper bound; ``clip`` trades
  variance for bias.
- ``"js"``: the same training, read without the clip: a lower bound on average.
- ``"nwj"``, ``"mine"``, ``"dv"``: bounds whose variance grows like exp(I). For I below about 5
  nats, or to see how the others err.
- ``"doe"``: difference of two cross-entropies. No cap, no product samples; the answer is as good
  as the density models, and errors of the two may or may not cancel.
- ``"club"``, ``"l1out"``: upper bounds where q(y | x), a normal with independent columns, is
  right. For penalties in training rather than for a number to report.

In one or two dimensions, or below a thousand rows, nearest neighbours do better than all of these
and in less time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.information._held_out import (
    Floats,
    Ready,
    over_batches,
    repeats,
    scaled,
)
from triptych.information._samples import as_sample
from triptych.losses import bounds
from triptych.losses.divergence_bounds import (
    f_divergence_lower_bound,
    kl_lower_bound,
    log_mean_exp,
)
from triptych.modalities import Modalities
from triptych.nn.critics import CriticRecipe, SeparableCritic
from triptych.nn.densities import AutoregressiveDensity, Density, DensityRecipe, GaussianDensity
from triptych.seeding import check_random_state, derive, generator, torch_scope
from triptych.training.batches import Batch, Rows, steps_per_epoch
from triptych.training.history import History
from triptych.training.loop import Phase, Stream, train
from triptych.training.settings import Training

NAMES = {
    "infonce": "InfoNCE",
    "dv": "Donsker-Varadhan",
    "mine": "MINE",
    "nwj": "NWJ",
    "js": "Jensen-Shannon critic",
    "smile": "SMILE",
    "club": "CLUB",
    "l1out": "leave-one-out",
    "doe": "difference of entropies",
}
DENSITY_BOUNDS = ("club", "l1out", "doe")
LEAST_ROWS = 160
# Shares of the rows: to train on, to choose the epoch on, to read the value on.
SHARES = (0.5, 0.1, 0.4)
# Independent batches that the standard error rests on, at least.
BATCHES = 8

SETTINGS = Training(batch_size=128, learning_rate=5e-4, weight_decay=0.0)


def estimate(
    x: ArrayLike,
    y: ArrayLike,
    *,
    bound: str = "infonce",
    critic: CriticRecipe | DensityRecipe | None = None,
    scale: str = "standard",
    steps: int = 3000,
    training: Training = SETTINGS,
    clip: float = 5.0,
    random_state: int | None = None,
) -> Estimate:
    """Mutual information of two vectors by a network trained on half of the rows.

    Half of the rows train the network; a tenth chooses its best epoch; on the rest, in batches
    of disjoint rows, its bound is read. Samples of the product are all pairs of different rows
    of a batch. Logarithms of means are taken over all held-out batches at once. The standard
    error is a jackknife over those batches: it says how well the bound *of this network* is
    known and nothing of how far the bound lies from the information.

    Args:
        x: Numbers, shape (n, p) or (n,), n >= 160.
        y: Their partners, shape (n, q) or (n,).
        bound: ``"infonce"``, ``"dv"``, ``"mine"``, ``"nwj"``, ``"js"``, ``"smile"``, ``"club"``,
            ``"l1out"`` or ``"doe"``; see above for when to use which.
        critic: Recipe of the critic, or for ``"club"``, ``"l1out"`` and ``"doe"`` of the density
            of y; by default :class:`SeparableCritic`, :class:`GaussianDensity` (``"club"``,
            ``"l1out"``) and :class:`AutoregressiveDensity` (``"doe"``).
        scale: ``"standard"`` brings columns to mean 0 and spread 1; ``"ranks"`` to normal scores,
            which leaves the information of continuous columns as it is and tames heavy tails.
        steps: Training steps, rounded up to whole epochs; sets ``training.epochs``.
        training: Batch size, learning rate, schedule, device. With ``patience`` training stops
            before ``steps``.
        clip: Of ``"smile"``, in nats.
        random_state: Seed of parts, weights and batches.

    Returns:
        The estimate in nats; ``n_samples`` counts the held-out pairs that it rests on.

    Raises:
        DataError: Too few rows, NaN, infinity, or numbers of the wrong type.
        ShapeError: x and y are not vectors of the same rows.
        ParameterError: An unknown bound, or a recipe that does not fit it.
        TrainingError: The loss is not finite.

    References:
        Song and Ermon 2020, arXiv:1910.06222; McAllester and Stratos 2020, arXiv:1811.04251.
    """
    seed = check_random_state(random_state)
    check_choice("bound", bound, tuple(NAMES))
    check_choice("scale", scale, ("standard", "ranks"))
    check_number("steps", steps, low=1, integer=True)
    check_number("clip", clip, low=0, open_low=True, infinite=True)
    recipe = _recipe(bound, critic)
    a, b = as_sample(x, "x"), as_sample(y, "y")
    n = len(a)
    if len(b) != n:
        raise ShapeError(f"x and y must be of the same rows; got {n} of x and {len(b)} of y.")
    if n < LEAST_ROWS:
        raise DataError(
            f"a neural estimate takes at least {LEAST_ROWS} rows, and is poor below thousands; "
            f"got {n}. Nearest neighbours or a Gaussian copula do with fewer."
        )
    for name, data in (("x", a), ("y", b)):
        if (data == data[0]).all():
            note = f"{name} is constant, so nothing can be known about it or from it"
            return Estimate(
                0.0, 0.0, (0.0, 0.0), "exact", "nats", n, NAMES[bound], warnings=(note,)
            )
    fit, stop, held = _parts(n, seed)
    a, note_a = scaled(a, fit, scale, "x")
    b, note_b = scaled(b, fit, scale, "y")

    network = _built(recipe, bound, a.shape[1], b.shape[1], seed)
    terms = _terms(network, bound)
    epochs = math.ceil(steps / steps_per_epoch(len(fit), training.batch_size))
    rows, watched = (_rows(a[part], b[part]) for part in (fit, stop))
    history = train(
        network,
        (Phase("critic", (Stream(terms),)),),
        rows,
        replace(training, epochs=epochs),
        seed=seed,
        valid=watched,
    )
    size = min(training.batch_size, len(held) // BATCHES)
    reading = _read(network, bound, a[held], b[held], size, clip)
    notes = (*note_a, *note_b, *repeats(a, b), *_notes(reading, bound, size, training))
    return _estimate(reading, NAMES[bound], notes, _reason(fit, history, epochs, size, reading))


# -- data ----------------------------------------------------------------------------------------


def _parts(n: int, seed: int) -> tuple[NDArray[np.intp], ...]:
    order = generator(seed, "parts").permutation(n)
    first, second = (int(n * sum(SHARES[:i])) for i in (1, 2))
    return order[:first], order[first:second], order[second:]


def _rows(a: Floats, b: Floats) -> Rows:
    readers = {"x": Ready(), "y": Ready()}
    return Rows(Modalities({"x": a, "y": b}), readers)


# -- networks ------------------------------------------------------------------------------------


class _Entropies(nn.Module):
    """The two models whose cross-entropies are subtracted."""

    def __init__(self, conditional: Density, marginal: Density) -> None:
        super().__init__()
        self.conditional, self.marginal = conditional, marginal

    def log_densities(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.marginal.log_density(x[:, :0], y), self.conditional.log_density(x, y)


def _recipe(bound: str, critic: Any) -> CriticRecipe | DensityRecipe:
    if critic is None:
        if bound == "doe":
            return AutoregressiveDensity()
        return GaussianDensity() if bound in DENSITY_BOUNDS else SeparableCritic()
    if isinstance(critic, type) or not isinstance(critic, CriticRecipe):
        got = f"the class {critic.__name__}" if isinstance(critic, type) else repr(critic)
        raise ParameterError(
            f"critic: expected a recipe such as SeparableCritic() or None, got {got}."
        )
    recipe: CriticRecipe = critic
    return recipe


def _built(
    recipe: CriticRecipe | DensityRecipe, bound: str, n_x: int, n_y: int, seed: int
) -> nn.Module:
    with torch_scope(derive(seed, "weights")):
        network = recipe.build(n_x, n_y)
        if isinstance(network, Density) != (bound in DENSITY_BOUNDS):
            wanted = "a density of y" if bound in DENSITY_BOUNDS else "a critic of pairs"
            raise ParameterError(
                f"critic: the bound {bound!r} takes the recipe of {wanted}, got {recipe!r}."
            )
        if bound == "doe":
            return _Entropies(network, recipe.build(0, n_y))  # type: ignore[arg-type]
    return network


def _terms(network: Any, bound: str) -> Callable[[Batch], dict[str, Tensor]]:
    """The loss of a batch. Densities are fitted by likelihood, critics by their bound."""
    running: dict[str, Tensor] = {}

    def of_density(batch: Batch) -> dict[str, Tensor]:
        x, y = batch.values["x"], batch.values["y"]
        if bound == "doe":
            marginal, conditional = network.log_densities(x, y)
            return {"loss": -(marginal + conditional).mean()}
        return {"loss": -network.log_density(x, y).mean()}

    def of_critic(batch: Batch) -> dict[str, Tensor]:
        scores = network(batch.values["x"], batch.values["y"])
        if bound == "infonce":
            return {"loss": -bounds.infonce_lower_bound(scores, both=True)}
        if bound in ("js", "smile"):
            return {"loss": -bounds.js_lower_bound(scores)}
        if bound == "nwj":
            return {"loss": -bounds.log_ratio_lower_bound(scores)}
        if bound == "dv" or not network.training:
            return {"loss": -bounds.donsker_varadhan_lower_bound(scores)}
        value, running["log_mean"] = bounds.mine_lower_bound(scores, running.get("log_mean"))
        return {"loss": -value}

    return of_density if bound in DENSITY_BOUNDS else of_critic


# -- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """What the held-out batches say, each (batches,), and the value that all say together.

    Args:
        joint: Means over the joint law, or values of a bound that is averaged over batches.
        product: log of the means of exp over the product; empty where values are averaged.
        squares: log of the means of exp(2 T) over the product, for the effective number of pairs.
        pairs: Held-out rows.
        product_pairs: Pairs of the product.
        pooled: From some batches' ``joint`` and ``product`` to the value.
    """

    joint: Tensor
    product: Tensor
    squares: Tensor
    pairs: int
    product_pairs: int
    pooled: Callable[[Tensor, Tensor], Tensor]


def _read(network: Any, bound: str, a: Floats, b: Floats, size: int, clip: float) -> _Reading:
    x, y = (torch.from_numpy(v.astype(np.float32)) for v in (a, b))
    batches = [slice(i, i + size) for i in range(0, len(x) - size + 1, size)]
    joint, product, squares = [], [], []
    with torch.no_grad():
        for part in batches:
            if bound == "doe":
                joint.append(
                    bounds.difference_of_entropies(*network.log_densities(x[part], y[part]))
                )
                continue
            if bound in DENSITY_BOUNDS:
                table = network.log_densities(x[part], y[part]).double()
                joint.append(
                    bounds.club_upper_bound(table)
                    if bound == "club"
                    else bounds.leave_one_out_upper_bound(table)
                )
                continue
            scores = network(x[part], y[part]).double()
            if bound == "infonce":
                joint.append(bounds.infonce_lower_bound(scores, both=True))
                continue
            own, others = bounds.joint_and_product(scores)
            if bound == "smile":
                others = others.clamp(-clip, clip)
            joint.append(own.mean())
            product.append(log_mean_exp(others))
            squares.append(log_mean_exp(2 * others))
    number = len(batches) * size
    return _Reading(
        joint=torch.stack(joint).double(),
        product=torch.stack(product) if product else torch.empty(0),
        squares=torch.stack(squares) if squares else torch.empty(0),
        pairs=number,
        product_pairs=number * (size - 1),
        pooled=_pooled(bound),
    )


def _pooled(bound: str) -> Callable[[Tensor, Tensor], Tensor]:
    # Batches are of one size, so the mean of exp over all pairs is the mean of the batches' means
    # of exp, and the bounds take batches' means in place of scores.
    if bound in ("dv", "mine", "smile"):
        return kl_lower_bound
    if bound in ("nwj", "js"):
        return lambda p, q: f_divergence_lower_bound(p + 1, q + 1)
    return lambda p, q: p.mean()


def _estimate(reading: _Reading, name: str, notes: tuple[str, ...], reason: str) -> Estimate:
    """Value over all batches; error by leaving one out at a time; interval by Student's t."""
    joint, product, pooled = reading.joint, reading.product, reading.pooled
    count = len(joint)
    value = float(pooled(joint, product))
    without = [torch.arange(count) != i for i in range(count)]
    left = torch.stack(
        [pooled(joint[k], product[k] if len(product) else product) for k in without]
    )
    error = math.sqrt((count - 1) / count * float((left - left.mean()).square().sum()))
    return over_batches(
        value,
        error,
        batches=count,
        rows=reading.pairs,
        given="of this network's bound",
        estimator=name,
        warnings=notes,
        reason=reason,
    )


def _reason(
    fit: NDArray[np.intp], history: History, epochs: int, size: int, reading: _Reading
) -> str:
    best = len(history) if history.best_epoch is None else history.best_epoch + 1
    return (
        f"trained on {len(fit)} rows, epoch {best} of {epochs} kept, read on {reading.pairs} "
        f"held-out pairs in batches of {size}"
    )


def _notes(reading: _Reading, bound: str, size: int, training: Training) -> tuple[str, ...]:
    value = float(reading.pooled(reading.joint, reading.product))
    notes: list[str] = []
    if size < training.batch_size:
        notes.append(
            f"too few rows for held-out batches of {training.batch_size}: read in batches of "
            f"{size}"
        )
    if bound == "infonce" and value > math.log(size) - 1:
        notes.append(
            f"within a nat of the cap log({size}) = {math.log(size):.2f} nats of InfoNCE: the "
            "information may be far larger; use larger batches, or smile or doe"
        )
    if len(reading.product):
        if value > math.log(reading.pairs):
            notes.append(
                f"above log({reading.pairs}) = {math.log(reading.pairs):.2f} nats, the most that "
                "any lower bound from so many held-out pairs can vouch for"
            )
        # Kish: (sum of weights)² / sum of squared weights.
        log_share = 2 * log_mean_exp(reading.product) - log_mean_exp(reading.squares)
        effective = math.exp(float(log_share)) * reading.product_pairs
        if effective < 100:
            notes.append(
                f"the mean over the product rests on about {effective:.0f} pairs of "
                f"{reading.product_pairs}: variance grows like exp(I), and a sample without such "
                "pairs shows too high a value and too small an error"
            )
    if bound == "smile":
        notes.append("SMILE is neither a lower nor an upper bound")
    if bound == "doe":
        notes.append("a difference of two cross-entropies is neither a lower nor an upper bound")
    if bound in ("club", "l1out"):
        notes.append(
            "an upper bound only if the density q(y | x) is right, which this number cannot show"
        )
    return tuple(notes)
