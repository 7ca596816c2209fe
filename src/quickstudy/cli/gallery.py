"""The commands ``gallery …``: enrol people or things by their pictures or voices, recognise them,
refuse strangers.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from quickstudy.cli.screen import Bar, results, table
from quickstudy.core.errors import ConfigError, DataError, GalleryError
from quickstudy.data import find_classes, find_files, read_picture
from quickstudy.gallery.rates import Probes, pictures, rates, rows
from quickstudy.pretrained import (
    AbstractPretrained,
    EncodedFiles,
    RunEncoder,
    SymbolEncoder,
    encode_files,
    open_encoder,
)
from quickstudy.pretrained.quality import picture_quality

if TYPE_CHECKING:
    from quickstudy.gallery import Gallery

gallery = typer.Typer(
    help="Enrol people or things by a picture or two, recognise them, refuse strangers.",
    no_args_is_help=True,
)

_AT_ONCE = 256

_Place = Annotated[
    str,
    typer.Argument(help="The gallery: a file, or postgresql://user@host/name.", show_default=False),
]
_Files = Annotated[
    list[Path],
    typer.Argument(help="Pictures (or recordings), or folders of them.", show_default=False),
]
_Name = Annotated[str, typer.Argument(help="Of the identity.", show_default=False)]
_Encoder = Annotated[
    str,
    typer.Option(
        help="Where the encoder lies now; default the one that the gallery was made with."
    ),
]
_Kind = Annotated[str, typer.Option(help="pictures or recordings.")]
_Invert = Annotated[
    bool | None,
    typer.Option(
        help="Of drawings: turn dark ink on light paper to light on dark; default as the gallery "
        "was made, else as the encoder was trained."
    ),
]
_OnBad = Annotated[
    str, typer.Option(help="Files that cannot be read: refuse them all, or skip and name them.")
]
_Cache = Annotated[
    bool,
    typer.Option(
        help="Keep vectors in the user's cache folder, where nothing of the gallery deletes them."
    ),
]
_Force = Annotated[bool, typer.Option("--force", help="Enrol also what looks like somebody else.")]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


@gallery.command()
def create(
    place: _Place,
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, symbols, the folder of a trained run, a model of the hub (owner/name), "
            "FILE.onnx, timm:NAME."
        ),
    ] = "auto",
    kind: _Kind = "images",
    invert: _Invert = None,
) -> None:
    """Make an empty gallery for the vectors of an encoder."""
    module, found = _module(), open_encoder(encoder, kind=kind, invert=invert)
    for note in found.notes:
        results().print(f"Note: {note}")
    source = found.source
    if source != "symbols" and Path(source).exists():
        source = str(Path(source).absolute())
    made = module.create(place, encoder=found.key, dim=found.dim, source=source)
    results().print(f"Made {made.place} for the encoder {found.source} ({found.key}).")


@gallery.command()
def enrol(
    place: _Place,
    name: _Name,
    files: _Files,
    encoder: _Encoder = "",
    kind: _Kind = "images",
    force: _Force = False,
    consent: Annotated[str | None, typer.Option(help="What was agreed to, and when.")] = None,
    retain_until: Annotated[
        datetime | None, typer.Option(help="When `expire` removes the identity.")
    ] = None,
    on_bad: _OnBad = "refuse",
    invert: _Invert = None,
    cache: _Cache = False,
) -> None:
    """Add pictures of one identity, new or known."""
    pretrained, opened = _opened(place, encoder, kind, invert)
    made = _encoded(pretrained, find_files(files, kind=kind), on_bad=on_bad, cache=cache)
    if not made.paths:
        raise DataError(
            f"None of the {len(made.skipped)} files can be read, so {name} was not enrolled. The "
            f"first: {made.skipped[0][1]}"
        )
    _look_at(made.paths, kind)
    told = opened.enrol(name, made.vectors, force=force, consent=consent, retain_until=retain_until)
    results().print(
        f"Enrolled {name} with {len(told.templates)} templates: "
        f"{', '.join(map(str, told.templates))}."
    )
    for warning in told.warnings:
        results().print(f"Look: {warning}")


@gallery.command("enrol-folder")
def enrol_folder(
    place: _Place,
    folder: Annotated[
        Path,
        typer.Argument(
            help="One sub-folder of pictures (or recordings) per identity.", show_default=False
        ),
    ],
    encoder: _Encoder = "",
    kind: _Kind = "images",
    force: _Force = False,
    on_bad: _OnBad = "refuse",
    invert: _Invert = None,
    cache: _Cache = False,
) -> None:
    """Add everybody of a folder with one sub-folder per identity. Who looks like somebody else is
    left out and named, and the status is then 1.
    """
    pretrained, opened = _opened(place, encoder, kind, invert)
    made, names, of = _people(pretrained, folder, kind, on_bad=on_bad, cache=cache)
    _look_at(made.paths, kind)
    refused, enrolled = list[GalleryError](), 0
    for c, name in enumerate(names):
        try:
            told = opened.enrol(name, made.vectors[of == c], force=force)
        except GalleryError as error:
            refused.append(error)
            continue
        enrolled += int((of == c).sum())
        for warning in told.warnings:
            results().print(f"Look: {warning}")
    if len(refused) == len(names):
        raise refused[0]
    for error in refused:
        results().print(f"Left out: {error}")
    results().print(f"Enrolled {len(names) - len(refused)} identities from {enrolled} {kind}.")
    if refused:
        raise typer.Exit(1)


@gallery.command()
def calibrate(
    place: _Place,
    rate: Annotated[
        float, typer.Option(help="The share of strangers who may be taken for somebody.")
    ] = 0.01,
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pictures of strangers; without it each identity plays the stranger."
        ),
    ] = None,
    encoder: _Encoder = "",
    kind: _Kind = "images",
    on_bad: _OnBad = "refuse",
    invert: _Invert = None,
    cache: _Cache = False,
) -> None:
    """Choose the threshold for a false-accept rate; it then follows who comes and goes."""
    if cohort is None:
        policy = _module().open(place).calibrate(rate)
    else:
        pretrained, opened = _opened(place, encoder, kind, invert)
        policy = opened.calibrate(
            rate,
            cohort=_encoded(
                pretrained, find_files([cohort], kind=kind), on_bad=on_bad, cache=cache
            ).vectors,
        )
    results().print(
        f"Accepted above a similarity of {policy.threshold:.4f}, for a false-accept rate of "
        f"{100 * rate:g} % by the rule: {policy.rule}."
    )


@gallery.command()
def identify(
    place: _Place,
    files: _Files,
    encoder: _Encoder = "",
    kind: _Kind = "images",
    top_k: Annotated[int, typer.Option(min=1, help="How many candidates to name.")] = 3,
    as_json: _AsJson = False,
    invert: _Invert = None,
    cache: _Cache = False,
) -> None:
    """Say who is on each picture, or that it is a stranger. Files that cannot be read are named,
    and the status is then 1.
    """
    pretrained, opened = _opened(place, encoder, kind, invert)
    paths = find_files(files, kind=kind)
    made = encode_files(pretrained, paths, cache=cache or None, on_bad="skip")
    said = (
        dict(zip(made.paths, opened.identify(made.vectors, top_k=top_k), strict=True))
        if made.paths
        else {}
    )
    reasons, first = dict(made.skipped), "image" if kind == "images" else "recording"
    told = []
    for path in paths:
        if path in reasons:
            told.append({first: str(path), "error": reasons[path]})
            continue
        d = said[path]
        near = [{"identity": name, "similarity": round(s, 4)} for name, s in d.candidates]
        told.append(
            {
                first: str(path),
                "identity": d.identity,
                "certain": d.certain,
                "similarity": round(d.similarity, 4),
                "candidates": near,
            }
        )
    _tell(
        told,
        (first, "identity", "certain", "similarity", *(["error"] if reasons else [])),
        as_json=as_json,
    )
    if reasons:
        raise typer.Exit(1)


@gallery.command()
def verify(
    place: _Place,
    name: _Name,
    file: Annotated[Path, typer.Argument(show_default=False)],
    encoder: _Encoder = "",
    kind: _Kind = "images",
    invert: _Invert = None,
    cache: _Cache = False,
) -> None:
    """Say whether a picture shows whom it claims to show; status 1 if not."""
    pretrained, opened = _opened(place, encoder, kind, invert)
    d = opened.verify(encode_files(pretrained, [file], cache=cache or None).vectors[0], name)
    results().print(
        f"{'yes' if d.identity else 'no'}{'' if d.certain else ', but look'}: similarity "
        f"{d.similarity:.4f}, accepted above {d.threshold:.4f}"
    )
    if not d.identity:
        raise typer.Exit(1)


@gallery.command("evaluate")
def evaluate_gallery(
    place: _Place,
    folder: Annotated[
        Path,
        typer.Argument(
            help="One sub-folder of probes per identity: those called like somebody who is "
            "enrolled are members, the others strangers.",
            show_default=False,
        ),
    ],
    encoder: _Encoder = "",
    kind: _Kind = "images",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rates here.")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Draw roc.png, det.png and fnir_fpir.png into this folder.")
    ] = None,
    on_bad: _OnBad = "refuse",
    invert: _Invert = None,
    cache: _Cache = False,
) -> None:
    """How often the gallery is wrong, on probes of members and strangers: rates with intervals, and
    pictures. Each probe leaves its line in the audit log.
    """
    pretrained, opened = _opened(place, encoder, kind, invert)
    enrolled = [person["name"] for person in opened.identities()]
    if not enrolled:
        raise GalleryError(
            f"Nobody is enrolled in {place}, so there is nothing to be found. Enrol somebody first."
        )
    made, names, of = _people(pretrained, folder, kind, on_bad=on_bad, cache=cache)
    column = {name: n for n, name in enumerate(enrolled)}
    similarity = np.empty((len(of), len(enrolled)))
    for at in range(0, len(of), _AT_ONCE):
        for row, decision in enumerate(
            opened.identify(made.vectors[at : at + _AT_ONCE], top_k=len(enrolled)), start=at
        ):
            for name, s in decision.candidates:
                similarity[row, column[name]] = s
    mate = np.asarray([column.get(name, -1) for name in names], dtype=np.int64)[of]
    probes = Probes(similarity, mate, of, opened.policy.threshold)
    told = rates(probes)
    out, members, strangers = results(), told["members"], told["strangers"]
    out.print(
        f"{members['probes']} {kind} of {members['identities']} members and {strangers['probes']} "
        f"of {strangers['identities']} strangers, against "
        f"{len(enrolled)} identities."
    )
    shown = table("", "rate", "95 % by identity")
    for cells in rows(told):
        shown.add_row(*cells)
    out.print(shown)
    for warning in told["warnings"]:
        out.print(f"Look: {warning}")
    if json_file is not None:
        about = {
            "place": place.split("@")[-1],
            "encoder": opened.encoder,
            "folder": str(folder),
            "kind": kind,
            "rule": opened.policy.rule,
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(
            json.dumps({**about, **told}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        out.print(f"Rates: {json_file}")
    if plots is not None:
        drawn = pictures(probes, plots, Path(place.split("@")[-1]).name)
        out.print(
            f"Pictures: {', '.join(map(str, drawn)) or 'none, as there is nothing to compare'}"
        )


@gallery.command("list")
def list_identities(place: _Place, as_json: _AsJson = False) -> None:
    """Everybody who is enrolled."""
    people = _module().open(place).identities()
    _tell(
        [{**p, "templates": p["templates"]} for p in people],
        ("name", "templates", "consent", "retain_until"),
        as_json=as_json,
    )


@gallery.command()
def audit(
    place: _Place,
    last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 100,
    as_json: _AsJson = False,
) -> None:
    """The last changes and decisions."""
    _tell(
        _module().open(place).audit(last=last),
        ("time", "action", "identity", "similarity", "threshold", "detail"),
        as_json=as_json,
    )


@gallery.command()
def rename(
    place: _Place, name: _Name, new: Annotated[str, typer.Argument(show_default=False)]
) -> None:
    """Give an identity another name."""
    _module().open(place).rename(name, new)


@gallery.command()
def remove(
    place: _Place,
    name: Annotated[str, typer.Argument(help="Of the identity; empty with --template.")] = "",
    template: Annotated[int | None, typer.Option(help="Forget this template only.")] = None,
) -> None:
    """Forget an identity, or one of its templates."""
    if bool(name) == (template is not None):
        raise ConfigError("Give the name of an identity, or --template with its number.")
    if template is None:
        _module().open(place).remove(name)
    else:
        _module().open(place).remove_template(template)


@gallery.command()
def expire(place: _Place) -> None:
    """Remove the identities whose retention date has passed."""
    gone = _module().open(place).expire()
    results().print(
        f"Removed {len(gone)}: {', '.join(gone)}" if gone else "Nobody's date has passed."
    )


@gallery.command("export")
def export_gallery(
    place: _Place, folder: Annotated[Path, typer.Argument(show_default=False)]
) -> None:
    """Write everything but the audit log into a folder."""
    results().print(f"Wrote {_module().open(place).export(folder)}.")


@gallery.command("import")
def import_gallery(
    folder: Annotated[Path, typer.Argument(show_default=False)], place: _Place
) -> None:
    """Make a gallery of what `export` wrote."""
    made = _module().import_from(folder, place)
    results().print(f"Made {made.place} with {len(made.identities())} identities.")


@gallery.command()
def erase(
    place: _Place, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete everything in the gallery, the audit log too."""
    opened = _module().open(place)
    if not yes:
        typer.confirm(
            f"Delete all {len(opened.identities())} identities of {place} for good?", abort=True
        )
    opened.erase()
    results().print(f"Erased {place}.")


