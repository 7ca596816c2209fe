"""What the examples say of each other, against slow loops and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.estimators import FewShotClassifier
from quickstudy.estimators import findings as findings_module
from quickstudy.estimators.findings import Findings, examine
from quickstudy.estimators.scaling import unit


def blobs(
    n_class: int, n: int, *, dim: int = 8, spread: float = 0.3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(size=(n_class, dim)), n, 0) + spread * rng.normal(
        size=(n_class * n, dim)
    ), np.repeat(np.arange(n_class), n)


def told_of(x: np.ndarray, y: np.ndarray, metric: str = "cosine") -> Findings:
    model = FewShotClassifier(metric=metric).fit(x, y)
    return examine(
        model.support_,
        model.labels_,
        [str(c) for c in model.classes_],
        model.left_out_scores(),
        metric=metric,
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_against_a_slow_loop(metric: str) -> None:
    x, y = blobs(4, 3, spread=1.0)
    x, y = np.r_[x, np.ones((1, 8))], np.r_[y, 4]
    findings = told_of(x, y, metric)
    v = unit(x) if metric == "cosine" else x
    for i in range(13):
        if y[i] == 4:
            assert not findings.judged[i]
            assert (findings.predicted[i], findings.rival[i], findings.nearest_in(i, 4)) == (
                -1,
                -1,
                -1,
            )
            continue
        scores = []
        for c in range(5):
            rows = [j for j in range(13) if y[j] == c and j != i]
            mean = v[[j for j in rows if c == 4 or j % 3 != i % 3]].mean(0)
            scores.append(
                float(v[i] @ mean / np.linalg.norm(mean))
                if metric == "cosine"
                else -float(((v[i] - mean) ** 2).sum())
            )
            assert findings.nearest_in(i, c) == min(rows, key=lambda j: ((v[i] - v[j]) ** 2).sum())
        best = max((c for c in range(5) if c != y[i]), key=lambda c: scores[c])
        assert findings.predicted[i] == int(np.argmax(scores))
        assert findings.rival[i] == best
        assert (findings.own[i], findings.other[i]) == (
            pytest.approx(scores[y[i]]),
            pytest.approx(scores[best]),
        )
    wrong = [i for i in range(12) if findings.predicted[i] != y[i]]
    assert sorted(findings.wrong.tolist()) == wrong
    assert wrong, "the test needs mistakes"
    margins = [findings.own[i] - findings.other[i] for i in findings.wrong]
    assert margins == sorted(margins)
    for c in range(5):
        assert (findings.counts[c], findings.tried[c]) == ((1, 0) if c == 4 else (3, 3))
        assert findings.right[c] == sum(1 for i in range(12) if y[i] == c == findings.predicted[i])
    for a, b, n in findings.confused():
        assert n == sum(1 for i in wrong if {int(y[i]), int(findings.predicted[i])} == {a, b})
    assert sum(n for _, _, n in findings.confused(without=wrong[:1])) == len(wrong) - 1


@pytest.mark.parametrize("block", [2, 512])
def test_the_separation_of_classes_by_a_loop(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_module, "_BLOCK", block)
    x, y = blobs(7, 3)
    x, y = np.r_[x, np.random.default_rng(1).normal(size=(1, 8))], np.r_[y, 7]
    findings = told_of(x, y, "euclidean")
    means = [x[y == c].mean(0) for c in range(8)]
    squares = [((x[y == c] - means[c]) ** 2).sum() / 2 if c < 7 else np.nan for c in range(8)]
    np.testing.assert_allclose(findings.spread, np.sqrt(squares))
    squares[7] = np.mean(squares[:7])
    counts = [3] * 7 + [1]
    apart = np.full((8, 8), np.inf)
    for a in range(8):
        for b in range(8):
            if a != b:
                far = (
                    ((means[a] - means[b]) ** 2).sum()
                    - squares[a] / counts[a]
                    - squares[b] / counts[b]
                )
                apart[a, b] = (max(far, 0) / ((squares[a] + squares[b]) / 2)) ** 0.5
    assert findings.neighbour.tolist() == apart.argmin(1).tolist()
    np.testing.assert_allclose(findings.separation, apart.min(1))
    nearest = sorted((apart[a, b], a, b) for a in range(8) for b in range(a + 1, 8))[:12]
    assert [pair[:2] for pair in findings.pairs] == [(a, b) for _, a, b in nearest]
    np.testing.assert_allclose([pair[2] for pair in findings.pairs], [far for far, _, _ in nearest])


def test_where_no_spread_is_known_the_plain_distance_counts() -> None:
    findings = told_of(
        np.array([[0.0, 0], [3, 0], [0, 1], [0, 1.5]]), np.array([0, 1, 2, 3]), "euclidean"
    )
    assert np.isnan(findings.spread).all()
    assert findings.pairs[0] == (2, 3, 0.5)
    assert findings.neighbour.tolist() == [2, 0, 3, 2]
    assert not findings.judged.any()
    same = told_of(
        np.array([[0.0, 0], [0, 0], [3, 4], [3, 4]]), np.array([0, 0, 1, 1]), "euclidean"
    )
    assert same.pairs == ((0, 1, 5.0),)
    assert same.copies == ((0, 1), (2, 3))


def test_classes_no_further_apart_than_chance_have_no_separation() -> None:
    findings = told_of(np.array([[0.0], [2], [0.5], [2.5]]), np.array([0, 0, 1, 1]), "euclidean")
    assert findings.pairs == ((0, 1, 0.0),)


def test_one_class_has_no_rival() -> None:
    findings = told_of(blobs(1, 9)[0], np.zeros(9, int))
    assert findings.judged.all()
    assert np.isnan(findings.other).all()
    assert (findings.neighbour.tolist(), findings.pairs, findings.suspects) == ([-1], (), ())
    assert np.isnan(findings.separation).all()


def test_a_planted_wrong_label_is_suspected() -> None:
    x, y = blobs(5, 4, dim=24)
    y[1] = 3  # looks like class 0
    findings = told_of(x, y)
    ((i, c),) = findings.suspects
    assert c == 0
    assert findings.labels[i] == 3
    np.testing.assert_array_equal(findings.x[i], unit(x)[1])
    assert not told_of(*blobs(5, 4, dim=24)).suspects


def test_of_two_examples_none_is_suspected() -> None:
    x, y = blobs(6, 2, dim=24)
    y[0], y[2] = 1, 0
    findings = told_of(x, y)
    assert len(findings.wrong) > 1
    assert not findings.suspects


def test_few_examples_are_no_ground_for_suspicion() -> None:
    x, y = blobs(2, 3, dim=24)
    y[0] = 1
    assert told_of(np.r_[x[:2], x[3:]], np.r_[y[:2], y[3:]]).suspects == ()


def test_an_example_unlike_its_class_is_an_outlier() -> None:
    x, y = blobs(5, 6, dim=24)
    x[8] = 0.4 * x[8] + 0.6 * np.random.default_rng(9).normal(size=24)
    findings = told_of(x, y)
    assert findings.outliers[:1] == (8,)
    assert 8 not in told_of(*blobs(5, 6, dim=24)).outliers


def test_where_all_score_alike_nobody_is_odd() -> None:
    findings = told_of(np.repeat(np.eye(3), 4, 0), np.repeat(np.arange(3), 4))
    assert (findings.suspects, findings.outliers) == ((), ())


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([1, 3, 16]))
def test_copies_by_a_double_loop(seed: int, n: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(max(n // 3, 1), dim))[rng.integers(0, max(n // 3, 1), n)]
    x = x + 1e-8 * rng.normal(size=x.shape)
    x[rng.random(n) < 0.2] += 0.01
    length = np.sqrt((x * x).sum(1).mean())
    groups: list[set[int]] = []
    for i in range(n):
        near = {j for j in range(n) if np.linalg.norm(x[i] - x[j]) <= 1e-5 * length}
        joined = [g for g in groups if g & near]
        groups = [g for g in groups if not g & near] + [near.union(*joined)]
    expected = sorted(tuple(sorted(g)) for g in groups if len(g) > 1)
    found = examine(x, np.zeros(n, np.int64), ["a"], np.full((n, 1), np.nan)).copies
    assert list(found) == expected


def test_a_thousand_equal_rows_are_one_group() -> None:
    findings = examine(
        np.ones((5000, 4)), np.repeat(np.arange(5), 1000), list("abcde"), np.full((5000, 5), np.nan)
    )
    assert [len(g) for g in findings.copies] == [5000]


def test_where_classes_overlap_a_mistake_is_no_wrong_label() -> None:
    """What the classifier leaves a chance is nothing unusual; what it rules out is."""
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 40)
    scores = np.stack((-2.0 * y, 2.0 * y - 2.0), 1)  # in favour of the own class
    usual = rng.permutation(80)[:12]
    scores[usual] = scores[usual, ::-1]  # as one in seven goes: mistakes
    clear = int(np.setdiff1d(np.arange(80), usual)[0])
    scores[clear] = 5 * scores[clear, ::-1]
    scores += 0.02 * rng.normal(size=scores.shape)
    x = rng.normal(size=(80, 5))
    by_scores = examine(x, y, ["a", "b"], scores)
    assert {i for i, _ in by_scores.suspects} == {clear, *usual.tolist()}
    found = examine(x, y, ["a", "b"], scores, temperature=1.0)
    assert [i for i, _ in found.suspects] == [clear]
    assert not set(found.outliers) & set(usual.tolist())
    assert found.probabilities[clear, y[clear]] < 0.01
