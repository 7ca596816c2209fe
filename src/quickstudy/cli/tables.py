"""Tables in files: comma-separated values, or JSON, an object per line."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from quickstudy.core.errors import DataError, did_you_mean

ENDINGS = (".csv", ".tsv", ".jsonl")


def read_table(file: Path) -> list[dict[str, Any]]:
    """The rows of a table, by column; of CSV all values are texts.

    Raises:
        DataError: when it cannot be read, is empty, or a row does not fit, by its number.
    """
    if file.suffix.lower() not in ENDINGS:
        raise DataError(f"'{file}' is no table that can be read here. Give a file that ends in {', '.join(ENDINGS)}.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = _objects(stream.read(), file) if file.suffix.lower() == ".jsonl" else _values(stream, file)
    except UnicodeDecodeError as error:
        raise DataError(f"'{file}' is not text in UTF-8 (byte {error.start} does not belong). Save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}. Check the path.") from error
    if not rows:
        raise DataError(f"'{file}' has no rows. Give one per example, below a line with the names of the columns.")
    return rows


def column(rows: Sequence[dict[str, Any]], name: str, file: Path) -> list[str]:
    """A column's values as texts.

    Raises:
        DataError: when there is no such column, or a value is missing, by row.
    """
    if name not in rows[0]:
        raise DataError(f"'{file}' has no column '{name}'. {did_you_mean(name, rows[0])}")
    values = ["" if row.get(name) is None else str(row[name]).strip() for row in rows]
    empty = [i + 1 for i, value in enumerate(values) if not value]
    if empty:
        raise DataError(
            f"In '{file}' the column '{name}' is empty in {len(empty)} of {len(rows)} rows, the first being row {empty[0]}. Fill it in, or leave them out."
        )
    return values


def numbers(rows: Sequence[dict[str, Any]], names: Sequence[str], file: Path) -> Float[NDArray[np.float64], "n D"]:
    """The values of columns as numbers.

    Raises:
        DataError: for a value that is no finite number, with its row and column.
    """
    out = np.empty((len(rows), len(names)))
    for j, name in enumerate(names):
        for i, text in enumerate(column(rows, name, file)):
            try:
                out[i, j] = float(text)
            except ValueError:
                out[i, j] = math.nan
            if not math.isfinite(out[i, j]):
                raise DataError(
                    f"In '{file}', row {i + 1}, the column '{name}' holds {text!r}, which is no finite number. Correct it, or leave the column out with --columns."
                )
    return out


def numeric_columns(rows: Sequence[dict[str, Any]], *, but: str) -> list[str]:
    """The columns in which every value is a number, without the label's."""
    return [name for name in rows[0] if name != but and all(_is_number(row.get(name)) for row in rows)]


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _values(stream: Any, file: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    if reader.fieldnames and len(set(reader.fieldnames)) < len(reader.fieldnames):
        raise DataError(f"'{file}' names a column twice: {', '.join(reader.fieldnames)}. Rename one.")
    rows = []
    for i, row in enumerate(reader):
        if None in row or None in row.values():
            raise DataError(
                f"In '{file}', row {i + 1} does not have {len(reader.fieldnames or ())} values. Put texts with commas into quotes."
            )
        rows.append(row)
    return rows


def _objects(text: str, file: Path) -> list[dict[str, Any]]:
    rows = []
    for i, line in enumerate(text.splitlines()):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise DataError(
                    f'In \'{file}\', line {i + 1} is no JSON object. Give one object per line, such as {{"text": "…", "label": "…"}}.'
                )
            rows.append(row)
    return rows
