"""API keys: kept as argon2 hashes in a file that only its owner reads, compared in constant
time.
"""

import hashlib
import json
import secrets
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from quickstudy.core.disk import write_file
from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.lock import locked

SCOPES = ("read", "enrol", "administer")
"""What a key may: ask; also teach and enrol; also remove, rename, calibrate, export and audit."""
PREFIX = "qs"
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody")
_REMEMBERED = 1_000


@dataclass(frozen=True)
class Key:
    """What is kept of a key.

    Args:
        id: names it, in the key itself and in logs.
        name: whose it is.
        scope: the highest of `SCOPES` that it has.
        hash: argon2 of its secret.
        created: in ISO 8601.
    """

    id: str
    name: str
    scope: str
    hash: str
    created: str

    def allows(self, scope: str) -> bool:
        """Whether it may do what takes a scope."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class KeyFile:
    """A file of keys; a change of the file is seen at the next request.

    Args:
        path: of the file.

    Raises:
        LoadError: when there is none, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] = (0, 0)
        self._keys: dict[str, Key] = {}
        self._seen: dict[bytes, str] = {}
        self._fresh()

    def key_of(self, presented: str) -> Key | None:
        """The key that was presented; None where there is none, which takes as long to find
        out.
        """
        with self._lock:
            keys = self._fresh()
        parts = presented.split("_")
        key_id = parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""
        key = keys.get(key_id)
        digest = hashlib.sha256(presented.encode()).digest()
        # argon2 is slow on purpose: a key that was found right once is known by its digest.
        known = self._seen.get(digest)
        if key is not None and known is not None and secrets.compare_digest(known, key.hash):
            return key
        try:
            _HASHER.verify(_NOBODY if key is None else key.hash, presented)
        except (VerificationError, InvalidHashError):
            return None
        if key is None:
            return None
        with self._lock:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen[digest] = key.hash
        return key

    def _fresh(self) -> dict[str, Key]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise LoadError(
                f"The keys {self.path} cannot be read: {error.strerror}. Make the file with: "
                f"quickstudy serve-key add {self.path} NAME"
            ) from error
        stamp = status.st_mtime_ns, status.st_ino
        if stamp != self._stamp:
            self._keys = {key.id: key for key in read_keys(self.path)}
            self._stamp, self._seen = stamp, {}
        return self._keys


def read_keys(path: Path) -> list[Key]:
    """The keys in a file.

    Raises:
        LoadError: when it is damaged.
    """
    try:
        keys = [Key(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["keys"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadError(
            f"{path} is no file of keys, or is damaged: {error}. Write keys with: quickstudy "
            "serve-key add FILE NAME"
        ) from error
    for key in keys:
        if key.scope not in SCOPES:
            raise LoadError(
                f"{path} gives the key {key.id} the scope '{key.scope}'. "
                f"{did_you_mean(key.scope, SCOPES)}"
            )
    return keys


def add_key(path: Path, name: str, scope: str) -> str:
    """Add a key to a file, which is made where there is none; returns the key, which is kept
    nowhere.

    Raises:
        ConfigError: for a scope that does not exist.
    """
    if scope not in SCOPES:
        raise ConfigError(f"There is no scope '{scope}'. {did_you_mean(scope, SCOPES)}")
    key_id, secret = secrets.token_hex(4), secrets.token_hex(24)
    presented = f"{PREFIX}_{key_id}_{secret}"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(key_id, name, scope, _HASHER.hash(presented), now)
    with locked(path.absolute().parent):
        keys = read_keys(path) if path.exists() else []
        _write(path, [*keys, key])
    return presented


def remove_key(path: Path, key_id: str) -> Key:
    """Take a key out of a file.

    Raises:
        ConfigError: when it is not in it.
    """
    with locked(path.absolute().parent):
        keys = read_keys(path)
        gone = next((key for key in keys if key.id == key_id), None)
        if gone is None:
            raise ConfigError(
                f"{path} holds no key '{key_id}'. {did_you_mean(key_id, [k.id for k in keys])}"
            )
        _write(path, [key for key in keys if key.id != key_id])
    return gone


def _write(path: Path, keys: list[Key]) -> None:
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    write_file(path, json.dumps({"keys": [asdict(key) for key in keys]}, indent=1).encode())
