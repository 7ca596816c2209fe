"""Fully connected encoders for vectors."""

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.scalars import whole
from quickstudy.functional.linear import linear


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

    stacks = True

    def __init__(self, in_dim: int, *, widths: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if not widths:
            raise ConfigError(
                "MLP needs at least one layer, got widths=(). For the vectors as they are use "
                "Identity(in_dim)."
            )
        widths = [whole(width, "MLP: each of widths", least=1) for width in widths]
        self.norm = "none"
        self.in_dim = whole(in_dim, "MLP: in_dim", least=1)
        self.out_dim = widths[-1]
        self.stages = tuple(f"layers.{i}" for i in range(len(widths)))
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in itertools.pairwise((in_dim, *widths))
        )

    def forward(self, x: Float[Tensor, "T N D"], context: Context = ()) -> Float[Tensor, "T N E"]:
        self.check_shape(x, (self.in_dim,))
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            x = self.passed(i + 1, F.relu(linear(x, layer.weight, layer.bias)))
        return x
