"""CUB-200-2011: 11,788 photographs of 200 species of birds."""

import re
from functools import cached_property

import torch

from quickstudy.core.describe import Described
from quickstudy.core.errors import DataError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.archives import cached
from quickstudy.data.brought import (
    SPLITS,
    check_published,
    check_whole,
    fingerprint,
    located,
    names_in,
    pictures_by_folder,
    read_pictures,
)
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint
from quickstudy.data.episodes import Episodes
from quickstudy.data.images import ImageFormat
from quickstudy.data.locations import cache_folder

_CLASSES, _PICTURES = 200, 11_788
# Mean and standard deviation of the channels over ImageNet, as torchvision publishes them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# As TensorFlow Datasets keeps it (url_checksums/caltech_birds2011.txt).
_PUBLISHED = {
    "CUB_200_2011.tgz": (
        "sha256",
        "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
    )
}
_FILES = ("CUB_200_2011.tgz", "CUB_200_2011.zip", "CUB_200_2011", "cub.zip", "cub", "CUB")
_FOLDER = re.compile(r"(\d{3})\..+")


class CUB(Described, AbstractData):
    """CUB-200-2011, its classes split 100 / 50 / 50: in the order of their numbers, every second
    one is for training, and of the others every second one for testing.

    Other papers split it otherwise, and some crop the birds by their bounding boxes (FEAT: a list
    of its own, cropped); their numbers are not comparable with those of this split.

    Args:
        size: height and width of the images; the middle square of a photograph is taken.
        path: of the archive or folder; empty = looked for in the data folder.
        check: refuse an archive with another checksum than was published, and data that are not
            whole. Without it, data that are not whole are taken, as splits called ``own``.

    Raises:
        DataError: from `split` and `tasks`, when the files are missing, incomplete, damaged or of
            another form.

    Source: Wah et al. 2011, CNS-TR-2011-001; the split of Chen, Liu, Kira, Wang, Huang 2019,
        arXiv:1904.04232, as the authors' filelists/CUB/write_CUB_filelist.py makes it (i % 2 == 0,
        i % 4 == 1, i % 4 == 3 over the sorted folders).
    """

    name = "cub"

    def __init__(self, *, size: int = 84, path: str = "", check: bool = True) -> None:
        self._format = ImageFormat(size, 3)
        self.path, self.check = path, check
        self.shape = self._format.shape
        self.image_format = ImageFormat(size, 3, mean=_MEAN, std=_STD).to_json()

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val``, ``trainval`` or ``test``."""
        everything, authors = self._content
        lists = split_by_number(everything.index.names)
        lists["trainval"] = lists["train"] + lists["val"]
        if name not in lists:
            raise DataError(f"CUB has no split '{name}'. {did_you_mean(name, lists)}")
        return everything.only(lists[name], split=f"{authors}/{name}")

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def _content(self) -> tuple[ClassDataset, str]:
        path = located(
            self.path,
            _FILES,
            what="CUB",
            forms="CUB_200_2011.tgz as its authors publish it, or that archive unpacked or as a "
            "zip: folders 001.Black_footed_Albatross … 200.Common_Yellowthroat with the images",
        )
        class_of = {n: c for n, c in pictures_by_folder(names_in(path)).items() if _number(c)}
        if not class_of:
            raise DataError(
                f"{path} holds no images in folders called like the classes "
                "(001.Black_footed_Albatross …). Images that lie in one flat folder are not read."
            )
        classes = sorted(set(class_of.values()), key=_number)
        if self.check:
            expected: dict[str, int | None] = dict.fromkeys(classes)
            numbers = {_number(c) for c in classes}
            expected |= {f"{n:03}": None for n in range(1, _CLASSES + 1) if n not in numbers}
            check_whole(list(class_of.values()), expected, path)
            if len(class_of) != _PICTURES:
                raise DataError(
                    f"{path} holds {len(class_of):,} images where {_PICTURES:,} were published. "
                    "Unpack or fetch it again, or take it as it is with check=False; its splits "
                    "are then called own."
                )
        number = {name: c for c, name in enumerate(classes)}

        def read() -> dict[str, torch.Tensor]:
            if self.check:
                check_published(path, _PUBLISHED)
            x, labels = read_pictures(path, class_of, self._format)
            return {"x": x, "label": torch.tensor([number[label] for label in labels])}

        file = f"cub-{self._format.size}-{fingerprint(path)}.tensors"
        stored = cached(cache_folder() / file, read)
        data = ClassDataset(
            "cub",
            "all",
            stored["x"],
            ClassIndex(stored["label"], classes),
            mean=_MEAN,
            std=_STD,
        )
        whole = len(classes) == _CLASSES and len(class_of) == _PICTURES
        return data, "chen" if whole else "own"


def split_by_number(names: tuple[str, ...]) -> dict[str, list[str]]:
    """The classes of each split, by the number that their names begin with.

    >>> split_by_number(("001.A", "002.B", "003.C", "004.D"))
    {'train': ['001.A', '003.C'], 'val': ['002.B'], 'test': ['004.D']}
    """
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in names:
        at = _number(name) - 1
        lists["train" if at % 2 == 0 else "val" if at % 4 == 1 else "test"].append(name)
    check_disjoint(lists)
    return lists


def _number(name: str) -> int:
    """The number of a class, 0 for what is no class."""
    match = _FOLDER.fullmatch(name)
    return int(match.group(1)) if match else 0
