"""For transforms that change every image by itself."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from quickstudy.core.errors import EpisodeError
from quickstudy.core.types import Episode


def of_each_image(episode: Episode, change: Callable[[Tensor], Tensor]) -> Episode:
    """The episode with all its images changed, ``[B C H W]`` at a time: the support's, the
    queries', and the unlabelled ones.

    Raises:
        EpisodeError: when its examples are no images.
    """
    if episode.support.x.ndim != 5:
        raise EpisodeError(
            "This transform changes images, [T N C H W], but got examples of shape "
            f"{tuple(episode.support.x.shape[2:])}. Leave it out for vectors."
        )

    def changed(x: Tensor) -> Tensor:
        return change(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    support, query = (replace(e, x=changed(e.x)) for e in (episode.support, episode.query))
    if support.unlabelled is not None:
        support = replace(support, unlabelled=changed(support.unlabelled))
    return replace(episode, support=support, query=query)
