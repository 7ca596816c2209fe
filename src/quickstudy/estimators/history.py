"""What happened to a fitted model, so that nobody replaces in ignorance what was added to it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self


@dataclass(frozen=True)
class Change:
    """One thing that happened to a model.

    Args:
        time: when, in UTC, as ISO 8601 has it.
        what: "fitted", "added", "replaced", "extended", "removed", "renamed", or "corrected by
            feedback".
        label: of the class that it happened to; None of a fit, and where something was said to
            belong to no class.
    """

    time: str
    what: str
    label: Any = None

    @classmethod
    def now(cls, what: str, label: Any = None) -> Self:
        """A change at this moment."""
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), what, label)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Back from `to_json`."""
        return cls(str(values["time"]), str(values["what"]), values["label"])


def since_fit(history: Sequence[Change]) -> str:
    """When a model was fitted, and what was changed since, as a sentence; empty where it is not
    known.

    >>> since_fit([Change("2026-11-29T21:20:05+00:00", "fitted")])
    'It was fitted on 2026-11-29 at 21:20 UTC.'
    """
    if not history:
        return ""
    first = datetime.fromisoformat(history[0].time).astimezone(UTC)
    since: dict[str, list[str]] = {}
    for change in history[1:]:
        since.setdefault(change.what, []).append(
            "unknown" if change.label is None else str(change.label)
        )
    changes = "; ".join(
        f"{what} since: {', '.join(dict.fromkeys(names))}" for what, names in since.items()
    )
    return f"It was fitted on {first:%Y-%m-%d at %H:%M} UTC{f'; {changes}' if changes else ''}."
