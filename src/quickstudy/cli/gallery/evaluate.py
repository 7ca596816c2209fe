"""``gallery evaluate``: how often a gallery is wrong."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from quickstudy.cli.choices import OnBad
from quickstudy.cli.gallery.options import (
    Cache,
    Encoder,
    Invert,
    Operator,
    Place,
    look,
    opened,
)
from quickstudy.cli.screen import Bar, results, table
from quickstudy.core.disk import write_file
from quickstudy.core.words import counted


def evaluate_gallery(
    place: Place,
    folder: Annotated[
        Path,
        typer.Argument(
            help="One sub-folder of probes per person: those called like somebody who is enrolled "
            "are of that one, the others are impostors.",
            show_default=False,
        ),
    ],
    encoder: Encoder = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rates here.")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Draw roc.png, det.png and fnir_fpir.png into this folder.")
    ] = None,
    on_bad: OnBad = "refuse",
    invert: Invert = None,
    cache: Cache = False,
    operator: Operator = "",
) -> None:
    """How often the gallery is wrong, on probes of people who are enrolled and of impostors: rates
    with intervals, and figures. Each probe leaves its entry in the audit log.
    """
    with opened(place, operator=operator, encoder=encoder, invert=invert) as gallery:
        with Bar("encoding", 0) as bar:
            probes = gallery.probe_folder(folder, on_bad=on_bad, cache=cache, progress=bar.update)
        name = gallery.location.name
        about = {
            "place": gallery.place,
            "encoder": gallery.encoder,
            "folder": str(folder),
            "kind": gallery.kind,
            "rule": gallery.policy.rule,
        }
    from quickstudy.gallery.rates import error_rates_of, rate_pictures

    rates = error_rates_of(probes)
    _tell(rates, about["kind"])
    if json_file is not None:
        text = json.dumps({**about, **rates}, indent=1, ensure_ascii=False, allow_nan=False)
        write_file(json_file, (text + "\n").encode())
        results().print(f"Rates: {json_file}")
    if plots is not None:
        files = rate_pictures(probes, plots, name)
        drawn = ", ".join(map(str, files)) or "none, as there is nothing to compare"
        results().print(f"Figures: {drawn}")


def _tell(rates: dict[str, Any], kind: str) -> None:
    from quickstudy.gallery.rates import rate_rows

    out, mated, non_mated = results(), rates["mated"], rates["non_mated"]
    one = "recording" if kind == "audio" else "image"
    out.print(
        f"{counted(mated['probes'], one)} of "
        f"{counted(mated['identities'], 'person who is', 'people who are')} enrolled and "
        f"{non_mated['probes']:,} of {counted(non_mated['identities'], 'impostor')}, against "
        f"{counted(rates['enrolled'], 'identity', 'identities')}."
    )
    grid = table("", "rate", "95 % by identity")
    for cells in rate_rows(rates):
        grid.add_row(*cells)
    out.print(grid)
    look(rates["warnings"])
