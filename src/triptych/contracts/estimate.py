"""A number with its standard error and unit: what every measure of information returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from triptych.arrays import check_choice
from triptych.values import register

UNITS = {"nats": 1.0, "bits": 1.0 / math.log(2.0)}


@register
@dataclass(frozen=True)
class Estimate:
    """An estimate; ``float(estimate)`` is its value.

    Args:
        value: The estimate, in ``unit``. Negative where sampling made it so: nothing is clipped.
        standard_error: Of the value, in ``unit``; 0 for exact results, NaN where it is not known
            (one of ``warnings`` then says why).
        interval: Lower and upper end, in ``unit``; NaN ends where it is not known.
        interval_kind: How the interval was made, for instance ``"normal, 95 %"``.
        unit: ``"nats"`` or ``"bits"``.
        n_samples: Rows that the estimate rests on; 0 for exact results from probabilities.
        estimator: Name of the estimator.
        warnings: What the reader of the number should know.
        reason: Why this estimator, where it was chosen automatically.

    Example:
        >>> half = Estimate.normal(0.5, 0.01, n_samples=100, estimator="plug-in")
        >>> half.to("bits")
        Estimate(0.721 ± 0.014 bits, plug-in, n = 100)
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    interval_kind: str
    unit: str
    n_samples: int
    estimator: str
    warnings: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def normal(
        cls,
        value: float,
        standard_error: float,
        *,
        n_samples: int,
        estimator: str,
        warnings: tuple[str, ...] = (),
        reason: str = "",
    ) -> Estimate:
        """An estimate in nats whose 95 % interval is 1.96 standard errors to either side."""
        half = 1.959963984540054 * standard_error
        return cls(
            float(value),
            float(standard_error),
            (float(value - half), float(value + half)),
            "normal, 95 %",
            "nats",
            n_samples,
            estimator,
            warnings,
            reason,
        )

    @classmethod
    def exact(cls, value: float, *, estimator: str = "exact") -> Estimate:
        """A value in nats that rests on given probabilities and not on samples."""
        number = float(value)
        return cls(number, 0.0, (number, number), "exact", "nats", 0, estimator)

    def __float__(self) -> float:
        return self.value

    def to(self, unit: str) -> Estimate:
        """The same estimate in another unit."""
        check_choice("unit", unit, tuple(UNITS))
        factor = UNITS[unit] / UNITS[self.unit]
        low, high = self.interval
        return replace(
            self,
            value=self.value * factor,
            standard_error=self.standard_error * factor,
            interval=(low * factor, high * factor),
            unit=unit,
        )

    def noting(self, *warnings: str) -> Estimate:
        """The same estimate with more warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))

    def __repr__(self) -> str:
        size = f", n = {self.n_samples}" if self.n_samples else ""
        return (
            f"Estimate({self.value:.3f} ± {self.standard_error:.3f} {self.unit}, "
            f"{self.estimator}{size})"
        )
