"""
A neural process completes an image
===================================

An image is a function from the place of a pixel to its brightness.
An attentive neural process reads some pixels of a character that it has never seen and says, for
every other place, how bright it is likely to be and how sure it is.
This short training shows what it is; the recipe ``glyphs-completion-anp`` trains it to the end.
"""

import matplotlib.pyplot as plt
import torch

import quickstudy as qs

steps = 400
data = qs.data.ImageCompletion("glyphs", {"drawings": 2}, most=150)
setting = qs.Setting(n_way=0, n_shot=150, n_query=150)
torch.manual_seed(0)
learner = qs.algorithms.ANP(qs.encoders.Identity(2), width=64, depth=3)
plan = qs.Plan(steps=steps, tasks_per_step=16, chunk=16, validate_every=0)
qs.train(learner, data.tasks("train", setting), plan=plan, lr=2e-3)

# %%
# The more pixels are known, the sharper the answer.
# The last column shows where the process is unsure: along the edges of the strokes.

fig, axes = plt.subplots(3, 4, figsize=(8, 6), layout="constrained")
all_pixels = qs.data.ImageCompletion("glyphs", {"drawings": 2}).tasks(
    "test", qs.Setting(n_way=0, n_shot=300, n_query=784)
)
episode = all_pixels.batch([5])
for row, n_known in zip(axes, (20, 80, 300), strict=True):
    support = qs.Examples(episode.support.x[:, :n_known], episode.support.y[:, :n_known])
    with torch.no_grad():
        answer = learner.distribution(learner.adapt(support, episode.target), episode.query.x)
    place = ((support.x[0] + 1) / 2 * 27).round().long()
    known = torch.full((28, 28), torch.nan)
    known[place[:, 0], place[:, 1]] = support.y[0, :, 0]
    pictures = (known, answer.mean.view(28, 28), answer.stddev.view(28, 28), episode.query.y)
    titles = (f"{n_known} pixels known", "mean", "standard deviation", "the image")
    for cell, picture, title in zip(row, pictures, titles, strict=True):
        top = 0.5 if title == "standard deviation" else 1
        cell.imshow(picture.view(28, 28).numpy(), cmap="viridis", vmin=0, vmax=top)
        cell.set(title=title, xlabel="column", ylabel="row", xticks=(), yticks=())
        cell.set_facecolor("0.85")
plt.show()
