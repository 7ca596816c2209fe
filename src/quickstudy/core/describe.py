"""Objects that remember how they were built, so that JSON can describe them and nothing has to be pickled.

Reading a description back calls only classes that are already imported and that inherit from `Described`: it never imports
a module by name and never runs code from the file.
"""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.types import Classes, Reals

_PLAIN = (str, int, float, bool, type(None))


class Described:
    """Remembers its constructor's arguments: `describe` turns it to JSON, `rebuild` back to an object with fresh weights."""

    _known: ClassVar[dict[str, type]] = {}
    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Described._known[_name(cls)] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        # copy.deepcopy calls __new__ without arguments and restores __dict__ afterwards.
        bound = inspect.signature(cls.__init__).bind_partial(made, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])
        object.__setattr__(made, "_arguments", given)
        return made


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__.startswith("quickstudy.") else f"{cls.__module__}.{cls.__qualname__}"


def describe(value: Any) -> Any:
    """A JSON value from which `rebuild` makes an equal object (a `Described` one with fresh weights).

    Raises:
        ConfigError: for a value that has no such description, naming its type.
    """
    if isinstance(value, Described):
        return {"type": _name(type(value)), "arguments": {k: describe(v) for k, v in value._arguments.items()}}
    if isinstance(value, Classes | Reals):
        return {"type": type(value).__name__, "arguments": {"width": value.width}}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, Mapping):
        return {"type": "dict", "arguments": {str(k): describe(v) for k, v in value.items()}}
    raise ConfigError(
        f"{type(value).__module__}.{type(value).__qualname__} cannot be written to JSON, so what contains it cannot be saved. "
        "Make it a subclass of quickstudy.AbstractEncoder (or another part of quickstudy) whose arguments are plain values."
    )


def rebuild(description: Any) -> Any:
    """The object that `describe` described. Lists come back as tuples.

    Raises:
        LoadError: for a type that is not known here, with the nearest spelling.
    """
    if isinstance(description, list):
        return tuple(rebuild(v) for v in description)
    if not isinstance(description, dict):
        return description
    if set(description) != {"type", "arguments"} or not isinstance(description["arguments"], dict):
        raise LoadError(f"A description has the keys 'type' and 'arguments', this one has {sorted(description)}. The file is damaged.")
    name, arguments = description["type"], {k: rebuild(v) for k, v in description["arguments"].items()}
    if name == "dict":
        return arguments
    if name in ("Classes", "Reals"):
        return (Classes if name == "Classes" else Reals)(arguments["width"])
    if name not in Described._known:
        hint = "" if "." not in name else "Import the module that defines it first, then load again. "
        raise LoadError(f"The file needs a part called '{name}', which is not known here. {hint}{did_you_mean(name, Described._known)}")
    try:
        return Described._known[name](**arguments)
    except TypeError as error:
        raise LoadError(f"The file describes a '{name}' that this version cannot build: {error}.") from error
