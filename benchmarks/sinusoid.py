"""The sinusoid experiment of the MAML paper, with 5 and 10 points: MAML, a network trained on all
waves together, and a transformer neural process.

python benchmarks/sinusoid.py      trains them, scores them on the same waves, writes
benchmarks/sinusoid.json, docs/images/sinusoid.png and docs/images/sinusoid_half.png

MAML and the neural process are trained for each number of points apart, into runs/sinusoid; a
stopped training goes on when the command is called again.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rendering import Table, columns_of
from torch import Tensor, nn

from quickstudy.algorithms import TNP
from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.saving import holds
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode, Examples
from quickstudy.data import Sinusoid
from quickstudy.evaluation import commit, versions
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import Run, recipe_named, train_recipe

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "sinusoid.json"
SHOTS = (5, 10)
STEPS = (0, 1, 5, 10)
N_TASKS = 600
RANGES = {"whole": False, "half": True}
# tried for the pre-trained network, on validation waves
RATES = (
    1e-3,
    3e-3,
    1e-2,
    2e-2,
    3e-2,
    5e-2,
)


@dataclass(frozen=True)
class Compared:
    """What is compared, for one number of points.

    Args:
        stepping: learners that take steps, each with its rate.
        process: what answers without one.
        trainings: what the trainings took.
    """

    stepping: dict[str, tuple[GradientLearner, float]]
    process: TNP
    trainings: dict[str, Any]


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
    assert isinstance(learner.head, nn.Linear)
    return torch.nn.functional.linear(z, learner.head.weight, learner.head.bias)


def errors(learner: GradientLearner, e: Episode, rate: float) -> list[Tensor]:
    """The mean squared error of each task after 0 … 10 steps of this rate."""
    trial = copy.deepcopy(learner).eval()
    trial.loop = InnerLoop(FixedRate(rate), steps=STEPS[-1])
    with torch.no_grad():
        return [-e.target.score(out, e.query.y) for out in trial.answers_along(e)]


def best_rate(learner: GradientLearner, e: Episode) -> float:
    """Of RATES the one with the least error after all steps."""
    return min(RATES, key=lambda rate: float(errors(learner, e, rate)[-1].mean()))


def draw(compared: Compared, data: Sinusoid, file: Path, title: str) -> None:
    """Three waves for each learner, after each number of steps; for the neural process its mean and
    two standard deviations around it.
    """
    e = data.tasks("test", Setting(0, SHOTS[-1], 10)).batch(range(3))
    grid = torch.linspace(-5, 5, 200).view(1, -1, 1)
    line = grid.flatten()
    figure = new_figure(11, 8.5)
    cells = figure.subplots(len(compared.stepping) + 1, 3, sharex=True, sharey=True)
    for row, name in zip(cells, (*compared.stepping, "neural process"), strict=True):
        row[0].set_ylabel(name)
        for t, cell in enumerate(row):
            one = e.task(t)
            asked = Episode(one.support, Examples(grid, torch.zeros_like(grid)), one.target)
            cell.plot(line, wave(one, line), color="#8c959f", linewidth=3, label="the wave")
            if name in compared.stepping:
                draw_steps(cell, *compared.stepping[name], asked)
            else:
                draw_answer(cell, compared.process, asked)
            x, y = one.support.x.flatten(), one.support.y.flatten()
            cell.plot(x, y, "o", color="#cf222e", markersize=4, label="points given")
    entries: dict[str, Any] = {}
    for row in cells:
        handles, labels = row[0].get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=7, frameon=False
    )
    figure.suptitle(title)
    save_figure(figure, file)


def wave(e: Episode, line: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """The sine wave through the points of a task."""
    x, y = e.support.x.flatten().double(), e.support.y.flatten().double()
    a, b = torch.linalg.lstsq(torch.stack((x.sin(), x.cos()), 1), y[:, None]).solution.flatten()
    return a * line.sin() + b * line.cos()


def draw_steps(cell: Any, learner: GradientLearner, rate: float, asked: Episode) -> None:
    """The curves of a learner along its steps."""
    trial = copy.deepcopy(learner).eval()
    trial.loop = InnerLoop(FixedRate(rate), steps=STEPS[-1])
    with torch.no_grad():
        along = trial.answers_along(asked)
    line = asked.query.x.flatten()
    for j, shade in zip(STEPS, ("#b6d4fe", "#74b0ff", "#2f81f7", "#0a3d91"), strict=True):
        cell.plot(line, along[j].flatten(), color=shade, linewidth=1.3, label=f"{j} steps")


def draw_answer(cell: Any, learner: TNP, asked: Episode) -> None:
    """The mean of a neural process and two standard deviations around it."""
    with torch.no_grad():
        answer = learner.distribution(learner.adapt(asked.support, asked.target), asked.query.x)
    line, mean, std = (v.flatten() for v in (asked.query.x, answer.mean, answer.stddev))
    cell.fill_between(line, mean - 2 * std, mean + 2 * std, color="#ffd8a8", linewidth=0)
    cell.plot(line, mean, color="#bc4c00", linewidth=1.3, label="mean ± 2 σ")


def trained(name: str, shots: int) -> Run:
    """The recipe, trained on tasks of so many points; goes on where it was stopped."""
    recipe = recipe_named(name).with_changes({"episodes.n_shot": f"{shots}"})
    folder = ROOT / "runs" / "sinusoid" / f"{name}-{shots}"
    run = train_recipe(recipe, folder, resume=holds(folder, "run"), device="cpu")
    if not run.result.finished:
        raise SystemExit(f"Stopped after {run.result.steps} steps. Call it again to go on.")
    return run


def waves(split: str, shots: int, *, half: bool = False) -> Episode:
    """The tasks that everything is scored on."""
    tasks = Sinusoid(half_range=half).tasks(split, Setting(0, shots, 100))
    return tasks.batch(range(N_TASKS))


def steps_record(learner: GradientLearner, e: Episode, rate: float) -> dict[str, Any]:
    """The mean squared errors along the steps, with their intervals."""
    along = errors(learner, e, rate)
    return {
        "rate": rate,
        "mse": {str(j): mean_ci95(along[j].double().tolist()) for j in STEPS},
    }


def process_record(learner: TNP, e: Episode) -> dict[str, Any]:
    """The mean squared error of the means and the log-likelihood, without a step."""
    with torch.no_grad():
        answer = learner.distribution(learner.adapt(e.support, e.target), e.query.x)
    error = (answer.mean - e.query.y).square().mean((1, 2))
    likelihood = answer.log_prob(e.query.y).mean((1, 2))
    return {
        "mse": {"0": mean_ci95(error.double().tolist())},
        "log_likelihood": mean_ci95(likelihood.double().tolist()),
    }


def train_all(shots: int) -> Compared:
    """All learners, trained on tasks of so many points."""
    maml_run, process_run = (trained(f"sinusoid-{of}", shots) for of in ("maml", "tnp"))
    maml, process = maml_run.learner, process_run.learner.eval()
    assert isinstance(maml, GradientLearner)
    assert isinstance(process, TNP)
    plan = maml_run.recipe.train
    joint = pretrained(maml, steps=plan.steps // 4, tasks_per_step=plan.tasks_per_step)
    rate = best_rate(joint, waves("val", shots))
    return Compared(
        {"MAML": (maml, 0.01), "pre-trained": (joint, rate)},
        process,
        {"MAML": about(maml_run), "neural process": about(process_run)},
    )


def records(compared: Compared, shots: int) -> Iterator[dict[str, Any]]:
    """The scores of all on the same waves."""
    for which, half in RANGES.items():
        e = waves("test", shots, half=half)
        head = {"shots": shots, "range": which}
        for name, (learner, rate) in compared.stepping.items():
            yield {"learner": name, **head, **steps_record(learner, e, rate)}
        yield {"learner": "neural process", **head, **process_record(compared.process, e)}


def about(run: Run) -> dict[str, Any]:
    """What a training took."""
    return {
        "tasks": run.result.tasks,
        "seconds": round(run.result.seconds, 1),
        "parameters": sum(p.numel() for p in run.learner.parameters()),
    }


def rows() -> list[str]:
    """The table, from the file."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    lines = [
        (
            row["learner"],
            str(row["shots"]),
            row["range"],
            *(_cell(row["mse"].get(str(j))) for j in STEPS),
            _cell(row.get("log_likelihood")),
        )
        for row in measured["rows"]
    ]
    titles = ("learner", "points", "range", *(f"{j} steps" for j in STEPS), "log-likelihood")
    trainings = "; ".join(
        f"{name}: {of['parameters']:,} weights, {of['tasks']:,} tasks, {of['seconds']:.0f} s"
        for name, of in measured["trainings"].items()
    )
    notes = (
        f"Mean squared errors on the same {measured['n_tasks']} new waves, 95 % intervals; a "
        f"neural process takes no step. Trainings, on a busy core: {trainings}; commit "
        f"{measured['commit']}.",
    )
    return Table(columns_of(*titles), lines, notes).lines()


def _cell(value: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    mean, half = value
    return f"{mean:.4f} ± {half:.4f}" if abs(mean) < 0.1 else f"{mean:.2f} ± {half:.2f}"


def main() -> None:
    """Train, score, write and draw."""
    torch.set_num_threads(1)
    of_shots = {shots: train_all(shots) for shots in SHOTS}
    measured = [record for shots in SHOTS for record in records(of_shots[shots], shots)]
    for record in measured:
        print(json.dumps(record))
    content = {
        "commit": commit(),
        "versions": versions(),
        "n_tasks": N_TASKS,
        "trainings": {
            f"{name}, {shots} points": took
            for shots in SHOTS
            for name, took in of_shots[shots].trainings.items()
        },
        "rows": measured,
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    images = ROOT / "docs" / "images"
    for file, half, where in (
        ("sinusoid.png", False, ""),
        ("sinusoid_half.png", True, " in one half of the range"),
    ):
        title = f"Three new sine waves, from ten points each{where}"
        draw(of_shots[SHOTS[-1]], Sinusoid(half_range=half), images / file, title)


if __name__ == "__main__":
    main()
