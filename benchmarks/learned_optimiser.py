"""Random quadratics: a learned optimiser beside SGD, NAG, RMSprop and Adam with the best rate of a
grid each.

python benchmarks/learned_optimiser.py     trains, tunes, scores; writes
benchmarks/learned_optimiser.json and docs/images/learned_optimiser.png
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.algorithms import learned_optimiser
from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode
from quickstudy.data import Quadratics
from quickstudy.encoders import Identity
from quickstudy.evaluation import commit, versions
from quickstudy.inner.learner import GradientLearner
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.objectives import Trajectory
from quickstudy.training import Optimiser, Plan, train

ROOT = Path(__file__).parent.parent
STEPS, DIM, N_TASKS = 100, 10, 128
RATES = tuple(10 ** (k / 3) for k in range(-12, 4))  # 1e-4 … 10, three to a decade
OPTIMISERS: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "SGD": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "NAG": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    "RMSprop": lambda p, lr: torch.optim.RMSprop(p, lr=lr),
    "Adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
}


def by_hand(
    e: Episode, make: Callable[[list[Tensor], float], torch.optim.Optimizer], rate: float
) -> Tensor:
    """f after 0 … 100 steps, ``[steps T]``; the tasks share an optimiser that works number by
    number.
    """
    theta = torch.zeros(e.n_tasks, DIM, 1, requires_grad=True)
    optimiser, along = make([theta], rate), []
    for _ in range(STEPS + 1):
        losses = (e.support.x @ theta - e.support.y).square().sum((1, 2))  # [T]
        along.append(losses.detach())
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
    return torch.stack(along)


def learned(learner: GradientLearner, e: Episode) -> Tensor:
    """The same by the learned optimiser."""
    with torch.no_grad():
        return torch.stack(
            [-DIM * e.target.score(out, e.query.y) for out in learner.eval().answers_along(e)]
        )


def main() -> None:
    """Train, tune, score, write and draw."""
    began, setting = time.perf_counter(), Setting(0, DIM, DIM)
    train_tasks, val, test = (
        Quadratics().tasks(split, setting) for split in ("train", "val", "test")
    )
    seed_everything("learned optimiser", 0)
    learner = learned_optimiser(
        Identity(DIM), n_out=1, inner_steps=STEPS, window=20, head_only=True
    )
    learner.head.requires_grad_(requires_grad=False)  # it begins at zero, as the others do
    plan = Plan(steps=1_000, tasks_per_step=64, chunk=64, validate_every=0, clip_norm=1.0)
    train(
        MetaStep(learner, Trajectory()),
        train_tasks,
        plan=plan,
        optimiser=Optimiser(lr=5e-3, schedule="cosine"),
    )
    held, fresh, found, curves = val.batch(range(N_TASKS)), test.batch(range(N_TASKS)), {}, {}
    for name, make in OPTIMISERS.items():
        rate = min(
            RATES, key=lambda r: float(by_hand(held, make, r)[-1].mean().nan_to_num(torch.inf))
        )
        curves[f"{name}, rate {rate:.2g}"] = by_hand(fresh, make, rate)
    curves["learned"] = learned(learner, fresh)
    for name, along in curves.items():
        found[name] = {
            "after_100": mean_ci95(along[-1].double().tolist()),
            "curve": [round(float(m), 6) for m in along.mean(1)],
        }
        print(name, found[name]["after_100"])
    about = {
        "commit": commit(),
        "versions": versions(),
        "n_tasks": N_TASKS,
        "train_tasks": plan.steps * plan.tasks_per_step,
        "rates": RATES,
    }
    out = {**about, "seconds": time.perf_counter() - began, "losses": found}
    (ROOT / "benchmarks" / "learned_optimiser.json").write_text(
        json.dumps(out, indent=1) + "\n", encoding="utf-8"
    )
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for name, along in curves.items():
        axes.plot(along.mean(1), label=name, linewidth=2.5 if name == "learned" else 1.3)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel(f"f, mean over {N_TASKS} new quadratics")
    axes.legend(frameon=False)
    axes.set_title("A learned optimiser beside four with their best rates")
    save_figure(figure, ROOT / "docs" / "images" / "learned_optimiser.png")


if __name__ == "__main__":
    main()
