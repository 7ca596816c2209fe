"""PyTorch's own function transforms: all tasks in one call, eager and compiled."""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.textbook import features, loss, scores
from quickstudy.bench.workloads import Task, Workload

Params = Mapping[str, Tensor]


def make(job: Job, *, compiled: bool = False) -> Step:
    """The gradient of all tasks at once."""
    start = {name: p.detach() for name, p in job.model.named_parameters()}
    gradient = functools.partial(
        _gradient_of_mean if job.workload.regression else _mean_of_gradients, job.workload
    )
    if compiled:
        gradient = torch.compile(gradient, dynamic=False)
    return lambda: gradient(start, *job.tasks)


def _query_loss(workload: Workload, start: Params, *task: Tensor) -> Tensor:
    one = Task(*task)

    def support_loss(p: Params) -> Tensor:
        return loss(workload, scores(p, features(p, one.support_x)), one.support_y)

    fast = start
    for _ in range(workload.inner_steps):
        gradient = grad(support_loss)(fast)
        fast = {name: p - workload.inner_lr * gradient[name] for name, p in fast.items()}
    return loss(workload, scores(fast, features(fast, one.query_x)), one.query_y)


def _gradient_of_mean(workload: Workload, start: Params, *tasks: Tensor) -> Params:
    """The form of torch's own MAML example, for networks without normalisation."""
    each = vmap(functools.partial(_query_loss, workload), in_dims=(None, 0, 0, 0, 0))
    return grad(lambda p: each(p, *tasks).mean())(start)


def _mean_of_gradients(workload: Workload, start: Params, *tasks: Tensor) -> Params:
    """The form for networks with normalisation: through an affine batch norm the gradient of the
    mean is silently wrong.
    """
    each: Callable[..., Params] = vmap(
        grad(functools.partial(_query_loss, workload)), in_dims=(None, 0, 0, 0, 0)
    )
    return {name: g.mean(0) for name, g in each(start, *tasks).items()}


def _serves(workload: Workload, device: torch.device) -> bool:
    # On a CPU the activations of all tasks at once leave the cache and take gigabytes: only the
    # small network is at home there.
    return (
        workload.trains
        and workload.algorithm == "maml"
        and (workload.regression or device.type != "cpu")
    )


VMAP = Entry("vmap", "torch.func: grad and vmap", make, _serves)
VMAP_COMPILED = Entry(
    "vmap-compiled",
    "torch.compile of the same",
    functools.partial(make, compiled=True),
    lambda workload, device: _serves(workload, device) and workload.regression,
    program="g++",
    compiled=True,
)
