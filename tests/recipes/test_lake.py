"""Scoring a run by the official 20-way runs, and on tasks of varying size."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from quickstudy.cli.app import app
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.evaluation import Report
from quickstudy.recipes import Evaluation, load_run, recipe_named, score_lake20, train_recipe
from quickstudy.recipes.recipe import Part


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was hardly trained, on 28×28 images."""
    recipe = recipe_named("glyphs-protonet").with_changes(
        {"encoder.width": "4", "train.steps": "1", "train.validate_every": "0"}
    )
    recipe = replace(recipe, evaluations=(Evaluation(Setting(5, 1, 5)),))
    return train_recipe(recipe, tmp_path_factory.mktemp("lake") / "run", device="cpu").folder


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """Two runs of two characters: a dark one and a light one."""
    for run in ("run01", "run02"):
        folder = tmp_path / "all_runs" / run
        for part in ("training", "test"):
            (folder / part).mkdir(parents=True)
            for n, shade in ((1, 0), (2, 255)):
                name = "class" if part == "training" else "item"
                image = Image.new("L", (105, 105), shade)
                image.paste(128, (10, 10, 40, 90))
                image.save(folder / part / f"{name}0{n}.png")
        lines = (f"{run}/test/item0{n}.png {run}/training/class0{n}.png\n" for n in (1, 2))
        (folder / "class_labels.txt").write_text("".join(lines))
    return tmp_path / "all_runs"


def test_the_command_scores_the_official_runs_and_keeps_the_report(
    glyphs: Path, official: Path, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    common = ["eval", str(glyphs), "--protocol", "lake20"]
    shown = CliRunner().invoke(app, [*common, "--archive", str(official), "--json", str(file)])
    assert shown.exit_code == 0, shown.output
    report = Report.load(file)
    assert report.mean == 1.0
    assert (report.n_way, report.n_tasks, report.split) == (2, 2, "lake20/official")
    assert "Errors: 0.00 %" in shown.output
    refused = CliRunner().invoke(app, [*common, "--n-way", "5"])
    assert isinstance(refused.exception, ConfigError)
    assert "--n-way" in str(refused.exception)


def test_a_run_is_scored_on_tasks_of_varying_size(glyphs: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    common = ["eval", str(glyphs), "--vary", "6"]
    shown = CliRunner().invoke(app, [*common, "--n-tasks", "3", "--json", str(file)])
    assert shown.exit_code == 0, shown.output
    report = Report.load(file)
    assert not report.uniform
    assert (report.n_way, report.n_tasks) == (6, 3)
    assert "up to 6-way" in shown.output
    refused = CliRunner().invoke(app, [*common, "--n-shot", "5"])
    assert "--n-shot" in str(refused.exception)


def test_runs_that_are_no_images_are_refused(tmp_path: Path, official: Path) -> None:
    recipe = recipe_named("sinusoid-maml").with_changes(
        {"train.steps": "1", "train.compile": "", "train.validate_every": "0"}
    )
    run = train_recipe(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(ConfigError, match="sinusoid"):
        score_lake20(load_run(run.folder), official)
    with pytest.raises(ConfigError, match="cannot vary"):
        run.evaluate_varying(max_way=10)
    on_classes = replace(run, scored_on=Part("glyphs"))
    with pytest.raises(ConfigError, match="but glyphs has classes"):
        on_classes.evaluate(recipe.evaluations[0])
    with pytest.raises(ConfigError, match=r"sinusoid-maml predicts numbers .* n_way=5 was asked"):
        run.evaluate(Evaluation(Setting(5, 1, 2)))


@pytest.mark.parametrize("data", ["sinusoid", "gaussian_processes"])
def test_a_run_that_tells_classes_apart_is_not_scored_on_numbers(glyphs: Path, data: str) -> None:
    run = replace(load_run(glyphs), scored_on=Part(data))
    said = f"tells classes apart, but {data} is for regression"
    with pytest.raises(ConfigError, match=said):
        run.evaluate(run.recipe.evaluations[0])
    with pytest.raises(ConfigError, match=said):
        run.evaluate_varying(max_way=5)
    shown = CliRunner().invoke(app, ["eval", str(glyphs), "--data", data])
    assert said in str(shown.exception)
