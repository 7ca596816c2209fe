"""The commands that train, score and compare recipes; ``tune`` has its own file."""

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import typer

from quickstudy.algorithms import NearestNeighbour
from quickstudy.analysis import episode_page, learning_curve
from quickstudy.cli.choices import OutputScore, Split, TrackerName, WorkersKind
from quickstudy.cli.options import ChangedFields, DeviceOption, NormOption, RecipeName, RunFolder
from quickstudy.cli.recipes import changed
from quickstudy.cli.screen import progress, results
from quickstudy.core.batching import order_dependent
from quickstudy.core.errors import ConfigError, QuickstudyError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData
from quickstudy.core.words import counted
from quickstudy.encoders import Identity
from quickstudy.evaluation import Origin, Report, evaluate
from quickstudy.evaluation import compare as compare_reports
from quickstudy.recipes import (
    Evaluation,
    Part,
    Recipe,
    Run,
    load_run,
    recipe_named,
    saved_recipe,
    score_lake20,
    train_recipe,
)
from quickstudy.training import Advanced, launch
from quickstudy.training.log import read_log
from quickstudy.training.trackers import tracker_named

OutDirOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for the run; default runs/RECIPE.")
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Begin with the weights of this run (tsa_maml makes its groups from it).",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
]
NTasksOption = Annotated[
    int | None, typer.Option(help="Tasks of each final score; default as the recipe says.")
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        help="Seconds after which a process that does not answer counts as lost (torchrun)."
    ),
]
TrackOption = Annotated[
    list[TrackerName] | None,
    typer.Option(help="Also send the curves there; may be repeated."),
]
NWayOption = Annotated[int | None, typer.Option(help="Classes per task.")]
NShotOption = Annotated[int | None, typer.Option(help="Support examples per class.")]
NQueryOption = Annotated[int | None, typer.Option(help="Queries per class.")]
EvaluateRunNTasksOption = Annotated[
    int | None, typer.Option(help="Tasks; default as the recipe says.")
]
DataOption = Annotated[str | None, typer.Option(help="Another data set, by name.")]
SplitOption = Annotated[
    Split | None, typer.Option(help="Whose classes; default as the recipe says.")
]
AsOption = Annotated[
    str,
    typer.Option(
        "--as", help="Another learner on the trained encoder, e.g. nil, protonet, linear_probe."
    ),
]
SeedOption = Annotated[
    int, typer.Option(help="Of the tasks; equal seeds give equal tasks to every learner.")
]
UnknownOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Also ask about so many classes that are not in the support set, and report how "
        "well they are recognised as unknown.",
    ),
]
ScoreOption = Annotated[
    OutputScore,
    typer.Option(help="With --unknown: what tells unknowns from the classes."),
]
BaselinesOption = Annotated[
    bool,
    typer.Option(
        help="Also score the untrained learner and pixel nearest neighbour, on the same tasks."
    ),
]
ProtocolOption = Annotated[
    Literal["tasks", "lake20"],
    typer.Option(help="lake20: twenty 20-way one-shot tasks within one alphabet of Omniglot each."),
]
ArchiveOption = Annotated[
    Path | None,
    typer.Option(
        help="With lake20: the folder of the official runs (all_runs); default runs drawn like "
        "them from the evaluation alphabets."
    ),
]
VaryOption = Annotated[
    int | None,
    typer.Option(
        min=5,
        metavar="MAX_WAY",
        help="Tasks whose way (5 to MAX_WAY) and shots vary from task to task, as in Meta-Dataset.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="On a CPU, how many score batches of tasks side by side; 0 = one per core. Does not "
        "change the result.",
    ),
]
WorkersKindOption = Annotated[
    WorkersKind,
    typer.Option(help="What they are. By default threads, and what is faster in long evaluations."),
]
JsonFileOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the report here. With several settings, a folder."),
]


def train(
    recipe: RecipeName,
    set_: ChangedFields = None,
    out_dir: OutDirOption = None,
    from_: FromOption = None,
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    n_tasks: NTasksOption = None,
    timeout: TimeoutOption = 300.0,
    track: TrackOption = None,
) -> None:
    """Meta-train a recipe, score it as it says, and draw the figures.

    In several processes: torchrun --nproc-per-node 2 -m quickstudy train RECIPE
    """
    chosen = recipe_named(recipe)
    folder = out_dir or Path("runs") / chosen.name
    if resume:
        chosen = saved_recipe(folder)
        if chosen.name != recipe:
            raise ConfigError(
                f"{folder} holds a run of {chosen.name}, not of {recipe}. Resume that one, or name "
                "another --out."
            )
    chosen = changed(chosen, set_)
    if from_:
        chosen = dataclasses.replace(chosen, start_from=str(from_))
    trackers = [tracker_named(name, folder) for name in track or ()]
    run = train_recipe(
        chosen,
        folder,
        resume=resume,
        device=device,
        console=progress(),
        advanced=Advanced(timeout=timeout, trackers=trackers),
    )
    if launch().rank:
        raise typer.Exit(0 if run.result.finished else 130)  # process 0 tells the results
    if not run.result.finished:
        results().print(
            f"Stopped after {run.result.steps} of {chosen.train.steps} steps; nothing is lost. Go "
            f"on with: quickstudy train {recipe} --out {shlex.quote(str(folder))} --resume"
        )
        raise typer.Exit(130)
    results().print(
        f"Trained {counted(run.result.steps, 'step')} on {counted(run.result.tasks, 'task')} in "
        f"{run.result.seconds:.0f} "
        f"s; kept the weights of step {run.result.best_step}."
    )
    _score_and_draw(run, folder, n_tasks)


