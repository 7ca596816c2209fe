"""Changes of photographs that leave what is on them: cut out, mirrored, in another light."""

import torch

from quickstudy.augment.each_image import of_each_image
from quickstudy.core.errors import ConfigError
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Episode
from quickstudy.functional.views import photo_views


class Photos(AbstractTransform):
    """Each image by itself: a part of it, brought back to its size; mirrored or not; brighter or
    darker, with more or less contrast.

    Args:
        crop: the smallest part of the image's side that is kept, in (0, 1]; what is kept lies
            anywhere within it.
        mirror: the probability of a mirror image.
        light: the largest change of brightness (added, in units of the normalised image) and of
            contrast (as a factor).

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> x, y = torch.rand(1, 2, 3, 84, 84), torch.tensor([[0, 1]])
        >>> Photos()(
        ...     Episode(Examples(x, y), Examples(x, y), Classes(2)),
        ...     torch.Generator().manual_seed(0),
        ... ).support.x.shape
        torch.Size([1, 2, 3, 84, 84])
    """

    def __init__(self, *, crop: float = 0.7, mirror: float = 0.5, light: float = 0.2) -> None:
        if not 0 < crop <= 1 or not 0 <= mirror <= 1 or light < 0:
            raise ConfigError(
                f"crop lies in (0, 1], mirror in [0, 1], and light is not negative, got {crop}, "
                f"{mirror} and {light}."
            )
        self.crop, self.mirror, self.light = crop, mirror, light

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        return of_each_image(
            episode,
            lambda x: photo_views(
                x, generator, crop=self.crop, mirror=self.mirror, light=self.light
            ),
        )
