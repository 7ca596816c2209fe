"""Small pictures inside a page, each once."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from quickstudy.core.errors import DataError
from quickstudy.data import read_picture
from quickstudy.data.image_files import picture_endings
from quickstudy.estimators.support import is_of_table

SIDE, MOST = 96, 200
_TEXT = 160
_SMALL = 48  # below this a picture is enlarged, and its pixels had better be seen as such


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, stored once and shown as often as wanted."""

    id: str
    uri: str
    width: int
    height: int

    @property
    def coarse(self) -> bool:
        """Whether it is so small that it is shown enlarged."""
        return max(self.width, self.height) < _SMALL


@dataclass(frozen=True)
class Item:
    """An example as the page shows it.

    Args:
        name: what it is called.
        text: of a sentence, itself; else empty.
        picture: whether it is one.
        thumbnail: the picture; None where there is none, it cannot be read, or there is no room for
            more.
    """

    name: str
    text: str
    picture: bool
    thumbnail: Thumbnail | None


class Items:
    """The examples, their pictures read when they are asked for: at most `MOST`, first come, first
    served.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self._endings = picture_endings()
        self._paths = [_file(t) for t in items]
        self._items = items
        self._made: dict[int, Thumbnail | None] = {}
        self.names = tuple(self._name(i) for i in range(len(items)))
        self.of_table = is_of_table(items)

    @property
    def thumbnails(self) -> list[Thumbnail]:
        """All that were made."""
        return [t for t in self._made.values() if t is not None]

    @property
    def left(self) -> int:
        """How many more pictures may be shown."""
        return MOST - len(self._made)

    def is_picture(self, i: int) -> bool:
        """Whether example ``i`` is one, by the ending of its file."""
        path = self._paths[i]
        return path is not None and path.suffix.lower() in self._endings

    def __getitem__(self, i: int) -> Item:
        picture = self.is_picture(i)
        if picture and i not in self._made and self.left > 0:
            self._made[i] = _thumbnail(self._paths[i], f"p{len(self._made)}")
        item = self._items[i]
        text = _short(item, _TEXT) if isinstance(item, str) and self._paths[i] is None else ""
        return Item(self.names[i], text, picture, self._made.get(i))

    def _name(self, i: int) -> str:
        path, item = self._paths[i], self._items[i]
        if path is not None:
            return "/".join(path.parts[-2:])
        return f"“{_short(item, 60)}”" if isinstance(item, str) else f"row {item}"


def _file(item: Any) -> Path | None:
    """The file that a item lies in; None of a sentence or a row."""
    if isinstance(item, Path):
        return item
    try:
        return Path(item) if isinstance(item, str) and Path(item).is_file() else None
    except (OSError, ValueError):  # a sentence too long for a file name, or with a zero byte
        return None


def _short(text: str, most: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else f"{plain[: most - 1].rstrip()}…"


def _thumbnail(path: Path | None, name: str) -> Thumbnail | None:
    try:
        assert path is not None
        picture = read_picture(path, at_least=2 * SIDE)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(
            stream, "JPEG", quality=80 if max(picture.size) >= _SMALL else 92, optimize=True
        )
    except (DataError, OSError, MemoryError):  # the page says so, and is written all the same
        return None
    return Thumbnail(
        name,
        f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}",
        *picture.size,
    )
