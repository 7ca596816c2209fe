"""Semi-supervised prototypes on Omniglot: of each character a tenth of the drawings is labelled,
everybody with the same encoder and budget.
"""

import functools
from collections.abc import Callable

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

# As in the paper: 5 unlabelled examples per class, and in testing all of the rest are queries.
# There every example may be labelled.
BARE, CLEAN, DISTRACTORS = Setting(5, 1, 14), Setting(5, 1, 14, 5), Setting(5, 1, 14, 5, 5)
MORE = Setting(5, 1, 5, 14)
_METHODS = ("soft", "cluster", "masked")
NAMES = tuple(f"{method}{more}" for method in _METHODS for more in ("", "-distractors"))


def _recipe(
    name: str, summary: str, learner: str, episodes: Setting, evaluations: tuple[Evaluation, ...]
) -> Recipe:
    return Recipe(
        name=f"omniglot-semi-{name}",
        summary=summary,
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=Part("conv4", {"size": 28, "norm": "running"}),
        learner=Part(learner, {"constant_shares": False} if learner == "semi_soft" else {}),
        episodes=episodes,
        validation=CLEAN,
        train=Plan(steps=600, tasks_per_step=4, validate_every=0),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=evaluations,
        paper="Ren et al. 2018, arXiv:1803.00676",
    )


def omniglot_semi_supervised() -> Recipe:
    """The baseline: prototypical networks that learn from the labelled tenth alone, scored without
    unlabelled examples, and with soft k-means over them.
    """
    return _recipe(
        "supervised",
        "Prototypical networks on the labelled tenth of Omniglot: what semi-supervised prototypes "
        "have to beat.",
        "protonet",
        Setting(5, 1, 1, labelled=0.1),
        (
            Evaluation(BARE),
            Evaluation(CLEAN, learner="semi_soft"),
            Evaluation(DISTRACTORS, learner="semi_soft"),
        ),
    )


def omniglot_semi(name: str) -> Recipe:
    """Prototypes that also learn from unlabelled examples, those of other classes among them where
    the name ends so.
    """
    method, _, distractors = name.partition("-")
    also = " and as many of five other classes" if distractors else ""
    return _recipe(
        name,
        f"Semi-supervised prototypes ({method}) on Omniglot, a tenth of it labelled: 5 unlabelled "
        f"examples per class{also} in each task.",
        f"semi_{method}",
        Setting(5, 1, 1, n_unlabelled=5, n_distractors=5 if distractors else 0, labelled=0.1),
        (
            Evaluation(CLEAN),
            Evaluation(DISTRACTORS),
            Evaluation(MORE),
        ),
    )


def semi_supervised_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names, ``omniglot-semi-…``."""
    recipes: dict[str, Callable[[], Recipe]] = {
        "omniglot-semi-supervised": omniglot_semi_supervised
    }
    for name in NAMES:
        recipes[f"omniglot-semi-{name}"] = recipe = functools.partial(omniglot_semi, name)
        recipe.__doc__ = omniglot_semi(name).summary
    return recipes
