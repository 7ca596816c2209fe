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


def sinusoid_tnp() -> Recipe:
    """A transformer neural process on sine waves from ten points each, without a gradient step."""
    return Recipe(
        name="sinusoid-tnp",
        summary="Transformer neural process on sine waves: 10 points, read in one pass.",
        data=Part("sinusoid"),
        encoder=Part("identity", {"out_dim": 1}),
        learner=Part("tnp", {"width": 64, "n_layers": 3}),
        objective=Part("log_likelihood"),
        episodes=Setting(n_way=0, n_shot=10, n_query=20),
        validation=Setting(n_way=0, n_shot=10, n_query=100),
        train=Plan(steps=4_000, tasks_per_step=16, chunk=16, log_every=100),
        # Ahead of an ANP, and of AdamW at 1e-3, on validation waves, in short trials that are not
        # kept.
        optimiser=Optimiser(name="muon", lr=5e-3, schedule="cosine"),
        evaluations=(
            Evaluation(Setting(0, 10, 100)),
            Evaluation(Setting(0, 10, 100), metric="log_likelihood"),
        ),
        paper="arXiv:2207.04179 (the method), the tasks of arXiv:1703.03400",
    )
