"""Audit entries of questions, written by a thread of its own: who asks waits for no writer."""

import os
import threading
import warnings
from collections.abc import Callable, Sequence

from quickstudy.core.errors import GalleryError, QuickstudyWarning
from quickstudy.gallery.audit import AuditEntry


class AuditQueue:
    """Entries on their way into the database, in their order.

    The thread ends when nothing is left to write, and a process does not end before it has. Where
    an entry cannot be written, a warning says so once, and how many are lost.

    Args:
        write: puts entries into the database, in one transaction.
        place: of the gallery, for messages.
    """

    def __init__(self, write: Callable[[Sequence[AuditEntry]], None], *, place: str) -> None:
        self._write = write
        self._place = place
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: list[AuditEntry] = []
        self._is_working = False
        self._warned = False

    def put(self, entries: Sequence[AuditEntry]) -> None:
        """Have entries written soon."""
        if self._process != os.getpid():
            self._reset()  # what waits in the process that this one was forked from stays there
        with self._changed:
            self._waiting += entries
            if self._waiting and not self._is_working:
                self._is_working = True
                threading.Thread(target=self._work, name="quickstudy-audit").start()

    def flush(self) -> None:
        """Wait until everything is written."""
        if self._process == os.getpid():
            with self._changed:
                self._changed.wait_for(lambda: not self._is_working)

    def _work(self) -> None:
        while True:
            with self._changed:
                entries, self._waiting = self._waiting, []
                if not entries:
                    self._is_working = False
                    self._changed.notify_all()
                    return
            try:
                self._write(entries)
            except GalleryError as error:
                if not self._warned:
                    self._warned = True
                    warnings.warn(
                        f"{len(entries)} decisions left no entry in the audit log of "
                        f"{self._place}: {error}",
                        QuickstudyWarning,
                        stacklevel=2,
                    )
