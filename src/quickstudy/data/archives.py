"""Archives on disk or on the network, and prepared tensors in a cache."""

import contextlib
import hashlib
import os
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from quickstudy.core.errors import ConfigError, DataError, DownloadError, LoadError
from quickstudy.core.saving import load_record, save_record
from quickstudy.data.locations import cache_folder, data_root

_SILENCE = 60.0  # seconds that a server may be silent
_BLOCK = 1 << 20
MAX_MEMBER = 64 << 20
"""The largest file of an archive that is unpacked, in bytes."""
# What zipfile and zlib raise for damaged archives.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    ValueError,
)


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it.

    Args:
        url: where.
        sha256: its checksum.
        size: in bytes.
    """

    url: str
    sha256: str
    size: int


def find_or_download(file: str, published: Published, *, seconds: float = 1800.0) -> Path:
    """The file ``file`` under the data root or the cache folder, else downloaded into the cache
    folder and checked.

    It is written block by block, and never more of it than was published.

    Args:
        file: its name.
        published: where it is, its checksum and its size, checked after a download. A file that is
            already there is taken as it is.
        seconds: that the whole download may take.

    Raises:
        DownloadError: when it cannot be fetched in this time, or is another file (nothing is kept
            then).
    """
    for folder in (data_root(), cache_folder()):
        if (folder / file).is_file():
            return folder / file
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            part = Path(scratch) / file
            request = Request(published.url, headers={"User-Agent": "quickstudy"})
            with urlopen(request, timeout=_SILENCE) as response, part.open("wb") as stream:
                digest = _copied(response, stream, published, time.monotonic() + seconds)
            if digest != published.sha256:
                raise DownloadError(
                    f"{published.url} gave a file with SHA-256 {digest} where {published.sha256} "
                    "was expected. Nothing was kept; try again, or fetch it by hand."
                )
            os.replace(part, folder / file)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise DownloadError(
            f"{file} is neither in {data_root()} nor could it be fetched from {published.url} "
            f"({error}). Download it there by hand and put it into a folder that QUICKSTUDY_DATA "
            "or --data-root names."
        ) from error
    return folder / file


def _copied(source: Any, stream: Any, published: Published, until: float) -> str:
    """Copy the file, and return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        size += len(block)
        if size > published.size:
            raise DownloadError(
                f"{published.url} gave more than the {published.size:,} bytes that were expected. "
                "Nothing was kept; fetch it by hand."
            )
        if time.monotonic() > until:
            raise DownloadError(
                f"{published.url} is too slow: {size:,} of {published.size:,} bytes came in the "
                "time that a download may take. Nothing was kept; try again, or fetch it by hand."
            )
        digest.update(block)
        stream.write(block)
    if size != published.size:
        raise DownloadError(
            f"{published.url} gave {size:,} bytes where {published.size:,} were expected. Nothing "
            "was kept; try again, or fetch it by hand."
        )
    return digest.hexdigest()


@contextlib.contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive that is read from.

    Raises:
        DataError: when it is damaged, also while it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (DataError, MemoryError):
        raise
    except _UNREADABLE as error:
        raise DataError(
            f"{path} is not a readable archive: {error}. Delete it and fetch it again."
        ) from error


def member(archive: zipfile.ZipFile, name: str, *, largest: int = MAX_MEMBER) -> bytes:
    """The content of one file of an archive.

    Raises:
        DataError: when there is no such file, when it is damaged, or when it has more bytes than
            ``largest``, whatever the archive says.
    """
    try:
        with archive.open(name) as stream:
            content = stream.read(largest + 1)
    except _UNREADABLE as error:
        raise DataError(f"{archive.filename}: {name} is missing or damaged: {error}.") from error
    if len(content) > largest:
        raise DataError(
            f"{archive.filename}: {name} unpacks to more than {largest:,} bytes, the most that is "
            "read. Remove it from the archive."
        )
    return content


def prepared(
    name: str, sources: list[Path], make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors that ``make`` makes of the source files, from the cache folder if they were made
    before of the same files.

    A damaged cache file is made anew; where the cache folder cannot be written, nothing is cached.
    """
    digest = hashlib.sha256()
    for source in sources:
        with source.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return cached(cache_folder() / f"{name}-{digest.hexdigest()[:16]}.tensors", make)


def cached(file: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in ``file``, made and stored there if it is missing or damaged."""
    try:
        return load(load_record(file, kind="cache"))
    except (LoadError, SafetensorError):
        tensors = make()
    with contextlib.suppress(ConfigError, SafetensorError):  # a folder that cannot be written
        save_record(file, kind="cache", content=save(tensors))
    return tensors
