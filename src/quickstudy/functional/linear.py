"""Linear layers whose weights may differ from task to task."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def linear(
    x: Float[Tensor, "T N I"], weight: Float[Tensor, "*T O I"], bias: Float[Tensor, "*T O"]
) -> Float[Tensor, "T N O"]:
    """``x Wᵀ + b`` with one weight ``[O I]`` for all tasks, or one for each, ``[T O I]``.

    >>> x, w, b = (
    ...     torch.ones(2, 1, 3),
    ...     torch.stack((torch.ones(1, 3), 2 * torch.ones(1, 3))),
    ...     torch.zeros(2, 1),
    ... )
    >>> linear(x, w, b)[:, 0, 0]
    tensor([3., 6.])
    """
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
