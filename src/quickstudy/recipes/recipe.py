"""A recipe: everything that a result depends on, in one frozen value."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from quickstudy import core
from quickstudy.algorithms import ALGORITHMS
from quickstudy.augment import TRANSFORMS
from quickstudy.core.errors import ConfigError, LoadError, TaskKindError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.data import DATA
from quickstudy.encoders import ENCODERS
from quickstudy.objectives import OBJECTIVES
from quickstudy.training import Optimiser, Plan


@dataclass(frozen=True)
class Part:
    """One registered part by name, with the options that differ from its defaults."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, registry: Mapping[str, Callable[..., Any]], *ready: Any) -> Any:
        """The part, made with ``ready`` arguments before its options.

        Raises:
            ConfigError: for an unknown name or option, with the nearest spelling, or an option of
                the wrong kind.
        """
        maker = self.maker(registry)
        for option in self.options:
            _known_option(maker, option, self.name)
        try:
            return maker(*ready, **self.options)
        except TypeError as error:
            raise ConfigError(
                f"'{self.name}' cannot be made with {dict(self.options)}: {error}."
            ) from error

    def maker(self, registry: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
        """What makes the part."""
        if self.name not in registry:
            listed_by = "`quickstudy list algorithms`" if registry is ALGORITHMS else ""
            near = did_you_mean(self.name, registry, listed_by=listed_by)
            raise ConfigError(f"Nothing is called '{self.name}' here. {near}")
        return registry[self.name]


@dataclass(frozen=True)
class Evaluation:
    """One setting in which a recipe's result is scored.

    Args:
        setting: way, shots and queries.
        n_tasks: how many.
        split: of the data.
        norm: score with another normalisation policy than the one trained with: ``support`` makes a
            MAML trained on batch statistics inductive. Empty = as trained.
        learner: score another learner, by name, on the trained encoder (``nil``, ``protonet``,
            ``linear_probe``). Empty = the trained one.
        published: the paper's number, between 0 and 1.
        source: where that number is from.
        metric: as of `quickstudy.evaluate`; empty = accuracy or mean squared error.
    """

    setting: Setting
    n_tasks: int = 1000
    split: str = "test"
    norm: str = ""
    learner: str = ""
    published: float | None = None
    source: str = ""
    metric: str = ""

    @property
    def title(self) -> str:
        """A short name, also used in file names: ``5w1s15q``, ``5w1s15q-support``,
        ``5w1s14q-5unlabelled-5distractors``.
        """
        s = self.setting
        beside = [
            f"{n}{what}"
            for n, what in ((s.n_unlabelled, "unlabelled"), (s.n_distractors, "distractors"))
            if n
        ]
        return f"{s.n_way}w{s.n_shot}s{s.n_query}q" + "".join(
            f"-{part}" for part in (*beside, self.norm, self.learner, self.metric) if part
        )


_REGISTRIES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "data": DATA,
    "encoder": ENCODERS,
    "learner": ALGORITHMS,
    "objective": OBJECTIVES,
    "transform": TRANSFORMS,
}


@dataclass(frozen=True)
class Recipe:
    """How to train and score one learner, completely.

    Args:
        name, summary: for people.
        data, encoder, learner, objective: the parts.
        episodes: the size of a training task.
        validation: the size of a validation task.
        train, optimiser: how to train.
        train_split, val_split: of the data.
        transform: changes of the training tasks; None = none.
        evaluations: how the result is scored.
        paper: what it reproduces.
        start_from: the folder of a trained run whose weights this one begins with
            (`AbstractLearner.start_from`); empty = fresh weights.
    """

    name: str
    summary: str
    data: Part
    encoder: Part
    learner: Part
    episodes: Setting
    validation: Setting
    train: Plan
    optimiser: Optimiser
    evaluations: tuple[Evaluation, ...]
    objective: Part = Part("query_loss")
    transform: Part | None = None
    train_split: str = "train"
    val_split: str = "val"
    paper: str = ""
    start_from: str = ""

    def build_data(self) -> core.AbstractData:
        """The data set, read when first drawn from."""
        return self.data.build(DATA)

    def training_tasks(self) -> core.AbstractTasks:
        """The stream of training tasks."""
        return self.tasks_of(
            self.build_data(), self.train_split, self.episodes, seed=self.train.seed
        )

    def tasks_of(
        self, data: core.AbstractData, split: str, setting: Setting, *, seed: int = 0
    ) -> core.AbstractTasks:
        """Tasks for the recipe's learner, of its own data or of others.

        Raises:
            ConfigError: for data for regression where the recipe tells classes apart, and the
                reverse; likewise for a setting.
        """
        try:
            return data.tasks(split, setting, seed=seed)
        except TaskKindError as error:
            raise ConfigError(_said_of_kinds(self, data.name, setting)) from error

    def build_learner(self) -> core.AbstractLearner[Any]:
        """The learner with fresh weights, which depend on ``train.seed`` alone. One with fixed
        outputs (``n_out``) has one for each class of a training task, unless its options say
        otherwise.
        """
        from quickstudy.core.rng import seed_everything

        learner = self.learner
        asked = inspect.signature(learner.maker(ALGORITHMS)).parameters.get("n_out")
        if asked and asked.default is asked.empty and self.episodes.n_way:
            learner = Part(learner.name, {"n_out": self.episodes.n_way, **learner.options})
        seed_everything("weights", self.train.seed)
        return learner.build(ALGORITHMS, self.encoder.build(ENCODERS))

    def build_objective(self) -> core.AbstractObjective:
        """What training minimises."""
        return self.objective.build(OBJECTIVES)

    def build_transform(self) -> core.AbstractTransform | None:
        """What changes the training tasks."""
        return self.transform.build(TRANSFORMS) if self.transform else None

    def with_changes(self, changes: Mapping[str, str]) -> Recipe:
        """The recipe with fields set as on the command line, ``{"learner.inner_steps": "10",
        "train.seed": "1"}``.

        Raises:
            ConfigError: for an unknown field, with the nearest spelling, or a value of the wrong
                kind.
        """
        recipe = self
        for path, text in changes.items():
            recipe = _change(recipe, path, text)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Recipe:
        """Read back what `to_json` gave.

        Raises:
            LoadError: for what is no recipe.
        """
        try:
            a = dict(about)
            for name in ("data", "encoder", "learner", "objective"):
                a[name] = Part(**a[name])
            a["transform"] = Part(**a["transform"]) if a["transform"] else None
            a["episodes"], a["validation"] = Setting(**a["episodes"]), Setting(**a["validation"])
            a["train"], a["optimiser"] = Plan(**a["train"]), Optimiser(**a["optimiser"])
            a["evaluations"] = tuple(
                Evaluation(**{**e, "setting": Setting(**e["setting"])}) for e in a["evaluations"]
            )
            return cls(**a)
        except (TypeError, KeyError) as error:
            raise LoadError(f"This is not a recipe that this version can read: {error}.") from error


