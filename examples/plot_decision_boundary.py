"""
What a support set does to a decision boundary
==============================================

A few-shot classifier is made by its support set.
Here are two classes in the plane, and what two heads make of one example each, of five, and of five
of which one is mislabelled.
The prototype head compares with the mean of each class: its boundary is halfway between two means.
The logistic head weighs the examples near the boundary most.
"""

import matplotlib.pyplot as plt
import numpy as np

import quickstudy as qs

rng = np.random.default_rng(7)
centres = np.array([[-1.0, 0.3], [1.0, -0.3]])
points = np.concatenate([centre + 0.8 * rng.normal(size=(5, 2)) for centre in centres])
labels = np.repeat([0, 1], 5)
wrong = labels.copy()
wrong[points[:, 0].argmin()] = 1
one = [0, 5]
supports = {
    "1 shot": (points[one], labels[one]),
    "5 shots": (points, labels),
    "5 shots, one mislabelled": (points, wrong),
}

# %%
# The metric "cosine", which suits the vectors of encoders, would compare directions.

grid = np.stack(np.meshgrid(np.linspace(-3, 3, 120), np.linspace(-2.5, 2.5, 100)), -1)
figure, axes = plt.subplots(2, 3, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
for row, head in zip(axes, ("prototype", "logistic"), strict=True):
    for cell, (title, (x, y)) in zip(row, supports.items(), strict=True):
        model = qs.FewShotClassifier(head, scaling="none", metric="euclidean").fit(x, y)
        share = model.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(grid.shape[:2])
        shown = cell.contourf(*grid.transpose(2, 0, 1), share, levels=20, cmap="RdBu", alpha=0.6)
        cell.contour(*grid.transpose(2, 0, 1), share, levels=[0.5], colors="black")
        cell.scatter(*x.T, c=y, cmap="RdBu", edgecolors="black", s=60)
        if head == "prototype":
            cell.set_title(title)
    row[0].set_ylabel(f"head: {head}\nsecond coordinate")
for cell in axes[1]:
    cell.set_xlabel("first coordinate")
figure.colorbar(shown, ax=axes, label="probability of the blue class", ticks=[0, 0.5, 1])
plt.show()
