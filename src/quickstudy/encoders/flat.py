"""Encoders that add nothing of their own."""

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context


class Identity(AbstractEncoder):
    """Features as they come; images are flattened to pixels.

    Args:
        out_dim: numbers per example (height × width × channels for images).

    Example:
        >>> import torch
        >>> Identity(784)(torch.zeros(1, 2, 1, 28, 28)).shape
        torch.Size([1, 2, 784])
    """

    def __init__(self, out_dim: int) -> None:
        super().__init__()
        self.out_dim, self.norm = out_dim, "none"

    def forward(self, x: Float[Tensor, "T N *S"], context: Context = ()) -> Float[Tensor, "T N D"]:
        features = x.flatten(2)
        if features.shape[2] != self.out_dim:
            self.check_shape(x, (self.out_dim,))
        return features


class Wrapped(AbstractEncoder):
    """Any torch module that maps ``[B *S] -> [B D]``, one example at a time. Not described in JSON,
    so not saved.

    Args:
        module: the network; put it in eval mode if it has batch norm or dropout that should not
            act.
        out_dim: ``D``.

    Example:
        >>> import torch
        >>> Wrapped(nn.Linear(3, 8), out_dim=8)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, module: nn.Module, *, out_dim: int) -> None:
        super().__init__()
        self.module, self.out_dim, self.norm = module, out_dim, "none"

    def forward(self, x: Float[Tensor, "T N *S"], context: Context = ()) -> Float[Tensor, "T N D"]:
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
