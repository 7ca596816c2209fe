"""Work of a kernel on several threads."""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from quickstudy.core.batching import kernel_threads


def in_parts(function: Callable[..., None], n: int, enough: int, *arguments: object) -> None:
    """``function(begin, end, *arguments)`` over n pieces of work that do not depend on each other.

    Args:
        function: compiled without Python's lock.
        enough: pieces that a thread is worth.
    """
    parts = max(1, min(kernel_threads(), n // enough))
    edges = [n * k // parts for k in range(parts + 1)]
    works = [functools.partial(function, *ends, *arguments) for ends in itertools.pairwise(edges)]
    futures = [_pool(os.getpid()).submit(work) for work in works[1:]]
    works[0]()
    for future in futures:
        future.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, "kernels")
