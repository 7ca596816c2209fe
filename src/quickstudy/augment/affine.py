"""Small geometric changes of every image of an episode."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.augment.each_image import of_each_image
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Episode


class Affine(AbstractTransform):
    """Turns, scales, shears and shifts each image by its own small amount; what comes in from
    outside is 0.

    Args:
        degrees: largest rotation and shear, in degrees.
        scale: largest relative change of size.
        shift: largest shift, as a part of the image's height or width.
        probability: the part of the images that is changed; the others stay sharp, as they will be
            when the learner is used.

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> x, y = torch.ones(1, 2, 1, 28, 28), torch.tensor([[0, 1]])
        >>> episode = Episode(Examples(x, y), Examples(x, y), Classes(2))
        >>> Affine()(episode, torch.Generator().manual_seed(0)).support.x.shape
        torch.Size([1, 2, 1, 28, 28])
    """

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        scale: float = 0.1,
        shift: float = 0.07,
        probability: float = 0.5,
    ) -> None:
        self.degrees, self.scale, self.shift, self.probability = degrees, scale, shift, probability

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        return of_each_image(episode, lambda x: self._warp(x, generator))

    def _warp(self, flat: Tensor, generator: torch.Generator) -> Tensor:
        changed = (torch.rand(len(flat), generator=generator) < self.probability).to(flat.device)
        u = (torch.rand(len(flat), 5, generator=generator) * 2 - 1).to(flat)  # [B 5]
        turn, shear = (u[:, :2] * math.radians(self.degrees)).unbind(1)
        size = 1 + self.scale * u[:, 2]
        cos, sin = turn.cos() * size, turn.sin() * size
        rows = [
            torch.stack((cos, -sin + shear, 2 * self.shift * u[:, 3]), 1),
            torch.stack((sin, cos, 2 * self.shift * u[:, 4]), 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(flat.shape), align_corners=False)
        moved = F.grid_sample(flat, grid, padding_mode="zeros", align_corners=False)
        return torch.where(changed[:, None, None, None], moved, flat)
