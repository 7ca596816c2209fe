import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.metrics.thresholds import conformal_threshold, needed


@settings(deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=20, max_size=200, unique=True),
    st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_it_is_the_quantile_of_the_formula(scores, rate):
    threshold = conformal_threshold(scores, rate)
    above = sum(s > threshold for s in scores)
    assert threshold in scores
    assert above == len(scores) - math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    assert (above + 1) / (len(scores) + 1) <= rate + 1e-9


def test_a_new_unknown_gets_in_as_often_as_allowed():
    rng = np.random.default_rng(0)
    for rate in (0.01, 0.05, 0.1):
        inside = [
            rng.normal() > conformal_threshold(rng.normal(size=99), rate) for _ in range(4000)
        ]
        assert np.mean(inside) == pytest.approx(rate, abs=3 * math.sqrt(rate / 4000))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 30)), min_size=40, max_size=100),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_with_groups_it_is_the_smallest_score_with_enough_weight(pairs, rate):
    scores, groups = zip(*pairs, strict=True)
    unknowns = set(groups)
    if len(unknowns) < needed(rate):
        return

    def weight_up_to(t):
        return sum(np.mean([s <= t for s, g in pairs if g == unknown]) for unknown in unknowns) / (
            len(unknowns) + 1
        )

    threshold = conformal_threshold(np.asarray(scores), rate, groups=np.asarray(groups))
    assert weight_up_to(threshold) >= 1 - rate - 1e-6
    below = [s for s in scores if s < threshold]
    assert not below or weight_up_to(max(below)) < 1 - rate


def test_pictures_of_one_unknown_promise_no_more_than_one():
    rng, rate, asked, inside, pooled = np.random.default_rng(0), 0.1, 3000, 0, 0
    for _ in range(asked):
        who = rng.normal(size=20)
        scores = (who[:, None] + 0.2 * rng.normal(size=(20, 5))).ravel()
        new = rng.normal() + 0.2 * rng.normal()
        inside += new > conformal_threshold(scores, rate, groups=np.repeat(np.arange(20), 5))
        pooled += new > conformal_threshold(scores, rate)
    assert inside / asked <= rate + 3 * math.sqrt(rate / asked)
    assert pooled / asked > rate + 3 * math.sqrt(rate / asked)
    with pytest.raises(ConfigError, match="at least 9 unknowns, but there are 8"):
        conformal_threshold(np.arange(80), rate, groups=np.repeat(np.arange(8), 10))
    with pytest.raises(ConfigError, match="80 scores of unknowns but 8 groups"):
        conformal_threshold(np.arange(80), rate, groups=np.arange(8))


def test_too_few_are_refused_with_the_number_needed():
    assert [needed(r) for r in (0.01, 0.05, 0.1, 0.003)] == [99, 19, 9, 333]
    with pytest.raises(
        ConfigError,
        match=r"A false-accept rate of 1 % takes the scores of at least 99 unknowns, but there "
        r"are 98.*1\.1 %",
    ):
        conformal_threshold(np.zeros(98), 0.01)
    assert conformal_threshold(np.arange(99), 0.01) == 98
    with pytest.raises(ConfigError, match="between 0 and 1"):
        conformal_threshold([1.0], 1.0)
    with pytest.raises(ConfigError, match="not a finite number"):
        conformal_threshold([math.nan] * 30, 0.1)
