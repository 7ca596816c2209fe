"""Tasks without labels whose queries are mixed with other images."""

import torch

from quickstudy.augment.contrastive import Contrastive
from quickstudy.core.errors import EpisodeError
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Classes, Episode, Examples


class MixedViews(AbstractTransform):
    """The N support images of an episode become N classes: views of an image are its support, and
    further views, mixed with other images, its queries.

    query = (1 − λ) · view + λ · other image, λ ~ U(0.01, 0.499) for each query

    The other images are those of the episode's query part, in turn. Labels are not used: take the
    data `unlabelled` with ``n_way=1``, ``n_shot=N`` and, for a query per other image,
    ``n_query = N · queries``. A query shows more of its own image than of the other, so what is
    asked is harder than to know a view again.

    Args:
        support: views of each image in the support.
        queries: mixed views of each image that are asked about.
        views: "affine" for drawings, "photos" for photographs.
        degrees, scale, shift: of affine views, see `Affine`; every view is changed.
        crop, mirror, light: of photographs, see `Photos`.

    Raises:
        ConfigError: for numbers below 1, or unknown views.
        EpisodeError: when called with an episode of one image.

    Example:
        >>> x, y = torch.rand(1, 3, 1, 28, 28), torch.zeros(1, 3, dtype=torch.long)
        >>> task = MixedViews(support=2)(
        ...     Episode(Examples(x, y), Examples(x.flip(1), y), Classes(1)),
        ...     torch.Generator().manual_seed(0),
        ... )
        >>> task.target, task.support.y, task.query.y
        (Classes(n=3), tensor([[0, 1, 2, 0, 1, 2]]), tensor([[0, 1, 2]]))

    Paper: Vettoruzzo, Braccaioli, Vanschoren, Nowaczyk 2025, arXiv:2405.16124 (CAMeLU).
    Differs: λ is drawn for each query.
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
        self.support, self.queries = support, queries
        self._views = Contrastive(
            support=support,
            queries=queries,
            views=views,
            degrees=degrees,
            scale=scale,
            shift=shift,
            crop=crop,
            mirror=mirror,
            light=light,
        )

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        n = episode.support.x.shape[1]
        if n < 2:
            raise EpisodeError(
                "Mixed views need at least 2 images in the support, each a class, got 1. Raise "
                "n_shot of the training tasks."
            )
        x, y = episode.support.x, episode.support.y
        images = Episode(Examples(x[:, :1], y[:, :1]), Examples(x[:, 1:], y[:, 1:]), Classes(1))
        task = self._views(images, generator)
        view = task.query.x
        share = 0.01 + 0.489 * torch.rand(view.shape[:2], generator=generator)
        share = share.to(view)[:, :, None, None, None]
        turn = torch.arange(view.shape[1], device=view.device) % episode.query.x.shape[1]
        mixed = (1 - share) * view + share * episode.query.x[:, turn]
        return Episode(task.support, Examples(mixed, task.query.y), task.target)
