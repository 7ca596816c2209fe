"""Rows of reinforcement learning: 2-D navigation to goals that were never met."""

import functools
import time
from collections.abc import Iterator

from safetensors.torch import load_file, save_file

from quickstudy.bench.measurement import Measurement, Setup, report_of
from quickstudy.core.disk import make_folder
from quickstudy.core.learner import parameter_count
from quickstudy.core.rng import seed_everything
from quickstudy.evaluation import Report
from quickstudy.rl import (
    TRPO,
    Navigation2D,
    PolicyLearner,
    maml_policy,
    returns_along,
    train_policy,
)

_GOALS, _STEPS, _TASKS = 40, 3, 20
_ITERATIONS = 100
# How many inner steps each is trained with; the last one is not trained at all.
_POLICIES = {"navigation-maml": 1, "navigation-joint": 0, "navigation-fresh": None}


def navigation() -> Iterator[tuple[str, Measurement]]:
    """MAML, a policy trained on all goals at once, and a fresh one, along their adaptation."""
    settings = tuple(f"{k}-steps" for k in range(_STEPS + 1))
    for name, inner_steps in _POLICIES.items():
        iterations = 0 if inner_steps is None else _ITERATIONS
        fixes = {"inner_steps": inner_steps or 0, "iterations": iterations, "goals": _GOALS}
        score = functools.partial(_scored, name, inner_steps or 0, iterations)
        yield name, Measurement(settings, fixes, score)


def _scored(name: str, inner_steps: int, iterations: int, title: str, setup: Setup) -> Report:
    learner, seconds = _trained(name, inner_steps, iterations, setup)
    along = returns_along(learner, Navigation2D(), n_tasks=_GOALS, steps=_STEPS)
    return report_of(
        along[int(title[0])].tolist(),
        algorithm=name,
        data="navigation",
        metric="return",
        n_shot=int(title[0]),
        parameters=parameter_count(learner),
        train_tasks=iterations * _TASKS,
        train_seconds=seconds,
    )


def _trained(
    name: str, inner_steps: int, iterations: int, setup: Setup
) -> tuple[PolicyLearner, float | None]:
    """The policy, trained now or before, and the seconds where it was now."""
    seed_everything("weights", "navigation")
    learner = maml_policy(Navigation2D(), inner_lr=0.1, later_lr=0.05, inner_steps=inner_steps)
    file = setup.folder / f"{name}-{iterations}.safetensors"
    if file.exists():
        learner.load_state_dict(load_file(file))
        return learner, None
    began = time.perf_counter()
    if iterations:
        train_policy(learner, Navigation2D(), TRPO(), iterations=iterations, n_tasks=_TASKS)
    make_folder(setup.folder)
    save_file(learner.state_dict(), file)
    return learner, round(time.perf_counter() - began, 1)