def _score_and_draw(run: Run, folder: Path, n_tasks: int | None) -> None:
    """The reports of a recipe's evaluations, and the figures, into the run's folder."""
    recipe = run.recipe
    learning_curve(
        read_log(folder / "log.jsonl"),
        folder / "learning_curve.png",
        title=f"{recipe.name}: learning curve",
    )
    for evaluation in recipe.evaluations:
        report = _scored(
            run, dataclasses.replace(evaluation, n_tasks=n_tasks or evaluation.n_tasks), seed=0
        )
        report.save(folder / "reports" / f"{evaluation.title}.json")
    _draw_page(run, recipe.build_data(), "test", folder / "episodes.png")
    results().print(
        f"Figures: {folder / 'learning_curve.png'}, {folder / 'episodes.png'}. Reports: "
        f"{folder / 'reports'}."
    )


def _opened_run(folder: Path) -> Run:
    """A trained run; that it was stopped is said, as its score is then not that of the recipe."""
    run = load_run(folder)
    if not run.result.finished:
        progress().print(
            f"Note: {folder} was stopped after {run.result.steps} of {run.recipe.train.steps} "
            "steps, so it is scored as far as it came. Go on with `quickstudy train "
            f"{run.recipe.name} --out {shlex.quote(str(folder))} --resume`.",
            soft_wrap=True,
        )
    return run


def evaluate_run(
    run_dir: RunFolder,
    n_way: NWayOption = None,
    n_shot: NShotOption = None,
    n_query: NQueryOption = None,
    n_tasks: EvaluateRunNTasksOption = None,
    data: DataOption = None,
    split: SplitOption = None,
    norm: NormOption = None,
    as_: AsOption = "",
    seed: SeedOption = 0,
    unknown: UnknownOption = 0,
    score: ScoreOption = "max_similarity",
    baselines: BaselinesOption = False,
    protocol: ProtocolOption = "tasks",
    archive: ArchiveOption = None,
    vary: VaryOption = None,
    workers: WorkersOption = 0,
    workers_kind: WorkersKindOption = "auto",
    json_file: JsonFileOption = None,
) -> None:
    """Score a trained run: in the settings of its recipe, or in the one given."""
    run = _opened_run(run_dir)
    sizes = {"--n-way": n_way, "--n-shot": n_shot, "--n-query": n_query}
    others = {"--norm": norm, "--as": as_, "--unknown": unknown, "--baselines": baselines}
    crew = _Crew(workers=workers, workers_kind=workers_kind)
    if protocol == "lake20":
        tasks = {"--n-tasks": n_tasks, "--data": data, "--split": split, "--vary": vary}
        _refuse_beside("--protocol lake20", sizes | others | tasks)
        lake = score_lake20(run, archive, seed=seed, **crew)
        _show_one(str(lake), lake.report, json_file)
        return
    if archive is not None:
        raise ConfigError("--archive goes with --protocol lake20.")
    if data is not None:
        run = dataclasses.replace(run, scored_on=_other_data(data, run.recipe))
    if vary is not None:
        _refuse_beside("--vary", sizes | others)
        report = run.evaluate_varying(
            max_way=vary,
            n_tasks=n_tasks or 600,
            split=split or "test",
            seed=seed,
            **crew,
        )
        _show_one(str(report), report, json_file)
        return
    settings = _settings(run.recipe, list(sizes.values()), n_tasks, split or "", norm or "", as_)
    for evaluation in settings:
        report = _scored(run, evaluation, crew, seed=seed, n_unknown=unknown, unknown_score=score)
        if baselines:
            _beside(run, evaluation, report, crew)
        if json_file is not None:
            name = f"{evaluation.title}-{unknown}u" if unknown else evaluation.title
            report.save(json_file if len(settings) == 1 else json_file / f"{name}.json")
    _draw_page(run, run.build_data(), settings[0].split, run_dir / "episodes-eval.png")
    results().print(f"Figure: {run_dir / 'episodes-eval.png'}")


def _show_one(text: str, report: Report, json_file: Path | None) -> None:
    results().print(text)
    if json_file is not None:
        report.save(json_file)


