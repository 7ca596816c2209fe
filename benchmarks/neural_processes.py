"""Neural processes on curves of Gaussian processes: log-likelihood and pictures.

for l in cnp anp tnp; do quickstudy train gp-$l --out runs/gp-$l; done      an hour of one core
python benchmarks/neural_processes.py runs/gp-cnp runs/gp-anp runs/gp-tnp
    writes benchmarks/neural_processes.json and docs/images/neural_processes.png
python benchmarks/neural_processes.py runs/gp-cnp
    scores this one again and keeps the rows of the others, and the picture
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.predictive import AbstractPredictive
from quickstudy.data.gaussian_processes import GaussianProcessTasks
from quickstudy.evaluation import Report, commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import Run, load_run

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "neural_processes.json"
PICTURE = ROOT / "docs" / "images" / "neural_processes.png"
CURVES = (0, 16, 32, 48)
"""Numbers of the curves that are drawn."""


def main() -> None:
    """Score, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained gp-… recipes")
    given = parser.parse_args()
    runs = [load_run(folder) for folder in given.runs]
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() else {}
    for run in runs:
        (evaluation,) = run.recipe.evaluations
        report = run.evaluate(evaluation)
        print(report, flush=True)
        rows[run.recipe.name] = about(report, evaluation.source)
    (evaluation,) = runs[0].recipe.evaluations
    tasks = runs[0].recipe.build_data().tasks(evaluation.split, evaluation.setting)
    assert isinstance(tasks, GaussianProcessTasks)
    n = evaluation.n_tasks
    exact = torch.cat(
        [tasks.exact_log_likelihood(range(at, at + tasks.block)) for at in range(0, n, tasks.block)]
    )
    mean, half = mean_ci95(exact.numpy())
    print(f"the exact posterior: {mean:.3f} ± {half:.3f}")
    content = {
        "commit": commit(),
        "versions": versions(),
        "n_tasks": n,
        "kernel": tasks.kernel,
        "points": tasks.points,
        "exact": {"mean": mean, "ci95": half},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if len(runs) == len(rows):
        draw(runs, tasks)


def about(report: Report, source: str) -> dict[str, Any]:
    """What the table says of a run."""
    return {
        "algorithm": report.algorithm,
        "mean": report.mean,
        "ci95": report.ci95,
        "published": report.published,
        "source": source,
        "train_tasks": report.train_tasks,
        "train_seconds": report.train_seconds,
        "parameters": report.parameters,
        "changes": report.changes,
        "commit": report.commit,
    }


def rows() -> list[str]:
    """The table, from the file."""
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    lines = [
        "| recipe | log-likelihood (95 % interval) | published | weights | curves seen | minutes |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {row['mean']:.3f} ± {row['ci95']:.3f} | {row['published']} | "
        f"{row['parameters']:,} | {row['train_tasks']:,} | {row['train_seconds'] / 60:.0f} |"
        for name, row in measured["rows"].items()
    ]
    exact = measured["exact"]
    lines.append(f"| the exact posterior | {exact['mean']:.3f} ± {exact['ci95']:.3f} | | | | |")
    commits = ", ".join(f"`{n}` {r['commit']}" for n, r in measured["rows"].items())
    return [
        *lines,
        "",
        f"{measured['n_tasks']:,} test curves, the same for all; commits: {commits}.",
    ]


def draw(runs: list[Run], tasks: GaussianProcessTasks) -> None:
    """Each learner's answer to some curves: the mean, and two standard deviations around it."""
    figure = new_figure(11, 2.2 * len(runs) + 0.6)
    cells = figure.subplots(len(runs), len(CURVES), sharex=True, sharey="col", squeeze=False)
    grid = torch.linspace(-2, 2, 200).view(1, -1, 1)
    line = grid.flatten().numpy()
    for row, run in zip(cells, runs, strict=True):
        learner = run.learner.eval()
        assert isinstance(learner, AbstractPredictive)
        for cell, number in zip(row, CURVES, strict=True):
            episode = tasks.batch([number])
            with torch.no_grad():
                state = learner.adapt(episode.support, episode.target)
                answer = learner.distribution(state, grid)
            mean, std = answer.mean.flatten().numpy(), answer.stddev.flatten().numpy()
            cell.fill_between(line, mean - 2 * std, mean + 2 * std, color="#b6d4fe", linewidth=0)
            cell.plot(line, mean, color="#0a3d91", linewidth=1.3, label="mean ± 2 σ")
            x, y = episode.query.x.flatten(), episode.query.y.flatten()
            cell.plot(x, y, ".", color="#8c959f", markersize=4, label="points asked for")
            x, y = episode.support.x.flatten(), episode.support.y.flatten()
            cell.plot(x, y, "o", color="#cf222e", markersize=4, label="points given")
        row[0].set_ylabel(run.recipe.learner.name.upper())
    handles, labels = cells[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("What is known of a curve from some of its points")
    save_figure(figure, PICTURE)


if __name__ == "__main__":
    main()
