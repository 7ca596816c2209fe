"""Every learner of the registry that serves 5-way 1-shot tasks of images, on Omniglot: one split,
one size of training tasks, one budget of them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quickstudy.algorithms import ALGORITHMS, family
from quickstudy.core.setting import Setting
from quickstudy.recipes.family import FAMILY, TASKS_PER_STEP, family_recipe
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


@dataclass(frozen=True)
class Budget:
    """What every learner of a comparison may train on.

    Args:
        prefix: of the names of its recipes.
        tasks: of every learner, those of the run that it starts from included.
        wide: whether learners whose answers have no fixed number are scored 20-way too.
    """

    prefix: str
    tasks: int
    wide: bool = False

    @property
    def steps(self) -> int:
        """Outer steps."""
        return self.tasks // TASKS_PER_STEP


COMMON_BUDGET = Budget("common", 48_000)
SHORT_BUDGET = Budget("short", 4_000, wide=True)
"""The tasks of the gradient-based family's table: one to ten minutes of one core for a learner."""

NOT_COMPARED: Mapping[str, str] = {
    "cnp": "serves regression",
    "anp": "serves regression",
    "tnp": "serves regression",
    "zero_shot": "needs a description of every class",
}
"""Learners that do not serve the tasks, each with the reason."""

_EXAM, _WIDE_EXAM = Setting(5, 1, 15), Setting(20, 1, 15)
# A character has 20 drawings: 1 + 14 + 5.
_SEMI_EXAM = Setting(5, 1, 14, n_unlabelled=5)
_CLASSES = 4 * 1028  # characters of the training split, with rotations
_CLASSIFIER, _HALF = "classifier", "classifier-half"

# Scored on the encoder of another training.
_ON_ENCODER: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "nearest_neighbour",
            "linear_probe",
            "simpleshot",
            "baseline",
            "cosine_tuning",
            "transductive_tuning",
            "oslo",
            "soft_kmeans",
            "bd_cspn",
            "laplacian_shot",
            "pt_map",
            "tim",
            "alpha_tim",
        ),
        _CLASSIFIER,
    ),
    "nil": "anil",
}
_FROM_HALF = ("meta_baseline", "pmf")
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "feat": {"temperature": 16.0},
    "r2d2": {"penalty": 50.0, "normalised": False},
    "snail": {"length": 6},
    "learned_optimiser": {"inner_steps": 5},
    "t_nas": {"inner_lr": 0.5, "logits_lr": 1.0, "inner_steps": 3},
    "meta_nas": {"inner_steps": 5, "test_steps": 20},
    "semi_soft": {"constant_shares": False},
}
# Those that answer by what the support shows alone, whatever the number of its classes.
_ANY_WAY = ("metric", "transfer", "transductive")
_OBJECTIVES: Mapping[str, Part] = {
    "siamese": Part("pairs"),
    "lstm": Part("online"),
    "mann": Part("online"),
    "learned_optimiser": Part("trajectory"),
    "meta_nas": Part("reptile"),
    "baseline_pp": Part("classify", {"n_classes": _CLASSES, "dim": 64, "head": "cosine"}),
}


def common_learners() -> tuple[str, ...]:
    """The learners that are compared, in the order of the registry."""
    return tuple(name for name in ALGORITHMS if name not in NOT_COMPARED)


def common_recipe(learner: str, budget: Budget = COMMON_BUDGET) -> Recipe:
    """The training of a learner, with the settings that the learner is scored in.

    Args:
        learner: a name of `common_learners`.
        budget: what it may train on.
    """
    if (base := _ON_ENCODER.get(learner)) is None:
        return _trained(budget, learner)
    exams = tuple(
        replace(e, learner=learner) for e in (*_exams(budget, learner), *_without_batch(learner))
    )
    return replace(_training(budget, base), evaluations=exams)


