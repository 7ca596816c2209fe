"""Attentive neural processes: each query reads the examples that are like it."""

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.algorithms.in_context.engine import KeysValues, attend
from quickstudy.algorithms.in_context.gaussian import AbstractNeuralProcess, layers, pairs
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Examples

ANPState: TypeAlias = tuple[Float[Tensor, "T W"], KeysValues, Context]


class ANP(AbstractNeuralProcess[ANPState]):
    """Beside the mean over all examples a query reads what those near it say, by attention.

    v_i = h(x_i, y_i) after self-attention;  r(x) = Σ_i softmax_i(⟨q(x), q(x_i)⟩ / √d) v_i

    m = mean_i h'(x_i, y_i);  μ, s = g(r(x), m, x)

    Shapes:
        support ``[T N *S]`` with y ``[T N O]``, queries ``[T Q *S] -> [T Q O]``

    Args:
        encoder: of the inputs; ``Identity(n)`` for plain numbers.
        n_out: O.
        width: of the hidden layers.
        depth: layers of h, h', q and g.
        heads: of attention; they divide width.

    Example:
        >>> from quickstudy.core.types import Reals
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.zeros(3, 1), torch.zeros(3, 1))
        >>> ANP(Identity(1)).fit(support, Reals(1))(torch.zeros(5, 1)).shape
        torch.Size([5, 1])

    Raises:
        ConfigError: when heads do not divide the width.

    Paper: Kim et al. 2019, arXiv:1901.05761.
    Differs: without the latent path, whose place the mean m takes (the conditional form, called
        CANP in arXiv:2207.04179), so that the likelihood is exact and not a bound.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        n_out: int = 1,
        width: int = 128,
        depth: int = 4,
        heads: int = 8,
    ) -> None:
        super().__init__(encoder, n_out=n_out, width=width)
        if heads < 1 or width % heads:
            raise ConfigError(f"heads must divide width, got {heads} heads and width {width}.")
        d = encoder.out_dim
        self.heads = heads
        self.h = layers([d + n_out, *[width] * depth])
        self.among = nn.MultiheadAttention(width, heads, batch_first=True)
        self.of_all = layers([d + n_out, *[width] * depth])
        self.q = layers([d, *[width] * depth])
        self.g = layers([2 * width + d, *[width] * (depth - 1), 2 * n_out])

    def read(self, support: Examples) -> ANPState:
        x, context = self.encoder.read(support.x)
        examples = pairs(x, support.y)
        v = self.h(examples)
        v = v + self.among(v, v, v, need_weights=False)[0]
        return self.of_all(examples).mean(1), (self.q(x), v), context

    def answer(self, state: ANPState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O2"]:
        mean, known, context = state
        z = self.encoder(x, context)
        read = attend(self.q(z), known, self.heads)
        return self.g(torch.cat((read, mean[:, None].expand(-1, z.shape[1], -1), z), -1))
