"""Where tasks are drawn from. Every data set is one file and one line in ``DATA``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.core.lazy import Registry, attach

if TYPE_CHECKING:
    from collections.abc import Callable

    from quickstudy.core.tasks import AbstractData
    from quickstudy.data.cifar import FC100 as FC100
    from quickstudy.data.cifar import CifarFS as CifarFS
    from quickstudy.data.class_index import ClassDataset as ClassDataset
    from quickstudy.data.class_index import ClassIndex as ClassIndex
    from quickstudy.data.cub import CUB as CUB
    from quickstudy.data.episodes import Episodes as Episodes
    from quickstudy.data.episodes import VariableEpisodes as VariableEpisodes
    from quickstudy.data.features import can_be_encoded as can_be_encoded
    from quickstudy.data.features import encoded as encoded
    from quickstudy.data.features import on_features as on_features
    from quickstudy.data.folder import FolderContent as FolderContent
    from quickstudy.data.folder import ImageFolder as ImageFolder
    from quickstudy.data.folder import find_classes as find_classes
    from quickstudy.data.folder import find_files as find_files
    from quickstudy.data.folder import find_images as find_images
    from quickstudy.data.folder import kind_of as kind_of
    from quickstudy.data.folder import read_folder as read_folder
    from quickstudy.data.gaussian_processes import GaussianProcesses as GaussianProcesses
    from quickstudy.data.glyphs import Glyphs as Glyphs
    from quickstudy.data.image_arrays import ImageArrays as ImageArrays
    from quickstudy.data.image_arrays import from_dataset as from_dataset
    from quickstudy.data.image_completion import ImageCompletion as ImageCompletion
    from quickstudy.data.images import ImageFormat as ImageFormat
    from quickstudy.data.images import read_picture as read_picture
    from quickstudy.data.lake import LakeArchive as LakeArchive
    from quickstudy.data.lake import LakeRuns as LakeRuns
    from quickstudy.data.mini_imagenet import MiniImageNet as MiniImageNet
    from quickstudy.data.omniglot import Omniglot as Omniglot
    from quickstudy.data.quadratics import Quadratics as Quadratics
    from quickstudy.data.semantic import Attributes as Attributes
    from quickstudy.data.semantic import SemanticEpisodes as SemanticEpisodes
    from quickstudy.data.semantic import mini_imagenet_names as mini_imagenet_names
    from quickstudy.data.several import Several as Several
    from quickstudy.data.several import SeveralTasks as SeveralTasks
    from quickstudy.data.sinusoid import Sinusoid as Sinusoid
    from quickstudy.data.sounds import LogMel as LogMel
    from quickstudy.data.sounds import Recording as Recording
    from quickstudy.data.sounds import read_recording as read_recording
    from quickstudy.data.symbols import Symbols as Symbols
    from quickstudy.data.tiered_imagenet import TieredImageNet as TieredImageNet
    from quickstudy.data.unlabelled import Unlabelled as Unlabelled
    from quickstudy.data.vectors import Vectors as Vectors
    from quickstudy.data.voices import Voices as Voices
else:
    __getattr__, __dir__, __all__ = attach(__name__)

DATA: Registry[Callable[..., AbstractData]] = Registry(
    __name__,
    {
        "glyphs": "Glyphs",
        "omniglot": "Omniglot",
        "symbols": "Symbols",
        "voices": "Voices",
        "mini-imagenet": "MiniImageNet",
        "cifar-fs": "CifarFS",
        "fc100": "FC100",
        "tiered-imagenet": "TieredImageNet",
        "cub": "CUB",
        "folder": "ImageFolder",
        "attributes": "Attributes",
        "unlabelled": "Unlabelled",
        "sinusoid": "Sinusoid",
        "gaussian_processes": "GaussianProcesses",
        "image_completion": "ImageCompletion",
        "quadratics": "Quadratics",
        "several": "Several",
    },
)
