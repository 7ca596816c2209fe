"""Matching networks: attention over the support, with and without full-context embeddings."""

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.rng import generator
from quickstudy.core.types import Examples, Target
from quickstudy.functional.full_context import attended, in_context, look
from quickstudy.functional.similarity import cosine, similarity_named

FullContextState: TypeAlias = tuple[Float[Tensor, "T R N D"], Float[Tensor, "T N C"], Context]
MatchingState: TypeAlias = tuple[Float[Tensor, "T N D"], Float[Tensor, "T N C"], Context]


class MatchingNet(AbstractLearner[MatchingState]):
    """A query looks at every support example and takes over their labels, weighted by attention.

    a = softmax_i( s · c(f(x), f(x_i)) );  p(y | x) = Σ_i a_i [y_i = y]

    The outputs are log p up to a constant per query: the logsumexp of s·c over the examples of each
        class.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f, the same for support and queries.
        similarity: c: "cosine" (the paper's), "euclidean" or "dot".
        scale: s at the start. Cosines lie in [−1, 1], and with s = 1 the softmax over many examples
            is almost flat.
        learn_scale: whether s is learned; False with ``scale=1`` is the paper to the letter.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> predictor = MatchingNet(Identity(2), scale=1, learn_scale=False).fit(
        ...     support, Classes(2)
        ... )
        >>> predictor(torch.tensor([[1.0, 0.0]])).softmax(-1)
        tensor([[0.7311, 0.2689]])

    Paper: Vinyals et al. 2016, arXiv:1606.04080, equations 1 and 2.
    Differs: a learned temperature by default; full-context embeddings are `FullContextMatchingNet`.
        With unequal shots large classes are favoured, as in the paper.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        similarity: str = "cosine",
        scale: float = 10.0,
        learn_scale: bool = True,
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.encoder, self._similarity = encoder, similarity_named(similarity)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learn_scale)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> MatchingState:
        z, context = self.encoder.read(support.x)
        return z, F.one_hot(support.y, target.width).to(z.dtype), context

    def predict(self, state: MatchingState, x: Tensor) -> Tensor:
        z, member, context = state
        return attended(
            self.log_scale.exp() * self._similarity(self.encoder(x, context), z), member
        )


class FullContextMatchingNet(AbstractLearner[FullContextState]):
    """Matching networks whose features know the whole support: a bidirectional LSTM reads it, and
    an attention LSTM reads it again for each query.

    g(x_i, S) = →h_i + ←h_i + g′(x_i), by a bidirectional LSTM over g′(x_1) … g′(x_N)

    ĥ_k, c_k = LSTM(g′(x), [h_{k−1}; r_{k−1}], c_{k−1});  h_k = ĥ_k + g′(x);  r_k = Σ_i
    softmax_i(h_k · g(x_i, S)) g(x_i, S);  h_0 = g′(x), f(x, S) = h_K

    Then as `MatchingNet`, with the cosines of f(x, S) and g(x_i, S). The LSTM over the support
    depends on its order.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: g′, the same for support and queries.
        steps: K, how often a query looks at the support.
        combine: "concatenate" h and r, as in the paper, or "add" them.
        orders: over how many orders of the support the answers are averaged, the first being the
            one it comes in; more than one makes the answers depend less on the order, at so many
            times the price.
        scale: of the cosines at the start; it is learned.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> _ = torch.manual_seed(0)
        >>> support = Examples.single(torch.eye(3), torch.tensor([0, 1, 2]))
        >>> FullContextMatchingNet(Identity(3)).fit(support, Classes(3))(torch.eye(3)).shape
        torch.Size([3, 3])

    Paper: Vinyals et al. 2016, arXiv:1606.04080, equations 2 to 5 and appendix A.
    Differs: one encoder for support and queries; a learned temperature; the average over
        orders.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int = 5,
        combine: str = "concatenate",
        orders: int = 1,
        scale: float = 10.0,
    ) -> None:
        super().__init__()
        if steps < 1 or orders < 1 or not scale > 0:
            raise ConfigError(
                f"steps and orders must be at least 1 and scale above 0, got {steps}, {orders} and "
                f"{scale}."
            )
        if combine not in ("concatenate", "add"):
            raise ConfigError(
                "What a query remembers and what it reads are combined by 'concatenate' or 'add', "
                f"not by '{combine}'."
            )
        d = encoder.out_dim
        self.encoder, self.steps, self.combine, self.orders = encoder, steps, combine, orders
        self.support_lstm = nn.LSTM(d, d, bidirectional=True, batch_first=True)
        self.query_cell = nn.LSTMCell(2 * d if combine == "concatenate" else d, d)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.traits = Traits(
            encodes_alone=True, transductive=encoder.transductive, order_free=False
        )

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> FullContextState:
        z, context = self.encoder.read(support.x)
        read = [in_context(self.support_lstm, z)]
        for i in range(1, self.orders):
            order = torch.randperm(z.shape[1], generator=generator("orders", i)).to(z.device)
            read.append(in_context(self.support_lstm, z[:, order])[:, order.argsort()])
        return torch.stack(read, 1), F.one_hot(support.y, target.width).to(z.dtype), context

    def predict(self, state: FullContextState, x: Tensor) -> Tensor:
        every, member, context = state
        plain = self.encoder(x, context)
        # R × [T Q C]
        out = [
            attended(self.log_scale.exp() * cosine(self._look(plain, g), g), member).log_softmax(-1)
            for g in every.unbind(1)
        ]
        return torch.logsumexp(torch.stack(out), 0) - math.log(len(out))

    def _look(self, z: Float[Tensor, "T Q D"], g: Float[Tensor, "T N D"]) -> Float[Tensor, "T Q D"]:
        return look(self.query_cell, z, g, steps=self.steps, add=self.combine == "add")
