"""higher: its differentiable copy of an optimiser."""

import torch
from torch import Tensor, nn

from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.peers.task_by_task import task_by_task
from quickstudy.bench.textbook import loss
from quickstudy.bench.workloads import Task


def make(job: Job) -> Step:
    """One task after another, each in a context of its own."""
    return task_by_task(
        job, lambda job, task: _run(job, task)[0], lambda job, task: _run(job, task)[1]
    )


def _run(job: Job, task: Task) -> tuple[tuple[Tensor, ...], Tensor]:
    """The outer gradient (empty where none is asked for), and the answers."""
    import higher  # pyright: ignore[reportMissingImports] - optional

    workload, model = job.workload, job.model
    anil = workload.algorithm == "anil"
    # higher's own first-order mode: the fast weights are leaves, at which the outer gradient is
    # taken.
    exact = workload.trains and workload.algorithm != "fomaml"
    body: nn.Module = model.head if anil else model
    support, query = (
        (model.encoder(task.support_x), model.encoder(task.query_x))
        if anil
        else (task.support_x, task.query_x)
    )
    optimiser = torch.optim.SGD(body.parameters(), lr=workload.inner_lr)
    with higher.innerloop_ctx(
        body, optimiser, copy_initial_weights=False, track_higher_grads=exact
    ) as (fast, inner):
        for _ in range(workload.inner_steps):
            inner.step(loss(workload, fast(support), task.support_y))
        with torch.set_grad_enabled(workload.trains):
            out = fast(query)
        if not workload.trains:
            return (), out
        at = tuple(model.parameters()) if exact else tuple(fast.parameters())
        return torch.autograd.grad(loss(workload, out, task.query_y), at), out


HIGHER = Entry(
    "higher",
    "higher, innerloop_ctx",
    make,
    lambda workload, device: workload.has_inner_loop,
    package="higher",
    extra="peers",
)
