"""The command ``encode``: any number of pictures or recordings to vectors on disk."""

import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.lib.format import write_array_header_1_0

from quickstudy.cli.screen import Bar, results
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.data import find_files
from quickstudy.pretrained import open_encoder, stream_files
from quickstudy.pretrained.files import cache_for
from quickstudy.version import __version__

FORMAT = 1
_VECTORS, _PATHS, _ABOUT = "vectors.npy", "paths.txt", "encoder.json"


def encode(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of pictures, with all that is below them, or files.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the vectors; earlier ones in it are replaced.",
            show_default=False,
        ),
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, symbols, the folder of a trained run, a model of the hub, a model file."
        ),
    ] = "auto",
    kind: Annotated[
        str, typer.Option(help="What the files are: pictures or recordings.")
    ] = "images",
    invert: Annotated[
        bool | None,
        typer.Option(
            help="Of our own runs: turn dark ink on light paper to light on dark; default as the "
            "run was trained."
        ),
    ] = None,
    on_bad: Annotated[
        str, typer.Option(help="Files that cannot be read: refuse them all, or skip and name them.")
    ] = "refuse",
    cache: Annotated[
        bool,
        typer.Option(
            help="Keep the vectors in the user's cache folder, so that no file is encoded twice."
        ),
    ] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Files that are encoded at once.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Encode pictures or recordings, however many: one row of numbers each in vectors.npy, one line
    each in paths.txt, and the encoder in encoder.json.

    What was encoded is in the cache at once: after a stop or a crash the same command goes on where
        it was.
    """
    if (
        out.exists()
        and not (out / _ABOUT).exists()
        and (not out.is_dir() or {p.name for p in out.iterdir()} - _unfinished())
    ):
        raise ConfigError(
            f"{out} exists and holds no vectors of `encode`; it is left alone. Choose another name "
            "for -o."
        )
    paths = find_files(folders, kind=kind)
    broken = [repr(str(path)) for path in paths if len(str(path).splitlines()) != 1]
    if broken:
        raise DataError(
            f"{len(broken)} file names hold a line break, and {_PATHS} has a line per file: "
            f"{', '.join(broken[:5])}. Rename them."
        )
    pretrained = open_encoder(encoder, kind=kind, invert=invert, device=device)
    told = results()
    skipped = list[tuple[Path, str]]()
    for note in pretrained.notes:
        told.print(f"Note: {note}")
    rows = _Rows(out, dim=pretrained.dim)
    try:
        with cache_for(pretrained, cache) as kept, Bar("encoding", len(paths)) as bar:
            for some, x in stream_files(
                pretrained,
                paths,
                cache=kept,
                batch_size=batch_size,
                on_bad=on_bad,
                on_skip=lambda *bad: skipped.append(bad),
                progress=bar.update,
            ):
                rows.add(some, x)
        about = {
            "format": FORMAT,
            "source": pretrained.source,
            "key": pretrained.key,
            "kind": pretrained.kind,
            "dim": pretrained.dim,
            "n": rows.n,
        }
        bad = [{"path": str(path), "reason": why} for path, why in skipped]
        rows.finish(
            {**about, "quickstudy": __version__, "notes": list(pretrained.notes), "skipped": bad}
        )
    except KeyboardInterrupt:
        kept_them = (
            "they are kept in the cache. Go on"
            if cache
            else "they are lost, as there is no cache. Begin anew"
        )
        told.print(
            f"Stopped after {rows.n} of {len(paths)} {kind}; {kept_them} with: "
            f"{shlex.join(['quickstudy', *sys.argv[1:]])}"
        )
        raise typer.Exit(130) from None
    finally:
        rows.close()
    for path, why in skipped[:10]:
        told.print(f"skipped {path}: {why}")
    if len(skipped) > 10:
        told.print(f"and {len(skipped) - 10} more, all in {out / _ABOUT}")
    for note in kept.notes if kept is not None else ():
        told.print(f"Note: {note}")
    told.print(
        f"Encoded {rows.n} {kind} with {pretrained.source}, {pretrained.dim} numbers each: "
        f"{out / _VECTORS}, {out / _PATHS}."
    )


class _Rows:
    """Vectors and paths as they come, under other names until they are whole; ``encoder.json``
    comes last and says so.
    """

    def __init__(self, out: Path, *, dim: int) -> None:
        self.out, self.dim, self.n = out, dim, 0
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._vectors = (out / f"{_VECTORS}.part").open("wb")
            # Names that are no valid Unicode are kept as they are.
            self._paths = (out / f"{_PATHS}.part").open(
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
            (self.out / f"{_ABOUT}.part").write_text(
                text, encoding="utf-8", errors="surrogateescape"
            )
            (self.out / _ABOUT).unlink(missing_ok=True)
            self._vectors.close()
            self._paths.close()
            for name in (_VECTORS, _PATHS, _ABOUT):
                os.replace(self.out / f"{name}.part", self.out / name)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Leave nothing half done."""
        for stream in (self._vectors, self._paths):
            with suppress(OSError):
                stream.close()
        for name in _unfinished():
            (self.out / name).unlink(missing_ok=True)
        if not any(self.out.iterdir()):
            self.out.rmdir()

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
    return {f"{name}.part" for name in (_VECTORS, _PATHS, _ABOUT)}
