"""TorchOpt: its MetaSGD as in its examples; its functional optimiser where no graph is wanted,
which MetaSGD always builds.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.peers.task_by_task import task_by_task
from quickstudy.bench.textbook import loss
from quickstudy.bench.workloads import Task


def make(job: Job) -> Step:
    """One task after another, the network's state put back after each."""
    first_order = job.workload.algorithm == "fomaml"
    return task_by_task(job, _first_order if first_order else _second_order, _answers)


def _second_order(job: Job, task: Task) -> tuple[Tensor, ...]:
    import torchopt  # pyright: ignore[reportMissingImports] - optional

    workload, model = job.workload, job.model
    start = tuple(model.parameters())
    anil = workload.algorithm == "anil"
    fast: nn.Module = model.head if anil else model
    support, query = (
        (model.encoder(task.support_x), model.encoder(task.query_x))
        if anil
        else (task.support_x, task.query_x)
    )
    before = torchopt.extract_state_dict(fast, by="reference")
    inner = torchopt.MetaSGD(fast, lr=workload.inner_lr)
    for _ in range(workload.inner_steps):
        inner.step(loss(workload, fast(support), task.support_y))
    gradient = torch.autograd.grad(loss(workload, fast(query), task.query_y), start)
    torchopt.recover_state_dict(fast, before)
    return gradient


def _adapted(job: Job, task: Task) -> dict[str, Tensor]:
    import torchopt  # pyright: ignore[reportMissingImports] - optional

    workload, inner = job.workload, torchopt.sgd(job.workload.inner_lr)
    fast = {name: p.detach().requires_grad_() for name, p in job.model.named_parameters()}
    state = inner.init(tuple(fast.values()))
    for _ in range(workload.inner_steps):
        now = tuple(fast.values())
        gradient = torch.autograd.grad(
            loss(workload, functional_call(job.model, fast, (task.support_x,)), task.support_y), now
        )
        updates, state = inner.update(gradient, state, params=now, inplace=False)
        fast = {
            n: p.detach().requires_grad_()
            for n, p in zip(fast, torchopt.apply_updates(now, updates, inplace=False), strict=True)
        }
    return fast


def _first_order(job: Job, task: Task) -> tuple[Tensor, ...]:
    fast = _adapted(job, task)
    value = loss(job.workload, functional_call(job.model, fast, (task.query_x,)), task.query_y)
    return torch.autograd.grad(value, tuple(fast.values()))


def _answers(job: Job, task: Task) -> Tensor:
    fast = _adapted(job, task)
    with torch.no_grad():
        return functional_call(job.model, fast, (task.query_x,))


TORCHOPT = Entry(
    "torchopt",
    "TorchOpt, MetaSGD",
    make,
    lambda workload, device: workload.has_inner_loop,
    package="torchopt",
    extra="peers",
)
