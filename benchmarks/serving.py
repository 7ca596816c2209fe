"""Many clients at once: what the service answers, how fast, and whether anything is lost.

python benchmarks/serving.py                200 clients, 120 seconds at each server
python benchmarks/serving.py --seconds 30   shorter
python benchmarks/table.py                  writes the table into docs/applications/serving.md

Clients in this process ask servers in others, one picture a request, each as soon as its last
answer is there, over connections that stay open. Three servers take turns: the service, the service
without micro-batching (one item a batch), and a bare FastAPI handler that only decodes the picture
and runs the encoder. Every answer must be of the picture that was sent; the server must have
counted as many answers as clients received, under request ids of which no two are equal. Writes
benchmarks/serving.json.
"""

import argparse
import asyncio
import contextlib
import io
import json
import multiprocessing
import re
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image, ImageDraw

from quickstudy.bench.machine import about
from quickstudy.estimators import BlankModel
from quickstudy.pretrained import open_encoder
from quickstudy.serve import Limits, Registry, ServedModel, ServerSettings, run_server

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "serving.json"
SHAPES = ("circle", "cross", "bars")
PICTURES = 60
MOMENTS = ("at the start", "in the middle", "at the end")
TITLES = {
    "service": "the service",
    "one item a batch": "the service, one item a batch",
    "bare": "bare FastAPI handler, encoder only",
}


def drawing(number: int) -> bytes:
    """A sign, as PNG; which one goes by its number."""
    rng = np.random.default_rng(number)
    image = Image.new("L", (60, 60), 255)
    pen = ImageDraw.Draw(image)
    a, b = (8 + rng.integers(0, 5, 2)).tolist()
    c, d = (52 - rng.integers(0, 5, 2)).tolist()
    shape = SHAPES[number % len(SHAPES)]
    if shape == "circle":
        pen.ellipse((a, b, c, d), outline=0, width=4)
    elif shape == "cross":
        pen.line((a, b, c, d), fill=0, width=4)
        pen.line((a, d, c, b), fill=0, width=4)
    else:
        for y in (15, 30, 45):
            pen.line((a, y + b - 10, c, y + b - 10), fill=0, width=4)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def prepare(folder: Path, encoder_name: str) -> None:
    """A model of three signs."""
    encoder = open_encoder(encoder_name)

    def vectors(numbers: range) -> np.ndarray:
        images = [Image.open(io.BytesIO(drawing(number))) for number in numbers]
        return encoder.encode(images).astype(float)

    model = BlankModel(encoder).with_class(SHAPES[0], vectors(range(900, 909, 3)))
    for i, shape in enumerate(SHAPES[1:], 1):
        model.add_vectors(shape, vectors(range(900 + i, 909, 3)))
    model.save(folder / "signs")


def bare_app(encoder_name: str) -> FastAPI:
    """What one would write in a minute: decode, encode, answer."""
    app = FastAPI()
    encoder = open_encoder(encoder_name)

    def encode(content: bytes) -> list[float]:
        return encoder.encode([Image.open(io.BytesIO(content))])[0].tolist()

    @app.post("/v1/models/signs/predict")
    async def predict(request: Request) -> dict[str, Any]:
        vector = await asyncio.to_thread(encode, await request.body())
        return {"vector": vector}

    return app


@contextlib.contextmanager
def server(start: Callable[[Callable[[str], None]], None]) -> Iterator[tuple[str, int]]:
    """Host and port of a server in a process of its own, and the number of that process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=start, args=(sender.send,), daemon=True)
    process.start()
    assert receiver.poll(180)
    assert process.pid is not None
    try:
        yield receiver.recv(), process.pid
    finally:
        process.terminate()
        process.join(30)


def service(folder: Path, batch: int) -> Callable[[Callable[[str], None]], None]:
    """Starts the service."""

    def start(announce: Callable[[str], None]) -> None:
        limits = Limits(rate=0, queued=4096, batch=batch)
        registry = Registry([ServedModel("signs", folder / "signs")])
        run_server(registry, ServerSettings(port=0, limits=limits), on_start=announce, log=False)

    return start


def bare(encoder_name: str) -> Callable[[Callable[[str], None]], None]:
    """Starts the bare handler."""

    def start(announce: Callable[[str], None]) -> None:
        config = uvicorn.Config(bare_app(encoder_name), port=0, log_config=None, access_log=False)
        one = uvicorn.Server(config)

        async def serve() -> None:
            task = asyncio.create_task(one.serve())
            while not one.started:
                await asyncio.sleep(0.02)
            port = one.servers[0].sockets[0].getsockname()[1]
            announce(f"http://127.0.0.1:{port}")
            await task

        asyncio.run(serve())

    return start


@dataclass
class Seen:
    """What clients saw of a server.

    Args:
        seconds: from sending to the whole answer, of each request.
        statuses: how often each came.
        wrong: answers that are not of the picture that was sent.
        ids: of the requests.
        memory: of the server, in bytes, as time went on.
        lasted: seconds of load.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    ids: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    lasted: float = 0.0


