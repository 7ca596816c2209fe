"""The names of classes: as a model has them, and the one that no class may have."""

import json
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from quickstudy.core.errors import ConfigError, DataError

UNKNOWN: Final = "unknown"
"""What is called so belongs to no class."""


def check_names(classes: Sequence[Any]) -> None:
    """Refuse a class that has the name of unknowns.

    Raises:
        DataError: where there is one.
    """
    if UNKNOWN in classes:
        raise DataError(
            f"With a false-accept rate, what belongs to no class is called '{UNKNOWN}', so no "
            "class can be called so. Rename it."
        )


def label_named(name: Any, classes: Sequence[Any]) -> Any:
    """A name as a model of these classes has it: without spaces around, composed (NFC), and of
    labels that are numbers the number.

    Args:
        name: a text; anything else is a label already.
        classes: the labels, at least one.

    Raises:
        ConfigError: when it cannot be one.
    """
    if not isinstance(name, str):
        return name
    written = unicodedata.normalize("NFC", name).strip()
    if not written:
        raise ConfigError("A class needs a name, but got an empty one.")
    same = [label for label in classes if str(label) == written]
    if same or isinstance(classes[0], str):
        return same[0] if same else written
    kind = type(classes[0])
    with suppress(ValueError):
        value = json.loads(written)
        if type(value) is kind or (kind is float and type(value) is int):
            return kind(value)
    raise ConfigError(
        f"The classes of this model are called {classes[0]!r} and the like, so '{written}' "
        f"cannot be one. Give a value of type {kind.__name__}."
    )
