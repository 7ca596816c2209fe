"""The end of what was differentiated by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import TrainingError


def last_derivative(fn: Callable[..., Any], *tensors: Tensor | None) -> Sequence[Tensor | None]:
    """``fn(*tensors)``, a derivative of which raises.

    torch's ``once_differentiable`` does so for ``backward()`` only: ``autograd.grad`` passes by its
    error and loses that path in silence.

    Raises:
        TrainingError: on differentiation.
    """
    if not torch.is_grad_enabled():
        return fn(*tensors)
    return _Last.apply(fn, *tensors)  # type: ignore[return-value]


class _Last(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fn: Callable[..., Any], *tensors: Tensor | None) -> Any:
        return fn(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        raise TrainingError(
            "Fused operations can be differentiated twice, and this asks for a third derivative. "
            "Compute it inside "
            'quickstudy.kernels.backend("plain").'
        )