def _settings(
    recipe: Recipe, sizes: list[int | None], n_tasks: int | None, split: str, norm: str, as_: str
) -> tuple[Evaluation, ...]:
    """The evaluations of the recipe, or the one that is asked for, with its published number."""
    settings = tuple(
        dataclasses.replace(e, n_tasks=n_tasks or e.n_tasks) for e in recipe.evaluations
    )
    if not (norm or as_ or split or any(size is not None for size in sizes)):
        return settings
    base = settings[0]
    usual = (base.setting.n_way, base.setting.n_shot, base.setting.n_query)
    n_way, n_shot, n_query = (u if s is None else s for s, u in zip(sizes, usual, strict=True))
    asked = Evaluation(
        Setting(n_way, n_shot, n_query),
        base.n_tasks,
        split or base.split,
        norm,
        as_,
        metric=base.metric,
    )
    same = (e for e in settings if dataclasses.replace(e, published=None, source="") == asked)
    return (next(same, asked),)


def compare(
    a: Annotated[Path, typer.Argument(help="A run folder, or a report (JSON).")],
    b: Annotated[Path, typer.Argument(help="Another.")],
    n_tasks: Annotated[int, typer.Option(help="Tasks, for run folders.")] = 600,
    n_way: Annotated[int, typer.Option(help="Classes per task, for run folders.")] = 5,
    n_shot: Annotated[int, typer.Option(help="Support examples per class, for run folders.")] = 1,
    n_query: Annotated[int, typer.Option(help="Queries per class, for run folders.")] = 15,
) -> None:
    """Compare two runs on the same tasks: the paired difference and its 95 % interval."""
    setting = Setting(n_way, n_shot, n_query)
    if a.is_dir() != b.is_dir():
        raise ConfigError(f"{a} and {b} must both be run folders or both be reports.")
    if not a.is_dir():
        first, second = Report.load(a), Report.load(b)
    else:
        runs = load_run(a), load_run(b)
        recipe = runs[0].recipe
        tasks = recipe.tasks_of(recipe.build_data(), "test", setting)
        first, second = (evaluate(r.learner, tasks, n_tasks=n_tasks, origin=r.origin) for r in runs)
    results().print(f"a  {first}\nb  {second}\nb − a: {compare_reports(first, second)}")


def _refuse_beside(option: str, others: dict[str, Any]) -> None:
    """Refuse options that an option leaves no room for."""
    given = [name for name, value in others.items() if value]
    if given:
        raise ConfigError(
            f"{option} fixes the tasks, so {', '.join(given)} cannot be set beside it."
        )


def _other_data(name: str, recipe: Recipe) -> Part | None:
    """The data set of that name, unless the recipe was trained on it."""
    return None if name == recipe.data.name else Part(name)


class _Crew(TypedDict):
    """Who scores, as the arguments of `quickstudy.evaluate`."""

    workers: int
    workers_kind: str


_ONE_PER_CORE = _Crew(workers=0, workers_kind="auto")


def _scored(
    run: Run,
    evaluation: Evaluation,
    crew: _Crew = _ONE_PER_CORE,
    *,
    seed: int,
    n_unknown: int = 0,
    unknown_score: str = "max_similarity",
) -> Report:
    with progress().status(f"{run.recipe.name} {evaluation.title}") as status:
        report = run.evaluate(
            evaluation,
            seed=seed,
            n_unknown=n_unknown,
            unknown_score=unknown_score,
            on_batch=lambda n: status.update(
                f"{evaluation.title}: {n} of {evaluation.n_tasks} tasks"
            ),
            **crew,
        )
    beside = f"  published {report.published_value}" if report.published_value else ""
    results().print(f"{report}{beside}")
    return report


def _beside(run: Run, evaluation: Evaluation, report: Report, crew: _Crew) -> None:
    """The baselines on the tasks of a report, and how much better the run is."""
    data = run.build_data()
    setting = dataclasses.replace(
        evaluation.setting, n_way=evaluation.setting.n_way + report.n_unknown
    )
    tasks = data.tasks(evaluation.split, setting, seed=report.seed)
    rivals = {
        "untrained": run.recipe.build_learner(),
        "raw nearest neighbour": NearestNeighbour(Identity(math.prod(data.shape))),
    }
    for name, learner in rivals.items():
        other = evaluate(
            learner,
            tasks,
            n_tasks=evaluation.n_tasks,
            origin=Origin(algorithm=name),
            n_unknown=report.n_unknown,
            unknown_score=report.unknown_score or "max_similarity",
            # Those that several cannot share are scored by one.
            workers=1 if order_dependent(learner) else crew["workers"],
            workers_kind=crew["workers_kind"],
        )
        results().print(f"  {other}\n  the run is better by {compare_reports(other, report)}")


def _draw_page(run: Run, data: AbstractData, split: str, file: Path) -> None:
    """The page of episodes, at the recipe's own way but few enough images to take in."""
    learner: AbstractLearner = run.learner
    shots = run.recipe.evaluations[0].setting if run.recipe.evaluations else run.recipe.episodes
    way = shots.n_way if not learner.traits.any_way else min(shots.n_way, 5)
    try:
        tasks = data.tasks(
            split,
            Setting(way, shots.n_shot, min(2, shots.n_query) if way else shots.n_query),
            seed=1,
        )
        episode_page(learner, tasks, file, title=f"{run.recipe.name}: tasks of the {split} split")
    except (QuickstudyError, OSError) as error:
        results().print(f"The page of episodes could not be drawn: {error}")
