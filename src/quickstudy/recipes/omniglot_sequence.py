"""Black boxes on Omniglot: models that read a task as a sequence, all with the same encoder and
split.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def _recipe(
    name: str,
    summary: str,
    learner: Part,
    paper: str,
    *,
    episodes: Setting,
    train: Plan,
    evaluations: tuple[Evaluation, ...],
    objective: str = "query_loss",
    lr: float = 1e-3,
    encoder: dict[str, Any] | None = None,
) -> Recipe:
    return Recipe(
        name=f"omniglot-{name}",
        summary=summary,
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=Part("conv4", {"size": 28, "norm": "running", **(encoder or {})}),
        learner=learner,
        objective=Part(objective),
        transform=Part("affine"),
        episodes=episodes,
        validation=Setting(n_way=5, n_shot=1, n_query=15),
        train_split="trainval",
        train=train,
        optimiser=Optimiser(lr=lr, schedule="one_cycle"),
        evaluations=evaluations,
        paper=paper,
    )


_ONE_SHOT = Setting(5, 1, 15)


def _online(name: str, summary: str, learner: str, paper: str) -> Recipe:
    """As in Santoro et al.: 50 examples of 5 classes, each answered before its label is told."""
    return _recipe(
        name,
        summary,
        Part(learner, {"n_out": 5}),
        paper,
        objective="online",
        encoder={"width": 32},
        episodes=Setting(n_way=5, n_shot=1, n_query=9),
        train=Plan(steps=5_000, tasks_per_step=8, validate_every=0, clip_norm=10.0),
        evaluations=(Evaluation(_ONE_SHOT),),
    )


def _trained_on(name: str, before: str, *, steps: int, lr: float) -> Recipe:
    """SNAIL, from where another run of it ended."""
    return replace(
        _SEQUENCE["snail"](),
        name=f"omniglot-{name}",
        summary=f"SNAIL on Omniglot, trained on from the end of omniglot-{before}.",
        episodes=Setting(n_way=5, n_shot=1, n_query=5),
        train=Plan(steps=steps, tasks_per_step=16, validate_every=0, clip_norm=10.0),
        optimiser=Optimiser(lr=lr, schedule="one_cycle"),
        start_from=f"runs/omniglot-{before}",
    )


_SEQUENCE: dict[str, Callable[[], Recipe]] = {
    "snail": lambda: _recipe(
        "snail",
        "SNAIL on Omniglot, 5-way 1-shot.",
        Part("snail", {"n_out": 5, "length": 6}),
        "Mishra et al. 2018, arXiv:1707.03141",
        episodes=Setting(n_way=5, n_shot=1, n_query=3),
        train=Plan(steps=8_000, tasks_per_step=16, validate_every=0, clip_norm=10.0),
        evaluations=(Evaluation(_ONE_SHOT),),
    ),
    "snail-more": lambda: _trained_on("snail-more", "snail", steps=5_000, lr=1e-3),
    "snail-most": lambda: _trained_on("snail-most", "snail-more", steps=3_600, lr=1e-3),
    "in-context": lambda: _recipe(
        "in-context",
        "An in-context learner on Omniglot, trained on 20-way tasks and asked for any way.",
        Part("in_context"),
        "in the spirit of Kirsch et al. 2022, arXiv:2212.04458, and Fifty et al. 2024, "
        "arXiv:2310.10971",
        episodes=Setting(n_way=20, n_shot=1, n_query=3),
        train=Plan(steps=6_000, tasks_per_step=4, validate_every=0, clip_norm=1.0),
        evaluations=(
            Evaluation(_ONE_SHOT),
            Evaluation(Setting(5, 5, 15)),
            Evaluation(Setting(20, 1, 15)),
        ),
    ),
    "mann": lambda: _online(
        "mann",
        "A memory-augmented network on Omniglot, asked before it is told.",
        "mann",
        "Santoro et al. 2016, arXiv:1605.06065",
    ),
    "lstm": lambda: _online(
        "lstm",
        "A plain LSTM on Omniglot, asked before it is told.",
        "lstm",
        "the baseline of Santoro et al. 2016, arXiv:1605.06065",
    ),
}


def sequence_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names, ``omniglot-…``."""
    recipes = {}
    for name, make in _SEQUENCE.items():
        recipes[f"omniglot-{name}"] = recipe = functools.partial(make)
        recipe.__doc__ = make().summary
    return recipes
