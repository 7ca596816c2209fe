"""Tables in files: comma-separated values, or JSON, an object per line."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError, did_you_mean

ENDINGS = (".csv", ".tsv", ".jsonl")


def read_table(file: Path) -> list[dict[str, Any]]:
    """The rows of a table, by column; of CSV all values are texts.

    Raises:
        DataError: when it cannot be read, is empty, or a row does not fit, by its number.
    """
    if file.suffix.lower() not in ENDINGS:
        raise DataError(
            f"'{file}' is no table that can be read here. Give a file that ends in "
            f"{', '.join(ENDINGS)}."
        )
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = (
                _objects(stream.read(), file)
                if file.suffix.lower() == ".jsonl"
                else _values(stream, file)
            )
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{file}' is not text in UTF-8 (byte {error.start} does not belong). Save it as UTF-8."
        ) from None
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}. Check the path.") from error
    if not rows:
        raise DataError(
            f"'{file}' has no rows. Give one per example, below a line with the names of the "
            "columns."
        )
    return rows


def texts(rows: Sequence[dict[str, Any]], name: str, file: Path) -> list[str]:
    """A column's values as texts, without the spaces around them; empty where there is none.

    Raises:
        DataError: when there is no such column.
    """
    if name not in rows[0]:
        hint = (
            " Its columns seem to be separated by semicolons: save it with commas."
            if len(rows[0]) == 1 and ";" in next(iter(rows[0]))
            else ""
        )
        raise DataError(f"'{file}' has no column '{name}'.{hint} {did_you_mean(name, rows[0])}")
    return ["" if row.get(name) is None else str(row[name]).strip() for row in rows]


def column(rows: Sequence[dict[str, Any]], name: str, file: Path) -> list[str]:
    """As `texts`, of a column that has a value in every row.

    Raises:
        DataError: when there is no such column, or a value is missing, by row.
    """
    values = texts(rows, name, file)
    empty = [i + 1 for i, value in enumerate(values) if not value]
    if empty:
        raise DataError(
            f"In '{file}' the column '{name}' is empty in {len(empty)} of {len(rows)} rows, the "
            f"first being row {empty[0]}. Fill it in, or leave them out."
        )
    return values


def numbers(
    rows: Sequence[dict[str, Any]], names: Sequence[str], file: Path
) -> tuple[Float[NDArray[np.float64], "n D"], list[str]]:
    """The values of columns as numbers, and of each row what is wrong with it: empty where nothing
    is.

    Raises:
        DataError: when there is no such column.
    """
    out, wrong = np.zeros((len(rows), len(names))), [""] * len(rows)
    for j, name in enumerate(names):
        for i, text in enumerate(texts(rows, name, file)):
            if _is_number(text):
                out[i, j] = float(text)
            elif not wrong[i]:
                wrong[i] = (
                    f"the column '{name}' holds {text!r}, which is no finite number"
                    if text
                    else f"the column '{name}' is empty"
                )
    return out, wrong


def numeric_columns(
    rows: Sequence[dict[str, Any]], file: Path, *, but: str
) -> tuple[list[str], list[str]]:
    """The columns in which every value is a number, without the label's, and those without any
    number.

    Raises:
        DataError: for a column that holds both, by row: nobody can guess what is meant.
    """
    chosen, rest = [], []
    for name in rows[0]:
        values = texts(rows, name, file)
        bad = [i for i, value in enumerate(values) if not _is_number(value)]
        if name != but and bad and len(bad) < len(rows):
            raise DataError(
                f"In '{file}' the column '{name}' holds numbers in {len(rows) - len(bad)} of "
                f"{len(rows)} rows, but {values[bad[0]]!r} in row {bad[0] + 1}. "
                "Correct it, or say with --columns what to learn from."
            )
        if name != but:
            (rest if bad else chosen).append(name)
    return chosen, rest


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _values(stream: Any, file: Path) -> list[dict[str, Any]]:
    try:
        return _rows(stream, file)
    except csv.Error as error:
        raise DataError(
            f"'{file}' is not in the form of CSV ({error}). Save it again as CSV, or check its "
            "quotes."
        ) from error


def _rows(stream: Any, file: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    if reader.fieldnames and len(set(reader.fieldnames)) < len(reader.fieldnames):
        raise DataError(
            f"'{file}' names a column twice: {', '.join(reader.fieldnames)}. Rename one."
        )
    rows = []
    for i, row in enumerate(reader):
        if None in row or None in row.values():
            raise DataError(
                f"In '{file}', row {i + 1} does not have {len(reader.fieldnames or ())} values. "
                "Put texts with commas into quotes."
            )
        rows.append(row)
    return rows


def _objects(text: str, file: Path) -> list[dict[str, Any]]:
    rows = []
    for i, line in enumerate(text.split("\n")):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise DataError(
                    f"In '{file}', line {i + 1} is no JSON object. Give one object per line, "
                    f'such as {{"text": "…", "label": "…"}}.'
                )
            rows.append(row)
    return rows
