"""Zero-shot classification: rows are named by the class whose words lie nearest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_labels, check_number
from triptych.dataset import Dataset
from triptych.errors import CapabilityError, DataError, ModalityError, ParameterError, ShapeError
from triptych.evaluation.codes import check_is_fitted, comparable
from triptych.evaluation.retrieval import TIE
from triptych.modalities import Modalities, as_modalities
from triptych.neighbours import unit_rows

TEMPLATES = ("{}",)
DEPTHS = (1, 5)


@dataclass(frozen=True)
class ZeroShotScore:
    """How well rows were named.

    Args:
        accuracy: Share of rows whose class is the nearest.
        balanced: The same, every class counting alike.
        top_k: By k, the share of rows whose class is among the k nearest; only k < classes.
        classes: The k classes, in the order of the confusion.
        confusion: Whole numbers (k, k): rows of a true class (first axis) that were given a class
            (second axis).
        modality: What was looked at.
        text: The modality whose codes name the classes.
        predicted: Index of the class given to each row, (n,).
        rows: Which rows of the data were named, (n,): those that have the modality.
    """

    accuracy: float
    balanced: float
    top_k: Mapping[int, float]
    classes: tuple[str, ...]
    confusion: NDArray[np.intp]
    modality: str
    text: str
    predicted: NDArray[np.intp]
    rows: NDArray[np.intp]

    def recall(self) -> dict[str, float]:
        """By class, the share of its rows that were given it; classes without rows left out."""
        asked = self.confusion.sum(axis=1)
        return {
            name: float(self.confusion[i, i] / asked[i])
            for i, name in enumerate(self.classes)
            if asked[i]
        }


def zero_shot(
    model: Any,
    X: Mapping[str, Any] | Modalities,
    y: ArrayLike,
    *,
    templates: str | Sequence[str] = TEMPLATES,
    classes: Mapping[Any, str] | Sequence[Any] | None = None,
    modality: str | None = None,
    text: str | None = None,
    depths: Sequence[int] = DEPTHS,
) -> ZeroShotScore:
    """Name each row by the class whose words, put into templates, lie nearest to its code.

    A class is the mean of the unit codes of its texts, one for each template, at unit length. No
    label is learnt from. A tie counts against the row, so codes that are all alike name nothing.

    Args:
        model: Fitted method that codes the text and the modality each by itself: any
            coordination method, and others whose joint or shared code can be had from one.
        X: Rows to name, n of them, with ``modality``.
        y: Their classes (n,).
        templates: What is said of a class, for instance ``"a letter of {}"``; ``{}`` stands for
            its words.
        classes: All classes there are to choose from; or a mapping from each to its words. Those
            of ``y`` when left out.
        modality: What is looked at; needed when there is more than one besides the text.
        text: The text modality; needed when there is more than one.
        depths: Depths k of ``top_k``.

    Raises:
        CapabilityError: The method was fitted on no text, or cannot code one modality alone.
        DataError: Fewer than two classes, numbers instead of classes, or a row of a class that is
            not among ``classes``.
        ModalityError: ``modality`` or ``text`` is none that can be used.
        ParameterError: A template without ``{}``, no template, or a class that is there twice.

    References:
        Radford et al. 2021, arXiv:2103.00020, sec. 3.1.4 (ensembles of prompts).
    """
    check_is_fitted(model)
    data = as_modalities(X)
    said = _templates(templates)
    if not isinstance(depths, Sequence):
        raise ParameterError(f"depths: expected a list of whole numbers, got {depths!r}.")
    for k in depths:
        check_number("depths", k, low=1, integer=True)
    text = _text_modality(model, text)
    modality = _looked_at(model, data, modality, text)
    labels = as_labels(y, len(data), "y")
    if labels.dtype.kind == "f":
        raise DataError("zero_shot names classes; y holds numbers.")
    rows = np.flatnonzero(data.present[modality])
    if not len(rows):
        raise DataError(f"modality {modality!r} is absent in all {len(data)} rows.")
    names, words = _classes(classes, labels)
    truth = _places(names, labels[rows], rows)
    named = class_codes(model, words, said, text)
    codes = unit_rows(comparable(model, data.select(modality)[rows], modality))
    if codes.shape[1] != named.shape[1]:
        raise ShapeError(
            f"codes of {modality!r} and {text!r} have different widths, {codes.shape[1]} and "
            f"{named.shape[1]}, and cannot be compared."
        )
    return _score(codes @ named.T, truth, names, modality, text, depths, rows)


def zero_shot_of_label(
    model: Any,
    train: Dataset,
    test: Dataset,
    label: str,
    modality: str,
    templates: str | Sequence[str] = TEMPLATES,
) -> ZeroShotScore:
    """:func:`zero_shot` of test rows by the classes of a label, where texts can name them.

    Args:
        model: Fitted method.
        train: Rows it has learnt from; their classes are those to choose from, and their texts
            are where the words of a class must occur.
        test: Rows to name; those of classes that no training row has are left out.
        label: Name of the label.
        modality: What is looked at.
        templates: What is said of a class.

    Raises:
        DataError: Of most classes no word occurs in the texts, so that their names say nothing
            to the method; or what :func:`zero_shot` raises.
    """
    text = _texts(model)[0]
    classes = np.unique(np.asarray(train.labels[label])).tolist()
    known = words_of(train.X, text)
    said = [name for name in classes if _words(str(name)) & known]
    if 2 * len(said) < len(classes):
        raise DataError(
            f"of {len(classes)} classes of {label!r} only {len(said)} have a word that occurs in "
            f"the texts {text!r}."
        )
    seen = np.isin(np.asarray(test.labels[label]), classes)
    if not seen.any():
        raise DataError(f"no test row has a class of {label!r} that training rows have.")
    some = test[np.flatnonzero(seen)]
    return zero_shot(
        model,
        some.X,
        some.labels[label],
        templates=templates,
        classes=classes,
        modality=modality,
        text=text,
    )


def words_of(X: Modalities, text: str) -> set[str]:
    """Words of the texts that are there, in small letters."""
    rows = np.flatnonzero(X.present[text])
    return {word for said in set(X[rows][text]) for word in _words(said)}


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def class_codes(
    model: Any, words: Sequence[str], templates: Sequence[str], text: str
) -> NDArray[np.float64]:
    """Unit codes (k, d) of classes: means over templates of the unit codes of their texts."""
    texts = [template.replace("{}", word) for word in words for template in templates]
    codes = unit_rows(comparable(model, Modalities({text: texts}), text))
    return unit_rows(codes.reshape(len(words), len(templates), -1).mean(axis=1))


def _templates(templates: str | Sequence[str]) -> list[str]:
    if not isinstance(templates, Sequence):
        raise ParameterError(f"templates: expected texts with {{}} in them, got {templates!r}.")
    said = [templates] if isinstance(templates, str) else list(templates)
    if not said:
        raise ParameterError("templates: expected at least one, got none.")
    for template in said:
        if not isinstance(template, str) or "{}" not in template:
            raise ParameterError(
                f"templates: {template!r} has no place for the words of a class; write {{}} "
                "where they go, for instance 'a letter of {}'."
            )
    return said


def _texts(model: Any) -> list[str]:
    """Text modalities that the method was fitted on, at least one."""
    kinds = getattr(model, "kinds_", {})
    texts = [name for name in model.names_in_ if name in kinds and kinds[name].form == "text"]
    if not texts:
        raise CapabilityError(
            f"{type(model).__name__} was fitted on {list(model.names_in_)}, none of which is "
            "text; classes are named by text."
        )
    return texts


def _text_modality(model: Any, text: str | None) -> str:
    texts = _texts(model)
    if text is None and len(texts) > 1:
        raise ModalityError(f"text: there is more than one, {texts}; say which.")
    if text is not None and text not in texts:
        raise ModalityError(f"text: expected one of {texts}, got {text!r}.")
    return text or texts[0]


def _looked_at(model: Any, data: Modalities, modality: str | None, text: str) -> str:
    known = [name for name in data.names if name in model.names_in_]
    others = [name for name in known if name != text]
    if modality is None and len(others) != 1:
        raise ModalityError(
            f"modality: expected one of {others or known}; it can be left out only where there "
            f"is exactly one besides the text {text!r}."
        )
    if modality is not None and modality not in known:
        raise ModalityError(f"modality: expected one of {known}, got {modality!r}.")
    return modality or others[0]


def _classes(
    classes: Mapping[Any, str] | Sequence[Any] | None, labels: NDArray[Any]
) -> tuple[list[str], list[str]]:
    """Classes by name, and the words that are said of each."""
    given: Iterable[Any] = np.unique(labels).tolist() if classes is None else classes
    if isinstance(given, str):
        raise ParameterError(f"classes: expected a list, got {given!r}.")
    names = [str(name) for name in given]
    words = [str(w) for w in classes.values()] if isinstance(classes, Mapping) else names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ParameterError(f"classes: {twice!r} is there more than once.")
    if len(names) < 2:
        raise DataError(f"there must be at least 2 classes to choose from; got only {names}.")
    return names, words


def _places(names: list[str], labels: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Place of each row's class among the classes, (n,)."""
    place = {name: i for i, name in enumerate(names)}
    found, first, which = np.unique(labels, return_index=True, return_inverse=True)
    places = np.array([place.get(str(label), -1) for label in found.tolist()], dtype=np.intp)
    if (places < 0).any():
        row = int(first[places < 0].min())
        shown = names if len(names) <= 8 else [*names[:8], "..."]
        raise DataError(
            f"y, row {int(rows[row])}: class {labels[row].item()!r} is not among {shown}."
        )
    out: NDArray[np.intp] = places[which.ravel()]
    return out


def _score(
    scores: NDArray[np.float64],
    truth: NDArray[np.intp],
    names: list[str],
    modality: str,
    text: str,
    depths: Sequence[int],
    rows: NDArray[np.intp],
) -> ZeroShotScore:
    n, k = scores.shape
    own = scores[np.arange(n), truth]  # (n,)
    others = scores.copy()
    others[np.arange(n), truth] = -np.inf
    rank = 1 + (others >= own[:, None] - TIE).sum(axis=1)
    predicted = np.where(rank == 1, truth, others.argmax(axis=1))
    confusion = np.zeros((k, k), dtype=np.intp)
    np.add.at(confusion, (truth, predicted), 1)
    asked = confusion.sum(axis=1)
    recalls = confusion.diagonal()[asked > 0] / asked[asked > 0]
    return ZeroShotScore(
        accuracy=float((rank == 1).mean()),
        balanced=float(recalls.mean()),
        top_k={d: float((rank <= d).mean()) for d in depths if d < k},
        classes=tuple(names),
        confusion=confusion,
        modality=modality,
        text=text,
        predicted=predicted,
        rows=rows,
    )
