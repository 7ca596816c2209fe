"""Conditional neural processes: the mean of what each example says, and a network that answers."""

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.in_context.gaussian import AbstractNeuralProcess, layers, pairs
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.types import Examples

CNPState: TypeAlias = tuple[Float[Tensor, "T W"], Context]


class CNP(AbstractNeuralProcess[CNPState]):
    """A task is the mean of its examples' representations; a network reads it beside a query.

    r = mean_i h(x_i, y_i);  μ, s = g(r, x)

    The cheapest of the neural processes: an answer costs the same for any number of examples. As
    the mean is all it knows of them, its curves pass beside the points; `ANP` and `TNP` look at
    each.

    Shapes:
        support ``[T N *S]`` with y ``[T N O]``, queries ``[T Q *S] -> [T Q O]``

    Args:
        encoder: of the inputs; ``Identity(n)`` for plain numbers.
        n_out: O.
        width: of the hidden layers.
        depth: layers of h, and of g.

    Example:
        >>> from quickstudy.core.types import Reals
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.zeros(3, 1), torch.zeros(3, 1))
        >>> CNP(Identity(1)).fit(support, Reals(1))(torch.zeros(5, 1)).shape
        torch.Size([5, 1])

    Paper: Garnelo et al. 2018, arXiv:1807.01613.
    Differs: σ is 0.01 + softplus, where the paper bounds it by 0.1: curves here have less noise.
    """

    def __init__(
        self, encoder: AbstractEncoder, *, n_out: int = 1, width: int = 128, depth: int = 4
    ) -> None:
        super().__init__(encoder, n_out=n_out, width=width)
        d = encoder.out_dim
        self.h = layers([d + n_out, *[width] * depth])
        self.g = layers([width + d, *[width] * (depth - 1), 2 * n_out])

    def read(self, support: Examples) -> CNPState:
        x, context = self.encoder.read(support.x)
        return self.h(pairs(x, support.y)).mean(1), context

    def answer(self, state: CNPState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O2"]:
        r, context = state
        z = self.encoder(x, context)
        return self.g(torch.cat((r[:, None].expand(-1, z.shape[1], -1), z), -1))
