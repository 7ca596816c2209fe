"""Meta reinforcement learning: learn to learn where a goal is, from the rewards of twenty episodes.

    python examples/navigation.py --iterations 3     # a look at it, seconds
    python examples/navigation.py                    # better numbers, four minutes

Nothing is downloaded. For your own tasks: subclass quickstudy.rl.AbstractEnvironment, or wrap an
environment of gymnasium in quickstudy.rl.gym.EnvFamily.
"""

import argparse

import torch

from quickstudy.rl import TRPO, Navigation2D, maml_policy, returns_along, train_policy


def main() -> None:
    """Meta-train, then adapt to goals that were never met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=120, help="outer steps")
    parser.add_argument(
        "--episodes", type=int, default=20, help="episodes that a step of adaptation learns from"
    )
    args = parser.parse_args()

    torch.manual_seed(0)
    world = Navigation2D()
    learner = maml_policy(world, inner_lr=0.1, later_lr=0.05, n_episodes=args.episodes)

    def told(i: int, happened: dict[str, float]) -> None:
        if i % 10 == 0:
            print(
                f"iteration {i}: return {happened['before']:.1f} before adaptation, "
                f"{happened['after']:.1f} after one step"
            )

    train_policy(learner, world, TRPO(), iterations=args.iterations, on_iteration=told)
    before, *after = returns_along(learner, world, n_tasks=40, steps=3).mean(1).tolist()
    print(
        f"40 goals never met: {before:.1f} before adaptation, then "
        + ", ".join(f"{r:.1f}" for r in after)
        + " after one, two and three steps."
    )


if __name__ == "__main__":
    main()
