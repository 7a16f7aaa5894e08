"""A file imports only from its own floor and those below, and panels never from one another.

Every import counts: at module level, inside functions, for type checkers only, and those by
``importlib.import_module`` with a fixed name.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import triptych

PACKAGE = "triptych"
SOURCE = Path(triptych.__file__).parent

FLOORS = (
    {
        *("errors", "arrays", "folders", "lazy", "neighbours", "seeding", "values"),
        *("bases", "blocks", "linalg", "moments", "similarity"),
    },
    {"media", "modalities", "dataset", "files", "noise", "splits", "datasets"},
    {"features", "canonical", "nn", "losses"},
    {"training"},
    {"contracts"},
    {"fusion", "coordination", "fission", "information"},
    {"catalog", "testing", "evaluation", "retrieval"},
    {"comparison", "displays", "report"},
    {"cli", "__main__"},
)
FLOOR = {unit: number for number, units in enumerate(FLOORS) for unit in units}
PANELS = FLOORS[5]
# The public face sees all floors, and nobody inside may look at it, but for the version.
FACE = ""
FLOOR[FACE] = len(FLOORS)


def modules(source: Path) -> Iterator[tuple[str, Path]]:
    """Every module under ``source`` by its full name; a package has the name of its folder."""
    for path in sorted(source.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(source).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def unit(module: str) -> str:
    """What has a floor: ``triptych.nn.text`` -> ``nn``; the face itself -> ``""``."""
    return module.split(".")[1] if "." in module else FACE


def targets(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything of ours that is imported anywhere in ``tree``."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if (
                called in ("import_module", "__import__")
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                names = [first.value]
        for name in names:
            if name == PACKAGE or name.startswith(PACKAGE + "."):
                yield node.lineno, name


def imports(source: Path) -> Iterator[tuple[str, int, str, str]]:
    """(module, line, its unit, unit that it imports) for all that crosses units."""
    known = {name for name, _ in modules(source)}
    for module, path in modules(source):
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for line, target in targets(tree, package):
            if target == f"{PACKAGE}.__version__":
                continue
            # ``from triptych import x``: a module of ours, else something of the face.
            top = ".".join(target.split(".")[:2])
            there = unit(top) if top in known or unit(top) in FLOOR else FACE
            if there != unit(module):
                yield module, line, unit(module), there


def violations(source: Path) -> list[str]:
    """Imports that go up, or from panel to panel, in words."""
    found = []
    for module, line, here, there in imports(source):
        if FLOOR[there] > FLOOR[here]:
            name = f"{PACKAGE}.{there}".rstrip(".")
            found.append(f"{module}:{line} imports {name}: from floor {FLOOR[here]} up")
        elif here in PANELS and there in PANELS:
            found.append(f"{module}:{line} imports {PACKAGE}.{there}: from panel to panel")
    return found


def test_every_module_has_a_floor() -> None:
    units = {unit(module) for module, _ in modules(SOURCE)}
    assert len(units) > 20, "the walk found too little of the package"
    assert units - set(FLOOR) == set(), "give these a floor in FLOORS"


def test_imports_only_go_down() -> None:
    assert violations(SOURCE) == []


def test_no_two_units_import_each_other() -> None:
    below: dict[str, set[str]] = {}
    for _, _, here, there in imports(SOURCE):
        below.setdefault(here, set()).add(there)
    assert len(below) > 10, "the walk found too few imports"
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("path", "code", "complaint"),
    [
        ("errors.py", "import triptych.cli", "triptych.errors:1 imports triptych.cli"),
        ("errors.py", "def f():\n    from triptych import nn", "triptych.errors:2 imports"),
        ("nn/text.py", "from ..training import loop", "triptych.nn.text:1 imports"),
        ("nn/__init__.py", "from ..training import loop", "triptych.nn:1 imports"),
        ("nn/deep/text.py", "from ... import contracts", "triptych.nn.deep.text:1 imports"),
        (
            "training/loop.py",
            "import typing\nif typing.TYPE_CHECKING:\n    from triptych.fusion import A",
            "triptych.training.loop:3 imports triptych.fusion: from floor 3 up",
        ),
        (
            "report/page.py",
            "import importlib\nimportlib.import_module('triptych.cli')",
            "triptych.report.page:2 imports triptych.cli",
        ),
        ("cli.py", "from triptych import compare", "triptych.cli:1 imports triptych: from floor"),
        ("fusion/a.py", "from triptych.fission import B", "from panel to panel"),
        ("fusion/a.py", "from ..fission.b import B", "from panel to panel"),
    ],
)
def test_a_seeded_violation_is_seen(tmp_path: Path, path: str, code: str, complaint: str) -> None:
    for name in ("", "nn", "training", "fusion", "fission"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(code)
    (found,) = violations(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(
    "code",
    [
        "from triptych.nn import text",
        "from .. import errors, __version__",
        "from ..fusion.base import Base",
        "import numpy as np\nfrom . import other",
    ],
)
def test_imports_that_go_down_are_welcome(tmp_path: Path, code: str) -> None:
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "a.py").write_text(code)
    assert violations(tmp_path) == []
