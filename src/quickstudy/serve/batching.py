"""Micro-batching: items of all requests are encoded together, and a bad one fails alone."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError
from quickstudy.core.words import counted
from quickstudy.serve.problems import ProblemError

Encode: TypeAlias = Callable[[Sequence[Any]], NDArray[Any]]
Vector: TypeAlias = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class _Entry:
    item: Any
    future: "asyncio.Future[Vector | str]"
    deadline: float


class Batcher:
    """Encodes items in one thread. While a batch is encoded, the items that come meanwhile queue
    and make the next one, so nobody waits for a batch to fill.

    Args:
        encode: items to vectors ``[n D]``.
        at_once: items per batch.
        queued: items that may wait.
        on_batch: called with the size and the seconds of each batch.
    """

    def __init__(
        self,
        encode: Encode,
        *,
        at_once: int,
        queued: int,
        on_batch: Callable[[int, float], None] = lambda n, seconds: None,
    ) -> None:
        self._encode = encode
        self._at_once, self._queued, self._on_batch = at_once, queued, on_batch
        self._waiting: deque[_Entry] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quickstudy-encode")
        self._task: asyncio.Task[None] | None = None
        self._seconds_per_item = 0.02

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    async def vectors(self, items: Sequence[Any], *, deadline: float) -> list[Vector | str]:
        """The vector of each item, or the reason why it has none.

        Args:
            items: ready for the encoder.
            deadline: when nobody waits for them any more, by ``time.monotonic``.

        Raises:
            ProblemError: 429 when the queue is full; 504 when the deadline passes.
        """
        if len(self._waiting) + len(items) > self._queued:
            seconds = max(1, round(len(self._waiting) * self._seconds_per_item + 0.5))
            raise ProblemError(
                429,
                f"The queue holds {counted(len(self._waiting), 'item')} of {self._queued} and has "
                f"no room for {len(items)} more. Try again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )
        loop = asyncio.get_running_loop()
        entries = [_Entry(item, loop.create_future(), deadline) for item in items]
        self._waiting.extend(entries)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        futures = [entry.future for entry in entries]
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            raise ProblemError(
                504, "The items were not encoded in time. Send fewer at once, or try again later."
            ) from None
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch: list[_Entry] = []
            while self._waiting and len(batch) < self._at_once:
                entry = self._waiting.popleft()
                if not entry.future.done() and entry.deadline > time.monotonic():
                    batch.append(entry)
            if not batch:
                continue
            start = time.monotonic()
            results = await loop.run_in_executor(
                self._thread, _encode_each, self._encode, [entry.item for entry in batch]
            )
            seconds = time.monotonic() - start
            self._seconds_per_item += 0.1 * (seconds / len(batch) - self._seconds_per_item)
            self._on_batch(len(batch), seconds)
            for entry, result in zip(batch, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)


def _encode_each(encode: Encode, items: Sequence[Any]) -> list[Vector | str]:
    """The vectors of items, each alone where all at once fails."""
    try:
        vectors = np.asarray(encode(items), dtype=np.float64)
    except Exception as error:
        # Whatever an encoder raises, only the item that makes it do so may suffer.
        if len(items) > 1:
            return [result for item in items for result in _encode_each(encode, [item])]
        if isinstance(error, DataError):
            return [str(error)]
        return [f"It cannot be encoded ({type(error).__name__})."]
    return [
        row if np.isfinite(row).all() else "Its vector holds values that are not finite numbers."
        for row in vectors
    ]
