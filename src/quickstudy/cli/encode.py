"""The command ``encode``: any number of images or recordings to vectors on disk."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.choices import FileKind, OnBad
from quickstudy.cli.screen import Bar, results
from quickstudy.core.words import counted
from quickstudy.data import find_files
from quickstudy.pretrained import open_encoder
from quickstudy.pretrained.vector_files import (
    ABOUT,
    PATHS,
    VECTORS,
    check_vectors_folder,
    write_vectors,
)

FoldersArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of images, with all that is below them, or files.", show_default=False
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the vectors; earlier ones in it are replaced.",
        show_default=False,
    ),
]
EncoderOption = Annotated[
    str,
    typer.Option(
        help="auto, symbols, the folder of a trained run, a model of the hub, a model file."
    ),
]
KindOption = Annotated[FileKind, typer.Option(help="What the files are.")]
InvertOption = Annotated[
    bool | None,
    typer.Option(
        help="Of our own runs: turn dark ink on light paper to light on dark; default as the "
        "run was trained."
    ),
]
CacheOption = Annotated[
    bool,
    typer.Option(
        help="Keep the vectors in the user's cache folder, so that no file is encoded twice."
    ),
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Files that are encoded at once.")]
DeviceOption = Annotated[
    str, typer.Option(help="Where the encoder runs, as torch calls it, e.g. cpu or cuda:1.")
]

_ONE = {"images": "image", "audio": "recording", "text": "text"}


def encode(
    folders: FoldersArgument,
    out: OutOption,
    encoder: EncoderOption = "auto",
    kind: KindOption = "images",
    invert: InvertOption = None,
    on_bad: OnBad = "refuse",
    cache: CacheOption = True,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
) -> None:
    """Encode images or recordings, however many: one row of numbers each in vectors.npy, one line
    each in paths.txt, and the encoder in encoder.json.

    What was encoded is in the cache at once: after a stop or a crash the same command goes on where
        it was.
    """
    check_vectors_folder(out)
    paths = find_files(folders, kind=kind)
    pretrained = open_encoder(encoder, kind=kind, invert=invert, device=device)
    console = results()
    for note in pretrained.notes:
        console.print(f"Note: {note}")
    with Bar("encoding", len(paths)) as bar:
        written = write_vectors(
            pretrained,
            paths,
            out,
            on_bad=on_bad,
            cache=cache,
            batch_size=batch_size,
            progress=bar.update,
        )
    if not written.finished:
        vectors = (
            "they are kept in the cache. Go on"
            if cache
            else "they are lost, as there is no cache. Begin anew"
        )
        console.print(
            f"Stopped after {written.n} of {len(paths)} {kind}; {vectors} with: "
            f"{shlex.join(['quickstudy', *sys.argv[1:]])}"
        )
        raise typer.Exit(130)
    for path, reason in written.skipped[:10]:
        console.print(f"skipped {path}: {reason}")
    if len(written.skipped) > 10:
        console.print(f"and {len(written.skipped) - 10} more, all in {out / ABOUT}")
    for note in written.notes:
        console.print(f"Note: {note}")
    console.print(
        f"Encoded {counted(written.n, _ONE[kind])} with {pretrained.source}, "
        f"{counted(pretrained.dim, 'number')} each: "
        f"{out / VECTORS}, {out / PATHS}."
    )