def _module() -> "type[Gallery]":
    try:
        from quickstudy.gallery import Gallery
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Galleries need the package {error.name}: pip install 'quickstudy[gallery]'."
        ) from error
    return Gallery


def _opened(
    place: str, encoder: str, kind: str, invert: bool | None
) -> "tuple[AbstractPretrained, Gallery]":
    """The gallery, and the encoder that its templates are from."""
    module = _module()
    opened = module.open(place)
    source = encoder or opened.source
    if not source:
        raise ConfigError(
            f"{place} does not say which encoder its templates are from. Name it with --encoder."
        )
    found = open_encoder(source, kind=kind, invert=invert)
    if (
        found.key != opened.encoder
        and invert is None
        and isinstance(found, RunEncoder | SymbolEncoder)
    ):
        # The gallery was made with one of the two; its encoder's key tells which.
        both = (open_encoder(source, kind=kind, invert=flag) for flag in (True, False))
        found = next((other for other in both if other.key == opened.encoder), found)
    if found.key != opened.encoder:
        module.open(place, encoder=found.key)  # which refuses, and says why
    return found, opened


def _encoded(
    pretrained: AbstractPretrained, paths: list[Path], *, on_bad: str, cache: bool
) -> EncodedFiles:
    with Bar("encoding", len(paths)) as bar:
        made = encode_files(
            pretrained, paths, cache=cache or None, on_bad=on_bad, progress=bar.update
        )
    for path, reason in made.skipped:
        results().print(f"skipped {path}: {reason}")
    for note in made.notes:
        results().print(f"Note: {note}")
    return made


