"""Changes of photographs that leave what is on them: cut out, mirrored, in another light."""

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.augment.each_image import of_each_image
from quickstudy.core.errors import ConfigError
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Episode


class Photos(AbstractTransform):
    """Each image by itself: a part of it, brought back to its size; mirrored or not; brighter or darker, with more or less contrast.

    Args:
        crop: the smallest part of the image's side that is kept, in (0, 1]; what is kept lies anywhere within it.
        mirror: the probability of a mirror image.
        light: the largest change of brightness (added, in units of the normalised image) and of contrast (as a factor).

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> x, y = torch.rand(1, 2, 3, 84, 84), torch.tensor([[0, 1]])
        >>> Photos()(Episode(Examples(x, y), Examples(x, y), Classes(2)), torch.Generator().manual_seed(0)).support.x.shape
        torch.Size([1, 2, 3, 84, 84])
    """

    def __init__(self, *, crop: float = 0.7, mirror: float = 0.5, light: float = 0.2) -> None:
        if not 0 < crop <= 1 or not 0 <= mirror <= 1 or light < 0:
            raise ConfigError(f"crop lies in (0, 1], mirror in [0, 1], and light is not negative, got {crop}, {mirror} and {light}.")
        self.crop, self.mirror, self.light = crop, mirror, light

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        return of_each_image(episode, lambda x: self._changed(x, generator))

    def _changed(self, flat: Tensor, generator: torch.Generator) -> Tensor:
        u = torch.rand(len(flat), 6, generator=generator).to(flat)
        side = self.crop + (1 - self.crop) * u[:, 0]
        across, down = ((1 - side) * (2 * u[:, i] - 1) for i in (1, 2))
        turned = torch.where(u[:, 3] < self.mirror, -side, side)
        zero = torch.zeros_like(side)
        rows = [torch.stack((turned, zero, across), 1), torch.stack((zero, side, down), 1)]
        grid = F.affine_grid(torch.stack(rows, 1), list(flat.shape), align_corners=False)
        cut = F.grid_sample(flat, grid, padding_mode="reflection", align_corners=False)
        contrast, brightness = (1 + self.light * (2 * u[:, 4] - 1)), self.light * (2 * u[:, 5] - 1)
        mean = cut.mean((1, 2, 3), keepdim=True)
        return (cut - mean) * contrast[:, None, None, None] + mean + brightness[:, None, None, None]
