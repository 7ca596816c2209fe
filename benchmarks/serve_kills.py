"""Is anything lost when the service is killed? Clients teach a model and enrol into a gallery while
the server is killed (SIGKILL), again and again; after each start everything that was acknowledged
must be there.

python benchmarks/serve_kills.py                                     40 rounds, gallery in SQLite
python benchmarks/serve_kills.py --postgres /usr/lib/postgresql/15/bin

With PostgreSQL two servers on one database are measured as well: how long after an enrolment at one
the other knows the person. Writes benchmarks/serve_kills.json.
"""

import argparse
import base64
import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from quickstudy.estimators import BlankModel
from quickstudy.evaluation import commit, versions
from quickstudy.gallery import Gallery
from quickstudy.pretrained import open_encoder
from quickstudy.serve import (
    Limits,
    Registry,
    ServedGallery,
    ServedModel,
    ServerSettings,
    run_server,
)

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "serve_kills.json"
CLIENTS = 4
SEEN = 20


def drawing(seed: int) -> bytes:
    """A scribble, as PNG."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (60, 60), 255)
    points = [tuple(p) for p in rng.integers(5, 55, (6, 2)).tolist()]
    ImageDraw.Draw(image).line(points, fill=0, width=4)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def prepare(folder: Path, place: str) -> None:
    """A model of two classes, and a gallery without anybody."""
    encoder = open_encoder("symbols")

    def vectors(seeds: range) -> np.ndarray:
        images = [Image.open(io.BytesIO(drawing(seed))) for seed in seeds]
        return encoder.encode(images).astype(float)

    model = BlankModel(encoder, vectors(range(100, 140))).with_class("one", vectors(range(3)))
    model.add_vectors("two", vectors(range(3, 6)))
    model.save(folder / "marks")
    Gallery.create(place, encoder=encoder.key, dim=encoder.dim, source="symbols").close()


@contextlib.contextmanager
def server(folder: Path, place: str) -> Iterator[tuple[str, int]]:
    """The address of a server in a process of its own, and its number; it is killed at the end."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def serve() -> None:
        models = [ServedModel("marks", folder / "marks")]
        galleries = [ServedGallery("people", Gallery.open(place))]
        settings = ServerSettings(port=0, limits=Limits(rate=0))
        run_server(Registry(models, galleries), settings, on_start=sender.send, log=False)

    process = context.Process(target=serve, daemon=True)
    process.start()
    assert receiver.poll(120)
    assert process.pid is not None
    try:
        yield receiver.recv(), process.pid
    finally:
        process.kill()
        process.join()


