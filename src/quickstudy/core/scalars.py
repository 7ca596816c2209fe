"""Numbers that are given to quickstudy, checked where they come in; neither torch nor numpy is
imported.
"""

import numbers
import operator
import sys
from typing import Any

from quickstudy.core.errors import ConfigError, QuickstudyError


def whole(
    value: Any, name: str, *, least: int | None = None, error: type[QuickstudyError] = ConfigError
) -> int:
    """A whole number as an ``int``; numpy's are taken too.

    Args:
        value: what was given.
        name: of the argument, for the message.
        least: the smallest that is allowed.
        error: what to raise.

    >>> whole(3, "n_way")
    3
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError as cause:
        raise error(
            f"{name} must be a whole number, got {value!r} ({type(value).__name__}). "
            f"Write {name.rpartition(' ')[2]}=5, not 5.0 or '5'."
        ) from cause
    if least is not None and number < least:
        raise error(f"{name} must be at least {least}, got {number}.")
    return number


def number(value: Any, name: str) -> int | float:
    """A number, whole or not; numpy's are taken too."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ConfigError(f"{name} must be a number, got {value!r} ({type(value).__name__}).")
    if isinstance(value, int | float):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def finite(value: Any, name: str) -> int | float:
    """A finite number."""
    checked = number(value, name)
    if not abs(checked) <= sys.float_info.max:  # math.isfinite does not take whole numbers above it
        raise ConfigError(f"{name} must be a finite number, got {value!r}.")
    return checked
