"""From stored numbers to what a learner sees."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def normalise(
    x: Shaped[Tensor, "..."], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "..."]:
    """(x − mean) / std per channel; bytes are first divided by 255. One mean and std serve all
    channels.

    Args:
        x: images ``[... C H W]``, or vectors ``[... D]`` with one mean and std.
        mean, std: of the channels.

    >>> normalise(torch.full((1, 1, 1), 255, dtype=torch.uint8), (0.5,), (0.25,))
    tensor([[[2.]]])
    """
    out = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
    if (mean, std) == ((0.0,), (1.0,)):
        return out
    shape = (-1, 1, 1) if len(mean) > 1 else (1,)
    return (out - out.new_tensor(mean).view(shape)) / out.new_tensor(std).view(shape)
