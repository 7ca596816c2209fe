"""Episode to episode: changes of the training tasks, drawn from a generator that the training loop
seeds by step.
"""

from quickstudy.augment.affine import Affine as Affine
from quickstudy.augment.contrastive import Contrastive as Contrastive
from quickstudy.augment.more_examples import MoreExamples as MoreExamples
from quickstudy.augment.photos import Photos as Photos
from quickstudy.augment.rotate_classes import RotateClasses as RotateClasses
from quickstudy.core.transform import AbstractTransform

TRANSFORMS: dict[str, type[AbstractTransform]] = {
    "affine": Affine,
    "photos": Photos,
    "contrastive": Contrastive,
    "rotate_classes": RotateClasses,
    "more_examples": MoreExamples,
}
