"""CAML and CAMeLU on Omniglot: in-context learning on an encoder that stays as it is."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

_DATA = {"protocol": "vinyals", "rotations": True}
_ENCODER = Part("conv4", {"size": 28, "norm": "running"})
_EVALUATIONS = (
    Evaluation(Setting(5, 1, 15)),
    Evaluation(Setting(5, 5, 15)),
    Evaluation(Setting(20, 1, 15)),
)
_PLAN = Plan(steps=2_000, tasks_per_step=4, validate_every=0, clip_norm=1.0)
_OPTIMISER = Optimiser(lr=1e-3, schedule="one_cycle")


def omniglot_caml() -> Recipe:
    """CAML on the encoder of omniglot-protonet, which stays as it is."""
    return Recipe(
        name="omniglot-caml",
        summary="CAML on Omniglot, on the frozen encoder of the run omniglot-protonet.",
        data=Part("omniglot", _DATA),
        encoder=_ENCODER,
        learner=Part("caml"),
        episodes=Setting(n_way=20, n_shot=1, n_query=2),
        validation=Setting(n_way=5, n_shot=1, n_query=15),
        train_split="trainval",
        train=_PLAN,
        optimiser=_OPTIMISER,
        evaluations=_EVALUATIONS,
        paper="Fifty et al. 2024, arXiv:2310.10971 (the method)",
        start_from="runs/omniglot-protonet",
    )


def omniglot_camelu() -> Recipe:
    """CAMeLU: the same without a label, on an encoder that was trained without labels too."""
    return Recipe(
        name="omniglot-camelu",
        summary="CAMeLU on Omniglot without labels, on the frozen encoder of the run "
        "omniglot-self-simclr.",
        data=Part("unlabelled", {"of": "omniglot", "options": _DATA}),
        encoder=_ENCODER,
        learner=Part("caml"),
        transform=Part("mixed_views", {"support": 1, "queries": 2}),
        # 20 drawings become classes, and 40 others are mixed into their queries
        episodes=Setting(n_way=1, n_shot=20, n_query=40),
        validation=Setting(n_way=5, n_shot=1, n_query=15),
        train_split="trainval",
        train=_PLAN,
        optimiser=_OPTIMISER,
        evaluations=_EVALUATIONS,
        paper="Vettoruzzo et al. 2025, arXiv:2405.16124 (the method)",
        start_from="runs/omniglot-self-simclr",
    )
