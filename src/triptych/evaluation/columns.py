"""What the columns of a comparison are called, and what they mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice
from triptych.dataset import Dataset
from triptych.errors import DataError
from triptych.evaluation.probes import MAX_CLASSES
from triptych.evaluation.robustness import LEVELS, SHARES
from triptych.modalities import SHARED

DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Column:
    """One measure.

    Args:
        key: Name in records; ``{a}``, ``{b}``, ``{label}``, ``{k}``, ``{share}``,
            ``{level}`` in a family.
        title: Name to show.
        unit: ``"accuracy"``, ``"R²"``, ``"s"`` and the like.
        better: ``"higher"``, ``"lower"``, or ``None`` where it depends on the aim.
        group: Heading under which it stands.
        help: One sentence for those who do not know the measure.
    """

    key: str
    title: str
    unit: str
    better: str | None
    group: str
    help: str

    def fill(self, **words: str) -> Column:
        """The column with the words put into key, title and help."""
        return replace(
            self,
            key=self.key.format(**words),
            title=self.title.format(**words),
            help=self.help.format(**words),
        )


_FAMILIES = (
    Column(
        "probe",
        "Linear probe: {label}",
        "accuracy",
        "higher",
        "Probes",
        "How well a linear reader tells {label} of test rows from the whole code.",
    ),
    Column(
        "balanced_probe",
        "Linear probe: {label}, balanced",
        "accuracy",
        "higher",
        "Probes",
        "The same with every class of {label} counting alike, however rare.",
    ),
    Column(
        "knn",
        "5 nearest neighbours: {label}",
        "accuracy",
        "higher",
        "Probes",
        "How well the majority among the 5 nearest training rows (cosine) tells {label}.",
    ),
    Column(
        "probe:{a}",
        "Linear probe from {a} alone: {label}",
        "accuracy",
        "higher",
        "Probes",
        "The linear reader trained and asked on codes of rows that show only {a}.",
    ),
    Column(
        "predict",
        "Prediction: {label}",
        "accuracy",
        "higher",
        "Prediction",
        "How well the method's own prediction tells {label} of test rows.",
    ),
    Column(
        "predict_gain",
        "Gain over a linear probe of the best modality: {label}",
        "accuracy",
        "higher",
        "Prediction",
        "The prediction less what a linear probe reads from plain features of the best modality.",
    ),
    Column(
        "predict:{a}",
        "Prediction from {a} alone: {label}",
        "accuracy",
        "higher",
        "Prediction",
        "The same prediction where rows show only {a}.",
    ),
    Column(
        "predict_ece",
        "Calibration error: {label}",
        "probability",
        "lower",
        "Prediction",
        "How far the method's sureness is from how often it is right (ECE, 15 bins).",
    ),
    Column(
        "predict_brier",
        "Brier score: {label}",
        "squared error",
        "lower",
        "Prediction",
        "Squared distance of the predicted probabilities of all classes from the truth, 0 to 2.",
    ),
    Column(
        "predict_missing",
        "Prediction, modalities going missing: {label}",
        "accuracy",
        "higher",
        "Prediction",
        "Mean height of the curve of predictions as up to 90 % of modalities are lost.",
    ),
    Column(
        "predict_noise",
        "Prediction under noise: {label}",
        "accuracy",
        "higher",
        "Prediction",
        "Mean height of the curve of predictions under noise of up to twice each column's spread.",
    ),
    Column(
        "retrieval:{a}>{b}:R@{k}",
        "{a} → {b}, R@{k}",
        "share of queries",
        "higher",
        "Retrieval",
        "Share of {a} queries with a correct {b} among the {k} nearest; ties count against.",
    ),
    Column(
        "retrieval:{a}>{b}:median_rank",
        "{a} → {b}, median rank",
        "rank",
        "lower",
        "Retrieval",
        "Median place of the best correct {b}; 1 is first.",
    ),
    Column(
        "retrieval:{a}>{b}:mAP",
        "{a} → {b}, mAP",
        "average precision",
        "higher",
        "Retrieval",
        "Mean average precision over all correct {b} of each {a}.",
    ),
    Column(
        "reconstruction:{a}",
        "{a} rebuilt from the rest",
        "R²",
        "higher",
        "Reconstruction",
        "Share of the squared error of always showing the mean {a} that is gone; 1 is perfect.",
    ),
    Column(
        "reconstruction:{a}:nats",
        "{a} rebuilt, cross-entropy",
        "nats per token",
        "lower",
        "Reconstruction",
        "How surprising each true token of {a} is to the decoder that sees the rest.",
    ),
    Column(
        "coherence:{a}>{b}",
        "{b} made from {a} tells {label}",
        "accuracy",
        "higher",
        "Reconstruction",
        "How well a reader of true {b} tells {label} from the {b} that the method makes of {a}.",
    ),
    Column(
        "leakage:{a}>{b}",
        "{a} tells {b}",
        "R²",
        "lower",
        "Leakage",
        "How much of the code {b} a linear or neighbour reader predicts from the code {a}.",
    ),
    Column(
        "dependence:{a}~{b}:hsic",
        "{a} depends on {b}",
        "HSIC",
        "lower",
        "Leakage",
        "Dependence of any form between both codes, beyond what shuffled rows show; 1 for a copy.",
    ),
    Column(
        "dependence:{a}~{b}:information",
        "information of {a} and {b}",
        "nats",
        "lower",
        "Leakage",
        "Mutual information of the two leading directions of each code, by nearest neighbours.",
    ),
    Column(
        "leakage:{a}>{label}",
        "{a} tells {label}",
        "accuracy",
        None,
        "Leakage",
        "How well a linear reader tells {label} from the part {a}; wanted or not, by the aim.",
    ),
    Column(
        "zero_shot:{a}",
        "Zero-shot from {a}: {label}",
        "accuracy",
        "higher",
        "Zero-shot",
        "Share of {a} rows nearest to the words of their own {label}; no label is learnt.",
    ),
    Column(
        "gap:{a}~{b}",
        "gap between {a} and {b}",
        "distance",
        None,
        "Geometry",
        "Distance between the mean directions of both codes, 0 to 2: comparable is not identical.",
    ),
    Column(
        "alignment:{a}~{b}",
        "alignment of {a} and {b}",
        "squared distance",
        None,
        "Geometry",
        "Mean squared distance of partners on the unit sphere, 0 to 4; 0 when they coincide.",
    ),
    Column(
        "uniformity:{a}",
        "uniformity of {a}",
        "log potential",
        None,
        "Geometry",
        "How evenly codes of {a} cover the unit sphere, -8 to 0; 0 when all are the same.",
    ),
    Column(
        "missing:{share}",
        "Linear probe, {share} missing: {label}",
        "accuracy",
        "higher",
        "Missing modalities",
        "The linear probe when each modality of a test row is lost with chance {share}.",
    ),
    Column(
        "noise:{level}",
        "Linear probe, noise {level}: {label}",
        "accuracy",
        "higher",
        "Noise",
        "The linear probe under noise of {level} times each signal's spread; texts stay clean.",
    ),
    Column("resources:fit_s", "Fit time", "s", "lower", "Resources", "Wall-clock seconds of fit."),
    Column(
        "resources:peak_mib",
        "Peak memory",
        "MiB",
        "lower",
        "Resources",
        "Resident memory that fit added to the process at its peak.",
    ),
    Column(
        "resources:parameters",
        "Parameters",
        "numbers",
        "lower",
        "Resources",
        "How many numbers the method learnt.",
    ),
)
_BY_KEY = {family.key: family for family in _FAMILIES}
COLUMNS: list[dict[str, Any]] = [asdict(family) for family in _FAMILIES]


def columns(data: Dataset, label: str | None = None) -> list[dict[str, Any]]:
    """The columns of a comparison on these data, in the order to show them.

    Args:
        data: Training rows: modalities and labels decide which columns there are.
        label: The label to probe; see :func:`choose_label`.
    """
    names = data.X.names
    probed = choose_label(data, label)
    words = {"label": probed or "label"}
    numbers = probed is not None and is_number(data.labels[probed])

    def get(key: str, number: bool = numbers, **more: str) -> Column:
        column = _BY_KEY[key].fill(**{**words, **more})
        return replace(column, unit="R²") if number and column.unit == "accuracy" else column

    out = [get(key) for key in ("probe", "balanced_probe", "knn")]
    out += [get("probe:{a}", a=a) for a in names]
    if probed is not None:
        out += [get(key) for key in ("predict", "predict_gain")]
        out += [get("predict:{a}", a=a) for a in names]
        out += [get(f"predict_{what}") for what in ("ece", "brier", "missing", "noise")]
    for a, b in permutations(names, 2):
        out += [get("retrieval:{a}>{b}:R@{k}", a=a, b=b, k=str(k)) for k in DEPTHS]
        out += [get(f"retrieval:{{a}}>{{b}}:{m}", a=a, b=b) for m in ("median_rank", "mAP")]
    if probed is not None and has_class_names(data.labels[probed]):
        out += [get("zero_shot:{a}", a=a) for a in named_by_text(data)]
    for a in names if len(names) > 1 else ():
        out.append(get("reconstruction:{a}", a=a))
        if data.X.kind(a).form == "text":
            out[-1] = replace(
                out[-1],
                unit="share of nats",
                help=f"How far the cross-entropy of {a} lies below the unigram's; 1 is perfect.",
            )
            out.append(get("reconstruction:{a}:nats", a=a))
    out += [get("coherence:{a}>{b}", a=a, b=b) for a, b in permutations(names, 2)]
    for a in names:
        out.append(get("leakage:{a}>{b}", a=SHARED, b=private(a)))
        out.append(get("leakage:{a}>{b}", a=private(a), b=SHARED))
    for a in names:
        for what in ("hsic", "information"):
            out.append(get(f"dependence:{{a}}~{{b}}:{what}", a=SHARED, b=private(a)))
    for part in (SHARED, *(private(a) for a in names)):
        for name in readable_labels(data):
            number = is_number(data.labels[name])
            out.append(get("leakage:{a}>{label}", number, a=part, label=told(name)))
    for a, b in combinations(names, 2):
        out += [get(f"{what}:{{a}}~{{b}}", a=a, b=b) for what in ("gap", "alignment")]
    out += [get("uniformity:{a}", a=a) for a in names]
    out += [get("missing:{share}", share=str(share)) for share in SHARES[1:]]
    out += [get("noise:{level}", level=f"{level:g}") for level in LEVELS[1:]]
    out += [get(f"resources:{what}") for what in ("fit_s", "peak_mib", "parameters")]
    return [asdict(column) for column in out]


def told(label: str) -> str:
    """What a label that a part tells is called in keys, apart from the parts themselves."""
    taken = label == SHARED or label.startswith(("private:", "label:"))
    return f"label:{label}" if taken else label


def private(name: str) -> str:
    """What the private part of a modality is called in keys."""
    return f"private:{name}"


def is_number(y: NDArray[Any]) -> bool:
    """Whether a label is a number to be predicted rather than a class."""
    return np.asarray(y).dtype.kind == "f"


def has_class_names(y: NDArray[Any]) -> bool:
    """Whether classes are called by letters, which a text can hold, and not by numbers."""
    values = np.asarray(y)
    if values.dtype.kind not in "US":
        return False
    return any(c.isalpha() for name in np.unique(values).tolist() for c in str(name))


def named_by_text(data: Dataset) -> list[str]:
    """Modalities whose rows a text can name: all but texts, where there is one."""
    texts = [name for name in data.X.names if data.X.kind(name).form == "text"]
    return [name for name in data.X.names if name not in texts] if texts else []


def readable_labels(data: Dataset) -> list[str]:
    """Labels that a linear probe can learn: numbers, or from 2 to 500 classes."""
    return [
        name
        for name, y in data.labels.items()
        if np.ndim(y) == 1 and (is_number(y) or 2 <= len(np.unique(np.asarray(y))) <= MAX_CLASSES)
    ]


def choose_label(data: Dataset, label: str | None) -> str | None:
    """``label`` if a probe can learn it; when left out, the first that one can, or none.

    Raises:
        ParameterError: The data have no such label.
        DataError: A label of one class or of more than 500, or of several labels a row.
    """
    readable = readable_labels(data)
    if label is None:
        return next(iter(readable), None)
    check_choice("label", label, tuple(data.labels))
    if np.ndim(data.labels[label]) != 1:
        raise DataError(
            f"label {label!r}: it has several labels a row; methods learn them (fit, predict, "
            "score), and what is judged here needs one label a row."
        )
    if label not in readable:
        found = np.unique(np.asarray(data.labels[label]))
        what = f"the class {found[0]!s} alone" if len(found) == 1 else f"{len(found)} classes"
        raise DataError(
            f"label {label!r}: expected numbers or from 2 to {MAX_CLASSES} classes, got {what}."
        )
    return label
