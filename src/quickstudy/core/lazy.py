"""Rooms whose names are imported when they are first used, so that starting costs little.

A room's ``__init__`` lists its public names as imports under ``if TYPE_CHECKING:``, where editors,
type checkers and import-linter read them, and calls `attach` in the other branch::

    if TYPE_CHECKING:
        from quickstudy.encoders.mlp import MLP as MLP
    else:
        __getattr__, __dir__, __all__ = attach(__name__)

`attach` reads the same lines, so no name is written twice. Names that are not repeated after ``as``
are for annotations only.
"""

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


def attach(room: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The ``__getattr__``, ``__dir__`` and ``__all__`` of a room (PEP 562).

    Args:
        room: the ``__name__`` of the package that calls.
    """
    modules = exports(room)
    package = sys.modules[room]

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{room}' has no attribute '{name}'")
        source = importlib.import_module(modules[name])
        value = source if modules[name] == f"{room}.{name}" else getattr(source, name)
        setattr(package, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(package), *modules})

    return load, names, sorted(modules)


def exports(room: str) -> dict[str, str]:
    """The module that each public name of a room comes from; nothing of the room is imported.

    Args:
        room: a package that is being or has been imported.
    """
    tree = ast.parse(Path(str(sys.modules[room].__file__)).read_text(encoding="utf-8"))
    blocks = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imports = [line for block in blocks for line in block.body if isinstance(line, ast.ImportFrom)]
    public = [(line.module, alias.name) for line in imports for alias in line.names if alias.asname]
    return {name: f"{room}.{name}" if module == room else str(module) for module, name in public}


class Registry(MutableMapping[str, _T], Generic[_T]):
    """Parts by the name that recipes and commands use; each is imported when it is first asked for.

    Args:
        room: the package whose attributes they are.
        attributes: the name of the attribute for each name of a part.
    """

    def __init__(self, room: str, attributes: Mapping[str, str]) -> None:
        self._room = room
        self._attributes = dict(attributes)
        self._parts: dict[str, _T] = {}

    def __getitem__(self, name: str) -> _T:
        if name not in self._parts:
            self._parts[name] = getattr(sys.modules[self._room], self._attributes[name])
        return self._parts[name]

    def __setitem__(self, name: str, part: _T) -> None:
        self._parts[name] = part

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._parts.pop(name, None)
        self._attributes.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._attributes, *self._parts]))

    def __contains__(self, name: object) -> bool:
        return name in self._attributes or name in self._parts

    def __len__(self) -> int:
        return len(list(iter(self)))

    def module(self, name: str) -> str:
        """The module that a part is from; it is not imported for that.

        Raises:
            KeyError: for a name that is not there.
        """
        if name in self._parts:
            return str(getattr(self._parts[name], "__module__", ""))
        return exports(self._room)[self._attributes[name]]
