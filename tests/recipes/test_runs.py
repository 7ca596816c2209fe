"""Runs on disk: nothing is lost, nothing damaged is taken, and one training writes at a time."""

import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.lock import locked
from quickstudy.core.setting import Setting
from quickstudy.encoders import MLP
from quickstudy.recipes import (
    Recipe,
    learner_extra,
    load,
    load_run,
    recipe_named,
    save_learner,
    saved_recipe,
    train_recipe,
)
from quickstudy.recipes.runs import begin_run
from quickstudy.testing.faults import Fault, check_damage, check_faults
from quickstudy.training import CHECKPOINT, load_checkpoint
from quickstudy.training.checkpoint import save_checkpoint
from quickstudy.training.log import read_log


def short(steps: int = 4) -> Recipe:
    """A training of a second."""
    changes = {"train.validate_every": "0", "encoder.width": "4", "train.steps": str(steps)}
    recipe = recipe_named("glyphs-protonet").with_changes(changes)
    return replace(recipe, evaluations=())


def small(value: float) -> ProtoNet:
    learner = ProtoNet(MLP(3, widths=(2,)))
    with torch.no_grad():
        for p in learner.parameters():
            p.fill_(value)
    return learner


def read_learner(path: Path) -> dict[str, Any]:
    state = load(path).state_dict()
    return {**{n: t.tolist() for n, t in state.items()}, "extra": learner_extra(path)}


def read_checkpoint(path: Path) -> dict[str, Any]:
    content = load_checkpoint(path)
    return {**content, "weights": content["weights"].tolist()}


def write_checkpoint(path: Path, *, step: int = 2) -> None:
    save_checkpoint(path, {"weights": torch.full((50,), float(step)), "step": step})


def test_every_fault_leaves_the_old_learner_or_the_new(tmp_path: Path) -> None:
    counts = check_faults(
        read_learner,
        lambda path: save_learner(small(2.0), path, extra={"n": 2}),
        lambda path: save_learner(small(1.0), path, extra={"n": 1}),
        scratch=tmp_path,
        faults=("input/output error", "full disk"),
    )
    assert min(counts.values()) > 8


def test_every_fault_leaves_the_old_checkpoint_or_the_new(tmp_path: Path) -> None:
    counts = check_faults(
        read_checkpoint,
        write_checkpoint,
        lambda path: write_checkpoint(path, step=1),
        scratch=tmp_path,
        name="last.pt",
    )
    assert min(counts.values()) > 5


@pytest.mark.parametrize("kind", ["learner", "checkpoint"])
def test_damage_is_noticed(kind: str, tmp_path: Path) -> None:
    """More of it: raise ``changes`` and ``truncations``; 300 and 60 take seconds."""
    (tmp_path / "scratch").mkdir()
    if kind == "learner":
        path, read = save_learner(small(1.0), tmp_path / "saved", extra={"n": 1}), read_learner
    else:
        path, read = tmp_path / "last.pt", read_checkpoint
        write_checkpoint(path)
    counts = check_damage(read, path, scratch=tmp_path / "scratch", changes=60, truncations=20)
    assert counts["noticed"] > 60


def tiny() -> Recipe:
    """A training of a fiftieth of a second, with a checkpoint and a line of the log a step."""
    changes = {"steps": "1", "tasks_per_step": "1", "checkpoint_every": "1", "log_every": "1"}
    changes |= {"validate_every": "0", "compile": ""}
    options = {f"train.{name}": value for name, value in changes.items()}
    recipe = recipe_named("sinusoid-maml").with_changes({**options, "encoder.widths": "[2]"})
    return replace(recipe, evaluations=())


def begin_or_resume(path: Path) -> None:
    resume = path.exists() and (path / CHECKPOINT).exists()
    assert train_recipe(tiny(), path, resume=resume).result.finished


def read_run(path: Path) -> dict[str, Any]:
    run = load_run(path)
    steps = [line["step"] for line in read_log(path / "log.jsonl")]
    return {"weights": [p.tolist() for p in run.learner.parameters()], "log": steps}


