"""The command ``predict``, and those that change the classes of a fitted model."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from quickstudy.cli.answers import chosen_format, write_rows
from quickstudy.cli.choices import Format, OnBad
from quickstudy.cli.options import CacheOption, JsonLines, ModelFolder, MovedEncoder
from quickstudy.cli.screen import progress, results, table, warnings_as_notes
from quickstudy.core.errors import DataError
from quickstudy.core.words import counted
from quickstudy.data import kind_of
from quickstudy.estimators import FittedModel, Prediction
from quickstudy.estimators.advice import shown as shown_score
from quickstudy.estimators.encoding import TABLE
from quickstudy.estimators.sorting import SortedFiles
from quickstudy.estimators.tables import ENDINGS

_COLUMNS = ("label", "probability", "score", "threshold", "certain", "nearest", "classes", "error")
_FIRST = {"images": "image", "audio": "recording", "text": "text", TABLE: "row"}
_STDIN = "-"


ItemsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders of them, or tables; of a model of texts also a text in quotes; "
        "- reads standard input.",
        show_default=False,
    ),
]
FormOption = Annotated[
    Format, typer.Option("--format", help="Of the answers; jsonl is one JSON object per line.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write csv or jsonl into this file.")
]
SortIntoOption = Annotated[
    Path | None,
    typer.Option(
        help="Also copy each file into a sub-folder of this folder that is called as its label is."
    ),
]
FalseAcceptRateOption = Annotated[
    float,
    typer.Option(
        help="Say unknown at this false-accept rate, whatever the model was fitted with; 0 = "
        "as fitted."
    ),
]
SetsOption = Annotated[
    float,
    typer.Option(
        "--sets",
        help="Also print so many classes that the right one is missing in this share of cases at "
        "most, such as 0.1; 0 = none.",
    ),
]
GuardOption = Annotated[
    bool,
    typer.Option(
        "--guard-csv",
        help="Put a quote before cells that a spreadsheet would take for a formula.",
    ),
]


def predict(
    model: ModelFolder,
    items: ItemsArgument,
    form: FormOption = "table",
    as_json: JsonLines = False,
    out: OutOption = None,
    sort_into: SortIntoOption = None,
    false_accept_rate: FalseAcceptRateOption = 0.0,
    sets: SetsOption = 0.0,
    encoder: MovedEncoder = "",
    cache: CacheOption = True,
    guard: GuardOption = False,
) -> None:
    """Print the label of each item, and how sure it is. What cannot be read is named, and the
    command then ends with status 1.
    """
    chosen = chosen_format(form, as_json=as_json, out=out)
    fitted = FittedModel.load(model, encoder=encoder)
    if false_accept_rate:
        with progress().status("each class plays the unknown to the others"):
            fitted = fitted.with_rate(false_accept_rate)
    if sets:
        fitted = fitted.with_sets(sets)
    n = 0
    with ExitStack() as stack, warnings_as_notes():
        answers = _predictions(fitted, items, stack, cache=cache)
        sorted_files = None if sort_into is None else SortedFiles(sort_into, fitted)
        if sorted_files is not None:
            answers = sorted_files.copying(answers)

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal n
            for answer in answers:
                n += 1
                yield _row(answer, fitted.encoding.kind)

        failed = write_rows(
            _in_cells(rows(), chosen), chosen, out, columns=_COLUMNS, to_table=_table, guard=guard
        )
    if sorted_files is not None:
        progress().print(f"Copied into {sort_into}: {sorted_files.said()}", soft_wrap=True)
    if not fitted.is_calibrated:
        progress().print(
            "Note: not calibrated: this model never says unknown, and names the nearest class of "
            "whatever comes. Fit with --false-accept-rate, or ask with it.",
            soft_wrap=True,
        )
    if failed:
        where = f"; the reasons are in {out}" if out is not None else ""
        progress().print(f"{failed} of {n} could not be read{where}.", soft_wrap=True)
        raise typer.Exit(1)


def add_class(
    model: ModelFolder,
    name: Annotated[str, typer.Argument(help="Of the class.", show_default=False)],
    items: Annotated[
        list[str],
        typer.Argument(
            help="Its files, or folders of them; of a model of texts also texts in quotes.",
            show_default=False,
        ),
    ],
    replaces: Annotated[
        bool,
        typer.Option(
            "--replace", help="Give a class that is there these examples in place of its own."
        ),
    ] = False,
    on_bad: OnBad = "refuse",
    encoder: MovedEncoder = "",
) -> None:
    """Teach a fitted model one more class; the result equals fitting anew."""
    label = as_text(name)
    with FittedModel.editing(model, encoder=encoder) as fitted:
        given: list[Any] = items
        if fitted.encoding.kind == "text":
            given = [Path(item) if Path(item).exists() else item for item in items]
        learn = fitted.update_class if replaces else fitted.add_class
        learn(label, given, on_bad=on_bad)
    counts = fitted.counts
    label = fitted.label_of(label)
    results().print(
        f"{model} knows {counted(len(counts), 'class', 'classes')} now; {label} has "
        f"{counted(counts[label], 'example')}."
    )


def remove_class(
    model: ModelFolder,
    name: Annotated[str, typer.Argument(help="Of the class.", show_default=False)],
) -> None:
    """Let a fitted model forget a class and its examples."""
    with FittedModel.editing(model, encoder=None) as fitted:
        fitted.remove_class(as_text(name))
    results().print(f"{model} knows {counted(len(fitted.counts), 'class', 'classes')} now.")


def as_text(name: str) -> str:
    """An argument as it was typed: in a locale without UTF-8 Python takes its bytes for no text."""
    try:
        return os.fsencode(name).decode()
    except UnicodeError:
        return name


def _predictions(
    fitted: FittedModel, items: list[str], stack: ExitStack, *, cache: bool
) -> Iterator[Prediction]:
    """The answers to what stands on the command line."""
    kind = fitted.encoding.kind
    if "" in items:
        raise DataError("One of the items is empty. Name a file, or leave it out.")
    tables = [item for item in items if Path(item).suffix.lower() in ENDINGS]
    if kind in ("images", "audio"):
        stdin = _from_stdin(kind, stack) if _STDIN in items else None
        given = [stdin if item == _STDIN and stdin else item for item in items]
        for is_table, some in groupby(given, lambda item: item in tables):
            if is_table:
                for item in some:
                    yield from fitted.predict_table(cast("str", item), cache=cache or None)
                continue
            for answer in fitted.stream_files(list(some), cache=cache or None):
                yield replace(answer, item=_STDIN) if answer.item == stdin else answer
    elif kind == TABLE or tables:
        gone = [item for item in items if item != _STDIN and not Path(item).exists()]
        if gone:
            raise DataError(f"There is no file '{gone[0]}'. Check the path and its spelling.")
        for item in items:
            file = _from_stdin(kind, stack) if item == _STDIN else Path(item)
            for answer in fitted.predict_table(file):
                yield replace(answer, table=item) if len(items) > 1 else answer
    else:
        yield from _of_texts(fitted, items, cache=cache)


def _of_texts(fitted: FittedModel, items: list[str], *, cache: bool) -> Iterator[Prediction]:
    """Texts as they stand, files of one text each, and the lines of standard input."""
    for item in items:
        if item == _STDIN:
            yield from fitted.predict_texts([line.rstrip("\n") for line in sys.stdin])
        elif Path(item).exists() or kind_of(item) == "text":
            yield from fitted.stream_files(item, cache=cache or None)
        else:
            yield from fitted.predict_texts([item])


def _from_stdin(kind: str, stack: ExitStack) -> Path:
    """What comes over standard input, as a file for as long as it is needed."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    file = folder / ("stdin.csv" if kind == TABLE else "stdin")
    content = sys.stdin.buffer.read()
    if not content:
        raise DataError("Nothing came over standard input. Pipe one file into the command.")
    file.write_bytes(content)
    return file


