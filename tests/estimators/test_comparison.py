"""The head that the examples prefer, and heads that choose their own penalty."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstudy.core.errors import ConfigError
from quickstudy.estimators import FewShotClassifier, HeadComparison
from quickstudy.estimators.comparison import CHOICES, IN_CONTEXT, OF_ENCODERS, compare_heads
from quickstudy.estimators.linear_heads import GaussianHead, LogisticHead, RidgeHead
from quickstudy.estimators.logistic import fit_logistic
from quickstudy.estimators.scaling import balanced, fit_scaling, unit

DIM = 8


def stretched(
    seed: int, n: int, *, classes: int = 4, offset: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors far from zero, whose classes differ in a direction of little variance."""
    rng = np.random.default_rng(99)
    centres = rng.normal(size=(classes, DIM)) * np.r_[1.0, np.full(DIM - 1, 0.2)] * 0.7
    spread = np.r_[0.1, np.full(DIM - 1, 1.0)]
    y = np.repeat(np.arange(classes), n)
    noise = np.random.default_rng(seed).normal(size=(len(y), DIM)) * spread
    return centres[y] + noise + offset, y


def test_the_examples_say_which_head_is_better() -> None:
    x, y = stretched(0, 8)
    fresh, truth = stretched(1, 40)
    auto = FewShotClassifier("auto").fit(x, y)
    prototype = FewShotClassifier().fit(x, y)
    assert auto.score(fresh, truth) > prototype.score(fresh, truth) + 0.2
    compared = auto.head_comparison_
    assert compared is not None
    assert compared.n_judged == len(x)
    assert len(compared.scores) == len(CHOICES)
    by_head = {str(s.choice): s for s in compared.scores}
    assert by_head["prototype"].loss > compared.scores[compared.chosen].loss
    assert by_head["prototype"].preferred < 0.05
    assert sum(s.preferred for s in compared.scores) == pytest.approx(1)
    assert FewShotClassifier().fit(x, y).head_comparison_ is None


def test_it_is_no_secret_how_a_score_came_about() -> None:
    x, y = stretched(0, 5)
    compared, head, left_out = compare_heads(x, y, 4, np.ones(20))
    np.testing.assert_array_equal(left_out, head.left_out(x, y, 4, np.ones(20)))
    for score, choice in zip(compared.scores, CHOICES, strict=True):
        assert (score.choice.head, score.choice.scaling) == (choice.head, choice.scaling)
        own = score.choice.make().fit(x, y, 4, np.ones(20))
        left = own.left_out(x, y, 4, np.ones(20))
        assert score.accuracy == pytest.approx((left.argmax(1) == y).mean())
    chosen = compared.choice.make().fit(x, y, 4, np.ones(20))
    np.testing.assert_array_equal(chosen.scores(x), head.scores(x))


def test_one_example_each_says_nothing_and_the_usual_head_is_taken() -> None:
    x, y = stretched(0, 1)
    model = FewShotClassifier("auto").fit(x, y)
    assert model.head_comparison_ is not None
    assert model.head_comparison_.choice.head == "logistic"
    assert model.head_comparison_.n_judged == 0
    assert "too few examples" in str(model.head_comparison_)
    table = FewShotClassifier("auto", scaling="standardise").fit(x, y)
    assert table.head_comparison_ is not None
    assert table.head_comparison_.choice.head == "in-context"
    encoded = FewShotClassifier("auto", scaling="centre").fit(x, y)
    assert encoded.head_comparison_ is not None
    assert str(encoded.head_comparison_.choice) == "logistic, centred"


def test_of_an_encoder_the_gaussian_is_kept_unless_another_is_surely_better() -> None:
    x, y = stretched(0, 3)
    compared = FewShotClassifier("auto", scaling="centre").fit(x, y).head_comparison_
    assert compared is not None
    assert [str(s.choice) for s in compared.scores] == [str(c) for c in OF_ENCODERS]

    first = compared.scores[0]
    assert first.choice.head == "gaussian"
    assert compared.chosen == 0
    assert first.loss > min(s.loss for s in compared.scores)


