"""What every method promises, whatever it learns: shapes, seeds, rows, names, saving."""

from __future__ import annotations

import inspect
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from triptych import catalog
from triptych.contracts.method import Capabilities, Coordination, Fission, Fusion, Method
from triptych.errors import NotFittedError, ParameterError, PersistenceError
from triptych.modalities import FORMS, SHARED, Modalities
from triptych.testing.subject import (
    Subject,
    codes,
    require,
    require_close,
    require_equal,
    require_refusal,
)

BASES = {"fusion": Fusion, "coordination": Coordination, "fission": Fission}
# Batches of other sizes round differently in float32 (2^-23 per step, a few hundred steps).
NEIGHBOURS = 1e-4
# Two epochs of training carry the rounding of a reordered sum through every step.
REORDERED = 1e-3


def declares_itself(s: Subject) -> None:
    """Panel, base class and capabilities are declared, and make sense."""
    panel, able = s.cls.panel, s.able
    require(panel in BASES, f"panel is {panel!r}, expected one of {list(BASES)}")
    require(issubclass(s.cls, BASES[panel]), f"panel is {panel!r}, but the base class is another")
    require(isinstance(able, Capabilities), "capabilities must be a Capabilities")
    require(bool(able.kinds), "capabilities.kinds names no kind")
    unknown = sorted(set(able.kinds) - set(FORMS))
    require(not unknown, f"capabilities.kinds names {unknown}, which are no kinds")
    most = able.max_modalities
    require(able.min_modalities >= 1, "capabilities.min_modalities must be at least 1")
    require(most is None or most >= able.min_modalities, "max_modalities is below min_modalities")
    require(bool(inspect.getdoc(s.cls)), "the class has no docstring")


def stores_parameters(s: Subject) -> None:
    """The constructor stores; ``clone``, ``get_params`` and ``set_params`` work."""
    model = s.new()
    own = model.get_params(deep=False)
    anything = {name: object() for name in own}  # checks of values belong into fit
    made = s.cls(**anything)
    for name, value in anything.items():
        require(getattr(made, name) is value, f"the constructor does not store {name!r} as given")
    extra = sorted(set(vars(made)) - set(own))
    require(not extra, f"the constructor sets {extra} beside its parameters")
    require(_same(clone(model), model), "clone gives other parameters")
    before = repr(own)
    for name, value in model.get_params(deep=True).items():
        again = s.new().set_params(**{name: value})
        require(_same(again, model), f"set_params({name}=the same value) changes a parameter")
    if "training" in own:
        other = clone(model).set_params(training__epochs=7)
        require(other.training.epochs == 7, "set_params(training__epochs=7) changes nothing")
    require(repr(model.get_params(deep=False)) == before, "set_params on a copy changes the model")
    require_refusal(
        "set_params of an unknown parameter",
        lambda: s.new().set_params(no_such_parameter=1),
        ParameterError,
    )


def refuses_before_fit(s: Subject) -> None:
    """Nothing is answered before ``fit``, and ``fit`` returns the method itself."""
    model, X = s.new(), s.X_new
    asked: dict[str, Callable[[], Any]] = {
        "transform": lambda: model.transform(X),
        "score": lambda: model.score(X, s.y(len(X), 1)),
        "reconstruct": lambda: model.reconstruct(X),
        "predict": lambda: model.predict(X),
        "save": lambda: model.save(Path(tempfile.gettempdir()) / "never-written"),
        "n_parameters": lambda: model.n_parameters,
    }
    for name, call in asked.items():
        require_refusal(f"{name} before fit", call, NotFittedError)
    require(model.fit(s.X, s.y()) is model, "fit does not return self")


def learns_into_attributes(s: Subject) -> None:
    """``fit`` leaves parameters and data as they were; what it learns ends in ``_``."""
    X, X_new = s.X, s.X_new
    before = [_bytes(X), _bytes(X_new)]
    model = s.new()
    parameters = repr(model.get_params(deep=False))
    model.fit(X, s.y())
    codes(model, X_new)
    require(repr(model.get_params(deep=False)) == parameters, "fit changes a parameter")
    require([_bytes(X), _bytes(X_new)] == before, "the data were written into")
    public = [k for k in vars(model) if not k.startswith("_") and not k.endswith("_")]
    extra = sorted(set(public) - set(model.get_params(deep=False)))
    require(not extra, f"what fit learns must end in '_'; it sets {extra}")
    require(model.names_in_ == X.names, f"names_in_ is {model.names_in_}, expected {X.names}")
    require(model.kinds_ == X.kinds, f"kinds_ is {model.kinds_}, expected {X.kinds}")
    count = model.n_parameters
    require(isinstance(count, int) and count >= 0, f"n_parameters is {count!r}")


