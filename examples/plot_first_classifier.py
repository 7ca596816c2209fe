"""
A first classifier that says "unknown"
======================================

Five images per class are enough: an encoder that is trained already turns images into vectors, and
a classifier learns the classes from these.
A cohort of images that belong to no class sets the threshold below which the answer is "unknown".
"""

# %%
# The images
# ----------
# Printed characters, dark on light, one folder per class, as your own images would lie. Eight
# characters are known, and forty others are the cohort.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import quickstudy as qs

root = Path(tempfile.mkdtemp())
characters = qs.data.Glyphs().split("test")
order = np.random.default_rng(2).permutation(len(characters.index))
known, cohort, others = np.split(order[:56], [8, 48])


def save(classes: np.ndarray, drawings: range, folder: Path) -> None:
    """One folder per character, with some of its drawings."""
    for c in classes:
        path = folder / characters.index.names[c].split()[-1].lower()
        path.mkdir(parents=True, exist_ok=True)
        for k in drawings:
            row = int(characters.index.rows_of(int(c))[k])
            Image.fromarray(255 - np.asarray(characters.x[row, 0])).save(path / f"{c}-{k}.png")


save(known, range(5), root / "known")
save(cohort, range(1), root / "cohort")
save(known, range(5, 6), root / "new")
save(others, range(1), root / "others")

# %%
# Fit and ask
# -----------
# Of the images that belong to no class, 5 % may be taken for one.

model = qs.fit_folder(
    root / "known", encoder="symbols", false_accept_rate=0.05, cohort=root / "cohort"
)
answers = model.predict_files([root / "new", root / "others"])

# %%
# The upper row shows new drawings of the known characters, the lower row characters that the model
# has never seen. Under each image stands the answer and its membership score.

figure, axes = plt.subplots(2, 8, figsize=(11, 3.6), layout="constrained")
for cell, answer in zip(axes.flat, answers, strict=True):
    path = Path(answer.item)
    unknown = path.is_relative_to(root / "others")
    right = answer.label == ("unknown" if unknown else path.parent.name)
    cell.imshow(Image.open(path), cmap="gray")
    cell.set_title(f"{answer.label}\n{answer.score:.2f}", color="tab:green" if right else "tab:red")
    cell.set_xticks([])
    cell.set_yticks([])
axes[0, 0].set_ylabel("known")
axes[1, 0].set_ylabel("unknown")
figure.suptitle(f"Answers and membership scores; the threshold is {answers[0].threshold:.2f}")
plt.show()