def _training(budget: Budget, base: str) -> Recipe:
    """A training that others begin with or are scored on."""
    steps = budget.steps
    if base == _CLASSIFIER:
        return _classifier(budget, steps, base)
    if base == _HALF:
        return _classifier(budget, steps // 2, base)
    if base == "maml-half":
        return _trained(budget, "maml", steps // 2, base)
    return _trained(budget, base)


def _trained(budget: Budget, learner: str, steps: int = 0, name: str = "") -> Recipe:
    """The training of its own that a learner gets."""
    steps, name = steps or budget.steps, f"{budget.prefix}-{name or learner}"
    if learner in FAMILY:
        recipe = family_recipe(learner, steps)
        if learner == "imaml":  # its authors' settings; those of the short table do not converge
            recipe = replace(recipe, learner=Part("imaml", {"n_out": 5}))
        if learner == "tsa_maml":  # with the half of the tasks: the other half made its start
            recipe = replace(recipe, start_from=f"runs/{budget.prefix}-maml-half")
        return replace(recipe, name=name, summary=_summary(budget, learner))
    is_adapted = family(learner) in ("gradient", "architecture")
    is_semi = family(learner) == "semi_supervised"
    norm = "batch" if is_adapted else "running"
    objective = _OBJECTIVES.get(learner, Part("query_loss"))
    is_reptile = objective.name == "reptile"
    episodes = Setting(5, 1, 4 if is_reptile else 5, n_unlabelled=5 if is_semi else 0)
    from_half = learner in _FROM_HALF
    return Recipe(
        name=name,
        summary=_summary(budget, learner),
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=_encoder(budget, learner, norm),
        learner=Part(learner, _OPTIONS.get(learner, {})),
        objective=objective,
        episodes=episodes,
        validation=replace(episodes, n_query=5),
        train=Plan(
            steps=steps // 2 if from_half else steps,
            tasks_per_step=TASKS_PER_STEP,
            validate_every=0,
            clip_norm=10.0,
        ),
        optimiser=Optimiser(name="sgd", lr=1.0, momentum=0.0, schedule="linear")
        if is_reptile
        else Optimiser(lr=1e-3, schedule="one_cycle" if norm == "running" else "constant"),
        evaluations=(Evaluation(_SEMI_EXAM),)
        if is_semi
        else (
            *_exams(budget, learner),
            *((Evaluation(_EXAM, norm="support"),) if is_adapted else ()),
        ),
        start_from=f"runs/{budget.prefix}-{_HALF}" if from_half else "",
    )


def _encoder(budget: Budget, learner: str, norm: str) -> Part:
    if family(learner) == "architecture":
        return Part("mixed_cell", {"norm": "batch", "cool_steps": budget.steps})
    if learner == "relation":
        return Part("conv4", {"size": 28, "norm": "running", "pooled": 2})
    return Part("conv4", {"size": 28, "norm": norm, "downsample": "stride"})


def _exams(budget: Budget, learner: str) -> tuple[Evaluation, ...]:
    """The settings that every learner is scored in that serves them."""
    is_wide = budget.wide and family(learner) in _ANY_WAY
    return (Evaluation(_EXAM), *((Evaluation(_WIDE_EXAM),) if is_wide else ()))


def _without_batch(learner: str) -> tuple[Evaluation, ...]:
    """The inductive setting of a learner whose encoder was trained on statistics of the batch."""
    return (Evaluation(_EXAM, norm="support"),) if learner == "nil" else ()


def _summary(budget: Budget, learner: str) -> str:
    return (
        f"{learner} on Omniglot, 5-way 1-shot, with the budget of {budget.tasks:,} tasks that "
        "every learner gets."
    )


def _classifier(budget: Budget, steps: int, name: str) -> Recipe:
    """Classification of all training characters, for the heads that learn on its encoder."""
    recipe = _trained(budget, "baseline", steps, name)
    heads = (head for head, base in _ON_ENCODER.items() if base == _CLASSIFIER)
    return replace(
        recipe,
        summary=f"A classifier of all training characters of Omniglot, from "
        f"{steps * TASKS_PER_STEP:,} tasks, whose encoder serves every head.",
        objective=Part("classify", {"n_classes": _CLASSES, "dim": 64}),
        evaluations=tuple(Evaluation(_EXAM, learner=head) for head in heads),
    )


def common_recipes() -> dict[str, Callable[[], Recipe]]:
    """The trainings under their names, ``common-…`` and ``short-…``."""
    recipes: dict[str, Callable[[], Recipe]] = {}
    own = [learner for learner in common_learners() if learner not in _ON_ENCODER]
    for budget in (COMMON_BUDGET, SHORT_BUDGET):
        for name in (_CLASSIFIER, _HALF, "maml-half", *own):
            recipe = functools.partial(_training, budget, name)
            recipe.__doc__ = (
                "A training of the comparison of all learners on one budget of Omniglot's tasks."
            )
            recipes[f"{budget.prefix}-{name}"] = recipe
    return recipes
