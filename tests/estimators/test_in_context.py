import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from quickstudy.core.errors import ConfigError
from quickstudy.estimators import InContextClassifier, InContextRegressor
from quickstudy.estimators.codes import class_codes
from quickstudy.pretrained.tabular import TABULAR, open_tabular

EXPECTED = {
    "check_do_not_raise_errors_in_init_or_set_params": "The type checker of these tests refuses "
    "wrong kinds; the estimators themselves do not.",
}


@parametrize_with_checks(
    [InContextClassifier(n_members=2), InContextRegressor(n_members=2)],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    x, y = load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    read = np.arange(len(x)) % 5 == 0
    return x[read], names[read], x[~read], names[~read]


def test_the_weights_of_the_package_learn_iris_from_ten_rows_a_class(iris):
    x, y, asked, answers = iris
    model = InContextClassifier().fit(x, y)
    assert model.score(asked, answers) > 0.85
    p = model.predict_proba(asked)
    assert (np.abs(p.sum(1) - 1) < 1e-6).all()
    assert model.predict(asked).dtype == y.dtype


def test_rows_columns_and_names_of_classes_have_no_order(iris):
    x, y, asked, _ = iris
    model = InContextClassifier(n_members=1).fit(x, y)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(x)), rng.permutation(x.shape[1])
    other = {"a": "z", "b": "y", "c": "x"}
    renamed = np.array([other[label] for label in y])
    turned = InContextClassifier(n_members=1).fit(x[rows][:, columns], renamed[rows])
    assert turned.classes_.tolist() == ["x", "y", "z"]
    np.testing.assert_allclose(
        turned.predict_proba(asked[:, columns])[:, ::-1], model.predict_proba(asked), atol=1e-5
    )


@pytest.mark.parametrize("shots", [[1, 1], [1, 2], [2, 2], [1, 1, 1], [1, 8]])
def test_a_class_of_one_or_two_rows_is_named_for_rows_like_them(shots):
    rng = np.random.default_rng(0)
    y, asked = np.repeat(np.arange(len(shots)), shots), np.repeat(np.arange(len(shots)), 20)
    x, fresh = (5.0 * c[:, None] + rng.normal(scale=0.3, size=(len(c), 3)) for c in (y, asked))
    assert InContextClassifier().fit(x, y).score(fresh, asked) > 0.9


def test_an_answer_does_not_depend_on_how_many_are_asked_for():
    x, y = make_classification(900, 5, random_state=0)
    model = InContextClassifier(n_members=2).fit(x[:40], y[:40])
    whole = model.predict_proba(x)
    np.testing.assert_allclose(model.predict_proba(x[700:701]), whole[700:701], atol=1e-5)


def test_the_temperature_makes_probabilities_fit_rows_that_were_not_read():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    x = np.eye(3)[y] * 6 + rng.normal(size=(90, 3))
    read = np.arange(90) % 2 == 0

    def loss(model):
        p = model.fit(x[read], y[read]).predict_proba(x[~read])
        return -np.log(p[np.arange(45), y[~read]]).mean()

    chosen, plain = InContextClassifier(), InContextClassifier(temperature=1.0)
    assert loss(chosen) < loss(plain)
    assert chosen.temperature_ < 1.0
    given = InContextClassifier(temperature=chosen.temperature_)
    assert loss(given) == pytest.approx(loss(chosen))
    assert np.array_equal(plain.predict(x), chosen.predict(x))


def test_classes_of_one_row_each_leave_the_temperature_alone():
    model = InContextClassifier().fit(np.eye(3), [0, 1, 2])
    assert model.temperature_ == 1.0


def test_refuses_a_temperature_of_zero():
    with pytest.raises(ConfigError, match="above 0"):
        InContextClassifier(temperature=0.0).fit([[0.0], [1.0]], [0, 1])


def test_values_may_be_missing(iris):
    x, y, asked, answers = iris
    holes = np.random.default_rng(0).random(x.shape) < 0.2
    x = np.where(holes, np.nan, x)
    asked = np.where(np.random.default_rng(1).random(asked.shape) < 0.2, np.nan, asked)
    assert InContextClassifier().fit(x, y).score(asked, answers) > 0.6
    assert np.isfinite(InContextRegressor().fit(x, np.arange(len(x))).predict(asked)).all()


def test_more_classes_than_the_network_knows():
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(15, 4))
    y = np.repeat(np.arange(15), 8)
    x = centres[y] + 0.3 * rng.normal(size=(len(y), 4))
    asked = centres + 0.3 * rng.normal(size=centres.shape)
    model = InContextClassifier(n_members=8).fit(x, y)
    p = model.predict_proba(asked)
    assert p.shape == (15, 15)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert model.score(asked, np.arange(15)) > 0.5  # chance is 0.07


def test_more_columns_and_rows_than_a_member_reads():
    x, y = make_classification(
        300, 12, n_informative=6, n_redundant=4, class_sep=2.0, random_state=0
    )
    model = InContextClassifier(max_columns=8, max_rows=60, random_state=1)
    model.fit(x[:200], y[:200])
    assert {len(columns) for columns, _ in model._views} == {8}
    assert model._state[2].shape[2] == 60
    assert model.score(x[200:], y[200:]) > 0.7


def test_few_rows_keep_one_of_every_class():
    y = np.zeros(500, dtype=int)
    y[:3] = [1, 2, 3]
    x = y[:, None] + 0.01 * np.random.default_rng(0).normal(size=(500, 2))
    model = InContextClassifier(max_rows=20).fit(x, y)
    assert model.predict_proba(x[:2]).shape == (2, 4)
    assert np.isfinite(model.predict_proba(x)).all()


