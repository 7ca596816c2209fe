"""Meta-training of policies, and their scores on tasks that they have never met."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from quickstudy.core.rng import generator
from quickstudy.rl.adapt import PolicyLearner
from quickstudy.rl.environment import AbstractEnvironment
from quickstudy.rl.outer import AbstractOuter


def train_policy(
    learner: PolicyLearner,
    environment: AbstractEnvironment,
    outer: AbstractOuter,
    *,
    iterations: int,
    n_tasks: int = 20,
    seed: int = 0,
    on_iteration: Callable[[int, dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Meta-train on new tasks of the training split at every iteration.

    Args:
        learner: changed in place.
        environment: where the tasks are from.
        outer: `TRPO` or `PPO`.
        iterations: outer steps.
        n_tasks: of each.
        seed: of tasks and actions.
        on_iteration: called with the number of each iteration and its results: the mean return
            before and after adaptation, and the outer step's own numbers.

    Returns:
        what happened at every iteration.
    """
    learner.train()
    history = []
    for i in range(iterations):
        tasks = environment.tasks(n_tasks, first=(seed * 1_000_000 + i) * n_tasks)
        happened = learner.adapt(environment, tasks, generator("rl", seed, i))
        stepped = outer.step(learner, happened)
        history.append(
            {
                "before": float(happened.returns[0].mean()),
                "after": float(happened.returns[-1].mean()),
                **stepped,
            }
        )
        if on_iteration:
            on_iteration(i, history[-1])
    return history


def returns_along(
    learner: PolicyLearner,
    environment: AbstractEnvironment,
    *,
    n_tasks: int = 40,
    steps: int = 3,
    seed: int = 0,
) -> Float[Tensor, "L T"]:
    """The mean return of each of the first test tasks after 0, 1, … ``steps`` steps of
    adaptation.
    """
    learner.eval()
    return learner.adapt(
        environment,
        environment.tasks(n_tasks, split="test"),
        generator("rl", "test", seed),
        steps=steps,
    ).returns
