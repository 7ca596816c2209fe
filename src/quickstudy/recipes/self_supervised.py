"""Training without labels on Omniglot: meta-learning and contrastive learning on the same batches,
views and budget; and with labels, beside them.
"""

import functools
from collections.abc import Callable
from typing import Any

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

_BATCH = Setting(n_way=1, n_shot=63, n_query=1)  # 64 images, 128 views
_VIEWS = {"degrees": 20.0, "scale": 0.2, "shift": 0.1}
_DATA = {"protocol": "vinyals", "rotations": True}


def _recipe(name: str, summary: str, paper: str, learner: Part, **changes: Any) -> Recipe:
    parts: dict[str, Any] = {
        "data": Part("unlabelled", {"of": "omniglot", "options": _DATA}),
        "objective": Part("query_loss"),
        "transform": Part("contrastive", _VIEWS),
        "episodes": _BATCH,
    }
    return Recipe(
        name=f"omniglot-self-{name}",
        summary=summary,
        encoder=Part("conv4", {"size": 28, "norm": "running"}),
        learner=learner,
        validation=Setting(n_way=20, n_shot=1, n_query=15),
        train_split="trainval",
        train=Plan(steps=1_500, validate_every=0),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15)),
            Evaluation(Setting(20, 1, 15)),
            Evaluation(Setting(5, 5, 15)),
        ),
        paper=paper,
        **{**parts, **changes},
    )


_NI = 'Ni et al. 2022, "The Close Relationship Between Contrastive Learning and Meta-Learning"'
_SELF: dict[str, Callable[[], Recipe]] = {
    "protonet": lambda: _recipe(
        "protonet",
        "Prototypical networks on Omniglot without labels: every image is a class, its views are "
        "examples.",
        _NI,
        Part("protonet"),
    ),
    "r2d2": lambda: _recipe(
        "r2d2",
        "R2-D2 on Omniglot without labels: every image is a class, its views are examples.",
        _NI,
        Part("r2d2", {"penalty": 50.0, "normalised": False}),
    ),
    "simclr": lambda: _recipe(
        "simclr",
        "SimCLR on Omniglot, scored by cosine prototypes.",
        "Chen et al. 2020, arXiv:2002.05709",
        Part("protonet", {"similarity": "cosine"}),
        objective=Part("simclr", {"temperature": 0.1}),
    ),
    "labels": lambda: _recipe(
        "labels",
        "Prototypical networks on Omniglot with labels, on as many images per step as the three "
        "without.",
        "Snell et al. 2017, arXiv:1703.05175",
        Part("protonet"),
        data=Part("omniglot", _DATA),
        transform=Part("affine", {**_VIEWS, "probability": 1.0}),
        episodes=Setting(n_way=32, n_shot=1, n_query=3),
    ),
}


def self_supervised_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names, ``omniglot-self-…``."""
    recipes = {}
    for name, make in _SELF.items():
        recipes[f"omniglot-self-{name}"] = recipe = functools.partial(make)
        recipe.__doc__ = make().summary
    return recipes
