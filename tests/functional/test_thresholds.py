import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.functional.thresholds import conformal_threshold, needed


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=20, max_size=200, unique=True), st.sampled_from([0.05, 0.1, 0.25, 0.5]))
def test_it_is_the_quantile_of_the_formula(scores, rate):
    threshold = conformal_threshold(scores, rate)
    above = sum(s > threshold for s in scores)
    assert threshold in scores
    assert above == len(scores) - math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    assert (above + 1) / (len(scores) + 1) <= rate + 1e-9


def test_a_new_stranger_gets_in_as_often_as_allowed():
    rng = np.random.default_rng(0)
    for rate in (0.01, 0.05, 0.1):
        inside = [rng.normal() > conformal_threshold(rng.normal(size=99), rate) for _ in range(4000)]
        assert np.mean(inside) == pytest.approx(rate, abs=3 * math.sqrt(rate / 4000))


def test_too_few_are_refused_with_the_number_needed():
    assert [needed(r) for r in (0.01, 0.05, 0.1, 0.003)] == [99, 19, 9, 333]
    with pytest.raises(
        ConfigError, match=r"A false-accept rate of 1 % takes the scores of at least 99 strangers, but there are 98.*1\.0 %"
    ):
        conformal_threshold(np.zeros(98), 0.01)
    assert conformal_threshold(np.arange(99), 0.01) == 98
    with pytest.raises(ConfigError, match="between 0 and 1"):
        conformal_threshold([1.0], 1.0)
    with pytest.raises(ConfigError, match="not a finite number"):
        conformal_threshold([math.nan] * 30, 0.1)
