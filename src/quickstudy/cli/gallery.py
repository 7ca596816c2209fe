"""The commands ``gallery …``: enrol people or things by their pictures, recognise them, refuse strangers."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.screen import results, table
from quickstudy.core.errors import ConfigError
from quickstudy.data import find_images, read_folder
from quickstudy.estimator import ImageEncoder

if TYPE_CHECKING:
    from quickstudy.gallery import Gallery

gallery = typer.Typer(help="Enrol people or things by a picture or two, recognise them, refuse strangers.", no_args_is_help=True)

_Place = Annotated[str, typer.Argument(help="The gallery: a file, or postgresql://user@host/name.", show_default=False)]
_Run = Annotated[Path, typer.Option(help="The trained run whose encoder makes the vectors.", show_default=False)]
_Pictures = Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.", show_default=False)]
_Name = Annotated[str, typer.Argument(help="Of the identity.", show_default=False)]
_Invert = Annotated[bool | None, typer.Option(help="Turn dark ink on light paper to light on dark; default as the run was trained.")]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


@gallery.command()
def create(place: _Place, run: _Run, invert: _Invert = None) -> None:
    """Make an empty gallery for the vectors of a run's encoder."""
    encoder = ImageEncoder(run, invert=invert).fit()
    made = _module().create(place, encoder=encoder.key_, dim=encoder.n_features_out_)
    results().print(f"Made {made.place} for the encoder {encoder.key_} of {run}.")


@gallery.command()
def enrol(
    place: _Place,
    name: _Name,
    pictures: _Pictures,
    run: _Run,
    force: Annotated[bool, typer.Option("--force", help="Enrol also what looks like somebody else.")] = False,
    consent: Annotated[str | None, typer.Option(help="What was agreed to, and when.")] = None,
    retain_until: Annotated[datetime | None, typer.Option(help="When `expire` removes the identity.")] = None,
    invert: _Invert = None,
) -> None:
    """Add pictures of one identity, new or known."""
    encoder, opened = _opened(place, run, invert)
    told = opened.enrol(name, encoder.transform(find_images(pictures)), force=force, consent=consent, retain_until=retain_until)
    results().print(f"Enrolled {name} with {len(told.templates)} templates: {', '.join(map(str, told.templates))}.")
    for warning in told.warnings:
        results().print(f"Look: {warning}")


@gallery.command("enrol-folder")
def enrol_folder(
    place: _Place,
    folder: Annotated[Path, typer.Argument(help="One sub-folder of pictures per identity.", show_default=False)],
    run: _Run,
    force: Annotated[bool, typer.Option("--force", help="Enrol also what looks like somebody else.")] = False,
    invert: _Invert = None,
) -> None:
    """Add everybody of a folder with one sub-folder per identity."""
    encoder, opened = _opened(place, run, invert)
    content = read_folder(folder, encoder.embedder_.format, on_bad="refuse")
    index = content.dataset.index
    for c, name in enumerate(index.names):
        told = opened.enrol(name, encoder.transform([content.paths[int(row)] for row in index.rows_of(c)]), force=force)
        for warning in told.warnings:
            results().print(f"Look: {warning}")
    results().print(f"Enrolled {len(index.names)} identities from {len(content.paths)} pictures.")


@gallery.command()
def calibrate(
    place: _Place,
    rate: Annotated[float, typer.Option(help="The share of strangers who may be taken for somebody.")] = 0.01,
    cohort: Annotated[
        Path | None, typer.Option(help="A folder of pictures of strangers; without it each identity plays the stranger.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The trained run, to encode the cohort.")] = None,
    invert: _Invert = None,
) -> None:
    """Choose the threshold for a false-accept rate; it then follows who comes and goes."""
    if cohort and not run:
        raise ConfigError("The cohort's pictures must be encoded: give --run too.")
    opened = _opened(place, run, invert)[1] if run else _module().open(place)
    strangers = ImageEncoder(run, invert=invert).fit().transform(find_images([cohort])) if cohort else None
    policy = opened.calibrate(rate, cohort=strangers)
    results().print(
        f"Accepted above a similarity of {policy.threshold:.4f}, for a false-accept rate of {100 * rate:g} % by the rule: {policy.rule}."
    )


