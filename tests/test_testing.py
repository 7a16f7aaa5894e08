"""A method that breaks one part of the contract is found out, by the check that asks for it."""

import random

import numpy as np
import pytest

from triptych.contracts.method import Capabilities, Coordination, Fission, Fusion, Method
from triptych.errors import DataError, NotFittedError, ParameterError
from triptych.modalities import Modalities, make_parts
from triptych.seeding import check_random_state, generator
from triptych.testing import check_method, checks
from triptych.testing.subject import Subject
from triptych.training.settings import Training


class Sum(Fusion):
    """Sum over modalities of a random map of each; absent ones add nothing."""

    capabilities = Capabilities(
        kinds=("vector",),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
    )

    def __init__(self, n_components=2, *, random_state=None):
        self.n_components = n_components
        self.random_state = random_state

    def _fit(self, X, y, validation):
        seed = check_random_state(self.random_state)
        self.maps_, self.means_ = {}, {}
        for name in X.names:
            draw = generator(seed, name)
            self.maps_[name] = draw.normal(size=(X.kind(name).n_features, self.n_components))
            self.means_[name] = np.asarray(X[name])[X.present[name]].mean(axis=0)

    def _code(self, X, name):
        return (np.asarray(X[name], dtype=float) - self.means_[name]) @ self.maps_[name]

    def _transform(self, X):
        seen = X.present
        return sum(np.where(seen[name][:, None], self._code(X, name), 0) for name in X.names)

    def _score(self, X, y):
        return float(np.var(self._transform(X)))


class Apart(Coordination):
    """The same maps, one code for each modality; no random numbers."""

    capabilities = Sum.capabilities

    def __init__(self, n_components=2):
        self.n_components = n_components

    def _fit(self, X, y, validation):
        self.maps_, self.means_ = {}, {}
        for name in X.names:
            self.maps_[name] = np.ones((X.kind(name).n_features, self.n_components))
            self.means_[name] = np.asarray(X[name])[X.present[name]].mean(axis=0)

    _code = Sum._code

    def _transform(self, X):
        return make_parts({name: self._code(X, name) for name in X.names}, X.present)

    def _score(self, X, y):
        return 0.0


class Labelled(Sum):
    """The same with the mean of each class, which it predicts."""

    capabilities = Capabilities(kinds=("vector",), needs_labels=True, predicts=True)

    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.classes_ = np.unique(y)
        Z = self._transform(X)
        self.centres_ = np.stack([Z[y == c].mean(axis=0) for c in self.classes_])

    def _predict(self, X):
        apart = np.linalg.norm(self._transform(X)[:, None] - self.centres_, axis=2)
        return self.classes_[apart.argmin(axis=1)]

    def _score(self, X, y):
        return float(np.mean(self._predict(X) == y))


class Parts(Fission):
    """Sum as the shared part, each map as a private part; rebuilds by the inverse map."""

    capabilities = Capabilities(
        kinds=("vector",),
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
    )
    __init__ = Sum.__init__
    _code = Sum._code
    _score = Sum._score

    def _fit(self, X, y, validation):
        Sum._fit(self, X, y, validation)
        self.parts_ = ("shared", *X.names)

    def _transform(self, X):
        private = {name: self._code(X, name) for name in X.names}
        return make_parts({"shared": Sum._transform(self, X), **private}, X.present)

    def _score(self, X, y):
        return 0.0

    def _reconstruct(self, X):
        Z = Sum._transform(self, X)
        back = {m: Z @ np.linalg.pinv(W) + self.means_[m] for m, W in self.maps_.items()}
        return Modalities(back)


@pytest.mark.parametrize("method", [Sum, Apart, Labelled, Parts, Sum(3, random_state=7)])
def test_methods_that_keep_the_contract_pass(method):
    check_method(method)


def broken(check, base=Sum):
    """Mark a class as one that ``check`` must find out."""

    def mark(cls):
        cls.check, cls.__doc__ = check, "Broken."
        BROKEN.append(cls)
        return cls

    return mark


BROKEN: list[type[Method]] = []


@broken("declares_itself")
class OfAnotherPanel(Sum):
    panel = "coordination"


@broken("declares_itself")
class OfUnknownKinds(Sum):
    capabilities = Capabilities(kinds=("vector", "smell"))


@broken("stores_parameters")
class ChangesAParameter(Sum):
    def __init__(self, n_components=2, *, random_state=None):
        super().__init__(n_components, random_state=random_state)
        self.n_components = float(n_components)


@broken("stores_parameters")
class ForgetsAParameter(Sum):
    def __init__(self, n_components=2, *, random_state=None, width=3):
        super().__init__(n_components, random_state=random_state)
        self.width = 4


@broken("refuses_before_fit")
class AnswersUnfitted(Sum):
    def transform(self, X):
        return super().transform(X) if hasattr(self, "maps_") else np.zeros((len(X), 2))


@broken("refuses_before_fit")
class ReturnsNothing(Sum):
    def fit(self, X, y=None, *, validation=None):
        super().fit(X, y, validation=validation)


