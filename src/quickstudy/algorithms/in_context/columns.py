"""Numbers of a table as features of its cells, relative to the column's labelled rows."""

import math
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

ColumnState: TypeAlias = tuple[
    Float[Tensor, "T F"], Float[Tensor, "T F"], Float[Tensor, "T F"], Float[Tensor, "T F N"]
]
"""What is kept of the support's columns: mean, standard deviation, how many values are there, and
the values in order (missing ones as infinity, at the end).
"""

N_WAVES = 16
N_FEATURES = N_WAVES + 4
_RANK_WAVES = tuple(math.pi / 4 * 2**k for k in range(4))
_SCORE_WAVES = tuple(0.4 * 2**k for k in range(4))


def column_state(x: Float[Tensor, "T N F"]) -> ColumnState:
    """Describe the columns of a support; NaN is a missing value. Nothing depends on the order of
    the rows.

    >>> mean, std, n, _ = column_state(torch.tensor([[[1.0], [3.0], [torch.nan]]]))
    >>> mean.item(), round(std.item(), 3), n.item()
    (2.0, 1.0, 2.0)
    """
    hole = x.isnan()
    n = (~hole).sum(1).clamp(min=1).to(x.dtype)
    ordered = x.masked_fill(hole, torch.inf).transpose(1, 2).contiguous().sort(-1).values
    at = torch.arange(x.shape[1], device=x.device)
    known = ordered.masked_fill(at >= n[..., None], 0.0)
    known = known.masked_fill(known.isinf(), 0.0)
    mean = known.sum(-1) / n
    centred = (known - mean[..., None]).masked_fill(at >= n[..., None], 0.0)
    std = (centred.square().sum(-1) / n).sqrt()
    return mean, std, n, ordered


def cell_features(x: Float[Tensor, "T Q F"], state: ColumnState) -> Float[Tensor, "T F Q E"]:
    """The features of cells: waves of the rank among the support's values and of the standard
    score, then score, its logarithm, rank, and whether the value is missing.

    The product of two cells' waves is a kernel of their distance, whatever the column's scale.
    """
    mean, std, n, ordered = state
    x = x.transpose(1, 2).contiguous()
    hole = x.isnan()
    value = torch.where(hole, mean[..., None], x)
    z = (value - mean[..., None]) / (std[..., None] + 1e-6 * (1 + mean[..., None].abs()))
    below = torch.searchsorted(ordered, value)
    upto = torch.searchsorted(ordered, value, right=True)
    rank = ((below + upto).to(x.dtype) / n[..., None]).clamp(max=2) - 1
    rank, z = rank.masked_fill(hole, 0.0), z.masked_fill(hole, 0.0)
    log = z.sign() * z.abs().log1p()
    near = z.clamp(-4, 4)
    angles = torch.stack([rank * w for w in _RANK_WAVES] + [near * w for w in _SCORE_WAVES], -1)
    waves = torch.cat((angles.cos(), angles.sin()), -1).masked_fill(hole[..., None], 0.0)
    rest = torch.stack((near, log, rank, hole.to(x.dtype)), -1)
    return torch.cat((waves, rest), -1)
