"""Layers of which each modality has some for itself, until all meet in one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.fusion._equal_widths import GRID, Plan, Widths
from triptych.nn.conv_lstm import JoinedLayer, Signal
from triptych.nn.parts import Parts

JOINT = "joint"


class MeetingLayers(nn.Module):
    """Layers, a code read from their last states, and outputs.

    Args:
        plan: What it is made of.
        widths: Of the layers.
    """

    def __init__(self, plan: Plan, widths: Widths) -> None:
        super().__init__()
        self.plan, depth = plan, len(widths.joint)
        self.late = plan.fuse_at > depth
        now = dict(sorted(plan.sources.items()))
        alone: list[nn.Module] = []
        for at in range(min(plan.fuse_at - 1, depth)):
            own = {}
            for m, (n, maps) in now.items():
                width = widths.of(maps)[at]
                own[m] = self._layer({m: (n, maps)}, width, plan.sizes.get(m), first=at == 0)
                now[m] = width, maps
            alone.append(Parts(own))
        self.alone = nn.ModuleList(alone)
        meets, joint = dict(now), []
        for at in range(plan.fuse_at - 1, depth):
            width = widths.joint[at]
            joint.append(self._layer(meets, width, plan.size, first=at == 0))
            meets = {JOINT: (width, plan.size is not None)}
        self.joint = nn.ModuleList(joint)
        self.reads = (
            {m: plan.readout(n, plan.sizes.get(m)) for m, (n, _) in now.items()}
            if self.late
            else {JOINT: plan.readout(widths.joint[-1], plan.size)}
        )
        self.code = nn.Linear(sum(self.reads.values()), plan.code)
        self.output = nn.Linear(plan.code, plan.outputs)

    def _layer(
        self,
        inputs: Mapping[str, tuple[int, bool]],
        width: int,
        size: tuple[int, int] | None,
        *,
        first: bool,
    ) -> JoinedLayer:
        return JoinedLayer(
            inputs,
            width,
            size=size,
            kernel=self.plan.kernel,
            stride=self.plan.stride if first else 1,
            recurrent=self.plan.recurrent,
        )

    def forward(
        self, values: Mapping[str, Tensor], present: Mapping[str, Tensor], steps: Tensor | None
    ) -> Tensor:
        """Codes (b, d).

        Args:
            values: By modality that is there: vectors (b, p), pictures (b, c, h, w) and frames
                (b, t, p).
            present: Boolean (b,) by the same names.
            steps: How long each row is looked at (b,), >= 1; ``None`` where nothing has time.
        """
        longest = 1 if steps is None else int(steps.max())
        rows = len(next(iter(values.values())))
        signals = {m: self._signal(m, v, longest) for m, v in sorted(values.items())}
        for parts in self.alone:
            assert isinstance(parts, Parts)
            signals = {m: parts[m]({m: s}, rows, longest) for m, s in signals.items()}
        if self.late:
            nothing = next(iter(signals.values())).values.new_zeros
            found = [
                self._read(signals[m], steps) * present[m][:, None]
                if m in signals
                else nothing(rows, n)
                for m, n in self.reads.items()
            ]
            return self.code(torch.cat(found, dim=1))  # type: ignore[no-any-return]
        every = all(bool(mask.all()) for mask in present.values())
        joint = self.joint[0](signals, rows, longest, None if every else present)
        for layer in list(self.joint)[1:]:
            joint = layer({JOINT: joint}, rows, longest)
        return self.code(self._read(joint, steps))  # type: ignore[no-any-return]

    def _signal(self, name: str, values: Tensor, longest: int) -> Signal:
        """A modality's values in the form that layers read, frames first by time."""
        if name in self.plan.sizes:
            return Signal(values.permute(0, 2, 3, 1).contiguous(), timed=False, maps=True)
        if values.ndim == 2:
            return Signal(values, timed=False, maps=False)
        steps = values.transpose(0, 1)[:longest]
        if len(steps) < longest:
            steps = F.pad(steps, (0, 0, 0, 0, 0, longest - len(steps)))
        return Signal(steps.contiguous(), timed=True, maps=False)

    def _read(self, signal: Signal, steps: Tensor | None) -> Tensor:
        """The state (b, n) after each row's last step."""
        last = signal.values
        if signal.timed:
            assert steps is not None
            last = last[steps - 1, torch.arange(len(steps), device=last.device)]
        if not signal.maps:
            return last
        h, w = last.shape[1:3]
        parts = F.adaptive_avg_pool2d(last.permute(0, 3, 1, 2), (min(h, GRID), min(w, GRID)))
        return parts.flatten(1)
