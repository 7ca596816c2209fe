"""Names of identities: written alike whatever keyboard or file system they came from."""

import unicodedata

from quickstudy.core.errors import GalleryError

LONGEST = 500


def normal_name(name: str) -> str:
    """A name as it is kept: trimmed, accents composed (NFC).

    Raises:
        GalleryError: for a name that is empty, too long, no text, or has control characters.

    >>> normal_name(" Jose\N{COMBINING ACUTE ACCENT} ") == "José"
    True
    """
    if not isinstance(name, str):
        raise GalleryError(f"The name of an identity must be a text, got {name!r}.")
    normal = unicodedata.normalize("NFC", name).strip()
    if not normal:
        raise GalleryError("An identity needs a name, but got an empty one.")
    if len(normal) > LONGEST:
        raise GalleryError(
            f"The name of an identity has at most {LONGEST} characters, got {len(normal)}: "
            f"'{normal[:40]}…'."
        )
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in normal):
        raise GalleryError(
            f"The name {normal!r} holds control characters or is not valid Unicode. Give a plain "
            "name."
        )
    return normal
