"""Transductive fine-tuning of the whole network."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.encoder_tuner import EncoderTuner
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Examples
from quickstudy.functional.descent import mean_cross_entropy, mean_entropy
from quickstudy.functional.prototypes import class_means


class TransductiveTuning(EncoderTuner):
    """Encoder and classifier are fine-tuned to be right on the support and sure on the queries.

    min over θ, W, b of the mean of CE over the support + the mean of H(p(· | x)) over the queries;
    p = softmax_c( s · w_c·f/|f| + b_c ),

    W := the class means at length 1, b := 0

    Slow: each task trains the network for ``steps`` steps. It takes for granted that every query
        belongs to one of the classes: unknowns are
    labelled with confidence.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f, trained by ``classify``.
        steps: of Adam, on all examples at once.
        lr: its rate.
        scale: s.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes, Episode
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
        >>> TransductiveTuning(Identity(2))(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[0]])

    Raises:
        ConfigError: for numbers out of range.
        TransductiveError: without queries.

    Paper: Dhillon, Chaudhari, Ravichandran, Soatto 2020, arXiv:1909.02729, sections 3.1 and 3.2.
    Differs: the classifier works on the directions of features, not on the logits of the
        pre-trained classifier.
    """

    def __init__(
        self, encoder: AbstractEncoder, *, steps: int = 25, lr: float = 5e-5, scale: float = 10.0
    ) -> None:
        super().__init__(encoder, steps=steps, lr=lr, needs_queries=True)
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.scale = scale

    def start(self, z: Tensor, y: Tensor, n: int) -> tuple[Tensor, ...]:
        return F.normalize(class_means(F.normalize(z, dim=-1), y, n), dim=-1), z.new_zeros(
            len(z), n
        )

    def loss(
        self,
        encode: AbstractEncoder,
        head: tuple[Tensor, ...],
        support: Examples,
        n: int,
        queries: Tensor | None,
        step: int,
    ) -> Tensor:
        assert queries is not None
        sure = mean_entropy(self.scores(head, encode(queries)))
        return (mean_cross_entropy(self.scores(head, encode(support.x)), support.y) + sure).sum()

    def scores(self, head: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        weight, bias = head
        return self.scale * F.normalize(z, dim=-1) @ weight.transpose(1, 2) + bias[:, None]
