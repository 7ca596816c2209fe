import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.estimators.trend import linear_trend


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(25, 4)) * [1, 100, 0.01, 1] + 7
    return x, x @ [2.0, -0.03, 50.0, 0.0] + 0.3 * rng.normal(size=25)


def test_a_deviation_is_that_from_the_trend_of_the_other_rows(table):
    x, y = table
    trend, deviations = linear_trend(x, y)
    z = (x - x.mean(0)) / x.std(0)
    for i in range(0, 25, 6):
        others = np.arange(25) != i
        # Means and scales are those of all rows, as said; the constant is fitted without the row.
        a = np.column_stack((np.ones(24), z[others]))
        ridge = np.diag([0.0] + [trend.penalty] * 4)
        w = np.linalg.solve(a.T @ a + ridge, a.T @ y[others])
        assert deviations[i] == pytest.approx(y[i] - w[0] - z[i] @ w[1:], abs=1e-8)


def test_the_penalty_leaves_the_smallest_deviations(table):
    x, y = table
    trend, deviations = linear_trend(x, y)
    assert 0 < trend.penalty < 10
    assert (deviations**2).mean() < 0.1 * y.var()
    assert np.corrcoef(trend.predict(x), y)[0, 1] > 0.95


def test_there_is_mostly_no_trend_in_noise():
    rng = np.random.default_rng(0)
    spread = []
    for _ in range(21):
        x, y = rng.normal(size=(12, 9)), rng.normal(size=12)
        trend, deviations = linear_trend(x, y)
        spread.append(trend.predict(x).std() / y.std())
        assert (deviations**2).mean() <= ((y - y.mean()) ** 2).mean() * (12 / 11) ** 2 + 1e-9
    assert np.median(spread) < 0.5


def test_more_columns_than_rows_missing_values_and_constants():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 20))
    x[:, 3], x[:, 4], x[2, 5] = 1.0, np.nan, np.nan
    trend, deviations = linear_trend(x, rng.normal(size=6))
    assert np.isfinite(deviations).all()
    assert np.isfinite(trend.predict(np.full((2, 20), np.nan))).all()


def test_one_row_is_its_own_trend():
    trend, _ = linear_trend(np.array([[1.0, 2.0]]), np.array([5.0]))
    assert trend.predict(np.array([[9.0, 9.0]])).tolist() == [5.0]


def test_a_trend_ends_beyond_the_columns_and_the_numbers_that_it_was_fitted_on():
    x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    trend, _ = linear_trend(x, np.array([0.0, 3.0, 1.0, 4.0]))
    wide = trend.predict(np.array([[5.0, 1.0], [6.0, 1.0], [1e6, 1.0], [-1e6, 1.0], [6.0, 1e6]]))
    assert wide[1] >= wide[0]
    np.testing.assert_allclose(wide[[2, 4]], wide[1])
    steep, _ = linear_trend(x, 3 * x[:, 0])
    assert steep.predict(np.array([[6.0, 1.0], [-2.0, 1.0]])).tolist() == [15.0, -3.0]


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 12))
def test_no_row_is_answered_far_outside_the_numbers_that_were_read(seed, n, n_columns):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_cauchy((n, n_columns)), rng.standard_cauchy(n)
    trend, _ = linear_trend(x, y)
    answers = trend.predict(1e6 * rng.normal(size=(20, n_columns)))
    assert (np.abs(answers - (y.min() + y.max()) / 2) <= 0.7501 * np.ptp(y) + 1e-9).all()
