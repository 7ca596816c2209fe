import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quickstudy.metrics.intervals import mean_ci95

VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=60).filter(lambda v: np.std(v) > 1e-6)


@given(VALUES)
@settings(deadline=None)
def test_scipys_interval(values):
    mean, half = mean_ci95(values)
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-9)


def test_by_hand():
    # s² = ((1−2)² + (2−2)² + (3−2)²) / 2 = 1, and the table's t for 2 degrees of freedom is
    # 4.302653.
    assert mean_ci95([1, 2, 3]) == pytest.approx((2.0, 4.302653 / math.sqrt(3)), rel=1e-6)


def test_many_tasks_are_the_literatures_1_96():
    values = np.random.default_rng(0).random(10_000)
    assert mean_ci95(values)[1] == pytest.approx(1.96 * values.std(ddof=1) / 100, rel=2e-4)


def test_equal_values_have_no_width():
    assert mean_ci95([0.5] * 7) == (0.5, 0.0)


def test_without_two_values_there_is_no_interval():
    mean, half = mean_ci95([0.25])
    assert mean == 0.25
    assert math.isnan(half)
    assert all(math.isnan(v) for v in mean_ci95([]))


def test_any_kind_of_sequence_gives_plain_numbers():
    for values in ([0.0, 1.0], (0.0, 1.0), np.array([0.0, 1.0], dtype=np.float32)):
        mean, half = mean_ci95(values)
        assert (type(mean), type(half)) == (float, float)
        assert mean == 0.5


def test_the_interval_covers_the_truth_as_often_as_it_says():
    drawn = np.random.default_rng(1).normal(3.0, 2.0, (2000, 5))
    covered = sum(abs(mean - 3.0) <= half for mean, half in map(mean_ci95, drawn))
    assert 0.935 < covered / 2000 < 0.965
