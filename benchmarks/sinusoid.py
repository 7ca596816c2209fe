"""The sinusoid experiment of the MAML paper: MAML, a network trained on all waves together, and the
answer that knows the wave.

python benchmarks/sinusoid.py      trains both, scores them, writes benchmarks/sinusoid.json,
docs/images/sinusoid.png and docs/images/sinusoid_half.png
"""

import copy
import json
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode
from quickstudy.data import Sinusoid
from quickstudy.evaluation import commit, versions
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import recipe_named, train_recipe

ROOT = Path(__file__).parent.parent
STEPS = (0, 1, 5, 10)
N_TASKS = 600
# tried for the pre-trained network, on validation waves
RATES = (
    1e-3,
    3e-3,
    1e-2,
    2e-2,
    3e-2,
    5e-2,
)


def pretrained(like: GradientLearner, *, steps: int, tasks_per_step: int) -> GradientLearner:
    """The same network fitted to the points of all waves at once."""
    learner = copy.deepcopy(like)
    torch.manual_seed(0)
    for m in learner.modules():
        if isinstance(m, nn.Linear):
            m.reset_parameters()
    stream = Sinusoid().tasks("train", Setting(0, 10, 10))
    optimiser = torch.optim.Adam(learner.parameters(), lr=1e-3)
    for step in range(steps):
        e = stream.batch(range(step * tasks_per_step, (step + 1) * tasks_per_step))
        x, y = (
            torch.cat((getattr(e.support, k), getattr(e.query, k)), 1).flatten(0, 1)[None]
            for k in "xy"
        )
        optimiser.zero_grad()
        (answers(learner, x) - y).square().mean().backward()
        optimiser.step()
    return learner


def answers(learner: GradientLearner, x: Tensor) -> Tensor:
    """Without any adaptation."""
    z = learner.encoder(x)
    return torch.nn.functional.linear(z, learner.head.weight, learner.head.bias)


def errors(learner: GradientLearner, e: Episode, rate: float) -> list[Tensor]:
    """The mean squared error of each task after 0 … 10 steps of this rate."""
    trial = copy.deepcopy(learner).eval()
    trial.loop = InnerLoop(FixedRate(rate), steps=STEPS[-1])
    with torch.no_grad():
        return [-e.target.score(out, e.query.y) for out in trial.answers_along(e)]


def draw(
    learners: dict[str, tuple[GradientLearner, float]], data: Sinusoid, file: Path, title: str
) -> None:
    """Three waves for each learner, after each number of steps."""
    e = data.tasks("test", Setting(0, 10, 10)).batch(range(3))
    grid = torch.linspace(-5, 5, 200).view(1, -1, 1)
    figure = new_figure(11, 6)
    cells = figure.subplots(len(learners), 3, sharex=True, sharey=True)
    for row, (name, (learner, rate)) in zip(cells, learners.items(), strict=True):
        trial = copy.deepcopy(learner).eval()
        trial.loop = InnerLoop(FixedRate(rate), steps=STEPS[-1])
        for t, cell in enumerate(row):
            one = e.task(t)
            amplitude_phase = torch.stack(
                (one.support.x.sin().flatten(), one.support.x.cos().flatten()), 1
            ).double()
            a, b = (
                torch.linalg.lstsq(amplitude_phase, one.support.y.flatten().double()[:, None])
                .solution.flatten()
                .tolist()
            )
            cell.plot(
                grid.flatten(),
                a * grid.sin().flatten() + b * grid.cos().flatten(),
                color="#8c959f",
                linewidth=3,
                label="the wave",
            )
            asked = Episode(one.support, type(one.query)(grid, torch.zeros_like(grid)), one.target)
            with torch.no_grad():
                along = trial.answers_along(asked)
            for j, shade in zip(STEPS, ("#b6d4fe", "#74b0ff", "#2f81f7", "#0a3d91"), strict=True):
                cell.plot(
                    grid.flatten(),
                    along[j].flatten(),
                    color=shade,
                    linewidth=1.3,
                    label=f"{j} steps",
                )
            cell.plot(
                one.support.x.flatten(),
                one.support.y.flatten(),
                "o",
                color="#cf222e",
                markersize=4,
                label="points given",
            )
        row[0].set_ylabel(name)
    handles, labels = cells[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(title)
    save_figure(figure, file)


def main() -> None:
    """Train, score, write and draw."""
    began, recipe = time.perf_counter(), recipe_named("sinusoid-maml")
    with tempfile.TemporaryDirectory() as folder:
        run = train_recipe(recipe, Path(folder) / "run", device="cpu")
    maml = run.learner
    assert isinstance(maml, GradientLearner)
    joint = pretrained(
        maml, steps=recipe.train.steps // 4, tasks_per_step=recipe.train.tasks_per_step
    )
    val, test, half = (
        Sinusoid(half_range=h).tasks(split, Setting(0, 10, 100)).batch(range(N_TASKS))
        for split, h in (("val", False), ("test", False), ("test", True))
    )
    best = min(RATES, key=lambda rate: float(errors(joint, val, rate)[-1].mean()))
    learners = {"MAML": (maml, 0.01), "pre-trained": (joint, best)}
    found = {}
    for name, (learner, rate) in learners.items():
        for what, e in (("whole range", test), ("half range", half)):
            along = errors(learner, e, rate)
            found[f"{name}, {what}"] = {
                "rate": rate,
                **{str(j): mean_ci95(along[j].double().tolist()) for j in STEPS},
            }
            print(name, what, {j: round(float(along[j].mean()), 3) for j in STEPS}, flush=True)
    seconds = time.perf_counter() - began
    about = {
        "commit": commit(),
        "versions": versions(),
        "n_tasks": N_TASKS,
        "train_tasks": run.result.tasks,
        "train_seconds": run.result.seconds,
        "seconds": seconds,
    }
    (ROOT / "benchmarks" / "sinusoid.json").write_text(
        json.dumps({**about, "errors": found}, indent=1) + "\n", encoding="utf-8"
    )
    draw(
        learners,
        Sinusoid(),
        ROOT / "docs" / "images" / "sinusoid.png",
        "Three new sine waves, from ten points each",
    )
    draw(
        learners,
        Sinusoid(half_range=True),
        ROOT / "docs" / "images" / "sinusoid_half.png",
        "Three new sine waves, from ten points in one half of the range",
    )
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
