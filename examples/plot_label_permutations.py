"""
The order of the classes matters to MAML
========================================

Which class of a task is number 0 is arbitrary.
A learner whose output layer is meta-learned answers differently under another numbering; one that
compares with class means cannot.
Each task is scored under all 120 numberings of its five classes.
"""

import matplotlib.pyplot as plt
import torch

import quickstudy as qs
from quickstudy.analysis import label_permutations

steps = 120
data = qs.data.Glyphs()
setting = qs.Setting(n_way=5, n_shot=1, n_query=5)
train_tasks = data.tasks("train", setting)
test_tasks = data.tasks("test", setting)


def encoder() -> qs.AbstractEncoder:
    """A small convolutional network that is normalised with each task's support set."""
    torch.manual_seed(0)
    return qs.encoders.Conv4(width=16, norm="support", norm_scale=False)


learners = {
    "first-order MAML": qs.algorithms.fomaml(encoder(), n_out=5, inner_lr=0.5, inner_steps=2),
    "prototypical network": qs.algorithms.ProtoNet(encoder()),
}
plan = qs.Plan(steps=steps, tasks_per_step=4, validate_every=0)
for learner in learners.values():
    qs.train(learner, train_tasks, plan=plan, lr=3e-3)

# %%
# Bars reach from the worst numbering of a task to its best; dots are the mean.

n_tasks = 12
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for cell, (name, learner) in zip(axes, learners.items(), strict=True):
    report = label_permutations(learner, test_tasks, n_tasks=n_tasks)
    mean, worst, best = (torch.tensor(values) * 100 for values in zip(*report.by_task, strict=True))
    order = mean.argsort()
    cell.vlines(range(n_tasks), worst[order], best[order], linewidth=4, alpha=0.4)
    cell.plot(range(n_tasks), mean[order], "o")
    cell.set_title(f"{name}: {(best - worst).mean():.0f} points between worst and best")
    cell.set_xlabel("task, sorted by its mean")
axes[0].set_ylabel("accuracy, %")
plt.show()