@pytest.mark.parametrize("fault", ["full disk", "kill"])
def test_every_fault_of_a_whole_training_can_be_gone_on_from(fault: Fault, tmp_path: Path) -> None:
    """At each system call from the first folder to the trained run: what is there is no run, or the
    whole one, and begun or resumed it ends with the weights of one that nothing happened to.
    """
    begin_or_resume(tmp_path / "first")  # what is imported or compiled once is not counted
    (tmp_path / "runs").mkdir()
    counts = check_faults(read_run, begin_or_resume, scratch=tmp_path / "runs", faults=(fault,))
    assert counts[fault] > 30


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    resume: bool, tmp_path: Path
) -> None:
    begin_run(short(), tmp_path / "run")
    with pytest.raises(LoadError, match="begun but not trained"):
        load(tmp_path / "run")
    run = train_recipe(short(), tmp_path / "run", resume=resume)
    assert run.result.finished
    straight = train_recipe(short(), tmp_path / "straight")
    for a, b in zip(
        run.learner.state_dict().values(), straight.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_a_run_is_neither_replaced_nor_made_up(tmp_path: Path) -> None:
    train_recipe(short(), tmp_path / "run")
    assert saved_recipe(tmp_path / "run") == short()
    with pytest.raises(ConfigError, match="already holds a run"):
        train_recipe(short(), tmp_path / "run")
    with pytest.raises(LoadError, match=r"no run in .*nothing.* to resume"):
        train_recipe(short(), tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "run" / "last.pt").unlink()
    with pytest.raises(ConfigError, match="already holds a run"):
        train_recipe(short(), tmp_path / "run")


def test_a_refused_training_leaves_no_run(tmp_path: Path) -> None:
    bad = replace(short(), optimiser=replace(short().optimiser, name="adam"))
    with pytest.raises(ConfigError, match="adamw"):
        train_recipe(bad, tmp_path / "run")
    assert train_recipe(short(), tmp_path / "run").result.finished


def test_a_running_training_is_left_alone(tmp_path: Path) -> None:
    train_recipe(short(), tmp_path / "run")
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with locked(tmp_path / "run"):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert entered.wait(60)
        with pytest.raises(ConfigError, match="written by another training"):
            train_recipe(short(), tmp_path / "run", resume=True)
    finally:
        leave.set()
        thread.join()
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log
    assert train_recipe(short(), tmp_path / "run", resume=True).result.finished


def test_resuming_beside_a_process_that_trains_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_runs import short; from quickstudy.recipes import train_recipe\n"
        "train_recipe(short(100_000), sys.argv[2])\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "run")]
    )
    try:
        while not (tmp_path / "run" / "log.jsonl").exists():
            assert child.poll() is None
        with pytest.raises(ConfigError, match="written by another training"):
            train_recipe(short(100_000), tmp_path / "run", resume=True)
    finally:
        child.kill()
        child.wait()
    # What it held goes with it: the run can be begun again.
    shutil.rmtree(tmp_path / "run")
    assert train_recipe(short(), tmp_path / "run").result.finished


def test_what_is_not_a_run(tmp_path: Path) -> None:
    save_learner(small(1.0), tmp_path / "learner")
    with pytest.raises(LoadError, match="a learner, but a training run was expected"):
        load_run(tmp_path / "learner")
    with pytest.raises(LoadError):
        saved_recipe(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "learner.json").write_text("{}")
    with pytest.raises(LoadError, match="older version"):
        load(tmp_path / "old")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("glyphs-protonet", "sinusoid", "tells classes apart, but sinusoid is for regression"),
        ("sinusoid-maml", "glyphs", r"predicts numbers \(regression\), but glyphs has classes"),
    ],
)
def test_data_of_the_other_kind_are_refused_before_anything_is_written(
    name: str, data: str, said: str, tmp_path: Path
) -> None:
    recipe = recipe_named(name).with_changes({"data": data})
    with pytest.raises(ConfigError, match=f"{name} {said}"):
        train_recipe(recipe, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=f"{name} {said}"):
        recipe.training_tasks()


def test_classes_that_a_recipe_cannot_have_are_refused() -> None:
    sinusoid, glyphs = recipe_named("sinusoid-maml"), recipe_named("glyphs-protonet")
    with pytest.raises(ConfigError, match=r"no classes, but n_way=5 was asked for"):
        sinusoid.tasks_of(sinusoid.build_data(), "test", Setting(5, 1, 2))
    with pytest.raises(ConfigError, match=r"tells classes apart, so n_way must be at least 1"):
        glyphs.tasks_of(glyphs.build_data(), "test", Setting(0, 1, 2))
