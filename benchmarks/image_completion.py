"""Image completion by a neural process: how much it knows of a character from some of its pixels.

quickstudy train glyphs-completion-anp --out runs/glyphs-completion-anp
python benchmarks/image_completion.py runs/glyphs-completion-anp
    writes benchmarks/image_completion.json and docs/images/image_completion.png
python benchmarks/table.py      writes its table into docs/methods/neural_processes.md
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rendering import Table, columns_of
from torch import Tensor

from quickstudy.algorithms.in_context.gaussian import AbstractNeuralProcess
from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode
from quickstudy.data import ImageCompletion
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import load_run

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "image_completion.json"
PICTURE = ROOT / "docs" / "images" / "image_completion.png"
SIDE = 28
KNOWN = (10, 50, 100, 200)
"""Numbers of known pixels."""
N_TASKS, BATCH = 240, 16
IMAGES = (0, 1, 2)
"""Numbers of the tasks that are drawn."""


def tasks(data: ImageCompletion, known: int, numbers: range | tuple[int, ...]) -> Episode:
    """Test images of which so many pixels are known, and all are asked for."""
    return data.tasks("test", Setting(0, known, SIDE**2)).batch(numbers)


def answer(
    learner: AbstractNeuralProcess[Any], e: Episode
) -> tuple[Float[Tensor, "T Q 1"], Float[Tensor, "T Q 1"], Float[Tensor, "T Q 1"]]:
    """Mean, standard deviation and log density of every pixel."""
    with torch.no_grad():
        said = learner.distribution(learner.adapt(e.support, e.target), e.query.x)
    return said.mean, said.stddev, said.log_prob(e.query.y)


def score(learner: AbstractNeuralProcess[Any], data: ImageCompletion, known: int) -> dict[str, Any]:
    """Log-likelihood and mean squared error, with that of the mean of the known pixels beside."""
    values: dict[str, list[float]] = {"log_likelihood": [], "mse": [], "mse_of_mean": []}
    for at in range(0, N_TASKS, BATCH):
        e = tasks(data, known, range(at, at + BATCH))
        mean, _, density = answer(learner, e)
        guess = e.support.y.mean(1, keepdim=True)
        values["log_likelihood"] += density.mean((1, 2)).tolist()
        values["mse"] += (mean - e.query.y).square().mean((1, 2)).tolist()
        values["mse_of_mean"] += (guess - e.query.y).square().mean((1, 2)).tolist()
    return {"known": known, **{name: mean_ci95(each) for name, each in values.items()}}


def rows() -> list[str]:
    """The table, from the file."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    titles = ("known pixels", "log-likelihood", "mean squared error", "of the known pixels' mean")
    lines = [
        (
            f"{row['known']} of {SIDE**2}",
            "{:.2f} ± {:.2f}".format(*row["log_likelihood"]),
            *("{:.4f} ± {:.4f}".format(*row[name]) for name in ("mse", "mse_of_mean")),
        )
        for row in measured["rows"]
    ]
    note = (
        f"{measured['n_tasks']} characters of test classes, all their pixels, 95 % intervals; "
        f"trained for {measured['steps']:,} steps of {measured['optimiser']} at "
        f"{measured['lr']:g}, on {measured['train_tasks']:,} tasks; commit {measured['commit']}."
    )
    return Table(columns_of(*titles), lines, (note,)).lines()


def draw(learner: AbstractNeuralProcess[Any], data: ImageCompletion) -> None:
    """Each image, and for every number of known pixels these, the mean and the standard
    deviation.
    """
    columns = 1 + 3 * len(KNOWN)
    figure = new_figure(1.05 * columns, 1.15 * len(IMAGES) + 0.6)
    cells = figure.subplots(len(IMAGES), columns, squeeze=False)
    for row, number in zip(cells, IMAGES, strict=True):
        for k, known in enumerate(KNOWN):
            e = tasks(data, known, (number,))
            mean, spread, _ = answer(learner, e)
            if k == 0:
                show(row[0], e.query.y, title="the image")
            shown = row[3 * k + 1 : 3 * k + 4]
            shown[0].imshow(known_pixels(e), interpolation="nearest")
            shown[0].set_title(f"{known} known", fontsize=9)
            show(shown[1], mean, title="mean")
            show(shown[2], spread, title="std", cmap="magma", vmax=0.5)
    for cell in cells.flat:
        cell.set_xticks([])
        cell.set_yticks([])
    for row in cells[1:]:
        for cell in row:
            cell.set_title("")
    save_figure(figure, PICTURE)


def show(cell: Any, y: Tensor, *, title: str, cmap: str = "gray", vmax: float = 1.0) -> None:
    """An image of numbers."""
    cell.imshow(y.view(SIDE, SIDE), cmap=cmap, vmin=0, vmax=vmax, interpolation="nearest")
    cell.set_title(title, fontsize=9)


def known_pixels(e: Episode) -> Float[Tensor, "28 28 3"]:
    """The known pixels in grey, all others in blue."""
    out = torch.tensor([0.2, 0.4, 0.8]).expand(SIDE, SIDE, 3).clone()
    row, column = ((e.support.x[0] + 1) / 2 * (SIDE - 1)).round().long().unbind(1)
    out[row, column] = e.support.y[0].expand(-1, 3).clamp(0, 1)
    return out


def main() -> None:
    """Score, write and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a trained glyphs-completion-anp")
    run = load_run(parser.parse_args().run)
    learner = run.learner.eval()
    assert isinstance(learner, AbstractNeuralProcess)
    # the same images, with as many known pixels as each row says
    data = ImageCompletion(**{**run.recipe.data.options, "most": 0})
    measured = [score(learner, data, known) for known in KNOWN]
    for row in measured:
        print(json.dumps(row))
    content = {
        "commit": commit(),
        "versions": versions(),
        "recipe": run.recipe.name,
        "n_tasks": N_TASKS,
        "steps": run.result.steps,
        "optimiser": run.recipe.optimiser.name,
        "lr": run.recipe.optimiser.lr,
        "train_tasks": run.result.tasks,
        "train_seconds": round(run.result.seconds, 1),
        "rows": measured,
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(learner, data)


if __name__ == "__main__":
    main()
