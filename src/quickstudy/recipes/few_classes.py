"""Recipes for a question: does mixing tasks help where there are few classes to make tasks of?"""

import functools
from collections.abc import Callable

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

CLASSES = 12
_LEARNERS = {
    "maml": Part("maml", {"n_out": 5, "inner_lr": 0.5, "inner_steps": 3}),
    "anil": Part("anil", {"n_out": 5, "inner_lr": 0.5, "inner_steps": 3}),
    "protonet": Part("protonet"),
}
NAMES = tuple(name + mixed for name in _LEARNERS for mixed in ("", "-mlti"))


def few_classes(name: str, seed: int = 0) -> Recipe:
    """A learner on tasks of 12 characters of Omniglot, with or without task interpolation
    (``-mlti``), all else equal.
    """
    learner, _, mixed = name.partition("-")
    setting = Setting(n_way=5, n_shot=1, n_query=5)
    return Recipe(
        name=f"few-{name}",
        summary=f"{learner} on Omniglot, 5-way 1-shot, with {CLASSES} characters to train "
        f"on{', tasks interpolated' if mixed else ''}.",
        data=Part(
            "omniglot", {"protocol": "vinyals", "rotations": False, "n_train_classes": CLASSES}
        ),
        encoder=Part("conv4", {"size": 28, "norm": "batch", "downsample": "stride"}),
        learner=_LEARNERS[learner],
        objective=Part("mlti") if mixed else Part("query_loss"),
        episodes=setting,
        validation=setting,
        train=Plan(
            steps=500, tasks_per_step=4, chunk=4, validate_every=50, n_val_tasks=100, seed=seed
        ),
        optimiser=Optimiser(lr=1e-3),
        evaluations=(Evaluation(Setting(5, 1, 15)),),
        paper="Yao, Zhang, Finn 2022, arXiv:2106.02695 (the question, on other data)",
    )


def few_class_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names, ``few-…``."""
    recipes = {}
    for name in NAMES:
        recipes[f"few-{name}"] = recipe = functools.partial(few_classes, name)
        recipe.__doc__ = few_classes.__doc__
    return recipes
