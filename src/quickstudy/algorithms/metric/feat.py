"""FEAT: prototypes that look at each other."""

from typing import TypeAlias

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

    μ = class means of f(x);  μ′ = LayerNorm(μ + W_o softmax(μW_q (μW_k)ᵀ / √D) μW_v);  score(c | x)
    = −|f(x) − μ′_c|² / τ

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; any number of classes works.

    Args:
        encoder: f, best pre-trained by classification (``--from``).
        temperature: τ; squared distances of long vectors are large.
        dropout: of what attention adds, in training.

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
        temperature of its own for it. The attention's output layer has no bias and its
        weights no dropout (of 0.1) as there: with the authors' bias the logits of the same
        weights are 3 % away.
    """

    def __init__(
        self, encoder: AbstractEncoder, *, temperature: float = 64.0, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"temperature must be above 0, got {temperature}.")
        self.encoder, self.temperature = encoder, temperature
        self.attention = nn.MultiheadAttention(encoder.out_dim, 1, bias=False, batch_first=True)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(encoder.out_dim)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> FeatState:
        z, context = self.encoder.read(support.x)
        means = class_means(z, support.y, target.width)
        seen = self.attention(means, means, means, need_weights=False)[0]
        return self.norm(means + self.dropout(seen)), context

    def predict(self, state: FeatState, x: Tensor) -> Tensor:
        means, context = state
        # [T Q C]
        return negative_squared_euclidean(self.encoder(x, context), means) / self.temperature
