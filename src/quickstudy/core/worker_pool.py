"""Processes that compute pieces of a step beside this one.

Each is a fresh Python that runs `quickstudy.core.worker_process`. A fork of this process would hang
in the thread pools of torch, and the start methods of `multiprocessing` that do not fork run the
program's main file again.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from typing import Any

import torch
from torch import nn

from quickstudy.core.batching import threads_per_operation
from quickstudy.core.errors import TrainingError
from quickstudy.core.shared import SharedMemory, UnsentError, read, to_private_memory
from quickstudy.core.worker_process import Settings

_PATIENCE = 5.0  # seconds for a process that was asked to end
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


class WorkerLostError(TrainingError):
    """A worker process has ended. Parameters are as before the step."""


class WorkerPool:
    """Worker processes with replicas of a module whose parameters and buffers they share with it.
    Until it is closed, these lie in shared memory.

    Args:
        module: on the CPU.
        n: how many processes.
        usual: the function that `map` is mostly called with. It is sent with the module, once, so
            that each process keeps what it recorded.

    Raises:
        UnsentError: where the module or the function cannot be sent to another process, or none
            can be started.
    """

    def __init__(
        self, module: nn.Module, n: int, *, usual: Callable[[nn.Module, Any], Any] | None = None
    ) -> None:
        tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
        self._tensors = list(tensors.values())
        if why := _unable(self._tensors):
            raise UnsentError(why)
        self._module = module
        self._usual = usual
        self._weights = SharedMemory()
        self._members: list[_Member] = []
        self._shared = self._weights.share(self._tensors)
        with self._closed_on_error():
            try:
                content = self._weights.write_with((Settings.now(), module, usual), self._shared)
            except Exception as error:
                # What holds a lock, a file or a lambda says so by errors of any kind.
                raise UnsentError(
                    f"This module cannot be sent to worker processes: {error}. Set "
                    "workers_kind='threads'."
                ) from error
            for _ in range(n):
                self._members.append(_Member(self._weights, content))

    @property
    def pids(self) -> list[int]:
        """The numbers by which the system knows the processes."""
        return [member.pid for member in self._members]

    def is_ready(self, *, wait: bool = False) -> bool:
        """Whether all processes have the module.

        Args:
            wait: until they have.

        Raises:
            UnsentError: where the module cannot be read in another process.
            WorkerLostError: when one has ended.
        """
        with self._closed_on_error():
            are_ready = [member.is_ready(wait=wait) for member in self._members]
            return all(are_ready)

    def map(self, fn: Callable[[nn.Module, Any], Any], pieces: Sequence[Any]) -> list[Any]:
        """``fn(replica, piece)`` for every piece, results in the order of the pieces. This process
        takes its share, with the module itself.

        Args:
            fn: the usual function, or any other that can be sent to other processes.
            pieces: what can be sent to other processes.

        Raises:
            UnsentError: where function, pieces or results cannot be sent. The pool is closed then,
                as after every error.
            WorkerLostError: when a process has ended.
        """
        n = len(self._members) + 1
        grad = torch.is_grad_enabled()
        other = None if fn is self._usual else fn
        results: list[Any] = [None] * len(pieces)
        with self._closed_on_error():
            asked = [(w, m) for w, m in enumerate(self._members, start=1) if w < len(pieces)]
            for w, member in asked:
                member.ask((other, pieces[w::n], grad))
            with threads_per_operation(1):
                results[::n] = [fn(self._module, piece) for piece in pieces[::n]]
            for w, member in asked:
                results[w::n] = member.answer()
        return results

    def close(self) -> None:
        """End the processes, and move the module's tensors into memory of this process alone."""
        members, self._members = self._members, []
        for member in members:
            member.hang_up()
        for member in members:
            member.close()
        if self._shared:
            to_private_memory(self._tensors)
            self._shared = {}
        self._weights.close()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        # Also by Ctrl-C: answers that come later would be taken for those of the next step.
        try:
            yield
        except BaseException:
            self.close()
            raise


class _Member:
    """One process, and the memory through which it gets its work and answers.

    Args:
        weights: of the module.
        module: what the process makes the module of.
    """

    def __init__(self, weights: SharedMemory, module: bytes) -> None:
        self._module = module
        self._said = 0
        self._inbox = SharedMemory()
        self._outbox = SharedMemory()
        memories = (weights, self._inbox, self._outbox)
        self._connection, theirs = Pipe()
        with theirs, _signals_held_back():
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "quickstudy.core.worker_process",
                    str(theirs.fileno()),
                    *(str(n) for m in memories for n in (m.descriptor, m.number)),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *(m.descriptor for m in memories)],
                env={
                    **os.environ,
                    **_ENVIRONMENT,
                    "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path),
                },
            )
        self.pid = self._process.pid

    def is_ready(self, *, wait: bool) -> bool:
        """Whether it has the module: it says when it is there, and when it has it."""
        while self._said < 2:
            with self._alive():
                if not wait and not self._connection.poll():
                    return False
                content = self._connection.recv_bytes()
                if self._said == 0:
                    self._connection.send_bytes(self._module)
            if self._said == 1:
                try:
                    _value(content)
                except Exception as error:
                    raise UnsentError(
                        "This module cannot be read in a worker process: "
                        f"{type(error).__name__}: {error}. Define its classes in a module that can "
                        "be imported, or set workers_kind='threads'."
                    ) from error
            self._said += 1
        return True

    def ask(self, work: Any) -> None:
        """Have it begin with a piece of work."""
        try:
            content = self._inbox.write(work)
        except Exception as error:
            # What holds a lock, a file or a lambda says so by errors of any kind.
            raise UnsentError(
                f"A piece of work cannot be sent to worker processes: {error}. Set "
                "workers_kind='threads'."
            ) from error
        with self._alive():
            self._connection.send_bytes(content)

    def answer(self) -> Any:
        """Wait for its answer, and raise what it failed with."""
        with self._alive():
            content = self._connection.recv_bytes()
        return _value(content)

    def hang_up(self) -> None:
        """Ask it to end."""
        self._connection.close()

    def close(self) -> None:
        """Wait until it has ended, and see to it."""
        if self._said < 2:
            # It does not listen yet.
            self._process.kill()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._inbox.close()
        self._outbox.close()

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            status = self._process.wait()
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            cure = " Perhaps memory ran out: set fewer train.workers." if status == -9 else ""
            raise WorkerLostError(f"A worker process ({self.pid}) {how}.{cure}") from error


def _value(content: bytes) -> Any:
    value, error = read(content)
    if error is not None:
        raise error
    return value


def _unable(tensors: Sequence[torch.Tensor]) -> str:
    """Why worker processes cannot be had here; empty if they can."""
    if os.name != "posix" or not sys.executable:
        return "Worker processes need a POSIX system. Set workers_kind='threads'."
    if any(t.device.type != "cpu" for t in tensors):
        return "Worker processes share parameters on the CPU alone. Set workers_kind='threads'."
    return ""


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Programs that are started meanwhile see no Ctrl-C and no termination request: they end with
    the process that started them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
