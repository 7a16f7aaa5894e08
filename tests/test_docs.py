"""The page of methods is what their docstrings say."""

import importlib.util
import inspect
from pathlib import Path

import triptych
from triptych import catalog

METHODS = catalog.methods()  # imports scikit-learn, which draws from Python's global generator
DOCS = Path(triptych.__file__).resolve().parents[2] / "docs"


def test_the_page_of_methods_is_true():
    spec = importlib.util.spec_from_file_location("make", DOCS / "make.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    kept = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert made.page() == kept, "docs/methods.md is old: python docs/make.py writes it anew"
    for name, cls in METHODS.items():
        assert f"| `{cls.__name__}` |" in kept, name
        assert made.papers(inspect.getdoc(cls)), f"{name}: no paper"
