"""Zero-shot prototypes on synthetic attributes, so that there is nothing to download."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def attributes_zero_shot() -> Recipe:
    """Zero-shot prototypes on 50-way tasks of classes known by their attributes alone; seconds on
    one core.
    """
    setting = Setting(n_way=50, n_shot=1, n_query=10)
    return Recipe(
        name="attributes-zero-shot",
        summary="Zero-shot prototypes on synthetic attributes: 50 unseen classes told apart by "
        "their descriptions.",
        data=Part("attributes"),
        encoder=Part("identity", {"out_dim": 128}),
        learner=Part("zero_shot", {"semantic_dim": 40, "dim": 64}),
        episodes=setting,
        validation=setting,
        train=Plan(steps=400, tasks_per_step=1, validate_every=50, n_val_tasks=50),
        optimiser=Optimiser(lr=3e-3, schedule="cosine"),
        evaluations=(Evaluation(setting), Evaluation(Setting(n_way=5, n_shot=1, n_query=10))),
        paper="Snell, Swersky, Zemel 2017, arXiv:1703.05175, section 3.3 (its episodes, on other "
        "data)",
    )
