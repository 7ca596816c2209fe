"""What a report holds, says and keeps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quickstudy.core.errors import LoadError
from quickstudy.evaluation import EarlierRun, Report

REPORT = Report(
    recipe="omniglot-maml",
    algorithm="maml",
    data="omniglot",
    split="vinyals/test",
    split_hash="0123456789ab",
    n_way=5,
    n_shot=1,
    n_query=15,
    n_tasks=3,
    mean=0.9,
    ci95=0.01,
    transductive=False,
    norm="batch",
    seed=0,
    train_seed=1,
    train_tasks=100,
    train_seconds=2.5,
    parameters=10,
    device="cpu",
    versions={"torch": "2"},
    commit="abc",
    std=0.1,
    median=0.9,
    worst5=0.8,
    scores=(0.8, 0.9, 1.0),
)


@pytest.mark.parametrize(
    "other",
    [
        {"data": "glyphs"},
        {"split": "vinyals/val"},
        {"split_hash": "0123456789ac"},
        {"n_way": 20},
        {"n_shot": 5},
        {"n_query": 5},
        {"n_tasks": 600},
        {"seed": 1},
        {"uniform": False},
        {"alpha": 2.0},
        {"alpha": 2.0000001},
        {"n_unlabelled": 5},
        {"n_unlabelled": 5, "n_distractors": 5},
        {"labelled": 0.4},
        {"labelled": 0.40000001},
        {"n_unknown": 5, "unknown_score": "energy"},
        {"metric": "mse"},
    ],
)
def test_two_tasks_never_print_the_same(other: dict[str, object]) -> None:
    assert replace(REPORT, **other).task != REPORT.task or other == {"metric": "mse"}
    assert str(replace(REPORT, **other)) != str(REPORT)
    for more in ({"alpha": 2.0}, {"n_unlabelled": 5}, {"labelled": 0.4}):
        if more != other:
            assert str(replace(REPORT, **other)) != str(replace(REPORT, **more))


def test_a_line_names_the_recipe_what_was_changed_and_what_it_began_with() -> None:
    assert str(REPORT).startswith("omniglot-maml (maml): 90.00 ± 1.00 %  (5-way 1-shot, 15 queries")
    changed = replace(
        REPORT,
        algorithm="nil",
        changes=("train.steps=9", "learner.inner_steps=1"),
        earlier=(EarlierRun("first", 10, 1.0, 0), EarlierRun("second")),
    )
    assert str(changed).startswith(
        "omniglot-maml with train.steps=9, learner.inner_steps=1 after first and second (nil): "
    )
    assert str(replace(REPORT, recipe="")).startswith("maml: ")


def test_accuracies_are_rounded_as_people_round_them() -> None:
    report = replace(REPORT, mean=0.96125, ci95=0.00625, published=0.9625)
    assert ": 96.13 ± 0.63 %  (" in str(report)
    assert report.published_value == "96.3"


def test_every_field_survives_a_file(tmp_path: Path) -> None:
    report = replace(
        REPORT,
        changes=("train.steps=9",),
        earlier=(EarlierRun("first", 10, 1.0, 0),),
        alpha=2.0,
        n_unlabelled=5,
        n_distractors=2,
        labelled=0.4,
        n_unknown=2,
        unknown_score="energy",
        auroc=0.9,
    )
    report.save(tmp_path / "r.json")
    assert Report.load(tmp_path / "r.json") == report


def test_reports_of_earlier_versions_are_read(tmp_path: Path) -> None:
    REPORT.save(tmp_path / "r.json")
    about = json.loads((tmp_path / "r.json").read_text())
    for name in ("alpha", "labelled", "n_unlabelled", "n_distractors", "changes", "earlier"):
        del about[name]
    about |= {"n_unknown": 2, "known_by": "logit", "auroc": 0.5}
    (tmp_path / "r.json").write_text(json.dumps(about))
    again = Report.load(tmp_path / "r.json")
    assert again == replace(REPORT, n_unknown=2, unknown_score="max_similarity", auroc=0.5)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"mean": 1}', "[" * 100_000, "null"],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(LoadError, match="not a readable report"):
        Report.load(tmp_path / "r.json")


@pytest.mark.parametrize("name", ["mean", "ci95", "scores"])
def test_a_report_whose_scores_are_no_numbers_is_refused(tmp_path: Path, name: str) -> None:
    value = (0.8, float("nan"), 1.0) if name == "scores" else float("nan")
    replace(REPORT, **{name: value}).save(tmp_path / "r.json")
    with pytest.raises(LoadError, match="not a finite number"):
        Report.load(tmp_path / "r.json")
