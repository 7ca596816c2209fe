"""New classes by turning old ones."""

from dataclasses import replace

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Classes, Episode, Examples


class RotateClasses(AbstractTransform):
    """Turns all images of a class, in support and queries alike, by the same random multiple of
    90°: another class than before.

    A task's classes are turned independently of each other. It multiplies the classes that tasks
    are drawn from by four without making their number larger; with the data's own rotations
    (Omniglot, glyphs) it adds nothing.

    Args:
        probability: the part of the classes that is turned; each of the three turns is as likely.

    Example:
        >>> x, y = torch.arange(4.0).view(1, 1, 1, 2, 2), torch.tensor([[0]])
        >>> episode = Episode(Examples(x, y), Examples(x, y), Classes(1))
        >>> turned = RotateClasses(probability=1.0)(episode, torch.Generator().manual_seed(0))
        >>> torch.equal(turned.support.x, turned.query.x), torch.equal(turned.support.x, x)
        (True, False)

    Paper: Santoro et al. 2016, arXiv:1605.06065, section 4.1; as task augmentation Liu et al. 2020,
        arXiv:2004.07892.
    """

    def __init__(self, *, probability: float = 0.75) -> None:
        if not 0 < probability <= 1:
            raise ConfigError(f"probability must be above 0 and at most 1, got {probability}.")
        self.probability = probability

    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        s = episode.support
        if (
            not isinstance(episode.target, Classes)
            or s.x.ndim != 5
            or s.x.shape[-1] != s.x.shape[-2]
        ):
            raise EpisodeError(
                "RotateClasses turns square images of classes, [T N C H H], but got "
                f"{episode.target} and examples of shape {tuple(s.x.shape[2:])}. "
                "Leave it out for others."
            )
        if s.unlabelled is not None:
            raise EpisodeError(
                "RotateClasses cannot turn unlabelled examples with their class, which is not "
                "told. Leave it out for such tasks."
            )
        n = (len(s.x), episode.target.n)
        turned = torch.rand(n, generator=generator) < self.probability
        # [T C]
        turns = torch.where(turned, torch.randint(1, 4, n, generator=generator), 0).to(s.x.device)
        return replace(
            episode, support=_turned(s, turns), query=_turned(episode.query, turns), classes=None
        )


def _turned(examples: Examples, turns: Tensor) -> Examples:
    own = turns.gather(1, examples.y)[:, :, None, None, None]  # [T N 1 1 1]
    x = examples.x
    for k in (1, 2, 3):
        x = torch.where(own == k, torch.rot90(examples.x, k, (3, 4)), x)
    return replace(examples, x=x)
