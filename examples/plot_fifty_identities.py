"""
Fifty identities and impostors
==============================

A gallery knows fifty identities from two templates each.
It must recognise new images of them, and refuse everybody else.
Characters stand for people here; with photographs of faces take ``open_encoder("faces")``.
The threshold is set by a cohort for a false-accept rate of 5 %.
Galleries need the extra ``gallery``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import quickstudy as qs
from quickstudy.gallery import Gallery

encoder = qs.open_encoder("symbols")
characters = qs.data.Glyphs().split("test")
order = np.random.default_rng(0).permutation(len(characters.index))
enrolled, cohort, impostors = np.split(order[:250], [50, 150])


def vectors(classes: np.ndarray, drawings: slice) -> np.ndarray:
    """The vectors of some drawings of each character, one row each."""
    rows = np.concatenate([characters.index.rows_of(int(c))[drawings] for c in classes])
    return encoder.encode(list(characters.x[rows]))


# %%
# Enrol and calibrate
# -------------------

gallery = Gallery.create(Path(tempfile.mkdtemp()) / "door.db", encoder=encoder.key, dim=encoder.dim)
templates = vectors(enrolled, slice(2)).reshape(50, 2, -1)
names = [characters.index.names[c] for c in enrolled]
for name, pair in zip(names, templates, strict=True):
    # Some characters look alike. With people an operator would look at the warning.
    gallery.enrol(name, pair, force=True)
gallery.calibrate(0.05, cohort=vectors(cohort, slice(1)))

# %%
# Who gets in
# -----------

members = gallery.identify(vectors(enrolled, slice(2, 5)))
others = gallery.identify(vectors(impostors, slice(1)))
recognised = np.mean(
    [answer.identity == name for answer, name in zip(members, np.repeat(names, 3), strict=True)]
)
accepted = np.mean([answer.identity is not None for answer in others])
print(f"{recognised:.0%} of 150 probes of members are recognised.")
print(f"{accepted:.0%} of {len(others)} impostors are accepted; 5 % were asked for.")

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
similarities = [answer.similarity for answer in (*members, *others)]
bins = np.histogram_bin_edges(similarities, 40)
for answers, label in ((members, "members"), (others, "impostors")):
    axes.hist([answer.similarity for answer in answers], bins, density=True, alpha=0.6, label=label)
axes.axvline(members[0].threshold, color="black", linestyle="--", label="threshold")
axes.set_xlabel("similarity to the nearest identity")
axes.set_ylabel("density of probes")
axes.legend()
axes.set_title(f"{recognised:.0%} of members recognised, {accepted:.0%} of impostors accepted")
gallery.close()
plt.show()
