"""The demo: train on characters, then learn five new ones from one drawing each."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from quickstudy.algorithms import NearestNeighbour
from quickstudy.analysis import episode_page, learning_curve
from quickstudy.cli.screen import progress, results, table
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.core.words import counted, percent_about
from quickstudy.data import ClassDataset, Glyphs
from quickstudy.encoders import Identity
from quickstudy.estimators import fit_folder
from quickstudy.evaluation import evaluate
from quickstudy.recipes import Run, recipe_named, train_recipe
from quickstudy.training.log import read_log


def demo(
    folder: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for everything the demo writes; an earlier demo in it is replaced.",
        ),
    ] = Path("runs/demo"),
    steps: Annotated[
        int,
        typer.Option(
            help="Training steps; 0 = as the recipe says, about three minutes on 2 cores."
        ),
    ] = 0,
    n_tasks: Annotated[int, typer.Option(help="Tasks per score.")] = 600,
    web: Annotated[
        bool,
        typer.Option(
            "--web", help="Train nothing: open a page on which you teach symbols by drawing them."
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="Of the page; 0 = any free one.")] = 8000,
) -> None:
    """Meta-train on rendered characters, score on unseen scripts, then learn five new characters
    from one drawing each. With --web: teach your own on a page.
    """
    if web:
        from quickstudy.cli.serve import serve_demo

        serve_demo(folder.with_name(f"{folder.name}-web"), port)
        return
    _make_room(folder)
    data = Glyphs()
    run = _train(data, folder / "run", steps)
    _compare(run, data, n_tasks)
    known, new = _learn_five(run, data, folder)
    curve = learning_curve(
        read_log(run.folder / "log.jsonl"),
        folder / "learning_curve.png",
        title="Demo: learning curve",
    )
    page = episode_page(
        run.learner,
        data.tasks("test", Setting(5, 1, 2), seed=1),
        folder / "episodes.png",
        title="Demo: tasks from unseen scripts",
    )
    results().print(
        f"\nFigures: {curve}, {page}.\nThe drawings: {known} and {new}. The run: {run.folder}; "
        f"the fitted model: {folder / 'model'}."
    )
    results().print(
        f"Your own folder: {_program()} fit FOLDER -o MODEL --run {run.folder}, then {_program()} "
        "predict MODEL IMAGES"
    )


def _program() -> str:
    """How to call quickstudy again; ``make demo`` runs it from an environment that is not
    activated.
    """
    called = Path(sys.argv[0])
    is_found = called.name != "quickstudy" or shutil.which("quickstudy") is not None
    return "quickstudy" if is_found else str(called)


def _make_room(folder: Path) -> None:
    """Empty the folder of an earlier demo; one that holds anything else is left alone."""
    marker = folder / "demo.txt"
    if folder.exists():
        if not marker.exists() and any(folder.iterdir()):
            raise ConfigError(
                f"{folder} holds something that is not a demo; it is left alone. Choose another "
                "--out."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.write_text(
        "Written by `quickstudy demo`; the next one replaces this folder.\n", encoding="utf-8"
    )


def _train(data: Glyphs, folder: Path, steps: int) -> Run:
    """Meta-train the recipe of the demo."""
    recipe = recipe_named("glyphs-protonet")
    if steps:
        recipe = recipe.with_changes(
            {"train.steps": str(steps), "train.validate_every": str(steps)}
        )
    results().print(
        f"1. {recipe.summary}\n   Training on {len(data.split('train').index)} characters, testing "
        f"on {len(data.split('test').index)} of other scripts."
    )
    run = train_recipe(recipe, folder, console=progress())
    if not run.result.finished:
        results().print(
            f"Stopped. Go on with: {_program()} train glyphs-protonet --out {folder} --resume"
        )
        raise typer.Exit(130)
    results().print(f"   {counted(run.result.tasks, 'task')} in {run.result.seconds:.0f} s.\n")
    return run


def _compare(run: Run, data: Glyphs, n_tasks: int) -> None:
    """The trained learner beside an untrained one and the nearest neighbour on pixels."""
    learners = {
        "meta-trained prototypes": run.learner,
        "the same, untrained encoder": run.recipe.build_learner(),
        "pixel nearest neighbour": NearestNeighbour(Identity(28 * 28)),
    }
    shown = table("5-way accuracy on unseen scripts", "1-shot", "5-shot")
    for name, learner in learners.items():
        reports = [
            evaluate(learner, data.tasks("test", Setting(5, shots, 15)), n_tasks=n_tasks)
            for shots in (1, 5)
        ]
        shown.add_row(name, *(percent_about(r.mean, r.ci95, 1) for r in reports))
    results().print(
        f"2. Accuracy on {counted(n_tasks, 'task')} each, with 95 % intervals; inductive."
    )
    results().print(shown)


def _learn_five(run: Run, data: Glyphs, folder: Path) -> tuple[Path, Path]:
    """Learn five characters from one drawing each, and name new drawings of them.

    Returns:
        the folders of the drawings to learn from, and of the new ones.
    """
    results().print(
        "\n3. What it is for: five characters it never saw, one drawing of each, then new drawings."
    )
    known, new, truth = _five_characters(data.split("test"), folder)
    model = fit_folder(known, run=run.folder, invert=False)
    model.save(folder / "model")
    shown = table("new drawing of", "is called", "probability", "")
    answers = model.predict_files(new)
    right = 0
    for answer in answers:
        name = truth[answer.item.name]
        is_right = answer.label == name
        right += is_right
        shown.add_row(
            name, answer.label, f"{answer.probability:.2f}", "right" if is_right else "wrong"
        )
    results().print(shown)
    results().print(f"   {right} of {len(answers)} right.")
    return known, new


def _five_characters(test: ClassDataset, folder: Path) -> tuple[Path, Path, dict[str, str]]:
    """Drawings as PNG files: one of each of five characters to learn from, two new ones of each to
    be asked about.
    """
    known, new, truth = folder / "five-characters", folder / "new-drawings", {}
    new.mkdir()
    spread = range(0, len(test.index), len(test.index) // 5)[:5]
    for c in spread:
        name = test.index.names[c]
        (known / name).mkdir(parents=True)
        for k, row in enumerate(test.index.rows_of(c)[:3]):
            image = Image.fromarray(test.x[int(row), 0].numpy())
            if k == 0:
                image.save(known / name / "drawing.png")
            else:
                truth[f"{len(truth):02d}.png"] = name
                image.save(new / f"{len(truth) - 1:02d}.png")
    return known, new, truth
