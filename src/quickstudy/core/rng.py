"""Randomness that depends on names, not on history.

A draw is addressed by a key such as ``("episodes", "omniglot", "test", seed, task)``. The same key
gives the same numbers on every machine, in any order, with any number of workers; different keys
give independent streams.
Only the raw words of the counter-based Philox generator are used, so a new numpy cannot change a
task.
"""

import contextlib
import hashlib
import operator
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, SupportsIndex

import numpy as np
import torch

from quickstudy.core.arrays import NDArray


def _digest(key: tuple[str | SupportsIndex, ...]) -> bytes:
    # Plain types only: NumPy's integers print as "np.int64(3)" and would name another stream than
    # 3.
    plain = tuple(str(part) if isinstance(part, str) else operator.index(part) for part in key)
    return hashlib.blake2b(repr(plain).encode(), digest_size=16).digest()


def words(n: int, *key: str | SupportsIndex) -> NDArray[np.uint64]:
    """The first ``n`` 64-bit words of the stream named by ``key``; a longer draw starts with the
    shorter one.

    >>> [int(w) % 100 for w in words(3, "doc", 0)] == [int(w) % 100 for w in words(5, "doc", 0)[:3]]
    True
    """
    return _philox.at(_digest(key)).random_raw(n)


class _Philox(threading.local):
    """A Philox generator of each thread, set to a key: a new one takes four times as long."""

    def __init__(self) -> None:
        self._generator = np.random.Philox(key=0)
        self._state: Any = {**self._generator.state}

    def at(self, key: bytes) -> np.random.Philox:
        """The generator as ``np.random.Philox(key=...)`` of the 16 bytes would be."""
        counter = np.zeros(4, np.uint64)
        self._state["state"] = {"counter": counter, "key": np.frombuffer(key, "<u8")}
        self._generator.state = self._state
        return self._generator


_philox = _Philox()


def uniform(n: int, *key: str | SupportsIndex) -> NDArray[np.float64]:
    """``n`` numbers in [0, 1) of the stream named by ``key``."""
    return (words(n, *key) >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def generator(*key: str | SupportsIndex) -> torch.Generator:
    """A fresh torch generator (on the CPU) seeded by ``key``, for bulk draws where torch's own
    sampling is wanted.
    """
    return torch.Generator().manual_seed(int.from_bytes(_digest(key)[:8], "little") >> 1)


def seed_everything(*key: str | SupportsIndex) -> None:
    """Seed torch's global generators from ``key``: what layers use for their initial weights and
    dropout.
    """
    torch.manual_seed(int.from_bytes(_digest(key)[:8], "little") >> 1)


_DRAWN_FROM = ContextVar[torch.Generator | None]("drawn from", default=None)


@contextlib.contextmanager
def drawing(source: torch.Generator) -> Iterator[None]:
    """While it lasts, and in this thread alone, `current` is ``source``: training says so for each
    piece of a step.
    """
    token = _DRAWN_FROM.set(source)
    try:
        yield
    finally:
        _DRAWN_FROM.reset(token)


def current() -> torch.Generator:
    """What an objective draws its random numbers from; outside of training torch's own generator
    (on the CPU).
    """
    return _DRAWN_FROM.get() or torch.default_generator
