"""No inner loop: the features alone."""

from typing import TypeAlias

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means

NilState: TypeAlias = tuple[Float[Tensor, "T C D"], Context]


class NIL(AbstractLearner[NilState]):
    """An encoder that was trained with a head and an inner loop (by `anil` or `maml`), used without
    either.

    score(c | x) = scale · mean over the support of class c of cos(f(x), f(x_i))

    Train `anil` or `maml`, then score with this: ``quickstudy eval RUN --as nil``.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        scale: of the scores, which are cosines; it changes probabilities, not decisions.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> NIL(Identity(2)).fit(support, Classes(2))(torch.tensor([[5.0, 0.0]]))
        tensor([[10.,  0.]])

    Paper: Raghu, Raghu, Bengio, Vinyals 2020, arXiv:1909.09157, section 5.
    Differs: the mean over a class's cosines where the paper has their sum, so that classes may have
        unequal shots.
    """

    def __init__(self, encoder: AbstractEncoder, *, scale: float = 10.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.encoder, self.scale = encoder, scale
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> NilState:
        z, context = self.encoder.read(support.x)
        return class_means(F.normalize(z, dim=-1), support.y, target.width), context

    def predict(self, state: NilState, x: Tensor) -> Tensor:
        means, context = state
        return self.scale * F.normalize(self.encoder(x, context), dim=-1) @ means.transpose(1, 2)
