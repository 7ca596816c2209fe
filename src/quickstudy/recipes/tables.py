"""The recipe of the tabular in-context learner that comes with the package.

``python -m quickstudy.recipes.tables FOLDER --steps 6000`` trains it on one core, and goes on where
it was stopped, also with other numbers of steps, rows and columns. ``--start LEARNER`` begins with
the weights of a saved learner, such as ``src/quickstudy/pretrained/weights/tabular``.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from quickstudy.algorithms.in_context import TabularInContext
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import drawing, generator, seed_everything
from quickstudy.core.types import Classes
from quickstudy.data.priors import PriorTables, TableSizes
from quickstudy.recipes.runs import load
from quickstudy.training.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.training.muon import MuonAndAdamW

EVERY = 100
"""Steps between two checkpoints."""


@dataclass(frozen=True)
class TablesPlan:
    """How the network is fitted to the prior: matrices by Muon, everything else by AdamW, on one
    block of tasks a step.

    Args:
        sizes: of the synthetic tables.
        optimiser: "muon", or "adamw" for everything.
        lr: the rate of Muon, once it has risen.
        lr_rest: the rate of AdamW likewise.
        warmup: steps in which they rise from 0.
        decay: the share of the steps in which they fall to 0 at the end.
        weight_decay: of both.
        clip: the largest length of the gradient.
        seed: of weights and tasks.

    Source: Qu et al. 2026, arXiv:2602.11139, fit tables with Muon.
    """

    sizes: TableSizes = field(default_factory=lambda: TableSizes(rows=(8, 256), columns=(2, 20)))
    optimiser: str = "muon"
    lr: float = 4e-3
    lr_rest: float = 2e-3
    warmup: int = 200
    decay: float = 0.25
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0

    def share(self, step: int, steps: int) -> float:
        """The share of the rate at a step: it rises, stays, and falls in the last steps.

        >>> plan = TablesPlan(warmup=2, decay=0.25)
        >>> [round(plan.share(step, 8), 2) for step in range(8)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
        """
        return min(1.0, (step + 1) / self.warmup, (steps - step) / max(1, self.decay * steps))

    def optimiser_of(self, learner: TabularInContext) -> torch.optim.Optimizer:
        """The optimiser of the learner's parameters, at its full rate.

        Raises:
            ConfigError: for another name than "muon" and "adamw", and for Muon where torch has none
                yet.
        """
        parameters, betas = learner.parameters(), (0.9, 0.98)
        if self.optimiser == "muon":
            return MuonAndAdamW(
                parameters,
                lr=self.lr,
                lr_rest=self.lr_rest,
                weight_decay=self.weight_decay,
                betas=betas,
            )
        if self.optimiser == "adamw":
            return torch.optim.AdamW(
                parameters, lr=self.lr_rest, weight_decay=self.weight_decay, betas=betas
            )
        raise ConfigError(f"optimiser is 'muon' or 'adamw', got '{self.optimiser}'.")


def train_tables(
    learner: TabularInContext, folder: Path, *, steps: int, plan: TablesPlan | None = None
) -> list[dict[str, float]]:
    """Fit the learner to synthetic tables for so many steps.

    As the rate stays constant until the last part of the steps, a training that was stopped before
    goes on to any larger number of steps as if it had been meant from the start.

    Args:
        learner: its weights are changed.
        folder: holds ``checkpoint.pt`` and ``log.jsonl``, written every hundred steps, and
            ``plans.jsonl``, a line for each start; where it has a checkpoint, training goes on from
            there.
        steps: of the whole training.
        plan: `TablesPlan` if None.

    Returns:
        the lines of the log that were written: step, processor seconds, and the mean loss of
        classification and regression tasks since the line before, in units of guessing.
    """
    plan = plan or TablesPlan()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint.pt"
    optimiser = plan.optimiser_of(learner)
    rates = [group["lr"] for group in optimiser.param_groups]
    first = 0
    if path.exists():
        saved = load_checkpoint(path)
        learner.load_state_dict(saved["learner"])
        optimiser.load_state_dict(saved["optimiser"])
        first = int(saved["step"])
    with (folder / "plans.jsonl").open("a", encoding="utf-8") as plans:
        plans.write(json.dumps({"from_step": first, "steps": steps, **asdict(plan)}) + "\n")
    tasks = PriorTables("train", plan.sizes, seed=plan.seed)
    block = plan.sizes.block
    losses: dict[str, list[float]] = {"classification": [], "regression": []}
    lines, begun = [], time.process_time()
    learner.train()
    for step in range(first, steps):
        episode = tasks.batch(range(step * block, (step + 1) * block))
        with drawing(generator("tables", "codes", plan.seed, step)):
            loss = learner.loss(episode).mean()
        learner.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), plan.clip)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * plan.share(step, steps)
        optimiser.step()
        kind = "classification" if isinstance(episode.target, Classes) else "regression"
        losses[kind].append(loss.item())
        if (step + 1) % EVERY and step + 1 < steps:
            continue
        line = {"step": step + 1, "cpu_seconds": round(time.process_time() - begun, 1)}
        for name, values in losses.items():
            if values:
                line[name] = round(sum(values) / len(values), 4)
            values.clear()
        lines.append(line)
        with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        content = {"learner": learner.state_dict(), "optimiser": optimiser.state_dict()}
        save_checkpoint(path, {**content, "step": step + 1})
    learner.eval()
    return lines


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Fit the tabular in-context learner to its prior.")
    parser.add_argument("folder", type=Path, help="for checkpoint and log; gone on with if there")
    parser.add_argument("--steps", type=int, default=6000, help="of the whole training")
    parser.add_argument("--rows", type=int, default=256, help="the most labelled rows of a table")
    parser.add_argument("--columns", type=int, default=20, help="the most columns of a table")
    parser.add_argument("--decay", type=float, default=0.25, help="share of steps of falling rate")
    parser.add_argument("--optimiser", default="muon", choices=("muon", "adamw"))
    parser.add_argument("--lr", type=float, default=4e-3, help="the rate of Muon")
    parser.add_argument("--start", type=Path, help="a saved learner to begin with")
    parser.add_argument("--seed", type=int, default=0, help="of weights and tasks")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sizes = TableSizes(rows=(8, given.rows), columns=(2, given.columns))
    plan = TablesPlan(
        sizes=sizes, optimiser=given.optimiser, lr=given.lr, decay=given.decay, seed=given.seed
    )
    seed_everything("tables", plan.seed)
    learner = TabularInContext()
    if given.start:
        learner.load_state_dict(load(given.start).state_dict())
    for line in train_tables(learner, given.folder, steps=given.steps, plan=plan)[-1:]:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
