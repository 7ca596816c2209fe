"""Classification among all training classes, plain or with a margin: how an encoder is
pre-trained.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quickstudy.core.clock import Clock
from quickstudy.core.errors import ConfigError, EpisodeError, did_you_mean
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode
from quickstudy.functional.margins import arcface, cosface, sphereface
from quickstudy.functional.views import quarter_turns

HEADS = ("linear", "cosine", "arcface", "cosface", "sphereface")
_SCALE = {"cosine": 10.0, "arcface": 16.0, "cosface": 16.0}
_MARGIN = {"arcface": 0.2, "cosface": 0.2, "sphereface": 4}


class Classify(AbstractObjective):
    """Cross entropy over all classes of the training split, on all examples of the episodes;
    supports and queries are alike.

    The classifier belongs to the objective and is dropped after training; what is kept is the
    learner with its encoder. Episodes serve as batches
    that are balanced: with ``n_way`` classes of ``n_shot + n_query`` examples.

    linear: Wx + b.  cosine: s·cos(W_c, x), the Baseline++.  arcface, cosface, sphereface: see
        `quickstudy.functional.margins`.

    Args:
        n_classes: of the training split.
        dim: length of the encoder's vectors.
        head: which of them.
        scale: s; None = 10 for cosine, 16 for arcface and cosface (their papers' 64 is for many
            classes and large networks).
        margin: m; None = 0.2 for arcface (radians) and cosface, 4 for sphereface.
        warm_up: steps in which the margin grows from 0 to m. For sphereface λ = max(5, 1500 / (1 +
            0.1 step)), as in the authors' code, and this is not used.
        rotations: weight of an auxiliary task: every image is also seen turned by 90, 180 and 270
            degrees, and a second, linear head tells which (self-supervision); 0 = none. It takes
            four times as long.

    Raises:
        ConfigError: for an unknown head, or numbers that make no classifier.
        EpisodeError: for tasks that do not know which of the data's classes they are of, or more
            classes than n_classes.

    Paper: Chen et al. 2019, arXiv:1904.04232, section 3.2; the rotations Gidaris et al. 2019,
        arXiv:1906.05186, section 3.2.
    """

    draws: ClassVar[bool] = False

    def __init__(
        self,
        *,
        n_classes: int,
        dim: int,
        head: str = "linear",
        scale: float | None = None,
        margin: float | None = None,
        warm_up: int = 0,
        rotations: float = 0.0,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ConfigError(f"There is no head '{head}'. {did_you_mean(head, HEADS)}")
        if n_classes < 2 or dim < 1 or warm_up < 0 or rotations < 0:
            raise ConfigError(
                "A classifier needs n_classes ≥ 2 and dim ≥ 1, and warm_up and rotations cannot "
                f"be negative, got {n_classes}, {dim}, {warm_up} and {rotations}."
            )
        if head == "sphereface" and margin is not None and margin != int(margin):
            raise ConfigError(f"The margin of sphereface is a whole number, got {margin}.")
        self.n_classes = n_classes
        self.head = head
        self.warm_up = warm_up
        self.rotations = rotations
        self.scale = _SCALE.get(head, 1.0) if scale is None else scale
        self.margin = float(_MARGIN.get(head, 0.0) if margin is None else margin)
        self.classifier = nn.Linear(dim, n_classes, bias=head == "linear")
        self.turned = nn.Linear(dim, 4) if rotations else None
        self.clock = Clock()

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        x, y = self.examples(batch)
        encoder = encoder_of(learner)
        if self.turned is None:
            return F.cross_entropy(self.logits(encoder(x).flatten(0, 1), y), y)
        every = quarter_turns(x, 1)  # [T 4N ...]
        z = encoder(every).unflatten(1, (4, -1)).transpose(0, 1).flatten(1, 2)  # [4 T·N D]
        of_turn = torch.arange(4, device=y.device).repeat_interleave(len(y))
        return F.cross_entropy(self.logits(z[0], y), y) + self.rotations * F.cross_entropy(
            self.turned(z.flatten(0, 1)), of_turn
        )

    def examples(self, batch: Batch) -> tuple[Float[Tensor, "T N *S"], Int[Tensor, " B"]]:
        """All examples of the episodes, and their classes among those of the split, one task after
        the other.

        Raises:
            EpisodeError: as above.
        """
        if not isinstance(batch, Episode) or batch.classes is None:
            raise EpisodeError(
                "classify needs to know which of the data's classes a task is of. Train on "
                "episodes of classes, not rotated ones."
            )
        x = torch.cat((batch.support.x, batch.query.x), 1)
        y = batch.classes.gather(
            1, torch.cat((batch.support.y, batch.query.y), 1)
        ).flatten()  # [T·N]
        if int(y.max()) >= self.n_classes:
            raise EpisodeError(
                f"The training split has a class number {int(y.max())}, but classify has "
                f"n_classes={self.n_classes}. Raise it."
            )
        return x, y

    def logits(self, z: Float[Tensor, "B D"], y: Int[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """What the cross entropy is taken of, with the margin that is in force."""
        if self.head == "linear":
            return self.classifier(z)
        cos = F.normalize(z, dim=1) @ F.normalize(self.classifier.weight, dim=1).T
        step = self.clock.now
        margin = self.margin * min(1.0, (step + 1) / self.warm_up) if self.warm_up else self.margin
        match self.head:
            case "arcface":
                return arcface(cos, y, scale=self.scale, margin=margin)
            case "cosface":
                return cosface(cos, y, scale=self.scale, margin=margin)
            case "sphereface":
                return sphereface(
                    cos,
                    y,
                    z.norm(dim=1),
                    margin=int(self.margin),
                    blend=max(5.0, 1500 / (1 + 0.1 * step)),
                )
            case _:
                return self.scale * cos
