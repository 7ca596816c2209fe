"""Hallucination: a generator of features makes further examples of each class, and learns with the
learner what helps.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.rng import current, generator
from quickstudy.functional.full_context import attended, in_context, look
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import cosine, negative_squared_euclidean

HEADS = ("protonet", "matching", "pmn")
GENERATORS = ("residual", "concat")


class Hallucinator(FeatureHead):
    """Each class gets M imagined examples x′ = G(x, z), x one of its examples, z noise; generator
    and learner are trained end to end, on real queries.

    residual: G(x, z) = x + MLP([x; z]), three layers as wide as the features; it begins as G(x, z)
        = x.
    concat: G(x, z) = ReLU(MLP([x; z])), from 2D over 1.5D and 1.5D to D, with dropout.

    protonet: −s |x − μ_c|², μ_c = (1 − w) · mean of the imagined + w · mean of the real.  matching:
        log Σ_i w_i exp(s cos(x, x_i)) over the class, with w
    shared among the real and 1 − w among the imagined.  pmn: the cosines s cos(f(x, S), g(μ_c, S))
    to prototypes which an LSTM has read, of queries that have looked at them. s is learned.

    With ``n_imagined=0`` it is the plain learner. In eval mode the noise is the same for every
    task, so that a task has one answer.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f; often one that was trained before. ``quickstudy train … --from RUN`` begins with
            its weights.
        head: the learner: "protonet", "matching" or "pmn" (prototype matching network).
        generator: G: "residual" or "concat".
        n_imagined: M, per class.
        real_weight: w, in (0, 1].
        dropout: of "concat".
        at_test: whether there are imagined examples in eval mode too.
        scale: s at the start.
        transform: of the features, see `FeatureHead`.

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> Hallucinator(Identity(2)).fit(support, Classes(2))(torch.tensor([[0.0, 1.0]])).argmax(1)
        tensor([1])

    Raises:
        ConfigError: for an unknown head or generator, or numbers out of range.

    Paper: Wang, Girshick, Hebert, Hariharan 2018, arXiv:1801.05401, section 4 and (the prototype
        matching network) section 5.2.
    Differs: the generator is residual, not three layers that begin as the identity, so that
        features of either sign pass; w, and the variant that concatenates, are not the paper's.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        head: str = "protonet",
        generator: str = "residual",
        n_imagined: int = 10,
        real_weight: float = 0.5,
        dropout: float = 0.5,
        at_test: bool = True,
        scale: float = 10.0,
        transform: str = "l2n",
    ) -> None:
        if head not in HEADS:
            raise ConfigError(f"There is no head '{head}'. {did_you_mean(head, HEADS)}")
        if generator not in GENERATORS:
            raise ConfigError(
                f"There is no generator '{generator}'. {did_you_mean(generator, GENERATORS)}"
            )
        if n_imagined < 0 or not 0 < real_weight <= 1 or not 0 <= dropout < 1 or not scale > 0:
            raise ConfigError(
                "n_imagined cannot be negative, real_weight lies in (0, 1], dropout in [0, 1), "
                f"and scale is above 0, got {n_imagined}, {real_weight}, "
                f"{dropout} and {scale}."
            )
        super().__init__(encoder, transform=transform, order_free=False, class_equivariant=False)
        d, wide = encoder.out_dim, 3 * encoder.out_dim // 2
        self.head = head
        self.n_imagined = n_imagined
        self.real_weight = real_weight
        self.at_test = at_test
        self.residual = generator == "residual"
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        if self.residual:
            last = nn.Linear(d, d)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.generator: nn.Module = nn.Sequential(
                nn.Linear(2 * d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), last
            )
        else:
            layers = (
                nn.Linear(2 * d, wide),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(wide, wide),
                nn.ReLU(),
                nn.Dropout(dropout),
            )
            self.generator = nn.Sequential(*layers, nn.Linear(wide, d), nn.ReLU())
        if head == "pmn":
            self.support_lstm = nn.LSTM(d, d, bidirectional=True, batch_first=True)
            self.query_cell = nn.LSTMCell(2 * d, d)

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        imagined = (
            self.imagined(z, y, n) if self.n_imagined and (self.training or self.at_test) else None
        )
        if self.head == "matching":
            return self._weighted(z, y, n, imagined)
        means = class_means(z, y, n)
        if imagined is not None:
            means = self.real_weight * means + (1 - self.real_weight) * imagined.mean(2)
        return (means,) if self.head == "protonet" else (in_context(self.support_lstm, means),)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        scale = self.log_scale.exp()
        if self.head == "matching":
            examples, weight = learned
            return attended(scale * cosine(z, examples), weight)
        if self.head == "protonet":
            return scale * negative_squared_euclidean(z, learned[0])
        return scale * cosine(look(self.query_cell, z, learned[0], steps=2), learned[0])

    def imagined(
        self,
        z: Float[Tensor, "T N D"],
        y: Int[Tensor, "T N"],
        n: int,
        *,
        noise: Float[Tensor, "T C M D"] | None = None,
    ) -> Float[Tensor, "T C M D"]:
        """M imagined examples of each class.

        Args:
            z, y: the features of the support, in the form that the learner works with.
            n: classes.
            noise: instead of what is drawn, standard normal.
        """
        t = len(z)
        m = self.n_imagined
        d = z.shape[2]
        source = current() if self.training else generator("hallucination")
        many = t if self.training else 1
        u = torch.rand(many, n, m, generator=source, dtype=torch.float32).to(z)
        drawn = torch.randn(many, n, m, d, generator=source, dtype=torch.float32).to(z)
        member = F.one_hot(y, n)  # [T N C]
        # which of its class's examples, [T C M]
        rank = (u * member.sum(1)[:, :, None]).floor().long()
        seed = ((member.cumsum(1) * member)[..., None] == rank[:, None] + 1).to(z.dtype).argmax(1)
        x = z.gather(1, seed.flatten(1)[..., None].expand(-1, -1, d)).view(t, n, m, d)
        generated = self.generator(
            torch.cat((x, (drawn if noise is None else noise).expand_as(x)), -1)
        )
        return x + generated if self.residual else generated

    def _weighted(
        self, z: Tensor, y: Tensor, n: int, imagined: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Real and imagined examples, and their weights ``[T N+C·M C]``."""
        member = F.one_hot(y, n).to(z.dtype)
        if imagined is None:
            return z, member
        own = (
            torch.eye(n, dtype=z.dtype, device=z.device)
            .repeat_interleave(self.n_imagined, 0)
            .expand(len(z), -1, -1)
        )
        real = self.real_weight * member / member.sum(1, keepdim=True)
        return torch.cat((z, imagined.flatten(1, 2)), 1), torch.cat(
            (real, (1 - self.real_weight) / self.n_imagined * own), 1
        )
