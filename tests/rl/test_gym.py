"""The tasks through gymnasium."""

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from quickstudy.core.errors import ConfigError  # noqa: E402
from quickstudy.rl import TRPO, Navigation2D, maml_policy, play, train_policy  # noqa: E402
from quickstudy.rl.gym import EnvFamily, TaskEnv  # noqa: E402


@pytest.mark.parametrize("name", ["Navigation2D", "Bandit", "TabularWorld"])
def test_they_are_registered_and_behave(name: str) -> None:
    env = gymnasium.make(f"quickstudy.rl.gym:quickstudy/{name}-v0").unwrapped
    first, second = env.sample_tasks(2)
    assert not np.array_equal(first, second)
    env.set_task(second)
    seen, _ = env.reset(seed=3)
    assert env.observation_space.contains(seen)
    env.action_space.seed(0)
    action, told = env.action_space.sample(), []
    for _ in range(2):
        env.reset(seed=3)
        told.append([env.step(action)[1], env.step(action)[1]])
    assert told[0] == told[1]
    with pytest.raises(ConfigError, match="Take one of sample_tasks"):
        env.set_task(np.zeros(1000, dtype=np.float32))


def test_navigation_is_the_same_one_by_one_and_side_by_side() -> None:
    family = EnvFamily(
        lambda: TaskEnv(Navigation2D, horizon=5),
        lambda split, number: Navigation2D().task(split, number),
        horizon=5,
    )
    world = Navigation2D(horizon=5)
    tasks = world.tasks(2)
    both = [
        play(w, tasks, lambda seen: world.oracle(tasks, seen), 2, torch.Generator().manual_seed(0))
        for w in (family, world)
    ]
    torch.testing.assert_close(both[0].returns, both[1].returns)
    env = TaskEnv(Navigation2D, horizon=5)
    env.set_task(tasks[0].numpy())
    env.reset(seed=0)
    out = [env.step(np.zeros(2, dtype=np.float32)) for _ in range(5)]
    assert [o[3] for o in out] == [False] * 4 + [True]


@pytest.mark.parametrize("kind", ["direction", "velocity"])
def test_two_iterations_on_the_half_cheetah(kind: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # the simulator writes its warnings to where it runs
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    from quickstudy.rl.half_cheetah import HalfCheetahTask, half_cheetah

    torch.manual_seed(0)
    world = half_cheetah(kind, horizon=20)
    assert (world.n_observed, world.n_actions, world.discrete) == (20, 6, False)
    learner = maml_policy(world, widths=(16,), n_episodes=2)
    told = train_policy(learner, world, TRPO(), iterations=2, n_tasks=2)
    assert len(told) == 2
    assert all(np.isfinite(v) for t in told for v in t.values())
    env = HalfCheetahTask(kind=kind)
    env.set_task(np.array([-1.0 if kind == "direction" else 1.5], dtype=np.float32))
    env.reset(seed=0)
    action = np.full(6, 0.5)
    _, reward, _, _, info = env.step(action)
    v = info["x_velocity"]
    assert reward == pytest.approx((-v if kind == "direction" else -abs(v - 1.5)) - 0.05 * 6 * 0.25)
    with pytest.raises(ConfigError, match="No kind is called"):
        HalfCheetahTask(kind="up")
