"""How work is spread over the task axis."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as pytree

from quickstudy.core.errors import TrainingError

R = TypeVar("R")
_USES_RUNNING_STATE = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


def per_task(fn: Callable[..., R], *batched: Any) -> R:
    """``fn`` on each task's slice (a task axis of length 1 is kept), its results joined along the task axis.

    Arguments and results are trees of tensors that all begin with the task axis.
    """
    n = pytree.tree_leaves(batched)[0].shape[0]
    results = [fn(*pytree.tree_map(lambda leaf, t=t: leaf[t : t + 1], batched)) for t in range(n)]
    return results[0] if n == 1 else pytree.tree_map(lambda *parts: torch.cat(parts), *results)


class Workers:
    """Replicas of a module that share its parameters and work side by side, one thread each.

    On a CPU a loop over tasks on several single-threaded workers beats many threads inside one task. The result does not
    depend on the number of workers: each piece is computed alone and the pieces are joined in order.

    Args:
        module: what to replicate. With more than one worker it may not hold running statistics or dropout, whose updates
            would depend on the order of the threads.
        n: how many workers.

    Raises:
        TrainingError: when the module cannot be shared among several workers.
    """

    def __init__(self, module: nn.Module, n: int) -> None:
        if n > 1:
            held = sorted({type(m).__name__ for m in module.modules() if isinstance(m, _USES_RUNNING_STATE) and _changes_in_training(m)})
            if held:
                raise TrainingError(
                    f"{n} workers cannot share {', '.join(held)}: the result would depend on their order. Set workers=1, or norm='batch'."
                )
        shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
        self._replicas = [module, *(copy.deepcopy(module, dict(shared)) for _ in range(n - 1))]
        self._pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) if n > 1 else None

    def map(self, fn: Callable[[nn.Module, Any], R], pieces: Sequence[Any]) -> list[R]:
        """``fn(replica, piece)`` for every piece, results in the order of the pieces."""
        if self._pool is None or len(pieces) < 2:
            return [fn(self._replicas[0], piece) for piece in pieces]
        n, grad = len(self._replicas), torch.is_grad_enabled()

        def share(w: int) -> list[R]:
            with torch.set_grad_enabled(grad):
                return [fn(self._replicas[w], piece) for piece in pieces[w::n]]

        shares = list(self._pool.map(share, range(n)))
        return [shares[i % n][i // n] for i in range(len(pieces))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _changes_in_training(module: nn.Module) -> bool:
    return getattr(module, "track_running_stats", True)
