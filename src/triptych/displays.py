"""Plots of what a linear coordination method found, in the manner of scikit-learn's displays.

Each is made by ``from_estimator``, keeps plain values, and is drawn (again) by ``plot``; the axes
and the figure are in ``ax_`` and ``figure_``. Colour is never all that tells things apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_labels, check_number
from triptych.canonical.permutation import PermutationTest
from triptych.errors import CapabilityError, ModalityError, ParameterError, ShapeError
from triptych.report.figures import FAINT, INK, MARKERS, MUTED, PALETTE

Array = NDArray[np.float64]

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")


class CorrelationsDisplay:
    """Correlations by component, with the band in which they lie by chance.

    Args:
        correlations: Shape (d,).
        test: Permutation test of the first components, or ``None``.
        level: Level of the test: components up to the first whose family-wise p-value exceeds
            1 - ``level`` are filled, others hollow, and the band ends at this quantile.
        name: Of the method.

    Attributes:
        ax_: Axes drawn on.
        figure_: Figure of the axes.
    """

    def __init__(
        self,
        *,
        correlations: ArrayLike,
        test: PermutationTest | None = None,
        level: float = 0.95,
        name: str = "",
    ) -> None:
        self.correlations = np.asarray(correlations, dtype=np.float64)
        self.test = test
        self.level = level
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        n_permutations: int = 199,
        random_state: int | None = 0,
        groups: ArrayLike | None = None,
        level: float = 0.95,
        ax: Any = None,
    ) -> CorrelationsDisplay:
        """Draw the correlations of a fitted method.

        Args:
            estimator: Fitted, with ``correlations_``.
            X: The rows fitted, for the null; without them, or for a method that has no
                ``permutation_test``, none is drawn.
            n_permutations: For the null.
            random_state: Seed of the permutations.
            groups: Labels of rows that belong together.
            level: Of the test.
            ax: Axes to draw on; new ones when left out.
        """
        check_number("level", level, low=0, high=1)
        found = _learnt(estimator, "correlations_")
        test = None
        if X is not None and hasattr(estimator, "permutation_test"):
            test = estimator.permutation_test(
                X, n_permutations=n_permutations, random_state=random_state, groups=groups
            )
        shown = cls(correlations=found, test=test, level=level, name=type(estimator).__name__)
        return shown.plot(ax=ax)

    def plot(self, ax: Any = None) -> CorrelationsDisplay:
        """Draw on ``ax``, or on new axes."""
        self.ax_, self.figure_ = _axes(ax)
        ax = self.ax_
        x = np.arange(1, len(self.correlations) + 1)
        filled = np.ones(len(x), dtype=bool)
        if self.test is not None:
            at = np.arange(1, len(self.test.correlations) + 1)
            low, high = self.test.level(1 - self.level), self.test.level(self.level)
            ax.fill_between(
                at,
                low,
                high,
                facecolor="white",
                edgecolor=MUTED,
                hatch="////",
                linewidth=0.6,
                label=f"by chance ({1 - self.level:.0%} to {self.level:.0%})",
                zorder=1,
            )
            ax.plot(at, high, "_", color=MUTED, markersize=14, markeredgewidth=1.5, zorder=2)
            filled = x <= self.test.n_significant(1 - self.level)
        ax.plot(x, self.correlations, color=PALETTE[0], linewidth=1, zorder=2)
        for some, face, label in (
            (filled, PALETTE[0], "beyond chance"),
            (~filled, "white", "not beyond"),
        ):
            if some.any():
                told = label if self.test is not None else None
                ax.plot(x[some], self.correlations[some], "o", color=PALETTE[0], mfc=face,
                        markersize=7, label=told, zorder=3)  # fmt: skip
        ax.set_xlabel("component")
        ax.set_ylabel("correlation")
        ax.set_ylim(min(0.0, float(self.correlations.min())) - 0.02, 1.05)
        ax.set_xlim(0.5, len(x) + 0.5)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if self.name:
            ax.set_title(f"Correlations of {self.name}")
        if self.test is not None:
            ax.legend(frameon=False)
        return self


class LoadingsDisplay:
    """Loadings of the columns that say most of one component, by modality.

    Args:
        loadings: By modality, (p, d).
        component: Which, from 0.
        names: By modality, names of its p columns; numbers where left out.
        top: Most columns shown of each modality, by absolute loading.

    Attributes:
        ax_: Axes drawn on.
        figure_: Figure of the axes.
    """

    def __init__(
        self,
        *,
        loadings: Mapping[str, Array],
        component: int = 0,
        names: Mapping[str, Sequence[str]] | None = None,
        top: int = 10,
    ) -> None:
        self.loadings = dict(loadings)
        self.component = component
        self.names = dict(names or {})
        self.top = top

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        component: int = 0,
        names: Mapping[str, Sequence[str]] | None = None,
        top: int = 10,
        ax: Any = None,
    ) -> LoadingsDisplay:
        """Draw the loadings of a fitted method.

        Args:
            estimator: Fitted, with ``loadings_``. Words of a text modality are its columns' names.
            component: Which, from 0.
            names: By modality, names of its columns.
            top: Most columns shown of each modality.
            ax: Axes to draw on; new ones when left out.
        """
        found = _learnt(estimator, "loadings_")
        features = getattr(estimator, "features_", {})
        words = {m: f.words for m, f in features.items() if getattr(f, "words", ())}
        return cls(
            loadings=found, component=component, names={**words, **(names or {})}, top=top
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> LoadingsDisplay:
        """Draw on ``ax``, or on new axes."""
        check_number("top", self.top, low=1, integer=True)
        width = min(found.shape[1] for found in self.loadings.values())
        check_number("component", self.component, low=0, high=width - 1, integer=True)
        rows: list[tuple[str, str, float]] = []
        for m, found in self.loadings.items():
            names = self.names.get(m) or [str(j) for j in range(len(found))]
            if len(names) != len(found):
                raise ShapeError(f"names[{m!r}]: expected {len(found)} names, got {len(names)}.")
            column = found[:, self.component]
            most = np.argsort(-np.abs(column), kind="stable")[: self.top]
            rows += [(m, str(names[j]), float(column[j])) for j in most]
        self.ax_, self.figure_ = _axes(ax, height=1.2 + 0.24 * len(rows))
        ax = self.ax_
        for i, m in enumerate(self.loadings):
            y = [j for j, row in enumerate(rows) if row[0] == m]
            ax.barh(y, [rows[j][2] for j in y], color=PALETTE[i % len(PALETTE)], label=m,
                    hatch=HATCHES[i % len(HATCHES)], edgecolor="white", height=0.8)  # fmt: skip
            if i:
                ax.axhline(y[0] - 0.5, color=MUTED, linewidth=0.8)
        ax.axvline(0, color=INK, linewidth=0.8)
        labels = ax.set_yticks(range(len(rows)), [name for _, name, _ in rows])
        for tick in labels:
            tick.label1.set_parse_math(False)
        ax.invert_yaxis()
        ax.set_xlim(-1.05, 1.05)
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
        ax.set_xlabel(f"correlation with component {self.component + 1}")
        legend = ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for text in legend.get_texts():
            text.set_parse_math(False)
        return self


class VariatesDisplay:
    """One component's codes of two modalities against each other, a point for each row.

    Args:
        codes: By modality, two of them, (n,).
        component: Which, from 0.
        labels: Classes (n,) with a marker each, or ``None``. Beyond the seven most frequent they
            are drawn alike.

    Attributes:
        correlation_: Of the two codes, in [-1, 1]; 0 where one is constant.
        ax_: Axes drawn on.
        figure_: Figure of the axes.
    """

    def __init__(
        self,
        *,
        codes: Mapping[str, ArrayLike],
        component: int = 0,
        labels: ArrayLike | None = None,
    ) -> None:
        self.codes = {m: np.asarray(z, dtype=np.float64) for m, z in codes.items()}
        self.component = component
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        component: int = 0,
        modalities: tuple[str, str] | None = None,
        labels: ArrayLike | None = None,
        ax: Any = None,
    ) -> VariatesDisplay:
        """Draw the codes of a fitted method.

        Args:
            estimator: Fitted coordination method.
            X: Rows to draw; those that lack one of the two modalities are left out.
            component: Which, from 0.
            modalities: Which two, across and up; the first two when left out.
            labels: Classes (n,), one for each row of ``X``.
            ax: Axes to draw on; new ones when left out.
        """
        Z = estimator.transform(X)
        a, b = modalities or tuple(Z.names[:2]) if len(Z.names) > 1 else ("", "")
        for m in (a, b):
            if m not in Z:
                raise ModalityError(
                    f"modalities: two of {list(Z.names)} are needed; got {a}, {b}."
                )
        width = min(Z[m].shape[1] for m in (a, b))
        check_number("component", component, low=0, high=width - 1, integer=True)
        both = Z.present[a] & Z.present[b]
        if labels is not None:
            labels = as_labels(labels, len(Z), "labels")[both]
        return cls(
            codes={m: Z[m][both, component] for m in (a, b)}, component=component, labels=labels
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> VariatesDisplay:
        """Draw on ``ax``, or on new axes."""
        if len(self.codes) != 2:
            raise ParameterError(f"codes: expected two modalities, got {list(self.codes)}.")
        (a, x), (b, y) = self.codes.items()
        self.ax_, self.figure_ = _axes(ax, height=4.6)
        ax = self.ax_
        size = 26 if len(x) < 1000 else 10
        names = np.full(len(x), "", dtype=object)
        if self.labels is not None:
            names = as_labels(self.labels, len(x), "labels").astype(str).astype(object)
        kinds, counts = np.unique(names, return_counts=True)
        common = kinds[np.argsort(-counts, kind="stable")][: len(PALETTE)]
        rest = ~np.isin(names, common)
        if rest.any():
            ax.scatter(x[rest], y[rest], 6, color=FAINT, label="other", linewidths=0)
        for i, kind in enumerate(sorted(common)):
            some = names == kind
            ax.scatter(x[some], y[some], size, color=PALETTE[i], marker=MARKERS[i], alpha=0.75,
                       linewidths=0, label=kind)  # fmt: skip
        if self.labels is not None:
            for text in ax.legend(frameon=False, fontsize="small").get_texts():
                text.set_parse_math(False)
        varies = len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
        self.correlation_ = float(np.corrcoef(x, y)[0, 1]) if varies else 0.0
        ax.set_xlabel(f"{a}, component {self.component + 1}", parse_math=False)
        ax.set_ylabel(f"{b}, component {self.component + 1}", parse_math=False)
        ax.set_title(f"correlation {self.correlation_:.2f} over {len(x)} rows")
        return self


def _learnt(estimator: Any, attribute: str) -> Any:
    check = getattr(estimator, "_check_fitted", None)
    if check is not None:
        check()
    if not hasattr(estimator, attribute):
        raise CapabilityError(f"{type(estimator).__name__} has no {attribute} to draw.")
    return getattr(estimator, attribute)


def _axes(ax: Any, height: float = 3.6) -> tuple[Any, Any]:
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(5.4, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax, ax.figure