def gives_what_its_panel_says(s: Subject) -> None:
    """``transform`` gives the panel's form, for ``Modalities`` and for a dict."""
    X = s.X_new
    model = s.fitted
    require_panel(s, model, X)
    from_dict = model.transform(_as_dict(X))
    again = codes(model, X)
    got = from_dict if isinstance(from_dict, Modalities) else {"": from_dict}
    require_equal("a dict instead of Modalities", {k: np.asarray(got[k]) for k in again}, again)
    fresh = s.new()
    together = fresh.fit_transform(s.X, s.y())
    apart = codes(model, s.X)
    whole = together if isinstance(together, Modalities) else {"": together}
    require_close("fit_transform", {k: np.asarray(whole[k]) for k in apart}, apart, share=1e-6)


def require_panel(s: Subject, model: Method, X: Modalities) -> None:
    """Codes of ``X`` have the form, names, rows and mask that the panel says, and are finite."""
    Z = model.transform(X)
    if s.cls.panel == "fusion":
        require(isinstance(Z, np.ndarray), f"transform gives {type(Z).__name__}, not an array")
        require(Z.ndim == 2 and len(Z) == len(X), f"transform gives shape {Z.shape}")
        require(bool(np.isfinite(Z).all()), "transform gives NaN or infinity")
        return
    require(isinstance(Z, Modalities), f"transform gives {type(Z).__name__}, not Modalities")
    require(len(Z) == len(X), f"transform gives {len(Z)} rows for {len(X)}")
    if s.cls.panel == "coordination":
        require(set(Z.names) == set(X.names), f"transform gives {Z.names} for {X.names}")
        for name in X.names:
            same = np.array_equal(Z.present[name], X.present[name])
            require(same, f"the mask of {name!r} is not the one given")
    else:
        parts = getattr(model, "parts_", None)
        if not isinstance(parts, tuple):
            raise AssertionError("fit must set parts_, a tuple of names")
        lacking = sorted((set(parts) & {SHARED, *X.names}) - set(Z.names))
        require(not lacking, f"transform leaves out the parts {lacking}")
        require(set(Z.names) <= set(parts), f"transform gives {Z.names}, parts_ says {parts}")
        if SHARED in Z:
            require(bool(Z.present[SHARED].all()), "the shared part is absent in some rows")
    for name in Z.names:
        z = np.asarray(Z[name])
        deep = (2, 3) if s.cls.panel == "fission" else (2,)
        require(z.ndim in deep and len(z) == len(X), f"codes of {name!r} have shape {z.shape}")
        finite = bool(np.isfinite(z[Z.present[name]]).all())
        require(finite, f"codes of {name!r} hold NaN or infinity")


def same_seed_same_result(s: Subject) -> None:
    """Two fits with one seed give the same bytes; a fit forgets what was fitted before."""
    X = s.X_new
    once = codes(s.fitted, X)
    require_equal("the same seed again", codes(s.fit(), X), once)
    model = s.new().fit(s.X[::2], s.y()[::2] if s.able.needs_labels else None)  # type: ignore[index]
    require_equal("fitted a second time", codes(model.fit(s.X, s.y()), X), once)
    require_equal("transform a second time", codes(s.fitted, X), once)


def leaves_generators_alone(s: Subject) -> None:
    """Global generators and defaults neither change nor matter."""
    X = s.X_new
    codes(s.fitted, X)  # loads what the method loads
    with generators_put_back():
        _draw_from_all()  # what the line above may have seeded is seen to change again
        before = _globals()
        once = codes(s.fit(), X)
        after = _globals()
        changed = [name for name in before if before[name] != after[name]]
        require(not changed, f"fit or transform changes {', '.join(changed)}")
        _draw_from_all()
        if s.new().get_params(deep=False).get("random_state", 0) is not None:
            require_equal("other global generators", codes(s.fit(), X), once)


def codes_rows_apart(s: Subject) -> None:
    """The code of a new row does not depend on its neighbours or its place."""
    require_rows_apart(s.fitted, s.X_new)


