"""R2-D2: ridge regression as the last layer."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.kernels.precision import at_least_single

RidgeState: TypeAlias = tuple[Float[Tensor, "T D C"], Context]


class R2D2(AbstractLearner[RidgeState]):
    """The last layer is solved for every task in closed form, and the solution is differentiated.

    W = Xᵀ (XXᵀ + λI)⁻¹ Y;  score(x) = α [f(x), 1] W

    X holds the support's features beside a 1 and Y its one-hot labels, both divided by √N, N
    examples; λ and α are learned.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; any number of classes works.

    Args:
        encoder: f.
        penalty: λ at the start.
        scale: α at the start: one-hot answers between 0 and 1 make an almost flat softmax.
        normalised: False leaves out the division by √N and the 1 beside the features, as the code
            of MetaOptNet's authors does, whose λ begins at 50.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> R2D2(Identity(2), penalty=1.0, scale=2.0, normalised=False).fit(support, Classes(2))(
        ...     torch.eye(2)
        ... ).detach()
        tensor([[1., 0.],
                [0., 1.]])

    Paper: Bertinetto, Henriques, Torr, Vedaldi 2019, arXiv:1805.08136, equations 4 to 6.
    Differs: without the bias β, which all classes share: it cancels under the cross entropy.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        penalty: float = 1.0,
        scale: float = 10.0,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        if not penalty > 0 or not scale > 0:
            raise ConfigError(f"penalty and scale must be above 0, got {penalty} and {scale}.")
        self.encoder, self.normalised = encoder, normalised
        self.log_penalty = nn.Parameter(torch.tensor(penalty).log())
        self.scale = nn.Parameter(torch.tensor(scale))
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> RidgeState:
        x, context = self.encoder.read(support.x)
        # One division by N of the products is both by √N: the penalty times N is the same.
        penalty = self.log_penalty.exp() * (x.shape[1] if self.normalised else 1)
        return _ridge(self._beside_one(x), F.one_hot(support.y, target.width), penalty), context

    def predict(self, state: RidgeState, x: Tensor) -> Tensor:
        weight, context = state
        return self.scale * self._beside_one(self.encoder(x, context)) @ weight

    def _beside_one(self, x: Float[Tensor, "T N D"]) -> Float[Tensor, "T N E"]:
        return torch.cat((x, torch.ones_like(x[..., :1])), 2) if self.normalised else x


@at_least_single
def _ridge(x: Float[Tensor, "T N D"], y: Tensor, penalty: Tensor) -> Float[Tensor, "T D C"]:
    # [T N N]
    gram = x @ x.transpose(1, 2) + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return x.transpose(1, 2) @ torch.linalg.solve(gram, y.to(x.dtype))
