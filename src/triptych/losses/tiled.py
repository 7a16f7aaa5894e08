"""The cosine matrix of two batches, worked on tile by tile and never held whole.

A tile is a product of two blocks of unit rows; what a loss makes of it is overwritten with its
derivative and multiplied back at once. Memory beyond inputs and gradients is a few tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.arrays import check_number
from triptych.errors import ParameterError, ShapeError, TrainingError

# A row shorter than this has no direction: its cosines and its gradient are zero.
SHORTEST = 1e-12


def side(device: torch.device) -> int:
    """Rows and columns of a tile: 4 MiB stay in a processor's cache, a GPU wants larger ones."""
    return 1024 if device.type == "cpu" else 4096


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows in order."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def exact(device: torch.device) -> torch.dtype:
    """The type of sums over many tiles."""
    return torch.float32 if device.type == "mps" else torch.float64


def wide(z: Tensor) -> Tensor:
    """Half precision as float32, which can tell cosines of 0.999 apart."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def check_pair(name: str, za: Tensor, zb: Tensor, least: int = 2) -> None:
    """Refuse what are not two batches (n, d) of finite numbers whose rows belong together."""
    if za.shape != zb.shape or za.ndim != 2 or len(za) < least:
        raise ShapeError(
            f"{name} pairs row i of za with row i of zb, so both must be (n, d) with n >= {least};"
            f" got za {tuple(za.shape)} and zb {tuple(zb.shape)}."
        )
    for side_name, z in (("za", za), ("zb", zb)):
        if not z.is_floating_point():
            raise ShapeError(f"{name} takes real numbers; {side_name} is {z.dtype}.")
        check_codes(f"{name}: {side_name}", z)


def check_codes(whose: str, z: Tensor) -> None:
    """Refuse codes (n, d) that are not finite.

    A comparison with NaN is false, so a loss that takes the hardest negative, or leaves constant
    columns out, would be a number all the same.

    Raises:
        TrainingError: Names the row.
    """
    # The sum is finite only if all are; it costs less than a look at each.
    if bool(torch.isfinite(z.detach().sum())):
        return
    broken = ~torch.isfinite(z.detach()).all(1)
    if bool(broken.any()):
        row = int(broken.nonzero()[0])
        raise TrainingError(
            f"{whose}, row {row}: codes are not finite. Lower training__learning_rate, or look "
            "for extreme values."
        )


def widened(za: Tensor, zb: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or wider, of one type."""
    dtype = torch.promote_types(wide(za).dtype, wide(zb).dtype)
    return za.to(dtype), zb.to(dtype)


def one_temperature(name: str, temperature: float | Tensor, like: Tensor) -> Tensor:
    """The temperature as a scalar tensor of the type of ``like``."""
    if not isinstance(temperature, Tensor):
        check_number("temperature", temperature, low=0, open_low=True)
        return like.new_tensor(temperature)
    if temperature.numel() != 1:
        raise ShapeError(
            f"{name} takes one temperature; got a tensor of shape {tuple(temperature.shape)}."
        )
    # Not "<= 0", which NaN passes.
    if not float(temperature.detach()) > 0:
        raise ParameterError(
            f"temperature: expected a number > 0, got {float(temperature.detach())}."
        )
    return temperature.reshape(()).to(like)


