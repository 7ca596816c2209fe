"""A training of a workload by the processes that were launched together;
`quickstudy.bench.processes` launches them.

python [-m torch.distributed.run --standalone --nproc-per-node 2] -m quickstudy.bench.together
'{"workload": …, "steps": …, "workers": …}' prints the seconds of one step
"""

import json
import sys
from collections.abc import Sequence
from typing import final

import torch

from quickstudy.bench.ours import learner_of
from quickstudy.bench.timing import WARM_UP
from quickstudy.bench.workloads import Workload
from quickstudy.core.objective import MetaStep
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Episode, Examples
from quickstudy.objectives import QueryLoss
from quickstudy.training import AbstractEngine, Advanced, Plan, launched, train

_NEVER = 1_000_000


@final
class RepeatedTasks(AbstractTasks):
    """The tasks of a workload's step again and again, drawn in no time."""

    def __init__(self, workload: Workload) -> None:
        self.data = workload.name
        self.split = "train"
        self.split_hash = ""
        self.setting = workload.setting
        self.seed = 1
        self._all, self._n = workload.episode(workload.tasks(seed=self.seed)), workload.n_tasks

    def batch(self, numbers: Sequence[int]) -> Episode:
        at = torch.tensor([number % self._n for number in numbers])
        support, query = (
            Examples(part.x[at], part.y[at]) for part in (self._all.support, self._all.query)
        )
        return Episode(support, query, self._all.target)


def seconds_per_step(
    workload: Workload, engine: AbstractEngine, *, steps: int, workers: int
) -> float:
    """Of a training like any other, task by task, after a short one that settles caches and
    kernels.
    """
    torch.manual_seed(0)
    step, tasks = MetaStep(learner_of(workload), QueryLoss()), RepeatedTasks(workload)

    def trained(steps: int) -> float:
        plan = Plan(
            steps,
            workload.n_tasks,
            chunk=1,
            workers=workers,
            validate_every=0,
            checkpoint_every=_NEVER,
            log_every=_NEVER,
        )
        return train(step, tasks, plan=plan, advanced=Advanced(engine)).seconds / steps

    trained(WARM_UP)
    return trained(steps)


def main() -> None:
    """Train as the command line says."""
    about = json.loads(sys.argv[1])
    engine = launched(torch.device("cpu"))
    seconds = seconds_per_step(
        Workload.from_json(about["workload"]),
        engine,
        steps=about["steps"],
        workers=about["workers"],
    )
    if engine.is_main:
        print(seconds)


if __name__ == "__main__":
    main()
