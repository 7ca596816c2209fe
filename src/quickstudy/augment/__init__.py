"""Episode to episode: changes of the training tasks, drawn from a generator that the training loop seeds by step."""

from quickstudy.augment.affine import Affine as Affine
from quickstudy.core.transform import AbstractTransform

TRANSFORMS: dict[str, type[AbstractTransform]] = {"affine": Affine}
