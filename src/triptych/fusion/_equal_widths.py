"""Widths of layers, so that modalities may meet in any layer at the same number of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from triptych.nn.lstm_states import GATES

GRID = 4
# Widths that come within this share of the budget are equally good.
NEAR = 0.005


@dataclass(frozen=True)
class Plan:
    """What a network of layers that meet is made of.

    Args:
        sources: By modality, ``(width, maps)``: channels or features, and whether it is a map.
        sizes: By modality that is a map, its height and width in the first layer.
        recurrent: Whether anything has time.
        fuse_at: Layer in which all meet, from 1; one more than there are layers if after them.
        kernel: Side of convolutions.
        stride: Of those of pictures, in the first layer.
        code: Width of the code.
        outputs: How many are predicted.
    """

    sources: Mapping[str, tuple[int, bool]]
    sizes: Mapping[str, tuple[int, int]]
    recurrent: bool
    fuse_at: int
    kernel: int
    stride: int
    code: int
    outputs: int

    @property
    def size(self) -> tuple[int, int] | None:
        """Of the map in which all meet: the largest picture's, the first of equal ones."""
        areas = sorted(self.sizes.items(), key=lambda item: (-math.prod(item[1]), item[0]))
        return areas[0][1] if areas else None

    def readout(self, width: int, size: tuple[int, int] | None) -> int:
        """Numbers read from a last state: the means of at most 4 × 4 parts of a map."""
        return width if size is None else width * min(size[0], GRID) * min(size[1], GRID)


@dataclass(frozen=True)
class Widths:
    """Widths by layer.

    Args:
        joint: From the layer in which modalities meet; those of maps before it too.
        alone: Of the layers that modalities without maps have for themselves.
    """

    joint: tuple[int, ...]
    alone: tuple[int, ...]

    def of(self, maps: bool) -> tuple[int, ...]:
        """Widths of the layers that a modality has for itself."""
        return self.joint if maps else self.alone


def count(plan: Plan, widths: Widths) -> int:
    """Weights and biases of the network."""
    depth, area = len(widths.joint), plan.kernel**2
    rows_of = GATES if plan.recurrent else 1

    def layer(inputs: list[tuple[int, bool]], width: int, maps: bool) -> int:
        heard = sum(n * (area if spread else 1) for n, spread in inputs)
        held = width * (area if maps else 1) if plan.recurrent else 0
        return rows_of * width * (heard + held + 1)

    total, late = 0, plan.fuse_at > depth
    now = dict(plan.sources)
    for at in range(min(plan.fuse_at - 1, depth)):
        for m, (n, maps) in now.items():
            width = widths.of(maps)[at]
            total += layer([(n, maps)], width, maps)
            now[m] = width, maps
    meets = list(now.values())
    for at in range(plan.fuse_at - 1, depth):
        maps = plan.size is not None
        total += layer(meets, widths.joint[at], maps)
        meets = [(widths.joint[at], maps)]
    read = (
        sum(plan.readout(n, plan.sizes.get(m)) for m, (n, _) in now.items())
        if late
        else plan.readout(widths.joint[-1], plan.size)
    )
    return total + (read + 1) * plan.code + (plan.code + 1) * plan.outputs


def equal_widths(plan: Plan, layers: tuple[int, ...], budget: int | None) -> Widths:
    """Widths in proportion to ``layers`` with which the network has ``budget`` weights.

    Where there are maps, a modality without them gets layers of its own that are ``kernel`` times
    as wide, since its weights for as wide a layer are fewer by the kernel's area: each modality's
    own layers then weigh about the same. First all widths are scaled together, then those without
    maps a little more or less, and single layers by a unit, until the count is as near as whole
    widths allow.

    Args:
        plan: The network.
        layers: Widths to start from.
        budget: ``None`` keeps them.
    """
    side = plan.kernel if plan.sizes else 1

    def scaled(share: float, more: float) -> Widths:
        return Widths(
            tuple(max(1, round(share * w)) for w in layers),
            tuple(max(1, round(share * more * side * w)) for w in layers),
        )

    if budget is None:
        return scaled(1.0, 1.0)
    best, nearest = scaled(1.0, 1.0), (math.inf, 0.0, 0.0)
    seen: set[tuple[int, ...]] = set()
    for step in range(600):
        share = 0.05 * 40 ** (step / 599)  # from 0.05 to 2
        if (joint := scaled(share, 1.0).joint) in seen:
            continue
        seen.add(joint)
        for part in range(-20, 21):
            more = 2 ** (part / 40)  # from 0.71 to 1.41
            widths = scaled(share, more)
            gap = abs(count(plan, widths) / budget - 1)
            rank = max(gap, NEAR), abs(math.log(more)), gap
            if rank < nearest:
                best, nearest = widths, rank
    return _touched_up(plan, best, budget)


def _touched_up(plan: Plan, widths: Widths, budget: int) -> Widths:
    """One or two layers a unit wider or narrower, as long as that brings the count nearer."""
    depth = len(widths.joint)
    moves = [(at, by) for at in range(2 * depth) for by in (-1, 1)]
    gap = abs(count(plan, widths) - budget)
    while gap > NEAR * budget:
        found = []
        for some in [*combinations(moves, 1), *combinations(moves, 2)]:
            new = [*widths.joint, *widths.alone]
            for at, by in some:
                new[at] = max(1, new[at] + by)
            other = Widths(tuple(new[:depth]), tuple(new[depth:]))
            found.append((abs(count(plan, other) - budget), other.joint, other.alone))
        nearest = min(found)
        if nearest[0] >= gap:
            break
        gap, widths = nearest[0], Widths(*nearest[1:])
    return widths
