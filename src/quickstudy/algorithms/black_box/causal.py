"""Parts that look back along a sequence: attention and gated convolutions."""

import abc
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class AbstractCausal(nn.Module, abc.ABC):
    """The output at a position depends on this position and those before it. What came in is kept
    beside it.
    """

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "T L I"]) -> Float[Tensor, "T L O"]:
        """A whole sequence."""

    @abc.abstractmethod
    def behind(
        self, known: Float[Tensor, "T N I"], x: Float[Tensor, "T Q I"]
    ) -> Float[Tensor, "T Q O"]:
        """What `forward` gives at position N for each of Q sequences that begin alike, with
        ``known``, and end with one row of ``x``.
        """


class CausalAttention(AbstractCausal):
    """What each position reads of itself and the positions before it, beside its input."""

    def __init__(self, width: int, keys: int, values: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, keys)
        self.key = nn.Linear(width, keys)
        self.value = nn.Linear(width, values)

    def forward(self, x: Float[Tensor, "T L I"]) -> Float[Tensor, "T L O"]:
        return torch.cat((x, self.weights(x) @ self.value(x)), 2)

    def behind(
        self, known: Float[Tensor, "T N I"], x: Float[Tensor, "T Q I"]
    ) -> Float[Tensor, "T Q O"]:
        q, k = self.query(x), self.key(x)
        others, own = q @ self.key(known).transpose(1, 2), (q * k).sum(2, keepdim=True)
        a = (torch.cat((others, own), 2) / math.sqrt(k.shape[2])).softmax(2)
        return torch.cat((x, a[..., :-1] @ self.value(known) + a[..., -1:] * self.value(x)), 2)

    def weights(self, x: Float[Tensor, "T L I"]) -> Float[Tensor, "T L L"]:
        """Of every position, over the positions: each row sums to 1, and nothing is from behind
        it.
        """
        q, k = self.query(x), self.key(x)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return (
            (q @ k.transpose(1, 2) / math.sqrt(k.shape[2]))
            .masked_fill(later, -torch.inf)
            .softmax(2)
        )


class CausalConvolution(AbstractCausal):
    """Each position beside what a gate lets through of it and the position ``dilation`` before
    it.
    """

    def __init__(self, width: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation, self.conv = dilation, nn.Conv1d(width, 2 * filters, 2, dilation=dilation)

    def forward(self, x: Float[Tensor, "T L I"]) -> Float[Tensor, "T L O"]:
        return self._beside(
            x, self.conv(F.pad(x.transpose(1, 2), (self.dilation, 0))).transpose(1, 2)
        )

    def behind(
        self, known: Float[Tensor, "T N I"], x: Float[Tensor, "T Q I"]
    ) -> Float[Tensor, "T Q O"]:
        out = F.linear(x, self.conv.weight[:, :, 1], self.conv.bias)
        if self.dilation <= known.shape[1]:
            out = out + F.linear(known[:, -self.dilation, None], self.conv.weight[:, :, 0])
        return self._beside(x, out)

    @staticmethod
    def _beside(x: Tensor, out: Tensor) -> Tensor:
        value, gate = out.chunk(2, 2)
        return torch.cat((x, value.tanh() * gate.sigmoid()), 2)
