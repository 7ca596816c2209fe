"""One writer at a time: a lock on a folder.

A change of what is saved happens under it, so that two processes lose nothing::

    with locked(folder):
        model = Model.load(folder)
        model.add_class(...)
        model.save(folder)
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quickstudy.core.disk import reported
from quickstudy.core.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows: writers are not kept apart.
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".quickstudy.lock"
# What file systems say that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_held = threading.local()


@contextlib.contextmanager
def locked(folder: str | Path, *, patience: float = 60.0) -> Iterator[None]:
    """Keep other writers out of a folder for a while: other processes, and other threads of this
    one. Readers are not held up. May be nested.

    Args:
        folder: what is changed. It must exist.
        patience: how many seconds to wait for another writer.

    Raises:
        ConfigError: when the folder cannot be written, or the other writer takes too long.
    """
    target = Path(os.path.realpath(folder))
    held: set[Path] = _held.__dict__.setdefault("folders", set())
    if target in held or fcntl is None:
        yield
        return
    with reported(target):
        descriptor = _acquire(target / LOCK, time.monotonic() + patience)
    held.add(target)
    try:
        yield
    finally:
        held.discard(target)
        with contextlib.suppress(OSError):  # the lock is given back all the same
            os.close(descriptor)


def _acquire(file: Path, until: float) -> int:
    """An open file that is locked, and is the one of this name."""
    assert fcntl is not None
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        except BlockingIOError as error:
            if time.monotonic() > until:
                os.close(descriptor)
                raise ConfigError(
                    f"Another process is writing into {file.parent} and does not come to an end. "
                    "Try again when it has; nothing was changed."
                ) from error
            time.sleep(0.02)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)
            raise
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
