"""``gallery audit``: who changed and asked what, was it tampered with, what is too old."""

from datetime import datetime
from typing import Annotated

import typer

from quickstudy.cli.gallery.options import AsJson, Operator, Place, opened, show
from quickstudy.cli.screen import results
from quickstudy.core.words import counted

audit = typer.Typer(help="The audit log: show, check, prune.", no_args_is_help=True)


@audit.command("show")
def show_audit(
    place: Place,
    last: Annotated[int, typer.Option(min=1, help="How many entries.")] = 100,
    as_json: AsJson = False,
) -> None:
    """The last changes and decisions; times in UTC with --json, else also in local time."""
    from quickstudy.gallery.moments import shown

    with opened(place) as gallery:
        entries = gallery.audit(last=last)
    if not as_json:
        for entry in entries:
            entry["time"] = shown(entry["time"])
    columns = ["time", "action", "identity", "similarity", "threshold", "photo", "operator"]
    show(entries, [*columns, "detail"], as_json=as_json)


@audit.command()
def check(
    place: Place,
    head: Annotated[
        str, typer.Option(help="The hash that an earlier check gave: is it still in the log?")
    ] = "",
) -> None:
    """Whether entries were changed, taken out or put in; status 1 if so. Note the hash elsewhere:
    it shows later that even the whole log was not written anew.
    """
    with opened(place) as gallery:
        result = gallery.check_audit(head=head)
    for problem in result.problems:
        results().print(problem)
    results().print(
        f"{counted(result.entries, 'entry', 'entries')}, numbers {result.first} to "
        f"{result.last}, hash {result.head}"
    )
    if result.problems:
        raise typer.Exit(1)


@audit.command()
def prune(
    place: Place,
    before: Annotated[
        datetime,
        typer.Option(help="Entries before this, in local time, are deleted.", show_default=False),
    ],
    operator: Operator = "",
) -> None:
    """Delete old entries for good; the log says that it was pruned, when and by whom."""
    with opened(place, operator=operator) as gallery:
        count = gallery.prune_audit(before)
    results().print(f"Deleted {counted(count, 'entry', 'entries')}.")
