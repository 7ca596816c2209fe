"""Transformer neural processes: examples read each other, queries read the examples."""

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.in_context.engine import GridLayer, KeysValues
from quickstudy.algorithms.in_context.gaussian import AbstractNeuralProcess, layers, pairs
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.types import Examples

TNPState: TypeAlias = tuple[list[KeysValues], Context]


class TNP(AbstractNeuralProcess[TNPState]):
    """A transformer over the examples as tokens; queries, whose number is not known, attend to
    them in every layer, but not to each other.

    token of an example e(x, y, 1), of a query e(x, 0, 0);  μ, s = g(token after the last layer)

    There are no positions, so the support has no order, and what queries need of it is kept:
    answering costs one pass over the queries. This is TNP-D of the paper, with independent answers.

    Shapes:
        support ``[T N *S]`` with y ``[T N O]``, queries ``[T Q *S] -> [T Q O]``

    Args:
        encoder: of the inputs; ``Identity(n)`` for plain numbers.
        n_out: O.
        width: of a token.
        n_layers, heads: of the transformer.

    Example:
        >>> from quickstudy.core.types import Reals
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.zeros(3, 1), torch.zeros(3, 1))
        >>> TNP(Identity(1)).fit(support, Reals(1))(torch.zeros(5, 1)).shape
        torch.Size([5, 1])

    Raises:
        ConfigError: when heads do not divide the width.

    Paper: Nguyen and Grover 2022, arXiv:2207.04179.
    Differs: layers normalise first, and attention begins with keys equal to queries and passes on
        what it reads, as in `TabularInContext`; a flag tells examples from queries.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        n_out: int = 1,
        width: int = 64,
        n_layers: int = 6,
        heads: int = 4,
    ) -> None:
        super().__init__(encoder, n_out=n_out, width=width)
        self.embed = layers([encoder.out_dim + n_out + 1, *[width] * 4])
        self.layers = torch.nn.ModuleList(
            GridLayer(width, heads, columns=False) for _ in range(n_layers)
        )
        self.g = layers([width, 2 * width, 2 * n_out])

    def read(self, support: Examples) -> TNPState:
        x, context = self.encoder.read(support.x)
        examples = pairs(x, support.y)
        tokens = self.embed(torch.cat((examples, torch.ones_like(x[..., :1])), -1))[:, None]
        kept: list[KeysValues] = []
        for layer in self._layers():
            tokens, known = layer.support(tokens)
            kept.append(known)
        return kept, context

    def answer(self, state: TNPState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O2"]:
        kept, context = state
        z = self.encoder(x, context)
        unknown = z.new_zeros(*z.shape[:2], self.n_out + 1)
        tokens = self.embed(torch.cat((z, unknown), -1))[:, None]
        for layer, known in zip(self._layers(), kept, strict=True):
            tokens = layer.query(tokens, known)
        return self.g(tokens[:, 0])

    def _layers(self) -> list[GridLayer]:
        return [layer for layer in self.layers if isinstance(layer, GridLayer)]