def ask(address: str, path: str, body: Any = None) -> Any:
    """What the server says: JSON, or bytes of a drawing, sent with POST; without a body GET."""
    is_drawing = isinstance(body, bytes)
    data = body if is_drawing or body is None else json.dumps(body).encode()
    kind = "image/png" if is_drawing else "application/json"
    request = urllib.request.Request(f"{address}/v1/{path}", data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


class Client(threading.Thread):
    """Teaches and enrols until the server is gone; keeps what was acknowledged."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__()
        self.address = address
        self.seed = seed
        self.names: list[str] = []
        self.feedback: list[str] = []
        self.errors: list[int] = []

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError, HTTPException):
            for i in range(10**6):
                try:
                    self.step(self.seed * 1000 + i)
                except urllib.error.HTTPError as error:
                    self.errors.append(error.code)

    def step(self, seed: int) -> None:
        """One enrolment, or one answer that is called wrong."""
        if seed % 3:
            item = {"data": base64.b64encode(drawing(seed)).decode()}
            body = {"name": f"person {seed}", "force": True, "items": [item]}
            ask(self.address, "galleries/people/identities", body)
            self.names.append(f"person {seed}")
        else:
            said = ask(self.address, "models/marks/predict", drawing(seed))
            verdict = {"answer": said["answers"][0]["id"], "verdict": "wrong", "label": "one"}
            self.feedback.append(ask(self.address, "models/marks/feedback", verdict)["feedback"])


def kills(folder: Path, place: str, rounds: int, longest: float) -> dict[str, int]:
    """Rounds of load and kill: what was acknowledged, what of it is lost, what is there twice."""
    names: list[str] = []
    feedback: list[str] = []
    counts = {"rounds": rounds, "acknowledged": 0, "lost": 0, "doubled": 0, "errors": 0}
    for turn in range(rounds):
        with server(folder, place) as (address, number):
            clients = [Client(address, 1 + turn * CLIENTS + c) for c in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(random.Random(turn).uniform(longest / 4, longest))
            os.kill(number, signal.SIGKILL)
            for client in clients:
                client.join()
                names += client.names
                feedback += client.feedback
                counts["errors"] += len([code for code in client.errors if code >= 500])
        with server(folder, place) as (address, _):
            people = {p["name"]: p for p in ask(address, "galleries/people/identities")}
            kept = [one["id"] for one in ask(address, "models/marks/feedback")]
        counts["lost"] = len(set(names) - people.keys()) + len(set(feedback) - set(kept))
        counts["doubled"] = sum(len(p["templates"]) != 1 for p in people.values())
        counts["doubled"] += len(kept) - len(set(kept))
    return {**counts, "acknowledged": len(names) + len(feedback)}


def seen_by_the_other(folder: Path, place: str) -> dict[str, float]:
    """Seconds from an enrolment that one server acknowledged until another one names the person."""
    seconds = []
    with server(folder, place) as (one, _), server(folder, place) as (other, _):
        for turn in range(SEEN):
            body = {
                "name": f"seen {turn}",
                "force": True,
                "items": [{"data": base64.b64encode(drawing(900_000 + turn)).decode()}],
            }
            ask(one, "galleries/people/identities", body)
            start = time.perf_counter()
            nearest = ""
            while nearest != f"seen {turn}":
                said = ask(other, "galleries/people/identify", drawing(900_000 + turn))
                nearest = said["answers"][0]["nearest"]
                if time.perf_counter() - start > 30:
                    raise SystemExit("The other server does not follow.")
            seconds.append(time.perf_counter() - start)
    return {"median": float(np.median(seconds)), "longest": max(seconds), "turns": SEEN}


def rows() -> list[str]:
    """The table, from the file."""
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    lines = [
        "| gallery in | kills | acknowledged | lost | there twice | 5xx |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL")):
        values = [saved[name][key] for key in ("rounds", "acknowledged", "lost", "doubled")]
        values.append(saved[name]["errors"])
        lines.append(f"| {title} | {' | '.join(map(str, values))} |")
    seen = saved["postgresql"]["seconds until the other server knows"]
    return [
        *lines,
        "",
        f"Of two servers on one PostgreSQL, the other one named a person {seen['median']:.2f} s "
        f"after the enrolment (median of {seen['turns']}; the longest was {seen['longest']:.2f} "
        f"s); commit {saved['postgresql']['commit']}.",
    ]


def main() -> None:
    """Measure on SQLite, or on a PostgreSQL server of its own, and write."""
    parser = argparse.ArgumentParser(description="Kill the service under load.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=3.0, help="the longest load of a round")
    parser.add_argument("--postgres", type=Path, help="folder of initdb and pg_ctl")
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    out = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        place = str(folder / "people.db")
        if asked.postgres is not None:
            spec = importlib.util.spec_from_file_location(
                "gallery_kills", ROOT / "benchmarks" / "gallery_kills.py"
            )
            assert spec is not None
            assert spec.loader is not None
            galleries = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(galleries)
            place = stack.enter_context(galleries.server(asked.postgres))[0]
        prepare(folder, place)
        result: dict[str, Any] = {**kills(folder, place, asked.rounds, asked.seconds)}
        if asked.postgres is not None:
            result["seconds until the other server knows"] = seen_by_the_other(folder, place)
    result |= {"clients": CLIENTS, "seconds": round(time.perf_counter() - began, 1)}
    result |= {"commit": commit(), "versions": versions()}
    where = "sqlite" if asked.postgres is None else "postgresql"
    print(where, json.dumps(result, indent=1))
    text = json.dumps({**out, where: result}, indent=1)
    asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
