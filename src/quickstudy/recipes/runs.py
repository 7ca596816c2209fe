"""What a folder of a trained recipe holds."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save

from quickstudy.algorithms import ALGORITHMS
from quickstudy.core.describe import Modules, check_given_modules, describe, rebuild
from quickstudy.core.disk import as_path
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import (
    AbstractLearner,
    encoder_of,
    norm_policy,
    parameter_count,
    single_encoder,
)
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import Saved, holds, load_folder, save_folder
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data import (
    DATA,
    ClassDataset,
    Episodes,
    VariableEpisodes,
    can_be_encoded,
    encoded,
    on_features,
)
from quickstudy.evaluation import EarlierRun, Origin, Report, evaluate
from quickstudy.inner.learner import GradientLearner
from quickstudy.recipes.changes import changes_of
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import TrainResult

_TENSORS = "learner.safetensors"
_KINDS = ("run", "learner")
# Normalisation policies that learn the same weights from batch statistics; those that can be taken
# up afterwards come first.
_EXCHANGEABLE = ("batch", "support", "running", "per_task")


@dataclass(frozen=True)
class Run:
    """A trained recipe: its folder, the recipe, the learner, how the training went, and the
    trainings that it began with.

    Args:
        scored_on: the data set that it is scored on; None = the one that it was trained on.
    """

    folder: Path
    recipe: Recipe
    learner: AbstractLearner[Any]
    result: TrainResult
    earlier: tuple[EarlierRun, ...] = ()
    scored_on: Part | None = None
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
            changes_of(self.recipe),
            self.earlier,
        )

    def build_data(self) -> AbstractData:
        """The data set that the learner is scored on."""
        return self.recipe.build_data() if self.scored_on is None else self.scored_on.build(DATA)

    def evaluate(
        self,
        evaluation: Evaluation,
        *,
        seed: int = 0,
        n_unknown: int = 0,
        unknown_score: str = "max_similarity",
        on_batch: Callable[[int], None] | None = None,
        workers: int = 0,
        workers_kind: str = "auto",
    ) -> Report:
        """Score the learner in one setting, with ``n_unknown`` unknown classes beside those of the
        setting (see `quickstudy.evaluate`, also for the workers).

        Where the learner sees examples through its encoder alone, each example of the split is
        encoded once, not once per task. A published number is kept only where the recipe is the
        registered one and no class is unknown.

        Raises:
            ConfigError: of a learner that tells classes apart for data of numbers to predict, and
                the reverse; for unknown classes in a regression.
        """
        learner, origin = self._learner(evaluation)
        if n_unknown and not evaluation.setting.n_way:
            raise ConfigError(
                f"A regression has no classes, so it has no {n_unknown} unknown ones. Score it "
                "without unknown classes."
            )
        setting = replace(evaluation.setting, n_way=evaluation.setting.n_way + n_unknown)
        tasks = self._tasks(evaluation.split, setting, seed=seed)
        n = parameter_count(learner)
        if isinstance(tasks, Episodes) and can_be_encoded(learner):
            key = (tasks.data, evaluation.split, evaluation.norm)
            if key not in self._features:
                self._features[key] = encoded(tasks.dataset, encoder_of(learner))
            learner, tasks = on_features(learner), Episodes(self._features[key], setting, seed=seed)
        report = evaluate(
            learner,
            tasks,
            n_tasks=evaluation.n_tasks,
            origin=origin,
            published=None
            if n_unknown or origin.changes or self.scored_on is not None
            else evaluation.published,
            n_unknown=n_unknown,
            unknown_score=unknown_score,
            metric=evaluation.metric,
            on_batch=on_batch,
            workers=workers,
            workers_kind=workers_kind,
        )
        return replace(report, parameters=n)

    def evaluate_varying(
        self,
        *,
        max_way: int,
        n_tasks: int = 600,
        split: str = "test",
        seed: int = 0,
        workers: int = 0,
        workers_kind: str = "auto",
    ) -> Report:
        """Score the learner on tasks whose way (5 to ``max_way``) and shots vary from task to task,
        see `quickstudy.data.VariableEpisodes`.

        Raises:
            ConfigError: for a learner that serves one way only, or data without classes.
        """
        if not self.learner.traits.any_way:
            raise ConfigError(
                f"{self.recipe.name} serves tasks of the way that it was trained for, so its way "
                "cannot vary. Score a learner that serves any way, such as protonet."
            )
        tasks = self._tasks(split, Setting(2, 1, 1), seed=seed)
        if not isinstance(tasks, Episodes):
            raise ConfigError(
                f"Tasks of varying size are drawn from classes, which {tasks.data} does not have."
            )
        learner: AbstractLearner[Any] = self.learner
        dataset = tasks.dataset
        if can_be_encoded(learner):
            learner, dataset = on_features(learner), encoded(dataset, encoder_of(learner))
        varying = VariableEpisodes(dataset, max_way=max_way, seed=seed)
        report = evaluate(
            learner,
            varying,
            n_tasks=n_tasks,
            origin=self.origin,
            workers=workers,
            workers_kind=workers_kind,
        )
        return replace(report, parameters=parameter_count(self.learner))

    def _tasks(self, split: str, setting: Setting, *, seed: int) -> AbstractTasks:
        """The tasks that the learner is scored on."""
        return self.recipe.tasks_of(self.build_data(), split, setting, seed=seed)

    def _learner(self, evaluation: Evaluation) -> tuple[AbstractLearner[Any], Origin]:
        """What is scored: the trained learner, with another normalisation or as another one."""
        learner = load(self.folder, norm=evaluation.norm) if evaluation.norm else self.learner
        assert isinstance(learner, AbstractLearner)
        learner.to(next(self.learner.parameters()).device)
        if not evaluation.learner:
            return learner, self.origin
        other = self.on_encoder_of(learner, evaluation.learner)
        other.prepare(self.recipe.training_tasks)
        return other, replace(self.origin, algorithm=evaluation.learner)

    @staticmethod
    def on_encoder_of(trained: AbstractLearner[Any], name: str) -> AbstractLearner[Any]:
        """The learner called ``name`` around the encoder of a trained one.

        An encoder whose normalisation was learned step by step (`PerStep`) gets that of step 0,
        which belongs to the weights before the inner loop.

        Raises:
            ConfigError: when the trained learner has no single encoder, or the other one needs more
                than an encoder.
        """
        encoder = single_encoder(trained)
        if encoder is None:
            raise ConfigError(
                f"{type(trained).__name__} has no encoder of its own that '{name}' could use. "
                "Score the learner as it was trained."
            )
        per_step = trained.per_step if isinstance(trained, GradientLearner) else None
        if per_step is not None:
            encoder = copy.deepcopy(encoder)
            learned = {n.removeprefix("encoder."): t for n, t in per_step.at(0).items()}
            encoder.load_state_dict(learned, strict=False)
        learner: AbstractLearner[Any] = Part(name).build(ALGORITHMS, encoder)
        return learner.eval()


def earlier_runs(recipe: Recipe) -> tuple[EarlierRun, ...]:
    """The trainings that a recipe begins with, the first one first; of a learner that no run
    trained, or whose run is gone, only the name of its folder is known.
    """
    if not recipe.start_from:
        return ()
    folder = Path(recipe.start_from)
    if not holds(folder, "run"):
        return (EarlierRun(folder.name),)
    run = load_run(folder)
    changed = changes_of(run.recipe)
    last = EarlierRun(
        f"{run.recipe.name} with {', '.join(changed)}" if changed else run.recipe.name,
        run.result.tasks,
        round(run.result.seconds, 1),
        run.recipe.train.seed,
    )
    return (*run.earlier, last)


def save_learner(
    learner: AbstractLearner[Any],
    path: str | Path,
    *,
    extra: dict[str, Any] | None = None,
    recipe: Recipe | None = None,
) -> Path:
    """Save a learner in a folder, whole or not at all; `load` reads it back without running code
    from it.

    Args:
        learner: what is saved.
        path: the folder, made if needed.
        extra: JSON values to keep with it.
        recipe: what trained it: the folder then is a run.
    """
    state = learner.state_dict()
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in state.items()}
    about: dict[str, Any] = {"learner": describe(learner), "extra": extra or {}}
    if recipe is not None:
        about["recipe"] = recipe.to_json()
    kind = "learner" if recipe is None else "run"
    return save_folder(path, kind=kind, about=about, files={_TENSORS: save(tensors)})


def begin_run(recipe: Recipe, path: str | Path) -> Path:
    """Save what a run is of, before it is trained."""
    return save_folder(path, kind="run", about={"recipe": recipe.to_json()})


def load(
    path: str | Path, *, norm: str = "", modules: Modules | None = None
) -> AbstractLearner[Any] | Predictor:
    """The trained learner, or the predictor, in a folder. Never runs code from it.

    Args:
        path: a run folder, a folder of `save_learner`, or one of `Predictor.save`.
        norm: for a learner: give its encoders another normalisation policy (``support`` makes batch
            statistics inductive).
        modules: the networks that its encoder wraps, by name (`quickstudy.encoders.Wrapped`).

    Raises:
        LoadError: when the folder holds neither, or its files are damaged.
    """
    folder = as_path(path, "path")
    if holds(folder, "predictor"):
        if norm:
            raise LoadError(
                f"{folder} holds a predictor, whose normalisation cannot be changed any more. Load "
                "the learner it was fitted with."
            )
        return Predictor.load(folder, modules=modules)
    saved = load_folder(folder, kind=_KINDS)
    description = _about(folder, saved)["learner"]
    learner = rebuild(description, modules=modules)
    if not isinstance(learner, AbstractLearner):
        raise LoadError(f"{folder} describes a {type(learner).__name__} in the place of a learner.")
    trained = norm_policy(learner)
    if norm and norm != trained:
        if norm not in _EXCHANGEABLE[:2] or trained not in _EXCHANGEABLE:
            raise LoadError(
                f"{folder} was trained with norm='{trained}' and cannot work with norm='{norm}'. "
                "Only batch, support, running and per_task learn the same "
                "weights, and running averages cannot be made up afterwards: ask for batch or "
                "support, or train with the policy you want."
            )
        learner = rebuild(_with_norm(description, norm), modules=modules)
    try:
        tensors = read_tensors(saved.files[_TENSORS])
        check_given_modules(learner, tensors)
        learner.load_state_dict(tensors, strict=norm_policy(learner) == trained)
    except (RuntimeError, LookupError, SafetensorError) as error:
        raise LoadError(
            f"{folder}: the description and the weights do not belong together: {error}"
        ) from error
    return learner.eval()


def learner_extra(path: str | Path) -> dict[str, Any]:
    """The JSON values that were saved with a learner.

    Raises:
        LoadError: when the folder holds no trained learner, or a damaged one.
    """
    folder = as_path(path, "path")
    extra = _about(folder, load_folder(folder, kind=_KINDS, files=()))["extra"]
    if not isinstance(extra, dict):
        raise LoadError(f"{folder}: what was saved with the learner is no JSON object.")
    return extra


def is_trained(path: str | Path) -> bool:
    """Whether a folder holds a learner; not so a run that was begun only.

    Raises:
        LoadError: when it is damaged.
    """
    folder = as_path(path, "path")
    if not any(holds(folder, kind) for kind in _KINDS):
        return False
    about = load_folder(folder, files=()).about
    return isinstance(about, dict) and "learner" in about


def saved_recipe(folder: str | Path) -> Recipe:
    """The recipe that a run folder was started with.

    Raises:
        LoadError: when there is none.
    """
    about = load_folder(folder, kind="run", files=()).about
    try:
        return Recipe.from_json(about["recipe"])
    except (TypeError, LookupError) as error:
        raise LoadError(f"{folder} holds a run without its recipe ({error}).") from error


def _about(folder: Path, saved: Saved) -> dict[str, Any]:
    if not isinstance(saved.about, dict) or not {"learner", "extra"} <= saved.about.keys():
        raise LoadError(
            f"{folder} holds a run that was begun but not trained to its first end. Go on with "
            "`quickstudy train … --resume`."
        )
    return saved.about


def load_run(path: str | Path) -> Run:
    """The run in a folder that `train_recipe` filled.

    Raises:
        LoadError: when it is no such folder.
    """
    folder = as_path(path, "path")
    learner = load(folder)
    if not isinstance(learner, AbstractLearner):
        raise LoadError(
            f"{folder} holds a fitted model, not a run. Give the folder that `quickstudy train` "
            "wrote."
        )
    recipe = saved_recipe(folder)
    try:
        extra = learner_extra(folder)
        result = TrainResult(**extra["result"])
        # Runs of earlier versions do not say what they began with.
        saved = extra.get("earlier")
        earlier = (
            earlier_runs(recipe) if saved is None else tuple(EarlierRun(**run) for run in saved)
        )
    except (KeyError, TypeError) as error:
        raise LoadError(
            f"{folder} holds a learner but not the run that trained it: {error}."
        ) from error
    return Run(folder, recipe, learner, result, earlier)


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
