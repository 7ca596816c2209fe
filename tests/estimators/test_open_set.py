"""Unknowns, and how many of them are accepted."""

import warnings

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.base import clone

from quickstudy.core.errors import ConfigError
from quickstudy.estimators import FewShotClassifier, OpenSetClassifier
from quickstudy.estimators.scaling import unit
from quickstudy.metrics.open_set import SCORES

DIM = 16


def people(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    """Unit vectors ``[n k D]`` of n people, k pictures each."""
    return unit(
        (rng.normal(size=(n, 1, DIM)) + 0.35 * rng.normal(size=(n, k, DIM))).reshape(-1, DIM)
    ).reshape(n, k, DIM)


def enrolled(rng: np.random.Generator, n: int = 20, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return people(rng, n, k).reshape(-1, DIM), np.repeat([f"person {i:02}" for i in range(n)], k)


@pytest.mark.parametrize("unknown_score", SCORES)
@pytest.mark.parametrize("rule", ["cohort", "leave one class out"])
def test_as_many_unknowns_get_in_as_was_asked_for(unknown_score: str, rule: str) -> None:
    rate, wrong, asked = 0.1, 0, 0
    for draw in range(24):
        rng = np.random.default_rng(draw)
        x, y = enrolled(rng)
        cohort = people(rng, 100, 1)[:, 0] if rule == "cohort" else None
        model = OpenSetClassifier(unknown_score=unknown_score, false_accept_rate=rate).fit(
            x, y, cohort=cohort
        )
        assert model.rule_ == rule
        unknowns = people(rng, 20, 1)[:, 0]
        wrong += int((model.predict(unknowns) != "unknown").sum())
        asked += len(unknowns)
    # Within a draw the unknowns share one threshold, so the band is a little wider than the
    # binomial one. Leaving classes out may be on the safe side by one class of the 20.
    low, high = binom.interval(0.999, asked, rate)
    least = low if rule == "cohort" else binom.ppf(0.001, asked, rate - 1 / 20)
    assert least - 0.01 * asked <= wrong <= high + 0.02 * asked


def test_members_are_recognised() -> None:
    rng = np.random.default_rng(0)
    both = people(rng, 20, 5)
    x, y = both[:, :3].reshape(-1, DIM), np.repeat(np.arange(20), 3)
    model = OpenSetClassifier(false_accept_rate=0.1, reject_label=-1).fit(x, y)
    found = model.predict(both[:, 3:].reshape(-1, DIM))
    assert (found == np.repeat(np.arange(20), 2)).mean() > 0.7
    assert set(model.predict(people(rng, 200, 1)[:, 0])) - {-1} <= set(range(20))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_leaving_classes_out_equals_fitting_without_them(metric: str) -> None:
    x, y = enrolled(np.random.default_rng(0), n=6)
    for unknown_score in SCORES:
        model = OpenSetClassifier(
            FewShotClassifier(metric=metric), unknown_score=unknown_score, false_accept_rate=0.4
        ).fit(x, y)
        expected = []
        for name in sorted(set(y)):
            others = OpenSetClassifier(
                FewShotClassifier(metric=metric), unknown_score=unknown_score, false_accept_rate=0.4
            ).fit(x[y != name], y[y != name])
            others.estimator_.temperature = model.estimator_.temperature
            expected.extend(others.membership(x[y == name]))
        np.testing.assert_allclose(model.calibration_scores_, expected, atol=1e-10)


@pytest.mark.parametrize("head", ["ridge", "logistic", "gaussian", "prototype"])
@pytest.mark.parametrize("unknown_score", SCORES)
def test_one_of_two_classes_says_something_of_unknowns_or_is_refused(
    head: str, unknown_score: str
) -> None:
    both = people(np.random.default_rng(0), 2, 8)
    x, y = both[:, :4].reshape(-1, DIM), np.repeat(["a", "b"], 4)
    model = OpenSetClassifier(
        FewShotClassifier(head, scaling="centre" if head == "gaussian" else "none"),
        unknown_score=unknown_score,
        false_accept_rate=0.7,
    )
    compares_outputs = unknown_score not in ("nearest", "mahalanobis")
    if unknown_score == "max_probability" or (compares_outputs and head != "prototype"):
        with pytest.raises(ConfigError, match="cohort"):
            model.fit(x, y)
        model.fit(x, y, cohort=people(np.random.default_rng(1), 20, 1)[:, 0])
    else:
        model.fit(x, y)
        assert (model.predict(both[:, 4:].reshape(-1, DIM)) != "unknown").mean() > 0.5


def test_scores_of_classes_left_out_have_the_temperature_of_the_classifier() -> None:
    both = people(np.random.default_rng(0), 2, 8)
    model = OpenSetClassifier(
        FewShotClassifier("cosine"), unknown_score="energy", false_accept_rate=0.7
    ).fit(both[:, :4].reshape(-1, DIM), np.repeat(["a", "b"], 4))
    assert (model.predict(both[:, 4:].reshape(-1, DIM)) != "unknown").all()


def test_the_threshold_follows_the_classes() -> None:
    rng = np.random.default_rng(0)
    x, y = enrolled(rng)
    cohort = people(rng, 200, 1)[:, 0]
    model = OpenSetClassifier().fit(x[:15], y[:15], cohort=cohort)
    few = model.threshold_
    for i in range(5, 20):
        model.add_class(f"person {i:02}", x[3 * i : 3 * i + 3])
    assert model.threshold_ > few
    anew = OpenSetClassifier().fit(x, y, cohort=cohort)
    assert model.threshold_ == anew.threshold_
    for i in range(5, 20):
        model.remove_class(f"person {i:02}")
    assert model.threshold_ == few
    model.update_class("person 00", x[:1])
    assert model.estimator_.support_.shape == (13, DIM)


def test_another_rate_needs_no_scoring() -> None:
    rng = np.random.default_rng(0)
    x, y = enrolled(rng)
    cohort = people(rng, 60, 1)[:, 0]
    for given in (
        {},
        {"cohort": cohort},
        {"cohort": np.repeat(cohort, 2, 0), "cohort_groups": np.repeat(np.arange(60), 2)},
    ):
        model = OpenSetClassifier(
            FewShotClassifier("ridge"), review_rate=0.5, false_accept_rate=0.3
        ).fit(x, y, **given)
        other = OpenSetClassifier(
            FewShotClassifier("ridge"), review_rate=0.5, false_accept_rate=0.2
        ).fit(x, y, **given)
        model.set_rate(0.2)
        assert (model.threshold_, model.review_threshold_, model.rate_) == (
            other.threshold_,
            other.review_threshold_,
            0.2,
        )
        model.add_class("new", x[:2]).remove_class("new")  # which keep the rate that was set
        assert (model.threshold_, model.rate_) == (other.threshold_, 0.2)
        with pytest.raises(ConfigError, match=r"at least 1?999 unknowns"):
            model.set_rate(0.001)
        assert (model.threshold_, model.rate_) == (other.threshold_, 0.2)
        anew = OpenSetClassifier(FewShotClassifier("ridge"), review_rate=0.5, false_accept_rate=0.2)
        anew.restore(
            model.estimator_,
            model.calibration_scores_,
            cohort=model.cohort_,
            cohort_groups=model.cohort_groups_,
        )
        assert (anew.threshold_, anew.review_threshold_, anew.rule_) == (
            other.threshold_,
            other.review_threshold_,
            other.rule_,
        )
        np.testing.assert_array_equal(anew.membership(x), other.membership(x))


def test_a_change_that_cannot_be_leaves_everything() -> None:
    rng = np.random.default_rng(0)
    x, y = enrolled(rng, n=7)
    model = OpenSetClassifier(false_accept_rate=0.25).fit(x, y)
    before = model.threshold_
    with pytest.raises(ConfigError, match="at least 7 unknowns, but there are 6"):
        model.remove_class("person 00")
    assert model.threshold_ == before
    assert len(model.classes_) == 7
    with pytest.raises(ValueError, match="already"):
        model.add_class("person 00", x[:1])
    with pytest.raises(ConfigError, match="'unknown' is a class"):
        model.add_class("unknown", x[:1])
    assert model.threshold_ == before
    assert len(model.classes_) == 7


def test_decisions() -> None:
    rng = np.random.default_rng(0)
    x, y = enrolled(rng)
    model = OpenSetClassifier(false_accept_rate=0.2, review_rate=0.1).fit(
        x, y, cohort=people(rng, 500, 1)[:, 0]
    )
    assert model.review_threshold_ > model.threshold_
    told = model.decide(np.r_[x, people(rng, 300, 1)[:, 0]])
    assert all(
        d.certain and d.label == d.best for d in told[:60] if d.score > model.review_threshold_
    )
    unsure = [d for d in told if not d.certain]
    assert unsure
    assert all(
        model.threshold_ < d.score <= model.review_threshold_ and d.label is not None
        for d in unsure
    )
    assert all(d.label is None for d in told if d.score <= model.threshold_)
    assert model.predict_proba(x).shape == (60, 20)


def test_mistakes() -> None:
    rng = np.random.default_rng(0)
    x, y = enrolled(rng)
    with pytest.raises(ConfigError, match="at least 199 unknowns, but there are 20"):
        OpenSetClassifier(false_accept_rate=0.01).fit(x, y)
    with pytest.raises(ConfigError, match=r"no membership score 'energi'.*energy"):
        OpenSetClassifier(unknown_score="energi").fit(x, y)
    with pytest.raises(ConfigError, match="cannot mean unknown"):
        OpenSetClassifier(reject_label="person 00").fit(x, y)
    with pytest.raises(ConfigError, match="With one class and no cohort"):
        OpenSetClassifier().fit(x[:3], y[:3])
    with pytest.raises(ConfigError, match="at least 19 unknowns, but there are 9"):
        OpenSetClassifier().fit(x, y, cohort=np.ones((99, DIM)), cohort_groups=np.arange(99) // 11)
    with pytest.raises(ValueError, match="features"):
        OpenSetClassifier().fit(x, y, cohort=np.ones((99, 3)))
    assert (
        clone(OpenSetClassifier(FewShotClassifier("ridge"), unknown_score="energy")).estimator.head
        == "ridge"
    )


@pytest.mark.parametrize(("n", "rate"), [(10, 0.2), (19, 0.1), (40, 0.1)])
def test_few_classes_that_play_the_unknown_keep_the_promise(n: int, rate: float) -> None:
    """With one class more, the closest pair of all holds the unknown in 2 of n + 1 cases."""
    wrong, asked = 0, 0
    for draw in range(150):
        rng = np.random.default_rng((draw, n))
        x, y = enrolled(rng, n=n, k=2)
        model = OpenSetClassifier(false_accept_rate=rate).fit(x, y)
        wrong += int((model.predict(people(rng, 20, 1)[:, 0]) != "unknown").sum())
        asked += 20
    assert wrong <= binom.ppf(0.999, asked, rate) + 0.01 * asked


def test_a_cohort_that_holds_members_is_noticed() -> None:
    rng = np.random.default_rng(0)
    both = people(rng, 20, 4)
    x, y = both[:, :2].reshape(-1, DIM), np.repeat(np.arange(20), 2)
    others = people(rng, 40, 1)[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean = OpenSetClassifier().fit(x, y, cohort=others)
    assert clean.cohort_overlap_ is None
    for members, identical in ((both[:9, 2], 0), (both[:3, 0], 3), (both[:, 3], 0)):
        with pytest.warns(UserWarning, match="of the cohort resemble a class"):
            model = OpenSetClassifier().fit(x, y, cohort=np.r_[others, members])
        found = model.cohort_overlap_
        assert found is not None
        assert found.n_identical == identical
        right = {40 + c for c in range(len(members))}
        assert len(right & set(found.rows)) > len(right) / 2
        assert len(set(found.rows) - right) <= 3
        named = dict(zip(found.rows, found.labels, strict=True))
        assert np.mean([named[r] == r - 40 for r in right & set(found.rows)]) > 0.8
