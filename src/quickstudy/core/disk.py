"""What is written to the disk: whole or not at all, in words where it fails.

`quickstudy.core.saving` builds on it; a file that others read is written by `write_file`, and a log
grows by `append_file`.
"""

import contextlib
import errno
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from quickstudy.core.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows: files are still written whole, but leftovers stay.
    fcntl = None  # type: ignore[assignment]

Content: TypeAlias = bytes | bytearray | memoryview | Callable[[BinaryIO], object]

PART: Final = ".qs-part"
"""The end of the name of a file that is being written."""

_BUFFER = 1 << 20
# What file systems say that cannot flush a folder.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)
_O_BINARY = getattr(os, "O_BINARY", 0)
_O_DIRECTORY = getattr(os, "O_DIRECTORY", 0)


def as_path(value: Any, name: str, *, hint: str = "") -> Path:
    """The path that was given as an argument.

    Args:
        value: what was given.
        name: what the argument is called.
        hint: what else may be meant, for the end of the message.

    Raises:
        ConfigError: for what is neither a text nor a path.
    """
    try:
        return Path(value)
    except TypeError:
        more = f" {hint}" if hint else ""
        raise ConfigError(
            f"{name} must be a str or a pathlib.Path, got {type(value).__qualname__}.{more}"
        ) from None


def write_file(
    file: str | Path, content: Content, *, header: Callable[[int, str], bytes] | None = None
) -> Path:
    """Write one file, whole or not at all, in folders that are made if needed.

    Args:
        file: where. A link is followed.
        content: bytes, or a function that writes into the stream it is given.
        header: what stands before the content, of its size in bytes and its SHA-256; always of one
            length.

    Raises:
        ConfigError: when it cannot be written. An older file is then as it was.
    """
    target = Path(os.path.realpath(file))
    with reported(Path(file)):
        make_folders(target.parent)
        mode = mode_of(target)
        _sweep_single(target)
        part, descriptor = _unique_part(target, 0o666 if mode is None else mode)
        try:
            try:
                if mode is not None:
                    os.chmod(part, mode)
                if header is not None:
                    _fill(descriptor, header(0, "0" * 64))
                size, digest = _pour(descriptor, content)
                if header is not None:
                    os.lseek(descriptor, 0, os.SEEK_SET)
                    _fill(descriptor, header(size, digest))
                os.fsync(descriptor)
                os.replace(part, target)
            finally:
                os.close(descriptor)
        except BaseException:
            remove({part})
            raise
        confirm(target.parent)
    return Path(file)


def append_file(file: str | Path, content: bytes) -> Path:
    """Add to the end of a file, which is made if needed. What was there before stays as it was; a
    kill may leave the beginning of what is added.

    Raises:
        ConfigError: when it cannot be written.
    """
    with reported(Path(file)):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _O_BINARY, 0o666)
        try:
            _fill(descriptor, content)
        finally:
            os.close(descriptor)
    return Path(file)


def make_folder(folder: str | Path) -> Path:
    """Make a folder, and those above it, where they are not there.

    Raises:
        ConfigError: when that cannot be done.
    """
    with reported(Path(folder)):
        make_folders(Path(folder))
        if not Path(folder).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return Path(folder)


def write_part(file: Path, content: Content, mode: int | None) -> tuple[int, str]:
    """Write a file that is not yet named as others look for it, down to the disk."""
    descriptor = os.open(
        file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _O_BINARY, 0o666 if mode is None else mode
    )
    try:
        if mode is not None:
            os.chmod(file, mode)
        written = _pour(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return written


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; return what was made, the deepest first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    made: list[Path] = []
    try:
        for new in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(new)
                made.insert(0, new)
            sync_folder(new.parent)
    except BaseException:
        for new in made:
            with contextlib.suppress(OSError):
                os.rmdir(new)
        raise
    return made


def mode_of(file: Path) -> int | None:
    """The permissions of a file that is there."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Make names in a folder outlive a loss of power, where the system can."""
    if not _O_DIRECTORY:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | _O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def confirm(folder: Path) -> None:
    """After the rename that made the new state the saved one."""
    try:
        sync_folder(folder)
    except OSError as error:
        raise ConfigError(
            f"{folder} was written, but the disk did not confirm it: {reason(error)}. Check the "
            "disk, and save again."
        ) from error


def remove(files: set[Path]) -> None:
    """Take files away, where that can be done."""
    for file in files:
        with contextlib.suppress(OSError):
            os.unlink(file)


@contextlib.contextmanager
def reported(target: Path) -> Iterator[None]:
    """Errors of the disk become errors in words."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {reason(error)}. Make room, or choose another place; "
            "what was saved there before is as it was."
        ) from error


def reason(error: BaseException) -> str:
    """What the system says, for the middle of a sentence."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _pour(descriptor: int, content: Content) -> tuple[int, str]:
    """Write the content, and say its size and checksum."""
    raw = _Hashed(descriptor)
    stream = io.BufferedWriter(raw, _BUFFER)
    try:
        if callable(content):
            content(stream)  # type: ignore[arg-type]
        else:
            stream.write(content)
        stream.flush()
    except BaseException:
        # What is left in the buffer would be written when it is collected.
        with contextlib.suppress(BaseException):
            raw.close()
            stream.detach()
        if raw.error is not None:  # which torch.save, for one, does not pass on
            raise raw.error from None
        raise
    return raw.size, raw.digest.hexdigest()


class _Hashed(io.RawIOBase):
    """A file that is being written, with the checksum and the size of what went into it."""

    def __init__(self, descriptor: int) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            n = os.write(self._descriptor, data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(memoryview(data).cast("B")[:n])
        self.size += n
        return n


def _fill(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _unique_part(target: Path, mode: int) -> tuple[Path, int]:
    """A new file beside the target, locked as long as its writer lives."""
    while True:
        part = target.with_name(f".{target.name}.{os.getpid()}-{time.time_ns():x}{PART}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY, mode)
        if fcntl is None:
            return part, descriptor
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another writer may have taken it for a leftover before it was locked.
            if part.exists():
                return part, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _sweep_single(target: Path) -> None:
    """Remove the leftovers of writers of this file that are no more."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        for entry in os.scandir(target.parent):
            if entry.name.startswith(f".{target.name}.") and entry.name.endswith(PART):
                with contextlib.suppress(OSError):
                    descriptor = os.open(entry.path, os.O_WRONLY)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(entry.path)
                    finally:
                        os.close(descriptor)
