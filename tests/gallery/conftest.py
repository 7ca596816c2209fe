"""Every test on both databases; PostgreSQL is a private server of this test run."""

import getpass
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

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
    home = Path(tempfile.mkdtemp(prefix="qs-pg-", dir="/tmp"))
    home.chmod(0o777)
    data = home / "data"
    who = _as_somebody()
    made = subprocess.run([*who, binaries / "initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync"], capture_output=True, text=True)
    if made.returncode:
        yield f"initdb failed: {made.stderr[-300:]}"
        return
    options = f"-k {home} -c listen_addresses= -c fsync=off"
    start = [*who, binaries / "pg_ctl", "-D", data, "-o", options, "-l", home / "log", "-w", "start"]
    started = subprocess.run(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if started.returncode:
        yield "the PostgreSQL server does not start"
        return
    yield home
    subprocess.run([*who, binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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

        name = "g" + uuid.uuid4().hex
        with psycopg.connect(f"host={socket} user=test dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://test@/{name}?host={socket}"

    return made


os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
