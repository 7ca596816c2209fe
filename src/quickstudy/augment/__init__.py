"""Episode to episode: changes of the training tasks, drawn from a generator that the training loop
seeds by step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.core.lazy import Registry, attach

if TYPE_CHECKING:
    from quickstudy.augment.affine import Affine as Affine
    from quickstudy.augment.contrastive import Contrastive as Contrastive
    from quickstudy.augment.mixed_views import MixedViews as MixedViews
    from quickstudy.augment.more_examples import MoreExamples as MoreExamples
    from quickstudy.augment.photos import Photos as Photos
    from quickstudy.augment.rotate_classes import RotateClasses as RotateClasses
    from quickstudy.core.transform import AbstractTransform
else:
    __getattr__, __dir__, __all__ = attach(__name__)

TRANSFORMS: Registry[type[AbstractTransform]] = Registry(
    __name__,
    {
        "affine": "Affine",
        "photos": "Photos",
        "contrastive": "Contrastive",
        "mixed_views": "MixedViews",
        "rotate_classes": "RotateClasses",
        "more_examples": "MoreExamples",
    },
)
