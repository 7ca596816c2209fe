"""Time that can be compared on a noisy machine: every round runs every entry once, in another order
each time.
"""

import contextlib
import functools
import gc
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from quickstudy.bench.entry import Step

LEAST_SECONDS = 0.05
"""A shorter step is repeated: alone, after another process has worked, it would be timed with its
code and numbers out of every cache, which a training is in no step but the first."""
WARM_UP = 2  # rounds that are not counted: compilers, caches and thread pools settle in them


def rotated(
    timers: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    warm_up: int = WARM_UP,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, list[float]]:
    """What each timer said in each counted round.

    Args:
        timers: each does its work once and says how many seconds it took.
        rounds: how many are counted, after the warm-up.
        warm_up: how many come before them.
        on_round: called with the number of rounds done.
    """
    taken: dict[str, list[float]] = {name: [] for name in timers}
    names = list(timers)
    for r in range(warm_up + rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            seconds = timers[name]()
            if r >= warm_up:
                taken[name].append(seconds)
        if on_round:
            on_round(r + 1)
    return taken


def interleaved(
    steps: Mapping[str, Step], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """The seconds of each step in each counted round, all in this process; `apart.rounds_of` takes
    contenders that could disturb each other.
    """
    with old_objects_left_alone():
        return rotated(
            {name: functools.partial(timed, step, device) for name, step in steps.items()},
            rounds=rounds,
        )


def timed(step: Step, device: torch.device) -> float:
    """Seconds of one step; of a short one, of as many in a row as fill `LEAST_SECONDS`, as a
    training does them. The garbage of the step before is collected first, so that no step pays for
    another.
    """
    gc.collect()
    synchronise(device)
    start, n, seconds = time.perf_counter(), 0, 0.0
    while seconds < LEAST_SECONDS:
        done = step()
        synchronise(device)
        seconds, n = time.perf_counter() - start, n + 1
        del done
    return seconds / n


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def old_objects_left_alone() -> Iterator[None]:
    """Python's collector looks at new objects only; with several libraries loaded the old ones
    would take it half a second each time.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