def _people(
    pretrained: AbstractPretrained, folder: Path, kind: str, *, on_bad: str, cache: bool
) -> tuple[EncodedFiles, list[str], "np.ndarray[Any, np.dtype[np.int64]]"]:
    """What a folder with one sub-folder per identity holds: vectors, names, and whose each vector
    is.
    """
    found = find_classes(folder, kind=kind)
    owner = {path: c for c, paths in enumerate(found.values()) for path in paths}
    made = _encoded(pretrained, list(owner), on_bad=on_bad, cache=cache)
    of = np.asarray([owner[path] for path in made.paths], dtype=np.int64)
    empty = sorted(name for c, name in enumerate(found) if not (of == c).any())
    if empty:
        raise DataError(
            f"In {folder} these have nothing that can be read: {', '.join(empty)}. Repair the "
            f"files, or remove the folders. The first: {made.skipped[0][1]}"
        )
    return made, list(found), of


def _look_at(paths: Iterable[Path], kind: str) -> None:
    """Say which pictures somebody should not be enrolled with."""
    if kind == "images":
        for path in paths:
            for flaw in picture_quality(read_picture(path)).warnings:
                results().print(f"Look: {path}: {flaw}.")


def _tell(told: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        for row in told:
            print(json.dumps(row, ensure_ascii=False))
        return
    shown = table(*columns)
    for row in told:
        shown.add_row(*(_cell(row.get(c)) for c in columns))
    results().print(shown)


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
