"""Accuracy against what the training cost: the figure of the README, from the committed reports.

python benchmarks/pareto.py

A point is one recipe that was trained from scratch on labelled Omniglot and scored on 5-way 1-shot
tasks.
A tick above or below it is the published number.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from quickstudy.evaluation import Report
from quickstudy.recipes import recipe_named

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "images" / "pareto.png"
LOWEST = 0.88  # what is below has not been trained to the end; it stands in the table of results


def reports() -> list[Report]:
    """One report a recipe, the inductive one with 15 queries per class where there are several."""
    chosen: dict[str, Report] = {}
    for file in sorted((ROOT / "benchmarks" / "results").glob("omniglot-*/5w1s*.json")):
        report = Report.load(file)
        recipe = recipe_named(report.recipe)
        if recipe.start_from or recipe.episodes.labelled < 1 or report.mean < LOWEST:
            continue
        before = chosen.get(report.recipe)
        if before is None or _preference(report) > _preference(before):
            chosen[report.recipe] = report
    return sorted(chosen.values(), key=lambda r: -r.mean)


def _preference(report: Report) -> tuple[bool, int]:
    return not report.transductive, report.n_query


def draw(points: list[Report]) -> None:
    """The picture, with the names in a column beside it so that none lies on another."""
    figure, axes = plt.subplots(figsize=(7.6, 4.2), dpi=150)
    axes.set_xscale("log")
    low, high = 90.0, 100.0
    names = [high - (high - low) * (i + 0.5) / len(points) for i in range(len(points))]
    for report, height in zip(points, names, strict=True):
        minutes, accuracy = (report.train_seconds or 0) / 60, 100 * report.mean
        axes.errorbar(minutes, accuracy, 100 * report.ci95, fmt="o", color="#1f6f8b", markersize=5)
        if report.published is not None:
            axes.plot(minutes, 100 * report.published, "_", color="#c0392b", markersize=10)
        axes.annotate(
            f"{report.recipe.removeprefix('omniglot-').removeprefix('5w1s-')}  {accuracy:.1f}",
            (minutes, accuracy),
            (130, height),
            va="center",
            fontsize=8,
            arrowprops={
                "arrowstyle": "-",
                "color": "0.8",
                "linewidth": 0.6,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )
    axes.plot([], [], "o", color="#1f6f8b", label="ours, with its 95 % interval")
    axes.plot([], [], "_", color="#c0392b", markersize=10, label="published")
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    axes.set_xlim(2, 120)
    axes.set_ylim(low, high)
    axes.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_xlabel("minutes of training, CPU")
    axes.set_ylabel("accuracy in %, Omniglot 5-way 1-shot")
    axes.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(left=0.09, right=0.72, bottom=0.13, top=0.97)
    figure.savefig(OUT)


if __name__ == "__main__":
    draw(reports())