def test_one_class_is_certain():
    model = InContextClassifier().fit([[0.0], [1.0]], ["only", "only"])
    assert model.predict_proba([[2.0]]).tolist() == [[1.0]]
    assert model.predict([[2.0]]).tolist() == ["only"]


def test_the_same_state_gives_the_same_answers_and_another_other_members(iris):
    x, y, asked, _ = iris
    first = InContextClassifier(random_state=1).fit(x, y).predict_proba(asked)
    assert np.array_equal(InContextClassifier(random_state=1).fit(x, y).predict_proba(asked), first)
    other = InContextClassifier(random_state=2).fit(x, y).predict_proba(asked)
    assert np.abs(other - first).max() > 1e-6


def test_it_works_in_a_pipeline_and_can_be_cloned(iris):
    x, y, asked, answers = iris
    model = clone(make_pipeline(StandardScaler(), InContextClassifier(n_members=2)))
    assert model.fit(x, y).score(asked, answers) > 0.85


@pytest.fixture(scope="module")
def wave():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (80, 2))
    y = 10 + 5 * np.sin(x[:, 0]) + 0.5 * rng.normal(size=80)
    return x[:60], y[:60], x[60:], y[60:]


def test_numbers_come_with_a_distribution(wave):
    x, y, asked, answers = wave
    model = InContextRegressor().fit(x, y)
    mean, std = model.predict(asked, return_std=True)
    assert np.array_equal(mean, model.predict(asked))
    assert model.score(asked, answers) > 0.5
    assert (std > 0).all()
    low, middle, high = model.predict_quantiles(asked, [0.1, 0.5, 0.9]).T
    assert (low < middle).all()
    assert (middle < high).all()
    inside = (low < answers) & (answers < high)
    assert inside.mean() > 0.5
    assert (
        model.log_likelihood(asked, answers).mean()
        > model.log_likelihood(asked, answers + 9).mean()
    )


def test_the_density_of_the_average_integrates_to_one(wave):
    x, y, asked, _ = wave
    model = InContextRegressor(n_members=2).fit(x, y)
    grid = np.linspace(y.mean() - 12 * y.std(), y.mean() + 12 * y.std(), 4001)
    log = model.log_likelihood(np.repeat(asked[:1], len(grid), 0), grid)
    assert np.trapezoid(np.exp(log), grid) == pytest.approx(1, abs=0.01)


def test_the_unit_of_the_numbers_does_not_matter(wave):
    x, y, asked, answers = wave
    a, b = InContextRegressor().fit(x, y), InContextRegressor().fit(x, 1000 * y - 7)
    np.testing.assert_allclose(b.predict(asked), 1000 * a.predict(asked) - 7, rtol=1e-3)
    np.testing.assert_allclose(
        b.log_likelihood(asked, 1000 * answers - 7),
        a.log_likelihood(asked, answers) - np.log(1000),
        atol=1e-2,
    )


def test_a_constant_is_answered_as_it_is():
    x = np.random.default_rng(0).normal(size=(20, 3))
    model = InContextRegressor().fit(x, np.full(20, 4.0))
    assert np.abs(model.predict(x) - 4).max() < 1.5


@pytest.mark.parametrize("wrong", [{"n_members": 0}, {"max_columns": 0}, {"max_rows": 0}])
@pytest.mark.parametrize("kind", [InContextClassifier, InContextRegressor])
def test_refuses_numbers_below_one(kind, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        kind(**wrong).fit([[0.0], [1.0]], [0, 1])


def test_refuses_quantiles_beyond_one(wave):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        InContextRegressor().fit(wave[0], wave[1]).predict_quantiles(wave[2], [0.5, 1.0])


@pytest.mark.parametrize(("n", "groups"), [(11, 10), (19, 10), (100, 10), (5, 2)])
def test_codes_tell_all_classes_apart_and_are_even(n, groups):
    codes = class_codes(n, groups, 4)
    assert len({tuple(column) for column in codes.T.tolist()}) == n
    for row in codes:
        sizes = np.bincount(row, minlength=groups)
        assert sizes.max() - sizes.min() <= 1


def test_codes_need_two_groups():
    with pytest.raises(ConfigError, match="at least 2 groups"):
        class_codes(5, 1, 4)


def test_the_weights_come_with_their_report_and_are_small():
    assert {file.name for file in TABULAR.iterdir()} >= {
        "quickstudy.json",
        "report.json",
        "LICENCE.md",
    }
    assert sum(file.stat().st_size for file in TABULAR.iterdir()) < 4_000_000
    learner = open_tabular()
    assert learner is open_tabular()
    assert not learner.training


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e9, 1e-7])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_a_constant_target_is_answered_with_the_constant(value, n):
    x = np.random.default_rng(0).normal(size=(n, 3))
    model = InContextRegressor().fit(x, np.full(n, value))
    size = abs(value) or 1.0
    mean, std = model.predict(x + 1, return_std=True)
    np.testing.assert_allclose(mean, value, rtol=0, atol=1e-6 * size)
    assert (std > 0).all()
    assert (std < 1e-6 * size).all()
    quantiles = model.predict_quantiles(x, [0.1, 0.9])
    np.testing.assert_allclose(quantiles, value, rtol=0, atol=1e-6 * size)
    assert (model.log_likelihood(x, np.full(n, value)) > -np.log(size)).all()


def test_numbers_on_a_line_are_answered_with_the_line():
    x = np.linspace(0, 1, 20)[:, None]
    mean = InContextRegressor().fit(x, 5e6 + 3 * x[:, 0]).predict(x)
    np.testing.assert_allclose(mean, 5e6 + 3 * x[:, 0], atol=0.2)
