"""What must not be computed in half precision, though a network is."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_F = TypeVar("_F", bound=Callable[..., Tensor])
_HALF = (torch.bfloat16, torch.float16)


def in_half_precision(t: Tensor) -> bool:
    """Whether operations on the tensor's device are cast by an autocast context."""
    return t.device.type != "meta" and torch.is_autocast_enabled(t.device.type)


def at_least_single(fn: _F) -> _F:
    """Inside autocast the function works in single precision, as torch's own losses and distances
    do.

    A squared distance is a small difference of large numbers: of bfloat16's three digits none would
        be left.

    >>> @at_least_single
    ... def product(a, b):
    ...     return a @ b
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     product(torch.ones(1, 1, dtype=torch.bfloat16), torch.ones(1, 1)).dtype
    torch.float32
    """

    @functools.wraps(fn)
    def run(*args: Any, **options: Any) -> Tensor:
        first = next(a for a in args if isinstance(a, Tensor))
        if not in_half_precision(first):
            return fn(*args, **options)
        with torch.autocast(first.device.type, enabled=False):
            return fn(
                *(a.float() if isinstance(a, Tensor) and a.dtype in _HALF else a for a in args),
                **options,
            )

    return cast("_F", run)
