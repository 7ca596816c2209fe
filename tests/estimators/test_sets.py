"""Prediction sets, and how often they hold the right class."""

import numpy as np
import pytest
from scipy.stats import binom

from quickstudy.core.errors import ConfigError
from quickstudy.estimators import FewShotClassifier, OpenSetClassifier
from quickstudy.estimators.sets import ConformalSets, needed_for_sets

DIM = 6


def examples(
    rng: np.random.Generator, centres: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around centres, n of each, and their classes."""
    y = np.repeat(np.arange(len(centres)), n)
    return centres[y] + 0.9 * rng.normal(size=(len(y), DIM)), y


@pytest.mark.parametrize("head", ["prototype", "ridge"])
@pytest.mark.parametrize("rule", ["left out", "calibration", "by class"])
def test_the_right_class_is_missing_as_seldom_as_promised(head: str, rule: str) -> None:
    alpha, missed, asked, sizes = 0.2, 0, 0, []
    for draw in range(40):
        rng = np.random.default_rng(draw)
        centres = rng.normal(size=(4, DIM))
        model = FewShotClassifier(head).fit(*examples(rng, centres, 5))
        calibration = examples(rng, centres, 9)
        x, y = examples(rng, centres, 10)
        sets = model.predict_sets(
            x,
            alpha,
            by_class=rule == "by class",
            calibration=None if rule == "left out" else calibration,
        )
        missed += sum(c not in labels for c, labels in zip(y.tolist(), sets, strict=True))
        asked += len(y)
        sizes += [len(labels) for labels in sets]
    # The examples of a draw share one calibration, so the band is a little wider than binomial.
    assert missed <= binom.ppf(0.999, asked, alpha) + 0.02 * asked
    assert min(sizes) >= 1
    assert np.mean(sizes) < 4


def test_p_values_by_counting() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, DIM))
    model = FewShotClassifier().fit(*examples(rng, centres, 4))
    x, y = examples(rng, centres, 7)
    sets = ConformalSets(3, model.temperature)
    sets.add_round(model.head_, x, y)
    probe = examples(rng, centres, 1)[0]

    def log_p(vectors: np.ndarray) -> np.ndarray:
        z = model.class_scores(vectors) / model.temperature
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    for by_class in (False, True):
        found = sets.p_values(probe, by_class=by_class)
        for i in range(3):
            for c in range(3):
                some = y == c if by_class else y >= 0
                own = log_p(x)[some, y[some]]
                expected = (1 + (own <= log_p(probe)[i, c]).sum()) / (1 + some.sum())
                assert found[i, c] == pytest.approx(expected)


def test_sets_grow_with_the_promise_and_begin_with_the_prediction() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, DIM))
    x, y = examples(rng, centres, 6)
    model = FewShotClassifier("logistic").fit(x, y)
    probes = examples(rng, centres, 5)[0]
    narrow, wide = model.predict_sets(probes, 0.3), model.predict_sets(probes, 0.05)
    assert all(set(a) <= set(b) for a, b in zip(narrow, wide, strict=True))
    assert [labels[0] for labels in wide] == model.predict(probes).tolist()
    model.remove_class(0)
    assert all(0 not in labels for labels in model.predict_sets(probes, 0.1))


def test_unknowns_are_in_the_sets_of_an_open_set_classifier() -> None:
    rng = np.random.default_rng(2)
    centres = 3 * rng.normal(size=(4, DIM))
    x, y = examples(rng, centres, 6)
    cohort = 3 * rng.normal(size=(60, DIM))
    model = OpenSetClassifier(false_accept_rate=0.1).fit(x, y, cohort=cohort)
    probes = np.r_[x, cohort]
    sets = model.predict_sets(probes, 0.1)
    told = model.predict(probes) == model.reject_label_
    assert told.any()
    assert [labels[-1] == -1 for labels in sets] == told.tolist()
    assert all(len(labels) >= 1 + is_told for labels, is_told in zip(sets, told, strict=True))


def test_what_cannot_be_promised_is_refused_with_the_number_needed() -> None:
    rng = np.random.default_rng(3)
    x, y = examples(rng, rng.normal(size=(3, DIM)), 2)
    model = FewShotClassifier().fit(x, y)
    assert (needed_for_sets(0.1), needed_for_sets(0.2)) == (9, 4)
    model.predict_sets(x, 0.2)
    with pytest.raises(ConfigError, match=r"at most 10 % .* take 9 examples .* but there are 6"):
        model.predict_sets(x, 0.1)
    with pytest.raises(ConfigError, match=r"take 4 examples of each class .* there are 2"):
        model.predict_sets(x, 0.2, by_class=True)
    with pytest.raises(ConfigError, match=r"between 0 and 1 .*, got 2"):
        model.predict_sets(x, 2)
    single = FewShotClassifier().fit(x[::2], y[::2])
    with pytest.raises(ConfigError, match="there are 0"):
        single.predict_sets(x)
    with pytest.raises(ValueError, match="no class 7"):
        model.predict_sets(x, 0.2, calibration=(x, [7] * 6))
