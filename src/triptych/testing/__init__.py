"""The contract of a method, asked in earnest: of ours over the catalogue, of yours by name.

>>> from triptych.coordination import CCA
>>> check_method(CCA)
>>> "saves_and_loads" in [check.__name__ for check in checks()]
True
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triptych.contracts.method import Method
from triptych.errors import DegenerateDataWarning, ParameterError
from triptych.testing import able, manners, refusals
from triptych.testing.subject import Subject

__all__ = ["Check", "check_method", "checks"]

Check = Callable[[Subject], None]


def checks() -> list[Check]:
    """Every check, in the order asked; each has a name (``__name__``) and a docstring."""
    return [*manners.CHECKS, *able.CHECKS, *refusals.CHECKS]


def check_method(
    method: type[Method] | Method,
    only: str | Check | Sequence[str | Check] | None = None,
    *,
    factories: Mapping[str, Callable[..., Any]] | None = None,
    classes: Sequence[type] = (),
) -> None:
    """Ask a method what every method promises, on small data made here.

    The data are a few dozen rows of every kind that ``capabilities`` declares; nothing is
    downloaded, and global generators are left as they were found. Fits on several processes
    (``distributes``) and data larger than memory (``streams``) are not tried here.

    Args:
        method: A class, tried with 2 components, 2 epochs and seed 0 where it has such
            parameters; or an instance, whose parameters are taken as they are.
        only: Name of a check, or several, from :func:`checks`; all when left out.
        factories: Your own factories by name, if parameters hold any, for loading.
        classes: Your own frozen recipes, for loading; the method's class is known.

    Raises:
        AssertionError: The method breaks its contract; names the method, the check and what was
            wrong.
        ParameterError: ``only`` names no check.
    """
    subject = Subject(method, factories=factories, classes=classes)
    for check in _chosen(only):
        _ask(check, subject)


def _chosen(only: str | Check | Sequence[str | Check] | None) -> list[Check]:
    every = {check.__name__: check for check in checks()}
    if only is None:
        return list(every.values())
    wanted = [only] if isinstance(only, str) or callable(only) else list(only)
    names = [part if isinstance(part, str) else part.__name__ for part in wanted]
    unknown = [name for name in names if name not in every]
    if unknown:
        raise ParameterError(f"only: no check {unknown}; there are {list(every)}.")
    return [every[name] for name in names]


def _ask(check: Check, subject: Subject) -> None:
    whose = f"{subject.name} fails {check.__name__}"
    try:
        with manners.generators_put_back(), warnings.catch_warnings():
            # Few rows of small data make some methods warn, rightly.
            warnings.simplefilter("ignore", DegenerateDataWarning)
            check(subject)
    except AssertionError as error:
        raise AssertionError(f"{whose}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{whose}: {type(error).__name__}: {error}") from error
