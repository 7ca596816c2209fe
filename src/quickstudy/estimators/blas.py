"""How many threads the linear algebra of numpy and scipy takes while heads are fitted."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

# Of the decompositions of such examples two threads take at most an eighth off the time, for up to
# three times the processor time, and wait for each other where anything else runs (measured
# 2026-11, two cores).
_SMALL = 1_500_000


@contextmanager
def one_thread_where_small(numel: int) -> Iterator[None]:
    """While it lasts, linear algebra of numpy and scipy takes one thread; with more than a million
    and a half numbers it is left as it is.

    Args:
        numel: how many numbers the examples have.
    """
    if numel > _SMALL:
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller() -> ThreadpoolController:
    """Of the libraries that are loaded; it takes milliseconds to find them."""
    return ThreadpoolController()
