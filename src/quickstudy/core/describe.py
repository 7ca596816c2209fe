"""Objects that remember how they were built, so that JSON can describe them and nothing has to be
pickled.

Reading a description back calls only classes that are already imported and that inherit from
`Described`: it never imports a module by name and never runs code from the file.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.types import Classes, Reals, Target

_PLAIN = (str, int, float, bool, type(None))
_TARGETS: dict[str, Callable[..., Target]] = {
    "Classes": lambda width: Classes(width),
    "Reals": lambda width: Reals(width),
}


class Described:
    """Remembers its constructor's arguments: `describe` turns it to JSON, `rebuild` back to an
    object with fresh weights.
    """

    _known: ClassVar[dict[str, type]] = {}
    _arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Described._known[_name(cls)] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        # copy.deepcopy calls __new__ without arguments and restores __dict__ afterwards.
        signature = inspect.signature(cls.__init__)
        given = dict(list(signature.bind_partial(made, *args, **kwargs).arguments.items())[1:])
        for name, p in signature.parameters.items():
            if p.kind is p.VAR_KEYWORD:
                given |= given.pop(name, {})
            elif p.kind is p.VAR_POSITIONAL and name in given:
                given[f"*{name}"] = given.pop(name)
        object.__setattr__(made, "_arguments", given)
        return made


def _name(cls: type) -> str:
    return (
        cls.__qualname__
        if cls.__module__.startswith("quickstudy.")
        else f"{cls.__module__}.{cls.__qualname__}"
    )


def describe(value: Any) -> Any:
    """A JSON value from which `rebuild` makes an equal object (a `Described` one with fresh
    weights).

    Raises:
        ConfigError: for a value that has no such description, naming its type.
    """
    if isinstance(value, Described):
        unnamed = [k for k in value._arguments if k.startswith("*")]
        if unnamed:
            raise ConfigError(
                f"{_name(type(value))} takes {unnamed[0]}, so it cannot be written to JSON. Give "
                "it a named argument instead."
            )
        return {
            "type": _name(type(value)),
            "arguments": {k: describe(v) for k, v in value._arguments.items()},
        }
    if isinstance(value, Classes | Reals):
        return {"type": type(value).__name__, "arguments": {"width": value.width}}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, Mapping):
        return {"type": "dict", "arguments": {str(k): describe(v) for k, v in value.items()}}
    raise ConfigError(
        f"{type(value).__module__}.{type(value).__qualname__} cannot be written to JSON, so what "
        "contains it cannot be saved. "
        "Make it a subclass of quickstudy.AbstractEncoder (or another part of quickstudy) whose "
        "arguments are plain values."
    )


def rebuild(description: Any) -> Any:
    """The object that `describe` described. Lists come back as tuples.

    Raises:
        LoadError: for a type that is not known here, with the nearest spelling, or one that cannot
            be built with these arguments.
    """
    if isinstance(description, list):
        return tuple(rebuild(v) for v in description)
    if not isinstance(description, dict):
        return description
    name, given = description.get("type"), description.get("arguments")
    if len(description) != 2 or not isinstance(name, str) or not isinstance(given, dict):
        raise LoadError(
            "A description has a 'type' (text) and 'arguments' (an object), this one is "
            f"{description}. The file is damaged."
        )
    arguments = {k: rebuild(v) for k, v in given.items()}
    if name == "dict":
        return arguments
    if name not in _TARGETS and name not in Described._known:
        hint = (
            "" if "." not in name else "Import the module that defines it first, then load again. "
        )
        raise LoadError(
            f"The file needs a part called '{name}', which is not known here. "
            f"{hint}{did_you_mean(name, Described._known)}"
        )
    try:
        return (_TARGETS.get(name) or Described._known[name])(**arguments)
    except Exception as error:  # the arguments come from a file, so a constructor may meet anything
        raise LoadError(
            f"The file describes a '{name}' that cannot be built here: {error}."
        ) from error
