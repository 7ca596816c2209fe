"""
Where a part is defective
=========================

Only good parts are known.
The memory holds the features of places of good parts; a place of a new image is anomalous when the
memory has nothing like it.
The encoder comes with the package, and nothing is trained.
"""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

from quickstudy.anomaly import PatchMemory

rng = np.random.default_rng(0)


def part() -> Image.Image:
    """A ring on brushed metal, never twice quite the same."""
    brushed = 150 + rng.normal(scale=8, size=(1, 128)) + rng.normal(scale=4, size=(128, 128))
    image = Image.fromarray(np.clip(brushed, 0, 255).astype(np.uint8)).convert("RGB")
    shift = rng.integers(-2, 3, size=2)
    box = (24 + shift[0], 24 + shift[1], 104 + shift[0], 104 + shift[1])
    ImageDraw.Draw(image).ellipse(box, outline=(60, 60, 70), width=14)
    return image


def scratched(image: Image.Image) -> Image.Image:
    """The part with a bright scratch."""
    ImageDraw.Draw(image).line((20, 92, 62, 60), fill=(235, 235, 235), width=3)
    return image


def broken(image: Image.Image) -> Image.Image:
    """The part with a piece of the ring missing."""
    ImageDraw.Draw(image).rectangle((84, 52, 112, 74), fill=(150, 150, 150))
    return image


good = [part() for _ in range(20)]
memory = PatchMemory("photographs").fit(good)

# %%
# The map shows how far each place is from the nearest place of a good part. A part is a defect
# where its largest value is above the threshold, which rejects 5 % of good parts.

new = {"good": part(), "scratched": scratched(part()), "broken": broken(part())}
maps = memory.maps(new.values())
scores = memory.anomaly(new.values())
figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
for column, (name, image), heat, score in zip(axes.T, new.items(), maps, scores, strict=True):
    verdict = "defect" if score > memory.line else "good"
    column[0].imshow(image)
    column[0].set_title(f"{name}: {score:.2f}, {verdict}")
    shown = column[1].imshow(heat, vmin=0, vmax=max(map(np.max, maps)), cmap="inferno")
for cell in axes.flat:
    cell.set_axis_off()
figure.colorbar(shown, ax=axes[1], label="distance to the memory")
figure.suptitle(f"The threshold is {memory.line:.2f}")
plt.show()
