"""
A neural process predicts a curve
=================================

A task is one curve, known at a few points.
An attentive neural process reads the points and answers, at every other place, with a mean and a
standard deviation, in one pass and without any gradient step.
This short training shows what it is; the recipe ``gp-anp`` trains it to the end.
"""

import matplotlib.pyplot as plt
import torch

import quickstudy as qs

steps = 2500
data = qs.data.GaussianProcesses(points=30)
setting = qs.Setting(n_way=0, n_shot=10, n_query=10)
torch.manual_seed(0)
learner = qs.algorithms.ANP(qs.encoders.Identity(1), width=64, depth=2)
plan = qs.Plan(steps=steps, tasks_per_step=16, chunk=16, validate_every=0)
qs.train(learner, data.tasks("train", setting), plan=plan, lr=2e-3)

# %%
# Where points are known the band is narrow, and away from them it is wide: the process says what
# it does not know.

curves = qs.data.GaussianProcesses().tasks("test", qs.Setting(n_way=0, n_shot=20, n_query=80))
episode = curves.batch([2])
x = torch.linspace(-2, 2, 200).view(1, -1, 1)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
for cell, n_points in zip(axes, (2, 6, 20), strict=True):
    support = qs.Examples(episode.support.x[:, :n_points], episode.support.y[:, :n_points])
    with torch.no_grad():
        answer = learner.distribution(learner.adapt(support, episode.target), x)
    mean, std = answer.mean.flatten(), answer.stddev.flatten()
    cell.fill_between(x.flatten(), mean - 2 * std, mean + 2 * std, alpha=0.25, label="±2 std")
    cell.plot(x.flatten(), mean, label="mean")
    cell.plot(
        *(values.flatten() for values in (episode.query.x, episode.query.y)),
        ".",
        color="0.6",
        markersize=3,
        label="the curve",
    )
    cell.plot(support.x.flatten(), support.y.flatten(), "o", color="black", label="known")
    cell.set_title(f"{n_points} points known")
    cell.set_xlabel("x")
axes[0].set_ylabel("y")
axes[2].legend(fontsize=8)
plt.show()
