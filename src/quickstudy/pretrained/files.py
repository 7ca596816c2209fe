"""Files to vectors: any number of them, in bounded memory, those that cannot be read by name.
Pictures in memory may stand wherever a path may.
"""

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError, did_you_mean
from quickstudy.core.words import counted
from quickstudy.data import find_files, read_picture
from quickstudy.data.image_files import Picture, check_list, is_one_picture
from quickstudy.data.open_files import OpenFile, content_of
from quickstudy.pretrained.cache import FeatureCache, feature_folder
from quickstudy.pretrained.encoder import AbstractPretrained

_ON_BAD = ("refuse", "skip")
_READERS = min(4, os.cpu_count() or 1)
_AHEAD = 2  # batches
# Bytes of files per batch, unless a single one has more: 64 photographs of a good camera or an hour
# of sound would fill the memory.
_LARGEST = 50_000_000
# Files per job: with one each, handing out the jobs would take longer than reading small pictures.
_PIECE = 8

Source: TypeAlias = str | Path | Picture
"""A file by its path, the content of one, an open one, or a picture as
`quickstudy.data.read_picture` takes it."""


@dataclass(frozen=True)
class EncodedFiles:
    """What became of files.

    Args:
        vectors: of the files that could be read, in their order.
        paths: the file of each row; of what is in memory its name, "<item 3>" for the third.
        skipped: the files that could not, each with the reason.
        notes: what went wrong with the cache, see `FeatureCache`.
    """

    vectors: Float[NDArray[np.float32], "n D"]
    paths: list[Path]
    skipped: list[tuple[Path, str]]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _File:
    """One file on its way: then either its item, its vector or a reason is there."""

    path: Path
    picture: Any = None  # what is in memory
    in_memory: bool = False
    content: bytes | None = None
    item: Any = None
    vector: NDArray[np.float32] | None = None
    reason: str = ""


def encode_files(
    encoder: AbstractPretrained,
    paths: Sequence[Source],
    *,
    cache: FeatureCache | str | Path | bool | None = None,
    batch_size: int = 64,
    on_bad: str = "refuse",
    progress: Callable[[int, int], None] | None = None,
) -> EncodedFiles:
    """The vectors of files, all in memory.

    Args:
        encoder: what encodes.
        paths: the files; of encoders of images also pictures in memory, and of all the content of a
            file, or an open one.
        cache: True for one in the user's cache folder, the folder for one, or a `FeatureCache`;
            None keeps nothing. What an interrupted call encoded is in the cache and is not encoded
            again.
        batch_size: files that are encoded at once; fewer where they are large.
        on_bad: what happens when a file cannot be read: "refuse" them all, or "skip" the file.
        progress: called with (files done, files in all) after each batch.

    Raises:
        ConfigError: for a batch size or an ``on_bad`` that does not exist, or a cache of another
            encoder.
        DataError: when files cannot be read, with up to ten of them and the reasons. All files are
            looked at before, and what could be encoded is in the cache.
    """
    kept: list[Path] = []
    vectors: list[NDArray[np.float32]] = []
    skipped: list[tuple[Path, str]] = []
    with cache_for(encoder, cache) as opened:
        for some, x in stream_files(
            encoder,
            paths,
            cache=opened,
            batch_size=batch_size,
            on_bad=on_bad,
            progress=progress,
            on_skip=lambda *bad: skipped.append(bad),
        ):
            kept += some
            vectors.append(x)
        notes = () if opened is None else tuple(opened.notes)
    return EncodedFiles(
        np.concatenate(vectors) if vectors else np.empty((0, encoder.dim), np.float32),
        kept,
        skipped,
        notes,
    )


