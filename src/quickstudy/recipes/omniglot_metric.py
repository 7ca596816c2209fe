"""Comparing instead of adapting, on Omniglot: everybody with the same encoder, split and budget,
scored in two settings.
"""

import functools
from collections.abc import Callable
from typing import Any

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

STEPS = 4_000
_CLASSES = 4_800  # of the training and validation characters, with rotations
_EPISODES = Setting(n_way=20, n_shot=1, n_query=5)


def _recipe(
    name: str,
    summary: str,
    learner: Part,
    paper: str,
    *,
    objective: Part | None = None,
    episodes: Setting = _EPISODES,
    encoder: dict[str, Any] | None = None,
) -> Recipe:
    return Recipe(
        name=f"omniglot-{name}",
        summary=summary,
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=Part("conv4", {"size": 28, "norm": "running", **(encoder or {})}),
        learner=learner,
        objective=objective or Part("query_loss"),
        transform=Part("affine"),
        episodes=episodes,
        validation=Setting(n_way=20, n_shot=1, n_query=15),
        train_split="trainval",
        train=Plan(steps=STEPS, validate_every=0),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=(Evaluation(Setting(5, 1, 15)), Evaluation(Setting(20, 1, 15))),
        paper=paper,
    )


_METRIC: dict[str, Callable[[], Recipe]] = {
    "matching": lambda: _recipe(
        "matching",
        "Matching networks on Omniglot, without full-context embeddings.",
        Part("matching"),
        "Vinyals et al. 2016, arXiv:1606.04080",
    ),
    "matching-fce": lambda: _recipe(
        "matching-fce",
        "Matching networks on Omniglot, with full-context embeddings.",
        Part("matching_fce"),
        "Vinyals et al. 2016, arXiv:1606.04080",
    ),
    "relation": lambda: _recipe(
        "relation",
        "Relation network on Omniglot, trained by cross entropy.",
        Part("relation"),
        "Sung et al. 2018, arXiv:1711.06025",
        encoder={"pooled": 2},
    ),
    "siamese": lambda: _recipe(
        "siamese",
        "Siamese network on Omniglot, trained on pairs by cross entropy.",
        Part("siamese"),
        "Koch, Zemel, Salakhutdinov 2015",
        objective=Part("pairs"),
    ),
    "siamese-contrastive": lambda: _recipe(
        "siamese-contrastive",
        "Siamese network on Omniglot, trained by the contrastive loss.",
        Part("siamese", {"compare": "distance", "normalise": True}),
        "Hadsell, Chopra, LeCun 2006",
        objective=Part("pairs", {"loss": "contrastive"}),
    ),
    "siamese-triplet": lambda: _recipe(
        "siamese-triplet",
        "Siamese network on Omniglot, trained on the hardest triplets of a batch.",
        Part("siamese", {"compare": "distance", "normalise": True}),
        "Hermans, Beyer, Leibe 2017, arXiv:1703.07737",
        objective=Part("triplets", {"mining": "batch_hard"}),
    ),
    "arcface": lambda: _recipe(
        "arcface",
        "An ArcFace embedding of Omniglot, trained to classify all training characters, used by "
        "prototypes.",
        Part("protonet", {"similarity": "cosine"}),
        "Deng et al. 2019, arXiv:1801.07698",
        objective=Part(
            "classify", {"n_classes": _CLASSES, "dim": 64, "head": "arcface", "warm_up": STEPS // 4}
        ),
        episodes=Setting(n_way=60, n_shot=1, n_query=1),
    ),
    "feat": lambda: _recipe(
        "feat",
        "FEAT on Omniglot.",
        Part("feat", {"temperature": 16.0}),
        "Ye, Hu, Zhan, Sha 2020, arXiv:1812.03664",
    ),
    "r2d2": lambda: _recipe(
        "r2d2",
        "R2-D2 on Omniglot: ridge regression as the last layer.",
        Part("r2d2", {"penalty": 50.0, "normalised": False}),
        "Bertinetto et al. 2019, arXiv:1805.08136",
    ),
    "metaoptnet": lambda: _recipe(
        "metaoptnet",
        "MetaOptNet on Omniglot: a support vector machine as the last layer.",
        Part("metaoptnet"),
        "Lee et al. 2019, arXiv:1904.03758",
    ),
    "simple-cnaps": lambda: _recipe(
        "simple-cnaps",
        "Prototypes with Mahalanobis distances on Omniglot.",
        Part("simple_cnaps"),
        "Bateni et al. 2020, arXiv:1912.03432",
    ),
}


def metric_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names, ``omniglot-…``."""
    recipes = {}
    for name, make in _METRIC.items():
        recipes[f"omniglot-{name}"] = recipe = functools.partial(make)
        recipe.__doc__ = make().summary
    return recipes
