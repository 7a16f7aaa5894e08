"""What makes shared codes agree, and keeps private ones apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.errors import DataError
from triptych.losses.adversarial import domain_adversarial
from triptych.losses.contrastive import info_nce
from triptych.losses.divergence import (
    cmd,
    decorrelation,
    frobenius,
    hsic,
    mmd,
    orthogonality,
    sample_orthogonality,
)
from triptych.losses.gather import gather
from triptych.losses.kernel_sums import median_width
from triptych.training.batches import Batch

AGREEMENTS = ("contrastive", "cosine", "cmd", "mmd", "adversarial")
OF_ROWS = ("contrastive", "cosine")
SEPARATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "decorrelation": decorrelation,
    "orthogonality": lambda s, p: orthogonality(s, p, centred=False),
    "centred": orthogonality,
    "frobenius": frobenius,
    "samples": sample_orthogonality,
    "hsic": hsic,
}
TEMPERATURE = 0.07
# Widths of a bank of kernels, as multiples of the median distance.
BANK = (0.25, 0.5, 1.0, 2.0, 4.0)


def agreement_of(
    by: str,
    shared: Mapping[str, Tensor],
    batch: Batch,
    *,
    span: float,
    domains: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """How far the shared codes of modalities are from agreeing: a mean over pairs of them.

    A pair that two rows at least do not have is left out of the mean; without any it is 0, which
    says nothing (see :func:`agreement_is_seen`).

    Args:
        by: One of ``AGREEMENTS``. Those of ``OF_ROWS`` compare the codes of a row, the others the
            laws of all codes, whatever rows they are of.
        shared: Codes (b, d) by modality.
        batch: Which rows have what, and, for ``"contrastive"``, what content is equal.
        span: Width of the interval in which each coordinate lies.
        domains: Tells modalities apart, for ``"adversarial"``.
    """
    codes = {m: gather(s) for m, s in shared.items()}
    present = {m: gather(mask) for m, mask in batch.present.items()}
    if by == "adversarial":
        assert domains is not None
        kept = [codes[m][present[m]] for m in codes]
        if any(len(z) == 0 for z in kept):  # a batch in which nobody has one of the modalities
            return torch.stack([z.sum() for z in codes.values()]).sum() * 0.0
        return domain_adversarial(kept, domains)
    pairs = []
    for a, b in combinations(codes, 2):
        if by in OF_ROWS:
            rows = present[a] & present[b]
            sides = codes[a][rows], codes[b][rows]
        else:
            sides = codes[a][present[a]], codes[b][present[b]]
        if min(len(z) for z in sides) < 2:
            continue
        if by == "contrastive":
            ids = [gather(batch.content[m])[rows] for m in (a, b)]
            pairs.append(info_nce(*sides, temperature=TEMPERATURE, ids_a=ids[0], ids_b=ids[1]))
        elif by == "cosine":
            pairs.append(1 - F.cosine_similarity(*sides, dim=1).mean())
        elif by == "cmd":
            pairs.append(cmd(*sides, span=span))
        else:
            width = median_width(*sides)
            pairs.append(mmd(*sides, widths=[width * factor for factor in BANK]))
    if not pairs:
        return torch.stack([z.sum() for z in codes.values()]).sum() * 0.0
    return torch.stack(pairs).mean()


def agreement_is_seen(by: str, present: Mapping[str, Any]) -> bool:
    """Whether rows with these modalities, of all processes, say how far codes agree.

    Args:
        by: One of ``AGREEMENTS``.
        present: Boolean (n,) by modality.
    """
    if any(isinstance(mask, Tensor) for mask in present.values()):
        present = {m: gather(mask) for m, mask in present.items()}
    if by == "adversarial":
        return all(bool(mask.any()) for mask in present.values())
    return _most_together(by, present) > 1


def check_agreement_is_seen(by: str, present: Mapping[str, Any], where: str) -> None:
    """Refuse rows with these modalities where they say nothing of agreement.

    Args:
        by: One of ``AGREEMENTS``.
        present: Boolean (n,) by modality.
        where: What the rows are called.

    Raises:
        DataError: With how many rows there are to measure agreement on.
    """
    if agreement_is_seen(by, present):
        return
    if by in OF_ROWS:
        n = len(next(iter(present.values())))
        raise DataError(
            f"{where}: agreement_by={by!r} compares the codes of a row, and of {n} rows at most "
            f"{_most_together(by, present)} have two modalities together; 2 are needed. "
            "Agreement of laws ('cmd', 'mmd', 'adversarial') asks for no such rows, agreement=0 "
            "for nothing."
        )
    counts = {m: int(mask.sum()) for m, mask in present.items()}
    raise DataError(
        f"{where}: agreement_by={by!r} compares the codes of modalities, and too few rows have "
        f"each: {counts}."
    )


def _most_together(by: str, present: Mapping[str, Any]) -> int:
    """The most rows that the agreement of one pair of modalities can be measured on."""
    pairs = list(combinations(present.values(), 2))
    if by in OF_ROWS:
        return max(int((a & b).sum()) for a, b in pairs)
    return max(min(int(a.sum()), int(b.sum())) for a, b in pairs)


def separation_of(
    by: str,
    shared: Mapping[str, Tensor],
    private: Mapping[str, Tensor],
    batch: Batch,
    *,
    between_private: bool,
) -> Tensor:
    """How much each private code shows of the shared one, and of other private ones if wanted.

    Args:
        by: A name in ``SEPARATIONS``.
        shared: Codes (b, d) by modality.
        private: Codes (b, d_m) by modality.
        batch: Which rows have what.
        between_private: Whether private codes are kept from one another too.

    Returns:
        Mean over the pairs that two rows at least have.
    """
    measure = SEPARATIONS[by]
    pairs = [(shared[m], private[m], batch.present[m]) for m in batch.names]
    if between_private:
        pairs += [
            (private[a], private[b], batch.present[a] & batch.present[b])
            for a, b in combinations(batch.names, 2)
        ]
    apart = [
        measure(gather(one)[rows], gather(other)[rows])
        for one, other, mask in pairs
        if int((rows := gather(mask)).sum()) > 1
    ]
    return torch.stack(apart).mean() if apart else next(iter(private.values())).sum() * 0.0
