"""The nearest neighbour on a given encoder: what every table must have beside the methods."""

from typing import TypeAlias

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.similarity import similarity_named

NeighbourState: TypeAlias = tuple[Float[Tensor, "T N D"], Float[Tensor, "T N C"], Context]


class NearestNeighbour(AbstractLearner[NeighbourState]):
    """A query gets the label of the most similar support example. With an identity encoder on
    images: pixel nearest neighbour.

    score(c | x) = max over the support of class c of s(f(x), f(x_i))

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        similarity: s: "euclidean" (minus the squared distance), "cosine" or "dot".

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([0, 0, 1]))
        >>> NearestNeighbour(Identity(1)).fit(support, Classes(2))(torch.tensor([[3.0]]))
        tensor([[ -1., -36.]])

    Paper: Cover and Hart 1967, doi:10.1109/TIT.1967.1053964.
    Differs: nothing.
    """

    def __init__(self, encoder: AbstractEncoder, *, similarity: str = "euclidean") -> None:
        super().__init__()
        self.encoder, self._similarity = encoder, similarity_named(similarity)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> NeighbourState:
        z, context = self.encoder.read(support.x)
        return z, F.one_hot(support.y, target.width).to(z.dtype), context

    def predict(self, state: NeighbourState, x: Tensor) -> Tensor:
        z, member, context = state
        near = self._similarity(self.encoder(x, context), z)  # [T Q N]
        return (near[:, :, :, None] + member.log()[:, None]).amax(2)  # [T Q C]
