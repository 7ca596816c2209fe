"""What all measurements of trained learners have in common: rows, a picture and a file."""

import abc
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quickstudy.core.disk import write_file


@dataclass(frozen=True)
class AbstractReport(abc.ABC):
    """A measurement; a subclass is a dataclass whose fields are its numbers."""

    @abc.abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""

    @abc.abstractmethod
    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """A picture; returns where it was written."""


def write_report(report: AbstractReport, path: str | Path, *, about: Mapping[str, Any]) -> Path:
    """The report, and where it comes from, as JSON; whole or not at all."""
    text = json.dumps({**about, **asdict(report)}, indent=1) + "\n"
    return write_file(path, text.encode())
