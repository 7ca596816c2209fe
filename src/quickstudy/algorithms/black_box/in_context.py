"""In-context learning: a transformer reads support and query, and answers."""

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.rng import generator
from quickstudy.core.types import Examples, Target

ContextState: TypeAlias = tuple[Float[Tensor, "T N W"], Float[Tensor, "T C W"], Context]


class InContext(AbstractLearner[ContextState]):
    """A transformer encoder over tokens of examples and labels; learning a task is reading it.

    tokens W f(x_i) + e_{y_i} for the support, W f(x) + u for a query;  score(c | x) = ⟨out(x), e_c⟩
    / √width

    The support's tokens look at each other, a query at them and at itself. There are no positions,
    so the support has no order. e are fixed random directions at right angles, of length √width,
    dealt to the classes anew for every task in training; u is learned. Attention begins with keys
    equal to queries and passes on what it reads: from random weights the loss of 20-way tasks
        stands at chance for long, from these it falls at once.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``; up to ``max_way`` classes

    Args:
        encoder: f.
        max_way: the largest number of classes.
        width: of a token, at least max_way.
        layers, heads: of the transformer.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> InContext(Identity(2)).eval().fit(support, Classes(2))(torch.eye(2)).shape
        torch.Size([2, 2])

    Raises:
        ConfigError: for numbers out of range.
        TargetError: for tasks of more classes than max_way.

    Paper: in the spirit of Kirsch et al. 2022, arXiv:2212.04458 (GPICL), and Fifty et al. 2024,
        arXiv:2310.10971 (CAML).
    Differs: from CAML, directions at right angles for its equiangular ones, added in the place of
        appended, and a shallow network that is trained from scratch.
    """

    directions: Float[Tensor, "C W"]

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        max_way: int = 32,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if max_way < 2 or layers < 1 or heads < 1 or width % heads:
            raise ConfigError(
                "max_way must be at least 2, layers and heads at least 1, and heads divide width, "
                f"got {max_way}, {layers}, {heads} and {width}."
            )
        if width < max_way:
            raise ConfigError(
                f"{width} numbers hold no {max_way} directions at right angles. Raise width to "
                "max_way."
            )
        self.encoder, self.max_way, self.width = encoder, max_way, width
        # as long as a label
        self.token = nn.Sequential(nn.Linear(encoder.out_dim, width), nn.LayerNorm(width))
        self.unknown = nn.Parameter(torch.zeros(width))
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        for part in self.transformer.modules():
            if isinstance(
                part, nn.MultiheadAttention
            ):  # begins by looking at what is alike, and copying it
                part.in_proj_weight.data[width : 2 * width] = part.in_proj_weight.data[:width]
                nn.init.eye_(part.in_proj_weight.data[2 * width :])
                nn.init.eye_(part.out_proj.weight.data)
        drawn = torch.randn(
            width, max_way, generator=generator("in_context", "directions"), dtype=torch.float64
        )
        self.register_buffer("directions", torch.linalg.qr(drawn).Q.T.float() * width**0.5)
        self.traits = Traits(
            transductive=encoder.transductive,
            class_equivariant=False,
            encodes_alone=True,
            black_box=True,
        )

    def adapt(
        self, support: Examples, target: Target, query_x: Tensor | None = None
    ) -> ContextState:
        if target.width > self.max_way:
            raise TargetError(
                f"The task has {target.width} classes, but this learner reads at most "
                f"max_way={self.max_way}. Train it with more."
            )
        z, context = self.encoder.read(support.x)
        n_tasks, n = len(z), target.width
        if self.training:
            dealt = torch.rand(n_tasks, self.max_way, device=z.device).argsort(1)[:, :n]
        else:
            dealt = torch.arange(n, device=z.device).expand(n_tasks, n)
        labels = self.directions[dealt].to(z.dtype)  # [T C W]
        named = labels.gather(1, support.y[..., None].expand(-1, -1, self.width))
        return self.token(z) + named, labels, context

    def predict(self, state: ContextState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q C"]:
        known, labels, context = state
        asked = self.token(self.encoder(x, context)) + self.unknown
        n = known.shape[1]
        out = self.transformer(
            torch.cat((known, asked), 1), mask=hidden(known, asked), is_causal=False
        )
        return out[:, n:] @ labels.transpose(1, 2) / self.width**0.5


def hidden(known: Float[Tensor, "T N W"], asked: Float[Tensor, "T Q W"]) -> Tensor:
    """What each token may not look at, ``[N+Q N+Q]``: queries, unless it is one and they are
    itself.

    >>> hidden(torch.zeros(1, 1, 4), torch.zeros(1, 2, 4)).int()
    tensor([[0, 1, 1],
            [0, 0, 1],
            [0, 1, 0]], dtype=torch.int32)
    """
    n = known.shape[1]
    at = torch.arange(n + asked.shape[1], device=asked.device)
    return (at[None] >= n) & (at[None] != at[:, None])
