"""Deep methods that learn from labels: classes, several labels a row, or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.arrays import check_choice
from triptych.contracts.deep import DeepMethod
from triptych.contracts.method import Data
from triptych.errors import CapabilityError, DataError
from triptych.losses.gather import gather
from triptych.modalities import Modalities
from triptych.nn.targets import TASKS, Target, learn_target
from triptych.training.batches import Batch


class SupervisedMethod(DeepMethod):
    """Base of deep methods that learn from ``y``; stands before the panel's base.

    A method writes ``_outputs`` and adds ``_task_loss`` to its terms under the name ``"task"``;
    its constructor stores ``task``. Where labels are optional (``uses_labels``), ``target_`` is
    ``None`` after a fit without them.
    """

    task: str
    target_: Target | None

    def _outputs(self, network: Any, batch: Batch) -> Tensor:
        """Logits or scaled numbers, (b, target's width)."""
        raise NotImplementedError

    def _loss_of_labels(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss of outputs (b, width) beside labels as numbers."""
        return self._asked().loss(outputs, y)

    def _task_loss(self, outputs: Tensor, batch: Batch, rows: Tensor | None = None) -> Tensor:
        """Mean loss of the labels of some rows, over those of all processes together.

        Args:
            outputs: Shape (b, width).
            batch: With labels.
            rows: Which count, boolean (b,); those that have some modality when left out. Where
                none does, the loss is 0.
        """
        assert batch.y is not None
        chosen = torch.stack(list(batch.present.values())).any(dim=0) if rows is None else rows
        everywhere = gather(chosen)
        if bool(everywhere.all()):
            return self._loss_of_labels(outputs, batch.y)
        if not bool(chosen.any()):
            return outputs.sum() * 0.0
        # Processes are averaged, and each has chosen rows of its own number.
        share = chosen.sum() * (len(everywhere) / len(chosen)) / everywhere.sum()
        return self._loss_of_labels(outputs[chosen], batch.y[chosen]) * share

    def _gate_validation(self, validation: Any) -> tuple[Modalities, NDArray[Any] | None] | None:
        found = super()._gate_validation(validation)
        # Their loss would be 0 in every epoch, and the first one the best.
        if found is not None and not any(mask.any() for mask in found[0].present.values()):
            raise DataError(
                f"validation: none of {len(found[0])} rows has a modality present; there is no "
                "loss to watch."
            )
        return found

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("task", self.task, ("auto", *TASKS))

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Any) -> None:
        self.target_ = None if y is None else self._learn_target(X, y)
        super()._fit(X, y, validation)

    def _learn_target(self, X: Modalities, y: NDArray[Any]) -> Target:
        """What the labels of rows that have something ask for.

        Classes that only other rows have are known all the same, as all that ``y`` names are.
        """
        there = np.any(list(X.present.values()), axis=0)
        if there.all():
            return learn_target(y, self.task)
        named = learn_target(y, self.task)
        try:
            taught = learn_target(y[there], named.task)
        except DataError as error:
            raise DataError(f"{error} Rows that lack every modality do not count.") from error
        return named if named.task == "classification" else taught

    def _targets(self, y: NDArray[Any] | None, name: str) -> NDArray[Any] | None:
        return None if y is None or self.target_ is None else self.target_.numbers(y, name)

    def _asked(self) -> Target:
        if self.target_ is None:
            raise CapabilityError(
                f"this {type(self).__name__} learnt no labels; it predicts none."
            )
        return self.target_

    def _read(self, X: Modalities) -> NDArray[np.float32]:
        """Outputs of all rows, (n, width)."""
        self._asked()
        return self._codes(X, lambda batch: {"outputs": self._outputs(self.network_, batch)})[
            "outputs"
        ]

    @property
    def classes_(self) -> NDArray[Any]:
        """Classes, sorted, (k,); the order of ``predict_proba``'s columns."""
        self._check_fitted()
        return self._asked().classes

    def _predict(self, X: Modalities) -> NDArray[Any]:
        return self._asked().labels(self._read(X))

    def predict_proba(self, X: Data) -> NDArray[np.float64]:
        """Probabilities (n, k) of the classes in the order of ``classes_``, or of each label.

        Raises:
            CapabilityError: The method was fitted without labels.
            ParameterError: It learnt numbers, which have no probabilities.
        """
        self._check_fitted()
        return self._asked().probabilities(self._read(self._gate_transform(X)))

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        """Accuracy for classes (of all labels of a row for several); R² for numbers."""
        if y is None or self.target_ is None:
            return super()._score(X, y)
        nothing = ~np.any(list(X.present.values()), axis=0)
        if nothing.any():
            row = int(np.flatnonzero(nothing)[0])
            raise DataError(f"score: row {row} has no modality present; nothing can be predicted.")
        self.target_.check(y)  # before the work of predicting
        return self.target_.score(y, self._predict(X))
