"""Archives on disk or on the network, and prepared tensors in a cache."""

import hashlib
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from quickstudy.core.errors import DownloadError
from quickstudy.data.places import cache_folder, data_root

_PATIENCE = 60  # seconds that a server may be silent
# What zipfile, zlib and Pillow raise for damaged archives and pictures.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    SyntaxError,
    ValueError,
)


def find_or_download(file: str, *, url: str, md5: str) -> Path:
    """The file ``file`` under the data root or the cache folder, else downloaded into the cache
    folder and checked.

    Args:
        file: its name.
        url: where its authors publish it.
        md5: checksum of the published file, checked after a download. A file that is already there
            is taken as it is.

    Raises:
        DownloadError: when it cannot be fetched, or the checksum is wrong (nothing is kept then).
    """
    for folder in (data_root(), cache_folder()):
        if (folder / file).is_file():
            return folder / file
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            part = Path(scratch) / file
            with (
                urlopen(
                    Request(url, headers={"User-Agent": "quickstudy"}), timeout=_PATIENCE
                ) as response,
                part.open("wb") as stream,
            ):
                shutil.copyfileobj(response, stream)
            came = hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest()
            if came != md5:
                raise DownloadError(
                    f"{url} gave a file with MD5 {came} where {md5} was expected. Nothing was "
                    "kept; try again, or fetch it by hand."
                )
            os.replace(part, folder / file)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise DownloadError(
            f"{file} is neither in {data_root()} nor could it be fetched from {url} ({error}). "
            "Download it there by hand and put it into a folder "
            "that QUICKSTUDY_DATA or --data-root names."
        ) from error
    return folder / file


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
    file = cache_folder() / f"{name}-{digest.hexdigest()[:16]}.safetensors"
    return cached(file, make)


def cached(file: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in ``file``, made and stored there if it is missing or damaged."""
    try:
        return load_file(file)
    except (OSError, SafetensorError):
        made = make()
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(made, part)
        os.replace(part, file)
    except (OSError, SafetensorError):
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return made
