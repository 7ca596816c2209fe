"""What happens to a save when the disk fails or the process dies: at every system call.

`check_faults` saves over an older state while one system call after another fails, fills the disk
or kills the process; `check_damage` flips bytes and cuts files of what was saved. Both take any
functions that write and read, so that every save path is checked alike.
"""

import contextlib
import errno
import os
import random
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from quickstudy.core.errors import ContractError, LoadError, QuickstudyError

Fault: TypeAlias = Literal["input/output error", "full disk", "kill"]

FAULTS: Final[tuple[Fault, ...]] = ("input/output error", "full disk", "kill")
CALLS: Final = (
    *("open", "write", "fsync", "close", "lseek", "ftruncate", "chmod", "fchmod"),
    *("replace", "rename", "unlink", "remove", "mkdir", "rmdir"),
)
"""The system calls that are counted, as functions of `os`."""

_GROWS = ("write", "mkdir", "ftruncate")
_RAW_ERROR = 4
_REFUSED = 3


@contextlib.contextmanager
def failing(at: int, fault: Fault) -> Iterator[list[str]]:
    """While it lasts, the ``at``-th system call that changes files (from 1) fails; a full disk
    stays full. A write that fails has written half.

    Yields:
        the names of the calls so far.
    """
    calls: list[str] = []
    before = {name: getattr(os, name) for name in CALLS}

    def fails(name: str, arguments: tuple[Any, ...]) -> bool:
        if fault == "full disk" and len(calls) > at:
            creates = name == "open" and arguments[1] & os.O_CREAT
            return bool(name in _GROWS or creates)
        return len(calls) == at

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if fails(name, arguments):
                if name == "write" and len(calls) == at:
                    before["write"](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if name == "close":
                    before["close"](*arguments)
                number = errno.ENOSPC if fault == "full disk" else errno.EIO
                raise OSError(number, os.strerror(number))
            return before[name](*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(name))
    try:
        yield calls
    finally:
        for name, function in before.items():
            setattr(os, name, function)


def check_faults(
    read: Callable[[Path], Any],
    write: Callable[[Path], object],
    write_older: Callable[[Path], object] | None = None,
    *,
    scratch: Path,
    name: str = "saved",
    faults: tuple[Fault, ...] = FAULTS,
) -> dict[Fault, int]:
    """Save once for every system call of a save, with that call failing; what is read afterwards
    must be the older state or the new one, and new where the save said so.

    Args:
        read: loads a path; its results are compared with ``==``.
        write: saves the new state to a path.
        write_older: saves the state before; None = there was nothing.
        scratch: an empty folder to work in.
        name: of the path below ``scratch``.
        faults: which to try.

    Returns:
        how many system calls were made to fail, for each fault.

    Raises:
        ContractError: when a mixture is read, something acknowledged is lost, an error is no
            `QuickstudyError`, or the next save does not work or leaves files behind.
    """
    template = scratch / "template"
    template.mkdir()
    if write_older is not None:
        write_older(template / name)
    older = _outcome(read, template / name)
    clean = scratch / "clean"
    shutil.copytree(template, clean)
    write(clean / name)
    new = _outcome(read, clean / name)
    names = _files(clean)
    counts: dict[Fault, int] = {}
    for fault in faults:
        at = 0
        while True:
            at += 1
            folder = scratch / f"{fault}-{at}"
            shutil.copytree(template, folder)
            ended, call = _save(write, folder / name, at, fault)
            where = f"{fault} at system call {at} ({call or 'none'})"
            if call == "" and ended == "done":
                shutil.rmtree(folder)
                break
            got = _outcome(read, folder / name)
            if got not in (older, new):
                raise ContractError(
                    f"{where}: what is read is neither old nor new: {str(got)[:300]}"
                )
            if ended == "done" and got != new:
                raise ContractError(f"{where}: the save said nothing, but the old state is read.")
            if ended not in ("done", "refused", "killed"):
                raise ContractError(f"{where}: no error in words, but {ended}")
            write(folder / name)
            if _outcome(read, folder / name) != new:
                raise ContractError(f"{where}: the next save is not read back.")
            if _files(folder) != names:
                left = sorted(_files(folder) ^ names)
                raise ContractError(f"{where}: the next save leaves other files: {left}")
            shutil.rmtree(folder)
        counts[fault] = at - 1
    return counts


def check_damage(
    read: Callable[[Path], Any],
    path: Path,
    *,
    scratch: Path,
    changes: int = 100,
    truncations: int = 20,
    seed: int = 0,
) -> dict[str, int]:
    """Change one byte, or cut the end, of a saved file at random; reading must say so in words, or
    give what was saved.

    Args:
        read: loads a path; its results are compared with ``==``.
        path: what was saved, a folder or a file.
        scratch: an empty folder to work in.
        changes, truncations: how many, over all files.
        seed: of the places.

    Returns:
        how many were noticed, and how many harmless.

    Raises:
        ContractError: when something else is read, or an error is no `QuickstudyError`.
    """
    right = read(path)
    draw = random.Random(seed)
    copy = scratch / path.name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
    files = sorted(f for f in (copy.rglob("*") if copy.is_dir() else [copy]) if f.is_file())
    files = [f for f in files if f.stat().st_size]
    counts = {"noticed": 0, "harmless": 0}
    for i in range(changes + truncations):
        file = files[i % len(files)]
        content = file.read_bytes()
        at = draw.randrange(len(content))
        damaged = bytearray(content)
        if i < changes:
            damaged[at] ^= draw.randrange(1, 256)
        else:
            del damaged[at:]
        file.write_bytes(damaged)
        got = _outcome(read, copy)
        where = f"byte {at} of {file.relative_to(scratch)}" + (
            f": {content[at]} became {damaged[at]}" if i < changes else ": cut off there"
        )
        if got[0] == "error":
            counts["noticed"] += 1
        elif got == ("read", right):
            counts["harmless"] += 1
        else:
            raise ContractError(f"{where}: something else is read: {str(got)[:300]}")
        file.write_bytes(content)
    return counts


def _outcome(read: Callable[[Path], Any], path: Path) -> tuple[str, Any]:
    try:
        return "read", read(path)
    except LoadError:
        return "error", None
    except QuickstudyError as error:
        return "error", type(error).__name__
    except Exception as error:
        raise ContractError(f"Reading {path} ends in {type(error).__name__}: {error}") from error


def _save(write: Callable[[Path], object], path: Path, at: int, fault: Fault) -> tuple[str, str]:
    """How a save ended, and the call that failed; empty if it made fewer."""
    if fault == "kill":
        return _save_in_child(write, path, at)
    with failing(at, fault) as calls:
        try:
            write(path)
            ended = "done"
        except QuickstudyError:
            ended = "refused"
        except Exception:
            ended = traceback.format_exc()
    return ended, calls[at - 1] if len(calls) >= at else ""


def _save_in_child(write: Callable[[Path], object], path: Path, at: int) -> tuple[str, str]:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: the child uses none
        child = os.fork()
    if child == 0:
        status = _RAW_ERROR
        try:
            signal.alarm(60)
            with failing(at, "kill"):
                write(path)
            status = 0
        except QuickstudyError:
            status = _REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, state = os.waitpid(child, 0)
    if os.WIFSIGNALED(state):
        if os.WTERMSIG(state) != signal.SIGKILL:
            return f"signal {os.WTERMSIG(state)}", "?"
        return "killed", "?"
    ended = {0: "done", _REFUSED: "refused"}.get(os.WEXITSTATUS(state), "a raw error")
    return ended, ""


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}
