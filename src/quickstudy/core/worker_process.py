"""What a worker process does: it takes a module and its usual work once, then pieces of this or of
other work, until the process that started it is gone. `quickstudy.core.worker_pool` starts it.

python -m quickstudy.core.worker_process CONNECTION MEMORY NUMBER …, all of them descriptors and
numbers of `SharedMemory`; the last is the one that the worker writes.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import nn

from quickstudy.core.errors import TrainingError
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.core.shared import SharedMemory, UnsentError, read


@dataclass(frozen=True)
class Settings:
    """What torch is set to in the process that starts workers."""

    dtype: torch.dtype
    deterministic: bool
    warn_only: bool
    matmul_precision: str

    @classmethod
    def now(cls) -> "Settings":
        """Those of this process."""
        return cls(
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.get_float32_matmul_precision(),
        )

    def take(self) -> None:
        """Set this process to them."""
        torch.set_default_dtype(self.dtype)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.set_float32_matmul_precision(self.matmul_precision)


def work(connection: Connection, results: SharedMemory) -> None:
    """Answer until the other side is gone."""
    torch.set_num_threads(1)
    keep_freed_memory()
    connection.send_bytes(b"")
    module: nn.Module | None = None
    usual: Any = None
    while True:
        content = connection.recv_bytes()
        value: Any = None
        failed: Exception | None = None
        try:
            if module is None:
                settings, module, usual = read(content)
                settings.take()
            else:
                other, pieces, grad = _received(content)
                fn = other or usual
                with torch.set_grad_enabled(grad):
                    value = [fn(module, piece) for piece in pieces]
        except Exception as error:
            failed = _sendable(error)
        connection.send_bytes(_written(results, value, failed))


def _received(content: bytes) -> Any:
    try:
        return read(content)
    except Exception as error:
        # Whatever its classes raise when they are built or imported again.
        raise UnsentError(
            f"A piece of work cannot be read in a worker process: {type(error).__name__}: {error}. "
            "Define functions and classes in a module that can be imported, or set "
            "workers_kind='threads'."
        ) from error


def _written(results: SharedMemory, value: Any, failed: Exception | None) -> bytes:
    if failed is None:
        try:
            return results.write((value, None), lasts=True)
        except Exception as error:
            # What holds a lock, a file or a lambda says so by errors of any kind.
            failed = UnsentError(
                f"A result cannot be sent from a worker process: {error}. Set "
                "workers_kind='threads'."
            )
    return results.write((None, failed), lasts=True)


def _sendable(error: Exception) -> Exception:
    """The error, or where it does not survive the way to another process, its text."""
    text = traceback.format_exc()
    try:
        read(ForkingPickler.dumps(error))
    except Exception:
        # An error class of anybody may raise anything when it is built again.
        error = TrainingError(f"A worker process failed: {error!r}")
    error.add_note(f"In a worker process:\n{text}")
    return error


def main(arguments: Sequence[str]) -> None:
    """Open what the command line names, and work."""
    descriptor, *others = map(int, arguments)
    pairs = zip(others[::2], others[1::2], strict=True)
    memories = [SharedMemory(of, number) for of, number in pairs]
    try:
        work(Connection(descriptor), memories[-1])
    except (EOFError, ConnectionError):
        # Nobody is left to answer, and nothing has to be kept.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