async def client(address: str, number: int, seen: Seen, until: float, *, is_bare: bool) -> None:
    """Asks until the time is over; takes every answer that it asked for."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    turn = 0
    while time.perf_counter() < until:
        picture = (number + turn) % PICTURES
        content = CONTENTS[picture]
        turn += 1
        head = (
            f"POST /v1/models/signs/predict HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        start = time.perf_counter()
        writer.write(head.encode() + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", answer)
        assert size is not None
        body = json.loads(await reader.readexactly(int(size[1])))
        seen.seconds.append(time.perf_counter() - start)
        status = int(answer.split(b" ", 2)[1])
        seen.statuses[status] += 1
        if status == 200 and not is_bare:
            seen.ids.append(body["request_id"])
            nearest = [one["nearest"] for one in body["answers"]]
            seen.wrong += nearest != [SHAPES[picture % len(SHAPES)]]
    writer.close()


async def load(address: str, pid: int, seen: Seen, clients: int, seconds: float, name: str) -> None:
    """All clients, and how much memory the server takes meanwhile."""
    start = time.perf_counter()
    until = start + seconds
    asking = [
        asyncio.create_task(client(address, c, seen, until, is_bare=name == "bare"))
        for c in range(clients)
    ]
    while time.perf_counter() < until:
        seen.memory.append(resident(pid))
        await asyncio.sleep(seconds / 10)
    await asyncio.gather(*asking)
    seen.lasted += time.perf_counter() - start


def resident(pid: int) -> int:
    """Bytes of a process that lie in memory."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return 1024 * int(text.split("VmRSS:")[1].split()[0])


def counted(address: str) -> tuple[int, float]:
    """How many predictions a server counted, and how many items its batches had on average."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        page = answer.read().decode()
    lines = [
        line.rsplit(" ", 1)
        for line in page.splitlines()
        if line.startswith(("quickstudy_requests_total", "quickstudy_batch_items"))
    ]
    requests = sum(float(n) for text, n in lines if "/predict" in text)
    values = {text: float(n) for text, n in lines}
    mean = values["quickstudy_batch_items_sum"] / values["quickstudy_batch_items_count"]
    return int(requests), mean


def summary(seen: Seen) -> dict[str, Any]:
    """What is kept of a server."""
    p50, p95, p99 = (1000 * np.percentile(seen.seconds, (50, 95, 99))).tolist()
    return {
        "items": len(seen.seconds),
        "items per second": len(seen.seconds) / seen.lasted,
        "milliseconds": {"p50": p50, "p95": p95, "p99": p99},
        "statuses": dict(seen.statuses),
        "wrong": seen.wrong,
        "megabytes": {
            "at the start": seen.memory[0] / 1e6,
            "in the middle": seen.memory[len(seen.memory) // 2] / 1e6,
            "at the end": seen.memory[-1] / 1e6,
            "most": max(seen.memory) / 1e6,
        },
    }


def measured(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The three servers in turns."""
    prepare(folder, asked.encoder)
    starts = {
        "service": service(folder, 32),
        "one item a batch": service(folder, 1),
        "bare": bare(asked.encoder),
    }
    seen = {name: Seen() for name in starts}
    out: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(server(start)) for name, start in starts.items()}
        for turn in range(asked.rounds):
            for name, (address, pid) in servers.items():
                part = asked.seconds / asked.rounds
                asyncio.run(load(address, pid, seen[name], asked.clients, part, name))
                print(turn, name, len(seen[name].seconds), flush=True)
        for name, (address, _) in servers.items():
            out[name] = summary(seen[name])
            if name != "bare":
                requests, items = counted(address)
                out[name]["counted by the server"] = requests
                out[name]["lost"] = requests - len(seen[name].seconds)
                out[name]["twice"] = len(seen[name].ids) - len(set(seen[name].ids))
                out[name]["items per batch"] = items
    return out


def rows() -> list[str]:
    """The table, from the file."""
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    lines = [
        "| server | items per second | p50 | p95 | p99 | items per batch | lost, twice, wrong "
        "| 5xx | memory at the start, in the middle, at the end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        one = saved["servers"][name]
        times = [f"{one['milliseconds'][key]:.0f} ms" for key in ("p50", "p95", "p99")]
        batch = f"{one['items per batch']:.1f}" if "items per batch" in one else "–"
        faults = "–" if name == "bare" else f"{one['lost']}, {one['twice']}, {one['wrong']}"
        failed = sum(n for status, n in one["statuses"].items() if status.startswith("5"))
        memory = [one["megabytes"][when] for when in MOMENTS]
        cells = [title, f"{one['items per second']:.0f}", *times, batch, faults, str(failed)]
        cells.append(f"{', '.join(f'{size:.0f}' for size in memory)} MB")
        lines.append(f"| {' | '.join(cells)} |")
    machine = saved["about"]
    return [
        *lines,
        "",
        f"{saved['clients']} clients for {saved['seconds']:.0f} s at each server, in "
        f"{saved['rounds']} turns, each client asking again as soon as it is answered; encoder "
        f"{saved['encoder']}; clients and servers share {machine['cores']} cores of "
        f"{machine['processor']} with other work (load {machine['load']:.0f}); memory is what lies "
        f"in memory of the server's process; commit {machine['commit']}.",
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Ask the service from many clients at once.")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0, help="of load at each server")
    parser.add_argument("--rounds", type=int, default=3, help="turns that share the seconds")
    parser.add_argument("--encoder", default="symbols")
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        servers = measured(Path(name), asked)
    result = {
        "clients": asked.clients,
        "seconds": asked.seconds,
        "rounds": asked.rounds,
        "encoder": asked.encoder,
        "servers": servers,
        "about": about(torch.device("cpu"), ()),
    }
    print(json.dumps(result, indent=1))
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


CONTENTS = [drawing(number) for number in range(PICTURES)]

if __name__ == "__main__":
    main()
