"""The loop that a researcher writes by hand, with `torch.autograd.grad`. In float64 it is also the
reference of all gradients.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.textbook import features, loss, scores
from quickstudy.bench.workloads import Task, Workload


def make(job: Job) -> Step:
    """One task after another through stock operations."""
    start = {name: p.detach().requires_grad_() for name, p in job.model.named_parameters()}
    tasks = list(job.tasks.each())
    if job.workload.trains:
        return lambda: mean_gradient(job.workload, start, tasks)
    return lambda: {"answers": torch.stack([answers(job.workload, start, task) for task in tasks])}


def mean_gradient(
    workload: Workload, start: Mapping[str, Tensor], tasks: list[Task]
) -> dict[str, Tensor]:
    """The gradient of the mean query loss of the tasks."""
    total = {name: torch.zeros_like(p) for name, p in start.items()}
    for task in tasks:
        value, at = query_loss(workload, start, task)
        for name, g in zip(at, torch.autograd.grad(value, list(at.values())), strict=True):
            total[name] += g
    return {name: g / len(tasks) for name, g in total.items()}


def query_loss(
    workload: Workload, start: Mapping[str, Tensor], task: Task
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The loss of one task's queries, and the parameters at which its gradient is to be taken."""
    if workload.algorithm == "protonet":
        return loss(workload, by_prototypes(workload, start, task), task.query_y), start
    if workload.algorithm == "anil":
        support, query = features(start, task.support_x), features(start, task.query_x)
        head = {name: p for name, p in start.items() if name.startswith("head.")}
        for _ in range(workload.inner_steps):
            head = _stepped(
                workload,
                head,
                loss(workload, scores(head, support), task.support_y),
                create_graph=True,
            )
        return loss(workload, scores(head, query), task.query_y), start
    first_order = workload.algorithm == "fomaml"
    fast = adapted(workload, start, task, create_graph=not first_order)
    return loss(
        workload, scores(fast, features(fast, task.query_x)), task.query_y
    ), fast if first_order else start


def adapted(
    workload: Workload, start: Mapping[str, Tensor], task: Task, *, create_graph: bool
) -> dict[str, Tensor]:
    """The parameters after the inner steps; without a graph they are leaves."""
    fast = dict(start)
    for _ in range(workload.inner_steps):
        out = scores(fast, features(fast, task.support_x))
        fast = _stepped(
            workload, fast, loss(workload, out, task.support_y), create_graph=create_graph
        )
    return fast


def answers(workload: Workload, start: Mapping[str, Tensor], task: Task) -> Tensor:
    """Adapt to one task and answer its queries, without an outer gradient."""
    if workload.algorithm == "protonet":
        with torch.no_grad():
            return by_prototypes(workload, start, task)
    fast = adapted(workload, start, task, create_graph=False)
    with torch.no_grad():
        return scores(fast, features(fast, task.query_x))


def by_prototypes(workload: Workload, p: Mapping[str, Tensor], task: Task) -> Tensor:
    """Minus the (squared) distance of each query to the mean of each class. [Q C]"""
    means = features(p, task.support_x).unflatten(0, (workload.setting.n_way, -1)).mean(1)  # [C D]
    query = features(p, task.query_x)  # [Q D]
    if not workload.squared:
        return -torch.cdist(query, means)
    return -(query[:, None] - means).square().sum(-1)


def _stepped(
    workload: Workload, fast: Mapping[str, Tensor], value: Tensor, *, create_graph: bool
) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(value, list(fast.values()), create_graph=create_graph)
    stepped = {
        name: p - workload.inner_lr * g
        for (name, p), g in zip(fast.items(), gradients, strict=True)
    }
    return (
        stepped
        if create_graph
        else {name: p.detach().requires_grad_() for name, p in stepped.items()}
    )


PLAIN = Entry(
    "plain", "a loop written by hand with torch.autograd.grad", make, lambda workload, device: True
)
