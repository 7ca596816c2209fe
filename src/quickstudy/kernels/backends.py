"""Which form of the fused operations runs: numba's, stock torch's, or the plain operations they
replace.
"""

import contextlib
import functools
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.recording import is_recording, is_traced
from quickstudy.kernels.precision import in_half_precision

BACKENDS = ("auto", "numba", "torch", "plain")
_asked = "auto"


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Choose the form inside the ``with`` block, for all threads.

    Args:
        name: "auto" is numba on a CPU if the extra ``fast`` is installed, else torch; "plain" is
            what they are tested against.

    Raises:
        ConfigError: for another name, or numba where it is not installed.

    >>> with backend("plain"):
    ...     chosen(torch.zeros(1))
    'plain'
    """
    global _asked
    if name not in BACKENDS:
        raise ConfigError(f"No backend is called '{name}'. {did_you_mean(name, BACKENDS)}")
    if name == "numba" and not _numba_is_there():
        raise ConfigError(
            "The backend 'numba' needs numba, which is not installed. Run: pip install "
            "'quickstudy[fast]'"
        )
    before, _asked = _asked, name
    try:
        yield
    finally:
        _asked = before


def chosen(z: Tensor) -> str:
    """The form for a tensor: numba, torch or plain.

    Half precision, traced graphs (export, compile) and function transforms (vmap) see plain
    operations; a step that is recorded to be played back sees the form that runs.
    """
    if (
        _asked == "plain"
        or z.dtype not in (torch.float32, torch.float64)
        or type(z) not in (Tensor, torch.nn.Parameter)
        or in_half_precision(z)
        or torch.compiler.is_compiling()
        or _of_a_transform(z)
        or (is_traced() and not is_recording())
    ):
        return "plain"
    if z.device.type == "cpu" and _asked in ("auto", "numba") and _numba_is_there():
        return "numba"
    return "torch"


def _of_a_transform(z: Tensor) -> bool:
    """Whether a transform of ``torch.func`` is at work."""
    inside: Any = torch._C
    return inside._functorch.is_functorch_wrapped_tensor(z)


@functools.cache
def _numba_is_there() -> bool:
    return importlib.util.find_spec("numba") is not None
