"""How work is spread over the task axis."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from quickstudy.core.encoder import AbstractEncoder


class OrderDependent:
    """Marks a layer whose work in training on one task depends on what it did before."""


R = TypeVar("R")
_USES_RUNNING_STATE = (
    nn.modules.batchnorm._NormBase,
    nn.modules.dropout._DropoutNd,
    OrderDependent,
)
# of input, on a CPU: the activations of so many still fit the cache of one core (measured 2026-11,
# two cores)
_NUMBERS_PER_GRAPH = 32_768
# of input, on a CPU: with so few, two threads in one operation gain nothing on an idle machine and
# are five times slower than one where two other programs run (measured 2026-11, two cores)
_NUMBERS_PER_THREAD = 4_096
# of a module's parameters, from which its encoder is taken for nearly all of the work (chosen)
_FUSED_SHARE = 0.75


class _OfThread(threading.local):
    kernels = 0


_of_thread = _OfThread()


def per_task(fn: Callable[..., R], *batched: Any) -> R:
    """``fn`` on each task's slice (a task axis of length 1 is kept), its results joined along the
    task axis.

    Arguments and results are trees of tensors that all begin with the task axis.
    """
    n = pytree.tree_leaves(batched)[0].shape[0]
    results = [fn(*pytree.tree_map(lambda leaf, t=t: leaf[t : t + 1], batched)) for t in range(n)]
    return results[0] if n == 1 else pytree.tree_map(lambda *parts: torch.cat(parts), *results)


@dataclass(frozen=True)
class Strategy:
    """How the tasks of one step are spread over the machine: ``chunk`` tasks share a graph,
    ``workers`` graphs are at work side by side, and an operation of a worker that is alone uses
    ``threads`` threads (0: as many as torch may), a kernel of our own ``kernels`` (0: as many as
    the others).
    """

    chunk: int
    workers: int
    threads: int = 0
    kernels: int = 0


def strategy_for(
    module: nn.Module,
    device: torch.device,
    *,
    n_tasks: int,
    task_numel: int,
    chunk: int = 0,
    workers: int = 0,
    split: int = 1,
) -> Strategy:
    """The strategy for a step, where the caller does not say it himself.

    On a CPU a loop over tasks on several workers of one thread each is fastest, as one task's
    activations stay in a core's cache; tasks so small that the calls cost more than the arithmetic
    share a graph. On other devices all tasks share one. A module with running statistics or dropout
    sees all tasks of a step at once, wherever it is. The chunk never depends on the number of
    cores, so neither does the result.

    Args:
        module: what is trained.
        device: where.
        n_tasks: tasks per step.
        task_numel: numbers in the support and queries of one task.
        chunk, workers: what the caller decides; 0 leaves it open.
        split: processes of this machine that share its cores.

    >>> strategy_for(nn.Identity(), torch.device("cpu"), n_tasks=32, task_numel=80 * 784, workers=2)
    Strategy(chunk=1, workers=2, threads=0, kernels=0)
    >>> strategy_for(nn.Identity(), torch.device("cpu"), n_tasks=25, task_numel=40)
    Strategy(chunk=25, workers=1, threads=1, kernels=0)
    """
    held = order_dependent(module)
    if not chunk:
        chunk = n_tasks
        if device.type == "cpu" and not held:
            chunk = max(1, min(_NUMBERS_PER_GRAPH // max(1, task_numel), n_tasks))
    # what torch was allowed: all that the process may use, unless said otherwise
    cores = max(1, torch.get_num_threads() // split)
    if not workers:
        workers = 1 if held or device.type != "cpu" else min(cores, math.ceil(n_tasks / chunk))
    if device.type == "cpu" and is_small(chunk * task_numel):
        return Strategy(chunk, workers, 1)
    if workers == 1 and cores > 1 and device.type == "cpu" and is_fused(module):
        return Strategy(chunk, 1, 1, cores)
    return Strategy(chunk, workers)


def is_small(numel: int) -> bool:
    """Whether a batch of so many numbers is too small to be shared among threads on a CPU."""
    return numel <= _NUMBERS_PER_THREAD


def is_fused(module: nn.Module) -> bool:
    """Whether nearly all that a module does on a CPU is done by kernels of our own.

    torch's threads spin for a while after an operation, and hold the cores that the kernels'
    threads wait for: with such a module its operations get one thread each, and with
    others, which pool or convolve by torch, they get all (*measured*:
    ``benchmarks/kernel_threads.json``).
    """
    own = {
        p
        for m in module.modules()
        if isinstance(m, AbstractEncoder) and m.fused
        for p in m.parameters()
    }
    n = sum(p.numel() for p in own)
    return n > 0 and n >= _FUSED_SHARE * sum(p.numel() for p in module.parameters())


@contextlib.contextmanager
def threads_per_operation(n: int, kernels: int = 0) -> Iterator[None]:
    """While it lasts, this thread's operations use ``n`` threads each on a CPU, and those of
    `quickstudy.kernels` ``kernels`` (0: as many as the others); n = 0 leaves both as they are.
    """
    before = torch.get_num_threads(), _of_thread.kernels
    if not n or (n, kernels) == before:
        yield
        return
    torch.set_num_threads(n)
    _of_thread.kernels = kernels
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        _of_thread.kernels = before[1]


def threads_for(
    module: nn.Module, *batches: torch.Tensor
) -> contextlib.AbstractContextManager[None]:
    """While it lasts, this thread's operations use the threads that suit a module's work on these
    batches.
    """
    n = torch.get_num_threads()
    shared = (
        n > 1
        and batches[0].device.type == "cpu"
        and not is_small(sum(x.numel() for x in batches))
        and is_fused(module)
    )
    return threads_per_operation(1, n) if shared else contextlib.nullcontext()


def kernel_threads() -> int:
    """How many threads a kernel of our own may use."""
    return _of_thread.kernels or torch.get_num_threads()


def order_dependent(module: nn.Module) -> list[str]:
    """The kinds of layer whose work on one task depends on what they did before."""
    return sorted(
        {
            type(m).__name__
            for m in module.modules()
            if isinstance(m, _USES_RUNNING_STATE) and _changes_in_training(m)
        }
    )


def _changes_in_training(module: nn.Module) -> bool:
    return getattr(module, "track_running_stats", True)
