"""What the commands of galleries share: options, opening a gallery, showing rows."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.screen import results, table, warnings_as_notes
from quickstudy.core.errors import ConfigError

if TYPE_CHECKING:
    from quickstudy.gallery import Gallery

Place = Annotated[
    str,
    typer.Argument(
        metavar="GALLERY", help="A file, or postgresql://user@host/name.", show_default=False
    ),
]
Files = Annotated[
    list[Path],
    typer.Argument(help="Photos (or recordings), or folders of them.", show_default=False),
]
Name = Annotated[str, typer.Argument(help="Of the identity.", show_default=False)]
Encoder = Annotated[
    str,
    typer.Option(
        help="Where the encoder lies now; default the one that the gallery was made with."
    ),
]
Invert = Annotated[
    bool | None,
    typer.Option(
        help="Of drawings: turn dark ink on light paper to light on dark; default as the gallery "
        "was made, else as the encoder was trained."
    ),
]
Cache = Annotated[
    bool,
    typer.Option(
        help="Keep vectors in the user's cache folder, where nothing of the gallery deletes them."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Enrol also what looks like somebody else.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Operator = Annotated[
    str,
    typer.Option(
        help="Who it is, for the audit log; default who is logged in.",
        envvar="QUICKSTUDY_OPERATOR",
    ),
]


@contextmanager
def opened(
    place: str, *, operator: str = "", encoder: str = "", invert: bool | None = None
) -> "Iterator[Gallery]":
    """The gallery at a place, closed at the end; with ``encoder`` or ``invert`` also its encoder is
    opened at once.
    """
    with warnings_as_notes(), gallery_class().open(place, operator=operator) as gallery:
        if encoder or invert is not None:
            gallery.pretrained(encoder, invert=invert)
        yield gallery


def gallery_class() -> "type[Gallery]":
    """`quickstudy.gallery.Gallery`, where its packages are installed."""
    try:
        from quickstudy.gallery import Gallery
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Galleries need the package {error.name}: pip install 'quickstudy[gallery]'."
        ) from error
    return Gallery


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Rows as a table of some columns, or all of them as JSON, one a line."""
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        return
    grid = table(*columns)
    for row in rows:
        grid.add_row(*(_cell(row.get(column)) for column in columns))
    results().print(grid)


def look(warnings: Sequence[str]) -> None:
    """What a person should look at."""
    for warning in warnings:
        results().print(f"Look: {warning}")


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