def gradients_wanted(*tensors: Tensor) -> bool:
    """Whether a backward pass can follow; not so in validation, though weights ask for one."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


class Sphere:
    """Rows seen at unit length, in blocks; no second copy of them all.

    Args:
        z: Shape (n, d).
    """

    def __init__(self, z: Tensor) -> None:
        self.z = z
        length = torch.linalg.vector_norm(z, dim=1, keepdim=True)  # (n, 1)
        self.inverse = torch.where(length < SHORTEST, torch.zeros_like(length), 1 / length)

    def __len__(self) -> int:
        return len(self.z)

    def unit(self, rows: slice, factor: float = 1.0) -> Tensor:
        """Those rows at unit length, times ``factor``."""
        inverse = self.inverse[rows]
        return self.z[rows] * (inverse if factor == 1.0 else inverse * factor)

    def pull_back_(self, gradient: Tensor, factor: Tensor) -> Tensor:
        """Turn the gradient of the unit rows into that of the rows, in place.

        Args:
            gradient: Shape (n, d); overwritten.
            factor: Scalar that it is multiplied with.

        Returns:
            The sum over rows of unit row times gradient, which is the gradient of a factor common
            to all cosines.
        """
        radial = torch.zeros((), dtype=exact(gradient.device), device=gradient.device)
        for rows in blocks(len(self), 1024):
            unit, part = self.unit(rows), gradient[rows]
            inner = torch.linalg.vecdot(unit, part)[:, None]  # (b, 1)
            radial += inner.sum(dtype=radial.dtype)
            part.addcmul_(unit, inner, value=-1).mul_(self.inverse[rows] * factor)
        return radial


class Positives:
    """Which rows are partners, as groups of equal ids; the matrix of them is never built.

    Row j is a positive of row i if i = j or their ids are equal on either side. With M_a, M_b and
    M_ab the matrices of equal ids on the one side, the other, and both, this is
    M_a + M_b - M_ab, and each of the three is a sum over groups.

    Args:
        name: Of the loss, for errors.
        n: Rows.
        ids_a: Integers (n,) or ``None``.
        ids_b: The same for the other side.
        device: Where the rows are.
    """

    def __init__(
        self,
        name: str,
        n: int,
        ids_a: Tensor | None,
        ids_b: Tensor | None,
        device: torch.device,
    ) -> None:
        self.groups: list[Tensor] = []  # group of each row (n,), by side
        for label, ids in (("ids_a", ids_a), ("ids_b", ids_b)):
            if ids is None:
                continue
            if ids.shape != (n,):
                raise ShapeError(
                    f"{name} takes one id a row: {label} must be ({n},), got {tuple(ids.shape)}."
                )
            group = torch.unique(ids.to(device), return_inverse=True)[1]
            if int(group.max()) + 1 < n:  # ids that all differ say nothing
                self.groups.append(group)
        self.plain, self.device = not self.groups, device
        self.signed = [(group, 1.0) for group in self.groups]
        if len(self.groups) == 2:
            both = self.groups[0] * n + self.groups[1]
            self.signed.append((torch.unique(both, return_inverse=True)[1], -1.0))
        self.n = n

    def count(self, like: Tensor) -> Tensor:
        """How many positives each row has, (n,), its partner among them."""
        return self.sum(torch.ones(self.n, 1, dtype=like.dtype, device=like.device))[:, 0]

    def sum(self, values: Tensor) -> Tensor:
        """For each row the sum of ``values`` (n, d) over its positives, (n, d)."""
        if self.plain:
            return values
        total = torch.zeros_like(values)
        for group, sign in self.signed:
            sums = torch.zeros_like(values).index_add_(0, group, values)
            total.add_(sums[group], alpha=sign)
        return total

    def tile(self, rows: slice, cols: slice) -> Tensor | None:
        """Boolean tile of the matrix; ``None`` off the diagonal of plain pairs."""
        if self.plain:
            if rows != cols:
                return None
            return torch.eye(rows.stop - rows.start, dtype=torch.bool, device=self.device)
        mask: Tensor | None = None
        for group in self.groups:
            equal = group[rows, None] == group[None, cols]
            mask = equal if mask is None else mask.logical_or_(equal)
        return mask


class Judge(Protocol):
    """A loss that is a sum over pairs of rows, each of which depends on one cosine."""

    def tile(self, x: Tensor, rows: slice, cols: slice) -> Tensor:
        """The sum over a tile of scaled cosines; ``x`` is overwritten with its derivative."""
        ...

    def closing(self) -> tuple[Tensor | float, Tensor | None]:
        """After all tiles: a factor on everything, and derivatives (n,) by the diagonal."""
        ...

    def bias_gradient(self) -> Tensor | None:
        """The derivative by a term added to every scaled cosine."""
        ...


class _OnePass(torch.autograd.Function):
    """Value and, if wanted, gradients in one pass over the tiles: three products."""

    @staticmethod
    def forward(
        ctx: Any, za: Tensor, zb: Tensor, scale: Tensor, bias: Tensor, make: Any, wanted: bool
    ) -> Tensor:
        ctx.save_for_backward(za, zb, scale, bias)
        ctx.make = make
        value, ctx.gradients = _run(za, zb, scale, bias, make, wanted)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:  # a graph kept for a second time; the first took the gradients
            za, zb, scale, bias = ctx.saved_tensors
            gradients = _run(za, zb, scale, bias, ctx.make, True)[1]
        assert gradients is not None
        # In place, since a second copy would be as large as the inputs.
        return (*(g.mul_(upstream) for g in gradients), None, None)


def _run(
    za: Tensor, zb: Tensor, scale: Tensor, bias: Tensor, make: Any, wanted: bool
) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    a, b, s = Sphere(za), Sphere(zb), float(scale)
    judge: Judge = make(a, b, float(bias))
    size = side(za.device)
    buffer = za.new_empty(min(size, len(za)) ** 2)
    total = torch.zeros((), dtype=exact(za.device), device=za.device)
    da, db = (torch.empty_like(za), torch.empty_like(zb)) if wanted else (za, zb)
    for rows in blocks(len(za), size):
        u = a.unit(rows)
        scaled = u * s
        for cols in blocks(len(za), size):
            v = b.unit(cols)
            x = buffer[: len(u) * len(v)].view(len(u), len(v))
            torch.mm(scaled, v.T, out=x)
            total += judge.tile(x, rows, cols)
            if wanted:
                da[rows].addmm_(x, v, beta=int(cols.start > 0))
                db[cols].addmm_(x.T, u, beta=int(rows.start > 0))
    factor, diagonal = judge.closing()
    value = (total * factor).to(za.dtype)
    if not wanted:
        return value, None
    if diagonal is not None:
        for rows in blocks(len(za), size):
            weight = diagonal[rows, None]
            da[rows].addcmul_(b.unit(rows), weight)
            db[rows].addcmul_(a.unit(rows), weight)
    factor = torch.as_tensor(factor, dtype=za.dtype, device=za.device)
    ds = a.pull_back_(da, factor * s) * factor
    b.pull_back_(db, factor * s)
    slope = judge.bias_gradient()
    dbias = torch.zeros_like(bias) if slope is None else (slope * factor).to(bias.dtype)
    return value, (da, db, ds.to(scale.dtype), dbias)


def one_pass(za: Tensor, zb: Tensor, scale: Tensor, bias: Tensor, make: Any) -> Tensor:
    """The loss of a judge that ``make(a, b, bias)`` gives, with gradients for all four tensors."""
    wanted = gradients_wanted(za, zb, scale, bias)
    value: Tensor = _OnePass.apply(za, zb, scale, bias, make, wanted)  # type: ignore[no-untyped-call]
    return value


def hardest_negatives(za: Tensor, zb: Tensor, positives: Positives) -> tuple[Tensor, Tensor]:
    """For each row of one side the most similar row of the other that is no positive.

    Args:
        za: Shape (n, d).
        zb: Partners, same shape.
        positives: Which pairs are none.

    Returns:
        Rows of ``zb`` for ``za`` and rows of ``za`` for ``zb``, (n,); -1 for a row that has no
        negative. Of equal ones the first.
    """
    with torch.no_grad():
        a, b, n, size = Sphere(za), Sphere(zb), len(za), side(za.device)
        best = za.new_full((2, n), -torch.inf)
        found = torch.full((2, n), -1, dtype=torch.long, device=za.device)
        for rows in blocks(n, size):
            u = a.unit(rows)
            for cols in blocks(n, size):
                x = u @ b.unit(cols).T
                mask = positives.tile(rows, cols)
                if mask is not None:
                    x.masked_fill_(mask, -torch.inf)
                for k, (dim, at, start) in enumerate(
                    ((1, rows, cols.start), (0, cols, rows.start))
                ):
                    value, index = x.max(dim)
                    better = value > best[k, at]
                    best[k, at] = torch.where(better, value, best[k, at])
                    found[k, at] = torch.where(better, index + start, found[k, at])
    return found[0], found[1]


def unit_rows(z: Tensor) -> Tensor:
    """All rows at unit length, differentiable; a row without direction stays zero."""
    length = torch.linalg.vector_norm(z.detach(), dim=1, keepdim=True)
    return torch.where(length < SHORTEST, torch.zeros_like(z), F.normalize(z, dim=1))
