"""The cell that a search has come to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quickstudy.algorithms.architecture.decode import (
    Architecture,
    adapted_logits,
    decode,
    mixed_cell_of,
)
from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.analysis.report import AbstractReport
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.words import percent
from quickstudy.encoders.cell import CellNet, pairs
from quickstudy.encoders.operations import OPERATIONS
from quickstudy.inner.learner import GradientLearner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = dict(
    zip(
        OPERATIONS,
        ("#0969da", "#54aeff", "#8250df", "#bf8700", "#e3b341", "#6e7781", "#d0d7de"),
        strict=True,
    )
)


@dataclass(frozen=True)
class ArchitectureReport(AbstractReport):
    """A cell, and how sure the search is of it.

    Args:
        edges: (from, to, operation), what `decode` makes of the weights.
        weights: of every operation on every edge that there could be, the mean over tasks; rows as
            `pairs`.
        nodes: of the cell.
        agreement: the share of the tasks whose own decoded cell has the edge, for each edge.
        n_tasks: how many tasks were adapted to; 1 where the wiring is the same for all.
    """

    edges: Architecture
    weights: tuple[tuple[float, ...], ...]
    nodes: int
    agreement: tuple[float, ...]
    n_tasks: int

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        return [
            (
                f"{i} → {j}",
                f"{name}, weight {self._weight(i, j, name):.2f}, in {percent(share)} of "
                f"{self.n_tasks} tasks' cells",
            )
            for (i, j, name), share in zip(self.edges, self.agreement, strict=True)
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """The cell, and beside it the weights that it was decoded from."""
        figure = new_figure(11.0, 4.2)
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        draw_cell(left, self.edges, self.nodes)
        left.set_title(title or "The decoded cell")
        image = right.imshow(self.weights, cmap="Blues", vmin=0, aspect="auto")
        right.set_xticks(
            range(len(OPERATIONS)), labels=list(OPERATIONS), rotation=30, ha="right", fontsize=8
        )
        right.set_yticks(
            range(len(self.weights)),
            labels=[f"{i} → {j}" for i, j in pairs(self.nodes)],
            fontsize=8,
        )
        for row, (i, j) in enumerate(pairs(self.nodes)):
            for name in (n for a, b, n in self.edges if (a, b) == (i, j)):
                right.plot(list(OPERATIONS).index(name), row, "o", color="#cf222e", markersize=5)
        right.set_title("weights of the mixture; dots: chosen", fontsize=10)
        figure.colorbar(image, ax=right, shrink=0.8)
        return save_figure(figure, path)

    def _weight(self, i: int, j: int, name: str) -> float:
        return self.weights[pairs(self.nodes).index((i, j))][list(OPERATIONS).index(name)]


def architecture(
    learner: AbstractLearner[Any], tasks: AbstractTasks, *, n_tasks: int = 100
) -> ArchitectureReport:
    """What a search has found: the mean of the mixture's weights after adaptation to each task,
    decoded.

    Of a learner on a cell that is given already, that cell.

    Args:
        learner: any on the encoder ``mixed_cell``; `t_nas` and `meta_nas` adapt its logits to each
            task, others have the same for all. Or any on ``cell``.
        tasks: to adapt to.
        n_tasks: the first so many.

    Raises:
        ConfigError: for another encoder.
    """
    encoder = getattr(learner, "encoder", None)
    if isinstance(encoder, CellNet):
        sure = [
            [float((i, j, name) in encoder.edges) for name in OPERATIONS]
            for i, j in pairs(encoder.nodes)
        ]
        return ArchitectureReport(
            encoder.edges, tuple(map(tuple, sure)), encoder.nodes, (1.0,) * len(encoder.edges), 1
        )
    mixed = mixed_cell_of(learner)
    logits = (
        adapted_logits(learner, tasks, n_tasks=n_tasks)
        if isinstance(learner, GradientLearner)
        else mixed.logits.detach()[None]
    )
    weights = (logits / mixed.temperature).softmax(2).mean(0)
    edges = decode(weights.log(), mixed.nodes)
    own = [set(decode(one, mixed.nodes)) for one in logits]
    agreement = tuple(sum(edge in cell for cell in own) / len(own) for edge in edges)
    return ArchitectureReport(
        edges,
        tuple(tuple(row) for row in torch.round(weights, decimals=4).tolist()),
        mixed.nodes,
        agreement,
        len(own),
    )


def draw_cell(axes: "Axes", edges: Architecture, nodes: int) -> None:
    """Nodes from left to right, an arrow for each edge."""
    for j in range(nodes + 2):
        label = "in" if j == 0 else "out" if j == nodes + 1 else str(j)
        axes.text(
            j,
            0,
            label,
            ha="center",
            va="center",
            fontsize=11,
            bbox={"boxstyle": "circle,pad=0.35", "fc": "white", "ec": "#24292f"},
        )
    for k, (i, j, name) in enumerate(edges):
        bend = (
            0.0
            if j == i + 1 and not any(e[:2] == (i, j) for e in edges[:k])
            else (-0.5 if k % 2 else 0.5)
        )
        arrow = {
            "arrowstyle": "-|>",
            "color": _COLOURS[name],
            "lw": 2,
            "shrinkA": 16,
            "shrinkB": 16,
            "connectionstyle": f"arc3,rad={bend}",
        }
        axes.annotate("", (j, 0), (i, 0), arrowprops=arrow)
        height = -bend * (j - i) / 2
        axes.text(
            (i + j) / 2,
            height + (0.06 if height >= 0 else -0.06),
            name,
            ha="center",
            va="bottom" if height >= 0 else "top",
            fontsize=9 if bend else 8,
            color=_COLOURS[name],
        )
    for j in range(1, nodes + 1):
        arrow = {
            "arrowstyle": "-|>",
            "color": "#afb8c1",
            "lw": 1,
            "linestyle": ":",
            "shrinkA": 16,
            "shrinkB": 16,
        }
        axes.annotate(
            "",
            (nodes + 1, 0),
            (j, 0),
            arrowprops=arrow
            | ({"connectionstyle": f"arc3,rad={0.12 * (nodes + 1 - j)}"} if j < nodes else {}),
        )
    axes.set(xlim=(-0.5, nodes + 1.5), ylim=(-1.1, 1.1), aspect="equal")
    axes.axis("off")