def test_a_change_chooses_anew_and_a_comparison_can_be_kept() -> None:
    x, y = stretched(0, 4)
    model = FewShotClassifier("auto").fit(x[y < 3], y[y < 3]).add_class(3, x[y == 3])
    anew = FewShotClassifier("auto").fit(x, y)
    np.testing.assert_array_equal(model.class_scores(x), anew.class_scores(x))
    assert model.head_comparison_ == anew.head_comparison_
    assert anew.head_comparison_ is not None
    kept = HeadComparison.from_json(json.loads(json.dumps(anew.head_comparison_.to_json())))
    again = FewShotClassifier("auto").fit(x, y, comparison=kept)
    np.testing.assert_array_equal(again.class_scores(x), anew.class_scores(x))
    assert again.head_comparison_ == kept
    with pytest.raises(ValueError, match="no head 'luck'"):
        HeadComparison.from_json(
            {"scores": [{**CHOICES[0].__dict__, "head": "luck"}], "chosen": 0, "n_judged": 1}
        )


def test_ridge_chooses_the_penalty_that_leaving_one_out_prefers() -> None:
    x, y = stretched(0, 5)
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    head = RidgeHead(scaling="centre", metric="cosine").fit(x, y, 4, weight)
    scaled = fit_scaling("centre", "cosine", x, y, 4, weight)(x)
    share, targets = balanced(weight, y, 4), 2.0 * np.eye(4)[y] - 1
    usual = float((share @ (scaled - share @ scaled / share.sum()) ** 2).sum()) / len(y)

    def error(alpha: float) -> float:
        total = 0.0
        for i in range(len(y)):
            rest = np.arange(len(y)) != i
            model = Ridge(alpha=alpha).fit(scaled[rest], targets[rest], sample_weight=share[rest])
            total += share[i] * ((model.predict(scaled[i : i + 1]) - targets[i]) ** 2).sum()
        return total

    tried = usual * 10.0 ** np.arange(-4, 3.1, 0.5)
    assert head.alpha_ == pytest.approx(min(tried, key=error))
    model = Ridge(alpha=head.alpha_).fit(scaled, targets, sample_weight=share)
    np.testing.assert_allclose(head.scores(x), model.predict(scaled), atol=1e-9)


def test_the_gaussian_head_gives_log_densities_of_one_covariance() -> None:
    x, y = stretched(0, 12)
    head = GaussianHead(shrinkage=0.3, scaling="none", metric="euclidean")
    scores = head.fit(x, y, 4, np.ones(len(y))).scores(x)
    within = (x - np.stack([x[y == c].mean(0) for c in range(4)])[y]) / (len(y) - 4) ** 0.5
    covariance = within.T @ within
    shrunken = 0.7 * covariance + 0.3 * np.trace(covariance) / DIM * np.eye(DIM)
    means = np.stack([x[y == c].mean(0) for c in range(4)])
    gaps = x[:, None] - means
    density = -np.einsum("ncd,de,nce->nc", gaps, np.linalg.inv(shrunken), gaps) / 2
    expected = density - density.mean(1, keepdims=True)
    np.testing.assert_allclose(scores - scores.mean(1, keepdims=True), expected, rtol=1e-8)
    assert GaussianHead().fit(x, y, 4, np.ones(len(y))).shrinkage_ in (0.02, 0.1, 0.3, 0.6, 0.9)
    single = GaussianHead().fit(x[::12], y[::12], 4, np.ones(4))
    assert np.isfinite(single.scores(x)).all()


@pytest.mark.parametrize("shots", [2, 5])
def test_scores_of_examples_left_out_are_on_the_scale_of_those_of_new_ones(shots: int) -> None:
    """So that the share of them above a threshold says which share of new ones will be."""
    rng = np.random.default_rng(0)
    means = 0.2 * rng.normal(size=(20, 100))
    y = np.repeat(np.arange(20), shots)
    x, new = (means[y] + 0.1 * rng.normal(size=(len(y), 100)) for _ in range(2))
    head = GaussianHead(shrinkage=0.3, scaling="none", metric="euclidean")
    weight = np.ones(len(y))
    own = np.arange(len(y)), y
    unseen = np.median(head.fit(x, y, 20, weight).scores(new)[own])
    left_out = np.median(head.left_out(x, y, 20, weight)[own])
    assert 0.6 * unseen < left_out < 1.1 * unseen  # the means are of fewer


