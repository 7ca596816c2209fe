"""CAML: a transformer reads each query beside the labelled examples, on a frozen encoder."""

from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quickstudy.algorithms.in_context.engine import Attention, GridLayer
from quickstudy.algorithms.in_context.labels import class_order
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.rng import current, generator
from quickstudy.core.types import Examples, Target

CAMLState: TypeAlias = tuple[Float[Tensor, "T N W"], Float[Tensor, "T C L"], Context]


class CAML(AbstractLearner[CAMLState]):
    """A transformer encoder over sequences of one query and all labelled examples, where every
    token looks at every other; the encoder of examples stays as it is.

    sequence [z(x), u], [z(x_1), e_{y_1}], …, [z(x_N), e_{y_N}];
    score(c | x) = ⟨A r, e_c⟩ / √L, with r the query's token after the last layer

    z is the encoder's normalised feature (W times it where ``width`` is given), u a learned code of
    the unknown class. The codes e_c are corners of a regular simplex: of equal length, and each two
    at the same angle, the widest there is (ELMES). So a rotation maps the codes onto themselves in
    any other order, and no class is special. There are no positions: the support has no order.

    Codes are dealt to the classes anew for every task in training; otherwise by an order of the
    classes that depends on their examples alone, so that their names do not matter.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; up to ``max_way`` classes

    Args:
        encoder: of the examples. It is frozen: its parameters are set to require no gradient and it
            stays in eval mode.
        max_way: the largest number of classes.
        width: W's rows; None = the features as they are, as in the paper.
        label_width: L, numbers of a code, at least max_way − 1.
        layers, heads: of the transformer; heads divide the length of a token.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(5, 64), torch.tensor([2, 0, 1, 4, 3])
        >>> learner = CAML(Identity(64), max_way=10).eval()
        >>> learner.fit(Examples.single(x, y), Classes(5))(x).argmax(1)
        tensor([2, 0, 1, 4, 3])

    Raises:
        ConfigError: for numbers out of range.
        TargetError: for tasks of more classes than max_way.

    Paper: Fifty et al. 2024, arXiv:2310.10971.
    Differs: a small transformer, whose attention begins by comparing features alone and passes on
        what it reads, so that training begins well above chance; scores are products with the
        codes, where the paper has a small network with one output per class; outside of training
        codes are dealt by the examples.
    """

    codes: Float[Tensor, "C L"]

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        max_way: int = 20,
        width: int | None = None,
        label_width: int = 32,
        layers: int = 3,
        heads: int = 2,
    ) -> None:
        super().__init__()
        if max_way < 2 or label_width < max_way - 1 or layers < 1:
            raise ConfigError(
                "max_way must be at least 2, label_width at least max_way - 1 and layers at least "
                f"1, got {max_way}, {label_width} and {layers}."
            )
        if width is not None and width < 1:
            raise ConfigError(f"width must be at least 1, or None, got {width}.")
        n = encoder.out_dim
        token = (width or n) + label_width
        if heads < 1 or token % heads:
            raise ConfigError(
                f"heads must divide the length of a token, {width or n} + label_width = {token}, "
                f"got {heads}."
            )
        self.encoder = encoder.requires_grad_(requires_grad=False).eval()
        self.max_way = max_way
        self.norm_feature = nn.LayerNorm(n, elementwise_affine=False)
        self.project = None if width is None else nn.Linear(n, width, bias=False)
        if self.project is not None:
            nn.init.orthogonal_(self.project.weight, max(1.0, n / self.project.out_features) ** 0.5)
        self.unknown = nn.Parameter(torch.zeros(label_width))
        self.transformer = nn.ModuleList(
            GridLayer(token, heads, columns=False) for _ in range(layers)
        )
        for layer in self._layers():
            _begin_with_features(layer.rows, token - label_width)
        self.norm = nn.LayerNorm(token)
        self.out = nn.Linear(token, label_width)
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.weight[:, -label_width:] = torch.eye(label_width)
        self.register_buffer("codes", equiangular_codes(max_way, label_width))
        self.traits = Traits(
            transductive=encoder.transductive,
            encodes_alone=True,
            black_box=True,
        )

    def train(self, mode: bool = True) -> "CAML":
        """As of any module, but the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> CAMLState:
        if target.width > self.max_way:
            raise TargetError(
                f"The task has {target.width} classes, but this learner reads at most "
                f"max_way={self.max_way}. Build and train it with more."
            )
        with torch.no_grad():
            z, context = self.encoder.read(support.x)
        codes = self.codes[self._dealt(z, support.y, target.width)].to(z.dtype)  # [T C L]
        label = codes.gather(1, support.y[..., None].expand(-1, -1, codes.shape[-1]))
        return torch.cat((self._feature(z), label), -1), codes, context

    def predict(self, state: CAMLState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q C"]:
        known, codes, context = state
        with torch.no_grad():
            z = self.encoder(x, context)
        unknown = self.unknown.to(z.dtype).expand(*z.shape[:2], -1)
        query = torch.cat((self._feature(z), unknown), -1)
        known = known[:, None].expand(-1, query.shape[1], -1, -1)
        tokens = torch.cat((query[:, :, None], known), 2)  # [T Q N+1 W]
        for layer in self._layers():
            tokens, _ = layer.support(tokens)
        read = self.out(self.norm(tokens[:, :, 0]))
        return read @ codes.transpose(1, 2) / codes.shape[-1] ** 0.5

    def _dealt(self, z: Tensor, y: Tensor, n: int) -> Int[Tensor, "T C"]:
        if self.training:
            drawn = torch.rand(len(z), self.max_way, generator=current())
            return drawn.argsort(1)[:, :n].to(z.device)
        return class_order(z, y, n)

    def _layers(self) -> list[GridLayer]:
        return [layer for layer in self.transformer if isinstance(layer, GridLayer)]

    def _feature(self, z: Tensor) -> Tensor:
        z = self.norm_feature(z)
        return z if self.project is None else self.project(z)


def _begin_with_features(attention: Attention, n: int) -> None:
    """Let every head begin by comparing tokens by their first n numbers alone, seen from
    directions of its own at right angles.
    """
    width = attention.q.in_features
    part = width // attention.heads
    side = max(part, n)
    with torch.no_grad():
        attention.q.weight.zero_()
        for rows in attention.q.weight.split(part):
            rows[:, :n] = nn.init.orthogonal_(rows.new_empty(side, side))[:part, :n]
            rows *= max(1.0, n / part) ** 0.25
        attention.kv.weight[:width] = attention.q.weight


def equiangular_codes(n: int, dim: int) -> Float[Tensor, "n dim"]:
    """The corners of a regular simplex around zero, turned at random (always the same way), of
    length √dim: vectors of equal length with the largest angle that n vectors can all have.

    Args:
        n: how many, at least 2.
        dim: numbers of each, at least n − 1.

    >>> codes = equiangular_codes(3, 8)
    >>> (codes @ codes.T / 8).mul(100).round().int().tolist()
    [[100, -50, -50], [-50, 100, -50], [-50, -50, 100]]
    """
    g = generator("caml", "codes")
    drawn = torch.randn(n, n - 1, generator=g, dtype=torch.float64)
    ones = torch.ones(n, 1, dtype=torch.float64)
    corners = torch.linalg.qr(torch.cat((ones, drawn), 1)).Q[:, 1:] * (n / (n - 1)) ** 0.5
    turn = torch.linalg.qr(torch.randn(dim, n - 1, generator=g, dtype=torch.float64)).Q
    return (corners @ turn.T * dim**0.5).float()
