"""Recipes of the gradient-based family on Omniglot: everybody with the same encoder, on the same
tasks, and as many of them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

TASKS_PER_STEP = 8
STEPS = 500
_RATE = 0.5  # for all, whatever their papers have


def _on_omniglot(
    steps: int,
    name: str,
    learner: Part,
    paper: str,
    *,
    objective: Part | None = None,
    norm: str = "batch",
    schedule: str = "constant",
    rate: float = 1e-3,
    n_query: int = 5,
    evaluate_as: str = "",
    exams: tuple[str, str] = ("", "support"),
) -> Recipe:
    encoder = Part("conv4", {"size": 28, "norm": norm, "downsample": "stride"})
    exam = Setting(5, 1, 15)
    return Recipe(
        name=f"family-{name}",
        summary=f"{name} on Omniglot, 5-way 1-shot, on the tasks and the budget that the whole "
        "gradient-based family shares.",
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=encoder,
        learner=learner,
        objective=objective or Part("query_loss"),
        episodes=Setting(n_way=5, n_shot=1, n_query=n_query),
        validation=Setting(n_way=5, n_shot=1, n_query=n_query),
        train=Plan(steps=steps, tasks_per_step=TASKS_PER_STEP, validate_every=0, clip_norm=10.0),
        optimiser=Optimiser(lr=rate, schedule=schedule),
        evaluations=tuple(
            Evaluation(exam, norm=policy, learner=evaluate_as) for policy in exams
        ),  # transductive, then inductive
        paper=paper,
    )


def _with_head(algorithm: str, **options: Any) -> Part:
    return Part(algorithm, {"n_out": 5, **options})


def _maml_pp(
    steps: int,
    name: str,
    *,
    objective: str = "multi_step",
    schedule: str = "cosine",
    norm: str = "batch",
    **switches: Any,
) -> Recipe:
    """MAML++ with the switches given, the others on; the schedules are those of the paper, shrunk
    to the budget.
    """
    parts: dict[str, Any] = {
        "learned_rates": True,
        "per_step_norm": True,
        "per_step_statistics": norm == "per_task",
    } | switches
    return _on_omniglot(
        steps,
        name,
        _with_head("maml_pp", inner_lr=_RATE, inner_steps=5, **parts),
        "Antoniou, Edwards, Storkey 2019, arXiv:1810.09502",
        objective=Part("multi_step", {"annealing_steps": steps // 10, "epoch": steps // 100})
        if objective == "multi_step"
        else None,
        schedule=schedule,
        norm=norm,
        exams=("batch", "") if norm == "per_task" else ("", "support"),
    )


_OFF: Mapping[str, Any] = {
    "objective": "query_loss",
    "schedule": "constant",
    "learned_rates": False,
    "per_step_norm": False,
    "per_step_statistics": False,
}
_HALF = "runs/family-maml-half"
_FINN = "Finn, Abbeel, Levine 2017, arXiv:1703.03400"
_RAGHU = "Raghu, Raghu, Bengio, Vinyals 2020, arXiv:1909.09157"

FAMILY: dict[str, Callable[[int], Recipe]] = {
    "maml": lambda n: _on_omniglot(n, "maml", _with_head("maml", inner_lr=_RATE), _FINN),
    "fomaml": lambda n: _on_omniglot(n, "fomaml", _with_head("fomaml", inner_lr=_RATE), _FINN),
    "reptile": lambda n: replace(
        _on_omniglot(
            n,
            "reptile",
            _with_head("reptile"),
            "Nichol, Achiam, Schulman 2018, arXiv:1803.02999",
            objective=Part("reptile"),
            n_query=9,
        ),
        optimiser=Optimiser(name="sgd", lr=1.0, momentum=0.0, schedule="linear"),
    ),
    "meta_sgd": lambda n: _on_omniglot(
        n, "meta_sgd", _with_head("meta_sgd"), "Li, Zhou, Chen, Li 2017, arXiv:1707.09835"
    ),
    "meta_curvature": lambda n: _on_omniglot(
        n,
        "meta_curvature",
        _with_head("meta_curvature", inner_lr=_RATE),
        "Park, Oliva 2019, arXiv:1902.03356",
    ),
    "alfa": lambda n: _on_omniglot(
        n,
        "alfa",
        _with_head("alfa", inner_lr=_RATE, constant_gradients=False),
        "Baik et al. 2020, arXiv:2011.00209",
    ),
    "anil": lambda n: _on_omniglot(n, "anil", _with_head("anil", inner_lr=_RATE), _RAGHU),
    "nil": lambda n: _on_omniglot(
        n, "nil", _with_head("anil", inner_lr=_RATE), _RAGHU, evaluate_as="nil"
    ),
    "boil": lambda n: _on_omniglot(
        n, "boil", _with_head("boil", inner_steps=5), "Oh, Yoo, Kim, Yun 2021, arXiv:2008.08882"
    ),
    "proto_maml": lambda n: _on_omniglot(
        n, "proto_maml", Part("proto_maml"), "Triantafillou et al. 2020, arXiv:1903.03096"
    ),
    "unicorn_maml": lambda n: _on_omniglot(
        n, "unicorn_maml", Part("unicorn_maml"), "Ye, Chao 2022, arXiv:2106.16245"
    ),
    "imaml": lambda n: _on_omniglot(
        n,
        "imaml",
        _with_head("imaml"),  # the row in the docs was trained with λ = 2, .2 and 16 steps
        "Rajeswaran et al. 2019, arXiv:1909.04630",
    ),
    "metal": lambda n: _on_omniglot(
        n, "metal", _with_head("metal", inner_lr=_RATE), "Baik et al. 2021, arXiv:2110.03909"
    ),
    "meta_lstm": lambda n: _on_omniglot(
        n, "meta_lstm", _with_head("meta_lstm"), "Ravi, Larochelle 2017, ICLR"
    ),
    "tsa_maml": lambda n: (
        # with the half of the tasks, since the run that it starts from takes the other half
        replace(
            _on_omniglot(
                n // 2, "tsa_maml", _with_head("tsa_maml", inner_lr=_RATE), "Zhou et al. 2021, UAI"
            ),
            start_from=_HALF,
        )
    ),
    "maml_pp": lambda n: _maml_pp(n, "maml_pp"),
    # The ablation: MAML with one part of MAML++ each.
    "maml+msl": lambda n: _maml_pp(n, "maml+msl", **{**_OFF, "objective": "multi_step"}),
    "maml+da": lambda n: _maml_pp(n, "maml+da", **{**_OFF, "second_order_from": n // 2}),
    "maml+bnrs": lambda n: _maml_pp(
        n, "maml+bnrs", **{**_OFF, "norm": "per_task", "per_step_statistics": True}
    ),
    "maml+bnwb": lambda n: _maml_pp(n, "maml+bnwb", **{**_OFF, "per_step_norm": True}),
    "maml+lslr": lambda n: _maml_pp(n, "maml+lslr", **{**_OFF, "learned_rates": True}),
    "maml+ca": lambda n: _maml_pp(n, "maml+ca", **{**_OFF, "schedule": "cosine"}),
}


def family_recipe(name: str, steps: int = STEPS) -> Recipe:
    """The recipe of the family called ``name``, for a budget of so many outer steps of 8 tasks."""
    return FAMILY[name](steps)


def family_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes of the family under their names, ``family-…``."""
    recipes = {}
    for name in FAMILY:
        recipes[f"family-{name}"] = recipe = functools.partial(family_recipe, name)
        recipe.__doc__ = (
            f"{name} on the tasks and the budget that the whole gradient-based family shares."
        )
    return recipes
