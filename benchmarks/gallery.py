"""Galleries of a thousand to a million templates: how long a search, a change and the opening take,
in how much memory, beside faiss and scikit-learn.

python benchmarks/gallery.py                              1,000, 100,000 and 1,000,000 templates:
about 7 GB of memory and 3 GB of disk python benchmarks/gallery.py --templates 1000 100000
smaller ones

Writes benchmarks/gallery.json. The vectors are made up: the coordinates of an identity have
standard deviations that fall as j^-1/2, as those of encoders do, and every photo of it is off by
0.8 of its length in such a direction.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from sklearn.neighbors import NearestNeighbors

from quickstudy.core.arrays import NDArray
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import commit, versions
from quickstudy.gallery import Gallery, Policy
from quickstudy.gallery.changes import Change
from quickstudy.gallery.create import Description, make
from quickstudy.gallery.faiss_index import FaissIndex
from quickstudy.gallery.location import Location
from quickstudy.gallery.transfer import insert_people
from quickstudy.gallery.vectors import unit

ROOT = Path(__file__).parent.parent
DIM, PER, OFF, TOP, BATCH = 384, 2, 0.8, 5, 64
BLOCK = 5_000
PROBES, COHORT, CHANGES, CLASSES, SHOTS = 500, 1000, 20, 1000, 5
Vectors = NDArray[np.float32]


def directions(n: int, *key: int) -> Vectors:
    """Unit vectors with the spread of an encoder's."""
    x = (
        np.random.default_rng(key).standard_normal((n, DIM), np.float32)
        * np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    )
    return unit(x, DIM)


