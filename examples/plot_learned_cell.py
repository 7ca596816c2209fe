"""
A learned cell
==============

Architecture search learns the wiring of a network together with its weights.
Each edge of a cell begins as a mixture of operations, and the search learns how much each of them
counts.
At the end the strongest are kept.
"""

import matplotlib.pyplot as plt
import torch

import quickstudy as qs
from quickstudy.analysis import architecture
from quickstudy.analysis.architecture import draw_cell

steps = 25
data = qs.data.Glyphs()
setting = qs.Setting(n_way=5, n_shot=1, n_query=5)
train_tasks = data.tasks("train", setting)
val_tasks = data.tasks("val", setting)
torch.manual_seed(0)
encoder = qs.encoders.MixedCellNet(channels=8, nodes=2, layers=2, norm="batch")
search = qs.algorithms.t_nas(encoder, n_out=5, inner_lr=0.5, inner_steps=2)
plan = qs.Plan(steps=steps, tasks_per_step=4, validate_every=0, clip_norm=10.0)
qs.train(search, train_tasks, plan=plan, lr=3e-3)

# %%
# The cell that the search has come to: nodes from left to right, an arrow for each operation.

report = architecture(search, val_tasks, n_tasks=5)
for edge, operation in report.rows():
    print(edge, operation)

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
draw_cell(axes, report.edges, nodes=2)
axes.set_title(f"The cell after {steps} steps of search")
plt.show()
