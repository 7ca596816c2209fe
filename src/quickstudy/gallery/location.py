"""Where a gallery lies: a file (SQLite), or a PostgreSQL database."""

import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from quickstudy.core.disk import as_path
from quickstudy.core.errors import GalleryError

_SECRET = re.compile(r"(://[^:/@]*:)[^@]*(@)")
_QUERY_SECRETS = ("password", "sslpassword")


@dataclass(frozen=True)
class Location:
    """A place that a gallery can be at.

    Args:
        place: as it was given.
        url: for SQLAlchemy.
        path: of the file, for SQLite.
    """

    place: str
    url: URL
    path: Path | None

    @classmethod
    def of(cls, place: "str | Path | Location") -> "Location":
        """From a path or a URL.

        Raises:
            GalleryError: for a URL that is of no database that galleries can use.
        """
        if isinstance(place, Location):
            return place
        text = place if isinstance(place, str) else str(as_path(place, "place"))
        if "://" not in text:
            return cls._file(text, text)
        try:
            url = make_url(text)
        except (ArgumentError, ValueError) as error:
            hidden = _SECRET.sub(r"\1***\2", text)
            raise GalleryError(
                f"'{hidden}' is no address of a database. Give a file name, "
                "or postgresql://user@host/name."
            ) from error
        backend = url.get_backend_name()
        if backend == "sqlite" and url.database:
            return cls._file(text, url.database)
        if backend != "postgresql":
            raise GalleryError(
                f"'{_masked(url, text)}' is no database that can be used: galleries are kept in "
                "SQLite or PostgreSQL. Give a file name, or postgresql://user@host/name."
            )
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        return cls(text, url, None)

    @property
    def shown(self) -> str:
        """For messages: without a password."""
        return self.place if self.path else _masked(self.url, self.place)

    @property
    def name(self) -> str:
        """Short, for titles."""
        return self.path.name if self.path else str(self.url.database)

    def masked(self, text: str) -> str:
        """A text in which the password does not occur."""
        secrets = [self.url.password, *(self.url.query.get(key) for key in _QUERY_SECRETS)]
        for secret in secrets:
            if isinstance(secret, str) and secret:
                text = text.replace(secret, "***")
        return text

    @classmethod
    def _file(cls, place: str, path: str) -> "Location":
        absolute = Path(path).expanduser().absolute()
        return cls(place, URL.create("sqlite", database=str(absolute)), absolute)


def _masked(url: URL, text: str) -> str:
    hidden = {key: "***" for key in _QUERY_SECRETS if key in url.query}
    if not url.password and not hidden:
        return text
    return url.update_query_dict(hidden).render_as_string(hide_password=True)
