"""Regression: the sine waves of the MAML paper."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def sinusoid_maml() -> Recipe:
    """MAML on sine waves from ten points each, one inner step in training."""
    return Recipe(
        name="sinusoid-maml",
        summary="Second-order MAML on sine waves: 10 points, 1 inner step in training and in the "
        "score.",
        data=Part("sinusoid"),
        encoder=Part("mlp", {"in_dim": 1, "widths": [40, 40]}),
        learner=Part("maml", {"n_out": 1, "inner_lr": 0.01, "inner_steps": 1}),
        episodes=Setting(n_way=0, n_shot=10, n_query=10),
        validation=Setting(n_way=0, n_shot=10, n_query=100),
        train=Plan(
            steps=40_000,
            tasks_per_step=25,
            validate_every=10_000,
            n_val_tasks=200,
            log_every=500,
            checkpoint_every=5_000,
            compile="trace",
        ),
        optimiser=Optimiser(lr=1e-3),
        evaluations=(Evaluation(Setting(0, 10, 100)),),
        paper="Finn, Abbeel, Levine 2017, arXiv:1703.03400, section 5.1",
    )
