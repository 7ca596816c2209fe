"""Pictures that a person understands at a glance: how training went, and what the learner does with
new tasks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.modes import in_mode
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RIGHT, _WRONG, _INK = "#1a7f37", "#cf222e", "#24292f"
_QUERIES_SHOWN = 10


def learning_curve(log: Sequence[Mapping[str, Any]], path: str | Path, *, title: str = "") -> Path:
    """Training loss and validation score against steps.

    Args:
        log: the lines of a training log.
        path: the picture to write.
        title: above it.
    """
    losses = [(line["step"], line["loss"]) for line in log if "loss" in line]
    scores = [(line["step"], line["val"], line["val_ci95"]) for line in log if "val" in line]
    figure = new_figure(7.0, 4.0)
    axes = figure.subplots()
    if losses:
        steps, values = np.array(losses).T
        width = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(steps, values, color="#8c959f", alpha=0.35, linewidth=0.8)
        axes.plot(steps[width - 1 :], smooth, color="#0969da", label="training loss (smoothed)")
        axes.set_ylim(bottom=min(0.0, float(values.min())))
    axes.set_xlabel("step")
    axes.set_ylabel("training loss", color="#0969da")
    handles, names = axes.get_legend_handles_labels()
    if scores:
        steps, values, half = np.array(scores).T
        other = axes.twinx()
        other.errorbar(
            steps,
            values,
            half,
            color=_RIGHT,
            marker="o",
            markersize=3,
            capsize=2,
            label="validation score, 95 % interval",
        )
        other.set_ylabel("score on validation classes", color=_RIGHT)
        if values.min() >= 0:
            other.set_ylim(max(0.0, float((values - half).min()) - 0.05), 1.0)
        more, more_names = other.get_legend_handles_labels()
        handles, names = handles + more, names + more_names
    axes.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    axes.set_title(title or "Learning curve")
    return save_figure(figure, path)


def episode_page(
    learner: AbstractLearner[Any],
    tasks: AbstractTasks,
    path: str | Path,
    *,
    n_tasks: int = 4,
    title: str = "",
) -> Path:
    """One page of tasks: what was learned from, and what was said of each query, right or wrong.

    Args:
        learner: who answers.
        tasks: the stream; its first ``n_tasks`` tasks are shown.
        path: the picture to write.
        n_tasks: how many rows.
        title: above it.
    """
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    with in_mode(learner, training=False), torch.no_grad():
        shown = [(e, learner(e.to(device)).cpu()[0]) for e in tasks.batches(range(n_tasks), 1)]
    if not isinstance(shown[0][0].target, Classes):
        if shown[0][0].query.x[0, 0].numel() > 1:
            return _answers(shown, path, title or "New tasks: answer against truth")
        return _curves(shown, path, title or "New tasks: points given, curve answered")
    if shown[0][0].support.x.ndim != 5:
        return _tables(shown, path, title or "New tasks: accuracy on each")
    return _pictures(shown, path, title)


def _pictures(shown: Sequence[tuple[Episode, Tensor]], path: str | Path, title: str) -> Path:
    supports = max(e.support.y.shape[1] for e, _ in shown)
    queries = min(_QUERIES_SHOWN, max(e.query.y.shape[1] for e, _ in shown))
    columns = supports + 1 + queries
    figure = new_figure(max(8.0, 0.72 * columns), 1.15 * len(shown) + 1.3)
    grid = figure.subplots(
        len(shown),
        columns,
        squeeze=False,
        gridspec_kw={"width_ratios": [1.0] * supports + [0.5] + [1.0] * queries},
    )
    right = total = 0
    for row, (episode, out) in zip(grid, shown, strict=True):
        for cell in row:
            cell.set_axis_off()
        order = episode.support.y[0].argsort(stable=True)
        for cell, i in zip(row[:supports], order.tolist(), strict=False):
            _draw(cell, episode.support.x[0, i], _letter(int(episode.support.y[0, i])), _INK)
        answers = out.argmax(-1)
        for cell, i in zip(row[supports + 1 :], range(queries), strict=False):
            if i >= len(answers):
                continue
            truth, answer = int(episode.query.y[0, i]), int(answers[i])
            right, total = right + (truth == answer), total + 1
            text = _letter(answer) if truth == answer else f"{_letter(answer)}, is {_letter(truth)}"
            _draw(
                cell, episode.query.x[0, i], text, _RIGHT if truth == answer else _WRONG, frame=True
            )
    head = (
        "Left: the only examples given of each class.   Right: new ones and what the learner "
        "said (green right, red wrong)"
    )
    figure.suptitle(
        f"{title}\n{head}: {right} of {total}" if title else f"{head}: {right} of {total}",
        fontsize=10,
    )
    return save_figure(figure, path)


def _draw(cell: "Axes", x: Tensor, text: str, colour: str, *, frame: bool = False) -> None:
    image = x.permute(1, 2, 0).numpy()
    low, high = float(image.min()), float(image.max())
    image = (image - low) / max(high - low, 1e-6)
    # Drawings are stored as light ink on dark, and read better as ink on paper.
    drawing = image.shape[-1] == 1 and float(image.mean()) < 0.35
    cell.imshow(
        image if image.shape[-1] == 3 else image[..., 0],
        cmap="gray_r" if drawing else "gray",
        interpolation="nearest",
    )
    cell.set_title(text, fontsize=9, color=colour, pad=2)
    if frame:
        cell.set_axis_on()
        cell.set_xticks([])
        cell.set_yticks([])
        for side in cell.spines.values():
            side.set_color(colour)
            side.set_linewidth(2)


def _curves(shown: Sequence[tuple[Episode, Tensor]], path: str | Path, title: str) -> Path:
    figure = new_figure(9.0, 2.4 * len(shown) / 2 + 1)
    grid = figure.subplots((len(shown) + 1) // 2, 2, squeeze=False).ravel()
    for cell, (episode, out) in zip(grid, shown, strict=False):
        x = episode.query.x[0].flatten().numpy()
        order = x.argsort()
        cell.plot(x[order], episode.query.y[0, :, 0].numpy()[order], color="#8c959f", label="truth")
        cell.plot(x[order], out[:, 0].numpy()[order], color="#0969da", label="answered")
        cell.plot(
            episode.support.x[0].flatten(),
            episode.support.y[0, :, 0],
            "o",
            color=_INK,
            markersize=4,
            label="points given",
        )
    grid[0].legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    return save_figure(figure, path)


def _answers(shown: Sequence[tuple[Episode, Tensor]], path: str | Path, title: str) -> Path:
    figure = new_figure(9.0, 4.5 * len(shown) / 2 + 1)
    grid = figure.subplots((len(shown) + 1) // 2, 2, squeeze=False).ravel()
    for cell, (episode, out) in zip(grid, shown, strict=False):
        truth = episode.query.y[0].flatten()
        bounds = [float(truth.min()), float(truth.max())]
        cell.plot(bounds, bounds, color="#8c959f", linewidth=1)
        cell.plot(truth, out.flatten(), ".", color="#0969da", markersize=3)
        cell.set_xlabel("truth")
        cell.set_ylabel("answer")
    figure.suptitle(title, fontsize=11)
    return save_figure(figure, path)


def _tables(shown: Sequence[tuple[Episode, Tensor]], path: str | Path, title: str) -> Path:
    figure = new_figure(6.0, 3.0)
    axes = figure.subplots()
    axes.bar(
        range(len(shown)),
        [float((out.argmax(-1) == e.query.y[0]).float().mean()) for e, out in shown],
        color="#0969da",
    )
    axes.set_ylim(0, 1)
    axes.set_xlabel("task")
    axes.set_ylabel("accuracy")
    axes.set_title(title)
    return save_figure(figure, path)


def _letter(c: int) -> str:
    return chr(ord("A") + c) if c < 26 else str(c)
