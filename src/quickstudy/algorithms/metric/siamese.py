"""Siamese networks: the same or not?"""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.comparing import AbstractComparer
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.learner import Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.similarity import negative_squared_euclidean

SiameseState: TypeAlias = tuple[Float[Tensor, "T N D"], Float[Tensor, "T N C"], Context]
COMPARISONS = ("difference", "concatenate", "distance")


class Siamese(AbstractComparer[SiameseState]):
    """Two examples go through the same encoder, and a score says whether they are of one class; a
    query gets the class whose examples score highest.

    difference: s(x₁, x₂) = Σ_j a_j |f_j(x₁) − f_j(x₂)| + b.  concatenate: a network of [f(x₁);
        f(x₂)], averaged over both orders.
    distance: −|f(x₁) − f(x₂)|², nothing to learn.

    score(c | x) = mean over the support of class c of s(x, x_i), the logits of "the same".

    Trained on pairs by the objective ``pairs`` (cross entropy, or the contrastive loss for
    "distance") or by ``triplets`` ("distance").

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        compare: which score.
        normalise: f has length 1: for triplets.
        hidden: width of the network of "concatenate".
        support_encoder: an encoder of the support's own, where the two sides differ in kind; None =
            the same.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]))
        >>> Siamese(Identity(1), compare="distance").fit(support, Classes(2))(torch.tensor([[1.0]]))
        tensor([[-1., -9.]])

    Paper: Koch, Zemel, Salakhutdinov 2015, ICML deep learning workshop, section 3.1; concatenation
        as a variant of it.
    Differs: the encoder is any, not the paper's; several shots are averaged, which the paper does
        not have.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        compare: str = "difference",
        normalise: bool = False,
        hidden: int = 64,
        support_encoder: AbstractEncoder | None = None,
    ) -> None:
        super().__init__()
        if compare not in COMPARISONS:
            raise ConfigError(
                f"Siamese networks compare by no '{compare}'. {did_you_mean(compare, COMPARISONS)}"
            )
        if support_encoder is not None and support_encoder.out_dim != encoder.out_dim:
            raise ConfigError(
                f"The two encoders must give vectors of one length, got {encoder.out_dim} and "
                f"{support_encoder.out_dim}."
            )
        d = encoder.out_dim
        self.encoder = encoder
        self.support_encoder = support_encoder
        self.compare = compare
        self.normalise = normalise
        if compare == "difference":
            self.judge: nn.Module = nn.Linear(d, 1)
        elif compare == "concatenate":
            self.judge = nn.Sequential(nn.Linear(2 * d, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.traits = Traits(
            encodes_alone=support_encoder is None,
            transductive=encoder.transductive or (support_encoder or encoder).transductive,
        )

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> SiameseState:
        z, context = (self.support_encoder or self.encoder).read(support.x)
        # Statistics of another encoder's features are none of the queries' business.
        context = context if self.support_encoder is None else ()
        return self._direction(z), F.one_hot(support.y, target.width).to(z.dtype), context

    def predict(self, state: SiameseState, x: Tensor) -> Tensor:
        z, member, context = state
        same = self.same(self._direction(self.encoder(x, context)), z)  # [T Q N]
        return same @ (member / member.sum(1, keepdim=True))

    def same(self, a: Float[Tensor, "T Q D"], b: Float[Tensor, "T N D"]) -> Float[Tensor, "T Q N"]:
        """How much every feature of one side looks like every one of the other: logits, or minus
        the squared distance.
        """
        if self.compare == "distance":
            return negative_squared_euclidean(a, b)
        if self.compare == "difference":
            return self.judge((a[:, :, None] - b[:, None]).abs())[..., 0]
        n, m = a.shape[1], b.shape[1]
        left, right = a[:, :, None].expand(-1, -1, m, -1), b[:, None].expand(-1, n, -1, -1)
        return (
            self.judge(torch.cat((left, right), -1)) + self.judge(torch.cat((right, left), -1))
        )[..., 0] / 2

    def features(self, x: Float[Tensor, "T N *S"]) -> Float[Tensor, "T N D"]:
        """What is compared."""
        return self._direction(self.encoder(x))

    def _direction(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) if self.normalise else z
