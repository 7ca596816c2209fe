"""One row of results as a file: what was measured, and all that it takes to measure it again."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quickstudy.core.disk import write_file
from quickstudy.core.errors import LoadError
from quickstudy.evaluation import EarlierRun, Report


@dataclass(frozen=True)
class Look:
    """One scoring on the test classes.

    Args:
        commit: of the code.
        reason: why another recipe was scored after the first look; empty at the first one.
        means: the mean score in each setting.
    """

    commit: str
    reason: str
    means: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """A row that was measured.

    Args:
        row, suite: its name, and where it belongs.
        command: what measures it again.
        commit: of the code that scored it.
        trainings: what each of its trainings fixes, as JSON, the first training first.
        chain: those trainings, with their tasks and seconds.
        versions, hardware: what they ran on.
        seconds: of the last training and of the scoring.
        validation: on validation classes; None where there were none left.
        test: the report of each setting.
        looks: every scoring on the test classes, the first one first.
    """

    row: str
    suite: str
    command: str
    commit: str
    trainings: Sequence[Mapping[str, Any]]
    chain: Sequence[EarlierRun]
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    seconds: Mapping[str, float]
    validation: Report | None
    test: Mapping[str, Report]
    looks: Sequence[Look] = field(default=())

    def save(self, path: str | Path) -> None:
        """Write the row as JSON, whole or not at all.

        Raises:
            ConfigError: when it cannot be written.
        """
        about = {
            **vars(self),
            "chain": [asdict(run) for run in self.chain],
            "validation": None if self.validation is None else self.validation.to_json(),
            "test": {title: report.to_json() for title, report in self.test.items()},
            "looks": [asdict(look) for look in self.looks],
        }
        text = json.dumps(about, indent=1, ensure_ascii=False)
        # The scores on one line: a thousand lines of numbers would bury the rest.
        text = re.sub(r"\[[-+\d.e,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)
        write_file(path, f"{text}\n".encode())

    @classmethod
    def load(cls, path: str | Path) -> "Record":
        """Read back what `save` wrote.

        Raises:
            LoadError: when the file is missing, damaged or no row.
        """
        try:
            about = json.loads(Path(path).read_text(encoding="utf-8"))
            validation = about["validation"]
            return cls(
                **{
                    **about,
                    "chain": [EarlierRun(**run) for run in about["chain"]],
                    "validation": None if validation is None else Report.from_json(validation),
                    "test": {t: Report.from_json(r) for t, r in about["test"].items()},
                    "looks": [Look(**look) for look in about["looks"]],
                }
            )
        except (OSError, ValueError, TypeError, KeyError, LoadError) as error:
            raise LoadError(
                f"{path} is not a readable row: {error}. Write one with `quickstudy bench run`."
            ) from error


def records_in(path: str | Path) -> dict[str, Record]:
    """The rows in a file, or in a folder and those below it, as ``suite/row``.

    Raises:
        LoadError: when there is none.
    """
    where = Path(path)
    files = [where] if where.is_file() else sorted(where.rglob("*.json"))
    records = [Record.load(file) for file in files]
    if not records:
        raise LoadError(f"There is no row in {where}. Write some with `quickstudy bench run`.")
    return {f"{record.suite}/{record.row}": record for record in records}
