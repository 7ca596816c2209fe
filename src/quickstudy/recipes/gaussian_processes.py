"""Neural processes on curves of Gaussian processes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

_PAPER = "Nguyen and Grover 2022, arXiv:2207.04179, table 1"
_MUON = Optimiser(name="muon", lr=5e-3, schedule="cosine")
# Each with its steps (the paper: 100,000 of Adam). The mean of the points learns slowly; the ANP
# learned less from 20,000 steps of Muon (0.53) than from 40,000 of AdamW (0.83).
_LEARNERS = {
    "cnp": ("Conditional neural process", 100_000, _MUON),
    "anp": ("Attentive neural process", 40_000, Optimiser(lr=5e-4, schedule="cosine")),
    "tnp": ("Transformer neural process", 20_000, _MUON),
}


def gaussian_process_recipes() -> dict[str, Callable[[], Recipe]]:
    """A recipe for each neural process: ``gp-cnp``, ``gp-anp``, ``gp-tnp``."""
    return {f"gp-{learner}": partial(_recipe, learner) for learner in _LEARNERS}


def _recipe(learner: str) -> Recipe:
    points: dict[str, Any] = {"kernel": "rbf", "points": 50}
    title, steps, optimiser = _LEARNERS[learner]
    setting = Setting(n_way=0, n_shot=10, n_query=10)
    return Recipe(
        name=f"gp-{learner}",
        summary=f"{title} on Gaussian-process curves, 3 to 46 of fewer than 50 points known.",
        data=Part("gaussian_processes", points),
        encoder=Part("identity", {"out_dim": 1}),
        learner=Part(learner),
        objective=Part("log_likelihood"),
        episodes=setting,
        validation=setting,
        train=Plan(
            steps=steps,
            tasks_per_step=16,
            chunk=16,
            log_every=500,
            checkpoint_every=1_000,
        ),
        optimiser=optimiser,
        evaluations=(
            Evaluation(
                setting,
                n_tasks=4_800,
                metric="log_likelihood",
            ),
        ),
        paper=_PAPER,
    )
