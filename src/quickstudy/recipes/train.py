"""Train a recipe into a folder."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from quickstudy.core.disk import as_path
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective, MetaStep
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import MANIFEST, holds
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.evaluation import EarlierRun
from quickstudy.recipes.changes import identity_of
from quickstudy.recipes.recipe import Recipe
from quickstudy.recipes.registry import recipe_named
from quickstudy.recipes.runs import (
    Run,
    begin_run,
    earlier_runs,
    is_trained,
    load,
    save_learner,
)
from quickstudy.training import (
    CHECKPOINT,
    Advanced,
    TrainResult,
    launched,
    load_checkpoint,
    only_writer,
    pick_device,
    train,
)


def train_recipe(
    recipe: str | Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = "auto",
    console: Console | None = None,
    advanced: Advanced | None = None,
) -> Run:
    """Train a recipe into the folder ``out``: the run, which `load_run` opens, with its log
    (``log.jsonl``) and its last checkpoint (``last.pt``).

    Started by ``torchrun`` or ``accelerate launch``, all processes train together (see
    `quickstudy.training.train`); process 0 writes the files, and when the call returns they are
    there.

    Args:
        recipe: what to train: the name of a registered recipe, or a recipe.
        out: the folder; several machines need one that all of them see.
        resume: go on from the last checkpoint in it.
        device: as in `pick_device`.
        console: where progress is shown; None shows nothing.
        advanced: settings that few need.

    Returns:
        the run; where ``run.result.finished`` is False it was stopped by Ctrl-C: call again with
        ``resume=True``.

    Raises:
        ConfigError: when ``out`` already holds a run and ``resume`` is not asked for; or the
            processes cannot share the work.
        LoadError: nothing to resume, or a run of other settings; nothing to start from.
        TrainingError: the loss is not a number, or another process was lost.
    """
    recipe = recipe_named(recipe) if isinstance(recipe, str) else recipe
    advanced = advanced or Advanced()
    folder = as_path(out, "out")
    begun = holds(folder, "run")
    if resume and not begun:
        raise LoadError(f"There is no run in {folder} to resume. Start without --resume.")
    if begun and not resume and ((folder / CHECKPOINT).exists() or is_trained(folder)):
        raise ConfigError(
            f"{folder} already holds a run. Go on with --resume, or choose another --out; nothing "
            "was changed."
        )
    # A run that was killed before its first checkpoint begins again, with --resume and without.
    resume = resume and (folder / CHECKPOINT).exists()
    where = pick_device(device)
    parts = parts_of(recipe, where, fresh=not resume)
    engine = advanced.engine or launched(where, timeout=advanced.timeout)
    # All have looked for an earlier run before one of them writes.
    engine.agree(json.dumps(recipe.to_json()))
    with only_writer(folder, engine):
        if engine.is_main and not resume:
            begin_run(recipe, folder)
        try:
            result = train(
                MetaStep(parts.learner, parts.objective).to(where),
                parts.tasks,
                plan=recipe.train,
                optimiser=recipe.optimiser,
                val_tasks=parts.val_tasks,
                transform=recipe.build_transform(),
                out=folder,
                resume=resume,
                console=console,
                advanced=replace(advanced, engine=engine, identity=identity_of(recipe)),
            )
        except ConfigError:
            if engine.is_main and not resume and not (folder / CHECKPOINT).exists():
                # Nothing was trained, so the corrected command should not find a run here.
                (folder / MANIFEST).unlink()
            raise
        parts.learner.eval()
        parts.learner.prepare(lambda: parts.tasks)
        if engine.is_main:
            save_result(recipe, parts, folder, result)
    engine.agree("saved")
    return Run(folder, recipe, parts.learner, result, parts.earlier)


@dataclass(frozen=True)
class Parts:
    """What a recipe trains, and on what."""

    data: AbstractData
    learner: AbstractLearner[Any]
    objective: AbstractObjective
    tasks: AbstractTasks
    val_tasks: AbstractTasks | None
    earlier: tuple[EarlierRun, ...]


def parts_of(
    recipe: Recipe,
    device: torch.device,
    *,
    fresh: bool = True,
    data: AbstractData | None = None,
    is_scored: bool = True,
) -> Parts:
    """The parts of a recipe. What cannot be scored after the training is refused here.

    Args:
        recipe: what is trained.
        device: where.
        fresh: where it begins with another run, whether with the weights of that.
        data: its data set, if it is open already.
        is_scored: whether its evaluations follow the training.
    """
    data = data or recipe.build_data()
    seed = recipe.train.seed
    learner = recipe.build_learner().to(device)
    objective = recipe.build_objective()
    tasks = recipe.tasks_of(data, recipe.train_split, recipe.episodes, seed=seed).to(device)
    val_tasks = None
    if recipe.train.validate_every:
        stream = recipe.tasks_of(data, recipe.val_split, recipe.validation, seed=seed)
        val_tasks = stream.to(device)
    for evaluation in recipe.evaluations if is_scored else ():
        recipe.tasks_of(data, evaluation.split, evaluation.setting)
    if recipe.start_from:
        trained = load(recipe.start_from)
        if isinstance(trained, Predictor):
            raise LoadError(
                f"{recipe.start_from} holds a predictor, not a learner that could be trained on. "
                "Name the run it was fitted with."
            )
        trained.to(device)
        objective.start_from(trained, _objective_state(Path(recipe.start_from)))
        if fresh:
            learner.start_from(trained, tasks)
    return Parts(data, learner, objective, tasks, val_tasks, earlier_runs(recipe))


def save_result(recipe: Recipe, parts: Parts, folder: Path, result: TrainResult) -> None:
    """Write a trained learner into the folder of its run: also how files become examples, and how
    the training went.
    """
    formats = {"image": parts.data.image_format, "sound": parts.data.sound_format}
    extra = {
        **{kind: dict(fmt) if fmt else None for kind, fmt in formats.items()},
        "result": vars(result),
        "earlier": [vars(run) for run in parts.earlier],
    }
    save_learner(parts.learner, folder, extra=extra, recipe=recipe)


def _objective_state(folder: Path) -> dict[str, Tensor]:
    """The parameters of the objective that a run was trained with; empty where no checkpoint was
    kept.
    """
    if not (folder / CHECKPOINT).exists():
        return {}
    state = load_checkpoint(folder / CHECKPOINT)["step_state"]
    return {
        name.removeprefix("objective."): t
        for name, t in state.items()
        if name.startswith("objective.")
    }
