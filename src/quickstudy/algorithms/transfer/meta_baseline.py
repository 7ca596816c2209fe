"""Meta-Baseline: cosine prototypes with a learned scale, meta-trained after a pre-training."""

import math
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import cosine

MetaBaselineState: TypeAlias = tuple[Float[Tensor, "T C D"], Context]


class MetaBaseline(AbstractLearner[MetaBaselineState]):
    """A query belongs to the class mean of the nearest direction; how sharply is learned.

    score(c | x) = s · cos(f(x), μ_c), μ_c the mean of f over the support of class c

    Begin with an encoder that was trained to classify:
    ``quickstudy train mini-imagenet-meta --from RUN``.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        scale: s at the start.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> MetaBaseline(Identity(2)).fit(support, Classes(2))(torch.tensor([[3.0, 0.0]])).detach()
        tensor([[10.,  0.]])

    Paper: Chen, Liu, Xu, Darrell, Wang 2021, arXiv:2003.04390, equations 1 to 3.
    Differs: the scale's logarithm is learned, so that it stays above 0.
    """

    def __init__(self, encoder: AbstractEncoder, *, scale: float = 10.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.encoder = encoder
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> MetaBaselineState:
        z, context = self.encoder.read(support.x)
        return class_means(z, support.y, target.width), context

    def predict(self, state: MetaBaselineState, x: Tensor) -> Tensor:
        means, context = state
        return self.log_scale.exp() * cosine(self.encoder(x, context), means)
