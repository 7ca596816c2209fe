"""Pickles of plain data, read without running anything that is in them.

A pickle is a program for a small machine with a stack. This reader knows the instructions that
build numbers, text, lists, dictionaries and arrays of numpy, and refuses all others: no function is
ever looked up by a name that the file gives.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError

_MARK = object()
_ARRAY_KINDS = "biufS"
# What a file may name, by module and name: where numpy and Python keep the makers of arrays.
_NAMES = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}


class _Kind:
    """The type of an array's numbers while it is being built."""

    def __init__(self, name: str) -> None:
        self.dtype: np.dtype[Any] = np.dtype(name)
        if self.dtype.kind not in _ARRAY_KINDS:
            raise ValueError(f"an array of type '{name}'")

    def build(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class StoredArray:
    """An array of numpy in a pickle."""

    def __init__(self) -> None:
        self.value: NDArray[Any] = np.empty(0, np.uint8)

    def build(self, state: Any) -> None:
        """Take shape, type and bytes from what numpy stored."""
        _, shape, kind, fortran, raw = state
        self.fill(raw, kind, shape, "F" if fortran else "C")

    def fill(self, raw: Any, kind: Any, shape: Any, order: Any) -> None:
        """The numbers in ``raw``, in this shape."""
        if not isinstance(kind, _Kind):
            raise ValueError("an array without a type of numbers")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        flat = np.frombuffer(raw, dtype=kind.dtype)
        self.value = flat.reshape([int(n) for n in shape], order="F" if order == "F" else "C")


@dataclass(frozen=True)
class _Name:
    """A maker that the file named and that we stand in for."""

    what: str


def read_plain_pickle(content: bytes | memoryview, name: str) -> Any:
    """What a pickle holds: numbers, text, lists, tuples, dictionaries and `StoredArray`. Bytes, and
    the text of Python 2, come as views of ``content``; as keys of dictionaries they come as text.

    Args:
        content: of the file; it may be mapped from disk.
        name: of the file, for messages.

    Raises:
        DataError: when it is damaged, or holds anything else.

    >>> import pickle
    >>> read_plain_pickle(pickle.dumps({"labels": [1, 2]}), "labels.pkl")
    {'labels': [1, 2]}
    """
    try:
        return _Machine(memoryview(content)).run()
    except (
        ValueError,
        TypeError,
        LookupError,
        struct.error,
        OverflowError,
        RecursionError,
    ) as error:
        raise DataError(
            f"{name} is no pickle of plain data (numbers, text, lists, dictionaries, arrays of "
            f"numpy), or is damaged: {error}. Reading another kind of pickle could run a program, "
            "so it was not read; fetch it again, or give the data in another of the forms."
        ) from error


def array_of(value: Any, name: str) -> NDArray[Any]:
    """A stored array, or a list of numbers, as an array of numpy.

    Raises:
        DataError: when it is neither.
    """
    if isinstance(value, StoredArray):
        return value.value
    if isinstance(value, list):
        items = [v.value if isinstance(v, StoredArray) else v for v in value]
        try:
            array = np.asarray(items)
        except ValueError:
            array = np.empty(0, object)
        if array.dtype.kind in "biuf":
            return array
    raise DataError(f"{name} must be an array or a list of numbers, but is {type(value).__name__}.")


def text_of(value: Any) -> str:
    """Text, or the text of Python 2, as text."""
    return str(value, "latin1") if isinstance(value, memoryview | bytes) else str(value)


class _Machine:
    """Runs the instructions of one pickle."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self._take(1)[0]
            if code == ord("."):
                (result,) = self._stack
                return result
            action = _ACTIONS.get(code)
            if action is None:
                raise ValueError(f"the instruction {code:#04x} at byte {self._at - 1:,}")
            action(self)

    # --- reading

    def _take(self, n: int) -> memoryview:
        if n < 0 or self._at + n > len(self._content):
            raise ValueError(
                f"it ends at byte {len(self._content):,}, but {n:,} more are needed at byte "
                f"{self._at:,}"
            )
        part = self._content[self._at : self._at + n]
        self._at += n
        return part

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._at
        while self._content[end] != 10:
            end += 1
        line = bytes(self._content[self._at : end])
        self._at = end + 1
        return line.decode("latin1")

    # --- the stack

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _top(self, kind: type) -> Any:
        top = self._stack[-1]
        if not isinstance(top, kind):
            raise ValueError(f"{type(top).__name__} where {kind.__name__} is needed")
        return top

    # --- instructions

    def put_integer(self, form: str) -> None:
        self.push(self._number(form))

    def put_line_integer(self) -> None:
        line = self._line().rstrip("L")
        self.push(line == "01" if line in ("00", "01") else int(line))

    def put_long(self) -> None:
        self.push(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def put_line_float(self) -> None:
        self.push(float(self._line()))

    def put_bytes(self, form: str) -> None:
        self.push(self._take(self._number(form)))

    def put_text(self, form: str) -> None:
        self.push(str(self._take(self._number(form)), "utf-8", "surrogatepass"))

    def put_line_text(self) -> None:
        line = self._line()
        quoted = len(line) > 1 and line[0] == line[-1] and line[0] in "'\""
        if not quoted or "\\" in line:
            raise ValueError(f"the text {line[:20]!r}")
        self.push(line[1:-1])

    def put_tuple(self, n: int) -> None:
        items = self._stack[len(self._stack) - n :]
        del self._stack[len(self._stack) - n :]
        self.push(tuple(items))

    def put_marked(self, kind: Callable[[list[Any]], Any]) -> None:
        self.push(kind(self._since_mark()))

    def append(self) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def extend(self) -> None:
        items = self._since_mark()
        self._top(list).extend(items)

    def set_item(self) -> None:
        value = self._stack.pop()
        key = self._stack.pop()
        self._top(dict)[_key(key)] = value

    def set_items(self) -> None:
        items = self._since_mark()
        self._top(dict).update(_pairs(items))

    def keep(self, number: int | None) -> None:
        self._memo[len(self._memo) if number is None else number] = self._stack[-1]

    def keep_line(self) -> None:
        self.keep(int(self._line()))

    def keep_number(self, form: str) -> None:
        self.keep(self._number(form))

    def recall_line(self) -> None:
        self.push(self._memo[int(self._line())])

    def recall(self, form: str) -> None:
        self.push(self._memo[self._number(form)])

    def name_line(self) -> None:
        module = self._line()
        self._named(module, self._line())

    def name_stack(self) -> None:
        name = self._stack.pop()
        self._named(self._stack.pop(), name)

    def _named(self, module: Any, name: Any) -> None:
        if (module, name) not in _NAMES:
            raise ValueError(f"it names {module}.{name}")
        self.push(_Name(_NAMES[module, name]))

    def reduce(self) -> None:
        arguments = self._stack.pop()
        maker = self._stack.pop()
        if not isinstance(maker, _Name) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no maker of arrays")
        self.push(_made(maker.what, arguments))

    def build(self) -> None:
        state = self._stack.pop()
        top = self._stack[-1]
        if not isinstance(top, _Kind | StoredArray):
            raise ValueError(f"a state for {type(top).__name__}")
        if isinstance(state, tuple):
            state = tuple(text_of(s) if i == 1 and _short(s) else s for i, s in enumerate(state))
        top.build(state)

    actions: ClassVar[dict[str, Callable[["_Machine"], None]]] = {
        "\x80": lambda m: m._skip(1),
        "\x95": lambda m: m._skip(8),
        "(": lambda m: m.push(_MARK),
        "0": lambda m: m._drop(),
        "1": lambda m: m._drop_mark(),
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "J": lambda m: m.put_integer("<i"),
        "K": lambda m: m.put_integer("<B"),
        "M": lambda m: m.put_integer("<H"),
        "G": lambda m: m.put_integer(">d"),
        "I": lambda m: m.put_line_integer(),
        "L": lambda m: m.put_line_integer(),
        "\x8a": lambda m: m.put_long(),
        "F": lambda m: m.put_line_float(),
        "T": lambda m: m.put_bytes("<i"),
        "U": lambda m: m.put_bytes("<B"),
        "B": lambda m: m.put_bytes("<I"),
        "C": lambda m: m.put_bytes("<B"),
        "\x8e": lambda m: m.put_bytes("<Q"),
        "\x96": lambda m: m.put_bytes("<Q"),
        "X": lambda m: m.put_text("<I"),
        "\x8c": lambda m: m.put_text("<B"),
        "\x8d": lambda m: m.put_text("<Q"),
        "S": lambda m: m.put_line_text(),
        "V": lambda m: m.push(m._line().encode("latin1").decode("raw-unicode-escape")),
        ")": lambda m: m.push(()),
        "t": lambda m: m.put_marked(tuple),
        "\x85": lambda m: m.put_tuple(1),
        "\x86": lambda m: m.put_tuple(2),
        "\x87": lambda m: m.put_tuple(3),
        "]": lambda m: m.push([]),
        "l": lambda m: m.put_marked(list),
        "a": lambda m: m.append(),
        "e": lambda m: m.extend(),
        "}": lambda m: m.push({}),
        "d": lambda m: m.put_marked(lambda items: dict(_pairs(items))),
        "s": lambda m: m.set_item(),
        "u": lambda m: m.set_items(),
        "p": lambda m: m.keep_line(),
        "q": lambda m: m.keep_number("<B"),
        "r": lambda m: m.keep_number("<I"),
        "\x94": lambda m: m.keep(None),
        "g": lambda m: m.recall_line(),
        "h": lambda m: m.recall("<B"),
        "j": lambda m: m.recall("<I"),
        "c": lambda m: m.name_line(),
        "\x93": lambda m: m.name_stack(),
        "R": lambda m: m.reduce(),
        "b": lambda m: m.build(),
    }

    def _skip(self, n: int) -> None:
        self._take(n)

    def _drop(self) -> None:
        self._stack.pop()

    def _drop_mark(self) -> None:
        self._since_mark()


_ACTIONS = {ord(code): action for code, action in _Machine.actions.items()}


def _made(what: str, arguments: tuple[Any, ...]) -> Any:
    if what == "dtype":
        return _Kind(text_of(arguments[0]))
    if what == "reconstruct":
        return StoredArray()
    if what == "bytes" and not arguments:
        return memoryview(b"")
    if what == "encode":
        return memoryview(arguments[0].encode("latin1"))
    if what == "scalar":
        kind, raw = arguments
        if not isinstance(kind, _Kind):
            raise ValueError("a number without a type")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        return np.frombuffer(raw, dtype=kind.dtype)[0].item()
    if what == "frombuffer":
        array = StoredArray()
        array.fill(*arguments)
        return array
    raise ValueError(f"a call of {what}")


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return [(_key(k), v) for k, v in zip(items[::2], items[1::2], strict=True)]


def _key(value: Any) -> Any:
    return text_of(value) if isinstance(value, memoryview) else value


def _short(value: Any) -> bool:
    return isinstance(value, memoryview) and len(value) == 1
