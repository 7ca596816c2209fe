"""Neural processes that complete images."""

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def glyphs_completion_anp() -> Recipe:
    """An attentive neural process that completes printed characters from some of their pixels."""
    return Recipe(
        name="glyphs-completion-anp",
        summary="Attentive neural process on image completion: printed characters, 3 to 200 of 784 "
        "pixels known.",
        data=Part("image_completion", {"of": "glyphs", "most": 200}),
        encoder=Part("identity", {"out_dim": 2}),
        learner=Part("anp", {"width": 64, "depth": 3}),
        objective=Part("log_likelihood"),
        episodes=Setting(n_way=0, n_shot=200, n_query=200),
        validation=Setting(n_way=0, n_shot=200, n_query=200),
        train=Plan(steps=10_000, tasks_per_step=16, chunk=16, log_every=100),
        optimiser=Optimiser(lr=1e-3, schedule="cosine"),
        evaluations=(
            Evaluation(
                Setting(n_way=0, n_shot=200, n_query=784), n_tasks=480, metric="log_likelihood"
            ),
        ),
        paper="Kim et al. 2019, arXiv:1901.05761, section 4.2 (the task)",
    )