def test_the_logistic_head_is_that_of_scikit_learn() -> None:
    x, y = stretched(0, 6)
    head = LogisticHead(c=1.0, scaling="standardise", metric="euclidean")
    found = head.fit(x, y, 4, np.ones(len(y))).scores(x)
    rival = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    np.testing.assert_allclose(found, rival.predict_log_proba(x), atol=1e-3)
    assert LogisticHead().fit(x, y, 4, np.ones(len(y))).c_ in (1.0, 10.0, 100.0)


@pytest.mark.parametrize("ways", [2, 4])
@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_logistic_regression_is_that_of_scikit_learn_with_weights(ways: int, c: float) -> None:
    x, y = stretched(1, 3)
    x, y = x[y < ways], 2 * y[y < ways]  # a class between two others has no example
    share = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    model = fit_logistic(x, y, share, c)
    rival = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x, y, sample_weight=share)
    np.testing.assert_array_equal(model.classes, rival.classes_)
    np.testing.assert_allclose(
        np.exp(model.log_probabilities(x)), rival.predict_proba(x), atol=2e-3
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scalings_by_hand(metric: str) -> None:
    x, y = stretched(0, 3)
    y = np.r_[np.zeros(9, np.int64), np.ones(3, np.int64)]  # classes count alike
    ends = unit if metric == "cosine" else np.asarray
    share = np.r_[np.full(9, 1 / 18), np.full(3, 1 / 6)]
    begin = unit(x) if metric == "cosine" else x
    centred = fit_scaling("centre", metric, x, y, 2, np.ones(12))(x)
    np.testing.assert_allclose(centred, ends(begin - share @ begin), atol=1e-12)
    mean = share @ x
    deviation = np.sqrt(share @ (x - mean) ** 2)
    constant = np.c_[x, np.full(12, 0.1)]
    found = fit_scaling("standardise", metric, constant, y, 2, np.ones(12))(constant)
    np.testing.assert_allclose(found, ends(np.c_[(x - mean) / deviation, np.zeros(12)]), atol=1e-9)
    with pytest.raises(ConfigError, match=r"no scaling 'centres'.*centre"):
        fit_scaling("centres", metric, x, y, 2, np.ones(12))
    with pytest.raises(ConfigError, match=r"no scaling 'centres'.*centre"):
        FewShotClassifier(scaling="centres").fit(x, y)


def test_a_table_is_read_in_context() -> None:
    """Classes inside each other: no line parts them, but a network that reads the rows does."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    angle = rng.uniform(0, 2 * np.pi, len(y))
    radius = np.where(y == 0, 0.3, 2.0) + 0.1 * rng.normal(size=len(y))
    x = np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)
    seen = np.arange(len(y)) % 4 == 0
    table = FewShotClassifier("auto", scaling="standardise").fit(x[seen], y[seen])
    assert table.head_comparison_ is not None
    assert table.head_comparison_.choice == IN_CONTEXT
    assert len(table.head_comparison_.scores) == len(CHOICES) + 1
    assert table.score(x[~seen], y[~seen]) > 0.9
    assert FewShotClassifier("logistic").fit(x[seen], y[seen]).score(x[~seen], y[~seen]) < 0.8
    kept = HeadComparison.from_json(json.loads(json.dumps(table.head_comparison_.to_json())))
    again = FewShotClassifier("auto", scaling="standardise").fit(x[seen], y[seen], comparison=kept)
    np.testing.assert_array_equal(again.class_scores(x), table.class_scores(x))
    weight = np.ones(int(seen.sum()))
    weight[0] = 0
    named = FewShotClassifier("in-context")
    without = named.fit(x[seen], y[seen], sample_weight=weight).class_scores(x)
    named.fit(x[seen][1:], y[seen][1:])
    np.testing.assert_allclose(without, named.class_scores(x), atol=1e-6)


def test_rows_of_a_table_count_as_they_come_and_pictures_by_class() -> None:
    """A rare class that nothing tells from the other: asked for the share of rows, a head that
    knows how rare it is does better; asked class by class, it does not.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), (np.arange(60) % 6 == 0).astype(np.int64)
    choices = (CHOICES[6], IN_CONTEXT)
    by_class = compare_heads(x, y, 2, np.ones(60), choices)[0]
    by_row = compare_heads(x, y, 2, np.ones(60), choices, alike=False)[0]
    assert by_row.choice.head == "in-context"
    assert by_row.scores[1].accuracy > 0.75 > by_class.scores[1].accuracy
