import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.metrics.verification import (
    bootstrap_by_identity,
    equal_error_rate,
    error_rates,
    identification_rates,
    true_accept_rate,
)

SCORES = st.lists(st.floats(-3, 3).map(lambda v: round(v, 2)), min_size=2, max_size=40)


@settings(deadline=None, max_examples=60)
@given(SCORES, SCORES)
def test_the_rates_are_counts(genuine, impostor):
    rates = error_rates(genuine, impostor)
    for t, far, frr in zip(rates.threshold, rates.far, rates.frr, strict=True):
        assert far == pytest.approx(np.mean(np.asarray(impostor) >= t))
        assert frr == pytest.approx(np.mean(np.asarray(genuine) < t))


@settings(deadline=None, max_examples=60)
@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_true_accepts_at_a_rate(genuine, impostor, far):
    allowed = [
        t for t in [*genuine, *impostor, np.inf] if np.mean(np.asarray(impostor) >= t) <= far
    ]
    assert true_accept_rate(genuine, impostor, far=far) == pytest.approx(
        max(np.mean(np.asarray(genuine) >= t) for t in allowed)
    )


def test_equal_error_rate_of_two_normals():
    rng = np.random.default_rng(0)
    found = equal_error_rate(rng.normal(2, 1, 200_000), rng.normal(0, 1, 200_000))
    assert found == pytest.approx(0.15866, abs=0.002)  # Φ(−1)
    assert equal_error_rate([1.0, 2.0], [-1.0]) == 0
    assert equal_error_rate([-1.0], [1.0, 2.0]) == 1


def test_identification_by_hand():
    similarity = np.array([[0.9, 0.1], [0.2, 0.6], [0.8, 0.3], [0.5, 0.1], [0.1, 0.4], [0.2, 0.1]])
    mate = np.array([0, 1, 1, -1, -1, -1])
    miss, threshold = identification_rates(similarity, mate, fpir=0.0)
    # the third member is taken for somebody else
    assert (miss, threshold) == (
        pytest.approx(1 / 3),
        0.5,
    )
    miss, threshold = identification_rates(similarity, mate, fpir=0.34)
    assert threshold == 0.4
    assert np.mean(similarity[mate < 0].max(1) > threshold) <= 0.34
    assert identification_rates(similarity, mate, fpir=1.0)[1] == -np.inf
    with pytest.raises(ConfigError, match="got 6 and 0"):
        identification_rates(similarity, np.zeros(6, dtype=np.int64), fpir=0.1)


def test_the_bootstrap_draws_whole_identities():
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(50), 20)
    value = np.repeat(rng.normal(size=50), 20)  # all pairs of a person alike: 50 numbers, not 1,000
    low, high = bootstrap_by_identity(lambda rows: float(value[rows].mean()), identity, n=500)
    assert high - low == pytest.approx(2 * 1.96 * value.std() / np.sqrt(50), rel=0.15)
    assert low < value.mean() < high
    again = bootstrap_by_identity(lambda rows: float(value[rows].mean()), identity, n=500)
    assert again == (low, high)


def test_empty_scores_are_refused():
    with pytest.raises(ConfigError, match="got 0 of the same and 1"):
        error_rates([], [0.1])
    with pytest.raises(ConfigError, match="not a finite number"):
        equal_error_rate([np.nan], [0.1])