def photos(identities: NDArray[np.int64], photo: int) -> Vectors:
    """A photo of each identity, which are numbered in blocks."""
    out = np.empty((len(identities), DIM), np.float32)
    for block in np.unique(identities // BLOCK).tolist():
        here = identities // BLOCK == block
        rows = identities[here] % BLOCK
        out[here] = (
            directions(BLOCK, 0, block)[rows] + OFF * directions(BLOCK, 1 + photo, block)[rows]
        )
    return unit(out, DIM)


def fill(change: Change, templates: int) -> None:
    """Write identities in bulk, as an import does."""
    about = {
        "templates": PER,
        "consent": None,
        "retain_until": None,
        "details": {},
        "created": "2026-01-01T00:00:00",
    }
    for begin in range(0, templates // PER, BLOCK):
        some = np.arange(begin, min(begin + BLOCK, templates // PER))
        vectors = np.stack([photos(some, photo) for photo in range(PER)], axis=1).reshape(-1, DIM)
        insert_people(
            change.connection, [{**about, "name": f"person {i}"} for i in some.tolist()], vectors
        )


def memory() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def took(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(templates: int, folder: Path) -> dict[str, Any]:
    """One size of gallery."""
    place, out = str(folder / "gallery.db"), dict[str, Any]()
    policy = Policy(threshold=0.65, review=0.65, duplicate=0.95)
    out["write_seconds"] = took(
        lambda: make(
            Location.of(place),
            Description("made up", DIM),
            policy,
            then=lambda change: fill(change, templates),
        ).dispose()
    )
    out["file_bytes"] = Path(place).stat().st_size
    rng = np.random.default_rng(9)
    members = rng.integers(0, templates // PER, PROBES)
    probes = photos(members, PER)  # a photo that is not enrolled

    before = memory()
    exact = Gallery.open(place)
    out["open_seconds"] = took(lambda: exact.identify(probes[:1], top_k=TOP))
    out["matrix_bytes"], out["open_memory"] = exact._snapshot.templates.nbytes, memory() - before
    near = Gallery.open(place, index="approximate")
    with near._access.looking():
        before = memory()
    out["index_seconds"] = took(lambda: near.identify(probes[:1], top_k=TOP))
    index = near._snapshot.index
    assert isinstance(index, FaissIndex)
    codes = index._index
    out["index_bytes"], out["index_memory"] = index.nbytes, memory() - before
    vectors = exact._snapshot.templates.vectors
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    brute = NearestNeighbors(n_neighbors=TOP, algorithm="brute", metric="cosine").fit(vectors)
    contenders: dict[str, Callable[[Vectors], Any]] = {
        "gallery, exact": lambda x: exact.identify(x, top_k=TOP),
        "gallery, exact, not logged": lambda x: exact._snapshot.search(x, TOP),
        "faiss IndexFlatIP": lambda x: flat.search(x, TOP),
        "scikit-learn, brute": lambda x: brute.kneighbors(x),
        "gallery, approximate": lambda x: near.identify(x, top_k=TOP),
        "gallery, approximate, not logged": lambda x: near._snapshot.search(x, TOP),
    }
    if codes is not None:  # there is none in small galleries
        contenders["faiss IndexPQFastScan"] = lambda x: codes.search(x, TOP)
    out["milliseconds"] = {
        "one": interleaved(contenders, probes, 1, rounds=31 if templates <= 100_000 else 11),
        "batch": interleaved(contenders, probes, BATCH, rounds=5),
    }
    out["recall"] = recalls(exact, near, probes)
    out["members_first"] = float(
        np.mean(
            [
                d.candidates[0][0] == f"person {m}"
                for d, m in zip(exact.identify(probes), members, strict=True)
            ]
        )
    )
    out["own_recall"] = near.recall(PROBES)
    if codes is not None:
        both = zip(flat.search(probes, TOP)[1], codes.search(probes, TOP)[1], strict=True)
        out["codes_recall"] = float(np.mean([np.isin(a, b).mean() for a, b in both]))
    out["changes"] = changes(exact, near)
    out["calibrate_seconds"] = took(lambda: exact.calibrate(0.01, cohort=directions(COHORT, 10**6)))
    out["changes_following"] = changes(exact, near)
    out["peak_memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return out


def interleaved(
    contenders: dict[str, Callable[[Vectors], Any]], probes: Vectors, size: int, *, rounds: int
) -> dict[str, float]:
    """Median milliseconds per probe; in each round all answer the same probes, after one round that
    does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        begin = turn * size % (len(probes) - size + 1)
        for name, search in contenders.items():
            times[name].append(
                1000
                * took(lambda search=search, begin=begin: search(probes[begin : begin + size]))
                / size
            )
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def recalls(exact: Gallery, near: Gallery, probes: Vectors) -> dict[str, float]:
    """The share of the exact search's first, and first five, that the other finds."""
    shares: dict[int, list[float]] = {1: [], TOP: []}
    for true, found in zip(
        exact.identify(probes, top_k=TOP), near.identify(probes, top_k=TOP), strict=True
    ):
        for k, share in shares.items():
            share.append(
                len({n for n, _ in true.candidates[:k]} & {n for n, _ in found.candidates[:k]}) / k
            )
    return {str(k): statistics.mean(share) for k, share in shares.items()}


def changes(one: Gallery, other: Gallery) -> dict[str, float]:
    """Median milliseconds of enrolling one more identity, of the next search in another process,
    and of removing it again.
    """
    times: dict[str, list[float]] = {"enrol": [], "next search": [], "remove": []}
    for i in range(CHANGES + 1):
        x = directions(PER, 10**6 + 1, i)
        times["enrol"].append(took(lambda x=x: one.enrol("one more", x, force=True)))
        times["next search"].append(took(lambda x=x: other.identify(x[:1], top_k=TOP)))
        times["remove"].append(took(lambda: one.remove("one more")))
    return {name: 1000 * statistics.median(found[1:]) for name, found in times.items()}


def classes() -> float:
    """Median milliseconds of adding a class to a classifier of a thousand."""
    x = np.concatenate([photos(np.arange(CLASSES), photo) for photo in range(SHOTS)]).astype(
        np.float64
    )
    model = FewShotClassifier().fit(x, np.tile([f"class {c}" for c in range(CLASSES)], SHOTS))
    new, times = directions(SHOTS, 10**6 + 2).astype(np.float64), list[float]()
    for _ in range(51):
        times.append(took(lambda: model.add_class("one more", new)))
        model.remove_class("one more")
    return 1000 * statistics.median(times[1:])


def main() -> None:
    """Each size in a process of its own, so that one's memory is not another's."""
    parser = argparse.ArgumentParser(description="Galleries at scale.")
    parser.add_argument("--templates", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gallery.json")
    asked, began = parser.parse_args(), time.perf_counter()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(asked.one, Path(folder))))
        return
    out: dict[str, Any] = {
        "commit": commit(),
        "versions": {
            **versions(),
            **{
                name: version(name) for name in ("faiss-cpu", "scikit-learn", "numpy", "sqlalchemy")
            },
        },
        "cpus": os.cpu_count(),
        "dim": DIM,
        "per_identity": PER,
        "probes": PROBES,
        "cohort": COHORT,
        "add_class_milliseconds": classes(),
        "sizes": json.loads(asked.out.read_text(encoding="utf-8"))["sizes"]
        if asked.out.exists()
        else {},  # a size may be measured anew alone
    }
    for templates in asked.templates:
        made = subprocess.run(
            [sys.executable, __file__, "--one", str(templates)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        out["sizes"][str(templates)] = {"commit": out["commit"]} | json.loads(
            made.stdout.splitlines()[-1]
        )
        print(templates, json.dumps(out["sizes"][str(templates)], indent=1), flush=True)
    out["seconds"] = time.perf_counter() - began
    asked.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
