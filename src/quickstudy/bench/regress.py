"""Which rows became worse between two measurements."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from quickstudy.bench.record import Record
from quickstudy.core.errors import ConfigError
from quickstudy.evaluation import Report, compare


@dataclass(frozen=True)
class Change:
    """How the score of a row in one setting changed.

    Args:
        row: ``suite/row``.
        setting: the title of the setting.
        old, new: mean scores.
        difference: new − old.
        ci95: its 95 % half-width: over the shared tasks where they are the same, else from both
            intervals.
        paired: whether the tasks are the same.
    """

    row: str
    setting: str
    old: float
    new: float
    difference: float
    ci95: float
    paired: bool

    @property
    def worse(self) -> bool:
        """Whether the new score is lower by more than the interval."""
        return self.difference < -max(self.ci95, 1e-6)


def changes(old: Mapping[str, Record], new: Mapping[str, Record]) -> list[Change]:
    """Every setting that both have a score of, the worst change first.

    Raises:
        ConfigError: when they have none in common.
    """
    pairs = [
        (row, title, old[row].test[title], new[row].test[title])
        for row in old
        if row in new
        for title in old[row].test
        if title in new[row].test
    ]
    if not pairs:
        raise ConfigError(
            f"The {len(old)} old and the {len(new)} new rows have no setting in common."
        )
    return sorted((_change(*pair) for pair in pairs), key=lambda c: c.difference)


def _change(row: str, title: str, a: Report, b: Report) -> Change:
    try:
        paired = compare(a, b)
    except ConfigError:  # not the same tasks
        half = math.hypot(a.ci95, b.ci95)
        return Change(row, title, a.mean, b.mean, b.mean - a.mean, half, paired=False)
    return Change(row, title, a.mean, b.mean, paired.difference, paired.ci95, paired=True)
