"""
A policy that adapts
====================

An agent walks on a plane to a goal that it does not know.
It sees the reward alone: minus the distance to the goal.
Meta-training (MAML with TRPO) finds a policy that one or two gradient steps on twenty episodes turn
towards the goal.
"""

import matplotlib.pyplot as plt
import torch

from quickstudy.rl import TRPO, Navigation2D, maml_policy, train_policy

iterations = 60
torch.manual_seed(0)
world = Navigation2D(horizon=30)
learner = maml_policy(world, inner_lr=0.03, n_episodes=20)
train_policy(learner, world, TRPO(), iterations=iterations, n_tasks=10)

# %%
# Four goals that were never met. The episodes before adaptation are grey, those after three steps
# have the colour of their goal.

tasks = torch.stack([world.task("test", number) for number in (0, 1, 2, 5)])
generator = torch.Generator().manual_seed(0)
happened = learner.eval().adapt(world, tasks, generator, steps=3)
returns = happened.returns.mean(1)
print("Mean return after 0, 1, 2 and 3 steps:", [round(float(value), 1) for value in returns])

figure, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
before, after = (happened.evidence[i].trajectories.observed for i in (0, -1))
for t, goal in enumerate(tasks):
    for episode in range(4):
        axes[0].plot(*before[t, episode].T, color="0.8", linewidth=1)
        axes[0].plot(*after[t, episode].T, color=f"C{t}", linewidth=1)
    axes[0].plot(*goal, "*", color=f"C{t}", markersize=18, markeredgecolor="black")
axes[0].set_xlabel("x")
axes[0].set_ylabel("y")
axes[0].set_aspect("equal")
axes[0].set_title("paths to the goals (stars)")
for t in range(len(tasks)):
    axes[1].plot(range(4), happened.returns[:, t], "o-", color=f"C{t}")
axes[1].set_xticks(range(4))
axes[1].set_xlabel("gradient steps of adaptation")
axes[1].set_ylabel("mean return")
axes[1].set_title("what adaptation brings")
plt.show()
