"""Labels of a table as what the network reads: an order of the classes, numbers in their unit."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.algorithms.in_context.columns import column_state


def row_heights(x: Float[Tensor, "T N F"]) -> Float[Tensor, "T N"]:
    """The mean over columns of each row's standard scores, drawn to ±1; a missing value counts 0.
    The order of columns does not matter, and that of rows only moves the results along.
    """
    mean, std, _, _ = column_state(x.double())
    z = (x.double() - mean[:, None]) / (std[:, None] + 1e-6 * (1 + mean[:, None].abs()))
    return torch.tanh(z).nan_to_num().mean(-1)


def class_order(x: Float[Tensor, "T N F"], y: Int[Tensor, "T N"], n: int) -> Int[Tensor, "T C"]:
    """The place of each class in an order that depends on the classes' rows alone: by the mean over
    rows and columns of the cells' standard scores, drawn to ±1. Neither names nor the order of rows
    or columns matter.

    >>> class_order(torch.tensor([[[5.0], [7.0], [1.0]]]), torch.tensor([[0, 1, 2]]), 3)
    tensor([[1, 2, 0]])
    """
    height = row_heights(x)
    member = F.one_hot(y, n).double()
    level = (height[:, None] @ member)[:, 0] / member.sum(1).clamp(min=1)
    level = (level * 1e9).round()
    return level.sort(dim=1, stable=True).indices.argsort(1)


def unit_of(y: Float[Tensor, "T N D"]) -> Float[Tensor, "TD 2"]:
    """Mean and standard deviation of each number in the support (1 where there is none)."""
    mean, std = y.mean(1), y.std(1, correction=0)
    std = torch.where(std > 1e-6 * (1e-6 + mean.abs()), std, torch.ones_like(std))
    return torch.stack((mean, std), -1).flatten(0, 1)


def by_number(y: Float[Tensor, "T N D"]) -> Float[Tensor, "TD N"]:
    """The numbers of each task, one after the other."""
    return y.transpose(1, 2).flatten(0, 1)


def two_views(z: Float[Tensor, "T N"]) -> Float[Tensor, "T N 2"]:
    """A number as it is, up to ±4, and its logarithm beyond."""
    return torch.stack((z.clamp(-4, 4), z.sign() * z.abs().log1p()), -1)
