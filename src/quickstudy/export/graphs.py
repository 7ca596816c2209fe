"""Whole models as one graph: from resized pixels, or rows, to scores and membership."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from quickstudy.anomaly import PatchMemory
from quickstudy.estimators import FittedModel, OpenSetClassifier
from quickstudy.estimators.membership import MaxSimilarity
from quickstudy.export.heads import DoubleModule, head_graph
from quickstudy.export.membership import FromScores, membership_graph
from quickstudy.functional.coreset import nearest_distances


class RowGraph(DoubleModule):
    """Rows of a table, standardised; what is missing (NaN) is the mean."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: FittedModel) -> None:
        super().__init__()
        encoding = model.encoding
        self.fills = bool(encoding.optional)
        self.keep(
            mean=np.asarray(encoding.mean) if encoding.mean else 0.0,
            std=np.asarray(encoding.std) if encoding.mean else 1.0,
        )

    def forward(self, rows: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The vectors."""
        x = (rows - self.mean) / self.std
        return torch.where(torch.isnan(x), torch.zeros_like(x), x) if self.fills else x


class ClassifierGraph(nn.Module):
    """Items to the scores and probabilities of the classes, the membership, and the vectors.

    Args:
        model: fitted.
        vectors: items to vectors.
    """

    def __init__(self, model: FittedModel, vectors: nn.Module) -> None:
        super().__init__()
        self.vectors = vectors
        self.head = head_graph(model.known.head_)
        self.temperature = float(model.known.temperature)
        classifier = model.classifier
        self.membership = (
            membership_graph(classifier)
            if isinstance(classifier, OpenSetClassifier)
            else FromScores(MaxSimilarity())
        )

    def forward(self, items: Shaped[Tensor, "n *S"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``scores`` and ``probabilities`` ``[n C]``, ``membership`` ``[n]``, ``vectors``
        ``[n D]``.
        """
        vectors = self.vectors(items)
        x = vectors.double()
        scores = self.head(x)
        probabilities = torch.softmax(scores / self.temperature, dim=1)
        return scores, probabilities, self.membership(x, scores), vectors


class PatchGraph(nn.Module):
    """Pictures to how anomalous they are, and where.

    Args:
        memory: fitted.
        patches: pictures to the vectors of their places.
    """

    bank: Tensor
    squares: Tensor
    around: Tensor

    def __init__(self, memory: PatchMemory, patches: nn.Module) -> None:
        super().__init__()
        self.patches = patches
        self.pool = memory.pool
        self.score = memory.score
        self.weighs = bool(memory.neighbours) and memory.score == "max"
        bank = memory.memory_.double()
        self.register_buffer("bank", bank)
        self.register_buffer("squares", bank.square().sum(1))
        if self.weighs:
            k = min(memory.neighbours, len(bank))
            around = nearest_distances(memory.memory_, memory.memory_, k=k)[1]
            self.register_buffer("around", around)

    def forward(self, pixels: Shaped[Tensor, "n C H W"]) -> tuple[Tensor, Tensor]:
        """``anomaly`` ``[n]``, and ``places`` ``[n h w]``, the distance of each place."""
        places = self.patches(pixels).permute(0, 3, 1, 2)
        if self.pool > 1:
            places = F.avg_pool2d(
                places, self.pool, stride=1, padding=self.pool // 2, count_include_pad=False
            )
        height, width = places.shape[2:]
        x = places.flatten(2).transpose(1, 2).double()  # [n P D]
        gap = self.squares - 2 * x @ self.bank.T + x.square().sum(2, keepdim=True)
        distance, nearest = gap.clamp(min=0.0).sqrt().min(2)
        return self._scores(x, distance, nearest), distance.unflatten(1, (height, width))

    def _scores(self, x: Tensor, distance: Tensor, nearest: Tensor) -> Tensor:
        if self.score == "top1":
            return distance.topk(max(1, distance.shape[1] // 100), dim=1).values.mean(1)
        scores, worst = distance.max(1)
        if not self.weighs:
            return scores
        at = nearest.gather(1, worst[:, None])[:, 0]
        place = x.gather(1, worst[:, None, None].expand(-1, 1, x.shape[2]))  # [n 1 D]
        to_them = (place - self.bank[self.around[at]]).square().sum(2).sqrt()  # [n k]
        return scores * (1 - (scores - torch.logsumexp(to_them, 1)).exp())
