"""What each of two processes does in the tests of the engine, and what
`python -m torch.distributed.run … together.py FOLDER` does.
"""

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).parent))

from test_loop import PLAN, step_of, tasks, weights

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.augment import Affine
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.core.setting import Setting
from quickstudy.data import ClassDataset, ClassIndex, Episodes
from quickstudy.encoders import MLP, Conv4, Wrapped
from quickstudy.objectives import QueryLoss
from quickstudy.training import Advanced, Optimiser, Plan, TrainResult, launch, launched, train

RATE = Optimiser(name="sgd", lr=0.05)
LAST = replace(PLAN, validate_every=0)  # 3 pieces in a step
BEST = replace(PLAN, n_val_tasks=21)  # 3 batches in a validation


class Interrupted(Episodes):
    """Does something in one process, when the tasks from a number on are first drawn."""

    def __init__(self, then: Callable[[], object], *, at: int = 18, rank: int = 1) -> None:
        super().__init__(tasks().dataset, tasks().setting)
        self.then, self.at, self.rank = then, at, rank

    def batch(self, numbers):
        if numbers[0] >= self.at and launch().rank == self.rank:
            self.then()
            self.rank = -1
        return super().batch(numbers)


class Double(Episodes):
    """Tasks of double precision, in which rounding cannot grow to what matters."""

    def batch(self, numbers):
        return pytree.tree_map(
            lambda t: t.double() if t.is_floating_point() else t, super().batch(numbers)
        )


def points() -> Episodes:
    return Double(tasks().dataset, tasks().setting)


def images() -> Episodes:
    x = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return Double(
        ClassDataset("noise", "all", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))),
        Setting(3, 2, 2),
    )


def step_with(encoder: AbstractEncoder, *, gradient: bool = False) -> MetaStep:
    return MetaStep(
        maml(encoder, n_out=3, inner_lr=0.1, inner_steps=2) if gradient else ProtoNet(encoder),
        QueryLoss(),
    ).double()


def conv(norm: str) -> MetaStep:
    seed_everything("test")
    return step_with(Conv4(size=16, width=4, norm=norm))


def dropping() -> MetaStep:
    seed_everything("test")
    return step_with(Wrapped(nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5)), out_dim=16))


def scenes() -> dict[str, tuple[MetaStep, Callable[[MetaStep], TrainResult]]]:
    """Trainings that end alike in one process and in two, up to rounding."""
    seed_everything("test")
    return {
        "protonet": (step_of(), lambda s: train(s, tasks(), plan=LAST, optimiser=RATE)),
        "maml": (
            step_with(MLP(5, widths=(16,)), gradient=True),
            lambda s: train(s, points(), plan=LAST, optimiser=RATE),
        ),
        "validation": (
            step_of("maml"),
            lambda s: train(s, tasks(), plan=BEST, optimiser=RATE, val_tasks=tasks(5)),
        ),
        "augmentation": (
            conv("support"),
            lambda s: train(
                s, images(), plan=LAST, optimiser=RATE, transform=Affine(probability=1.0)
            ),
        ),
        "dropout": (dropping(), lambda s: train(s, points(), plan=LAST, optimiser=RATE)),
    }


def resumable(
    out: Path, stream: Episodes | None = None, *, resume: bool = False, plan: Plan = BEST
) -> tuple[TrainResult, list[Tensor]]:
    step = step_of("maml")
    result = train(
        step,
        stream or tasks(),
        plan=plan,
        optimiser=RATE,
        val_tasks=tasks(5),
        out=out,
        resume=resume,
    )
    return result, weights(step)


def error(of: Callable[[], object]) -> str:
    try:
        of()
    except ConfigError as refused:
        return str(refused)
    return "none"


def threads(file: Path) -> None:
    """Write the names of the threads that still run."""
    if (tasks := Path("/proc/self/task")).exists():
        file.write_text("".join((task / "comm").read_text() for task in tasks.iterdir()))


def together(folder: Path) -> None:
    # before any engine, so called after it
    atexit.register(threads, folder / f"{launch().rank} ended.txt")
    rank, told = launch().rank, {}
    for name, (step, run) in scenes().items():
        if rank:  # whatever the others begin with, they go on from the weights of process 0
            for p in step.parameters():
                nn.init.zeros_(p)
        result = run(step)
        told[name] = {"weights": weights(step), "best": (result.best_step, result.best_val or 0.0)}
    running = conv("running")
    train(running, images(), plan=replace(LAST, steps=1), optimiser=RATE)
    told["running"] = {"weights": weights(running)}
    stop = Interrupted(lambda: os.kill(os.getpid(), signal.SIGTERM))
    stopped, _ = resumable(folder / "two then one", stop)
    told["stopped"] = {"finished": stopped.finished, "steps": stopped.steps}
    _, told["resumed"] = resumable(folder / "one then two", resume=True)
    told["few pieces"] = error(
        lambda: train(
            step_of(), tasks(), plan=replace(LAST, chunk=2, tasks_per_step=2), optimiser=RATE
        )
    )
    told["few tasks"] = error(
        lambda: train(
            step_of(), tasks(), plan=replace(LAST, chunk=1, tasks_per_step=1), optimiser=RATE
        )
    )
    told["unlike"] = error(
        lambda: train(
            step_of(),
            tasks(),
            plan=LAST,
            optimiser=RATE,
            advanced=Advanced(identity={"rank": rank}),
        )
    )
    torch.save(told, folder / f"{rank}.pt")


def meet(folder: Path) -> None:
    """Wait for the other process where patience costs nothing: before the process group, whose
    timeout counts from its start.
    """
    import accelerate  # noqa: F401 - takes seconds

    (folder / f"{launch().rank} is here").touch()
    while len(list(folder.glob("* is here"))) < 2:
        time.sleep(0.02)


def lost(folder: Path, then: Callable[[], object], *, timeout: float = 60.0) -> None:
    meet(folder)
    engine = launched(torch.device("cpu"), timeout=timeout)
    stream = Interrupted(then)
    train(
        step_of("maml"),
        stream,
        plan=BEST,
        optimiser=RATE,
        val_tasks=tasks(5),
        out=folder / "run",
        advanced=Advanced(engine),
    )


LOST = {
    "killed": lambda folder: lost(folder, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "silent": lambda folder: lost(folder, lambda: time.sleep(5), timeout=3.0),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    together(Path(sys.argv[1]))
