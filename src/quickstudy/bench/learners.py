"""What one training step of every learner costs, on one common task, beside its own arithmetic."""

import contextlib
import dataclasses
import inspect
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.algorithms import ALGORITHMS
from quickstudy.bench.ceiling import convolution
from quickstudy.bench.entry import Job, Step
from quickstudy.bench.machine import about
from quickstudy.bench.peers.plain import PLAIN
from quickstudy.bench.plain_learners import plain_learner
from quickstudy.bench.speed import write_json
from quickstudy.bench.timing import old_objects_left_alone
from quickstudy.bench.workloads import WORKLOADS
from quickstudy.core.batching import threads_per_operation
from quickstudy.core.errors import QuickstudyError
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import drawing, generator, seed_everything
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.encoders import Conv4
from quickstudy.kernels import backend
from quickstudy.objectives import default_objective
from quickstudy.testing import toy_episode

_CPU = torch.device("cpu")
_SHAPE = (1, 28, 28)
_SETTING = Setting(5, 1, 15)
_SEMANTIC_DIM = 312
_REPEATS = 7
_PLAIN = {"maml": "W1", "fomaml": "W3", "anil": "W4", "protonet": "W6-5way"}
"""Learners whose arithmetic the plain loop of `bench speed` does too, and the workload that it does
then; `quickstudy.bench.plain_learners` has others.
"""


@dataclass(frozen=True)
class Cost:
    """What one training step of a learner takes.

    Args:
        seconds: of processor time, the median over the rounds, on one thread.
        flops: counted operations of its convolutions and matrix products.
        calls: operations that torch is asked for, views included.
        of_arithmetic: how many times what its counted operations take at the rate of a convolution,
            measured beside each step; the median over the rounds. None where it has none.
        plain_seconds: of a plain loop that does the same; None where there is none.
        of_plain: how many times what the plain loop takes, which does a step of its own beside
            each; the median over the rounds.
    """

    seconds: float
    flops: int
    calls: int
    of_arithmetic: float | None
    plain_seconds: float | None = None
    of_plain: float | None = None


