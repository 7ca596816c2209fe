"""Ending a training by Ctrl-C or a termination request, between two steps."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


def await_launcher(stop: threading.Event) -> None:
    """Wait a second at most for the launcher, which asks all processes to end as soon as one has:
    later that would cut the error message short.
    """
    until = time.monotonic() + 1.0
    while not stop.is_set() and time.monotonic() < until:
        # Not stop.wait(): the signal handler runs in this thread too and could find the event
        # locked.
        time.sleep(0.02)


@contextlib.contextmanager
def stop_requested(seconds: float = math.inf) -> Iterator[threading.Event]:
    """An event that Ctrl-C or a termination request sets; a second Ctrl-C, but no second request,
    interrupts at once.

    Args:
        seconds: after so many the event is set too.
    """
    stop = threading.Event()
    timer = threading.Timer(max(0.0, seconds), stop.set) if math.isfinite(seconds) else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        with _signals_set(stop):
            yield stop
    finally:
        if timer is not None:
            timer.cancel()


@contextlib.contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGTERM:
            return  # a scheduler and a launcher may each ask once
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        os.write(2, b"\nStopping after this step; once more to stop at once.\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
