"""The data of the next step, made ready while the current one computes."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar, final

import torch

R = TypeVar("R")


@final
class Prefetch(Iterator[R], Generic[R]):
    """``draw(first), draw(first + 1), … draw(last − 1)``, each drawn in one background thread while
    its predecessor is used.

    The results are those of drawing in the foreground, provided that ``draw`` takes its randomness
    from its argument alone. It must not touch torch's global generators: the step that computes
    meanwhile seeds them and draws from them. All data sets and transforms of quickstudy keep to
    generators of their own (`quickstudy.core.rng`).

    At most one result waits to be taken. An error of ``draw`` comes out of ``next``, at the step
    that it belongs to.

    Args:
        draw: what makes the data of a step.
        first, last: the steps, ``last`` left out.

    Attributes:
        waited: seconds that ``next`` has waited so far.

    Example:
        >>> with Prefetch(lambda step: step**2, 3, 6) as squares:
        ...     list(squares)
        [9, 16, 25]
    """

    def __init__(self, draw: Callable[[int], R], first: int, last: int) -> None:
        self._draw, self._steps = draw, iter(range(first, last))
        self._ahead: Future[R] | None = None
        self.waited = 0.0
        # One thread: what is drawn here should take no core from the step that computes. A thread
        # that has not asked yet how many it may use
        # takes the number that was set last, by whichever thread: so ask before, and set it again
        # afterwards.
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(
            1, "prefetch", initializer=torch.set_num_threads, initargs=(1,)
        )

    def __enter__(self) -> Self:
        self._start()
        return self

    def __next__(self) -> R:
        if self._ahead is None:
            raise StopIteration
        began = time.perf_counter()
        drawn = self._ahead.result()
        self.waited += time.perf_counter() - began
        self._start()
        return drawn

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def _start(self) -> None:
        step = next(self._steps, None)
        self._ahead = None if step is None else self._pool.submit(self._draw, step)