def _said_of_kinds(recipe: Recipe, data: str, setting: Setting) -> str:
    """What does not fit what, where a task with classes was asked for of data for regression, or
    the reverse.
    """
    name, has_classes = recipe.name, recipe.episodes.n_way > 0
    if has_classes and not setting.n_way:
        return f"{name} tells classes apart, so n_way must be at least 1, got 0. Leave it out."
    if setting.n_way and not has_classes:
        return (
            f"{name} predicts numbers (regression), so its tasks have no classes, but "
            f"n_way={setting.n_way} was asked for. Leave n_way out (on the command line --n-way)."
        )
    if has_classes:
        return (
            f"{name} tells classes apart, but {data} is for regression: it has numbers to predict "
            f"and no classes. Give {name} data with classes (glyphs, omniglot), and use {data} "
            "with a recipe of regression, such as sinusoid-maml."
        )
    return (
        f"{name} predicts numbers (regression), but {data} has classes to tell apart. Give {name} "
        f"data for regression (sinusoid, gaussian_processes), and use {data} with a recipe that "
        "tells classes apart, such as glyphs-protonet."
    )


def _change(recipe: Recipe, path: str, text: str) -> Recipe:
    value = _parse(text)
    head, _, rest = path.partition(".")
    names = [f.name for f in dataclasses.fields(recipe)]
    if head not in names:
        raise ConfigError(
            f"A recipe has no field '{head}' (in --set {path}=…). {did_you_mean(head, names)}"
        )
    now = getattr(recipe, head)
    if head == "transform" and not rest:
        return replace(recipe, transform=Part(str(value)) if value else None)
    if isinstance(now, Part):
        if not rest:
            return replace(recipe, **{head: Part(str(value))})
        if rest == "name":
            return replace(recipe, **{head: Part(str(value), now.options)})
        option = _known_option(now.maker(_REGISTRIES[head]), rest, now.name)
        value = text if option.annotation is str else value
        _check_kind(path, value, option.default)
        return replace(recipe, **{head: Part(now.name, {**now.options, rest: value})})
    if dataclasses.is_dataclass(now) and not isinstance(now, type):
        inner = {f.name: getattr(now, f.name) for f in dataclasses.fields(now)}
        if rest not in inner:
            raise ConfigError(
                f"'{head}' has no field '{rest}' (in --set {path}=…). {did_you_mean(rest, inner)}"
            )
        value = text if isinstance(inner[rest], str) else value
        _check_kind(path, value, inner[rest])
        return replace(recipe, **{head: replace(now, **{rest: type(inner[rest])(value)})})
    if rest or head == "evaluations":
        raise ConfigError(
            f"'{path}' cannot be set on the command line; --set takes plain fields. Evaluate other "
            "settings with `quickstudy eval RUN --n-way …`."
        )
    _check_kind(path, value, now)
    return replace(recipe, **{head: value})


def _known_option(maker: Callable[..., Any], option: str, name: str) -> inspect.Parameter:
    """The option as its maker declares it; refuses one that is not there."""
    signature = inspect.signature(maker).parameters
    keywords = {
        n: p
        for n, p in signature.items()
        if n != "encoder" and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    if option not in keywords:
        raise ConfigError(f"'{name}' has no option '{option}'. {did_you_mean(option, keywords)}")
    return keywords[option]


def _parse(text: str) -> Any:
    """A value from the command line: JSON where it is JSON, else the text itself."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {"none": None, "true": True, "false": False}.get(text.lower(), text)
    return tuple(value) if isinstance(value, list) else value


def _check_kind(path: str, value: Any, before: Any) -> None:
    if before is inspect.Parameter.empty or before is None or value is None:
        return
    kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (tuple,)}.get(
        type(before)
    )
    right = kinds is None or (
        isinstance(value, kinds) and (type(before) is bool or not isinstance(value, bool))
    )
    if not right:
        raise ConfigError(
            f"--set {path}={value!r}: expected a value like {before!r} ({type(before).__name__}), "
            f"got {type(value).__name__}."
        )
