"""Two reports on the same tasks."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from quickstudy.algorithms import NearestNeighbour, ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import Identity
from quickstudy.evaluation import Report, compare, evaluate

sys.path.insert(0, str(Path(__file__).parent))

from test_evaluate import many, tasks
from test_report import REPORT


def with_scores(*scores: float) -> Report:
    return replace(REPORT, n_tasks=len(scores), scores=scores)


def test_compare_pairs_the_tasks() -> None:
    a, b = (
        evaluate(learner, tasks(), n_tasks=40)
        for learner in (NearestNeighbour(Identity(4)), ProtoNet(Identity(4)))
    )
    gap = compare(a, b)
    differences = np.array(b.scores) - np.array(a.scores)
    assert gap.difference == pytest.approx(differences.mean())
    assert gap.ci95 == pytest.approx(student.ppf(0.975, 39) * differences.std(ddof=1) / np.sqrt(40))
    assert compare(a, a).difference == 0
    assert compare(a, a).p_value == 1
    assert not compare(a, a).clear


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", "glyphs"),
        ("split", "val"),
        ("split_hash", "f" * 12),
        ("uniform", False),
        ("n_way", 20),
        ("n_shot", 5),
        ("n_query", 5),
        ("n_unlabelled", 5),
        ("n_distractors", 5),
        ("labelled", 0.4),
        ("alpha", 2.0),
        ("n_unknown", 5),
        ("n_tasks", 600),
        ("seed", 1),
        ("metric", "mse"),
    ],
)
def test_reports_on_other_tasks_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"differ in {field}: {getattr(REPORT, field)} and"):
        compare(REPORT, replace(REPORT, **{field: value}))


def test_unknown_classes_are_compared_with_unknown_classes() -> None:
    a = evaluate(ProtoNet(Identity(4)), many(3), n_tasks=4)
    b = evaluate(ProtoNet(Identity(4)), many(7), n_tasks=4, n_unknown=4)
    assert compare(b, b).difference == 0
    with pytest.raises(ConfigError, match="n_unknown: 0 and 4"):
        compare(a, b)


def test_a_difference_within_rounding_is_never_clear(tmp_path: Path) -> None:
    a = with_scores(*(i / 7 for i in range(6)))
    a.save(tmp_path / "a.json")
    again = Report.load(tmp_path / "a.json")
    assert again.scores != a.scores
    assert (compare(a, again).difference, compare(a, again).p_value) == (0, 1)
    assert str(compare(a, again)).endswith(": not clear")
    shifted = replace(a, scores=tuple(s + 0.9e-6 for s in a.scores))
    assert not compare(a, shifted).clear
    better = replace(a, scores=tuple(s + 1e-3 for s in a.scores))
    assert compare(a, better).clear


def test_small_differences_are_printed_so_that_they_can_be_seen() -> None:
    a = with_scores(*[0.5] * 200)
    b = replace(a, scores=tuple(0.5 + 1e-5 * (i % 3) for i in range(200)))
    assert str(compare(a, b)).startswith("+0.001 ± 0.0001 points over 200 shared tasks")
    assert compare(a, b).clear


def test_errors_are_not_points() -> None:
    a = replace(with_scores(-1.0, -2.0, -3.0), metric="mse")
    b = replace(a, scores=(-0.5, -1.4, -2.6))
    assert str(compare(a, b)).startswith("MSE -0.50 ± ")


def test_a_transductive_learner_beside_an_inductive_one_is_pointed_out() -> None:
    other = replace(REPORT, transductive=True, recipe="seer", algorithm="tim")
    assert compare(REPORT, REPORT).warnings == ()
    for pair in ((REPORT, other), (other, REPORT)):
        gap = compare(*pair)
        assert gap.warnings == (
            "seer (tim) is transductive: its answer to a query depends on the others of the task. "
            "omniglot-maml (maml) answers each query by itself.",
        )
        assert str(gap).splitlines()[1] == f"Note: {gap.warnings[0]}"


def test_reports_without_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match="hold 3 and 0 scores"):
        compare(REPORT, replace(REPORT, scores=()))
