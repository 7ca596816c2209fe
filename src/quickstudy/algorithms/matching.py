"""Matching networks, without full-context embeddings."""

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.similarity import similarity_named

MatchingState: TypeAlias = tuple[Float[Tensor, "T N D"], Float[Tensor, "T N C"], Context]


class MatchingNet(AbstractLearner[MatchingState]):
    """A query looks at every support example and takes over their labels, weighted by attention.

    a = softmax_i( s · c(f(x), f(x_i)) );  p(y | x) = Σ_i a_i [y_i = y]

    The outputs are log p up to a constant per query: the logsumexp of s·c over the examples of each class.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f, the same for support and queries.
        similarity: c: "cosine" (the paper's), "euclidean" or "dot".
        scale: s at the start. Cosines lie in [−1, 1], and with s = 1 the softmax over many examples is almost flat.
        learn_scale: whether s is learned; False with ``scale=1`` is the paper to the letter.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> predictor = MatchingNet(Identity(2), scale=1, learn_scale=False).fit(support, Classes(2))
        >>> predictor(torch.tensor([[1.0, 0.0]])).softmax(-1)
        tensor([[0.7311, 0.2689]])

    Paper: Vinyals et al. 2016, arXiv:1606.04080, equations 1 and 2.
    Differs: a learned temperature by default; no full-context embeddings. With unequal shots large classes are favoured, as in the paper.
    """

    def __init__(self, encoder: AbstractEncoder, *, similarity: str = "cosine", scale: float = 10.0, learn_scale: bool = True) -> None:
        super().__init__()
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.encoder, self._similarity = encoder, similarity_named(similarity)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> MatchingState:
        z, context = self.encoder.read(support.x)
        return z, F.one_hot(support.y, target.width).to(z.dtype), context

    def predict(self, state: MatchingState, x: Tensor) -> Tensor:
        z, member, context = state
        attention = self.log_scale.exp() * self._similarity(self.encoder(x, context), z)  # [T Q N]
        return torch.logsumexp(attention[:, :, :, None] + member.log()[:, None], dim=2)  # [T Q C]
