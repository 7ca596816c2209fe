"""The command ``score``: how well a fitted model does on labelled items that it has not seen."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.options import CacheOption, ModelFolder, MovedEncoder
from quickstudy.cli.screen import progress, results, table, warnings_as_notes
from quickstudy.core.words import counted, percent, percent_range
from quickstudy.estimators import FittedModel, Score, score_model
from quickstudy.estimators.advice import listed
from quickstudy.report import score_page

_MOST = 10  # of what a screen lists


def score(
    model: ModelFolder,
    labelled: Annotated[
        Path,
        typer.Argument(
            help="A folder with one sub-folder of new files per class, or a table. Classes that "
            "the model does not know count as unknowns.",
            show_default=False,
        ),
    ],
    label: Annotated[str, typer.Option(help="Of a table: the column with the class.")] = "label",
    page: Annotated[
        Path | None, typer.Option(help="Write a page with every mistake into this file (.html).")
    ] = None,
    encoder: MovedEncoder = "",
    cache: CacheOption = True,
) -> None:
    """Ask a model about labelled items that it has not seen: accuracy, its interval, and what is
    taken for what. With items that cannot be read the command ends with status 1.
    """
    fitted = FittedModel.load(model, encoder=encoder)
    with warnings_as_notes():
        scored = score_model(fitted, labelled, target=label, cache=cache or None)
    _print_score(scored)
    if page is not None:
        written = score_page(scored, page, title=f"{model.name} on {labelled.name}")
        results().print(f"Page: {written}")
    if scored.unread:
        raise typer.Exit(1)


def _print_score(scored: Score) -> None:
    console = results()
    low, high = scored.interval
    right = sum(item.is_right for item in scored.known)
    console.print(
        f"Accuracy: {percent(scored.accuracy, 1)} ({right} of {len(scored.known)}; 95 % interval "
        f"{percent_range(low, high, 1)})."
    )
    if scored.reject_label is not None:
        console.print(f"Called unknown: {percent(scored.false_reject_rate, 1)} of these.")
    if scored.unknown:
        low, high = scored.false_accept_interval
        console.print(
            f"Of {counted(len(scored.unknown), 'item')} of classes that the model does not know, "
            f"{percent(scored.false_accept_rate, 1)} are taken for a class (95 % interval "
            f"{percent_range(low, high, 1)})."
        )
    shown = table("class", "right", "of", "taken for")
    for name, counts in scored.by_class().items():
        others = [f"{other} {n}" for other, n in counts.items() if other != name]
        shown.add_row(
            name, str(counts.get(name, 0)), str(sum(counts.values())), listed(others, most=_MOST)
        )
    console.print(shown)
    for answer in scored.unread[:_MOST]:
        progress().print(f"not read: {answer.error}", soft_wrap=True)
    if len(scored.unread) > _MOST:
        progress().print(f"… and {len(scored.unread) - _MOST} more that could not be read.")
