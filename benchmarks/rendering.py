"""How a table of the docs is written: columns with their formatting, one row per record, a note."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Cell = str | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: in the head; None where it has none.
        cell: what a record says in it: a text, empty where nothing is known, or None where the
            column does not apply.
    """

    title: Cell
    cell: Callable[[Any], Cell]


@dataclass(frozen=True)
class Table:
    """A table as it stands in a page.

    Args:
        columns: from the left.
        records: one per row.
        notes: lines below, each a paragraph line of its own.
    """

    columns: tuple[Column, ...]
    records: Iterable[Any]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The table in Markdown, and its notes below an empty line."""
        rows = [_row(column.cell(record) for column in self.columns) for record in self.records]
        head = _row(column.title for column in self.columns)
        rule = "|---" * len(self.columns) + "|"
        return [head, rule, *rows, *(("", *self.notes) if self.notes else ())]


def columns_of(*titles: Cell) -> tuple[Column, ...]:
    """Columns of records that are the cells themselves, in order."""

    def column(i: int, title: Cell) -> Column:
        return Column(title, lambda cells: cells[i])

    return tuple(column(i, title) for i, title in enumerate(titles))


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent, without the sign; empty where there is none."""
    return "" if value is None else f"{100 * value:.{digits}f}"


def with_interval(value: tuple[float, float], digits: int = 1) -> str:
    """A share and the half-width of its interval, in percent."""
    return f"{percent(value[0], digits)} ± {percent(value[1], digits)}"


def _row(cells: Iterable[Cell]) -> str:
    return "|" + "|".join(" " if cell is None else f" {cell} " for cell in cells) + "|"