@gallery.command()
def identify(
    place: _Place,
    pictures: _Pictures,
    run: _Run,
    top_k: Annotated[int, typer.Option(min=1, help="How many candidates to name.")] = 3,
    as_json: _AsJson = False,
    invert: _Invert = None,
) -> None:
    """Say who is on each picture, or that it is a stranger."""
    encoder, opened = _opened(place, run, invert)
    paths = find_images(pictures)
    rows = []
    for path, d in zip(paths, opened.identify(encoder.transform(paths), top_k=top_k), strict=True):
        near = [{"identity": name, "similarity": round(s, 4)} for name, s in d.candidates]
        rows.append(
            {"image": str(path), "identity": d.identity, "certain": d.certain, "similarity": round(d.similarity, 4), "candidates": near}
        )
    _tell(rows, ("image", "identity", "certain", "similarity"), as_json=as_json)


@gallery.command()
def verify(
    place: _Place, name: _Name, picture: Annotated[Path, typer.Argument(show_default=False)], run: _Run, invert: _Invert = None
) -> None:
    """Say whether a picture shows whom it claims to show; status 1 if not."""
    encoder, opened = _opened(place, run, invert)
    d = opened.verify(encoder.transform([picture])[0], name)
    results().print(
        f"{'yes' if d.identity else 'no'}{'' if d.certain else ', but look'}: similarity {d.similarity:.4f}, accepted above {d.threshold:.4f}"
    )
    if not d.identity:
        raise typer.Exit(1)


@gallery.command("list")
def list_identities(place: _Place, as_json: _AsJson = False) -> None:
    """Everybody who is enrolled."""
    people = _module().open(place).identities()
    _tell([{**p, "templates": p["templates"]} for p in people], ("name", "templates", "consent", "retain_until"), as_json=as_json)


@gallery.command()
def audit(place: _Place, last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 100, as_json: _AsJson = False) -> None:
    """The last changes and decisions."""
    _tell(_module().open(place).audit(last=last), ("time", "action", "identity", "similarity", "threshold", "detail"), as_json=as_json)


@gallery.command()
def rename(place: _Place, name: _Name, new: Annotated[str, typer.Argument(show_default=False)]) -> None:
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
    results().print(f"Removed {len(gone)}: {', '.join(gone)}" if gone else "Nobody's date has passed.")


@gallery.command("export")
def export_gallery(place: _Place, folder: Annotated[Path, typer.Argument(show_default=False)]) -> None:
    """Write everything but the audit log into a folder."""
    results().print(f"Wrote {_module().open(place).export(folder)}.")


@gallery.command("import")
def import_gallery(folder: Annotated[Path, typer.Argument(show_default=False)], place: _Place) -> None:
    """Make a gallery of what `export` wrote."""
    made = _module().import_from(folder, place)
    results().print(f"Made {made.place} with {len(made.identities())} identities.")


@gallery.command()
def erase(place: _Place, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete everything in the gallery, the audit log too."""
    opened = _module().open(place)
    if not yes:
        typer.confirm(f"Delete all {len(opened.identities())} identities of {place} for good?", abort=True)
    opened.erase()
    results().print(f"Erased {place}.")


def _module() -> "type[Gallery]":
    try:
        from quickstudy.gallery import Gallery
    except ModuleNotFoundError as error:
        raise ConfigError(f"Galleries need the package {error.name}: pip install 'quickstudy[gallery]'.") from error
    return Gallery


def _opened(place: str, run: Path, invert: bool | None) -> "tuple[ImageEncoder, Gallery]":
    encoder = ImageEncoder(run, invert=invert).fit()
    return encoder, _module().open(place, encoder=encoder.key_)


def _tell(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    shown = table(*columns)
    for row in rows:
        shown.add_row(*(_cell(row[c]) for c in columns))
    results().print(shown)


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