@broken("learns_into_attributes")
class HidesWhatItLearns(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.maps = self.maps_


@broken("learns_into_attributes")
class WritesIntoData(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        X["alpha"][0] = 0


@broken("learns_into_attributes")
class SetsAParameterInFit(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.random_state = 5


@broken("gives_what_its_panel_says")
class GivesOneColumnTooFlat(Sum):
    def _transform(self, X):
        return super()._transform(X)[:, 0]


@broken("gives_what_its_panel_says")
class GivesNaN(Sum):
    def _transform(self, X):
        return super()._transform(X) * np.nan


@broken("gives_what_its_panel_says")
class LeavesOutAModality(Apart):
    def _transform(self, X):
        return super()._transform(X).select(X.names[0])


@broken("gives_what_its_panel_says")
class LeavesOutAPart(Parts):
    def _transform(self, X):
        return super()._transform(X).select("shared")


@broken("same_seed_same_result")
class DrawsWithoutSeed(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        noise = np.random.default_rng().normal(size=self.maps_["alpha"].shape)
        self.maps_["alpha"] = self.maps_["alpha"] + noise


@broken("same_seed_same_result")
class RemembersTheLastFit(Sum):
    def _fit(self, X, y, validation):
        before = getattr(self, "means_", None)
        super()._fit(X, y, validation)
        if before is not None:
            self.means_ = before


@broken("leaves_generators_alone")
class DrawsFromNumPy(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        np.random.rand()  # noqa: NPY002


@broken("leaves_generators_alone")
class SeedsPython(Sum):
    def _transform(self, X):
        random.seed(0)
        return super()._transform(X)


@broken("leaves_generators_alone")
class ReadsNumPy(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        state = np.random.get_state()  # noqa: NPY002
        self.maps_["alpha"] = self.maps_["alpha"] + np.random.rand()  # noqa: NPY002
        np.random.set_state(state)  # noqa: NPY002


@broken("codes_rows_apart")
class CentresTheBatch(Sum):
    def _transform(self, X):
        Z = super()._transform(X)
        return Z - Z.mean(axis=0)


@broken("codes_rows_apart")
class KnowsTheFirstRow(Sum):
    def _transform(self, X):
        Z = super()._transform(X)
        Z[0] += 1
        return Z


@broken("takes_modalities_in_any_order")
class WeighsByPlace(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.maps_ = {name: W * (i + 1) for i, (name, W) in enumerate(self.maps_.items())}


@broken("takes_modalities_of_any_name")
class WeighsByName(Apart):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.maps_ = {name: W * (i + 1) for i, (name, W) in enumerate(sorted(self.maps_.items()))}


@broken("saves_and_loads")
class LosesSomething(Sum):
    def _learnt(self):
        return {k: v for k, v in super()._learnt().items() if k != "means_"}


@broken("saves_and_loads")
class RoundsOnDisk(Sum):
    def _restore(self, learnt):
        super()._restore(learnt)
        self.maps_ = {k: W.astype(np.float32).astype(float) for k, W in self.maps_.items()}


@broken("takes_the_kinds_it_declares")
class ClaimsText(Sum):
    capabilities = Capabilities(kinds=("vector", "text"))


@broken("takes_the_kinds_it_declares")
class TakesMoreThanItSays(Sum):
    def _gate_fit(self, X):
        return Modalities(X)

    def _fit(self, X, y, validation):
        if X.kind("alpha").form == "vector":
            super()._fit(X, y, validation)


@broken("takes_as_many_modalities_as_it_declares")
class ClaimsAnyNumber(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        if len(X.names) > 2:
            raise DataError("three are too many.")


@broken("fits_rows_with_gaps_if_declared")
class LearnsFromAbsentRows(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.means_ = {name: np.asarray(X[name]).mean(axis=0) for name in X.names}


@broken("fits_rows_with_gaps_if_declared")
class TakesGapsUndeclared(Sum):
    capabilities = Capabilities(kinds=("vector",))

    def _refuse_missing(self, data, where):
        pass


@broken("codes_rows_with_gaps_if_declared")
class ReadsAbsentRows(Sum):
    def _transform(self, X):
        return sum(self._code(X, name) for name in X.names)


@broken("codes_rows_with_gaps_if_declared")
class LosesTheMask(Apart):
    def _transform(self, X):
        return make_parts({name: self._code(X, name) for name in X.names}, {})


@broken("codes_one_modality_if_declared")
class ClaimsOneAlone(Sum):
    def _transform(self, X):
        return sum(self._code(X, name) for name in self.names_in_)


@broken("scores_and_answers_labels")
class ScoresNaN(Sum):
    def _score(self, X, y):
        return np.nan


@broken("scores_and_answers_labels")
class TakesAnyLabels(Sum):
    def _gate_labels(self, y, n, name):
        return None


@broken("scores_and_answers_labels")
class LearnsFromLabelsInSilence(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        if y is not None:
            self.means_["alpha"] = self.means_["alpha"] + y.mean()


@broken("respects_n_components")
class IgnoresTheWidth(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        self.maps_ = {name: W[:, [0, 0]] for name, W in self.maps_.items()}


@broken("respects_n_components")
class TakesAnyWidth(Sum):
    def _check_parameters(self):
        pass


@broken("reconstructs_if_declared")
class ClaimsToReconstruct(Sum):
    capabilities = Capabilities(kinds=("vector",), reconstructs=True)


@broken("reconstructs_if_declared")
class RebuildsOnlyWhatItSaw(Parts):
    def _reconstruct(self, X):
        return super()._reconstruct(X).select(*X.names)


@broken("predicts_if_declared")
class PredictsStrangers(Labelled):
    def _predict(self, X):
        return np.full(len(X), 99)


@broken("retrieves")
class FindsTheWorst(Apart):
    def retrieve(self, query, among, k=10):
        rows, similar = super().retrieve(query, among, len(among[next(iter(among))]))
        return rows[:, ::-1][:, :k], similar[:, ::-1][:, :k]


@broken("takes_validation_rows")
class RefusesValidation(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        if validation is not None:
            raise DataError("no validation, please.")


@broken("refuses_what_is_no_data")
class TakesLists(Sum):
    def fit(self, X, y=None, *, validation=None):
        if isinstance(X, list):
            X = {str(i): values for i, values in enumerate(X)}
        return super().fit(X, y, validation=validation)


@broken("refuses_rows_that_do_not_fit")
class LearnsFromOneRow(Sum):
    def _gate_fit(self, X):
        return Modalities(X)


@broken("names_where_a_value_is_not_finite")
class TakesNaN(Sum):
    def fit(self, X, y=None, *, validation=None):
        clean = {name: np.nan_to_num(np.asarray(v, dtype=float)) for name, v in X.items()}
        return super().fit(clean, y, validation=validation)


@broken("refuses_other_data_at_transform")
class DropsStrangers(Sum):
    def transform(self, X):
        return super().transform({k: v for k, v in dict(X.items()).items() if k in self.names_in_})


@broken("survives_dull_columns")
class DividesByTheSpread(Sum):
    def _fit(self, X, y, validation):
        super()._fit(X, y, validation)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.maps_ = {
                name: W / np.asarray(X[name]).std(axis=0)[:, None]
                for name, W in self.maps_.items()
            }


@broken("stays_finite_far_from_what_it_learnt")
class OverflowsFarOut(Sum):
    def _transform(self, X):
        with np.errstate(over="ignore"):
            return super()._transform(X).astype(np.float32) ** 2


@broken("is_not_fitted_after_a_failed_fit")
class FittedByRefusing(Sum):
    def fit(self, X, y=None, *, validation=None):
        self.names_in_ = ("alpha", "beta")
        return super().fit(X, y, validation=validation)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy on what they do
@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_contract_is_found_out(cls):
    with pytest.raises(AssertionError, match=f"^{cls.__name__} fails {cls.check}: "):
        check_method(cls, cls.check)
    with pytest.raises(AssertionError, match=f"^{cls.__name__} fails "):
        check_method(cls)


def test_every_check_has_found_something_out():
    assert {check.__name__ for check in checks()} == {cls.check for cls in BROKEN}


def test_complaints_say_what_was_wrong():
    with pytest.raises(AssertionError, match=r"some of the rows: codes differ by \d.*size is"):
        check_method(CentresTheBatch, "codes_rows_apart")
    with pytest.raises(
        AssertionError, match="nan in fit: expected DataError, but it was accepted"
    ):
        check_method(TakesNaN, "names_where_a_value_is_not_finite")


def test_an_error_of_the_method_is_the_cause():
    class Breaks(Sum):
        def _transform(self, X):
            raise RuntimeError("out of luck")

    with pytest.raises(AssertionError, match="RuntimeError: out of luck") as caught:
        check_method(Breaks, "codes_rows_apart")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_unknown_checks_are_named():
    with pytest.raises(ParameterError, match="no_such_check"):
        check_method(Sum, "no_such_check")
    check_method(Sum, ["declares_itself", checks()[1]])


def test_a_class_that_needs_arguments_asks_for_an_instance():
    class Needs(Sum):
        def __init__(self, width):
            self.width = width

    with pytest.raises(AssertionError, match=r"without \['width'\]; check an instance"):
        check_method(Needs)


def test_training_of_a_class_is_made_short_and_reached_into():
    class Trained(Sum):
        """Takes the settings of deep methods."""

        def __init__(self, n_components=2, *, training=Training(), random_state=None):
            super().__init__(n_components, random_state=random_state)
            self.training = training

        def _fit(self, X, y, validation):
            super()._fit(X, y, validation)
            self.epochs_ = self.training.epochs

    check_method(Trained)
    short = Subject(Trained).fitted
    assert short.epochs_ == 2 and short.training.device == "cpu" and short.random_state == 0


def test_an_instance_is_not_fitted_by_being_checked():
    model = Sum(2, random_state=3)
    check_method(model, "same_seed_same_result")
    with pytest.raises(NotFittedError):
        model.transform({"alpha": np.zeros((2, 5))})
