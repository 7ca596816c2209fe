"""``gallery create``, ``enrol`` and ``enrol-folder``."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.choices import FileKind, OnBad, OnPoor
from quickstudy.cli.gallery.options import (
    Cache,
    Encoder,
    Files,
    Force,
    Invert,
    Name,
    Operator,
    Place,
    gallery_class,
    look,
    opened,
)
from quickstudy.cli.screen import Bar, results
from quickstudy.core.words import counted

if TYPE_CHECKING:
    from quickstudy.gallery import Enrolment, Gallery

_LISTED = 10


def create(
    place: Place,
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, a name (symbols), the folder of a trained run, a model of the hub "
            "(owner/name), FILE.onnx, timm:NAME, module:function."
        ),
    ] = "auto",
    kind: Annotated[FileKind, typer.Option(help="What is enrolled.")] = "images",
    like: Annotated[
        list[Path] | None,
        typer.Option(
            help="A photo, or a folder of them, like those to come: where they show people, "
            "--encoder auto takes faces."
        ),
    ] = None,
    invert: Invert = None,
    operator: Operator = "",
) -> None:
    """Make an empty gallery for the vectors of an encoder."""
    _create(place, encoder, kind=kind, invert=invert, photographs=like or (), operator=operator)


def _create(
    place: str,
    encoder: str,
    *,
    kind: FileKind = "images",
    invert: bool | None = None,
    photographs: Sequence[Path] = (),
    operator: str = "",
) -> None:
    """Make a gallery, and say which encoder it is for."""
    from quickstudy.pretrained import entry_of

    gallery = gallery_class().create_for(
        place, encoder, kind=kind, invert=invert, photographs=photographs, operator=operator
    )
    with gallery:
        pretrained = gallery.pretrained()
        for note in pretrained.notes:
            results().print(f"Note: {note}")
        results().print(
            f"Made {gallery.place} for the encoder {pretrained.source} ({pretrained.key})."
        )
        is_open = encoder == "auto" and pretrained.source != "faces"
        if is_open and kind == "images" and invert is None:
            faces = entry_of("faces")
            is_there = faces is not None and faces.is_installed
            more = "" if is_there else ", an extra: pip install 'quickstudy\\[faces]'"
            results().print(
                f"For photographs of people make it with --encoder faces{more}; with --like "
                "PHOTOS it looks whether they show people."
            )
        if pretrained.measured is not None:
            results().print(f"Its first thresholds were measured on {pretrained.measured.data}.")


def enrol(
    place: Place,
    name: Name,
    files: Files,
    encoder: Encoder = "",
    force: Force = False,
    consent: Annotated[str | None, typer.Option(help="What was agreed to, and when.")] = None,
    retain_until: Annotated[
        datetime | None,
        typer.Option(help="When `expire` removes the identity, in local time."),
    ] = None,
    on_bad: OnBad = "refuse",
    on_poor: OnPoor = "warn",
    invert: Invert = None,
    cache: Cache = False,
    operator: Operator = "",
) -> None:
    """Add photos of one identity, new or known. You are asked about any that looks like another."""
    with opened(place, operator=operator, encoder=encoder, invert=invert) as gallery:
        result = _asked(
            gallery,
            name,
            files,
            force=force,
            consent=consent,
            retain_until=retain_until,
            on_bad=on_bad,
            on_poor=on_poor,
            cache=cache,
        )
        _tell(result)
        _tell_promise(gallery)


def enrol_folder(
    place: Place,
    folder: Annotated[
        Path,
        typer.Argument(
            help="One sub-folder of photos (or recordings) per identity.", show_default=False
        ),
    ],
    encoder: Encoder = "",
    force: Force = False,
    on_bad: OnBad = "refuse",
    on_poor: OnPoor = "warn",
    invert: Invert = None,
    cache: Cache = False,
    operator: Operator = "",
) -> None:
    """Add everybody of a folder with one sub-folder per identity. It goes through to its end; who
    was refused is listed with the reason, and the status is then 1. Running it again changes
    nothing. A gallery file that is not there is made; photographs of people then get the encoder
    of faces, where it is installed.
    """
    if folder.is_dir() and _is_new_file(place):
        _create(place, encoder or "auto", invert=invert, photographs=[folder], operator=operator)
    with opened(place, operator=operator, encoder=encoder, invert=invert) as gallery:
        with Bar("encoding", 0) as bar:
            result = gallery.enrol_folder(
                folder,
                force=force,
                on_bad=on_bad,
                on_poor=on_poor,
                cache=cache,
                progress=bar.update,
            )
        out = results()
        for note in result.notes:
            out.print(f"Note: {note}")
        for one in result.enrolled:
            for path, reason in one.skipped:
                out.print(f"skipped {path}: {reason}")
            look(one.warnings)
        for name, reason in result.refused:
            out.print(f"Refused {name}: {reason}")
        known = len(result.enrolled) - len(result.changed)
        out.print(
            f"Enrolled {counted(len(result.changed), 'identity', 'identities')} with "
            f"{counted(result.new_templates, 'template')}; "
            f"{counted(known, 'was', 'were')} there already, "
            f"{counted(len(result.refused), 'was', 'were')} refused."
        )
        _tell_promise(gallery)
        if result.refused:
            raise typer.Exit(1)


def _is_new_file(place: str) -> bool:
    """Whether a gallery would be a file, and there is none."""
    gallery_class()  # without its packages nothing is made
    from quickstudy.gallery.location import Location

    path = Location.of(place).path
    return path is not None and not path.exists()


def _asked(
    gallery: "Gallery", name: str, files: list[Path], *, force: bool, **options: Any
) -> "Enrolment":
    """Enrol, after a question where a photo looks like somebody else and a person can answer."""
    from quickstudy.gallery import DuplicateError

    with Bar("encoding", 0) as bar:
        options["progress"] = bar.update
        try:
            return gallery.enrol_files(name, files, force=force, **options)
        except DuplicateError as error:
            if not sys.stdin.isatty():
                raise
            question = str(error)
    typer.confirm(f"{question}\nEnrol it as {name} anyway?", abort=True)
    return gallery.enrol_files(name, files, force=True, **options)


def _tell(result: "Enrolment") -> None:
    from quickstudy.gallery.moments import shown

    out = results()
    for path, reason in result.skipped:
        out.print(f"skipped {path}: {reason}")
    look(result.warnings)
    if result.templates:
        some = ", ".join(map(str, result.templates[:_LISTED]))
        more = " …" if len(result.templates) > _LISTED else ""
        out.print(
            f"Enrolled {result.identity} with {counted(len(result.templates), 'template')}: "
            f"{some}{more}."
        )
    if result.known:
        some = counted(result.known, "of the files was", "of the files were")
        out.print(f"{some} enrolled for {result.identity} already.")
    if result.retain_until is not None:
        out.print(f"{result.identity} is kept until {shown(result.retain_until)}.")


def _tell_promise(gallery: "Gallery") -> None:
    results().print(gallery.info()["promise"])
