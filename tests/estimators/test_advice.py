"""What to do next, rule by rule."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from quickstudy.core.errors import ConfigError
from quickstudy.estimators.advice import Advice, Rejection, advise
from quickstudy.estimators.findings import Findings, examine
from quickstudy.metrics.thresholds import conformal_threshold


def told_of(
    counts: list[int], mistakes: dict[int, int] | None = None, *, x: np.ndarray | None = None
) -> Findings:
    """Classes a, b, c … of so many examples, and what some examples were taken for."""
    labels = np.repeat(np.arange(len(counts)), counts)
    scores = 0.01 * np.random.default_rng(0).normal(size=(len(labels), len(counts)))
    scores[np.arange(len(labels)), labels] += 1
    for i, taken in (mistakes or {}).items():
        scores[i, taken] = scores[i, labels[i]] + 0.001
    scores[np.asarray(counts)[labels] == 1] = np.nan
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(len(counts), 30))[labels] + 0.1 * rng.normal(size=(len(labels), 30))
    return examine(
        vectors if x is None else x, labels, [chr(97 + c) for c in range(len(counts))], scores
    )


def test_of_a_table_nothing_is_photographed() -> None:
    x = np.random.default_rng(0).normal(size=(15, 30))
    x[:3] = x[0] + 1e-3 * x[:3]
    findings = told_of([3] * 5, x=x)
    assert kinds(advise(findings)) == ["alike"]
    assert advise(findings, of_table=True) == ()


def kinds(advice: tuple[Advice, ...]) -> list[str]:
    return [a.kind for a in advice]


def rejection(**options: Any) -> Rejection:
    given = {
        "scores": np.zeros(120),
        "n": 120,
        "rate": 0.05,
        "rule": "cohort",
        "threshold": 0.5,
        "review_threshold": 0.5,
        "members": np.ones(10),
    }
    return Rejection(**{**given, **options})


def test_where_all_is_well_there_is_nothing_to_do() -> None:
    assert advise(told_of([5, 5, 5]), rejection=rejection()) == ()


def test_single_examples() -> None:
    (a,) = advise(told_of([3, 1, 1, 3]))
    assert a.kind == "single"
    assert (
        a.text
        == "2 of 4 classes have one example (b, c): how well they are recognised cannot be said. "
        "Give a second."
    )
    many = advise(told_of([3, *[1] * 7]))[0].text
    assert "7 of 8 classes have one example (b, c, d, e, f …)" in many


def test_overlapping_pairs() -> None:
    (a,) = advise(told_of([4, 4, 4], {0: 1, 5: 0}))
    assert a.kind == "overlap"
    assert (
        a.text
        == "a and b overlap: of their 8 examples 2 are taken for the other's. Give more examples "
        "of both, or join them."
    )
    assert a.rows[0] in (0, 5)
    assert advise(told_of([4, 4, 4], {0: 1})) == ()  # one of eight is no overlap
    assert advise(told_of([10, 10, 10], {0: 1, 11: 0})) == ()  # nor two of twenty


def test_a_class_that_is_taken_for_all_kinds_of_others() -> None:
    (a,) = advise(told_of([4, 4, 4, 4], {0: 1, 1: 2, 2: 3}))
    assert a.kind == "scattered"
    assert a.text.startswith(
        "a is recognised in 1 of 4 examples; the others are taken for b, c, d."
    )
    assert a.rows == (0, 1, 2, 3)


def test_of_two_that_differ_nobody_can_say_which_is_odd() -> None:
    (a,) = advise(told_of([2, 2, 2, 2], {0: 1, 3: 2, 2: 3}))
    assert a.text.startswith(
        "2 classes of two examples have a mistake among them (b, a). Of two that differ"
    )
    (a,) = advise(told_of([2, 2, 2, 2], {0: 1}))
    assert a.text.startswith("1 class of two examples has a mistake among them (a).")
    assert kinds(advise(told_of([2, 2, 2, 2], {0: 1, 2: 0}))) == ["overlap"]  # which explains both


def test_a_wrong_label_is_told_first_and_is_no_overlap() -> None:
    x = np.repeat(np.eye(3, 30), 4, 0) + 0.05 * np.random.default_rng(0).normal(size=(12, 30))
    labels = np.repeat(np.arange(3), 4)
    scores = x @ np.eye(3, 30).T
    scores[0] = [0.1, 0.2, 1.0]
    x[0] = x[9]
    findings = examine(x, labels, ["ant", "bee", "cow"], scores)
    assert findings.suspects == ((0, 2),)
    first, second = advise(findings, called=[f"{i}.jpg" for i in range(12)])
    assert first.text == (
        "Check the label of 0.jpg. It is filed under ant, but looks like cow: without it the "
        "classifier gives it 1.00 for cow and 0.100 for ant."
    )
    assert first.rows == (0, 9)
    assert second.kind == "copy"
    assert advise(findings)[0].text.startswith("Check the label of example 1 of ant.")


def test_copies() -> None:
    x = np.random.default_rng(0).normal(size=(12, 30))
    x[5], x[2], x[11] = x[0], x[1], x[10]
    findings = told_of([4, 4, 4], x=x)
    advice = [a for a in advise(findings) if a.kind == "copy"]
    assert [a.text.split(":")[0] for a in advice] == [
        "The same example is filed under a and b",
        "a holds the same example 2 times",
        "c holds the same example 2 times",
    ]
    assert advice[1].rows == (1, 2)


def test_examples_that_are_too_alike() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 30))[np.repeat(np.arange(5), 3)] + 0.1 * rng.normal(size=(15, 30))
    x[:3] = x[0] + (x[:3] - x[0]) / 5
    (a,) = advise(told_of([3] * 5, x=x))
    assert a.kind == "alike"
    findings = told_of([3] * 5, x=x)
    times = np.median(findings.spread) / findings.spread[0]
    assert times > 3
    assert f"The 3 examples of a are {times:.0f} times closer together than is usual here" in a.text
    two = np.delete(x, np.arange(2, 15, 3), axis=0)
    assert advise(told_of([2] * 5, x=two)) == ()  # of two that may be chance
    two[1] = two[0] + (two[1] - two[0]) / 3
    assert kinds(advise(told_of([2] * 5, x=two))) == ["alike"]
    assert advise(told_of([3] * 3, x=x[:9])) == ()  # of three classes nobody can say what is usual


def test_an_odd_example() -> None:
    findings = told_of([6, 6, 6])
    scores = findings.scores.copy()
    scores[4, 0] = 0.2
    (a,) = advise(examine(findings.x, findings.labels, findings.names, scores))
    assert a.kind == "outlier"
    assert a.text.startswith(
        "example 5 of a looks unlike the other examples of a (its score for the class is 0.200)."
    )
    assert a.rows == (4,)


def test_classes_with_far_fewer_examples() -> None:
    (a,) = advise(told_of([9, 9, 9, 3, 2]))
    assert (
        a.text
        == "Half of the classes have 9 examples or more, but 2 far fewer (d 3, e 2). Bring them up."
    )
    assert advise(told_of([9, 9, 9, 4])) == ()


def test_too_few_unknowns() -> None:
    (a,) = advise(told_of([5, 5, 5]), rejection=rejection(n=19))
    # one of 19 may exceed none: Beta(1, 19)
    low, high = (
        1 - 0.975 ** (1 / 19),
        1 - 0.025 ** (1 / 19),
    )
    assert rejection(n=19).interval == (pytest.approx(low), pytest.approx(high))
    assert (
        "rests on 19 unknowns. A false-accept rate of 5 % was asked for, but the real one may be "
        "anything from 0.13 to 18 %" in a.text
    )
    assert "Bring the cohort to 120 items" in a.text
    (a,) = advise(told_of([5, 5, 5]), rejection=rejection(n=19, rule="leave one class out"))
    assert (
        "Give a cohort of 120 items that belong to no class; at present each class "
        "plays the unknown" in a.text
    )


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (40, 0.1), (120, 0.05)])
def test_the_interval_of_the_real_rate_by_drawing(n: int, rate: float) -> None:
    rng = np.random.default_rng(0)
    # Of uniform scores the real rate above a threshold is what is left of 1.
    real = [1 - conformal_threshold(rng.random(n), rate) for _ in range(1500)]
    low, high = rejection(n=n, rate=rate).interval
    assert np.mean(np.less(real, low)) == pytest.approx(0.025, abs=0.013)
    assert np.mean(np.greater(real, high)) == pytest.approx(0.025, abs=0.013)


def test_with_as_many_as_are_wanted_the_rate_is_hardly_ever_doubled() -> None:
    for rate in (0.01, 0.02, 0.05, 0.1, 0.2):
        n = rejection(rate=rate).wanted
        k = int(np.ceil((n + 1) * (1 - rate) - 1e-9))
        assert beta.cdf(2 * rate, n + 1 - k, k) > 0.975
    with pytest.raises(ConfigError):
        conformal_threshold(np.zeros(18), 0.05)


def test_members_that_would_be_refused() -> None:
    (a,) = advise(told_of([5, 5, 5]), rejection=rejection(members=np.r_[np.ones(7), np.zeros(3)]))
    assert a.kind == "refused"
    assert "Only 7 of 10 examples would be accepted" in a.text
    assert "allow a false-accept rate above 5 %" in a.text
    assert advise(told_of([5, 5, 5]), rejection=rejection(members=None)) == ()


def test_the_order_is_what_helps_most_first() -> None:
    x = np.random.default_rng(0).normal(size=(43, 30))
    x[42] = x[41]
    findings = told_of([9, 9, 9, 9, 1, 3, 3], {37: 0, 38: 1, 0: 1, 1: 1, 2: 1, 9: 0, 10: 0}, x=x)
    assert kinds(advise(findings, rejection=rejection(n=30, members=np.zeros(9)))) == [
        "single",
        "overlap",
        "scattered",
        "refused",
        "unknowns",
        "copy",
        "uneven",
    ]
