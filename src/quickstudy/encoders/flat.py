"""The encoder that adds nothing."""

from jaxtyping import Float
from torch import Tensor

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
