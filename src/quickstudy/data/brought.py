"""Data sets whose files the user brings: where they lie, what is in them, and whether they are
whole.
"""

import contextlib
import csv
import hashlib
import io
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.disk import make_folder
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.data.archives import member, opened_archive
from quickstudy.data.image_files import picture_endings
from quickstudy.data.images import ImageFormat
from quickstudy.data.locations import cache_folder, data_root

SPLITS = ("train", "val", "test")
LARGEST = 40 << 30
"""The largest file that is taken from a folder or an archive, in bytes."""


def located(path: str, names: Sequence[str], *, what: str, forms: str) -> Path:
    """The file or folder of a data set: ``path``, else the first of these names in the data folder
    or the cache folder.

    Raises:
        DataError: when there is none, with the forms that are read.
    """
    if path:
        given = Path(path).expanduser()
        if not given.exists():
            raise DataError(f"{what}: there is no {given}. It may be {forms}.")
        return given
    for folder in (data_root(), cache_folder()):
        for name in names:
            if (folder / name).exists():
                return folder / name
    raise DataError(
        f"{what} is not in {data_root()}; it is not ours to redistribute. Put it there as "
        f"{forms}, or name the file or folder itself with path=… (on the command line: "
        "--set data.path=…)."
    )


def check_published(path: Path, published: Mapping[str, tuple[str, str]]) -> None:
    """Refuse an archive that is called like a published one but has another checksum.

    Args:
        path: of the archive.
        published: by file name, the kind of checksum ("sha256" or "md5") and its digits.

    Raises:
        DataError: with both checksums.
    """
    if not path.is_file() or path.name not in published:
        return
    kind, digits = published[path.name]
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, kind).hexdigest()
    if actual != digits:
        raise DataError(
            f"{path} is another file than was published: its {kind} is {actual}, and {digits} was "
            "expected. Fetch it again, or, if you repacked it, take it as it is with check=False."
        )


def names_in(path: Path) -> list[str]:
    """The files in a folder or an archive, as paths with ``/``, sorted.

    Raises:
        DataError: for an archive that cannot be read.
    """
    if path.is_dir():
        files = (
            os.path.join(folder, file)
            for folder, _, names in os.walk(path)
            for file in names
            if not file.startswith(".")
        )
        return sorted(Path(file).relative_to(path).as_posix() for file in files)
    if zipfile.is_zipfile(path):
        with opened_archive(path) as archive:
            return sorted(n for n in archive.namelist() if not n.endswith("/"))
    with _opened_tar(path) as tar:
        return sorted(entry.name for entry in tar if entry.isfile())


def contents(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files of a folder or an archive, in the order in which they
    are stored.

    Raises:
        DataError: for an archive that is damaged.
    """
    if path.is_dir():
        for name in filter(wanted, names_in(path)):
            yield name, (path / name).read_bytes()
    elif zipfile.is_zipfile(path):
        with opened_archive(path) as archive:
            for name in filter(wanted, names_in(path)):
                yield name, member(archive, name, largest=LARGEST)
    else:
        with _opened_tar(path) as tar:
            for entry in tar:
                if entry.isfile() and wanted(entry.name):
                    stream = tar.extractfile(entry)
                    yield entry.name, stream.read() if stream is not None else b""


def content_of(path: Path, ending: str) -> bytes:
    """The content of the one file whose path ends so.

    Raises:
        DataError: when there is no such file, or an archive is damaged.
    """
    for _, content in contents(path, lambda name: f"/{name}".endswith(f"/{ending}")):
        return content
    raise DataError(f"{path} holds no {ending}. It is incomplete; fetch it again.")


@contextlib.contextmanager
def _opened_tar(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path) as tar:
            yield tar
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable archive (zip, tar, tar.gz) or is damaged: {error}. Delete "
            "it and fetch it again."
        ) from error
    except Exception as error:
        # zlib.error is no subclass of the above.
        if type(error).__module__ != "zlib":
            raise
        raise DataError(f"{path} is damaged: {error}. Delete it and fetch it again.") from error


def fingerprint(path: Path) -> str:
    """Sixteen hexadecimal digits that change when a file of the data set is replaced: of names,
    sizes and times.
    """
    files = [path] if path.is_file() else [path / name for name in names_in(path)]
    lines = [f"{f}\t{s.st_size}\t{s.st_mtime_ns}\n" for f in files for s in (f.stat(),)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def read_pictures(
    path: Path, class_of: Mapping[str, str], fmt: ImageFormat
) -> tuple[Tensor, list[str]]:
    """The pictures of these files, and the class of each, by class and then by name.

    Args:
        path: of the folder or archive.
        class_of: the class of each file, by its name in there.
        fmt: how a picture becomes a tensor.

    Raises:
        ImageError: for a picture that is damaged.
        DataError: for an archive that is.
    """
    order = sorted(class_of, key=lambda name: (class_of[name], PurePosixPath(name).name))
    row = {name: i for i, name in enumerate(order)}
    x = torch.empty((len(order), *fmt.shape), dtype=torch.uint8)
    for name, content in contents(path, class_of.__contains__):
        x[row[name]] = fmt.decode(io.BytesIO(content), name=f"{path}: {name}")
    return x, [class_of[name] for name in order]


def pictures_by_folder(names: Sequence[str]) -> dict[str, str]:
    """For each picture the name of the folder that it lies in."""
    endings = picture_endings()
    return {
        name: parts[-2]
        for name in names
        if len(parts := PurePosixPath(name).parts) > 1
        and PurePosixPath(name).suffix.lower() in endings
        and "__MACOSX" not in parts
    }


def split_table(file: str) -> list[dict[str, str]]:
    """A list of classes and their splits that we ship."""
    text = (resources.files("quickstudy.data") / "splits" / file).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def check_whole(labels: Sequence[str], expected: Mapping[str, int | None], path: Path) -> None:
    """Refuse data that lack a class, or pictures of one.

    Args:
        labels: the class of each picture.
        expected: how many pictures each class has; None = any number above 0.
        path: for the message.

    Raises:
        DataError: with both numbers.
    """
    counts = Counter(labels)
    wrong = [
        (name, n)
        for name, n in expected.items()
        if not counts[name] or (n is not None and counts[name] != n)
    ]
    if wrong:
        name, n = wrong[0]
        needed = f"{n:,} were published" if n is not None else "at least one is needed"
        raise DataError(
            f"{path} is incomplete: {len(wrong)} of {len(expected)} classes are not as published; "
            f"of {name} there are {counts[name]:,} images where {needed}. Unpack or fetch it "
            "again, or take it as it is with check=False; its splits are then called own."
        )


def mapped_pixels(
    name: str, shape: tuple[int, ...], fill: Callable[[NDArray[np.uint8]], None]
) -> Tensor:
    """Pixels that are too many for the memory, in a file of the cache folder which is mapped: only
    what is used is read.

    Args:
        name: of the file.
        shape: of all the pixels.
        fill: writes them.

    Raises:
        ConfigError: when the cache folder cannot be written.
    """
    file = cache_folder() / f"{name}.pixels"
    if not file.exists():
        part = file.with_suffix(f".{os.getpid()}")
        try:
            make_folder(file.parent)
            pixels = np.memmap(part, np.uint8, "w+", shape=shape)
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be written ({error}), and {np.prod(shape) / 1e9:,.1f} GB of pixels "
                "are too many to keep in memory. Name another folder with QUICKSTUDY_CACHE."
            ) from error
        try:
            fill(pixels)
            pixels.flush()
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    return torch.from_numpy(np.memmap(file, np.uint8, "c", shape=shape))
