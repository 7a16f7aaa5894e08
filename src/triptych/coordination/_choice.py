"""Which road a canonical correlation analysis takes."""

from __future__ import annotations

from collections.abc import Mapping

from triptych.coordination._reading import Reading
from triptych.coordination._roads import by_second_pass, by_svd, from_moments, squares_of
from triptych.coordination._solution import Penalties, Solution, warn_if_blurred
from triptych.coordination._subspace import by_subspace
from triptych.coordination._wide import by_rows
from triptych.linalg import Array
from triptych.moments import Columns

SOLVERS = ("auto", "cholesky", "refined", "svd", "dual", "randomized")
# Numbers (n times all columns) up to which a second look is a singular value decomposition.
SMALL = 1_000_000
# Rows and columns beyond which (p, p) and (n, n) are too many, and components that are few.
LARGE, FEW = 10_000, 200


def solve(
    reading: Reading,
    penalty: Penalties,
    confounds: str | None,
    solver: str,
    *,
    n_components: int | None,
    regularised: Mapping[str, bool],
    random_state: int | None,
) -> Solution:
    """Take the road asked for, or find one whose answer can be trusted."""
    widths = [width for name, width in reading.widths.items() if name != confounds]
    wide = max(widths)
    if solver == "auto":
        few = n_components is not None and n_components <= FEW
        if wide > LARGE < reading.n and few and all(regularised.values()):
            solver = "randomized"
        elif reading.n <= wide:
            large = reading.n * sum(widths) > SMALL
            solver = "dual" if large and all(regularised.values()) else "svd"
    if solver == "randomized":
        assert n_components is not None
        found = by_subspace(reading, penalty, confounds, n_components, random_state)
    elif solver == "dual":
        found = by_rows(reading, penalty, confounds)
    elif solver == "svd":
        found = by_svd(reading.looked_at(), penalty, confounds)
    else:
        found = _by_moments(reading, penalty, confounds, solver)
    return found


def _by_moments(
    reading: Reading, penalty: Penalties, confounds: str | None, solver: str
) -> Solution:
    first = reading.gather()
    means = dict(zip(first.names, first.means, strict=True))

    def squares(name: str, columns: Columns, slopes: Mapping[str, Array]) -> float:
        return squares_of(reading.sources, means, confounds, name, columns, slopes)

    found = None
    if solver != "refined":
        found = from_moments(first, penalty, squares, confounds, solver)
    if found is None and solver == "auto" and first.n * sum(map(len, first.means)) <= SMALL:
        found = by_svd(reading.sources, penalty, confounds)
    if found is None:
        found = by_second_pass(first, reading.gather, penalty, squares, confounds)
    warn_if_blurred(found)
    return found
