"""
Imagined examples
=================

With one example of a class, nobody knows how its examples vary.
A hallucinator learns from other classes how examples vary, and imagines more of the new one.
Here the classes are clouds in the plane that are all long in the same direction: a single example
does not show it, but meta-training does.
Features are positive, as those of networks that end in a rectifier.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import quickstudy as qs
from quickstudy.data import ClassDataset, ClassIndex

steps = 1500
rng = np.random.default_rng(0)


def clouds(n_classes: int, name: str) -> ClassDataset:
    """Classes with twenty points each, spread along one diagonal."""
    centres = rng.uniform(5, 11, size=(n_classes, 1, 2))
    along = rng.normal(size=(n_classes, 20, 1)) * np.array([1.0, 1.0])
    points = centres + along + 0.15 * rng.normal(size=(n_classes, 20, 2))
    index = ClassIndex(
        np.repeat(np.arange(n_classes), 20), [f"{name} {c}" for c in range(n_classes)]
    )
    return ClassDataset("clouds", name, torch.from_numpy(points.reshape(-1, 2)).float(), index)


train_tasks = qs.data.Episodes(clouds(200, "train"), qs.Setting(n_way=5, n_shot=1, n_query=10))
test_tasks = qs.data.Episodes(clouds(50, "test"), qs.Setting(n_way=3, n_shot=1, n_query=15))
torch.manual_seed(0)
learner = qs.algorithms.Hallucinator(
    qs.encoders.Identity(2),
    generator="concat",
    head="matching",
    n_imagined=20,
    dropout=0.0,
    transform="un",
)
plan = qs.Plan(steps=steps, tasks_per_step=4, validate_every=0)
qs.train(learner, train_tasks, plan=plan, lr=3e-3)

# %%
# Large points are the one example of each class, crosses are imagined, and small points are the
# queries, which the learner has not seen.

episode = test_tasks.batch([1])
support, query = episode.support, episode.query
with torch.no_grad():
    imagined = learner.imagined(support.x, support.y, 3)[0]
figure, axes = plt.subplots(figsize=(6.5, 5), layout="constrained")
for c in range(3):
    color = f"C{c}"
    axes.scatter(*query.x[0][query.y[0] == c].T, s=12, color=color, alpha=0.5)
    axes.scatter(*imagined[c].T, marker="x", s=40, color=color)
    axes.scatter(*support.x[0][support.y[0] == c].T, s=160, color=color, edgecolors="black")
axes.set_xlabel("first feature")
axes.set_ylabel("second feature")
axes.set_title("One example (large), imagined ones (×) and what is true (small)")
axes.set_aspect("equal")
plt.show()
