"""Packages whose names are imported when first used, so that nobody loads what they do not use.

``triptych.coordination.CCA`` must not load torch, and ``import triptych`` must load nothing
heavy, yet both should read like ordinary packages. A package keeps a table from public name to
the module that defines it, and its ``__getattr__`` asks here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def attribute(package: str, exports: Mapping[str, str], name: str) -> Any:
    """The object that a package exports as ``name``, imported now and kept in the package.

    Args:
        package: Full name of the package: its ``__name__``.
        exports: Public name to module, relative to the package. A module given under its own
            name (``{"losses": "losses"}``) is itself what is exported.
        name: What was asked for.

    Raises:
        AttributeError: The package exports no such name.

    Example:
        >>> attribute("triptych", {"DataError": "errors"}, "DataError")
        <class 'triptych.errors.DataError'>
    """
    here = sys.modules[package]
    if name not in exports:
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=here)
    module = importlib.import_module(f"{package}.{exports[name]}")
    value = module if name == exports[name] else getattr(module, name)
    setattr(here, name, value)
    return value
