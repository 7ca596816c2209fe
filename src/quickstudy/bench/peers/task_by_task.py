"""Peers that go through the tasks of a step one after another."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quickstudy.bench.entry import Job, Step
from quickstudy.bench.workloads import Task


def task_by_task(
    job: Job,
    gradients: Callable[[Job, Task], Sequence[Tensor]],
    answers: Callable[[Job, Task], Tensor],
) -> Step:
    """A step that adapts to one task at a time.

    Args:
        job: the model and the tasks.
        gradients: of one task's queries, one tensor per parameter of the model.
        answers: of one task's queries, for workloads that train nothing.

    Returns:
        the step: the mean gradient over the tasks, or the answers of all tasks.
    """
    tasks = list(job.tasks.each())
    if not job.workload.trains:
        return lambda: {"answers": torch.stack([answers(job, task) for task in tasks])}

    def step() -> dict[str, Tensor]:
        total = {name: torch.zeros_like(p) for name, p in job.model.named_parameters()}
        for task in tasks:
            for t, g in zip(total.values(), gradients(job, task), strict=True):
                t += g
        return {name: t / len(tasks) for name, t in total.items()}

    return step
