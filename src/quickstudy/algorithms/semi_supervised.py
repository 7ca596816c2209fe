"""Prototypes that learn from unlabelled examples too: soft k-means, with a cluster for distractors,
and with masks.
"""

import abc
import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean

SemiState: TypeAlias = tuple[Float[Tensor, "T C D"], Context]


class _Refined(AbstractLearner[SemiState]):
    """Class means, refined once by the unlabelled examples of the support; without any they are
    class means.
    """

    def __init__(self, encoder: AbstractEncoder, *, exact_gradient: bool = True) -> None:
        super().__init__()
        self.encoder = encoder
        self.traits = Traits(
            encodes_alone=True,
            semi_supervised=True,
            transductive=encoder.transductive,
            exact_gradient=exact_gradient,
        )

    @abc.abstractmethod
    def shares(
        self, u: Float[Tensor, "T U D"], means: Float[Tensor, "T C D"]
    ) -> Float[Tensor, "T U C"]:
        """How much of each unlabelled example a class takes over."""

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> SemiState:
        z, context = self.encoder.read(support.x)
        means = class_means(z, support.y, target.width)
        if support.unlabelled is None or not support.unlabelled.shape[1]:
            return means, context
        u = self.encoder(support.unlabelled, context)
        member = torch.cat(
            (F.one_hot(support.y, target.width).to(z.dtype), self.shares(u, means)), 1
        )
        return class_means(torch.cat((z, u), 1), member, target.width), context

    def predict(self, state: SemiState, x: Tensor) -> Tensor:
        means, context = state
        return negative_squared_euclidean(self.encoder(x, context), means)


class SemiSoft(_Refined):
    """Class means take over unlabelled examples by soft k-means, in one step.

    p_uc = softmax_c( −|u − μ_c|² );  μ̃_c = ( Σ over the support of c of z_i + Σ_u p_uc u ) / ( n_c
    + Σ_u p_uc )

    Every unlabelled example counts as one of the classes: where some are not, see `SemiMasked`.

    Shapes:
        support ``[T N *S]`` with unlabelled ``[T U *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        constant_shares: p are constants to the gradient, as in the authors' code.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples(
        ...     torch.tensor([[[0.0], [4.0]]]),
        ...     torch.tensor([[0, 1]]),
        ...     unlabelled=torch.tensor([[[8.0]]]),
        ... )
        >>> SemiSoft(Identity(1)).fit(support, Classes(2))(torch.tensor([[6.0]]))
        tensor([[-36.,  -0.]])

    Paper: Ren et al. 2018, arXiv:1803.00676, section 3.
    Differs: in training the support, the unlabelled examples and the queries are normalised
        in three batches.
    """

    def __init__(self, encoder: AbstractEncoder, *, constant_shares: bool = True) -> None:
        super().__init__(encoder, exact_gradient=not constant_shares)
        self.constant_shares = constant_shares

    def shares(self, u: Tensor, means: Tensor) -> Tensor:
        shares = negative_squared_euclidean(u, means).softmax(-1)
        return shares.detach() if self.constant_shares else shares


class SemiCluster(_Refined):
    """As `SemiSoft`, with one more cluster, around 0, for unlabelled examples that are of no class
    of the task.

    p_uc = softmax over 0 … C of ( −|u − μ_c|² / 2 r_c² − log r_c ), μ_0 = 0, r_c = 1 for the
    classes, r_0 learned

    Shapes:
        support ``[T N *S]`` with unlabelled ``[T U *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        radius: r_0 at the start.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples(
        ...     torch.tensor([[[10.0], [20.0]]]),
        ...     torch.tensor([[0, 1]]),
        ...     unlabelled=torch.tensor([[[-9.0]]]),
        ... )
        >>> SemiCluster(Identity(1), radius=5.0).fit(support, Classes(2))(torch.tensor([[10.0]]))
        tensor([[  -0., -100.]])

    Raises:
        ConfigError: for a radius that is not above 0.

    Paper: Ren et al. 2018, arXiv:1803.00676, section 3.
    Differs: the radius's logarithm is learned and 2 r² divides, as in the authors' code (the paper:
        r²); it does so for the queries too, here they are scored by −|x − μ̃_c|², so that without
        unlabelled examples this is the prototypical network.
    """

    def __init__(self, encoder: AbstractEncoder, *, radius: float = 100.0) -> None:
        super().__init__(encoder)
        if not radius > 0:
            raise ConfigError(f"radius must be above 0, got {radius}.")
        self.log_radius = nn.Parameter(torch.tensor(math.log(radius)))

    def shares(self, u: Tensor, means: Tensor) -> Tensor:
        stray = (
            -u.square().sum(-1, keepdim=True) / (2 * (2 * self.log_radius).exp()) - self.log_radius
        )
        return torch.cat((stray, negative_squared_euclidean(u, means) / 2), -1).softmax(-1)[..., 1:]


class SemiMasked(_Refined):
    """As `SemiSoft`, but a class takes over only what lies within a distance that a small network
    tells from all distances.

    d̃_uc = |u − μ_c|² / mean over u of it;  β_c, log γ_c = MLP( minimum, maximum, variance,
    skewness, kurtosis of d̃_·c ), β_c made positive

    m_uc = sigmoid( γ_c (β_c − d̃_uc) ), and p_uc m_uc in the place of p_uc

    Shapes:
        support ``[T N *S]`` with unlabelled ``[T U *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples(
        ...     torch.tensor([[[0.0], [50.0]]]),
        ...     torch.tensor([[0, 1]]),
        ...     unlabelled=torch.tensor([[[4.0], [-40.0]]]),
        ... )
        >>> _ = torch.manual_seed(0)
        >>> state = SemiMasked(Identity(1)).adapt(support, Classes(2))
        >>> state[0][0, 0].item() > SemiSoft(Identity(1)).adapt(support, Classes(2))[0][
        ...     0, 0
        ... ].item() + 4  # less of −40 is taken over
        True

    Paper: Ren et al. 2018, arXiv:1803.00676, section 3.
    Differs: both outputs of the network are exponents, as in the authors' code, and about 0
        at the start; that code multiplies by the mask twice. The scores are then 0.1 % away.
    """

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__(encoder, exact_gradient=False)  # none flows through the statistics
        self.judge = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 2))
        for layer in (self.judge[0], self.judge[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def shares(self, u: Tensor, means: Tensor) -> Tensor:
        near = negative_squared_euclidean(u, means)
        d = -near / (-near).mean(1, keepdim=True).clamp_min(1e-12)
        limit, slope = self.judge(_shape(d.detach())).exp().unsqueeze(1).unbind(-1)  # [T 1 C]
        return near.softmax(-1) * (slope * (limit - d)).sigmoid()


def _shape(d: Float[Tensor, "T U C"]) -> Float[Tensor, "T C 5"]:
    """Minimum, maximum, variance, skewness and kurtosis over the unlabelled examples."""
    away = d - d.mean(1, keepdim=True)
    variance = away.square().mean(1)
    skew, kurtosis = (away.pow(k).mean(1) / variance.clamp_min(1e-6).pow(k / 2) for k in (3, 4))
    return torch.stack((d.amin(1), d.amax(1), variance, skew, kurtosis - 3), -1)