@dataclass(frozen=True)
class LearnersReport:
    """Everything that `quickstudy bench learners` found.

    Args:
        about: the machine and the versions.
        rounds: steps behind each median.
        n_tasks, width: tasks of a step, and filters of the encoder.
        rate: FLOP a second of a convolution on one thread.
        costs: by learner.
        skipped: learners that cannot learn from such tasks, and the reason.
    """

    about: Mapping[str, Any]
    rounds: int
    n_tasks: int
    width: int
    rate: float
    costs: Mapping[str, Cost]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, with what follows from it."""
        learners = {name: dataclasses.asdict(cost) for name, cost in self.costs.items()}
        return {
            "about": dict(self.about),
            "rounds": self.rounds,
            "n_tasks": self.n_tasks,
            "width": self.width,
            "rate": self.rate,
            "learners": learners,
            "skipped": dict(self.skipped),
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_json(self.to_json(), path)


def measure_learners(
    names: Sequence[str],
    *,
    n_tasks: int = 2,
    width: int = 64,
    rounds: int = 3,
    on_progress: Callable[[str], None] = lambda text: None,
    on_report: Callable[[LearnersReport], None] = lambda report: None,
) -> LearnersReport:
    """Measure a training step of each learner: 5-way 1-shot with 15 queries per class, images of
    28×28 through Conv4 with batch statistics, or numbers as targets where a learner takes no
    classes; all that is not said here is the learner's own default.

    Processor time of one thread is taken, which other work on the machine disturbs little.

    Args:
        names: entries of the registry of algorithms.
        n_tasks: tasks of a step.
        width: filters of the encoder.
        rounds: counted steps.
        on_progress: called with what is measured now.
        on_report: called after each learner with all that is measured so far.
    """
    keep_freed_memory()
    machine = about(_CPU, [])
    costs: dict[str, Cost] = {}
    skipped: dict[str, str] = {}
    rates: list[float] = []

    def report() -> LearnersReport:
        return LearnersReport(
            machine, rounds, n_tasks, width, max(rates), dict(costs), dict(skipped)
        )

    with threads_per_operation(1):
        for name in names:
            rates.append(_rate())
            on_progress(name)
            try:
                costs[name] = _cost(name, n_tasks=n_tasks, width=width, rounds=rounds)
            except QuickstudyError as error:
                skipped[name] = str(error)
            on_report(report())
    return report()


def _cost(name: str, *, n_tasks: int, width: int, rounds: int) -> Cost:
    step = _step(name, n_tasks=n_tasks, width=width)
    # the fused operations of stock torch, as those of numba are not seen
    with backend("torch"), FlopCounterMode(display=False) as flops, _Calls() as calls:
        step()
    convolve, of_one = convolution(_CPU)
    with _plain(name, n_tasks=n_tasks, width=width) as plain:
        steps = [step, convolve] if plain is None else [step, convolve, plain]
        for each in steps:
            each()
        taken = [[_processor_seconds(each) for each in steps] for _ in range(rounds)]
    counted = flops.get_total_flops()
    in_one = counted / of_one  # as many convolutions would be as much arithmetic
    return Cost(
        statistics.median(row[0] for row in taken),
        counted,
        calls.n,
        statistics.median(row[0] / row[1] for row in taken) / in_one if counted else None,
        statistics.median(row[2] for row in taken) if plain else None,
        statistics.median(row[0] / row[2] for row in taken) if plain else None,
    )


def _step(name: str, *, n_tasks: int, width: int) -> Step:
    """The gradient of a step, as the training loop takes it with all tasks in one graph."""
    seed_everything("bench", name)
    builder = ALGORITHMS[name]
    given = {"n_out": _SETTING.n_way, "semantic_dim": _SEMANTIC_DIM}
    if ALGORITHMS.module(name).startswith("quickstudy.algorithms.in_context"):
        given["n_out"] = 1
    wanted = given.keys() & inspect.signature(builder).parameters.keys()
    encoder = Conv4(in_channels=1, width=width, size=_SHAPE[1], norm="batch")
    learner = builder(encoder, **{key: given[key] for key in wanted})
    step = MetaStep(learner, default_objective(learner)).train()
    episode = _episode(
        n_tasks, numbers=Classes not in learner.traits.targets, described="semantic_dim" in wanted
    )
    parameters = [p for p in step.parameters() if p.requires_grad]

    def again() -> dict[str, Any]:
        with drawing(generator("bench", name)):
            loss = step(episode)
        return {"gradient": torch.autograd.grad(loss, parameters, allow_unused=True)}

    return again


def _episode(n_tasks: int, *, numbers: bool, described: bool) -> Episode:
    episode = toy_episode(
        n_tasks=n_tasks,
        n_way=_SETTING.n_way,
        n_shot=_SETTING.n_shot,
        n_query=_SETTING.n_query,
        shape=_SHAPE,
        target=Reals(1) if numbers else None,
    )
    if not described:
        return episode
    vectors = toy_episode(n_tasks=n_tasks, n_way=_SETTING.n_way, n_shot=1, shape=(_SEMANTIC_DIM,))
    return Episode(
        Examples(vectors.support.x, vectors.support.y), episode.query, Classes(_SETTING.n_way)
    )


@contextlib.contextmanager
def _plain(name: str, *, n_tasks: int, width: int) -> Iterator[Step | None]:
    """A step of the learner's plain loop; None where there is no such loop."""
    workload = WORKLOADS[_PLAIN.get(name, "W1")].changed(n_tasks=n_tasks, width=width)
    with Job.of(workload, _CPU) as job:
        yield PLAIN.step(job) if name in _PLAIN else plain_learner(name, job)


def _rate() -> float:
    """FLOP a second of processor time of a 3×3 convolution on one thread."""
    step, flops = convolution(_CPU)
    step()
    return flops / min(_processor_seconds(step) for _ in range(_REPEATS))


def _processor_seconds(step: Step) -> float:
    with old_objects_left_alone():
        began = time.process_time()
        step()
        return time.process_time() - began


class _Calls(TorchDispatchMode):
    """Counts the operations that torch is asked for while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.n += 1
        return func(*args, **(kwargs or {}))
