"""Files of any number as vectors in a folder: ``vectors.npy`` with one row each, ``paths.txt`` with
one line each, and ``encoder.json``, which says what they are.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.lock import LOCK, locked
from quickstudy.pretrained.encoder import AbstractPretrained
from quickstudy.pretrained.files import cache_for, stream_files
from quickstudy.version import __version__

FORMAT = 1
VECTORS = "vectors.npy"
PATHS = "paths.txt"
ABOUT = "encoder.json"


@dataclass(frozen=True)
class WrittenVectors:
    """How the encoding of files went.

    Args:
        n: files that were encoded.
        skipped: files that cannot be read, and why.
        notes: of the cache.
        finished: False where it was stopped; then no vectors are in the folder.
    """

    n: int
    skipped: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    finished: bool


def check_vectors_folder(out: Path) -> None:
    """Refuse a folder that holds something other than vectors of `write_vectors`.

    Raises:
        ConfigError: where it does.
    """
    if not out.exists() or (out / ABOUT).exists():
        return
    if not out.is_dir() or {path.name for path in out.iterdir()} - _unfinished():
        raise ConfigError(
            f"{out} exists and holds no vectors of `encode`; it is left alone. Choose another name "
            "for -o."
        )


def write_vectors(
    encoder: AbstractPretrained,
    paths: Sequence[Path],
    out: Path,
    *,
    on_bad: str = "refuse",
    cache: bool = True,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenVectors:
    """Encode files and write their vectors into a folder; earlier ones in it are replaced when the
    new ones are whole.

    What was encoded is in the cache at once: after a stop or a crash the same call goes on there.

    Args:
        encoder: an open encoder.
        paths: the files.
        out: the folder, made if needed.
        on_bad: "refuse" files that cannot be read, or "skip" and name them.
        cache: keep the vectors in the user's cache folder too.
        batch_size: files that are encoded at once.
        progress: called with the number of files done and of all.

    Raises:
        ConfigError: when the folder holds something else.
        DataError: for a file that cannot be read, a name with a line break, or a full disk.
    """
    check_vectors_folder(out)
    broken = [repr(str(path)) for path in paths if len(str(path).splitlines()) != 1]
    if broken:
        raise DataError(
            f"{len(broken)} file names hold a line break, and {PATHS} has a line per file: "
            f"{', '.join(broken[:5])}. Rename them."
        )
    skipped: list[tuple[Path, str]] = []
    rows = _Rows(out, dim=encoder.dim)
    finished = True
    notes: tuple[str, ...] = ()
    try:
        with cache_for(encoder, cache) as kept:
            for batch, vectors in stream_files(
                encoder,
                paths,
                cache=kept,
                batch_size=batch_size,
                on_bad=on_bad,
                on_skip=lambda path, reason: skipped.append((path, reason)),
                progress=progress,
            ):
                rows.add(batch, vectors)
        notes = () if kept is None else tuple(kept.notes)
        rows.finish(
            {
                "format": FORMAT,
                "source": encoder.source,
                "key": encoder.key,
                "kind": encoder.kind,
                "dim": encoder.dim,
                "n": rows.n,
                "quickstudy": __version__,
                "notes": list(encoder.notes),
                "skipped": [{"path": str(path), "reason": reason} for path, reason in skipped],
            }
        )
    except KeyboardInterrupt:
        finished = False
    finally:
        rows.close()
    return WrittenVectors(rows.n, tuple(skipped), notes, finished)


class _Rows:
    """Vectors and paths as they come, under other names until they are whole; ``encoder.json``
    comes last and says so.
    """

    def __init__(self, out: Path, *, dim: int) -> None:
        self.out = out
        self.dim = dim
        self.n = 0
        self._stack = ExitStack()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(locked(out, patience=0.0))
            self._vectors = (out / f"{VECTORS}.part").open("wb")
            # Names that are no valid Unicode are kept as they are.
            self._paths = (out / f"{PATHS}.part").open(
                "w", encoding="utf-8", errors="surrogateescape", newline="\n"
            )
            self._header()
        except OSError as error:
            raise self._failed(error) from error

    def add(self, paths: list[Path], x: NDArray[np.float32]) -> None:
        try:
            self._vectors.write(np.ascontiguousarray(x, dtype="<f4").data)
            self._paths.writelines(f"{path}\n" for path in paths)
        except OSError as error:
            raise self._failed(error) from error
        self.n += len(paths)

    def finish(self, about: dict[str, Any]) -> None:
        try:
            self._vectors.seek(0)
            self._header()
            for stream in (self._vectors, self._paths):
                stream.flush()
                os.fsync(stream.fileno())
            text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
            (self.out / f"{ABOUT}.part").write_text(
                text, encoding="utf-8", errors="surrogateescape"
            )
            # A kill between the renames leaves vectors without paths, never with those of others.
            for name in (ABOUT, PATHS):
                (self.out / name).unlink(missing_ok=True)
            self._vectors.close()
            self._paths.close()
            for name in (VECTORS, PATHS, ABOUT):
                os.replace(self.out / f"{name}.part", self.out / name)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Leave nothing half done."""
        for stream in (self._vectors, self._paths):
            with suppress(OSError):
                stream.close()
        for name in _unfinished() - {LOCK}:
            (self.out / name).unlink(missing_ok=True)
        if [path.name for path in self.out.iterdir()] == [LOCK]:
            (self.out / LOCK).unlink()
            self.out.rmdir()
        self._stack.close()

    def _header(self) -> None:
        # numpy leaves room in it for the number of rows to grow, so it has the same length at the
        # end.
        write_array_header_1_0(
            self._vectors, {"descr": "<f4", "fortran_order": False, "shape": (self.n, self.dim)}
        )

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"The vectors cannot be written to {self.out}: {error.strerror or error}. Make room, "
            "or choose another -o."
        )


def _unfinished() -> set[str]:
    return {f"{name}.part" for name in (VECTORS, PATHS, ABOUT)} | {LOCK}
