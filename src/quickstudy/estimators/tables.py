"""Tables in files: comma-separated values, or JSON, an object per line."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError, did_you_mean
from quickstudy.core.words import counted

ENDINGS = (".csv", ".tsv", ".jsonl")
_MISSING = ("", "na", "n/a", "nan", "null", "?")
_CATEGORIES = 20
_NAMED = 20  # columns, in a message
# What columns are called that name rows, in lower case without spaces, dots and underscores.
_NAMES_OF_ROWS = {"", "id", "ids", "index", "key", "no", "nr", "row", "rowid", "rownames", "rownr"}
_NAMES_OF_ROWS |= {"rownumber", "uid", "unnamed:0", "uuid"}
_COUNTED = 10  # so many rows that are numbered one after the other are no accident
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas"}
_SIGNS = "%€$£"  # of currencies and of per cent, around a number
TARGET = "target, on the command line --label"
"""What names the column with the class, as errors say it."""


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


def texts(
    rows: Sequence[dict[str, Any]], name: str, file: Path | str, *, option: str = ""
) -> list[str]:
    """A column's values as texts, without the spaces around them; empty where there is none.

    Args:
        rows: of the table.
        name: of the column.
        file: where the table lies; of one that is no file, what it is called in a sentence.
        option: what names the column, so that the error can say so.

    Raises:
        DataError: when no row has such a column.
    """
    if not any(name in row for row in rows):
        how = f" Name the column that is meant ({option})." if option else ""
        known = did_you_mean(name, _columns_of(rows))
        raise DataError(f"{called(file)} has no column '{name}'.{how} {known}")
    return ["" if row.get(name) is None else str(row[name]).strip() for row in rows]


def column(rows: Sequence[dict[str, Any]], name: str, file: Path, *, option: str = "") -> list[str]:
    """As `texts`, of a column that has a value in every row.

    Raises:
        DataError: when there is no such column, or a value is missing, by row.
    """
    values = texts(rows, name, file, option=option)
    empty = [i + 1 for i, value in enumerate(values) if not value]
    if empty:
        raise DataError(
            f"In '{file}' the column '{name}' is empty in {len(empty)} of {len(rows)} rows, the "
            f"first being row {empty[0]}. Fill it in, or leave them out."
        )
    return values


@dataclass(frozen=True)
class Columns:
    """What a row of a table is learned from.

    Args:
        names: the columns, in order.
        categories: for each column its known values, each of which becomes a number of its own, 1
            or 0; empty for a column of numbers. Empty as a whole = all are numbers.
        optional: columns in which a value may be missing: all where one is missing in the examples.
    """

    names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def of_numbers(self) -> list[str]:
        """The column that each number of a row comes from."""
        known_of = self.categories or ((),) * len(self.names)
        pairs = zip(self.names, known_of, strict=True)
        return [name for name, known in pairs for _ in range(len(known) or 1)]


def row_numbers(
    rows: Sequence[dict[str, Any]], columns: Columns, file: Path | str
) -> tuple[Float[NDArray[np.float64], "n D"], list[str]]:
    """The rows as numbers, NaN for those that are missing, and of each row what is wrong with it:
    empty where nothing is. A category that is not known becomes zeros.

    Args:
        rows: of the table.
        columns: which of its columns.
        file: as of `texts`.

    Raises:
        DataError: when a column is in no row; it names those that are wanted and those given.
    """
    given = _columns_of(rows)
    if missing := [name for name in columns.names if name not in given]:
        names = _listed([f"'{name}'" for name in missing])
        raise DataError(
            f"{called(file)} has no {'column' if len(missing) == 1 else 'columns'} {names}. "
            f"Wanted are {_listed(columns.names)}; given are {_listed(list(given)) or 'none'}."
        )
    wrong = [""] * len(rows)
    parts = []
    known_of = columns.categories or ((),) * len(columns.names)
    for name, known in zip(columns.names, known_of, strict=True):
        values = texts(rows, name, file)
        part = np.zeros((len(rows), len(known) or 1))
        for i, text in enumerate(values):
            if is_missing_text(text) and name in columns.optional:
                part[i] = np.nan
            elif known and text:
                part[i] = [text == category for category in known]
            elif not known and is_number(text):
                part[i] = float(text)
            elif not wrong[i]:
                wrong[i] = (
                    f"the column '{name}' holds {text!r}, which is no finite number"
                    if text
                    else f"the column '{name}' is empty"
                )
        parts.append(part)
    return np.concatenate(parts, axis=1), wrong


def usable_columns(
    rows: Sequence[dict[str, Any]], file: Path, *, but: str, named: Sequence[str] = ()
) -> tuple[Columns, list[str], list[str]]:
    """The columns of numbers and of categories, without the label's; those that are neither or
    hold one value only; and those that only name the rows (`names_rows`). A category is a text that
    stands in two rows on average at least, in a column of 20 at most; where columns are named, any
    text, and any number.

    Raises:
        DataError: for a column that holds numbers and texts, by row, or numbers with a decimal
            comma, a per cent sign or a currency: nobody can guess what is meant; or when there is
            no such column.
    """
    names: list[str] = []
    categories: list[tuple[str, ...]] = []
    has_missing = False
    rest: list[str] = []
    naming: list[str] = []
    for name in named or [name for name in rows[0] if name != but]:
        values = texts(rows, name, file, option="columns, on the command line --columns")
        present = [(i, value) for i, value in enumerate(values) if not is_missing_text(value)]
        bad = [(i, value) for i, value in present if not is_number(value)]
        if bad and len(bad) < len(present):
            row, value = bad[0]
            raise DataError(
                f"In '{file}' the column '{name}' holds numbers in {len(present) - len(bad)} of "
                f"{counted(len(rows), 'row')}, but {value!r} in row {row + 1}. "
                "Correct it, or say with --columns what to learn from."
            )
        if bad and not named and all(_is_decorated(value) for _, value in bad):
            row, value = bad[0]
            raise DataError(
                f"In '{file}' the column '{name}' holds numbers in another form, such as {value!r} "
                f"in row {row + 1}. Write them with a decimal point and nothing else (0.47), or "
                "say with --columns what to learn from."
            )
        known = tuple(sorted({value for _, value in bad}))
        is_constant = len({value for _, value in present}) < 2
        has_too_many = bool(known) and len(known) > _most(len(present))
        if not named and names_rows(name, values):
            naming.append(name)
            continue
        if not present or (not named and (is_constant or has_too_many)):
            rest.append(name)
            continue
        names.append(name)
        categories.append(known)
        has_missing |= len(present) < len(values)
    found = tuple(categories) if any(categories) else ()
    return Columns(tuple(names), found, tuple(names) if has_missing else ()), rest, naming


def is_missing_text(text: str) -> bool:
    """Whether a value says that there is none.

    >>> [is_missing_text(text) for text in ("", "NA", "nan", "0", "none of these")]
    [True, True, True, False, False]
    """
    return text.lower() in _MISSING


def names_rows(name: str, values: Sequence[str]) -> bool:
    """Whether a column is called like one that names the rows, such as id, and has another whole
    number in each of ten rows or more.

    >>> [
    ...     names_rows(name, [str(i * i) for i in range(12)])
    ...     for name in ("ID", "row names", "weight")
    ... ]
    [True, True, False]
    """
    called = name.lower()
    for sign in " ._-":
        called = called.replace(sign, "")
    return (
        (called in _NAMES_OF_ROWS or name.endswith(("_id", " id", "ID", "Id")))
        and len(values) >= _COUNTED
        and len(set(values)) == len(values)
        and all(is_number(value) and float(value).is_integer() for value in values)
    )


def counts_rows(values: Float[NDArray[np.float64], " n"]) -> bool:
    """Whether the numbers of a column do no more than count its rows, ten at least.

    >>> counts_rows(np.arange(1.0, 13)), counts_rows(np.arange(12.0)[::-1])
    (True, False)
    """
    return len(values) >= _COUNTED and bool((np.diff(values) == 1).all())


def _columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, None]:
    """The columns that any row has, in order."""
    return dict.fromkeys(name for row in rows for name in row)


def _listed(names: Sequence[str]) -> str:
    more = " …" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def called(file: Path | str) -> str:
    """What a table is called at the beginning of a sentence."""
    return f"'{file}'" if isinstance(file, Path) else file[:1].upper() + file[1:]


def _most(n_rows: int) -> int:
    """How many categories a column of so many values may have."""
    return min(_CATEGORIES, n_rows // 2)


def is_number(value: Any) -> bool:
    """Whether a value of a table is a finite number.

    >>> [is_number(text) for text in ("0.5", "1e3", "0,5", "inf", "")]
    [True, True, False, False, False]
    """
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _is_decorated(text: str) -> bool:
    """Whether a text is a number but for a decimal comma, commas between thousands, or a sign."""
    bare = text.strip(_SIGNS + " \u00a0")
    return is_number(bare.replace(",", ".")) or is_number(bare.replace(",", ""))


def _values(stream: Any, file: Path) -> list[dict[str, Any]]:
    try:
        return _rows(stream, file)
    except csv.Error as error:
        raise DataError(
            f"'{file}' is not in the form of CSV ({error}). Save it again as CSV, or check its "
            "quotes."
        ) from error


def _rows(stream: Any, file: Path) -> list[dict[str, Any]]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(stream, delimiter=delimiter)
    if reader.fieldnames and len(reader.fieldnames) == 1:
        _check_separator(reader.fieldnames[0], delimiter, file)
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


def _check_separator(header: str, delimiter: str, file: Path) -> None:
    """Refuse a table whose columns are separated by another character than its ending says."""
    other = next((one for one in _SEPARATORS if one != delimiter and one in header), None)
    if other is not None:
        numbers = ", numbers with a decimal point" if delimiter == "," else ""
        raise DataError(
            f"The columns of '{file}' seem to be separated by {_SEPARATORS[other]}, where "
            f"{_SEPARATORS[delimiter]} are expected. Save it with {_SEPARATORS[delimiter]}{numbers}"
            "; a table with tabs may end in .tsv."
        )


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