def stream_files(
    encoder: AbstractPretrained,
    paths: Sequence[Source],
    *,
    cache: FeatureCache | None = None,
    batch_size: int = 64,
    on_bad: str = "refuse",
    progress: Callable[[int, int], None] | None = None,
    on_skip: Callable[[Path, str], None] | None = None,
) -> Iterator[tuple[list[Path], Float[NDArray[np.float32], "B D"]]]:
    """The vectors of files, batch by batch: however many files there are, no more than a few
    batches are in memory.

    Files are read ahead in threads, so ``encoder.read`` must bear that. A batch holds at most
    ``batch_size`` files, fewer where they are large or cannot be read, but is never empty.

    Args:
        encoder, paths, batch_size, on_bad, progress: as in `encode_files`.
        cache: of this encoder.
        on_skip: called with each file that is skipped and the reason.

    Raises:
        ConfigError: as `encode_files`, at once.
        DataError: as `encode_files`, after the last batch.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
    if on_bad not in _ON_BAD:
        raise ConfigError(f"on_bad cannot be '{on_bad}'. {did_you_mean(on_bad, _ON_BAD)}")
    if cache is not None and (cache.key, cache.dim) != (encoder.key, encoder.dim):
        raise ConfigError(
            f"The cache holds {counted(cache.dim, 'number')} per file by the encoder "
            f"{cache.key}, but "
            f"'{encoder.source}' gives {encoder.dim} and its key is "
            f"{encoder.key}. Open the cache with this key and dim."
        )
    return _streamed(encoder, paths, cache, batch_size, on_bad, progress, on_skip)


@contextmanager
def cache_for(
    encoder: AbstractPretrained, cache: FeatureCache | str | Path | bool | None
) -> Iterator[FeatureCache | None]:
    """The cache that ``cache`` asks for, as in `encode_files`; one that is opened here is closed at
    the end.
    """
    if isinstance(cache, FeatureCache) or cache is None or cache is False:
        yield cache or None
        return
    with FeatureCache(
        feature_folder() if cache is True else cache, key=encoder.key, dim=encoder.dim
    ) as opened:
        yield opened


def _streamed(
    encoder: AbstractPretrained,
    paths: Sequence[Source],
    cache: FeatureCache | None,
    batch_size: int,
    on_bad: str,
    progress: Callable[[int, int], None] | None,
    on_skip: Callable[[Path, str], None] | None,
) -> Iterator[tuple[list[Path], NDArray[np.float32]]]:
    bad: list[str] = []
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="quickstudy-read")

    def reading(batch: list[_File]) -> "list[Future[list[_File]]]":
        return [
            pool.submit(_read, encoder, batch[i : i + _PIECE], cache)
            for i in range(0, len(batch), _PIECE)
        ]

    try:
        later = map(reading, _batches(paths, batch_size))
        ahead, done = deque(islice(later, _AHEAD)), 0
        while ahead:
            files = [file for job in ahead.popleft() for file in job.result()]
            ahead.extend(islice(later, 1))
            _encode(encoder, [f for f in files if f.vector is None and not f.reason], cache)
            for f in files:
                if f.reason and on_bad == "refuse":
                    bad.append(f.reason)
                elif f.reason and on_skip is not None:
                    on_skip(f.path, f.reason)
            done += len(files)
            if progress is not None:
                progress(done, len(paths))
            good = [(f.path, f.vector) for f in files if f.vector is not None]
            if good:
                yield [path for path, _ in good], np.stack([vector for _, vector in good])
    finally:
        pool.shutdown(cancel_futures=True)
    if bad:
        more = [f"and {len(bad) - 10} more"] if len(bad) > 10 else []
        listed = "\n".join([*bad[:10], *more])
        raise DataError(
            f"{len(bad)} of {len(paths)} files cannot be encoded:\n{listed}\n"
            'Repair or remove them, or leave them out with on_bad="skip" (on the command line: '
            "--on-bad skip)."
        )


def is_path(source: Source) -> TypeGuard[str | Path]:
    """Whether it is the path of a file or a folder, not what is in memory."""
    return isinstance(source, str | Path)


def listed_sources(files: Iterable[Source] | Source) -> list[Source]:
    """A list of them, where one may come alone.

    Raises:
        ConfigError: for what is neither.
    """
    given: Any = files
    if is_one_picture(given):
        return [given]
    check_list(given, of="files")
    return list(given)


def find_sources(files: Iterable[Source] | Source, *, kind: str) -> list[Source]:
    """The files of a kind in files and folders; what is in memory stays as it is, and open files
    are read.

    Args:
        files: paths of files and folders, what is in memory, or one of these.
        kind: "images", "audio" or "text".

    Raises:
        DataError: when a path does not exist, or there is no file.
    """
    found: list[Source] = []
    for are_paths, some in groupby(listed_sources(files), is_path):
        items: Any = list(some)
        found += find_files(items, kind=kind) if are_paths else map(_read_through, items)
    if not found:
        find_files([], kind=kind)  # says what is expected
    return found


def _read_through(source: Source) -> Source:
    """An open file as its content, as it may be needed twice; what cannot be read as it is: it is
    an error of its own then, by its name.
    """
    try:
        return content_of(source) if isinstance(source, OpenFile) else source
    except DataError:
        return source


def names_of(sources: Sequence[Source]) -> list[Path]:
    """What each file is called: by its path, and what is in memory by its place in the list.

    >>> [str(name) for name in names_of(["a.png", b"..."])]
    ['a.png', '<item 2>']
    """
    return [
        Path(source) if is_path(source) else Path(f"<item {n}>")
        for n, source in enumerate(sources, 1)
    ]


def _batches(sources: Sequence[Source], batch_size: int) -> Iterator[list[_File]]:
    batch: list[_File] = []
    total = 0
    for name, source in zip(names_of(sources), sources, strict=True):
        in_memory = not is_path(source)
        stamp = () if in_memory else _stamp(name)
        size = stamp[0] if stamp else 0
        if batch and (len(batch) == batch_size or total + size > _LARGEST):
            yield batch
            batch, total = [], 0
        batch.append(_File(name, source if in_memory else None, in_memory))
        total += size
    if batch:
        yield batch


def _read(
    encoder: AbstractPretrained, files: list[_File], cache: FeatureCache | None
) -> list[_File]:
    """Of each file its vector if it is known, else its item or why there is none."""
    stamps: dict[Path, tuple[int, ...]] = {}
    for f in files:
        if f.in_memory:
            try:
                f.picture = as_content(f.picture)
            except DataError as error:
                f.reason = f"{f.path}: {error}"
    if cache is not None:
        for f in files:
            if f.in_memory:
                f.content = hashlib.sha256(f.picture).digest() if not f.reason else None
                continue
            stamps[f.path] = _stamp(f.path)
            f.content = _content(f.path)
        known = cache.get(f.content for f in files if f.content is not None)
        for f in files:
            f.vector = known.get(f.content or b"")
    for f in files:
        if f.vector is None and not f.reason:
            try:
                f.item = encoder.read(f.picture if f.in_memory else f.path)
            except DataError as error:
                f.reason = f"{f.path}: {error}" if f.in_memory else str(error)
            if not f.in_memory and f.content is not None and stamps[f.path] != _stamp(f.path):
                f.content = (
                    None  # it was written to in between, so this may not be what the content says
                )
        f.picture = None
    return files


def as_content(picture: Any) -> bytes:
    """What is in memory as the content of a file, so that it is encoded as files are.

    Raises:
        DataError: when it is no picture, or an open file that cannot be read.
    """
    if isinstance(picture, bytes | bytearray | OpenFile):
        return content_of(picture)
    stream = io.BytesIO()
    read_picture(picture).save(stream, "PPM")
    return stream.getvalue()


def _encode(encoder: AbstractPretrained, files: list[_File], cache: FeatureCache | None) -> None:
    """Give each file its vector, or the reason why there is none, and keep the vectors."""
    if not files:
        return
    try:
        vectors = np.asarray(encoder.encode([f.item for f in files]), dtype=np.float32)
    except DataError as error:
        if len(files) > 1:  # the others can do nothing for it
            for f in files:
                _encode(encoder, [f], cache)
        else:
            files[0].reason, files[0].item = f"'{files[0].path}' cannot be encoded: {error}", None
        return
    if vectors.shape != (len(files), encoder.dim):
        raise ConfigError(
            f"The encoder '{encoder.source}' gave vectors of shape {vectors.shape} for "
            f"{counted(len(files), 'file')}, not ({len(files)}, {encoder.dim})."
        )
    for f, vector in zip(files, vectors, strict=True):
        f.item = None
        if np.isfinite(vector).all():
            f.vector = vector
        else:
            f.reason = (
                f"'{f.path}' became a vector with values that are not finite numbers, so "
                "it "
                "can be compared with nothing. Remove the file."
            )
    if cache is not None:
        cache.put(
            {f.content: f.vector for f in files if f.content is not None and f.vector is not None}
        )


def _content(path: Path) -> bytes | None:
    """The SHA-256 of a file; None where it cannot be read, which `AbstractPretrained.read` has
    better words for.
    """
    try:
        # Opening a pipe would wait for ever.
        if not S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, ValueError):
        return None


def _stamp(path: Path) -> tuple[int, ...]:
    """The size of a file, and what else changes when it is written to; empty where it cannot be
    seen.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ino
