"""Prototypical networks."""

from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import similarity_named

ProtoState: TypeAlias = tuple[Float[Tensor, "T C D"], Context]


class ProtoNet(AbstractLearner[ProtoState]):
    """A class is the mean of its examples; a query belongs to the nearest mean.

    μ_c = mean of f(x) over the support of class c;  p(c | x) = softmax_c s(f(x), μ_c)

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; shots may differ from class to class,
        and any number of classes works.

    Args:
        encoder: f.
        similarity: s: "euclidean" (minus the squared distance, the paper's), "cosine" or "dot".

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(
        ...     torch.tensor([[0.0, 0.0], [0.0, 2.0], [4.0, 4.0]]), torch.tensor([0, 0, 1])
        ... )
        >>> predictor = ProtoNet(Identity(2)).fit(support, Classes(2))
        >>> predictor(torch.tensor([[1.0, 1.0]]))
        tensor([[ -1., -18.]])

    Paper: Snell, Swersky, Zemel 2017, arXiv:1703.05175, equations 1 and 2.
    Differs: in training the support and the queries are normalised in two batches, not in one.
    """

    def __init__(self, encoder: AbstractEncoder, *, similarity: str = "euclidean") -> None:
        super().__init__()
        self.encoder, self._similarity = encoder, similarity_named(similarity)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> ProtoState:
        z, context = self.encoder.read(support.x)
        return class_means(z, support.y, target.width), context

    def predict(self, state: ProtoState, x: Tensor) -> Tensor:
        means, context = state
        return self._similarity(self.encoder(x, context), means)  # [T Q C]
