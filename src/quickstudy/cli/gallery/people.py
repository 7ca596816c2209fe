"""``gallery list``, ``look-alikes``, ``merge``, ``rename``, ``remove``, ``expire``, ``purge`` and
``erase``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from quickstudy.cli.gallery.options import AsJson, Name, Operator, Place, look, opened, show
from quickstudy.cli.screen import results
from quickstudy.core.errors import ConfigError
from quickstudy.core.words import counted

if TYPE_CHECKING:
    from quickstudy.gallery import Deletion

_PAIR = ("identity", "looks like", "similarity", "taken for each other", "both on")


def list_identities(place: Place, as_json: AsJson = False) -> None:
    """Everybody who is enrolled."""
    with opened(place) as gallery:
        people = gallery.identities()
    if not as_json:
        from quickstudy.gallery.moments import shown

        for person in people:
            until = person["retain_until"]
            person["retain_until"] = None if until is None else shown(until)
    show(people, ("name", "templates", "consent", "retain_until"), as_json=as_json)


def look_alikes(
    place: Place,
    most: Annotated[int, typer.Option(min=1, help="How many pairs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The pairs of identities that resemble each other most, the nearest first: two names of one
    person, which `merge` makes one, or two people who look alike, such as siblings.
    """
    with opened(place) as gallery:
        pairs = gallery.look_alikes(most=most)
    rows = [
        {
            "identity": pair.names[0],
            "looks like": pair.names[1],
            "similarity": pair.similarity,
            "taken for each other": pair.is_confused,
            "both on": pair.photo,
        }
        for pair in pairs
    ]
    if as_json:
        rows = [vars(pair) for pair in pairs]
    show(rows, _PAIR, as_json=as_json)
    if not pairs and not as_json:
        results().print("Fewer than two identities are enrolled, so there are no pairs.")


def merge(
    place: Place,
    name: Annotated[str, typer.Argument(help="The name that goes.", show_default=False)],
    into: Annotated[str, typer.Argument(help="The name that stays.", show_default=False)],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Merge also two who were enrolled from one photo, where only the names of the "
            "files are the same.",
        ),
    ] = False,
    operator: Operator = "",
) -> None:
    """Make two names of one person one: its templates go to the other name, and the first is
    forgotten. Two who were enrolled from one photo are two people, and are not merged.
    """
    from quickstudy.gallery.names import normal_name

    with opened(place, operator=operator) as gallery:
        deletion = gallery.merge(name, into, force=force)
    results().print(f"{deletion.names[0]} is {normal_name(into)} now.")
    look(deletion.warnings)
    _tell_remains(deletion.remains)


def rename(
    place: Place,
    name: Name,
    new: Annotated[str, typer.Argument(show_default=False)],
    operator: Operator = "",
) -> None:
    """Give an identity another name."""
    from quickstudy.gallery.names import normal_name

    with opened(place, operator=operator) as gallery:
        gallery.rename(name, new)
    results().print(f"{normal_name(name)} is called {normal_name(new)} now.")


def remove(
    place: Place,
    name: Annotated[str, typer.Argument(help="Of the identity; empty with --template.")] = "",
    template: Annotated[int | None, typer.Option(help="Forget this template only.")] = None,
    operator: Operator = "",
) -> None:
    """Forget an identity, or one of its templates, down to the last byte; says what remains
    elsewhere.
    """
    if bool(name) == (template is not None):
        raise ConfigError("Give the name of an identity, or --template with its number.")
    with opened(place, operator=operator) as gallery:
        if template is None:
            deletion = gallery.remove(name)
            results().print(f"Removed {', '.join(deletion.names)}.")
        else:
            deletion = gallery.remove_template(template)
            gone = f", and with it {deletion.names[0]}" if deletion.names else ""
            results().print(f"Removed template {template}{gone}.")
    _tell_remains(deletion.remains)


def expire(place: Place, operator: Operator = "") -> None:
    """Remove the identities whose retention date has passed."""
    with opened(place, operator=operator) as gallery:
        deletion: Deletion = gallery.expire()
    names = deletion.names
    results().print(
        f"Removed {len(names)}: {', '.join(names)}" if names else "Nobody's date has passed."
    )
    _tell_remains(deletion.remains)


def purge(place: Place) -> None:
    """Have what was removed gone from the files, where `remove` said that something remained."""
    with opened(place) as gallery:
        remains = gallery.purge()
    _tell_remains(remains)
    if not remains:
        results().print("Nothing that was removed is left in the files.")


def erase(
    place: Place, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete everything in the gallery, the audit log too."""
    with opened(place) as gallery:
        if not yes:
            there = counted(len(gallery.identities()), "identity", "identities")
            typer.confirm(f"Delete all of {gallery.place} ({there}) for good?", abort=True)
        remains = gallery.erase()
        results().print(f"Erased {gallery.place}.")
    _tell_remains(remains)


def _tell_remains(remains: Sequence[str]) -> None:
    for text in remains:
        results().print(f"Remains: {text}")
