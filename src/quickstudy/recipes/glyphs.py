"""Recipes on the built-in characters: no download, minutes on two cores."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def glyphs_protonet() -> Recipe:
    """The demo: prototypical networks on rendered characters, about three minutes on 2 cores."""
    return Recipe(
        name="glyphs-protonet",
        summary="Prototypical networks on the built-in characters, tested on scripts never seen in "
        "training.",
        data=Part("glyphs", {"rotations": True}),
        encoder=Part("conv4", {"size": 28, "norm": "running"}),
        learner=Part("protonet"),
        episodes=Setting(n_way=20, n_shot=1, n_query=5),
        validation=Setting(n_way=5, n_shot=1, n_query=15),
        train=Plan(steps=1200, validate_every=300, n_val_tasks=200),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15), n_tasks=600),
            Evaluation(Setting(5, 5, 15), n_tasks=600),
        ),
    )


def glyphs_fomaml() -> Recipe:
    """First-order MAML on rendered characters, a few minutes on 2 cores."""
    return Recipe(
        name="glyphs-fomaml",
        summary="First-order MAML on the built-in characters; normalises with the support set, so "
        "it is inductive.",
        data=Part("glyphs", {"rotations": True}),
        encoder=Part(
            "conv4", {"size": 28, "norm": "support", "norm_scale": False, "downsample": "stride"}
        ),
        learner=Part("fomaml", {"n_out": 5, "inner_lr": 0.5, "inner_steps": 3}),
        episodes=Setting(n_way=5, n_shot=1, n_query=5),
        validation=Setting(n_way=5, n_shot=1, n_query=5),
        train=Plan(steps=600, tasks_per_step=8, chunk=2, validate_every=200, n_val_tasks=200),
        optimiser=Optimiser(lr=1e-3, schedule="cosine"),
        evaluations=(Evaluation(Setting(5, 1, 15), n_tasks=600),),
    )
