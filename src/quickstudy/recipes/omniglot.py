"""Recipes on Omniglot, with the Vinyals split and rotations as classes."""

from dataclasses import replace

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def omniglot_protonet() -> Recipe:
    """Prototypical networks, scored in the four settings of the paper."""
    return Recipe(
        name="omniglot-protonet",
        summary="Prototypical networks on Omniglot: 60-way 1-shot episodes, small affine changes, "
        "one-cycle schedule.",
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=Part("conv4", {"size": 28, "norm": "running"}),
        learner=Part("protonet"),
        transform=Part("affine"),
        episodes=Setting(n_way=60, n_shot=1, n_query=5),
        validation=Setting(n_way=20, n_shot=1, n_query=15),
        # Like the paper's final run: train and validation characters, so nothing unseen is left to
        # select weights by.
        train_split="trainval",
        train=Plan(steps=8_000, validate_every=0),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15)),
            Evaluation(Setting(5, 5, 15)),
            Evaluation(Setting(20, 1, 15)),
            Evaluation(Setting(20, 5, 15)),
        ),
        paper="Snell, Swersky, Zemel 2017, arXiv:1703.05175",
    )


def omniglot_lake_protonet() -> Recipe:
    """Prototypical networks on the background alphabets alone, for the 20-way runs within one
    alphabet (``quickstudy eval RUN --protocol lake20``).
    """
    return Recipe(
        name="omniglot-lake-protonet",
        summary="Prototypical networks on Omniglot's 30 background alphabets: 8,000 steps of one "
        "60-way 1-shot task.",
        data=Part("omniglot", {"protocol": "lake", "rotations": True}),
        encoder=Part("conv4", {"size": 28, "norm": "running"}),
        learner=Part("protonet"),
        transform=Part("affine"),
        episodes=Setting(n_way=60, n_shot=1, n_query=5),
        validation=Setting(n_way=20, n_shot=1, n_query=15),
        train_split="trainval",
        train=Plan(steps=8_000, validate_every=0),
        # Ahead of AdamW at 3e-3 on background alphabets held out of training, in short trials that
        # are not kept.
        optimiser=Optimiser(name="muon", lr=2e-2, schedule="one_cycle"),
        evaluations=(Evaluation(Setting(20, 1, 15)),),
        paper="Lake, Salakhutdinov, Tenenbaum 2015, doi:10.1126/science.aab3050 (the task); Snell, "
        "Swersky, Zemel 2017, arXiv:1703.05175 (the method)",
    )


def omniglot_5w1s_maml() -> Recipe:
    """Second-order MAML on a budget: 160,000 tasks, about 25 minutes on 2 cores."""
    return Recipe(
        name="omniglot-5w1s-maml",
        summary="Second-order MAML on Omniglot, 5-way 1-shot, on a budget of 160,000 tasks.",
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=Part(
            "conv4", {"size": 28, "norm": "batch", "norm_scale": False, "downsample": "stride"}
        ),
        # The paper's rate 0.4 is for the loss summed over N·K and divided by K; ours is the mean
        # over N·K: 0.4 · 5 = 2.
        learner=Part("maml", {"n_out": 5, "inner_lr": 2.0, "inner_steps": 1}),
        episodes=Setting(n_way=5, n_shot=1, n_query=1),
        validation=Setting(n_way=5, n_shot=1, n_query=1),
        train=Plan(steps=5_000, tasks_per_step=32, validate_every=500, n_val_tasks=400),
        optimiser=Optimiser(lr=1e-3, schedule="cosine"),
        evaluations=(
            Evaluation(Setting(5, 1, 1)),
            Evaluation(Setting(5, 1, 15)),
            Evaluation(Setting(5, 1, 15), norm="support"),
        ),
        paper="Finn, Abbeel, Levine 2017, arXiv:1703.03400",
    )


def omniglot_5w1s_maml_paper() -> Recipe:
    """Second-order MAML with the paper's two million tasks: for a GPU."""
    budget = omniglot_5w1s_maml()
    return replace(
        budget,
        name="omniglot-5w1s-maml-paper",
        summary="Second-order MAML on Omniglot, 5-way 1-shot, with the paper's 60,000 steps of 32 "
        "tasks: for a GPU.",
        train=replace(budget.train, steps=60_000),
        optimiser=Optimiser(lr=1e-3),
    )
