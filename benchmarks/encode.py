"""A hundred thousand pictures: `quickstudy encode` with the encoder of the package, and again from
its cache.

python benchmarks/encode.py                 makes the pictures in a temporary folder, encodes them
twice, writes benchmarks/encode.json python benchmarks/encode.py --only-ahead    measures the
reading ahead alone, and writes it into that file

For each of the two: seconds, pictures per second, and the most memory that the process ever had.
`start_bytes` is what it has for one picture.
Reading ahead: pictures per second with it and without, for small pictures and for photographs, the
best of several turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from quickstudy.bench.machine import about
from quickstudy.pretrained import encode_files, open_encoder

ROOT = Path(__file__).parent.parent
N, SIDE, PER_FOLDER, TURNS = 100_000, 64, 1_000, 5
FILE = ROOT / "benchmarks" / "encode.json"


def draw(folder: Path, numbers: range, *, side: int = SIDE) -> None:
    """Soft patches of colour, no two pictures alike."""
    folder.mkdir()
    for number in numbers:
        rng = np.random.default_rng(number)
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"{number:06d}.jpg", quality=85
        )


def encoded(pictures: Path, out: Path, home: Path) -> dict[str, float]:
    """One call of the command, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "quickstudy",
        "encode",
        str(pictures),
        "-o",
        str(out),
        "--encoder",
        "symbols",
    ]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "QUICKSTUDY_CACHE": str(home)}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{command} ended with status {os.waitstatus_to_exitcode(status)}.")
    n = len(np.load(out / "vectors.npy", mmap_mode="r"))
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "images": n,
        "seconds": seconds,
        "per_second": n / seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": peak,
    }


def reading_ahead() -> dict[str, dict[str, float]]:
    """Pictures per second, read while others are encoded (`encode_files`) or in turns with the
    encoding.
    """
    encoder, out = open_encoder("symbols"), {}
    for side, n in ((64, 2_000), (1_200, 100)):
        with tempfile.TemporaryDirectory() as scratch:
            draw(Path(scratch) / "images", range(n), side=side)
            paths = sorted((Path(scratch) / "images").iterdir())

            def in_turns(paths: list[Path] = paths) -> None:
                for at in range(0, len(paths), 64):
                    encoder.encode([encoder.read(path) for path in paths[at : at + 64]])

            def ahead(paths: list[Path] = paths) -> None:
                encode_files(encoder, paths)

            best = {"in turns": 0.0, "ahead": 0.0}
            for _ in range(TURNS):
                for name, work in (("in turns", in_turns), ("ahead", ahead)):
                    began = time.perf_counter()
                    work()
                    best[name] = max(best[name], n / (time.perf_counter() - began))
            out[f"{side}×{side}"] = best
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode many pictures.")
    parser.add_argument("--n", type=int, default=N, help="images")
    parser.add_argument(
        "--loaded", default="", help="what else the machine was doing, kept with the numbers"
    )
    parser.add_argument("--only-ahead", action="store_true", help="measure the reading ahead alone")
    asked = parser.parse_args()
    if asked.only_ahead:
        found = {"load_before": os.getloadavg()[0], "loaded": asked.loaded, **reading_ahead()}
        write({**json.loads(FILE.read_text(encoding="utf-8")), "reading_ahead": found})
        return
    with tempfile.TemporaryDirectory() as scratch:
        pictures, home = Path(scratch) / "images", Path(scratch) / "home"
        pictures.mkdir()
        parts = [range(at, min(at + PER_FOLDER, asked.n)) for at in range(0, asked.n, PER_FOLDER)]
        with ProcessPoolExecutor() as pool:
            list(pool.map(draw, [pictures / f"{part.start:06d}" for part in parts], parts))
        bytes_in_all = sum(file.stat().st_size for file in pictures.rglob("*.jpg"))
        one = next(pictures.rglob("*.jpg"))
        start = encoded(one, Path(scratch) / "one", Path(scratch) / "another home")
        load = os.getloadavg()[0]
        first = encoded(pictures, Path(scratch) / "first", home)
        again = encoded(pictures, Path(scratch) / "again", home)
        same = (Path(scratch) / "first" / "vectors.npy").read_bytes() == (
            Path(scratch) / "again" / "vectors.npy"
        ).read_bytes()
        kept = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    if not same:
        raise SystemExit("The vectors from the cache are not those that were put into it.")
    out = {
        "about": {**about(torch.device("cpu"), []), "load_before": load, "loaded": asked.loaded},
        "images": {"n": asked.n, "side": SIDE, "bytes": bytes_in_all},
        "start_seconds": start["seconds"],
        "start_bytes": start["peak_bytes"],
        "first": first,
        "again": again,
        "cache_bytes": kept,
    }
    write(
        {
            **out,
            "reading_ahead": {
                "load_before": os.getloadavg()[0],
                "loaded": asked.loaded,
                **reading_ahead(),
            },
        }
    )


def write(out: dict[str, object]) -> None:
    text = json.dumps(out, indent=1, ensure_ascii=False)
    print(text)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
