"""`FewShotClassifier`: scikit-learn's rules, and classes that come and go."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import Identity
from quickstudy.estimators import FewShotClassifier
from quickstudy.estimators.classifier import _best_temperature
from quickstudy.estimators.heads import PrototypeHead
from quickstudy.estimators.scaling import unit

VECTORS = ("prototype", "cosine", "ridge", "logistic", "gaussian")
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "Probabilities have a temperature from "
    "leaving out one example; of a repeated one "
    "a copy stays.",
    "check_do_not_raise_errors_in_init_or_set_params": "The type checker of these tests refuses "
    "wrong kinds; the classifier itself does "
    "not.",
}


def blobs(
    seed: int = 0, n_class: int = 5, n: int = 4, dim: int = 6, spread: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_class, dim))
    return np.repeat(centres, n, 0) + spread * rng.normal(size=(n_class * n, dim)), np.repeat(
        [f"class {c}" for c in range(n_class)], n
    )


def model(head: str, **options: Any) -> FewShotClassifier:
    return FewShotClassifier(
        head, learner=ProtoNet(Identity(6)).double() if head == "learner" else None, **options
    )


@parametrize_with_checks(
    [*(FewShotClassifier(h) for h in VECTORS), FewShotClassifier(metric="euclidean")],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_the_rules_of_scikit_learn(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("head", [*VECTORS, "learner"])
def test_it_learns(head: str) -> None:
    x, y = blobs(n=3)
    fresh, labels = blobs(n=3)
    assert model(head).fit(x, y).score(fresh + 0.01, labels) > 0.9
    proba = model(head).fit(x, y).predict_proba(fresh)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert proba.shape == (15, 5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_prototypes_by_hand(metric: str) -> None:
    x = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, -3.0]])
    found = FewShotClassifier(metric=metric).fit(x, [0, 0, 1]).class_scores([[1.0, 1.0]])[0]
    if metric == "cosine":
        np.testing.assert_allclose(found, [1.0, -1.0], atol=1e-15)
    else:
        np.testing.assert_allclose(found, [-(0.5**2 + 0.0), -32.0])


@pytest.mark.parametrize("head", [*VECTORS, "learner"])
@pytest.mark.parametrize(
    ("removed", "seed", "name"), [(0, 0, "z last"), (2, 17, "class 2b"), (4, 99, "A first")]
)
def test_adding_equals_fitting_anew_and_removing_restores_it(
    head: str, removed: int, seed: int, name: str
) -> None:
    x, y = blobs(seed, n=3)
    more = np.random.default_rng(seed + 1).normal(size=(3, 6))
    before = model(head).fit(x, y)
    scores = before.class_scores(x)
    added = model(head).fit(x, y).add_class(name, more)
    anew = model(head).fit(np.r_[x, more], [*y, *[name] * 3])
    assert added.classes_.tolist() == anew.classes_.tolist()
    assert np.array_equal(added.support_, anew.support_)
    assert np.array_equal(added.class_scores(x), anew.class_scores(x))
    assert np.array_equal(added.predict_proba(x), anew.predict_proba(x))
    restored = added.remove_class(name)
    assert np.array_equal(restored.class_scores(x), scores)
    assert np.array_equal(restored.support_, before.support_)
    gone = f"class {removed}"
    without = model(head).fit(x, y).remove_class(gone)
    rest = model(head).fit(x[y != gone], y[y != gone])
    assert np.array_equal(without.class_scores(x), rest.class_scores(x))
    updated = model(head).fit(x, y).update_class(gone, more)
    fresh = model(head).fit(np.r_[x[y != gone], more], [*y[y != gone], *[gone] * 3])
    assert np.array_equal(updated.class_scores(x), fresh.class_scores(x))


@pytest.mark.parametrize("head", ["prototype", "ridge", "logistic"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_one_of_each_class_is_left_out_at_a_time(head: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    counts = {"alone": 1, "two": 2, "five": 5, "many": 120}
    y = rng.permutation(np.repeat(list(counts), list(counts.values())))
    x = rng.normal(size=(len(y), 6)) + np.unique(y, return_inverse=True)[1][:, None]
    fitted = model(head, metric=metric, alpha=0.5, C=2.0).fit(x, y)
    scores, names = fitted.left_out_scores(), fitted.classes_[fitted.labels_]
    # the examples are sorted by class
    turns = np.concatenate([np.arange(counts[name]) % 20 for name in fitted.classes_])
    turns[names == "alone"] = -1
    for turn in range(20):
        rest = turns != turn
        without = model(head, metric=metric, alpha=0.5, C=2.0).fit(
            fitted.support_[rest], names[rest]
        )
        np.testing.assert_allclose(
            scores[~rest], without.class_scores(fitted.support_[~rest]), atol=1e-6
        )
    assert np.isnan(scores[names == "alone"]).all()
    assert np.isfinite(scores[names != "alone"]).all()


@pytest.mark.parametrize("head", ["prototype", "ridge", "logistic", "gaussian"])
def test_what_two_examples_each_say_is_near_what_comes(head: str) -> None:
    """An example that is left out alone leaves its class the smaller one, and others are named."""
    said, came = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        means = rng.normal(size=(3, 30))
        y, asked = np.repeat(np.arange(3), 2), np.repeat(np.arange(3), 50)
        x, fresh = (means[c] + 1.5 * rng.normal(size=(len(c), 30)) for c in (y, asked))
        fitted = FewShotClassifier(head).fit(x, y)
        said.append((fitted.left_out_scores().argmax(1) == y).mean())
        came.append(fitted.score(fresh, asked))
    assert np.mean(came) - 0.15 < np.mean(said) < np.mean(came) + 0.05


def test_what_was_left_out_is_kept_until_a_class_changes() -> None:
    x, y = blobs(spread=1.0)
    fitted = FewShotClassifier("ridge").fit(x, y)
    scores = fitted.left_out_scores()
    fitted.left_out_scores()[:] = 0
    np.testing.assert_array_equal(fitted.left_out_scores(), scores)
    chosen = fitted.temperature
    fitted.temperature = 7.0
    assert fitted.temperature == 7.0
    np.testing.assert_allclose(
        fitted.predict_proba(x), torch.from_numpy(fitted.class_scores(x) / 7).softmax(1)
    )
    fitted.add_class("new", x[:2]).remove_class("new")
    assert fitted.temperature == chosen
    np.testing.assert_array_equal(fitted.left_out_scores(), scores)


def test_weights_count_as_repetitions() -> None:
    x, y = blobs()
    weights = np.arange(len(x)) % 3 + 1
    for head in ("prototype", "ridge", "logistic"):
        a = model(head, alpha=0.5, C=2.0).fit(x, y, sample_weight=weights).class_scores(x)
        b = (
            model(head, alpha=0.5, C=2.0)
            .fit(np.repeat(x, weights, 0), np.repeat(y, weights))
            .class_scores(x)
        )
        np.testing.assert_allclose(a, b, atol=1e-3 if head == "logistic" else 1e-10)


def test_the_temperature_is_the_most_likely_one() -> None:
    x, y = blobs(spread=0.8, n=6)
    fitted = FewShotClassifier().fit(x, y)
    scores = fitted.left_out_scores()

    best, second = np.sort(scores, axis=1)[:, ::-1].T[:2]
    clear = float(np.median(best - second))

    def likelihood(t: float) -> float:
        known = torch.nn.functional.cross_entropy(
            torch.from_numpy(scores / t), torch.from_numpy(fitted.labels_), reduction="sum"
        )
        return (float(known) + float(np.logaddexp(0, clear / t))) / (len(scores) + 1)

    smallest = min(likelihood(t) for t in np.geomspace(1e-3, 10, 400))
    assert likelihood(fitted.temperature) == pytest.approx(smallest, abs=1e-4)
    assert _best_temperature(scores[:1], fitted.labels_[:1], 0.1) == 0.1
    assert FewShotClassifier().fit(x[::6], y[::6]).temperature == 0.1


@pytest.mark.parametrize("head", ["prototype", "ridge", "logistic", "gaussian", "auto"])
def test_few_examples_never_make_certain(head: str) -> None:
    """Classes far apart, so that every example left out is right: then as sure as n right answers
    of n allow, and surer the more there are.
    """
    sure = []
    for n in (3, 12):
        x, y = blobs(spread=0.02, n=n)
        fitted = model(head).fit(x, y)
        assert fitted.score(x, y) == 1
        sure.append(fitted.predict_proba(x).max(1).mean())
    assert 0.8 < sure[0] < sure[1] < 0.999


def test_diagnosis() -> None:
    x, y = blobs(spread=0.05)
    x = np.r_[x, x[:4] + 0.01 * np.random.default_rng(0).normal(size=(4, 6)), [[9.0] * 6]]
    told = FewShotClassifier().fit(x, [*y, *["twin"] * 4, "alone"]).diagnose()
    assert told.single == ("alone",)
    assert told.confused[0][:2] == ("class 0", "twin")
    assert 0.5 < told.accuracy < 1
    assert any("class 0 and twin overlap" in a for a in told.advice)
    assert any("alone" in a and "Give a second" in a for a in told.advice)
    well = FewShotClassifier().fit(*blobs(spread=0.01)).diagnose()
    assert well.accuracy == 1
    assert not well.advice
    assert np.isnan(FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], [0, 1]).diagnose().accuracy)


def test_it_fits_into_scikit_learn() -> None:
    x, y = blobs()
    assert (
        cross_val_score(make_pipeline(StandardScaler(), FewShotClassifier()), x, y, cv=2).mean()
        > 0.8
    )
    search = GridSearchCV(FewShotClassifier(), {"head": ["prototype", "ridge"]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.8
    assert clone(FewShotClassifier("ridge", alpha=3.0)).alpha == 3.0


def test_a_thousand_classes_and_one_shot() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 32))
    fitted = FewShotClassifier().fit(x, np.arange(1000)).add_class(1000, rng.normal(size=(1, 32)))
    assert fitted.score(x, np.arange(1000)) == 1
    assert len(fitted.classes_) == 1001


def test_one_class() -> None:
    fitted = FewShotClassifier().fit([[1.0, 0.0]], ["only"])
    assert fitted.predict([[0.3, 1.0]]).tolist() == ["only"]
    with pytest.raises(ValueError, match="is the only class"):
        fitted.remove_class("only")


def test_mistakes() -> None:
    x, y = blobs()
    fitted = FewShotClassifier().fit(x, y)
    with pytest.raises(ConfigError, match=r"no head 'prototypes'.*prototype"):
        FewShotClassifier("prototypes").fit(x, y)
    with pytest.raises(ConfigError, match="no metric 'cos'"):
        FewShotClassifier(metric="cos").fit(x, y)
    with pytest.raises(ConfigError, match="needs the learner"):
        FewShotClassifier("learner").fit(x, y)
    with pytest.raises(ValueError, match=r"a class 'class 1' already. Use update_class"):
        fitted.add_class("class 1", x[:1])
    with pytest.raises(ValueError, match=r"no class 'class 9'.*class"):
        fitted.remove_class("class 9")
    with pytest.raises(ValueError, match="NaN"):
        fitted.add_class("new", np.full((1, 6), np.nan))
    with pytest.raises(ValueError, match="features"):
        fitted.add_class("new", np.ones((1, 5)))
    assert fitted.classes_.tolist() == sorted(set(y))
    np.testing.assert_array_equal(unit(np.zeros((1, 3))), np.zeros((1, 3)))
    assert PrototypeHead().options() == {"metric": "cosine", "scaling": "none"}
