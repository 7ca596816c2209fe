"""Answers of a model as a table on the screen, as CSV, or as a JSON object per line."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from rich.table import Table

from quickstudy.cli.choices import Format
from quickstudy.cli.screen import harmless, results
from quickstudy.core.errors import ConfigError

Row: TypeAlias = dict[str, Any]

AT_ONCE = 256
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def chosen_format(form: Format, *, as_json: bool, out: Path | None) -> Format:
    """The format that the options ask for: that of ``out``'s ending where none was named."""
    if as_json:
        return "jsonl"
    if out is not None and form == "table":
        return "jsonl" if out.suffix.lower() in (".jsonl", ".json", ".ndjson") else "csv"
    return form


def write_rows(
    rows: Iterable[Row],
    form: Format,
    out: Path | None,
    *,
    columns: Sequence[str],
    to_table: Callable[[list[Row]], Table],
    guard: bool = False,
) -> int:
    """Write the rows as they come; returns how many have an error.

    Args:
        rows: what to write; the first key is what a row is about, and "error" why there is no
            answer.
        form: table, csv or jsonl.
        out: a file, which appears when it is whole; None = standard output.
        columns: of CSV, after that of the first key.
        to_table: the rows as a table for the screen, some at a time.
        guard: put a quote before cells of CSV that a spreadsheet would take for a formula.

    Raises:
        ConfigError: when they cannot be written.
    """
    if out is None:
        try:
            if form == "table":
                return _shown(iter(rows), to_table)
            return _streamed(rows, form, sys.stdout, columns, guard=guard)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ConfigError(
                f"The output cannot be written: {error.strerror or error}. Make room, or write "
                "into a file with -o."
            ) from error
    part = out.with_name(f"{out.name}.part")
    try:
        # Names of files that are no valid Unicode are written as escapes, which JSON reads back as
        # they were.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            failed = _streamed(rows, form, stream, columns, guard=guard)
        part.replace(out)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror or error}. Make room, or choose another -o."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return failed


def _shown(rows: Iterator[Row], to_table: Callable[[list[dict[str, Any]]], Table]) -> int:
    """A table, so many rows at a time."""
    failed = 0
    is_first = True
    while some := list(islice(rows, AT_ONCE)):
        failed += sum("error" in row for row in some)
        shown = to_table(
            [{k: harmless(v) if isinstance(v, str) else v for k, v in row.items()} for row in some]
        )
        shown.show_header = is_first
        is_first = False
        results().print(shown)
    return failed


def _streamed(
    rows: Iterable[Row],
    form: str,
    stream: Any,
    columns: Sequence[str],
    *,
    guard: bool,
) -> int:
    failed = 0
    writer = None
    for row in rows:
        failed += "error" in row
        if form == "jsonl":
            stream.write(_json_line(row))
        else:
            if writer is None:
                names = list(dict.fromkeys([next(iter(row)), *columns, *row]))
                writer = csv.DictWriter(stream, names, lineterminator="\n")
                writer.writeheader()
            writer.writerow({k: _guarded(v) for k, v in row.items()} if guard else row)
        stream.flush()
    return failed


def _json_line(row: Row) -> str:
    """JSON escapes the first 32 control characters, but not those that follow the DEL."""
    text = json.dumps(row, ensure_ascii=False)
    return "".join(c if not "\x7f" <= c <= "\x9f" else f"\\u{ord(c):04x}" for c in text) + "\n"


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