def _row(answer: Prediction, kind: str) -> dict[str, Any]:
    item = str(answer.item) if isinstance(answer.item, Path) else answer.item
    row: dict[str, Any] = {_FIRST[kind]: item}
    if answer.table:
        row["table"] = answer.table
    if answer.error:
        return row | {"error": answer.error}
    row["label"] = answer.label
    for name in ("probability", "score", "threshold"):
        value = getattr(answer, name)
        # Of an unknown it would be that of the nearest class, given that it is one of them.
        is_of_a_class = name != "probability" or answer.nearest is None
        if value is not None and is_of_a_class:
            row[name] = round(value, 4)
    if answer.certain is not None:
        row["certain"] = answer.certain
    if answer.nearest is not None:
        row["nearest"] = answer.nearest
    if answer.classes:
        row["classes"] = list(answer.classes)
    return row


def _in_cells(rows: Iterator[dict[str, Any]], form: Format) -> Iterator[dict[str, Any]]:
    """Sets as one text where a cell holds one."""
    for row in rows:
        if form != "jsonl" and "classes" in row:
            row["classes"] = "; ".join(map(str, row["classes"]))
        yield row


def _table(rows: list[dict[str, Any]]) -> Table:
    first = next(iter(rows[0]))
    shown = table(first, "label", "probability", "")
    for row in rows:
        remarks = [row["error"]] if "error" in row else []
        if "nearest" in row:
            score, threshold = shown_score(row["score"]), shown_score(row["threshold"])
            remarks.append(f"nearest: {row['nearest']}, score {score}, accepted above {threshold}")
        if row.get("certain") is False:
            remarks.append("look")
        if "classes" in row:
            remarks.append(f"set: {row['classes']}")
        remark = "; ".join(remarks)
        item = f"{row['table']}: {row[first]}" if "table" in row else str(row[first])
        likely = f"{row['probability']:.3f}" if "probability" in row else ""
        shown.add_row(item, str(row.get("label", "—")), likely, remark)
    return shown
