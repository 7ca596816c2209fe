"""
Classes that were only described
================================

Zero-shot learning: fifty classes are told apart of which no example was shown, only a row of
attributes.
The learner has met examples and attributes of other classes, and has learned how they belong
together.
"""

import matplotlib.pyplot as plt
import torch

import quickstudy as qs
from quickstudy.data import Attributes, SemanticEpisodes

steps = 300
source = Attributes()
setting = qs.Setting(n_way=50, n_shot=1, n_query=10)
tasks = {
    split: SemanticEpisodes(source.split(split), source.vectors(split), setting)
    for split in ("train", "test")
}
torch.manual_seed(0)
learner = qs.algorithms.ZeroShot(
    qs.encoders.Identity(source.dim), semantic_dim=source.n_attributes, dim=64
)
plan = qs.Plan(steps=steps, tasks_per_step=1, validate_every=0)
qs.train(learner, tasks["train"], plan=plan, lr=3e-3)
print(qs.evaluate(learner, tasks["test"], n_tasks=50))

# %%
# Eight described classes: the rows are their examples, the columns what these are taken for.

described = source.vectors("test")[:8]
examples = source.split("test")
predictor = learner.fit(qs.Examples.single(described, torch.arange(8)), qs.Classes(8))
table = torch.zeros(8, 8)
for c in range(8):
    with torch.no_grad():
        answers = predictor(examples.x[torch.from_numpy(examples.index.rows_of(c))]).argmax(1)
    table[c] = torch.bincount(answers, minlength=8) / len(answers)

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
axes[0].imshow(described.numpy(), cmap="Greys", aspect="auto")
axes[0].set_xlabel("attribute")
axes[0].set_ylabel("class")
axes[0].set_title("all that is known: which attributes a class has (black)")
shown = axes[1].imshow(100 * table.numpy(), cmap="Blues", vmin=0, vmax=100)
axes[1].set_xlabel("taken for")
axes[1].set_ylabel("class of the examples")
axes[1].set_title(f"{100 * table.diagonal().mean():.0f} % of the examples are recognised")
figure.colorbar(shown, ax=axes[1], label="% of the examples")
plt.show()
