"""``triptych evaluate --zero-shot``: classes by their words, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.cli.ground import console, emit, print_grid
from triptych.errors import ParameterError

if TYPE_CHECKING:
    from triptych.dataset import Dataset


def name_by_text(
    method: Any,
    dataset: Dataset,
    test: Dataset,
    label: str,
    templates: list[str],
    given: str | None,
    as_json: bool,
) -> None:
    """Zero-shot classification of test rows, class by class."""
    import numpy as np

    from triptych.evaluation import zero_shot

    if label not in dataset.labels:
        raise ParameterError(
            f"--zero-shot: expected one of {list(dataset.labels)}, got {label!r}."
        )
    classes = np.unique(np.asarray(dataset.labels[label])).tolist()
    score = zero_shot(
        method,
        test.X,
        test.labels[label],
        templates=templates,
        classes=classes,
        modality=given,
    )
    if as_json:
        emit(
            {
                "label": label,
                "from": score.modality,
                "by": score.text,
                "templates": templates,
                "rows": len(score.rows),
                "accuracy": score.accuracy,
                "balanced": score.balanced,
                "top": {str(k): share for k, share in score.top_k.items()},
                "classes": list(score.classes),
                "confusion": score.confusion.tolist(),
            }
        )
        return
    rows, found = [], score.recall()
    for i, name in enumerate(score.classes):
        if name not in found:
            continue
        wrong = score.confusion[i].copy()
        wrong[i] = 0
        often = f"{score.classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else ""
        rows.append([name, str(int(score.confusion[i].sum())), f"{found[name]:.3f}", often])
    out = console()
    print_grid(out, ["class", "rows", "named right", "most often taken for"], rows)
    tops = "".join(f", among the first {k} {v:.4g}" for k, v in score.top_k.items() if k > 1)
    out.print(
        f"{label} of {len(score.rows)} rows from {score.modality}, named by {score.text}: "
        f"accuracy {score.accuracy:.4g}{tops}; every class alike {score.balanced:.4g}; "
        f"{len(score.classes)} classes, chance {1 / len(score.classes):.4g}",
        markup=False,
        soft_wrap=True,
    )
