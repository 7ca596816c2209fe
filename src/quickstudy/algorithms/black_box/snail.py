"""SNAIL: causal convolutions and attention over the support and one query."""

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.algorithms.black_box.causal import (
    AbstractCausal,
    CausalAttention,
    CausalConvolution,
)
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, EpisodeError, TargetError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target

SnailState: TypeAlias = tuple[tuple[Float[Tensor, "T N _"], ...], Context]
"""The support as it goes into each part, and what the encoder goes by."""


class SNAIL(AbstractLearner[SnailState]):
    """The support, in its order, and one query behind it are a sequence; what comes out at the
    query is its answer.

    tokens [f(x_i); y_i] for the support, [f(x); 0] for the query

    attention(64, 32) – TC(128) – attention(256, 128) – TC(128) – attention(512, 256) – linear;  TC:
    causal convolutions of kernel 2 and dilation 1, 2, 4, …, out = tanh(a) ⊙ σ(b), beside the input;
    attention(k, v): softmax over the keys up to here of qkᵀ/√k, what is read beside the input

    Positions are known by the convolutions alone. Queries do not see each other.

    Shapes:
        support ``[T N *S]``, N below ``length``; queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: f.
        n_out: classes.
        length: the longest sequence, support and query: N-way K-shot needs N·K + 1. It decides how
            many convolutions there are.
        filters: of a convolution.
        first_dilation: of a TC block: 1, 2, 4, … or 2, 4, 8, …, as the pseudo-code of the paper
            has it; then a convolution reaches examples at an even distance only.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> SNAIL(Identity(2), n_out=2, length=3).fit(support, Classes(2))(torch.eye(2)).shape
        torch.Size([2, 2])

    Raises:
        ConfigError: for numbers out of range.
        EpisodeError: for a longer support.
        TargetError: for tasks of another number of classes.

    Paper: Mishra, Rohaninejad, Chen, Abbeel 2018, arXiv:1707.03141, sections 3 and 5.1.
    Differs: the encoder is any; dilations begin at 1, as in the paper's figure 2, by default. The
        PyTorch code that it was compared with takes its softmax over the queries (80 % away).
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        n_out: int,
        length: int = 26,
        filters: int = 128,
        first_dilation: int = 1,
    ) -> None:
        super().__init__()
        if n_out < 2 or length < 2 or min(filters, first_dilation) < 1:
            raise ConfigError(
                "n_out and length must be at least 2, filters and first_dilation at least 1, got "
                f"{n_out}, {length}, {filters} and {first_dilation}."
            )
        self.encoder, self.n_out, self.length = encoder, n_out, length
        width, parts = encoder.out_dim + n_out, list[AbstractCausal]()
        for keys, values in ((64, 32), (256, 128), (512, 256)):
            parts.append(CausalAttention(width, keys, values))
            width += values
            if keys < 512:
                for i in range(math.ceil(math.log2(length))):
                    parts.append(CausalConvolution(width, filters, first_dilation * 2**i))
                    width += filters
        self.net, self.head = nn.ModuleList(parts), nn.Linear(width, n_out)
        self.traits = Traits(
            transductive=encoder.transductive,
            order_free=False,
            class_equivariant=False,
            any_way=False,
            encodes_alone=True,
            black_box=True,
        )

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> SnailState:
        if target.width != self.n_out:
            raise TargetError(
                f"SNAIL reads labels of {self.n_out} classes but the task has {target.width}. Use "
                f"{self.n_out}-way tasks, or train with n_out={target.width}."
            )
        if support.x.shape[1] >= self.length:
            raise EpisodeError(
                f"A support of {support.x.shape[1]} examples and a query are longer than "
                f"length={self.length}. Train with length={support.x.shape[1] + 1}."
            )
        z, context = self.encoder.read(support.x)
        x, entered = torch.cat((z, F.one_hot(support.y, self.n_out).to(z.dtype)), 2), []
        for part in self._parts():
            entered.append(x)
            x = part(x)
        return tuple(entered), context

    def predict(self, state: SnailState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q C"]:
        entered, context = state
        out = F.pad(self.encoder(x, context), (0, self.n_out))
        for part, known in zip(self._parts(), entered, strict=True):
            out = part.behind(known, out)
        return self.head(out)

    def _parts(self) -> list[AbstractCausal]:
        return [part for part in self.net if isinstance(part, AbstractCausal)]
