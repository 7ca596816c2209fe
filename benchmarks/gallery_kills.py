"""Is anything lost? Three processes change a gallery and are killed, again and again, and with
PostgreSQL every other round the server is stopped hard as well.

python benchmarks/gallery_kills.py                                  200 rounds on SQLite
python benchmarks/gallery_kills.py --postgres /usr/lib/postgresql/15/bin

Writes benchmarks/gallery_kills.json: how many changes were acknowledged, lost, half made, and how
often "Nothing was changed" was said of a change that was made.
"""

import argparse
import contextlib
import getpass
import json
import os
import random
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.core.errors import GalleryError
from quickstudy.evaluation import commit, versions
from quickstudy.gallery import Gallery

ROOT = Path(__file__).parent.parent
DIM, WRITERS = 16, 3
Start = Callable[[], None]


def templates(name: str, n: int) -> np.ndarray:
    """The vectors of an identity follow from its name."""
    return np.random.default_rng(list(name.encode())).normal(size=(n, DIM))


def write(place: str, log: Path, seed: int, mine: list[str]) -> None:
    """Change the gallery until killed: each change is announced before it is begun, and again with
    what came of it.
    """
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    rng = random.Random(seed)
    gallery = Gallery.open(place)
    for i in range(10**6):
        if mine and rng.random() < 0.4:
            what, name, n = "remove", mine.pop(rng.randrange(len(mine))), 0
        else:
            what, name, n = "enrol", f"{seed}-{i}", rng.randint(1, 4)
        os.write(out, f"begin {what} {name} {n}\n".encode())
        try:
            if what == "remove":
                gallery.remove(name)
            else:
                gallery.enrol(name, templates(name, n), force=True)
        except GalleryError as error:
            unchanged = "Nothing was changed" in str(error) or "nothing was changed" in str(error)
            os.write(out, f"{'unchanged' if unchanged else 'unknown'} {what} {name} {n}\n".encode())
            return
        if what == "enrol":
            mine.append(name)
        os.write(out, f"done {what} {name} {n}\n".encode())


def start(place: str, log: Path, seed: int, mine: list[str]) -> int:
    """A writer in a process of its own."""
    process = os.fork()
    if not process:
        with contextlib.suppress(BaseException):
            warnings.simplefilter("ignore")
            write(place, log, seed, mine)
        os._exit(0)
    return process


def check(people: dict[str, int], logs: list[Path], gallery: Gallery) -> dict[str, int]:
    """Bring what should be there in step with the logs, and count what is not as they say."""
    counts = {"acknowledged": 0, "lost": 0, "half": 0, "false": 0, "open": 0}
    found = {p["name"]: len(p["templates"]) for p in gallery.identities()}
    for log in logs:
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        last: dict[str, tuple[str, str, int]] = {}
        for line in lines:
            when, what, name, n = line.split(" ")
            last[name] = (when, what, int(n))
            if when == "done":
                counts["acknowledged"] += 1
                if what == "enrol":
                    people[name] = int(n)
                else:
                    people.pop(name, None)
        for name, (when, what, n) in last.items():
            if when == "done":
                continue
            counts["open"] += 1
            is_made = (name in found) == (what == "enrol")
            counts["false"] += when == "unchanged" and is_made
            if is_made and what == "enrol":
                people[name] = n
            elif is_made:
                people.pop(name, None)
    counts["lost"] = len(people.keys() ^ found.keys())
    counts["half"] = sum(found[name] != n for name, n in people.items() if name in found)
    return counts


@contextlib.contextmanager
def server(binaries: Path) -> Iterator[tuple[str, Start, Start]]:
    """A PostgreSQL server of this process, and what starts it and stops it hard."""
    home = Path(tempfile.mkdtemp(prefix="qs-pg-", dir="/tmp"))
    home.chmod(0o777)
    who = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    initdb = [*who, binaries / "initdb", "-D", home / "data", "-U", "test", "-A", "trust"]
    subprocess.run(initdb, check=True, **quiet)
    control = [*who, binaries / "pg_ctl", "-D", home / "data", "-w"]
    options = f"-k {home} -c listen_addresses="

    def up() -> None:
        subprocess.run([*control, "-o", options, "-l", home / "log", "start"], check=True, **quiet)

    def down() -> None:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)

    up()
    try:
        yield f"postgresql://test@/postgres?host={home}", up, down
    finally:
        down()


def measure(place: str, rounds: int, folder: Path, up: Start, down: Start) -> dict[str, Any]:
    """All rounds; `down` stops what the writers talk to, `up` starts it again."""
    Gallery.create(place, encoder="e1", dim=DIM).close()
    people: dict[str, int] = {}
    total = {"rounds": 0, "acknowledged": 0, "lost": 0, "half": 0, "false": 0, "open": 0}
    for turn in range(rounds):
        rng = random.Random(turn)
        logs = [folder / f"{turn}-{w}.log" for w in range(WRITERS)]
        owned = [
            [n for i, n in enumerate(sorted(people)) if i % WRITERS == w] for w in range(WRITERS)
        ]
        processes = [
            start(place, log, 1000 * turn + w, mine)
            for w, (log, mine) in enumerate(zip(logs, owned, strict=True))
        ]
        time.sleep(rng.uniform(0.5, 2.5))
        if turn % 2:
            down()
            time.sleep(0.2)
        for process in processes:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        if turn % 2:
            up()
        with Gallery.open(place) as gallery:
            counts = check(people, logs, gallery)
            assert not gallery.check_audit().problems
            if people:
                names = list(people)
                probes = np.concatenate([templates(name, 1) for name in names])
                decisions = gallery.identify(probes, top_k=1)
                counts["half"] += sum(
                    d.candidates[0][0] != name for d, name in zip(decisions, names, strict=True)
                )
        for key, value in counts.items():
            total[key] += value
        total["rounds"] += 1
    return total


def main() -> None:
    """Rounds on SQLite, or on a PostgreSQL server of its own."""
    parser = argparse.ArgumentParser(description="Kill writers of galleries.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--postgres", type=Path, help="folder of initdb and pg_ctl")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gallery_kills.json")
    asked, began = parser.parse_args(), time.perf_counter()
    out = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if asked.postgres is None:
            name, place = "sqlite", str(Path(folder) / "g.db")
            result = measure(place, asked.rounds, Path(folder), lambda: None, lambda: None)
        else:
            name = "postgresql"
            with server(asked.postgres) as (place, up, down):
                result = measure(place, asked.rounds, Path(folder), up, down)
    result |= {"commit": commit(), "versions": versions(), "seconds": time.perf_counter() - began}
    print(name, json.dumps(result, indent=1))
    asked.out.write_text(json.dumps({**out, name: result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
