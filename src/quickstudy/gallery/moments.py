"""Moments: kept in UTC, taken from users in their own time, shown in both."""

import contextlib
from datetime import UTC, datetime

from quickstudy.core.errors import GalleryError


def utc_now() -> datetime:
    """Now in UTC, without a zone, as both databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def kept(moment: datetime | str | None) -> datetime | None:
    """A moment, or one in ISO 8601, as the databases keep it; without a zone it is local time.

    Raises:
        GalleryError: for anything else.

    >>> kept("2026-12-01T11:00:00+01:00")
    datetime.datetime(2026, 12, 1, 10, 0)
    """
    given = moment
    if isinstance(moment, str):
        with contextlib.suppress(ValueError):
            given = datetime.fromisoformat(moment.strip())
    if given is None:
        return None
    if not isinstance(given, datetime):
        raise GalleryError(
            f"Expected a moment, a datetime or a text such as 2027-01-31, got {moment!r:.60}."
        )
    return given.astimezone(UTC).replace(tzinfo=None)


def iso(moment: datetime | None) -> str | None:
    """A kept moment in ISO 8601, with its zone."""
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()


def shown(moment: str | datetime) -> str:
    """A moment for a person to read: in local time, and in UTC.

    >>> "2026-12-01 10:00 UTC" in shown("2026-12-01T11:00:00+01:00")
    True
    """
    given = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    utc = given.astimezone(UTC)
    local = utc.astimezone()
    if not local.utcoffset():
        return f"{utc:%Y-%m-%d %H:%M} UTC"
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()} ({utc:%Y-%m-%d %H:%M} UTC)"
