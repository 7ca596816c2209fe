"""More examples of a task than were drawn."""

from dataclasses import replace

import torch

from quickstudy.augment.affine import Affine
from quickstudy.core.errors import ConfigError
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Episode, Examples


class MoreExamples(AbstractTransform):
    """Adds changed copies of a task's examples, with their labels: to the support (shot
    augmentation), to the queries, or to both.

    The copies are turned, scaled, sheared and shifted a little, as by `Affine`; the examples
    themselves stay as they are.

    Args:
        shots: copies of every support example.
        queries: copies of every query.
        degrees, scale, shift: how much a copy is changed, as in `Affine`.

    Example:
        >>> from quickstudy.core.types import Classes
        >>> x, y = torch.ones(1, 2, 1, 28, 28), torch.tensor([[0, 1]])
        >>> more = MoreExamples(shots=2)(
        ...     Episode(Examples(x, y), Examples(x, y), Classes(2)),
        ...     torch.Generator().manual_seed(0),
        ... )
        >>> more.support.y, more.query.y
        (tensor([[0, 1, 0, 1, 0, 1]]), tensor([[0, 1]]))

    Paper: Ni et al. 2021, arXiv:2010.07092, section 3.
    """

    def __init__(
        self,
        *,
        shots: int = 1,
        queries: int = 0,
        degrees: float = 10.0,
        scale: float = 0.1,
        shift: float = 0.07,
    ) -> None:
        if min(shots, queries) < 0 or shots + queries == 0:
            raise ConfigError(
                "shots and queries cannot be negative, and one of them must be above 0, got "
                f"{shots} and {queries}."
            )
        self.shots = shots
        self.queries = queries
        self.degrees = degrees
        self.scale = scale
        self.shift = shift

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        change = Affine(degrees=self.degrees, scale=self.scale, shift=self.shift, probability=1.0)
        parts = [episode]
        parts += [change(episode, generator) for _ in range(max(self.shots, self.queries))]
        support = _joined([p.support for p in parts[: self.shots + 1]])
        return replace(
            episode, support=support, query=_joined([p.query for p in parts[: self.queries + 1]])
        )


def _joined(parts: list[Examples]) -> Examples:
    masks = [p.mask for p in parts if p.mask is not None]
    x, y = torch.cat([p.x for p in parts], 1), torch.cat([p.y for p in parts], 1)
    return replace(parts[0], x=x, y=y, mask=torch.cat(masks, 1) if masks else None)
