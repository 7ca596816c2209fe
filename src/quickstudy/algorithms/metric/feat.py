"""FEAT: prototypes that look at each other."""

import math
from typing import TypeAlias

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean

FeatState: TypeAlias = tuple[Float[Tensor, "T C D"], Context]


class FEAT(AbstractLearner[FeatState]):
    """Prototypes are adapted to the task by self-attention among them, without positions, so that
    they stand apart from each other.

    μ = class means of f(x);  μ′ = LayerNorm(μ + W_o softmax(μW_q (μW_k)ᵀ / √D) μW_v + b_o);
    score(c | x) = −|f(x) − μ′_c|² / τ

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; any number of classes works.

    Args:
        encoder: f, best pre-trained by classification (``--from``).
        temperature: τ; squared distances of long vectors are large.
        dropout: of what attention adds, in training.
        attention_dropout: of the attention's weights, in training.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> _ = torch.manual_seed(0)
        >>> support = Examples.single(torch.eye(4), torch.arange(4))
        >>> FEAT(Identity(4)).fit(support, Classes(4))(torch.eye(4)).argmax(1)
        tensor([0, 1, 2, 3])

    Paper: Ye, Hu, Zhan, Sha 2020, arXiv:1812.03664, equations 4 to 7 (the transformer variant).
    Differs: without the contrastive regulariser of its equation 8; the authors' code has a
        temperature of its own for it.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        temperature: float = 64.0,
        dropout: float = 0.5,
        attention_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {temperature}.")
        d = encoder.out_dim
        self.encoder, self.temperature = encoder, temperature
        self.query, self.key, self.value = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.out, self.norm = nn.Linear(d, d), nn.LayerNorm(d)
        self.dropout, self.attention_dropout = nn.Dropout(dropout), attention_dropout
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=math.sqrt(1 / d))
        nn.init.xavier_normal_(self.out.weight)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> FeatState:
        z, context = self.encoder.read(support.x)
        means = class_means(z, support.y, target.width)
        seen = F.scaled_dot_product_attention(
            self.query(means),
            self.key(means),
            self.value(means),
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return self.norm(means + self.dropout(self.out(seen))), context

    def predict(self, state: FeatState, x: Tensor) -> Tensor:
        means, context = state
        # [T Q C]
        return negative_squared_euclidean(self.encoder(x, context), means) / self.temperature
