"""The commands ``analyse steps``, ``permutations``, ``order`` and ``cka``: what a trained learner's
inner loop does; ``embedding``: where examples lie; ``instances``: online answers; ``architecture``:
the cell of a search.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from quickstudy.analysis import (
    AbstractReport,
    architecture,
    compare_orders,
    compare_trained,
    embedding,
    feature_reuse,
    instance_accuracy,
    label_permutations,
    step_curve,
    write_report,
)
from quickstudy.cli.choices import Norm
from quickstudy.cli.options import NormOption, RunFolder
from quickstudy.cli.screen import progress, results, table
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.tasks import AbstractTasks
from quickstudy.recipes import Run, load, load_run

analyse = typer.Typer(
    help="Look into a trained learner. Each command writes a table and a figure.",
    no_args_is_help=True,
)

_Tasks = Annotated[int, typer.Option(min=2, help="How many tasks.")]
_Seed = Annotated[int, typer.Option(help="Of the tasks.")]
_Json = Annotated[
    Path | None,
    typer.Option("--json", help="Write the numbers here; default RUN/analysis/NAME.json."),
]
_Plot = Annotated[
    Path | None, typer.Option(help="Draw the figure here; default RUN/analysis/NAME.png.")
]


@analyse.command()
def steps(
    run_dir: RunFolder,
    most: Annotated[
        int,
        typer.Option(
            "--steps", min=0, help="The most inner steps; 0 = twice as many as trained with."
        ),
    ] = 0,
    n_tasks: _Tasks = 100,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """The score against the number of inner steps, beyond those trained with."""
    run, learner, tasks = _opened(run_dir, norm, seed, "test")
    with progress().status("steps"):
        report = step_curve(learner, tasks, n_tasks=n_tasks, steps=most)
    _write(run, "steps", ("inner steps", report.metric), report, json_file, plot)


@analyse.command()
def permutations(
    run_dir: RunFolder,
    orders: Annotated[
        int, typer.Option(min=2, help="The most orders; where there are more, so many random ones.")
    ] = 120,
    n_tasks: _Tasks = 100,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """Accuracy under all orders of a task's classes: mean, best, worst."""
    run, learner, tasks = _opened(run_dir, norm, seed, "test")
    with progress().status("permutations"):
        report = label_permutations(learner, tasks, n_tasks=n_tasks, most_orders=orders)
    _write(
        run,
        "permutations",
        ("order of the classes", f"accuracy, {report.n_orders} orders"),
        report,
        json_file,
        plot,
    )


@analyse.command()
def order(
    run_dir: RunFolder,
    other: Annotated[
        Path | None,
        typer.Argument(
            help="A run trained alike in the other order; then the accuracies are compared too.",
            show_default=False,
        ),
    ] = None,
    n_tasks: _Tasks = 50,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """The outer gradient of first against that of second order, on training tasks; with a second
    run also what either came to.
    """
    run, learner, tasks = _opened(run_dir, norm, seed, "train")
    with progress().status("order"):
        report = compare_orders(learner, tasks, n_tasks=n_tasks)
        if other:
            _, second, _ = _opened(other, norm, seed, "test")
            exams = _opened(run_dir, norm, seed, "test")[2]
            report = replace(
                report, scores=compare_trained(learner, second, exams, n_tasks=n_tasks)
            )
    _write(run, "order", ("", "first against second order"), report, json_file, plot)


@analyse.command()
def cka(
    run_dir: RunFolder,
    n_tasks: _Tasks = 100,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """Features before and after adaptation, stage by stage, and the score with the first stages
    frozen.
    """
    run, learner, tasks = _opened(run_dir, norm, seed, "test")
    with progress().status("cka"):
        report = feature_reuse(learner, tasks, n_tasks=n_tasks)
    _write(run, "cka", ("", "feature reuse"), report, json_file, plot)


@analyse.command("embedding")
def embedding_of(
    run_dir: RunFolder,
    task: Annotated[int, typer.Option(min=0, help="Which task of the stream.")] = 0,
    n_query: Annotated[int, typer.Option(min=1, help="Queries per class.")] = 15,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """The features of one task by principal components and t-SNE: support, queries, and what a
    hallucinator imagines.
    """
    run, learner, tasks = _opened(run_dir, norm, seed, "test", n_query=n_query)
    with progress().status("embedding"):
        report = embedding(learner, tasks, task=task, seed=seed)
    _write(run, "embedding", ("", run.recipe.learner.name), report, json_file, plot)


@analyse.command()
def instances(
    run_dir: RunFolder,
    n: Annotated[int, typer.Option("--instances", min=2, help="Examples of each class.")] = 10,
    n_tasks: _Tasks = 1000,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """The accuracy on the first, second, … example of a class, each answered before its label is
    told: for mann and lstm.
    """
    run, learner, tasks = _opened(run_dir, norm, seed, "test", n_shot=1, n_query=n - 1)
    with progress().status("instances"):
        report = instance_accuracy(learner, tasks, n_tasks=n_tasks)
    _write(run, "instances", ("example of a class", "accuracy"), report, json_file, plot)


@analyse.command("architecture")
def architecture_of(
    run_dir: RunFolder,
    n_tasks: _Tasks = 100,
    seed: _Seed = 0,
    norm: NormOption = None,
    json_file: _Json = None,
    plot: _Plot = None,
) -> None:
    """The cell that a search has come to, over many tasks: for runs on the encoder mixed_cell."""
    run, learner, tasks = _opened(run_dir, norm, seed, "val")
    with progress().status("architecture"):
        report = architecture(learner, tasks, n_tasks=n_tasks)
    _write(run, "architecture", ("edge", "operation"), report, json_file, plot)


def _opened(
    folder: Path, norm: Norm | None, seed: int, split: str, **changed: int
) -> tuple[Run, AbstractLearner, AbstractTasks]:
    """A run, its learner, and tasks as it is scored on, or with a setting that is ``changed``."""
    run = load_run(folder)
    learner = load(folder, norm=norm) if norm else run.learner
    assert isinstance(learner, AbstractLearner)
    setting = (
        run.recipe.evaluations[0].setting
        if split == "test" and run.recipe.evaluations
        else run.recipe.episodes
    )
    return (
        run,
        learner,
        run.recipe.build_data().tasks(split, replace(setting, **changed), seed=seed),
    )


def _write(
    run: Run,
    name: str,
    head: tuple[str, str],
    report: AbstractReport,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    shown = table(*head)
    for row in report.rows():
        shown.add_row(*row)
    results().print(shown)
    about = {
        "recipe": run.recipe.name,
        "algorithm": run.recipe.learner.name,
        "train_tasks": run.result.tasks,
    }
    file = write_report(report, json_file or run.folder / "analysis" / f"{name}.json", about=about)
    picture = report.draw(plot or run.folder / "analysis" / f"{name}.png")
    results().print(f"Numbers: {file}. Figure: {picture}.")
