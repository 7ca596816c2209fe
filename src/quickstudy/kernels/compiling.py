"""Says when kernels are compiled, as whoever uses them first waits for that."""

import logging
import multiprocessing
from typing import Any

from numba.core import event

_log = logging.getLogger(__name__)


class _Teller(event.Listener):
    """Logs the first compilation of a kernel of ours in a process. Processes that were started by
    another leave it to that one.
    """

    is_told = False

    def on_start(self, event: Any) -> None:
        of = event.data["dispatcher"].py_func.__module__
        if self.is_told or not of.startswith(__package__ or ""):
            return
        self.is_told = True
        if multiprocessing.parent_process() is None:
            _log.warning("Kernels are compiled for this machine, once: up to half a minute.")

    def on_end(self, event: Any) -> None:
        """Nothing is told."""


def tell_when_compiling() -> None:
    """From now on."""
    event.register("numba:compile", _Teller())
