"""
A table is learned by reading it
================================

`quickstudy.estimators.InContextClassifier` was meta-trained on synthetic tables.
It reads the rows of a new table and answers in one pass: no weights change and there is nothing to
tune.
Here it stands beside logistic regression and nearest neighbours, with ever more rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine, make_moons
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstudy.estimators import InContextClassifier

models = {
    "in context": InContextClassifier(),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "nearest neighbour": make_pipeline(StandardScaler(), KNeighborsClassifier(1)),
}

# %%
# Accuracy on the rows that were not read, of the wine table with its 13 columns: the mean of ten
# draws of rows.

x, y = load_wine(return_X_y=True)
sizes = (9, 18, 36, 72)
accuracy = {name: np.zeros(len(sizes)) for name in models}
draws = 10
for seed in range(draws):
    rng = np.random.default_rng(seed)
    classes = [rng.permutation(np.flatnonzero(y == c)) for c in range(3)]
    for i, size in enumerate(sizes):
        read = np.concatenate([rows[: size // 3] for rows in classes])
        rest = np.setdiff1d(np.arange(len(y)), read)
        for name, model in models.items():
            accuracy[name][i] += model.fit(x[read], y[read]).score(x[rest], y[rest]) / draws

# %%
# And the boundary that it draws through two half moons of 30 points.

points, moon = make_moons(30, noise=0.15, random_state=0)
grid = np.stack(np.meshgrid(np.linspace(-1.7, 2.7, 80), np.linspace(-1.2, 1.7, 60)), -1)
share = models["in context"].fit(points, moon).predict_proba(grid.reshape(-1, 2))[:, 1]

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, values in accuracy.items():
    axes[0].plot(sizes, 100 * values, "o-", label=name)
axes[0].set_xscale("log", base=2)
axes[0].set_xticks(sizes, sizes)
axes[0].set_xlabel("rows that were read")
axes[0].set_ylabel("accuracy, %")
axes[0].set_title("wine, three classes")
axes[0].legend()
shown = axes[1].contourf(
    *grid.transpose(2, 0, 1), share.reshape(grid.shape[:2]), levels=20, cmap="RdBu", alpha=0.6
)
axes[1].scatter(*points.T, c=moon, cmap="RdBu", edgecolors="black")
axes[1].set_xlabel("first column")
axes[1].set_ylabel("second column")
axes[1].set_title("two half moons, in context")
figure.colorbar(shown, ax=axes[1], label="probability of the blue class", ticks=[0, 0.5, 1])
plt.show()
