"""Objects that remember how they were built, so that JSON can describe them and nothing has to be
pickled.

Reading a description back calls only classes that inherit from `Described` and are part of
quickstudy or already imported: it never imports a module that a file names and never runs code
from the file.
"""

import contextlib
import copy
import importlib
import inspect
import math
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.scalars import number, whole
from quickstudy.core.types import Classes, Reals, Target

# A description comes from a file, so its size is checked before anything is built from it.
DEEPEST: Final = 60
MOST_VALUES: Final = 20_000
MOST_MODULES: Final = 5_000
MOST_CALLS: Final = 20_000
"""Of functions of torch while it is built."""
MOST_NUMBERS: Final = 1 << 29
"""Numbers in the tensors of what is built, where the caller knows no closer bound: 2 GiB."""
_SPARE_NUMBERS = 1 << 20  # for buffers that are not saved

# Where the parts of saved learners are from; named here as text, as core may import none of them.
_ROOMS = ("algorithms", "encoders", "objectives", "augment", "data", "rl")
_PLAIN = (str, int, float, bool, type(None))
_TARGETS: dict[str, Callable[..., Target]] = {
    "Classes": lambda width: Classes(width),
    "Reals": lambda width: Reals(width),
}
_MODULE = "module"  # the type of a network that no description holds, only its name

Modules: TypeAlias = Mapping[str, nn.Module | Callable[[], nn.Module]]
"""Networks that are no part of quickstudy, by name: each one ready, or a function that makes it."""


class _ConstructorSignature:
    """The signature of a class whose ``__new__`` takes anything: that of its ``__init__``.

    Documentation and ``help`` ask a class for it; an instance that is called has its own.
    """

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        signature = inspect.signature(owner.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Described:
    """Remembers its constructor's arguments: `describe` turns it to JSON, `rebuild` back to an
    object with fresh weights.
    """

    wrong_part: ClassVar[str] = ""
    """What to do with something else that was given in the place of this part."""
    __signature__: ClassVar[_ConstructorSignature] = _ConstructorSignature()
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
        checked = {
            name: _checked(value, name, signature.parameters[name].annotation, cls)
            if name in signature.parameters
            else value
            for name, value in given.items()
        }
        object.__setattr__(made, "_arguments", checked)
        return made

    def given_modules(self) -> Mapping[str, nn.Module]:
        """The networks among the arguments that no description holds, by the name under which they
        are given again when the part is rebuilt; none, unless overridden.
        """
        return {}


def _name(cls: type) -> str:
    return (
        cls.__qualname__
        if cls.__module__.startswith("quickstudy.")
        else f"{cls.__module__}.{cls.__qualname__}"
    )


def _checked(value: Any, name: str, annotation: Any, owner: type) -> Any:
    """An argument as its annotation promises it: parts of the right kind, numbers that are numbers.

    Raises:
        ConfigError: saying what was expected.
    """
    choices = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if value is None and type(None) in choices:
        return value
    kinds = tuple(c for c in choices if isinstance(c, type) and c is not type(None))
    parts = tuple(kind for kind in kinds if issubclass(kind, Described))
    where = f"{owner.__name__}: {name}"
    if parts and len(parts) == len(kinds):
        if not isinstance(value, parts):
            cure = " ".join(part.wrong_part for part in parts).strip()
            raise ConfigError(
                f"{where} must be {' or '.join(part.__name__ for part in parts)}, got "
                f"{type(value).__module__}.{type(value).__qualname__}. {cure}".rstrip()
            )
    elif kinds == (int,):
        return whole(value, where)
    elif kinds == (float,):
        return number(value, where)
    return value


def _is_union(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


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
        names = {id(module): name for name, module in value.given_modules().items()}
        return {
            "type": _name(type(value)),
            "arguments": {
                k: {"type": _MODULE, "arguments": {"name": names[id(v)]}}
                if id(v) in names
                else describe(v)
                for k, v in value._arguments.items()
            },
        }
    if isinstance(value, Classes | Reals):
        return {"type": type(value).__name__, "arguments": {"width": value.width}}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.number | np.bool_):
        return value.item()
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, Mapping):
        return {"type": "dict", "arguments": {str(k): describe(v) for k, v in value.items()}}
    raise ConfigError(
        f"{type(value).__module__}.{type(value).__qualname__} cannot be written to JSON, so what "
        "contains it cannot be saved. "
        "Make it a subclass of quickstudy.AbstractEncoder (or another part of quickstudy) whose "
        "arguments are plain values; wrap a network of torch in quickstudy.encoders.Wrapped."
    )


