"""``quickstudy analyse`` on a run of a few steps, and ``train --from``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from quickstudy.recipes import saved_recipe

SHORT = [
    a
    for c in ("train.steps=6", "train.validate_every=0", "train.tasks_per_step=2")
    for a in ("--set", c)
]


@pytest.fixture(scope="module")
def maml_run(quickstudy: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "maml"
    quickstudy("train", "glyphs-fomaml", "--out", out, "--n-tasks", "4", *SHORT)
    return out


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("steps", ["--steps", "3"], "inner steps"),
        ("permutations", ["--orders", "4"], "4 orders"),
        ("order", [], "cosine of the two gradients"),
        ("cka", [], "feature reuse"),
    ],
)
def test_each_writes_a_table_a_file_and_a_picture(
    quickstudy: Callable, maml_run: Path, name: str, options: list[str], said: str
) -> None:
    out = quickstudy("analyse", name, maml_run, "--n-tasks", "3", *options).stdout
    assert said in out
    told = json.loads((maml_run / "analysis" / f"{name}.json").read_text(encoding="utf-8"))
    assert told["recipe"] == "glyphs-fomaml"
    assert told["n_tasks"] == 3
    with Image.open(maml_run / "analysis" / f"{name}.png") as picture:
        assert min(picture.size) > 200


def test_the_embedding_of_a_task_is_drawn(
    quickstudy: Callable, run_folder: Path, tmp_path: Path
) -> None:
    out = quickstudy(
        "analyse",
        "embedding",
        run_folder,
        "--n-query",
        "4",
        "--plot",
        tmp_path / "points.png",
        "--json",
        tmp_path / "points.json",
    ).stdout
    assert "silhouette, real" in out
    told = json.loads((tmp_path / "points.json").read_text(encoding="utf-8"))
    assert len(told["tsne"]) == len(told["label"])
    with Image.open(tmp_path / "points.png") as picture:
        assert min(picture.size) > 200


def test_order_can_compare_the_accuracies_of_two_runs(
    quickstudy: Callable, maml_run: Path, tmp_path: Path
) -> None:
    quickstudy(
        "train",
        "glyphs-fomaml",
        "--out",
        tmp_path / "second",
        "--n-tasks",
        "4",
        "--set",
        "learner.name=maml",
        *SHORT,
    )
    out = quickstudy(
        "analyse",
        "order",
        maml_run,
        tmp_path / "second",
        "--n-tasks",
        "3",
        "--json",
        tmp_path / "told.json",
    ).stdout
    assert "accuracy after training, first order" in out
    assert "accuracy after training, second order" in out
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))["scores"]
    assert set(told) == {"first order", "second order", "difference"}
    assert told["difference"][0] == pytest.approx(told["second order"][0] - told["first order"][0])
    said = quickstudy("analyse", "order", maml_run, maml_run, "--n-tasks", "3", status=2).stderr
    assert "are both of first order" in said


def test_accuracy_by_instance(quickstudy: Callable, tmp_path: Path) -> None:
    changes = [
        "--set",
        "learner.name=lstm",
        "--set",
        "learner.n_out=5",
        "--set",
        "objective=online",
        "--set",
        "episodes.n_way=5",
    ]
    quickstudy(
        "train", "glyphs-protonet", "--out", tmp_path / "run", "--n-tasks", "4", *changes, *SHORT
    )
    out = quickstudy(
        "analyse", "instances", tmp_path / "run", "--n-tasks", "4", "--instances", "3"
    ).stdout
    assert "example of a class" in out
    told = json.loads(
        (tmp_path / "run" / "analysis" / "instances.json").read_text(encoding="utf-8")
    )
    assert len(told["means"]) == 3
    with Image.open(tmp_path / "run" / "analysis" / "instances.png") as picture:
        assert min(picture.size) > 200


def test_the_cell_of_a_search(quickstudy: Callable, run_folder: Path, tmp_path: Path) -> None:
    changes = [
        "learner.name=t_nas",
        "learner.inner_lr=0.5",
        "learner.inner_steps=1",
        "encoder=mixed_cell",
        "encoder.channels=4",
        "encoder.norm=batch",
    ]
    quickstudy(
        "train",
        "glyphs-fomaml",
        "--out",
        tmp_path / "run",
        "--n-tasks",
        "4",
        *(a for c in changes for a in ("--set", c)),
        *SHORT,
    )
    out = quickstudy("analyse", "architecture", tmp_path / "run", "--n-tasks", "3").stdout
    assert "0 → 1" in out
    told = json.loads(
        (tmp_path / "run" / "analysis" / "architecture.json").read_text(encoding="utf-8")
    )
    assert len(told["edges"]) == 5
    with Image.open(tmp_path / "run" / "analysis" / "architecture.png") as picture:
        assert min(picture.size) > 200
    assert (
        "no cell that is searched for"
        in quickstudy("analyse", "architecture", run_folder, "--n-tasks", "3", status=2).stderr
    )


def test_other_learners_are_refused(quickstudy: Callable, run_folder: Path) -> None:
    assert (
        "before it sees the label"
        in quickstudy("analyse", "instances", run_folder, "--n-tasks", "3", status=2).stderr
    )
    assert (
        "has no inner loop"
        in quickstudy("analyse", "steps", run_folder, "--n-tasks", "3", status=2).stderr
    )


def test_a_training_begins_with_another_run(
    quickstudy: Callable, maml_run: Path, tmp_path: Path
) -> None:
    options = [
        "--set",
        "learner.name=tsa_maml",
        "--set",
        "learner.n_groups=2",
        "--set",
        "learner.n_cluster_tasks=6",
        "--n-tasks",
        "4",
        *SHORT,
    ]
    quickstudy("train", "glyphs-fomaml", "--from", maml_run, "--out", tmp_path / "tsa", *options)
    assert saved_recipe(tmp_path / "tsa").to_json()["start_from"] == str(maml_run)
    said = quickstudy(
        "train",
        "glyphs-fomaml",
        "--from",
        tmp_path / "none",
        "--out",
        tmp_path / "new",
        *options,
        status=2,
    ).stderr
    assert "does not exist" in said
    assert not (tmp_path / "new").exists()
