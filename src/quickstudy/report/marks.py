"""Names inside sentences: marked where they begin and end, which a page shows and which keeps
right-to-left names in their place.
"""

from markupsafe import Markup, escape

# Unicode's own marks for a piece of text that is laid out by itself.
_CLASS, _OTHER, _END = "\u2068", "\u2066", "\u2069"
_NONE = str.maketrans("", "", _CLASS + _OTHER + _END)


def plain(name: str) -> str:
    """A name without such marks, which would end a name too early."""
    return name.translate(_NONE)


def as_class(name: str) -> str:
    """A name of a class, marked."""
    return f"{_CLASS}{plain(name)}{_END}"


def as_other(name: str) -> str:
    """Another name, marked: of a file, of a class in a list."""
    return f"{_OTHER}{plain(name)}{_END}"


def sentence(text: str) -> Markup:
    """A sentence as HTML: escaped, its names as elements, and no line's end between a number and
    its sign.

    >>> print(sentence(f"{as_class('a & b')}: 5 %").replace(chr(160), "~"))
    <bdi class="name">a &amp; b</bdi>: 5~%
    """
    safe = (
        str(escape(text.replace(" %", "\u00a0%")))
        .replace(_CLASS, '<bdi class="name">')
        .replace(_OTHER, "<bdi>")
        .replace(_END, "</bdi>")
    )
    return Markup(safe)
