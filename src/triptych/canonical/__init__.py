"""What canonical correlations are worth: significance, permutation, structure, other rows."""

from triptych.canonical.heldout import HeldOutCorrelations, cross_validated_correlations
from triptych.canonical.permutation import PermutationTest, permutation_test
from triptych.canonical.structure import (
    Structure,
    loadings,
    redundancy,
    structure,
    total_redundancy,
    variance_extracted,
)
from triptych.canonical.theory import Significance, bartlett, rao_f, wilks

__all__ = [
    "HeldOutCorrelations",
    "PermutationTest",
    "Significance",
    "Structure",
    "bartlett",
    "cross_validated_correlations",
    "loadings",
    "permutation_test",
    "rao_f",
    "redundancy",
    "structure",
    "total_redundancy",
    "variance_extracted",
    "wilks",
]
