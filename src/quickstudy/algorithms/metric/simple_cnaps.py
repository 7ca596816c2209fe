"""Simple CNAPs: class means, compared by the Mahalanobis distance."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean
from quickstudy.kernels.precision import at_least_single

MahalanobisState: TypeAlias = tuple[
    Float[Tensor, "T C D"], Float[Tensor, "T N D"], Float[Tensor, "T C N N"], Context
]


class SimpleCNAPs(AbstractLearner[MahalanobisState]):
    """Every class has a mean and a covariance, which a few examples give only in part: the rest is
    the covariance of the whole support.

    score(c | x) = −½ (f(x) − μ_c)ᵀ Q_c⁻¹ (f(x) − μ_c);  Q_c = λ_c Σ_c + (1 − λ_c) Σ + βI,  λ_c =
    n_c / (n_c + 1)

    Σ_c and Σ are the unbiased covariances of class c and of the whole support, 0 for a single
    example. Q_c is never formed: N examples span it, so N×N matrices do instead of D×D, in double
    precision.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; any number of classes works.

    Args:
        encoder: f.
        ridge: β.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(
        ...     torch.tensor([[-4.0, 1.0], [4.0, 1.0], [-4.0, -1.0], [4.0, -1.0]]),
        ...     torch.tensor([0, 0, 1, 1]),
        ... )
        >>> learner = SimpleCNAPs(Identity(2))  # both classes are wide and flat
        >>> learner.fit(support, Classes(2))(torch.tensor([[4.0, 1.0]])).argmax(1)
        tensor([0])

    Raises:
        ConfigError: for a ridge that is not above 0.

    Paper: Bateni, Goyal, Masrani, Wood, Sigal 2020, arXiv:1912.03432, equations 2 to 4.
    Differs: the encoder is not modulated by the task; it is the paper's way of comparing, on
        any encoder. The paper's ½ is there, the code's scores are twice these. With one
        example of a class the code adds the variance of its numbers to every entry of the
        covariance (logits 26 % away); here a single example has no covariance.
    """

    def __init__(self, encoder: AbstractEncoder, *, ridge: float = 1.0) -> None:
        super().__init__()
        if not ridge > 0:
            raise ConfigError(f"ridge must be above 0, got {ridge}.")
        self.encoder, self.ridge = encoder, ridge
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> MahalanobisState:
        z, context = self.encoder.read(support.x)
        centred = z - z.mean(1, keepdim=True)
        member = F.one_hot(support.y, target.width)
        return (
            class_means(z, support.y, target.width),
            centred,
            _factor(centred, member, self.ridge).to(z.dtype),
            context,
        )

    def predict(self, state: MahalanobisState, x: Tensor) -> Tensor:
        mean, centred, factor, context = state
        return _score(self.encoder(x, context), mean, centred, factor, self.ridge)


@at_least_single
def _factor(
    centred: Float[Tensor, "T N D"], member: Int[Tensor, "T N C"], ridge: float
) -> Float[Tensor, "T C N N"]:
    """The inverse of the Cholesky factor of β W_c⁻¹ + ZZᵀ, where Q_c = βI + Zᵀ W_c Z and Z are the
    centred features. The inverse, as ONNX solves no equations.
    """
    z, own = centred.double(), member.double().transpose(1, 2)  # [T C N]
    n, n_all = own.sum(2)[..., None, None], z.shape[1]  # [T C 1 1]
    of_class, of_all = n / (n + 1) / (n - 1).clamp(min=1), 1 / (n + 1) / max(n_all - 1, 1)
    # [T C N N], a projection
    within = torch.diag_embed(own) - own[..., None] * own[..., None, :] / n
    inverse = (
        torch.eye(n_all, dtype=z.dtype, device=z.device) / of_all
        + (1 / (of_class + of_all) - 1 / of_all) * within
    )
    factor = torch.linalg.cholesky(ridge * inverse + (z @ z.transpose(1, 2))[:, None])
    unit = torch.eye(n_all, dtype=z.dtype, device=z.device)
    return torch.linalg.solve_triangular(factor, unit, upper=False)


@at_least_single
def _score(
    x: Tensor, mean: Tensor, centred: Tensor, factor: Tensor, ridge: float
) -> Float[Tensor, "T Q C"]:
    q, m, z = x.double(), mean.double(), centred.double()
    # [T C N Q], Z(f − μ_c)
    across = (z @ q.transpose(1, 2))[:, None] - (m @ z.transpose(1, 2))[..., None]
    # [T C Q]
    spanned = (factor.double() @ across).square().sum(2)
    return ((negative_squared_euclidean(q, m) + spanned.transpose(1, 2)) / (2 * ridge)).to(x.dtype)
