"""Relation networks."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.encoders.norm import norm_named
from quickstudy.kernels.convolution import convolve

RelationState: TypeAlias = tuple[Float[Tensor, "T C D"], Context]
_POLICIES = ("running", "batch", "group", "none")


class RelationNet(AbstractLearner[RelationState]):
    """A small network judges how a query relates to each class, instead of a distance that is
    given.

    r(c, x) = g([Σ_i f(x_i) over the support of class c ; f(x)]);  the class is argmax_c r

    The outputs are r before its sigmoid, trained by the cross entropy over the classes (the
    objective ``query_loss``).

    Where the encoder's vectors are maps of several places (a Conv4 with ``pooled=2``), g is two
    blocks of convolution and pooling and two layers; where they are vectors, the two layers alone.
    The first convolution is taken of class and query apart and added, which is the same.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        combine: "sum" over a class's support, as in the paper, which ties the network to the shots
            it was trained with, or "mean".
        hidden: width of g's hidden layer.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> _ = torch.manual_seed(0)
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> RelationNet(Identity(2)).fit(support, Classes(2))(torch.eye(2)).shape
        torch.Size([2, 2])

    Paper: Sung et al. 2018, arXiv:1711.06025, equations 1 and 2.
    Differs: the loss: the paper's is the squared error between sigmoid(r) and 1[y = c]. All
        convolutions of g are padded, so that maps of 7×7 end in one place; the paper's authors
        never leave training mode, which makes the published numbers transductive, here that is the
        encoder's policy.
    """

    def __init__(self, encoder: AbstractEncoder, *, combine: str = "sum", hidden: int = 8) -> None:
        super().__init__()
        if combine not in ("sum", "mean"):
            raise ConfigError(
                f"A class's support is combined by 'sum' or 'mean', not by '{combine}'."
            )
        if encoder.norm not in _POLICIES:
            raise ConfigError(
                "The relation of two examples has no support to be normalised by; use an encoder "
                f"with norm={', '.join(_POLICIES)}, not {encoder.norm}."
            )
        self.encoder, self.combine = encoder, combine
        channels, height, width = encoder.map_shape or (encoder.out_dim, 1, 1)
        self._map = (channels, height, width)
        self.convolves = height >= 4 and width >= 4
        if self.convolves:
            self.of_class = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.of_query = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norms = nn.ModuleList(norm_named(encoder.norm, channels) for _ in range(2))
            flat = channels * (height // 4) * (width // 4)
        else:
            flat = 2 * encoder.out_dim
        self.hidden, self.out = nn.Linear(flat, hidden), nn.Linear(hidden, 1)
        self.traits = Traits(encodes_alone=True, transductive=encoder.transductive)

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> RelationState:
        z, context = self.encoder.read(support.x)
        member = F.one_hot(support.y, target.width).to(z.dtype)  # [T N C]
        total = torch.einsum("tnc,tnd->tcd", member, z)
        return (total if self.combine == "sum" else total / member.sum(1).unsqueeze(-1)), context

    def predict(self, state: RelationState, x: Tensor) -> Tensor:
        classes, context = state
        z = self.encoder(x, context)
        if self.convolves:
            return self._judge(self._compared(classes, z))
        pairs = torch.cat(
            (
                classes[:, None].expand(-1, z.shape[1], -1, -1),
                z[:, :, None].expand(-1, -1, classes.shape[1], -1),
            ),
            -1,
        )
        return self._judge(pairs)  # [T Q C]

    def _compared(
        self, classes: Float[Tensor, "T C D"], z: Float[Tensor, "T Q D"]
    ) -> Float[Tensor, "T Q C E"]:
        a, b = (
            convolve(v.flatten(0, 1).unflatten(1, self._map), conv.weight).unflatten(0, v.shape[:2])
            for conv, v in ((self.of_class, classes), (self.of_query, z))
        )
        pairs = (a[:, None] + b[:, :, None]).flatten(1, 2)  # [T Q·C channels h w]
        y = self._pooled(pairs, 0)
        y = self._pooled(convolve(y.flatten(0, 1), self.second.weight).unflatten(0, y.shape[:2]), 1)
        return y.flatten(2).unflatten(1, (z.shape[1], classes.shape[1]))

    def _pooled(self, y: Tensor, i: int) -> Tensor:
        return F.max_pool2d(F.relu(self.norms[i](y)).flatten(0, 1), 2).unflatten(0, y.shape[:2])

    def _judge(self, pairs: Tensor) -> Tensor:
        return self.out(F.relu(self.hidden(pairs)))[..., 0]
