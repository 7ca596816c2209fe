"""``gallery export``, ``import`` and ``backup``."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.gallery.options import Operator, Place, gallery_class, opened
from quickstudy.cli.screen import results
from quickstudy.core.words import counted


def export_gallery(
    place: Place,
    folder: Annotated[Path, typer.Argument(show_default=False)],
    operator: Operator = "",
) -> None:
    """Write everything but the logs into a folder that only you can read."""
    with opened(place, operator=operator) as gallery:
        results().print(
            f"Wrote {gallery.export(folder)}. Whoever is removed from the gallery is still in it."
        )


def import_gallery(
    folder: Annotated[Path, typer.Argument(show_default=False)], place: Place
) -> None:
    """Make a gallery of what `export` wrote."""
    with gallery_class().import_from(folder, place) as gallery:
        there = counted(len(gallery.identities()), "identity", "identities")
        results().print(f"Made {gallery.place} with {there}.")


def backup(
    place: Place,
    file: Annotated[Path, typer.Argument(show_default=False)],
    operator: Operator = "",
) -> None:
    """Copy a gallery to a new file while it may be used: all of it as of one moment."""
    with opened(place, operator=operator) as gallery:
        results().print(
            f"Wrote {gallery.backup(file)}. Whoever is removed from the gallery is still in it."
        )
