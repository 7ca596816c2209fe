"""MetaOptNet: a support vector machine as the last layer."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.support_vectors import crammer_singer
from quickstudy.kernels.precision import at_least_single

MachineState: TypeAlias = tuple[Float[Tensor, "T D C"], Context]


class MetaOptNet(AbstractLearner[MachineState]):
    """The last layer is a multi-class support vector machine, solved for every task; its solution
    is differentiated.

    W = Xᵀ A, A the dual solution (`quickstudy.functional.support_vectors.crammer_singer`);
    score(x) = γ f(x) W

    X holds the support's features; γ is learned. Solved exactly, by some twenty Newton steps.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; any number of classes works.

    Args:
        encoder: f.
        penalty: C of the machine, its price of an error.
        ridge: is added to the diagonal of XXᵀ; the authors' code adds 1.
        scale: γ at the start.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(2 * torch.eye(2), torch.tensor([0, 1]))
        >>> MetaOptNet(Identity(2), penalty=10.0, ridge=0.0).fit(support, Classes(2))(
        ...     2 * torch.eye(2)
        ... ).detach()
        tensor([[ 0.5000, -0.5000],
                [-0.5000,  0.5000]])

    Raises:
        ConfigError: for numbers out of range.
        TrainingError: for features that no machine can be made of, such as NaN.

    Paper: Lee, Maji, Ravichandran, Soatto 2019, arXiv:1904.03758, equations 5 to 8.
    Differs: the dual is solved by an interior-point method of our own in place of OptNet.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        penalty: float = 0.1,
        ridge: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not penalty > 0 or not ridge >= 0 or not scale > 0:
            raise ConfigError(
                f"penalty and scale must be above 0, and ridge not below, got {penalty}, {scale} "
                f"and {ridge}."
            )
        self.encoder, self.penalty, self.ridge = encoder, penalty, ridge
        self.scale = nn.Parameter(torch.tensor(scale))
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> MachineState:
        x, context = self.encoder.read(support.x)
        return _machine(x, F.one_hot(support.y, target.width), self.penalty, self.ridge), context

    def predict(self, state: MachineState, x: Tensor) -> Tensor:
        weight, context = state
        return self.scale * self.encoder(x, context) @ weight


@at_least_single
def _machine(
    x: Float[Tensor, "T N D"], y: Tensor, penalty: float, ridge: float
) -> Float[Tensor, "T D C"]:
    across = x.transpose(1, 2)
    return across @ crammer_singer(x @ across, y.to(x.dtype), penalty=penalty, ridge=ridge)
