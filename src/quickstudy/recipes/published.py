"""The settings in which the papers of the gradient-based family report their numbers, with the
papers' budgets: for a GPU.
"""

from collections.abc import Callable
from typing import Any

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

_ADAM = Optimiser(lr=1e-3)


def _omniglot(algorithm: str, n_way: int, plan: Plan, paper: str, **more: Any) -> Recipe:
    """Strided convolutions, one query per class in training and scoring, statistics of the
    batch.
    """
    setting = Setting(n_way, 1, 1)
    return _recipe(
        f"omniglot-{n_way}w1s-{algorithm}-paper",
        Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        Part(
            "conv4", {"size": 28, "norm": "batch", "downsample": more.pop("downsample", "stride")}
        ),
        algorithm,
        setting,
        plan,
        paper,
        evaluated=setting,
        **more,
    )


def _mini(algorithm: str, width: int, plan: Plan, paper: str, **more: Any) -> Recipe:
    """5-way 1-shot on miniImageNet, 15 queries per class, statistics of the batch."""
    encoder = Part(
        "conv4", {"size": 84, "in_channels": 3, "width": width, "norm": more.pop("norm", "batch")}
    )
    setting = Setting(5, 1, 15)
    name = f"mini-imagenet-5w1s-{algorithm}-paper"
    return _recipe(
        name,
        Part("mini-imagenet"),
        encoder,
        algorithm,
        setting,
        plan,
        paper,
        evaluated=setting,
        **more,
    )


def _recipe(
    name: str,
    data: Part,
    encoder: Part,
    algorithm: str,
    setting: Setting,
    plan: Plan,
    paper: str,
    *,
    evaluated: Setting,
    options: dict[str, Any] | None = None,
    objective: Part | None = None,
    optimiser: Optimiser = _ADAM,
    training: Setting | None = None,
    also: tuple[Evaluation, ...] = (),
) -> Recipe:
    return Recipe(
        name=name,
        summary=f"{algorithm} as published, {evaluated} on {data.name}, "
        f"{plan.steps * plan.tasks_per_step:,} tasks: for a GPU.",
        data=data,
        encoder=encoder,
        learner=Part(algorithm, {"n_out": evaluated.n_way, **(options or {})}),
        objective=objective or Part("query_loss"),
        episodes=training or setting,
        validation=setting,
        train=plan,
        optimiser=optimiser,
        evaluations=(Evaluation(evaluated), *also),
        paper=paper,
    )


def _plan(steps: int, tasks: int, **more: Any) -> Plan:
    return Plan(
        steps=steps, tasks_per_step=tasks, validate_every=steps // 60, n_val_tasks=400, **more
    )


# Rates of papers whose loss is summed and divided by the shots are multiplied by the way: ours is a
# mean.
_MAKERS: tuple[Callable[[], Recipe], ...] = (
    lambda: _omniglot(
        "fomaml",
        5,
        _plan(60_000, 32),
        "arXiv:1703.03400",
        options={"inner_lr": 2.0, "inner_steps": 1},
    ),
    lambda: _omniglot(
        "reptile",
        5,
        _plan(100_000, 5),
        "arXiv:1803.02999",
        options={"inner_lr": 1e-3, "inner_steps": 5, "test_steps": 50},
        objective=Part("reptile"),
        optimiser=Optimiser(name="sgd", lr=1.0, momentum=0.0, schedule="linear"),
        training=Setting(5, 1, 9),
    ),
    lambda: _omniglot("meta_sgd", 5, _plan(60_000, 28), "arXiv:1707.09835"),
    lambda: _omniglot(
        "imaml",
        5,
        _plan(60_000, 32),
        "arXiv:1909.04630",
        options={"inner_lr": 0.2, "inner_steps": 16, "strength": 2.0, "cg_steps": 5},
    ),
    lambda: _omniglot(
        "anil",
        20,
        _plan(60_000, 16),
        "arXiv:1909.09157",
        options={"inner_lr": 2.0, "inner_steps": 5},
        also=(
            Evaluation(
                Setting(20, 1, 1),
                learner="nil",
            ),
        ),
    ),
    lambda: _omniglot(
        "maml_pp",
        20,
        _plan(50_000, 8),
        "arXiv:1810.09502",
        options={"inner_lr": 0.1, "inner_steps": 5, "per_step_statistics": False},
        downsample="pool",
        objective=Part("multi_step", {"annealing_steps": 5_000, "epoch": 500}),
        optimiser=Optimiser(lr=1e-3, schedule="cosine"),
    ),
    lambda: _mini(
        "maml",
        32,
        _plan(60_000, 4, clip_value=10.0),
        "arXiv:1703.03400",
        options={"inner_lr": 0.05, "inner_steps": 5, "test_steps": 10},
    ),
    lambda: _mini(
        "maml_pp",
        48,
        _plan(50_000, 2),
        "arXiv:1810.09502",
        options={"inner_lr": 0.01, "inner_steps": 5, "per_step_statistics": False},
        objective=Part("multi_step", {"annealing_steps": 7_500, "epoch": 500}),
    ),
    lambda: _mini(
        "anil",
        32,
        _plan(60_000, 4, clip_value=10.0),
        "arXiv:1909.09157",
        options={"inner_lr": 0.05, "inner_steps": 5},
        also=(
            Evaluation(
                Setting(5, 1, 15),
                learner="nil",
            ),
        ),
    ),
    lambda: _mini(
        "boil",
        64,
        _plan(60_000, 4),
        "arXiv:2008.08882",
        options={"inner_lr": 0.5, "inner_steps": 1},
    ),
    lambda: _mini(
        "metal",
        48,
        _plan(50_000, 2),
        "arXiv:2110.03909",
        options={"inner_lr": 0.01, "inner_steps": 5},
    ),
    lambda: _mini(
        "meta_lstm",
        32,
        _plan(75_000, 1, clip_norm=0.25),
        "openreview:rJY0-Kcll",
        options={"inner_steps": 12},
        norm="support",
    ),
)


def published_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names, ``…-paper``."""
    recipes = {}
    for maker in _MAKERS:
        made = maker()
        recipes[made.name] = maker
        maker.__doc__ = made.summary
    return recipes
