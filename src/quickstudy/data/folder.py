"""Own pictures: a folder with a sub-folder per class."""

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Described
from quickstudy.core.disk import as_path
from quickstudy.core.errors import (
    ConfigError,
    DataError,
    ImageError,
    PassedOverWarning,
    did_you_mean,
)
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.words import counted
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint
from quickstudy.data.class_split import check_shares, enough_examples, split_named, splits_of
from quickstudy.data.episodes import Episodes
from quickstudy.data.hidden import is_left_out, is_told_of, said_of_hidden
from quickstudy.data.image_files import how_to_read, picture_endings
from quickstudy.data.images import ImageFormat

_SPLITS = ("train", "val", "test")
_ON_BAD = ("refuse", "skip")
_KINDS = ("images", "audio", "text")
_TEXTS = frozenset({".txt", ".md"})
_SOUNDS = frozenset(
    {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf"}
)


@dataclass(frozen=True)
class FolderContent:
    """What `read_folder` found.

    Args:
        dataset: the pictures; its classes are named as their folders, in natural order.
        paths: the file of each row.
        skipped: the files that could not be read, each with the reason.
        duplicates: groups of files that became the same pixels although they lie in different
            classes.
        ignored: how many files were passed over because their ending is not that of a picture.
    """

    dataset: ClassDataset
    paths: list[Path]
    skipped: list[tuple[Path, str]]
    duplicates: list[tuple[Path, ...]]
    ignored: int


class ImageFolder(Described, AbstractData):
    """A folder of own pictures, ``root/CLASS/picture.jpg``, its classes split into ``train``,
    ``val`` and ``test``.

    If the only sub-folders are ``train``, ``val`` and ``test`` (one of them may be missing), they
    are the splits:
    ``root/train/CLASS/picture.jpg``. Nothing is read before the first split is asked for; then
    everything is, into memory.

    Args:
        root: the folder.
        size, channels, invert, fit: as in `ImageFormat`.
        on_bad: what happens when a picture cannot be read: "refuse" the folder, or "skip" the
            picture.
        min_per_class: classes with fewer pictures are left out.
        val, test: the share of the classes in these splits, see `split_classes`; not used where the
            folder has splits.
        seed: of the split.

    Raises:
        ConfigError: for options that cannot be used.
        DataError: from `split` and `tasks`, for a folder that is not laid out like this, as
            `read_folder` does.
    """

    def __init__(
        self,
        root: str,
        *,
        size: int = 84,
        channels: int = 3,
        invert: bool = False,
        fit: str = "crop",
        on_bad: str = "refuse",
        min_per_class: int = 1,
        val: float = 0.2,
        test: float = 0.2,
        seed: int = 0,
    ) -> None:
        self._format = ImageFormat(size, channels, invert, fit)
        _check_on_bad(on_bad)
        check_shares(val, test)
        self.root = as_path(root, "root").expanduser()
        self.on_bad, self.min_per_class = on_bad, min_per_class
        self._val, self._test, self._seed = val, test, seed
        self.name = _name(self.root)
        self.shape = self._format.shape
        self.image_format = self._format.to_json()

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val`` or ``test``."""
        return split_named(self._splits, name, data=self.name)

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def contents(self) -> dict[str, FolderContent]:
        """What was found: by split where the folder has splits, else under ``all``."""
        splits = (
            []
            if not self.root.is_dir()
            else _splits_among(folder.name for folder in entries_of(self.root).folders)
        )
        folders = {split: self.root / split for split in splits} or {"all": self.root}
        return {
            split: read_folder(folder, self._format, on_bad=self.on_bad)
            for split, folder in folders.items()
        }

    @property
    def left_out(self) -> list[str]:
        """The classes with fewer than ``min_per_class`` pictures."""
        return [
            name
            for content in self.contents.values()
            for name in enough_examples(content.dataset, self.min_per_class)[1]
        ]

    @cached_property
    def _splits(self) -> dict[str, ClassDataset]:
        enough = {
            split: enough_examples(content.dataset, self.min_per_class)[0]
            for split, content in self.contents.items()
        }
        if "all" in enough:
            return splits_of(
                enough["all"], prefix="folder", val=self._val, test=self._test, seed=self._seed
            )
        splits = {
            split: replace(data, name=self.name, split=f"folder/{split}")
            for split, data in enough.items()
        }
        check_disjoint(splits)
        return splits


def read_folder(
    root: str | Path, fmt: ImageFormat, *, on_bad: str = "refuse", min_per_class: int = 1
) -> FolderContent:
    """All pictures of a folder with a sub-folder per class.

    Pictures may lie in folders of their own below the class folder. Hidden files and files that are
    not pictures are passed over.

    Args:
        root: the folder.
        fmt: how a picture becomes a tensor.
        on_bad: what happens when a picture cannot be read: "refuse" the folder, or "skip" the
            picture.
        min_per_class: a class with fewer pictures is an error.

    Raises:
        DataError: when the folder is not laid out like this, when there are fewer than two classes,
            when a class has too few pictures, or when pictures cannot be read (all of them are
            looked at before the error is raised).
    """
    _check_on_bad(on_bad)
    root = as_path(root, "root").expanduser()
    found, ignored = _class_folders(root, _named("images"))
    x = np.empty((sum(map(len, found.values())), *fmt.shape), dtype=np.uint8)
    labels: list[int] = []
    paths: list[Path] = []
    bad: list[tuple[Path, str]] = []
    for c, path in ((c, path) for c, pictures in enumerate(found.values()) for path in pictures):
        try:
            x[len(paths)] = fmt.read(path).numpy()
        except ImageError as error:
            bad.append((path, str(error)))
            continue
        labels.append(c)
        paths.append(path)
    if bad and on_bad == "refuse":
        reasons = _listed([why for _, why in bad], between="\n")
        raise DataError(
            f"{len(bad)} of {len(x)} images in {_shown(root)} cannot be read:\n{reasons}\n"
            'Repair or remove them, or leave them out with on_bad="skip" (on the command line: '
            "--on-bad skip)."
        )
    names = list(found)
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(found))
    empty = [repr(name) for name, n in zip(names, counts, strict=True) if n == 0]
    if empty:
        raise DataError(
            f"In {_shown(root)} these classes have no image that can be read: {_listed(empty)}. "
            "Repair the images, or remove the "
            f"folders. The first of {len(bad)} files that cannot be read: {bad[0][1]}"
        )
    few = [f"{name!r} ({n})" for name, n in zip(names, counts, strict=True) if n < min_per_class]
    if few:
        raise DataError(
            f"In {_shown(root)} these classes have fewer than min_per_class={min_per_class} "
            f"images: {_listed(few)}. "
            "Add images, remove the folders, or lower min_per_class."
        )
    data = ClassDataset(
        _name(root), "folder/all", torch.from_numpy(x[: len(paths)]), ClassIndex(labels, names)
    )
    return FolderContent(data, paths, bad, _duplicates(x[: len(paths)], labels, paths), ignored)


def find_classes(root: str | Path, *, kind: str = "images") -> dict[str, list[Path]]:
    """The files of each class of a folder with a sub-folder per class, in natural order; nothing is
    read.

    Args:
        root: the folder.
        kind: "images", "audio" or "text" (files of one text each).

    Raises:
        DataError: when the folder is not laid out like this, as `read_folder` does.
    """
    return _class_folders(as_path(root, "root").expanduser(), _named(kind))[0]


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are given, and the pictures in folders and everything below, in natural order.

    Hidden files and files whose ending is not that of a picture are found only when given
    themselves.

    Raises:
        DataError: for a path that does not exist, or when there is no picture.
    """
    return find_files(paths, kind="images")


def find_files(paths: Iterable[str | Path], *, kind: str) -> list[Path]:
    """As `find_images`, also for recordings and texts.

    Args:
        paths: files and folders.
        kind: "images", "audio" or "text".
    """
    sought = _named(kind)
    items = [Path(path).expanduser() for path in paths]
    missing = [_shown(path) for path in items if not path.exists()]
    if missing:
        raise DataError(
            f"There is no such file or folder: {_listed(missing)}. Check the paths and "
            "their spelling."
        )
    chosen: list[Path] = []
    others: list[Path] = []
    hidden: list[str] = []
    for path in items:
        inside = _below(path, sought.endings) if path.is_dir() else _Below([path], [], [])
        chosen += inside.files
        others += inside.others
        hidden.append(said_of_hidden(inside.hidden, path))
    if not chosen:
        shown = _listed([_shown(path) for path in items]) or "an empty list of paths"
        raise DataError(
            f"There is no {sought.word} in {shown}. Give {sought.word} files, or folders with "
            f"files such as {sought.such_as}.{_endings_of(others)}{_after(hidden)}"
        )
    _warn_passed_over(others, sought.word, _listed([_shown(path) for path in items]))
    _warn_hidden(hidden)
    return chosen


def kind_of(path: str | Path) -> str:
    """What a file is, by its ending: "images", "audio" or "text"; empty where it is none of them.

    >>> kind_of("bird.JPG"), kind_of("bird.xyz")
    ('images', '')
    """
    ending = Path(path).suffix.lower()
    for kind in _KINDS:
        if ending in _named(kind).endings:
            return kind
    return ""


def natural_key(name: str) -> tuple[list[str | int], str]:
    """For sorting names as people do: numbers by their size, capital and small letters together.

    >>> sorted(["img10", "img9", "Img1"], key=natural_key)
    ['Img1', 'img9', 'img10']
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _class_folders(root: Path, sought: "_Sought") -> tuple[dict[str, list[Path]], int]:
    """The files of each class, and how many other files there are."""
    layout = (
        f"Give each class a sub-folder of its own: {root / 'CLASS' / sought.such_as.split()[0]}."
    )
    if not root.exists():
        raise DataError(f"There is no folder {_shown(root)}. Check the path and its spelling.")
    if not root.is_dir():
        raise DataError(
            f"{_shown(root)} is a file, but a folder of {sought.word}s was expected. If it is an "
            f"archive, unpack it first. {layout}"
        )
    folders, files, hidden = entries_of(root)
    hidden = _wanted(hidden, sought.endings)
    loose = [file for file in files if file.suffix.lower() in sought.endings]
    if loose:
        raise DataError(
            f"{_shown(root)} holds {counted(len(loose), sought.word)} that "
            f"{'belongs' if len(loose) == 1 else 'belong'} to no class, the first being "
            f"{loose[0].name!r}, beside {counted(len(folders), 'sub-folder')}. {layout}"
        )
    if not folders:
        raise DataError(
            f"{_shown(root)} has no sub-folders, but one per class was expected. {layout}"
            f"{_after([said_of_hidden(hidden, root)])}"
        )
    splits = _splits_among(folder.name for folder in folders)
    if splits:
        raise DataError(
            f"{_shown(root)} holds the splits {', '.join(splits)}, but a sub-folder per class was "
            "expected. "
            f"Give one of them, such as {_shown(root / splits[0])}."
        )
    found: dict[str, list[Path]] = {}
    ignored: list[Path] = list(files)
    empty: list[str] = []
    for folder in folders:
        name, inside = _class_name(folder), _below(folder, sought.endings)
        pictures, others = inside.files, inside.others
        if name in found:
            raise DataError(
                f"{_shown(root)} has two folders whose names look the same, {name!r}. Rename one, "
                f"or move its {sought.word}s to the other."
            )
        found[name] = pictures
        ignored += others
        hidden += inside.hidden
        if not pictures:
            kinds = ", ".join(sorted({other.suffix.lower() or "none" for other in others}))
            empty.append(
                f"{folder.name!r}"
                + (f" ({counted(len(others), 'file')} with the ending {kinds})" if others else "")
            )
    passed_over = said_of_hidden(hidden, root)
    if empty:
        raise DataError(
            f"In {_shown(root)} these class folders hold no file with the ending of "
            f"{sought.word}s: {', '.join(empty)}. "
            f"Add {sought.word}s ({sought.some}, …), convert those in other formats, or remove the "
            f"folders.{_after([passed_over])}"
        )
    if len(found) == 1:
        (inner,) = folders
        below = len(entries_of(inner).folders)
        hint = (
            f" Or did you mean {_shown(inner)}, which has {below} sub-folders?" if below > 1 else ""
        )
        raise DataError(
            f"{_shown(root)} holds one class, {inner.name!r}, but a classifier needs at least two. "
            f"{layout}{hint}{_after([passed_over])}"
        )
    _warn_passed_over(ignored, sought.word, _shown(root))
    _warn_hidden([passed_over])
    return found, len(ignored)


class _FileKind(NamedTuple):
    """What is looked for in folders."""

    word: str
    endings: frozenset[str]
    such_as: str
    some: str


def _named(kind: str) -> _FileKind:
    if kind == "audio":
        return _FileKind("recording", _SOUNDS, "recording.wav or recording.flac", ".wav, .flac")
    if kind == "images":
        return _FileKind("image", picture_endings(), "image.jpg or image.png", ".jpg, .png")
    if kind == "text":
        return _FileKind("text", _TEXTS, "text.txt or text.md", ".txt, .md")
    raise ConfigError(f"Folders hold images, audio or text, not '{kind}'.")


def _warn_passed_over(files: Sequence[Path], word: str, where: str) -> None:
    if files:
        said = (
            f"1 file in {where} is not read, as its ending is not that"
            if len(files) == 1
            else f"{len(files):,} files in {where} are not read, as their endings are not those"
        )
        warnings.warn(
            f"{said} of {word}s.{_endings_of(files)}",
            PassedOverWarning,
            stacklevel=4,
        )


def _warn_hidden(said: Sequence[str]) -> None:
    for text in said:
        if text:
            warnings.warn(text, PassedOverWarning, stacklevel=4)


def _after(said: Sequence[str]) -> str:
    """Sentences that follow another."""
    return "".join(f" {text}" for text in said if text)


def _endings_of(files: Sequence[Path]) -> str:
    """How many files have which ending, and what would read them."""
    if not files:
        return ""
    counts = Counter(file.suffix.lower() or "no ending" for file in files)
    listed = _listed([f"{n} {ending}" for ending, n in sorted(counts.items())])
    cures = {how_to_read(ending) for ending in counts} - {""}
    return f" Passed over: {listed}." + "".join(f" To read them: {cure}." for cure in sorted(cures))


def _class_name(folder: Path) -> str:
    # macOS hands out accents as letters of their own: without this the same folder would be another
    # class there.
    name = unicodedata.normalize("NFC", folder.name)
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise DataError(
            f"The name of the class folder {_shown(folder)} holds control characters or is not "
            "valid Unicode. Rename it."
        )
    return name


def _splits_among(names: Iterable[str]) -> list[str]:
    """The splits, if these folders are splits and not classes: one of them alone could well be a
    class of trains.
    """
    present = set(names)
    if len(present) < 2 or not present <= set(_SPLITS):
        return []
    return [split for split in _SPLITS if split in present]


class Entries(NamedTuple):
    """What a folder holds, in natural order; hidden is what may be somebody's own."""

    folders: list[Path]
    files: list[Path]
    hidden: list[Path]


class _Below(NamedTuple):
    """What a folder and everything below it hold, in natural order: files with a wanted ending,
    other files, and hidden folders and files with such an ending.
    """

    files: list[Path]
    others: list[Path]
    hidden: list[Path]


def entries_of(folder: Path) -> Entries:
    """The sub-folders and the files of a folder."""
    try:
        names = list(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"The folder {_shown(folder)} cannot be read: {error.strerror}. Change its "
            "permissions, or remove it."
        ) from error
    found = Entries([], [], [])
    for path in sorted(names, key=lambda path: natural_key(path.name)):
        if not is_left_out(path):
            (found.folders if path.is_dir() else found.files).append(path)
        elif is_told_of(path):
            found.hidden.append(path)
    return found


def _wanted(hidden: Sequence[Path], endings: frozenset[str]) -> list[Path]:
    """The folders among hidden entries, and the files with such an ending."""
    return [path for path in hidden if path.suffix.lower() in endings or path.is_dir()]


def _below(folder: Path, endings: frozenset[str]) -> _Below:
    """What lies in a folder and below it; links are followed, but nowhere twice."""
    top = Path(os.path.realpath(folder))
    seen, waiting = {top}, [folder]
    every: list[Path] = []
    hidden: list[Path] = []
    while waiting:
        folders, files, left_out = entries_of(waiting.pop())
        every += files
        hidden += _wanted(left_out, endings)
        for sub in folders:
            real = Path(os.path.realpath(sub))
            # A link to what contains this folder would bring in the other classes.
            if real not in seen and not top.is_relative_to(real):
                seen.add(real)
                waiting.append(sub)
    every.sort(key=lambda path: [natural_key(part) for part in path.relative_to(folder).parts])
    return _Below(
        [p for p in every if p.suffix.lower() in endings],
        [p for p in every if p.suffix.lower() not in endings],
        hidden,
    )


def _duplicates(
    x: NDArray[np.uint8], labels: Sequence[int], paths: Sequence[Path]
) -> list[tuple[Path, ...]]:
    groups: dict[bytes, list[int]] = {}
    for row, pixels in enumerate(x):
        groups.setdefault(hashlib.blake2b(pixels.tobytes(), digest_size=16).digest(), []).append(
            row
        )
    return [
        tuple(paths[row] for row in rows)
        for rows in groups.values()
        if len({labels[row] for row in rows}) > 1
    ]


def _check_on_bad(on_bad: str) -> None:
    if on_bad not in _ON_BAD:
        raise ConfigError(f"on_bad cannot be '{on_bad}'. {did_you_mean(on_bad, _ON_BAD)}")


def _name(root: Path) -> str:
    return root.resolve().name or "folder"


def _shown(path: Path) -> str:
    return repr(str(path))


def _listed(items: Sequence[str], *, between: str = ", ") -> str:
    more = [f"and {len(items) - 10} more"] if len(items) > 10 else []
    return between.join([*items[:10], *more])