def _import_parts() -> None:
    """Import the rooms whose classes a description may name; they are loaded lazily."""
    for room in _ROOMS:
        module = importlib.import_module(f"quickstudy.{room}")
        for name in module.__all__:
            getattr(module, name)


def _types(description: Any) -> Iterator[str]:
    """The names of the types in a description."""
    if isinstance(description, list):
        for value in description:
            yield from _types(value)
    elif isinstance(description, dict):
        if isinstance(description.get("type"), str):
            yield description["type"]
        for value in description.values():
            yield from _types(value)


def rebuild(description: Any, *, numbers: int | None = None, modules: Modules | None = None) -> Any:
    """The object that `describe` described. Lists come back as tuples.

    The size of a tensor is checked before it gets storage, the number of modules while they are
    made.

    Args:
        description: from a file.
        numbers: how many numbers the tensors of the object hold, where the file says; an object
            with many more is refused.
        modules: the networks that it wraps, by name. They are copied, and left as they are.

    Raises:
        LoadError: for a type that is not known here, with the nearest spelling, one that cannot be
            built with these arguments, one that is too large, or a network that was not given.
    """
    _check_size(description)
    given = [_given(name, modules or {}) for name in _module_names(description)]
    if not set(_types(description)) <= {"dict", _MODULE, *_TARGETS, *Described._known}:
        _import_parts()
    allowed = MOST_NUMBERS if numbers is None else numbers + _SPARE_NUMBERS
    with _Bounded(allowed) as bounded, _counted(bounded):
        return _build(description, iter(given))


def _module_names(description: Any) -> Iterator[Any]:
    """The names of the networks in a description, in the order in which it is built."""
    if isinstance(description, list):
        for value in description:
            yield from _module_names(value)
    elif isinstance(description, dict):
        arguments = description.get("arguments")
        if description.get("type") == _MODULE and isinstance(arguments, dict):
            yield arguments.get("name")
        elif isinstance(arguments, dict):
            for value in arguments.values():
                yield from _module_names(value)


def _given(name: Any, modules: Modules) -> nn.Module:
    """A network that was given, as a copy of its own.

    Raises:
        LoadError: when it was not.
    """
    if name not in modules:
        hint = f" {did_you_mean(str(name), modules)}" if modules else ""
        raise LoadError(
            f"The file needs the network '{name}', which is no part of quickstudy. Build one of "
            f"the same form and give it: load(folder, modules={{'{name}': network}}).{hint}"
        )
    module = modules[name]
    module = copy.deepcopy(module) if isinstance(module, nn.Module) else module()
    if not isinstance(module, nn.Module):
        raise LoadError(
            f"modules['{name}'] must be a network of torch or a function that makes one, got "
            f"{type(module).__module__}.{type(module).__qualname__}."
        )
    return module


