"""Functions that stand as one operation in a recorded step, see `quickstudy.core.compiled`."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch

_F = TypeVar("_F", bound=Callable[..., Any])
_LIBRARY = torch.library.Library("quickstudy", "FRAGMENT")
_played: dict[Any, Callable[..., Any]] = {}
_here = threading.local()


def recordable(function: _F) -> _F:
    """A function of tensors and numbers to new tensors, which a tracer would otherwise look into,
    or, where it works on memory (numba), miss.

    Its arguments and answers are annotated as `torch.library.infer_schema` reads them. Only CPU.
    """
    name = f"{function.__module__.rsplit('.', 1)[-1]}_{function.__name__}".replace("__", "_")
    _LIBRARY.define(name + torch.library.infer_schema(function, mutates_args=()))
    _LIBRARY.impl(name, function, "CPU")
    operation = getattr(torch.ops.quickstudy, name).default
    _played[operation] = function

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return operation(*arguments) if is_traced() else function(*arguments)

    return cast("_F", call)


def played(operation: Any) -> Any:
    """The function behind a `recordable` operation, which spares torch's way to it; any other
    operation as it is.
    """
    return _played.get(operation, operation)


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """Inside, this thread records a step that is played back as it is, `recordable` functions
    included.
    """
    _here.records = True
    try:
        yield
    finally:
        _here.records = False


def is_recording() -> bool:
    """Whether this thread is inside `recording`."""
    return getattr(_here, "records", False)


def is_traced() -> bool:
    """Whether a tracer of torch is at work in this thread."""
    inside: Any = torch._C
    return inside._get_dispatch_mode(inside._TorchDispatchModeKey.PROXY) is not None
