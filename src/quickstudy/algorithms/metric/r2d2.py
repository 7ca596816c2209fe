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

    W = Xᵀ (XXᵀ + λI)⁻¹ Y;  score(x) = α f(x) W

    X holds the support's features and Y its one-hot labels; λ and α are learned.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; any number of classes works.

    Args:
        encoder: f.
        penalty: λ at the start.
        scale: α at the start: one-hot answers between 0 and 1 make an almost flat softmax.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> R2D2(Identity(2), penalty=1.0, scale=2.0).fit(support, Classes(2))(
        ...     torch.eye(2)
        ... ).detach()
        tensor([[1., 0.],
                [0., 1.]])

    Paper: Bertinetto, Henriques, Torr, Vedaldi 2019, arXiv:1805.08136, equations 4 to 6.
    Differs: without the bias β, which all classes share: it cancels under the cross entropy.
        This is the head of the code of MetaOptNet's authors. R2-D2's own divides features and
        labels by √N and adds a column of ones: the same as a penalty times N here with a
        feature of 1 appended, to 1e-7; at equal penalties its logits are unlike.
    """

    def __init__(
        self, encoder: AbstractEncoder, *, penalty: float = 50.0, scale: float = 10.0
    ) -> None:
        super().__init__()
        if not penalty > 0 or not scale > 0:
            raise ConfigError(f"penalty and scale must be above 0, got {penalty} and {scale}.")
        self.encoder = encoder
        self.log_penalty = nn.Parameter(torch.tensor(penalty).log())
        self.scale = nn.Parameter(torch.tensor(scale))
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> RidgeState:
        x, context = self.encoder.read(support.x)
        return _ridge(x, F.one_hot(support.y, target.width), self.log_penalty.exp()), context

    def predict(self, state: RidgeState, x: Tensor) -> Tensor:
        weight, context = state
        return self.scale * self.encoder(x, context) @ weight


@at_least_single
def _ridge(x: Float[Tensor, "T N D"], y: Tensor, penalty: Tensor) -> Float[Tensor, "T D C"]:
    # [T N N]
    gram = x @ x.transpose(1, 2) + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return x.transpose(1, 2) @ torch.linalg.solve(gram, y.to(x.dtype))
