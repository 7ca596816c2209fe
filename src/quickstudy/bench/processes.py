"""What several processes cost: two of one worker each, joined by the training engine, against two
workers of one process.
"""

import functools
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from quickstudy.bench.apart import last_words
from quickstudy.bench.timing import rotated
from quickstudy.bench.workloads import Workload
from quickstudy.core.errors import ConfigError, TrainingError

N_PROCESSES = 2
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(N_PROCESSES))


@dataclass(frozen=True)
class Processes:
    """What one process and several did with the same number of workers in all.

    Args:
        seconds: of a training step, by number of processes, one for each round.
    """

    seconds: Mapping[int, Sequence[float]]

    @property
    def ratio(self) -> float:
        """Tasks a second of several processes over those of one: the median over the rounds."""
        return statistics.median(
            one / several
            for one, several in zip(self.seconds[1], self.seconds[N_PROCESSES], strict=True)
        )


def unable(workload: Workload) -> str:
    """Why it cannot be measured, and what to do; empty if it can."""
    if not workload.trains or workload.n_tasks < N_PROCESSES:
        return (
            f"{workload.name} is no training step that {N_PROCESSES} processes could share. "
            "Choose another --workload."
        )
    if importlib.util.find_spec("accelerate") is None:
        return (
            "Several processes need the package accelerate, which is not installed. Install it "
            "with: pip install 'quickstudy[scale]'"
        )
    return ""


def compare(
    workload: Workload,
    *,
    rounds: int = 3,
    steps: int = 10,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Processes:
    """Train by one process and by several in turn, on the CPU.

    Args:
        workload: its step is trained.
        rounds: how often each is started.
        steps: counted steps of each.
        on_progress: called with what is measured now.

    Raises:
        ConfigError: where `unable` says why.
        TrainingError: when a process dies.
    """
    if why := unable(workload):
        raise ConfigError(why)
    timers = {str(n): functools.partial(_seconds, workload, n, steps) for n in (1, N_PROCESSES)}
    taken = rotated(
        timers,
        rounds=rounds,
        warm_up=0,
        on_round=lambda r: on_progress(f"processes: round {r} of {rounds}"),
    )
    return Processes({int(n): seconds for n, seconds in taken.items()})


def _seconds(workload: Workload, n: int, steps: int) -> float:
    """Seconds of a step of n processes."""
    request = json.dumps(
        {"workload": workload.to_json(), "steps": steps, "workers": N_PROCESSES // n}
    )
    launcher = _TORCHRUN if n > 1 else ()
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "quickstudy.bench.together", request],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise TrainingError(
            f"{workload.name} could not be trained by {n} processes: {last_words(done.stderr)}"
        )
    return float(done.stdout.splitlines()[-1])
