"""How everything is saved: whole or not at all, checked when it is read, one writer at a time.

**A folder** (predictor, run, fitted model, patch memory, gallery export ...)::

    save_folder(
        folder,
        kind="predictor",  # one of KINDS
        about={"labels": ["oak", "elm"]},  # any JSON value
        files={"state.safetensors": content},  # bytes, or a function that writes into a stream
    )
    saved = load_folder(folder, kind="predictor")
    saved.about, saved.files["state.safetensors"]  # the bytes, checked

The folder then holds ``quickstudy.json`` (kind, description, size and checksum of every file) and
the files under names that carry their checksum (``state.qs-1f0e….safetensors``).
New files are written beside the old ones; one rename, that of ``quickstudy.json``, makes all of
them the saved ones.
A writer that was killed leaves the old state; the next writer removes its leftovers.
Other files in the folder are left alone.

**One file with a checksum** (a checkpoint, a cache)::

    save_record(file, kind="checkpoint", content=lambda stream: torch.save(state, stream))
    content = load_record(file, kind="checkpoint")

A change of what is saved happens under the lock of `quickstudy.core.lock`; a file for others to
read is written by `quickstudy.core.disk`.

``what_is(path)`` says what a folder or a record is, ``holds(path, kind)`` whether it is this.
Neither imports torch. ``load_folder(folder, files=())`` reads the description alone.

All of them raise `ConfigError` when something cannot be written and `LoadError` when something
cannot be read, is damaged, or is something else. New files get the mode that the umask gives; what
is written anew keeps its mode. Nothing is pickled.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from quickstudy.core.disk import (
    PART,
    Content,
    as_path,
    confirm,
    make_folders,
    mode_of,
    reason,
    remove,
    reported,
    sync_folder,
    write_file,
    write_part,
)
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.lock import LOCK, locked
from quickstudy.version import __version__

MANIFEST: Final = "quickstudy.json"
FORMAT: Final = 1
KINDS: Final = {
    "predictor": "a predictor",
    "learner": "a learner",
    "run": "a training run",
    "model": "a fitted model",
    "patch memory": "a patch memory",
    "gallery export": "a gallery export",
    "encoded": "encoded vectors",
    "checkpoint": "a checkpoint",
    "cache": "a cache",
}
"""What can be saved, and how messages call it."""

_LARGEST_MANIFEST = 1 << 28
_PRIVATE = 0o600
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")
_STORED = re.compile(r".+\.qs-[0-9a-f]{16}(\.[A-Za-z0-9]+)?")
_RECORD = re.compile(
    rb"quickstudy record ([0-9]{3}) ([a-z ]{20}) ([0-9a-f]{64}) ([0-9]{16})\n", re.ASCII
)
_RECORD_HEADER = "quickstudy record {:03d} {:<20} {} {:016d}\n"
_RECORD_START = b"quickstudy record "
_HEADER_SIZE = len(_RECORD_HEADER.format(0, "", "0" * 64, 0))
_OLDER = ("predictor.json", "learner.json", "classifier.json", "patch_memory.json", "gallery.json")


@dataclass(frozen=True)
class Saved:
    """What a folder holds.

    Args:
        kind: one of ``KINDS``.
        about: the JSON value that was given to `save_folder`.
        files: the content of each file, by the name that was given to `save_folder`.
        version: of quickstudy that wrote it.
    """

    kind: str
    about: Any
    files: Mapping[str, bytes]
    version: str


# --- folders


def save_folder(
    folder: str | Path,
    *,
    kind: str,
    about: Any,
    files: Mapping[str, Content] | None = None,
    patience: float = 60.0,
    private: bool = False,
) -> Path:
    """Save a description and files in a folder, which is made if needed; all of it or nothing.

    Args:
        folder: where. What it held of the same kind is replaced.
        kind: one of ``KINDS``.
        about: a JSON value.
        files: content by plain file name, such as ``state.safetensors``; several may share no name.
        patience: how many seconds to wait for another writer.
        private: only the owner can read the files, whatever the umask.

    Returns:
        the folder.

    Raises:
        ConfigError: when ``about`` is no JSON, the folder holds another kind of thing, or it cannot
            be written. What was there before is then as it was.
    """
    target = as_path(folder, "folder")
    contents = dict(files or {})
    for name in contents:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"A saved file needs a plain name such as 'a.bin', got {name!r}.")
    manifest = {
        "quickstudy": __version__,
        "format": FORMAT,
        "kind": _known(kind),
        "about": about,
        "files": {},
    }
    _canonical(manifest)  # what is no JSON is refused before anything is written
    with _created(target), locked(target, patience=patience), reported(target):
        mode = _PRIVATE if private else mode_of(target / MANIFEST)
        previous = _previous_kind(target)
        if previous not in ("", kind):
            raise ConfigError(
                f"{target} holds {KINDS.get(previous, previous)}, which {KINDS[kind]} would "
                "replace. Choose another folder, or remove what is there first; nothing was "
                "changed."
            )
        _sweep(target, keep=_stored_names(target))
        written: list[Path] = []
        try:
            for name, content in contents.items():
                part = target / f"{name}{PART}"
                written.append(part)
                size, digest = write_part(part, content, mode)
                stored = target / _stored_name(name, digest)
                os.replace(part, stored)
                written[-1] = stored
                manifest["files"][name] = {"bytes": size, "sha256": digest}
            part = target / f"{MANIFEST}{PART}"
            written.append(part)
            write_part(part, _manifest_bytes(manifest), mode)
            sync_folder(target)
            os.replace(part, target / MANIFEST)
        except BaseException:
            remove(set(written) - {target / name for name in _stored_names(target)})
            raise
        confirm(target)
        _sweep(target, keep=_stored_names(target))
    return target


def load_folder(
    folder: str | Path,
    *,
    kind: str | tuple[str, ...] = (),
    files: tuple[str, ...] | None = None,
) -> Saved:
    """What `save_folder` saved, with every byte checked.

    Args:
        folder: where.
        kind: what is expected, one or several of ``KINDS``; empty = anything.
        files: the names of the files to read; None = all, ``()`` = the description alone.

    Raises:
        LoadError: when there is nothing, something else, or something damaged.
    """
    target = as_path(folder, "folder")
    expected = (kind,) if isinstance(kind, str) else kind
    for attempt in range(20):
        manifest = _read_manifest(target)
        if expected and manifest["kind"] not in expected:
            wanted = " or ".join(KINDS.get(k, k) for k in expected)
            raise LoadError(
                f"{target} holds {KINDS.get(manifest['kind'], manifest['kind'])}, but {wanted} was "
                "expected. quickstudy.load opens whatever a folder holds."
            )
        entries = manifest["files"]
        names = tuple(entries) if files is None else files
        missing = [name for name in names if name not in entries]
        if missing:
            raise LoadError(f"{target} lacks {', '.join(missing)}; it holds {', '.join(entries)}.")
        try:
            contents = {name: _read_stored(target, name, entries[name]) for name in names}
        except LoadError:
            # A writer may have replaced everything since the manifest was read.
            if attempt == 19 or _read_manifest(target) == manifest:
                raise
            continue
        return Saved(manifest["kind"], manifest["about"], contents, manifest["quickstudy"])
    raise AssertionError("unreachable")


def what_is(path: str | Path) -> str:
    """Which of ``KINDS`` a folder or a file of quickstudy is; its files are not read.

    Raises:
        LoadError: when quickstudy did not write it, or it is damaged.
    """
    target = as_path(path, "path")
    if target.is_file():
        try:
            with target.open("rb") as stream:
                return _record_header(target, stream)[0]
        except OSError as error:
            raise LoadError(f"{target} cannot be read: {reason(error)}.") from error
    return _read_manifest(target)["kind"]


def holds(path: str | Path, kind: str) -> bool:
    """Whether quickstudy saved this kind of thing there.

    Raises:
        LoadError: when it saved something that is damaged.
    """
    target = as_path(path, "path")
    if target.is_file():
        with contextlib.suppress(OSError), target.open("rb") as stream:
            if not stream.read(len(_RECORD_START)).startswith(_RECORD_START):
                return False
    elif not (target / MANIFEST).exists():
        return False
    return what_is(target) == kind


# --- single files


def save_record(file: str | Path, *, kind: str, content: Content) -> Path:
    """Write one file behind a line that says its kind, size and checksum; `load_record` reads it.

    Args:
        file: where. A link is followed.
        kind: one of ``KINDS``.
        content: bytes, or a function that writes into the stream it is given.

    Raises:
        ConfigError: when it cannot be written. An older file is then as it was.
    """
    name = _known(kind)
    return write_file(
        file,
        content,
        header=lambda size, digest: _RECORD_HEADER.format(FORMAT, name, digest, size).encode(),
    )


def load_record(file: str | Path, *, kind: str) -> bytes:
    """The content that `save_record` wrote, with every byte checked.

    Raises:
        LoadError: when it is missing, damaged or of another kind.
    """
    target = as_path(file, "file")
    try:
        with target.open("rb") as stream:
            found, digest, size = _record_header(target, stream)
            if found != kind:
                raise LoadError(
                    f"{target} is {KINDS.get(found, found)}, but {KINDS.get(kind, kind)} was "
                    "expected."
                )
            return _read_checked(target, stream, size, digest)
    except OSError as error:
        raise LoadError(f"{target} cannot be read: {reason(error)}.") from error


# --- parts


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ConfigError(f"Nothing is saved as {kind!r}. Known: {', '.join(KINDS)}.")
    return kind


def _canonical(value: Any) -> bytes:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        again = json.loads(text)
        if json.dumps(again, sort_keys=True, separators=(",", ":")) != text:
            raise ValueError("two of its keys are written alike")
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"What is saved beside the tensors must be plain JSON values: {error}."
        ) from error
    return text.encode()


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(_canonical(manifest)).hexdigest()
    text = json.dumps({**manifest, "sha256": digest}, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="surrogatepass")


def _stored_name(name: str, digest: str) -> str:
    stem, dot, end = name.rpartition(".")
    return f"{stem}.qs-{digest[:16]}.{end}" if dot and stem else f"{name}.qs-{digest[:16]}"


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        if file.stat().st_size > _LARGEST_MANIFEST:
            raise ValueError(f"it has more than {_LARGEST_MANIFEST} bytes")
        manifest = json.loads(file.read_bytes().decode(errors="surrogatepass"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LoadError(_nothing_in(folder)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError(f"{file} cannot be read: {reason(error)}.") from error
    if not isinstance(manifest, dict):
        raise LoadError(f"{file} is damaged: it must hold a JSON object.")
    if manifest.get("format") != FORMAT and isinstance(manifest.get("format"), int):
        raise LoadError(
            f"{file} was written by quickstudy {manifest.get('quickstudy')} in format "
            f"{manifest['format']}, and this version reads format {FORMAT}. Install the version "
            "that wrote it."
        )
    digest = manifest.pop("sha256", None)
    try:
        right = hashlib.sha256(_canonical(manifest)).hexdigest()
    except ConfigError as error:
        raise LoadError(f"{file} is damaged: {error}") from error
    if digest != right:
        raise LoadError(f"{file} is damaged or was changed: its checksum is wrong.")
    # Whoever can make the checksum right can still write nonsense.
    entries = manifest.get("files")
    if (
        manifest.keys() != {"quickstudy", "format", "kind", "about", "files"}
        or not isinstance(manifest["kind"], str)
        or not isinstance(entries, dict)
        or not all(_is_entry(name, entry) for name, entry in entries.items())
    ):
        raise LoadError(f"{file} is damaged: it does not say which files belong to it.")
    return manifest


def _is_entry(name: str, entry: Any) -> bool:
    return (
        _NAME.fullmatch(name) is not None
        and isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
        and re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) is not None
    )


def _nothing_in(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist."
    if not folder.is_dir():
        return f"{folder} is a file; the folder that quickstudy wrote is expected."
    for name in _OLDER:
        if (folder / name).exists():
            return (
                f"{folder} was saved by an older version of quickstudy ({name}), which this one "
                "does not read. Make it again with this version."
            )
    return f"{folder} holds nothing that quickstudy saved: it has no {MANIFEST}."


def _read_stored(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    file = folder / _stored_name(name, entry["sha256"])
    try:
        with file.open("rb") as stream:
            return _read_checked(file, stream, entry["bytes"], entry["sha256"])
    except OSError as error:
        raise LoadError(f"{file} cannot be read: {reason(error)}.") from error


def _read_checked(file: Path, stream: BinaryIO, size: int, digest: str) -> bytes:
    """The rest of an open file, which must be as it was written."""
    rest = os.fstat(stream.fileno()).st_size - stream.tell()
    if rest != size:
        raise LoadError(f"{file} is damaged: it has {rest} bytes where {size} were written.")
    content = stream.read(size)
    if hashlib.sha256(content).hexdigest() != digest:
        raise LoadError(f"{file} is damaged or was changed: its checksum is wrong.")
    return content


def _record_header(file: Path, stream: BinaryIO) -> tuple[str, str, int]:
    """Kind, checksum and size of a record."""
    header = stream.read(_HEADER_SIZE)
    match = _RECORD.fullmatch(header)
    if match is None:
        if header.startswith(_RECORD_START):
            raise LoadError(f"{file} is damaged: its first line is not as it was written.")
        raise LoadError(f"{file} was not written by quickstudy, or by an older version.")
    number, kind, digest, size = (group.decode() for group in match.groups())
    if int(number) != FORMAT:
        raise LoadError(
            f"{file} is of format {int(number)}, and this version of quickstudy reads format "
            f"{FORMAT}. Install the version that wrote it."
        )
    return kind.rstrip(), digest, int(size)


def _previous_kind(folder: Path) -> str:
    """The kind of thing in the folder; empty if there is none, or none that can be read."""
    try:
        return _read_manifest(folder)["kind"]
    except LoadError:
        return ""


def _stored_names(folder: Path) -> set[str]:
    try:
        entries = _read_manifest(folder)["files"]
    except LoadError:
        return set()
    return {_stored_name(name, entry["sha256"]) for name, entry in entries.items()}


def _sweep(folder: Path, *, keep: set[str]) -> None:
    """Remove what writers before left behind. Only names of this module's own form are touched."""
    with contextlib.suppress(OSError):
        remove(
            {
                Path(entry.path)
                for entry in os.scandir(folder)
                if (entry.name.endswith(PART) or _STORED.fullmatch(entry.name))
                and entry.name not in keep
                and entry.is_file(follow_symlinks=False)
            }
        )


@contextlib.contextmanager
def _created(folder: Path) -> Iterator[None]:
    """The folder is there; where nothing was saved in it, it is taken away again."""
    with reported(folder):
        made = make_folders(folder)
    try:
        yield
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                # With anything else in it, the folder and its lock stay.
                if os.listdir(folder) in ([LOCK], []):
                    remove({folder / LOCK})
                    for new in made:
                        os.rmdir(new)
        raise
