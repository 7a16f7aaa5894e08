"""Information: how much do the modalities say, and about what?

One line per name: what is public, and the file that defines it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.lazy import attribute

if TYPE_CHECKING:
    from triptych.information.divergences import cross_entropy as cross_entropy
    from triptych.information.divergences import information_content as information_content
    from triptych.information.divergences import js_divergence as js_divergence
    from triptych.information.divergences import kl_divergence as kl_divergence
    from triptych.information.measuring import Measurement as Measurement
    from triptych.information.measuring import measure as measure
    from triptych.information.multivariate import dual_total_correlation as dual_total_correlation
    from triptych.information.multivariate import (
        interaction_information as interaction_information,
    )
    from triptych.information.multivariate import o_information as o_information
    from triptych.information.multivariate import total_correlation as total_correlation
    from triptych.information.partial import Decomposition as Decomposition
    from triptych.information.partial import decomposition as decomposition
    from triptych.information.quantities import conditional_entropy as conditional_entropy
    from triptych.information.quantities import (
        conditional_mutual_information as conditional_mutual_information,
    )
    from triptych.information.quantities import entropy as entropy
    from triptych.information.quantities import joint_entropy as joint_entropy
    from triptych.information.quantities import mutual_information as mutual_information
    from triptych.information.significance import Permutations as Permutations
    from triptych.information.significance import permutation_test as permutation_test

_EXPORTS: dict[str, str] = {
    "Decomposition": "partial",
    "Measurement": "measuring",
    "Permutations": "significance",
    "conditional_entropy": "quantities",
    "conditional_mutual_information": "quantities",
    "cross_entropy": "divergences",
    "decomposition": "partial",
    "dual_total_correlation": "multivariate",
    "entropy": "quantities",
    "information_content": "divergences",
    "interaction_information": "multivariate",
    "joint_entropy": "quantities",
    "js_divergence": "divergences",
    "kl_divergence": "divergences",
    "measure": "measuring",
    "mutual_information": "quantities",
    "o_information": "multivariate",
    "permutation_test": "significance",
    "total_correlation": "multivariate",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    return attribute(__name__, _EXPORTS, name)


def __dir__() -> list[str]:
    return sorted(__all__)
