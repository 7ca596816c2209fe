"""Train a recipe into a folder, and get back what a folder holds."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from quickstudy.algorithms import ALGORITHMS
from quickstudy.core.describe import describe, rebuild
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner, encoder_of, norm_policy, parameter_count
from quickstudy.core.objective import MetaStep
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import holds
from quickstudy.data import ClassDataset, Episodes, can_be_encoded, encoded, on_features
from quickstudy.evaluation import Origin, Report, evaluate
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.recipes.registry import recipe_named
from quickstudy.training import (
    CHECKPOINT,
    Advanced,
    TrainResult,
    launch,
    launched,
    load_checkpoint,
    train,
)

FORMAT = 1
# Normalisation policies that learn the same weights from batch statistics; those that can be taken
# up afterwards come first.
_EXCHANGEABLE = ("batch", "support", "running", "per_task")


@dataclass(frozen=True)
class Run:
    """A trained recipe: its folder, the recipe, the learner and how the training went."""

    folder: Path
    recipe: Recipe
    learner: AbstractLearner[Any]
    result: TrainResult
    _features: dict[tuple[str, str, str], ClassDataset] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def origin(self) -> Origin:
        """Where the learner comes from, for reports."""
        return Origin(
            self.recipe.name,
            self.recipe.learner.name,
            self.recipe.train.seed,
            self.result.tasks,
            round(self.result.seconds, 1),
        )

    def evaluate(
        self,
        evaluation: Evaluation,
        *,
        seed: int = 0,
        n_unknown: int = 0,
        unknown_score: str = "max_similarity",
        on_batch: Callable[[int], None] | None = None,
    ) -> Report:
        """Score the learner in one setting, with strangers of ``n_unknown`` classes beside those of
        the setting (see `quickstudy.evaluate`).

        Where the learner sees examples through its encoder alone, each example of the split is
        encoded once, not once per task.
        """
        learner = load(self.folder, norm=evaluation.norm) if evaluation.norm else self.learner
        assert isinstance(learner, AbstractLearner)
        learner.to(next(self.learner.parameters()).device)
        origin = self.origin
        if evaluation.learner:
            learner, origin = (
                self.on_encoder_of(learner, evaluation.learner),
                replace(origin, algorithm=evaluation.learner),
            )
            learner.prepare(self.recipe.training_tasks)
        if n_unknown and not evaluation.setting.n_way:
            raise ConfigError(
                f"A regression has no classes, so it has no {n_unknown} unknown ones. Score it "
                "without unknown classes."
            )
        setting = replace(evaluation.setting, n_way=evaluation.setting.n_way + n_unknown)
        tasks = self.recipe.build_data().tasks(evaluation.split, setting, seed=seed)
        n = parameter_count(learner)
        if isinstance(tasks, Episodes) and can_be_encoded(learner):
            key = (self.recipe.data.name, evaluation.split, evaluation.norm)
            if key not in self._features:
                self._features[key] = encoded(tasks.dataset, encoder_of(learner))
            learner, tasks = on_features(learner), Episodes(self._features[key], setting, seed=seed)
        report = evaluate(
            learner,
            tasks,
            n_tasks=evaluation.n_tasks,
            origin=origin,
            published=evaluation.published,
            n_unknown=n_unknown,
            unknown_score=unknown_score,
            on_batch=on_batch,
        )
        return replace(report, parameters=n)

    @staticmethod
    def on_encoder_of(trained: AbstractLearner[Any], name: str) -> AbstractLearner[Any]:
        """The learner called ``name`` around the encoder of a trained one.

        Raises:
            ConfigError: when the trained learner has no single encoder, or the other one needs more
                than an encoder.
        """
        encoders = [m for m in trained.children() if isinstance(m, AbstractEncoder)]
        if len(encoders) != 1:
            raise ConfigError(
                f"{type(trained).__name__} has no encoder of its own that '{name}' could use. "
                "Score the learner as it was trained."
            )
        learner: AbstractLearner[Any] = Part(name).build(ALGORITHMS, encoders[0])
        return learner.eval()


def train_recipe(
    recipe: str | Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = "auto",
    console: Console | None = None,
    advanced: Advanced | None = None,
) -> Run:
    """Train a recipe into the folder ``out``: ``recipe.json``, ``log.jsonl``, ``last.pt``,
    ``learner.json`` and ``learner.safetensors``.

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
    folder = Path(out)
    if not resume and (folder / "recipe.json").exists():
        raise ConfigError(
            f"{folder} already holds a run. Go on with --resume, or choose another --out; nothing "
            "was changed."
        )
    where = pick_device(device)
    data = recipe.build_data()
    learner = recipe.build_learner().to(where)
    seed = recipe.train.seed
    tasks = data.tasks(recipe.train_split, recipe.episodes, seed=seed).to(where)
    val_tasks = (
        data.tasks(recipe.val_split, recipe.validation, seed=seed).to(where)
        if recipe.train.validate_every
        else None
    )
    for e in recipe.evaluations:
        data.tasks(
            e.split, e.setting
        )  # what cannot be scored afterwards is refused before the training
    objective, transform = recipe.build_objective(), recipe.build_transform()
    about = recipe.to_json()
    identity = {k: v for k, v in about.items() if k not in ("evaluations", "summary", "paper")}
    # How the work is shared and how often it is saved does not change the result, so a run may be
    # resumed with other values.
    identity["train"] = {
        k: v
        for k, v in identity["train"].items()
        if k not in ("workers", "checkpoint_every", "log_every")
    }
    if recipe.start_from:
        trained = load(recipe.start_from)
        if isinstance(trained, Predictor):
            raise LoadError(
                f"{recipe.start_from} holds a predictor, not a learner that could be trained on. "
                "Name the run it was fitted with."
            )
        trained.to(where)
        objective.start_from(trained, _objective_state(Path(recipe.start_from)))
        if not resume:
            learner.start_from(trained, tasks)
    engine = advanced.engine or launched(where, timeout=advanced.timeout)
    engine.agree(json.dumps(about))  # all have looked for an earlier run before one of them writes
    if engine.is_main and not resume:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(
            json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    try:
        result = train(
            MetaStep(learner, objective).to(where),
            tasks,
            plan=recipe.train,
            optimiser=recipe.optimiser,
            val_tasks=val_tasks,
            transform=transform,
            out=folder,
            resume=resume,
            console=console,
            advanced=Advanced(engine, identity=identity),
        )
    except ConfigError:
        if engine.is_main and not resume:
            (
                folder / "recipe.json"
            ).unlink()  # nothing was trained, so the corrected command should not find a run here
        raise
    learner.eval()
    learner.prepare(lambda: tasks)
    if engine.is_main:
        formats = {
            kind: dict(found) if found else None
            for kind, found in (("image", data.image_format), ("sound", data.sound_format))
        }
        save_learner(learner, folder, extra={**formats, "result": vars(result)})
    engine.agree("saved")
    return Run(folder, recipe, learner, result)


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


def save_learner(
    learner: AbstractLearner[Any], path: str | Path, *, extra: dict[str, Any] | None = None
) -> Path:
    """Write ``learner.json`` and ``learner.safetensors`` into a folder; `load` reads them back
    without running code from them.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "format": FORMAT,
        "kind": "learner",
        "learner": describe(learner),
        "extra": extra or {},
    }
    save_file(
        {n: t.detach().cpu().contiguous().clone() for n, t in learner.state_dict().items()},
        folder / "learner.safetensors.part",
    )
    os.replace(folder / "learner.safetensors.part", folder / "learner.safetensors")
    (folder / "learner.json").write_text(
        json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return folder


def load(path: str | Path, *, norm: str = "") -> AbstractLearner[Any] | Predictor:
    """The trained learner, or the predictor, in a folder. Never runs code from it.

    Args:
        path: a run folder, a folder of `save_learner`, or one of `Predictor.save`.
        norm: for a learner: give its encoders another normalisation policy (``support`` makes batch
            statistics inductive).

    Raises:
        LoadError: when the folder holds neither, or its files are damaged.
    """
    folder = Path(path)
    if holds(folder, "predictor"):
        if norm:
            raise LoadError(
                f"{folder} holds a predictor, whose normalisation cannot be changed any more. Load "
                "the learner it was fitted with."
            )
        return Predictor.load(folder)
    about = learner_json(folder)
    try:
        tensors = load_file(folder / "learner.safetensors")
    except (OSError, SafetensorError) as error:
        raise LoadError(f"{folder}/learner.safetensors cannot be read: {error}.") from error
    learner = rebuild(about["learner"])
    trained = norm_policy(learner)
    if norm and norm != trained:
        if norm not in _EXCHANGEABLE[:2] or trained not in _EXCHANGEABLE:
            raise LoadError(
                f"{folder} was trained with norm='{trained}' and cannot work with norm='{norm}'. "
                "Only batch, support, running and per_task learn the same "
                "weights, and running averages cannot be made up afterwards: ask for batch or "
                "support, or train with the policy you want."
            )
        learner = rebuild(_with_norm(about["learner"], norm))
    try:
        learner.load_state_dict(tensors, strict=norm_policy(learner) == trained)
    except RuntimeError as error:
        raise LoadError(
            f"{folder}: learner.json and learner.safetensors do not belong together: {error}"
        ) from error
    return learner.eval()


def learner_json(folder: Path) -> dict[str, Any]:
    """What ``learner.json`` says.

    Raises:
        LoadError: when it is missing, damaged or from a newer format.
    """
    try:
        about = json.loads((folder / "learner.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LoadError(
            f"{folder} holds no trained learner and no predictor. Make one with `quickstudy train` "
            "or `quickstudy fit`."
        ) from error
    except (OSError, ValueError) as error:
        raise LoadError(f"{folder}/learner.json cannot be read: {error}.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT or "learner" not in about:
        raise LoadError(
            f"{folder}/learner.json is not of format {FORMAT}, the one this version reads. Install "
            "the version that wrote it."
        )
    return about


def saved_recipe(folder: str | Path) -> Recipe:
    """The recipe that a run folder was started with.

    Raises:
        LoadError: when there is none.
    """
    try:
        return Recipe.from_json(
            json.loads((Path(folder) / "recipe.json").read_text(encoding="utf-8"))
        )
    except (OSError, ValueError) as error:
        raise LoadError(f"{folder} holds no run: recipe.json cannot be read ({error}).") from error


def load_run(path: str | Path) -> Run:
    """The run in a folder that `train_recipe` filled.

    Raises:
        LoadError: when it is no such folder.
    """
    folder = Path(path)
    learner = load(folder)
    if not isinstance(learner, AbstractLearner):
        raise LoadError(
            f"{folder} holds a fitted model, not a run. Give the folder that `quickstudy train` "
            "wrote."
        )
    recipe = saved_recipe(folder)
    try:
        result = TrainResult(**learner_json(folder)["extra"]["result"])
    except (KeyError, TypeError) as error:
        raise LoadError(
            f"{folder} holds a learner but not the run that trained it: {error}."
        ) from error
    return Run(folder, recipe, learner, result)


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU. Processes that were launched together take
    a GPU each.

    Raises:
        ConfigError: for a device that is not there, or a single one for several processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"No device is called '{name}'. Use auto, cpu, cuda or cuda:0."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"'{name}' was asked for but this torch finds no CUDA device. Use --device cpu."
        )
    place = launch()
    if device.type != "cuda" or place.size == 1:
        return device
    if device.index is not None or place.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: the {place.local_size} processes on this machine need a GPU each, "
            f"and it has {torch.cuda.device_count()}. Use --device cuda "
            "and at most as many processes, or --device cpu."
        )
    return torch.device("cuda", place.local_rank)


def _with_norm(description: Any, norm: str) -> Any:
    """The description with every ``norm`` argument replaced."""
    if isinstance(description, list):
        return [_with_norm(d, norm) for d in description]
    if not isinstance(description, dict):
        return description
    return {
        k: norm if k == "norm" and isinstance(v, str) else _with_norm(v, norm)
        for k, v in description.items()
    }
