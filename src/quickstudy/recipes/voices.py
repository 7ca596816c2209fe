"""The recipe of an encoder that knows voices again."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def voices_protonet() -> Recipe:
    """Prototypical networks on synthetic speakers, a few minutes on 2 cores; see
    `quickstudy.pretrained.SpectrogramEncoder`.
    """
    return Recipe(
        name="voices-protonet",
        summary="Prototypical networks on log-mel spectrograms of synthetic speakers, tested on "
        "speakers and sentences never heard in training.",
        data=Part("voices"),
        encoder=Part("conv4", {"size": 64, "norm": "running"}),
        learner=Part("protonet"),
        episodes=Setting(n_way=20, n_shot=1, n_query=2),
        validation=Setting(n_way=5, n_shot=1, n_query=10),
        train=Plan(steps=1000, validate_every=250, n_val_tasks=200),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 10), n_tasks=600),
            Evaluation(Setting(5, 5, 10), n_tasks=600),
        ),
        paper="Snell, Swersky, Zemel 2017, arXiv:1703.05175 (the method)",
    )
