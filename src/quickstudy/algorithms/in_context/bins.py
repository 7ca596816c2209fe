"""A predictive distribution over the line: bins of equal density within, exponential tails."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TAIL = 0.5
"""The mean distance from the outermost border in the two bins that have no end, in units of the
support's standard deviation.
"""


@dataclass(frozen=True)
class Binned:
    """A distribution for each of many numbers: B bins between B − 1 borders, the first and the last
    without end, where the density falls exponentially.

    Args:
        log_share: the logarithm of each bin's probability.
        borders: increasing.
        mean_of_target, scale_of_target: where the borders' 0 lies, and how long their 1 is.

    Example:
        >>> shares = torch.tensor([0.1, 0.4, 0.4, 0.1]).log()
        >>> flat = Binned(
        ...     shares, torch.tensor([-1.0, 0.0, 1.0]), torch.tensor(5.0), torch.tensor(2.0)
        ... )
        >>> flat.mean.item(), flat.quantile(0.5).item()
        (5.0, 5.0)
    """

    log_share: Float[Tensor, "*S B"]
    borders: Float[Tensor, " B-1"]
    mean_of_target: Float[Tensor, "*S"]
    scale_of_target: Float[Tensor, "*S"]

    @property
    def mean(self) -> Float[Tensor, "*S"]:
        """The expected number."""
        b = self.borders
        inner = (b[1:] + b[:-1]) / 2
        middle = torch.cat((b[:1] - TAIL, inner, b[-1:] + TAIL))
        return self.mean_of_target + self.scale_of_target * (self.log_share.exp() @ middle)

    @property
    def stddev(self) -> Float[Tensor, "*S"]:
        """The standard deviation."""
        b = self.borders
        inner = (b[1:] + b[:-1]) / 2
        middle = torch.cat((b[:1] - TAIL, inner, b[-1:] + TAIL))
        tail = b.new_full((1,), TAIL**2)
        within = torch.cat((tail, (b[1:] - b[:-1]) ** 2 / 12, tail))
        share = self.log_share.exp()
        mean = share @ middle
        return self.scale_of_target * (share @ (within + middle**2) - mean**2).clamp(min=0).sqrt()

    def quantile(self, q: float) -> Float[Tensor, "*S"]:
        """The number below which the share ``q`` lies, 0 < q < 1."""
        share, b = self.log_share.exp(), self.borders
        upto = share.cumsum(-1)
        at = (upto < q).sum(-1, keepdim=True).clamp(max=share.shape[-1] - 1)
        mine = share.gather(-1, at).clamp(min=torch.finfo(share.dtype).tiny)
        part = ((q - (upto.gather(-1, at) - mine)) / mine).clamp(0, 1)[..., 0]
        at = at[..., 0]
        last = len(b)
        low, high = b[(at - 1).clamp(min=0)], b[at.clamp(max=last - 1)]
        tiny = torch.finfo(share.dtype).eps
        z = low + part * (high - low)
        z = torch.where(at == 0, b[0] + TAIL * part.clamp(min=tiny).log(), z)
        z = torch.where(at == last, b[-1] - TAIL * (1 - part).clamp(min=tiny).log(), z)
        return self.mean_of_target + self.scale_of_target * z

    def log_prob(self, value: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """The log density at ``value``."""
        z = (value - self.mean_of_target) / self.scale_of_target
        b = self.borders
        at = torch.bucketize(z, b)
        share = self.log_share.gather(-1, at[..., None])[..., 0]
        width = torch.cat((b[:1] * 0 + TAIL, b[1:] - b[:-1], b[:1] * 0 + TAIL))
        over = torch.where(at == 0, b[0] - z, torch.where(at == len(b), z - b[-1], 0 * z))
        return share - width[at].log() - over / TAIL - self.scale_of_target.log()
