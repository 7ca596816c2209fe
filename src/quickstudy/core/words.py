"""Numbers in sentences."""

from operator import index
from typing import SupportsIndex


def counted(n: SupportsIndex, one: str, many: str = "") -> str:
    """A number with its noun, in the singular where it is one.

    Args:
        n: how many.
        one: what one of them is called.
        many: what several are called; empty = with an s.

    >>> counted(1, "identity", "identities"), counted(1200, "file"), counted(0, "class", "classes")
    ('1 identity', '1,200 files', '0 classes')
    """
    count = index(n)
    return f"{count:,} {one if count == 1 else many or one + 's'}"
