"""The recipe of the encoder that comes with the package."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def symbols_protonet() -> Recipe:
    """Prototypical networks on handwritten and printed characters: the encoder of
    `quickstudy.pretrained.symbols`.
    """
    return Recipe(
        name="symbols-protonet",
        summary="Prototypical networks on Omniglot and the built-in characters together: the "
        "encoder that comes with the package.",
        data=Part("symbols"),
        encoder=Part("conv4", {"size": 28, "norm": "running"}),
        learner=Part("protonet"),
        transform=Part("affine"),
        episodes=Setting(n_way=60, n_shot=1, n_query=5),
        validation=Setting(n_way=20, n_shot=1, n_query=15),
        train=Plan(steps=4_000, validate_every=0),
        optimiser=Optimiser(lr=3e-3, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15), n_tasks=600),
            Evaluation(Setting(20, 1, 15), n_tasks=600),
            Evaluation(Setting(20, 5, 15), n_tasks=600),
        ),
        paper="Snell, Swersky, Zemel 2017, arXiv:1703.05175 (the method)",
    )
