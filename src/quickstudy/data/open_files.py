"""Files that are open already (`io.BytesIO`, what ``open(path, "rb")`` gives, an upload), wherever
the content of a file may stand.
"""

from typing import Any, Protocol, runtime_checkable

from quickstudy.core.errors import DataError


@runtime_checkable
class OpenFile(Protocol):
    """Anything with a method ``read`` that gives bytes."""

    def read(self) -> Any:
        """All of the rest."""


def content_of(file: bytes | bytearray | OpenFile) -> bytes:
    """The whole content of an open file, from its beginning where it can be rewound.

    Raises:
        DataError: when it is closed, cannot be read, or gives something else than bytes.

    >>> import io
    >>> file = io.BytesIO()
    >>> file.write(b"abc")
    3
    >>> content_of(file)
    b'abc'
    """
    if isinstance(file, bytes | bytearray):
        return bytes(file)
    name = type(file).__name__
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)  # pyright: ignore[reportAttributeAccessIssue]
        content = file.read()
    except (OSError, ValueError) as error:
        raise DataError(
            f"The open file that came ({name}) cannot be read: {error}. Open it again, or give its "
            "path."
        ) from error
    if not isinstance(content, bytes | bytearray):
        raise DataError(
            f"The open file that came ({name}) gives {type(content).__name__}, not bytes. Open it "
            "with mode 'rb', or give its path or its bytes."
        )
    return bytes(content)