def require_rows_apart(model: Method, X: Modalities) -> None:
    """Codes of rows asked for in another order, in parts and alone are the same."""
    whole = codes(model, X)
    turned = np.random.default_rng(0).permutation(len(X))
    for what, rows in (
        ("rows in another order", turned),
        ("some of the rows", np.arange(len(X) // 2)),
        ("one row alone", np.array([len(X) - 1])),
    ):
        size = {k: float(np.abs(z).max(initial=0.0)) for k, z in whole.items()}
        part = codes(model, X[rows])
        for name, z in whole.items():
            error = float(np.abs(part[name] - z[rows]).max(initial=0.0))
            whose = f" of {name!r}" if name else ""
            require(
                error <= NEIGHBOURS * max(size[name], 1e-12),
                f"{what}: codes{whose} differ by {error:.3g}, and their size is {size[name]:.3g}",
            )


def takes_modalities_in_any_order(s: Subject) -> None:
    """Modalities are known by name: their order changes nothing but rounding."""
    X, X_new = s.X, s.X_new
    if len(X.names) < 2:
        return
    back = X.names[::-1]
    once = codes(s.fitted, X_new)
    require_close(
        "reordered at transform", codes(s.fitted, X_new.select(*back)), once, share=NEIGHBOURS
    )
    other = s.fit(X.select(*back))
    require_close("reordered in fit", codes(other, X_new), once, share=REORDERED)


def takes_modalities_of_any_name(s: Subject) -> None:
    """Other names give the same codes (without random numbers), and keep the contract."""
    X, X_new = s.X, s.X_new
    new = {name: f"x{i}" for i, name in enumerate(reversed(X.names))}  # other alphabetical order
    forms = {new[name]: X.kind(name).form for name in X.names}
    there = Modalities({new[k]: v for k, v in X.items()}, kinds=forms)
    there_new = Modalities({new[k]: v for k, v in X_new.items()}, kinds=forms)
    model = s.fit(there)
    require_panel(s, model, there_new)
    if "random_state" not in s.new().get_params(deep=False):
        once = {new.get(k, k): z for k, z in codes(s.fitted, X_new).items()}
        require_close("renamed", codes(model, there_new), once, share=REORDERED)


def saves_and_loads(s: Subject) -> None:
    """A model read back gives the same bytes; an altered one is refused."""
    with tempfile.TemporaryDirectory() as folder:
        require_saved(s, s.fitted, s.X_new, Path(folder) / "model")
        arrays = Path(folder) / "model" / "arrays.safetensors"
        blob = arrays.read_bytes()
        for what, bad in (("cut short", blob[:-1]), ("altered", bytes([blob[0] ^ 1]) + blob[1:])):
            arrays.write_bytes(bad)
            require_refusal(
                f"loading a model that was {what}",
                lambda: _load(s, arrays.parent),
                PersistenceError,
            )


def require_saved(s: Subject, model: Method, X: Modalities, path: Path) -> None:
    """``model`` saved at ``path`` and read back is the same in all that can be asked."""
    model.save(path)
    again = _load(s, path)
    require(type(again) is s.cls, f"load gives a {type(again).__name__}")
    require_equal("saved and loaded", codes(again, X), codes(model, X))
    require(_same(again, model), "saved and loaded: other parameters")
    require(again.names_in_ == model.names_in_, "saved and loaded: other names_in_")
    require(again.kinds_ == model.kinds_, "saved and loaded: other kinds_")
    require(again.n_parameters == model.n_parameters, "saved and loaded: other n_parameters")
    lost = {k for k in vars(model) if k.endswith("_") and not k.startswith("_")} - set(vars(again))
    require(not lost, f"saved and loaded: {sorted(lost)} are lost")


def _load(s: Subject, path: Path) -> Method:
    return catalog.load(path, factories=s.factories, classes=s.classes)


def _same(a: Method, b: Method) -> bool:
    return repr(a.get_params(deep=False)) == repr(b.get_params(deep=False))


def _as_dict(X: Modalities) -> Any:
    """A plain dict, where that says all that the container says (a declared kind is lost)."""
    plain = dict(X.items())
    return plain if Modalities(plain).kinds == X.kinds else X


def _bytes(X: Modalities) -> list[Any]:
    out: list[Any] = []
    for name in X.names:
        values = X[name]
        rows = values if isinstance(values, list) else [values]
        out.append([row if isinstance(row, str) else np.asarray(row).tobytes() for row in rows])
    return out


def _globals() -> dict[str, Any]:
    state = np.random.get_state()  # noqa: NPY002
    found: dict[str, Any] = {
        "random's generator": random.getstate(),
        "numpy.random's generator": repr([np.asarray(part).tolist() for part in state]),
        "numpy's treatment of errors": np.geterr(),
    }
    if torch := sys.modules.get("torch"):
        found["torch's generator"] = torch.random.get_rng_state().numpy().tobytes()
        found["torch's default dtype"] = torch.get_default_dtype()
        found["torch's gradient mode"] = torch.is_grad_enabled()
        found["torch's deterministic mode"] = torch.are_deterministic_algorithms_enabled()
        found["torch's threads"] = torch.get_num_threads()
    return found


def _draw_from_all() -> None:
    random.random()
    np.random.random(7)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.rand(7)


@contextmanager
def generators_put_back() -> Iterator[None]:
    """Leave global generators as they were found, whatever the method did."""
    own, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    torchs = torch.random.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)  # noqa: NPY002
        if torch and torchs is not None:
            torch.random.set_rng_state(torchs)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    declares_itself,
    stores_parameters,
    refuses_before_fit,
    learns_into_attributes,
    gives_what_its_panel_says,
    same_seed_same_result,
    leaves_generators_alone,
    codes_rows_apart,
    takes_modalities_in_any_order,
    takes_modalities_of_any_name,
    saves_and_loads,
)
