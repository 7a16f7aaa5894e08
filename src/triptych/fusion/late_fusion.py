"""Late fusion: every modality predicts by itself, and the predictions are brought together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from triptych.arrays import check_choice, check_modalities_named, check_number
from triptych.contracts.deep import DeepMethod
from triptych.contracts.method import Fusion
from triptych.contracts.supervised import SupervisedMethod
from triptych.errors import DataError, ParameterError
from triptych.fusion._labelled import (
    CAPABILITIES,
    check_head,
    check_width,
    head_of,
    widths_by_name,
)
from triptych.fusion._stacking import Stacker, folds_of_rows, learn_stacker
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.nn.recipes import MLP
from triptych.seeding import check_random_state, derive
from triptych.training.batches import Batch, Rows
from triptych.training.checkpoint import STATE
from triptych.training.history import mean_history
from triptych.training.settings import Training

COMBINATIONS = ("average", "product", "stacking")
# Stacking learns 2^m - 1 linear models, one for each set of modalities that a row may have.
MOST_STACKED = 6


class _Network(nn.Module):
    def __init__(self, encoders: Parts, heads: Parts) -> None:
        super().__init__()
        self.encoders, self.heads = encoders, heads


class LateFusion(SupervisedMethod, Fusion):
    r"""One prediction from predictors that each read one modality alone.

    ==============  ==============================================================
    combination     classes and labels; numbers
    ==============  ==============================================================
    ``"average"``   :math:`p \propto \sum_m w_m p_m`; the mean weighted by w
    ``"product"``   :math:`p \propto \prod_m p_m^{w_m}`; the mean weighted by
                    :math:`w_m / \sigma_m^2`, with the errors of rows not learnt from
    ``"stacking"``  a linear model of all predictors' scores
    ==============  ==============================================================

    Sums and products are over what a row has. Stacking learns from scores that were given to rows
    by predictors which had not seen them (``folds`` times all are learnt anew for that), with one
    linear model for every set of modalities that a row may have, at most 6 modalities. There is
    no modality dropout: nothing leans on another modality. Of one modality this is a plain
    predictor, the yardstick of all fusions.

    Predictors are learnt one after another, each from the rows that have its modality as if there
    were no other: batches, the bound on gradients, patience and the best epoch are its own, and
    with one ``random_state`` it equals the one of a fit on that modality alone.

    Args:
        combination: One of the three.
        weights: Weights w >= 0 by modality name, 1 where left out.
        folds: Parts of the training rows, for stacking and for products of numbers.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output; a number, or numbers by modality name.
        head: Layers that read each encoder's output; ``MLP(depth=0)`` is a linear map.
        dropout: Share of each modality's features left out while training.
        task: ``"classification"``, ``"multilabel"``, ``"regression"``, or ``"auto"``.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches, folds and dropout.

    Attributes:
        target_: What there is to predict; ``classes_`` are its classes.
        stackers_: Linear models by set of modalities (names joined by ``:``), for stacking.
        variances_: By modality, the mean squared error (k,) of scaled numbers in rows that were
            not learnt from, for products of numbers.
        history_: By modality, the loss of its predictor; and ``"loss"``, their mean, in which
            one that stopped earlier stays at its last.
        best_epochs_: By modality, the epoch (from 0) whose weights were kept, or ``None`` for
            the last.

    ``transform`` gives the joint scores (n, k), since there is no other joint code:
    log-probabilities of classes, log-odds of labels, or numbers at unit spread. ``score`` is the
    accuracy, for several labels that of whole rows, or R².

    References:
        Kittler, Hatef, Duin, Matas 1998, On Combining Classifiers, TPAMI 20 (sum and product).
        Wolpert 1992, Stacked Generalization, Neural Networks 5.
    """

    capabilities = replace(CAPABILITIES, min_modalities=1)
    stackers_: dict[str, Stacker]
    best_epochs_: dict[str, int | None]
    variances_: dict[str, NDArray[np.float64]]

    def __init__(
        self,
        combination: str = "average",
        *,
        weights: Mapping[str, float] | None = None,
        folds: int = 5,
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] = 64,
        head: MLP = MLP(depth=0),
        dropout: float = 0.0,
        task: str = "auto",
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.combination = combination
        self.weights = weights
        self.folds = folds
        self.encoders = encoders
        self.width = width
        self.head = head
        self.dropout = dropout
        self.task = task
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("combination", self.combination, COMBINATIONS)
        if self.weights is not None and not isinstance(self.weights, Mapping):
            raise ParameterError(
                'weights: expected a dict by modality name, for instance {"image": 2.0}; got '
                f"{type(self.weights).__name__} {self.weights!r}."
            )
        for name, weight in (self.weights or {}).items():
            check_number(f"weights__{name}", weight, low=0, high=1e6)
        if self.weights and self.combination == "stacking":
            raise ParameterError("weights: stacking learns its weights; leave them out.")
        check_number("folds", self.folds, low=2, integer=True)
        check_width(self.width)
        check_head(self.head)
        check_number("dropout", self.dropout, low=0, high=0.99)

    # -- predictors of one modality --------------------------------------------------------

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        widths = widths_by_name(self.width, tuple(sorted(kinds)))
        target = self._asked()
        return _Network(
            Parts({m: self._encoder(m, k, widths[m]) for m, k in kinds.items()}),
            Parts(
                {
                    m: self._seeded(f"head:{m}", lambda m=m: head_of(self.head, widths[m], target))  # type: ignore[misc]
                    for m in kinds
                }
            ),
        )

    def _apart(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Outputs (b, k) of the predictor of each modality in a batch."""
        found = {}
        for m in batch.names:
            h = network.encoders[m](batch.values[m], batch.lengths.get(m)).float()
            found[m] = network.heads[m](F.dropout(h, self.dropout, network.training))
        return found

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        terms = {
            m: self._task_loss(outputs, batch, batch.present[m])
            for m, outputs in self._apart(network, batch).items()
        }
        return {"loss": torch.stack(list(terms.values())).mean(), **terms}

    # -- fit -------------------------------------------------------------------------------

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Any) -> None:
        check_modalities_named("weights", self.weights or {}, X.names)
        if not any(self._weights(X.names).values()):
            raise ParameterError(
                f"weights: those of {list(X.names)} sum to zero; at least one must count."
            )
        if self.combination == "stacking" and len(X.names) > MOST_STACKED:
            raise ParameterError(
                f"combination: stacking takes at most {MOST_STACKED} modalities, since each set "
                f"of them has a model of its own; got {len(X.names)}."
            )
        self._check_fit(X)
        folder = self.training.checkpoint
        if folder is not None and (Path(folder) / STATE).exists():
            raise ParameterError(
                f"training__checkpoint: {folder} belongs to another fit. Choose another folder or "
                "remove it."
            )
        assert y is not None
        self.seed_ = check_random_state(self.random_state)
        self.target_ = target = self._learn_target(X, y)
        numbers = target.numbers(y)
        if validation is not None:  # while its rows are all there, and can be named
            target.numbers(validation[1], "validation y")
        parts = {m: self._predictor(m, X, y, validation, self.seed_) for m in sorted(X.names)}
        self.inputs_ = {m: part.inputs_[m] for m, part in parts.items()}
        networks: dict[str, Any] = {m: part.network_ for m, part in parts.items()}
        self.network_ = _Network(
            Parts({m: network.encoders[m] for m, network in networks.items()}),
            Parts({m: network.heads[m] for m, network in networks.items()}),
        ).eval()
        self.history_ = mean_history({m: part.history_ for m, part in parts.items()})
        self.best_epochs_ = {m: part.history_.best_epoch for m, part in parts.items()}
        self.stackers_, self.variances_ = {}, {}
        if self.combination == "stacking":
            self._stack(X, numbers, self._out_of_fold(X, y, numbers, validation))
        elif self.combination == "product" and target.task == "regression":
            for m, outputs in self._out_of_fold(X, y, numbers, validation).items():
                errors = (outputs - numbers)[X.present[m]].astype(np.float64)
                # Of numbers at unit spread; a predictor without error would be all that counts.
                self.variances_[m] = np.maximum((errors**2).mean(0), 1e-6)

    def _predictor(
        self,
        name: str,
        X: Modalities,
        y: NDArray[Any],
        validation: tuple[Modalities, NDArray[Any] | None] | None,
        seed: int,
        *,
        checkpoint: bool = True,
    ) -> LateFusion:
        """The predictor of one modality, learnt as if there was no other."""
        names, seen = sorted(X.names), int(X.present[name].sum())
        if seen < 2:
            raise DataError(
                f"modality {name!r} is present in {seen} of {len(X)} rows; a predictor learns "
                "from at least 2."
            )
        if validation is not None:
            watched = validation[0].select(name)
            seen_there = watched.present[name].any()
            if not seen_there and self.training.patience is not None:
                raise DataError(
                    f"validation: modality {name!r} is absent in all {len(watched)} rows, so that "
                    "training__patience has no loss to watch."
                )
            validation = (watched, validation[1]) if seen_there else None
        folder = self.training.checkpoint if checkpoint else None
        encoders = {m: recipe for m, recipe in (self.encoders or {}).items() if m == name}
        part: LateFusion = clone(self).set_params(
            encoders=encoders or None,
            width=widths_by_name(self.width, tuple(names))[name],
            weights=None,
            random_state=seed,
            training__checkpoint=folder and str(Path(folder) / str(names.index(name))),
        )
        # The target is that of all rows: this modality, or a fold, may lack a class.
        part.names_in_, part.kinds_ = (name,), {name: X.kind(name)}
        part.target_ = self._asked()
        DeepMethod._fit(part, X.select(name), y, validation)
        return part

    # A predictor is shown the rows that have its modality, and no others.

    def _rows(self, X: Modalities, y: NDArray[Any] | None, where: str) -> Rows:
        return super()._rows(*rows_with_something(X, y), where)

    def _set_aside(self, X: Modalities, y: NDArray[Any] | None) -> Any:
        try:
            return super()._set_aside(*rows_with_something(X, y))
        except DataError as error:
            raise DataError(f"modality {X.names[0]!r}: {error}") from error

    def _weights(self, names: tuple[str, ...]) -> dict[str, float]:
        given = self.weights or {}
        return {m: float(given.get(m, 1.0)) for m in names}

    def _out_of_fold(
        self, X: Modalities, y: Any, numbers: NDArray[Any], validation: Any
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs (n, k) of each modality, of predictors that were not shown the row."""
        target = self._asked()
        fold = folds_of_rows(numbers, target, self.folds, self.seed_)
        found = {m: np.zeros((len(X), target.width), dtype=np.float32) for m in X.names}
        for k in range(self.folds):
            rest, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            for m in X.names:
                seen = int(X.present[m][rest].sum())
                if seen < 2:
                    raise DataError(
                        f"folds: modality {m!r} is present in {int(X.present[m].sum())} of "
                        f"{len(X)} rows; without fold {k} of {self.folds} there are {seen}, too "
                        "few to learn from."
                    )
            if not len(held):
                continue
            seed = derive(self.seed_, "fold", k)
            for m in X.names:
                part = self._predictor(m, X[rest], y[rest], validation, seed, checkpoint=False)
                outputs = part._codes(
                    X[held].select(m),
                    lambda b, part=part: part._apart(part.network_, b),  # type: ignore[misc]
                )
                found[m][held] = outputs[m]
        return found

    def _stack(
        self, X: Modalities, numbers: NDArray[Any], outputs: Mapping[str, NDArray[Any]]
    ) -> None:
        names = sorted(X.names)
        for size in range(1, len(names) + 1):
            for chosen in combinations(names, size):
                rows = np.all([X.present[m] for m in chosen], axis=0)
                if rows.any():
                    scores = np.concatenate([outputs[m][rows] for m in chosen], axis=1)
                    self.stackers_[":".join(chosen)] = learn_stacker(
                        scores, numbers[rows], self._asked()
                    )

    # -- together --------------------------------------------------------------------------

    def _read(self, X: Modalities) -> NDArray[np.float32]:
        weights = self._weights(self.names_in_)
        counted = np.any([X.present[m] & (weights[m] > 0) for m in X.names], axis=0)
        if not counted.all():
            row = int(np.flatnonzero(~counted)[0])
            there = [m for m in X.names if X.present[m][row]]
            raise DataError(
                f"row {row} has only modalities whose weight is 0: {there}."
                if there
                else f"row {row} has no modality present; nothing can be predicted of it."
            )
        if self.combination == "stacking":
            self._check_stacked(X)
        return super()._read(X)

    def _check_stacked(self, data: Modalities) -> None:
        names = sorted(data.names)
        there = np.stack([data.present[m] for m in names], axis=1)
        for pattern in np.unique(there, axis=0):
            chosen = [m for m, has in zip(names, pattern, strict=True) if has]
            if ":".join(chosen) not in self.stackers_:
                row = int(np.flatnonzero((there == pattern).all(axis=1))[0])
                raise DataError(
                    f"row {row} has {chosen}, and no training row had them all, so that stacking "
                    "did not learn how to weigh them."
                )

    def _outputs(self, network: Any, batch: Batch) -> Tensor:
        names = sorted(batch.names)
        apart = self._apart(network, batch)
        outputs = torch.stack([apart[m] for m in names])  # (m, b, k)
        there = torch.stack([batch.present[m] for m in names])  # (m, b)
        if self.combination == "stacking":
            return self._stacked(names, outputs, there)
        weights = self._weights(tuple(names))
        # Only float64 tells every weight from 0, and a row may have but those that are small.
        numbers = torch.tensor([[weights[m]] for m in names], dtype=torch.float64)
        share = there * numbers.to(there.device)
        task = self._asked().task
        if task == "regression":
            share = share[:, :, None].expand_as(outputs)
            if self.combination == "product":
                variances = np.stack([self.variances_[m] for m in names])[:, None]
                share = share / torch.from_numpy(variances).to(share)
            return (share / share.sum(0) * outputs).sum(0).to(outputs)
        combine = averaged if self.combination == "average" else multiplied
        if task == "classification":
            return combine(F.log_softmax(outputs, dim=2), share).log_softmax(1).to(outputs)
        yes, no = combine(F.logsigmoid(outputs), share), combine(F.logsigmoid(-outputs), share)
        return (yes - no).to(outputs)

    def _stacked(self, names: list[str], outputs: Tensor, there: Tensor) -> Tensor:
        found = torch.zeros_like(outputs[0])
        for pattern in torch.unique(there, dim=1).T:
            chosen = [i for i, has in enumerate(pattern.tolist()) if has]
            rows = (there == pattern[:, None]).all(0)
            scores = torch.cat([outputs[i][rows] for i in chosen], dim=1)
            found[rows] = self.stackers_[":".join(names[i] for i in chosen)].outputs(scores)
        return found

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._read(X)


def rows_with_something(
    X: Modalities, y: NDArray[Any] | None
) -> tuple[Modalities, NDArray[Any] | None]:
    """Rows that have a modality, and their labels."""
    there = np.any(list(X.present.values()), axis=0)
    return (X, y) if there.all() else (X[there], None if y is None else y[there])


def averaged(logs: Tensor, share: Tensor) -> Tensor:
    """Log of the mean probability, (b, k), of logs (m, b, k) weighted by ``share`` (m, b)."""
    weights = (share / share.sum(0)).log()
    return torch.logsumexp(logs + weights[:, :, None], dim=0)


def multiplied(logs: Tensor, share: Tensor) -> Tensor:
    """Log of the product of probabilities, (b, k), each to the power of its ``share`` (m, b)."""
    return (share[:, :, None] * logs).sum(0)
