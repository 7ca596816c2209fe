"""Workers that compute the pieces of a step side by side, as threads or as processes."""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pickle import PicklingError
from typing import Any, Self, TypeVar

import torch
from torch import nn

from quickstudy.core.batching import order_dependent
from quickstudy.core.errors import TrainingError
from quickstudy.core.shared import UnsentError
from quickstudy.core.worker_pool import WorkerLostError, WorkerPool

R = TypeVar("R")
_N_TIMED = 5  # calls of each kind, behind one that is not counted
_SECONDS_TO_COME = 60.0  # so much work must be left for processes to be tried


class UncopiedError(TrainingError):
    """A module of which there can be no second replica in this process."""


class Workers:
    """Replicas of a module that share its parameters and work side by side, one thread each.

    On a CPU a loop over tasks on several single-threaded workers beats many threads inside one
    task. The result does not depend on the number of workers, nor on their kind: each piece is
    computed alone and the pieces are joined in order.

    Threads begin at once. Where a piece is made of many short operations they wait for each other
    at Python's lock; processes do not, but they take seconds to start, and memory of their own.

    Args:
        module: what to replicate. With more than one worker it may not hold running statistics or
            dropout, whose updates would depend on the order of the workers.
        n: how many workers. This process is one of them if they are processes.
        kind: "threads"; "processes", which need a module, functions and pieces that can be pickled;
            or "auto": threads at first. Where a minute of work or more is still to come, processes
            are started meanwhile, a few calls are done by each in turn, and those that took less
            time go on.
        usual: the function that `map` is mostly called with. Processes are sent it once, with the
            module, so that each keeps what it recorded; any other is sent at each call.
        n_maps: how often `map` will be called, calls ``beside`` left out; "auto" needs it.
        on_choice: called when "auto" has chosen, with the kind and a sentence.

    Raises:
        UncopiedError: when the module cannot be copied for threads.
        TrainingError: when the module cannot be shared among several workers, or not be sent to
            processes.
    """

    def __init__(
        self,
        module: nn.Module,
        n: int,
        *,
        kind: str = "threads",
        usual: Callable[[nn.Module, Any], Any] | None = None,
        n_maps: int = 0,
        on_choice: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        if n > 1 and (held := order_dependent(module)):
            raise TrainingError(
                f"{n} workers cannot share {', '.join(held)}: the result would depend on their "
                "order. Set workers=1, or norm='batch'."
            )
        self._module = module
        self._n = n
        self._usual = usual
        self._on_choice = on_choice
        self._threads: _Threads | None = None
        self._processes: WorkerPool | None = None
        self._trial: _Trial | None = None
        if n > 1 and kind == "processes":
            self._processes = WorkerPool(module, n - 1, usual=usual)
            self._processes.is_ready(wait=True)
        elif n > 1:
            self._threads = _Threads(module, n)
            self._trial = _Trial(n_maps) if kind == "auto" else None

    @property
    def n(self) -> int:
        """How many."""
        return self._n

    def map(
        self, fn: Callable[[nn.Module, Any], R], pieces: Sequence[Any], *, beside: bool = False
    ) -> list[R]:
        """``fn(replica, piece)`` for every piece, results in the order of the pieces. What ``fn``
        fails with is raised, once.

        Args:
            fn: what is done with each piece.
            pieces: the work.
            beside: whether this is other work than that by which "auto" chooses.

        Raises:
            WorkerLostError: when a worker process has ended; the parameters are as before.
        """
        if self._n == 1 or len(pieces) < 2:
            return [fn(self._module, piece) for piece in pieces]
        if self._threads is None:
            assert self._processes is not None
            return self._processes.map(fn, pieces)
        if self._trial is None or beside:
            return self._threads.map(fn, pieces)
        return self._timed(self._threads, self._trial, fn, pieces)

    def _timed(
        self,
        threads: "_Threads",
        trial: "_Trial",
        fn: Callable[[nn.Module, Any], R],
        pieces: Sequence[Any],
    ) -> list[R]:
        """One call while "auto" has not chosen."""
        try:
            if self._processes is None and trial.is_worth_it:
                self._processes = WorkerPool(self._module, self._n - 1, usual=self._usual)
            pool = self._processes
            if pool is not None and trial.begins(pool.is_ready()) and trial.is_turn_of_processes:
                began = time.perf_counter()
                results = pool.map(fn, pieces)
                trial.add("processes", time.perf_counter() - began)
                return results
        except (UnsentError, WorkerLostError) as error:
            self._keep_threads(f"{error}")
            return threads.map(fn, pieces)
        began = time.perf_counter()
        results = threads.map(fn, pieces)
        trial.add("threads", time.perf_counter() - began)
        if trial.is_over:
            self._choose(threads, trial)
        return results

    def _choose(self, threads: "_Threads", trial: "_Trial") -> None:
        by_threads, by_processes = trial.seconds
        said = (
            f"{self._n} workers as processes take {1e3 * by_processes:.0f} ms a step, as threads "
            f"{1e3 * by_threads:.0f} ms"
        )
        if by_processes >= by_threads:
            self._keep_threads(said)
            return
        self._on_choice("processes", f"Workers are processes: {said}.")
        threads.close()
        self._threads = None
        self._trial = None

    def _keep_threads(self, why: str) -> None:
        self._on_choice("threads", f"Workers are threads: {why.rstrip('.')}.")
        self._trial = None
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes is not None:
            self._processes.close()
        if self._threads is not None:
            self._threads.close()


class _Threads:
    """Workers as threads of this process."""

    def __init__(self, module: nn.Module, n: int) -> None:
        shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
        try:
            copies = [copy.deepcopy(module, dict(shared)) for _ in range(n - 1)]
        except (TypeError, RuntimeError, PicklingError, copy.Error) as error:
            # What holds a lock, a file or a tensor with a history.
            raise UncopiedError(
                f"{type(module).__name__} cannot be copied for {n} workers: {error}. Set workers=1."
            ) from error
        self._replicas = [module, *copies]
        self._pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,))

    def map(self, fn: Callable[[nn.Module, Any], R], pieces: Sequence[Any]) -> list[R]:
        n = len(self._replicas)
        grad = torch.is_grad_enabled()

        def share(w: int) -> list[R]:
            with torch.set_grad_enabled(grad):
                return [fn(self._replicas[w], piece) for piece in pieces[w::n]]

        shares = list(self._pool.map(share, range(n)))
        return [shares[i % n][i // n] for i in range(len(pieces))]

    def close(self) -> None:
        self._pool.shutdown()


class _Trial:
    """How long the calls of each kind took, and whose turn it is.

    Args:
        n_maps: calls in all.
    """

    def __init__(self, n_maps: int) -> None:
        self._left = n_maps
        self._has_begun = False
        self._seconds: dict[str, list[float]] = {"threads": [], "processes": []}

    def add(self, kind: str, seconds: float) -> None:
        """A call is done."""
        self._left -= 1
        self._seconds[kind].append(seconds)

    def begins(self, is_ready: bool) -> bool:
        """Begin to compare as soon as the processes are ready; whether it has begun."""
        if is_ready and not self._has_begun:
            self._has_begun = True
            self._seconds["threads"] = []
        return is_ready

    @property
    def is_worth_it(self) -> bool:
        """Whether enough work is to come, judged by the calls after the first."""
        taken = self._seconds["threads"][1:]
        return bool(taken) and statistics.median(taken) * self._left >= _SECONDS_TO_COME

    @property
    def is_turn_of_processes(self) -> bool:
        """They take every other call."""
        return len(self._seconds["processes"]) <= len(self._seconds["threads"])

    @property
    def is_over(self) -> bool:
        """Whether there is enough to compare."""
        return self._has_begun and len(self._seconds["threads"]) > _N_TIMED

    @property
    def seconds(self) -> tuple[float, float]:
        """The median of threads and of processes; the first call of each is not counted."""
        threads, processes = (statistics.median(taken[1:]) for taken in self._seconds.values())
        return threads, processes
