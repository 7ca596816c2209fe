"""Tasks without labels: every image is a class of its own."""

import torch

from quickstudy.augment.affine import Affine
from quickstudy.augment.photos import Photos
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Classes, Episode, Examples

_VIEWS = ("affine", "photos")


class Contrastive(AbstractTransform):
    """The N images of an episode, supports and queries alike, become N classes; support and queries
    of a class are changed views of its image.

    Labels are not used. With one view of each, prototypes on such tasks minimise the InfoNCE loss
    of contrastive learning, with their own distance.

    Args:
        support: views of each image in the support.
        queries: views of each image that are asked about.
        views: "affine" for drawings, "photos" for photographs.
        degrees, scale, shift: of affine views, see `Affine`; every view is changed.
        crop, mirror, light: of photographs, see `Photos`.

    Raises:
        ConfigError: for numbers below 1, or unknown views.

    Example:
        >>> x, y = torch.rand(1, 3, 1, 28, 28), torch.zeros(1, 3, dtype=torch.long)
        >>> task = Contrastive()(
        ...     Episode(Examples(x, y), Examples(x, y), Classes(1)),
        ...     torch.Generator().manual_seed(0),
        ... )
        >>> task.target, task.support.y, task.query.y
        (Classes(n=6), tensor([[0, 1, 2, 3, 4, 5]]), tensor([[0, 1, 2, 3, 4, 5]]))

    Paper: Ni, Shu, Souri, Goldblum, Goldstein 2022, "The Close Relationship Between Contrastive
        Learning and Meta-Learning", section 3; several queries Medina, Devos, Grossglauser 2020,
        arXiv:2006.11325 (ProtoCLR).
    """

    def __init__(
        self,
        *,
        support: int = 1,
        queries: int = 1,
        views: str = "affine",
        degrees: float = 20.0,
        scale: float = 0.2,
        shift: float = 0.1,
        crop: float = 0.5,
        mirror: float = 0.5,
        light: float = 0.4,
    ) -> None:
        if min(support, queries) < 1:
            raise ConfigError(
                "An image needs a view or more in the support and among the queries, got "
                f"{support} and {queries}."
            )
        if views not in _VIEWS:
            raise ConfigError(f"There are no views '{views}'. {did_you_mean(views, _VIEWS)}")
        self.support, self.queries = support, queries
        self._change: AbstractTransform = (
            Affine(degrees=degrees, scale=scale, shift=shift, probability=1.0)
            if views == "affine"
            else Photos(crop=crop, mirror=mirror, light=light)
        )

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        x = torch.cat((episode.support.x, episode.query.x), 1)
        n = x.shape[1]
        y = torch.arange(n, device=x.device).expand(len(x), n)
        support, query = (
            Examples(torch.cat([x] * k, 1), torch.cat([y] * k, 1))
            for k in (self.support, self.queries)
        )
        return self._change(Episode(support, query, Classes(n)), generator)
