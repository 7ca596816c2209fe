"""Memory that a process shares with those that it starts, and objects whose tensors lie there."""

import io
import itertools
import mmap
import os
import tempfile
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quickstudy.core.errors import TrainingError

_ALIGNMENT = 64  # bytes, as torch aligns what it allocates


class UnsentError(TrainingError):
    """Something cannot be sent to another process, or no process can be had."""


class _View(NamedTuple):
    """Where a tensor lies."""

    offset: int
    n_bytes: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int


class SharedMemory:
    """Memory without a name in the file system: it is gone when the last process that holds it has
    ended, however it ended.

    One process writes, by `write` or `share`; others read what `write` returned, after they were
    sent it.

    Args:
        descriptor: of memory that another process made; None makes new memory.
        number: by which both sides know it; None for new memory.
    """

    def __init__(self, descriptor: int | None = None, number: int | None = None) -> None:
        self.descriptor = _nameless() if descriptor is None else descriptor
        self.number = next(_numbers) if number is None else number
        self._map: mmap.mmap | None = None
        self._used = 0
        _open[self.number] = self

    def write(self, value: Any, *, lasts: bool = False) -> bytes:
        """Copy an object's tensors here, over those that were written before.

        Args:
            value: anything that can be pickled; its tensors lie on the CPU.
            lasts: whether who reads it gets tensors of its own, or such that lie here until the
                next `write`.

        Returns:
            what `read` makes the object of, in any process that holds this memory.
        """
        self._used = 0
        return self._written(value, {}, lasts=lasts)

    def write_with(self, value: Any, shared: dict[int, _View]) -> bytes:
        """As `write` of what lasts, behind what is here already; the tensors that `share` moved
        here are the same ones for all who read it.

        Args:
            value: anything that can be pickled.
            shared: what `share` returned.
        """
        return self._written(value, shared, lasts=True)

    def _written(self, value: Any, shared: dict[int, _View], *, lasts: bool) -> bytes:
        content = io.BytesIO()
        _Writer(content, self, shared, lasts).dump(value)
        return content.getvalue()

    def share(self, tensors: Sequence[Tensor]) -> dict[int, _View]:
        """Move tensors here, in place: whoever holds one of them sees what the other processes do
        to it. Tensors that share their memory with each other still do so.

        Returns:
            where each is, by the tensor's ``id``.
        """
        with torch.no_grad():
            storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}
            offsets = dict(
                zip(storages, self._place([s.nbytes() for s in storages.values()]), strict=True)
            )
            moved = {}
            for at, storage in storages.items():
                moved[at] = self._bytes(offsets[at], storage.nbytes())
                moved[at].copy_(torch.tensor((), dtype=torch.uint8).set_(storage))
            views = {}
            for t in tensors:
                at, n_bytes = t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()
                views[id(t)] = _View(
                    offsets[at],
                    n_bytes,
                    t.dtype,
                    tuple(t.shape),
                    t.stride(),
                    int(t.storage_offset()),
                )
            for t in tensors:
                t.data = _viewed(moved[t.untyped_storage().data_ptr()], views[id(t)])
        return views

    def copy(self, tensor: Tensor) -> _View:
        """Copy one tensor here, behind what is here already."""
        source = tensor.detach()
        stride = torch.empty_like(source, memory_format=torch.preserve_format).stride()
        n_bytes = source.numel() * source.element_size()
        (offset,) = self._place([n_bytes])
        view = _View(offset, n_bytes, source.dtype, tuple(source.shape), stride, 0)
        self.tensor(view).copy_(source)
        return view

    def tensor(self, view: _View) -> Tensor:
        """The tensor that lies there; it keeps this memory alive."""
        return _viewed(self._bytes(view.offset, view.n_bytes), view)

    def close(self) -> None:
        """Give back the descriptor. Tensors that lie here may still be used."""
        if self.number in _open:
            del _open[self.number]
            os.close(self.descriptor)
            self._map = None

    def _place(self, sizes: Sequence[int]) -> list[int]:
        """Offsets of new blocks."""
        offsets = []
        for n in sizes:
            offsets.append(self._used)
            self._used += -(-n // _ALIGNMENT) * _ALIGNMENT
        if self._used > os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, 2 * self._used)
        return offsets

    def _bytes(self, offset: int, n_bytes: int) -> Tensor:
        if not n_bytes:
            return torch.empty(0, dtype=torch.uint8)
        if self._map is None or len(self._map) < offset + n_bytes:
            # Tensors keep the former map, of the same memory.
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return torch.frombuffer(self._map, dtype=torch.uint8, count=n_bytes, offset=offset)


def read(content: bytes | memoryview) -> Any:
    """The object that `SharedMemory.write` was given. Its tensors lie in the shared memory, until
    the next `write`.
    """
    pickler: Any = ForkingPickler
    return pickler.loads(content)


def to_private_memory(tensors: Sequence[Tensor]) -> None:
    """Undo `SharedMemory.share`."""
    with torch.no_grad():
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}
        moved = {
            at: torch.tensor((), dtype=torch.uint8).set_(s).clone() for at, s in storages.items()
        }
        for t in tensors:
            storage = moved[t.untyped_storage().data_ptr()]
            view = _View(0, 0, t.dtype, tuple(t.shape), t.stride(), int(t.storage_offset()))
            t.data = _viewed(storage, view)


class _Writer(ForkingPickler):
    """Writes tensors as where they lie."""

    def __init__(
        self, content: io.BytesIO, memory: SharedMemory, shared: dict[int, _View], lasts: bool
    ) -> None:
        super().__init__(content)
        self._memory = memory
        self._shared = shared
        self._lasts = lasts
        own = {Tensor: self._reduced, nn.Parameter: self._reduced}
        self.dispatch_table: Any = {**self.dispatch_table, **own}

    def _reduced(self, t: Tensor) -> tuple[Any, ...]:
        is_shared = id(t) in self._shared
        view = self._shared[id(t)] if is_shared else self._memory.copy(t)
        is_own = self._lasts and not is_shared
        is_parameter = type(t) is nn.Parameter
        return _restored, (self._memory.number, view, is_own, t.requires_grad, is_parameter)


def _restored(
    number: int, view: _View, is_own: bool, requires_grad: bool, is_parameter: bool
) -> Tensor:
    tensor = _open[number].tensor(view)
    if is_own:
        tensor = tensor.clone()
    if is_parameter:
        return nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_() if requires_grad else tensor


def _viewed(content: Tensor, view: _View) -> Tensor:
    if not content.numel():
        return torch.empty_strided(view.size, view.stride, dtype=view.dtype)
    return content.view(view.dtype).as_strided(view.size, view.stride, view.storage_offset)


def _nameless() -> int:
    """A descriptor of a file without a name, in memory where the system knows such files."""
    if "memfd_create" in dir(os):
        return os.memfd_create("quickstudy")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_numbers = itertools.count()
_open: dict[int, SharedMemory] = {}
