"""
MAML on sine waves, before and after
====================================

Each task is one sine wave with its own amplitude and phase.
MAML learns weights from which one gradient step on ten points gives the wave.
The same steps from weights that were not meta-trained do not.
The training here takes seconds; the recipe ``sinusoid-maml`` trains twenty times as long.
"""

import matplotlib.pyplot as plt
import torch

import quickstudy as qs
from quickstudy.core.types import Episode

steps = 2000
data = qs.data.Sinusoid()
setting = qs.Setting(n_way=0, n_shot=10, n_query=10)


def network() -> qs.AbstractLearner:
    """A small network whose weights are adapted by gradient steps."""
    torch.manual_seed(0)
    encoder = qs.encoders.MLP(in_dim=1, widths=[40, 40])
    return qs.algorithms.maml(encoder, n_out=1, inner_lr=0.01, inner_steps=1)


untrained, trained = network().eval(), network()
plan = qs.Plan(steps=steps, tasks_per_step=25, validate_every=0)
result = qs.train(trained, data.tasks("train", setting), plan=plan, lr=2e-3)

# %%
# A wave that neither has met, after no step, one, and ten.

episode = data.tasks("test", setting).batch([10])
x = torch.linspace(-5, 5, 200).view(1, -1, 1)
asked = Episode(episode.support, type(episode.query)(x, torch.zeros_like(x)), episode.target)
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for cell, learner, title in zip(
    axes, (untrained, trained), ("not meta-trained", "meta-trained"), strict=True
):
    with torch.no_grad():
        answers = learner.answers_along(asked, steps=10)
    for step, shade in ((0, "0.75"), (1, "tab:orange"), (10, "tab:blue")):
        name = "before adaptation" if step == 0 else f"after {step} step{'s' * (step > 1)}"
        cell.plot(x.flatten(), answers[step].flatten(), color=shade, label=name)
    cell.plot(
        episode.support.x.flatten(),
        episode.support.y.flatten(),
        "o",
        color="black",
        label="support set",
    )
    cell.set_title(title)
    cell.set_xlabel("x")
axes[0].set_ylabel("y")
axes[1].legend()
plt.show()
