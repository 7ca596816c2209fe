"""Fully connected encoders for vectors."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context


class MLP(AbstractEncoder):
    """Linear layers with ReLU after each; a learner's own head, if it has one, comes on top.

    Shapes:
        ``[T N in_dim] -> [T N widths[-1]]``

    Args:
        in_dim: length of an input vector.
        widths: width of each layer.

    Example:
        >>> import torch
        >>> MLP(3, widths=(40, 40))(torch.zeros(1, 7, 3)).shape
        torch.Size([1, 7, 40])
    """

    def __init__(self, in_dim: int, *, widths: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.norm, self.out_dim = "none", widths[-1]
        layers: list[nn.Module] = []
        for a, b in zip((in_dim, *widths), widths, strict=False):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "T N D"], context: Context = ()) -> Float[Tensor, "T N E"]:
        return self.layers(x)
