"""Other views of the same pictures."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor


def photo_views(
    x: Float[Tensor, "B C H W"],
    generator: torch.Generator,
    *,
    crop: float,
    mirror: float,
    light: float,
) -> Float[Tensor, "B C H W"]:
    """Each picture by itself: a part of it, brought back to its size; mirrored or not; brighter or
    darker, with more or less contrast.

    Args:
        x: normalised pictures.
        generator: of the random numbers, on the CPU.
        crop: the smallest part of the side that is kept, in (0, 1]; what is kept lies anywhere
            within it.
        mirror: the probability of a mirror image.
        light: the largest change of brightness (added, in units of the normalised picture) and of
            contrast (as a factor).

    >>> x = torch.rand(2, 3, 8, 8)
    >>> torch.allclose(photo_views(x, torch.Generator(), crop=1, mirror=0, light=0), x, atol=1e-5)
    True
    """
    u = torch.rand(len(x), 6, generator=generator, dtype=torch.float32).to(x)
    side = crop + (1 - crop) * u[:, 0]
    across, down = ((1 - side) * (2 * u[:, i] - 1) for i in (1, 2))
    turned = torch.where(u[:, 3] < mirror, -side, side)
    zero = torch.zeros_like(side)
    rows = [torch.stack((turned, zero, across), 1), torch.stack((zero, side, down), 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    cut = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    contrast, brightness = (1 + light * (2 * u[:, 4] - 1)), light * (2 * u[:, 5] - 1)
    mean = cut.mean((1, 2, 3), keepdim=True)
    return (cut - mean) * contrast[:, None, None, None] + mean + brightness[:, None, None, None]


def quarter_turns(x: Shaped[Tensor, "*N C S S"], dim: int) -> Shaped[Tensor, "*M C S S"]:
    """Square pictures turned by 0, 1, 2 and 3 quarters counter-clockwise, one turn after the other
    along ``dim``.

    >>> quarter_turns(torch.tensor([[[[1, 2], [3, 4]]]]).float(), 0)[:, 0].flatten(1).tolist()
    [[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 1.0, 3.0], [4.0, 3.0, 2.0, 1.0], [3.0, 1.0, 4.0, 2.0]]
    """
    return torch.cat([torch.rot90(x, quarter, (-2, -1)) for quarter in range(4)], dim)