def check_given_modules(part: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse networks that were given to `rebuild` and do not fit the saved weights.

    Args:
        part: what was rebuilt.
        tensors: its saved weights, by name.

    Raises:
        LoadError: saying which tensors differ.
    """
    for prefix, owner in part.named_modules():
        given = owner.given_modules() if isinstance(owner, Described) else {}
        assert isinstance(owner, nn.Module)
        for inner, module in owner.named_modules(prefix=prefix, remove_duplicate=False):
            for name in (n for n, g in given.items() if g is module):
                _check_fits(name, module.state_dict(), _below(tensors, f"{inner}."))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _check_fits(name: str, own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    differences = [f"'{n}' was saved, and it has none" for n in sorted(saved) if n not in own]
    differences += [f"it has '{n}', and none was saved" for n in own if n not in saved]
    differences += [
        f"'{n}' was saved with the shape {tuple(saved[n].shape)}, and its own is "
        f"{tuple(own[n].shape)}"
        for n in own
        if n in saved and own[n].shape != saved[n].shape
    ]
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise LoadError(
            f"The network given as '{name}' does not fit the saved weights: "
            f"{'; '.join(differences[:3])}{more}. Give one of the form that was saved: "
            f"load(folder, modules={{'{name}': network}})."
        )


def known_parts() -> list[str]:
    """The names of all parts that a saved description may hold: those of the library and of the
    modules that were imported.

    >>> "ProtoNet" in known_parts()
    True
    """
    return sorted({*_TARGETS, *Described._known})


def _build(description: Any, modules: Iterator[nn.Module]) -> Any:
    if isinstance(description, list):
        return tuple(_build(v, modules) for v in description)
    if not isinstance(description, dict):
        return description
    name, given = description.get("type"), description.get("arguments")
    if len(description) != 2 or not isinstance(name, str) or not isinstance(given, dict):
        raise LoadError(
            "A description has a 'type' (text) and 'arguments' (an object), this one is "
            f"{description}. The file is damaged."
        )
    if name == _MODULE:
        return next(modules)
    arguments = {k: _build(v, modules) for k, v in given.items()}
    if name == "dict":
        return arguments
    if name not in _TARGETS and name not in Described._known:
        module = name.rpartition(".")[0]
        hint = (
            f"Import the module that defines it first ({module}), then load again."
            if module
            else did_you_mean(
                name, known_parts(), listed_by="quickstudy.core.describe.known_parts()"
            )
        )
        raise LoadError(f"The file needs a part called '{name}', which is not known here. {hint}")
    try:
        return (_TARGETS.get(name) or Described._known[name])(**arguments)
    except Exception as error:  # the arguments come from a file, so a constructor may meet anything
        raise LoadError(
            f"The file describes a '{name}' that cannot be built here: {error}."
        ) from error


def _check_size(description: Any) -> None:
    """Refuse a description that is too deep or too long."""
    level, n_values, depth = [description], 0, 0
    while level:
        depth += 1
        n_values += len(level)
        if depth > DEEPEST or n_values > MOST_VALUES:
            raise LoadError(
                f"The description in the file is deeper than {DEEPEST} levels or longer than "
                f"{MOST_VALUES} values. quickstudy wrote no such file."
            )
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below


class _Bounded(TorchFunctionMode):
    """While it lasts, no tensor of this thread is made with more numbers than allowed, and modules
    hold no more together.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.total = self.calls = self.cloned = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Refuse to make a tensor from sizes alone, where they are too large."""
        options = kwargs or {}
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise LoadError(f"It takes more than {MOST_CALLS} calls, so it was not built")
        if func is Tensor.clone:  # layers that are copies are not counted as modules
            self.cloned += args[0].numel()
            self.check(self.cloned)
        if args or "size" in options:
            self.check(_numbers_made(func, args or (options["size"],)))
        return func(*args, **options)

    def check(self, numbers: int) -> None:
        if numbers > self.numbers:
            raise LoadError(
                f"It would hold {numbers} numbers where at most {self.numbers} are expected, so it "
                "was not built"
            )

    def count(self, tensor: Tensor | None) -> None:
        """Of all modules together."""
        self.total += 0 if tensor is None else tensor.numel()
        self.check(self.total)


def _numbers_made(func: Any, args: tuple[Any, ...]) -> int:
    """How many numbers a tensor will hold that is made from these sizes; 0 for other functions."""
    if func in (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn):
        sizes = args[0] if isinstance(args[0], list | tuple) else args
        return math.prod(size for size in sizes if isinstance(size, int))
    ends = [abs(argument) for argument in args if isinstance(argument, int | float)]
    if func is torch.eye:
        return int(math.prod(ends) if len(ends) > 1 else ends[0] ** 2)
    if func is torch.arange:
        return int(sum(ends[:2]) / (ends[2] if len(ends) > 2 else 1))
    return int(ends[2]) if func is torch.linspace and len(ends) > 2 else 0


@contextlib.contextmanager
def _counted(bounded: _Bounded) -> Iterator[None]:
    """While it lasts, what modules of this thread register is counted."""
    thread = threading.get_ident()
    n_modules = 0

    def count_module(_: nn.Module, __: str, ___: nn.Module | None) -> None:
        nonlocal n_modules
        if threading.get_ident() == thread:
            n_modules += 1
            if n_modules > MOST_MODULES:
                raise LoadError(f"It has more than {MOST_MODULES} modules, so it was not built")

    def count_numbers(_: nn.Module, __: str, tensor: Tensor | None) -> None:
        if threading.get_ident() == thread:
            bounded.count(tensor)

    hooks = (
        register_module_module_registration_hook(count_module),
        register_module_parameter_registration_hook(count_numbers),
        register_module_buffer_registration_hook(count_numbers),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
