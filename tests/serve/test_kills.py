"""A server that is killed under load has kept what it acknowledged."""

import base64
import json
import multiprocessing
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from quickstudy.estimators import FittedModel
from quickstudy.gallery import Gallery
from quickstudy.serve import Limits, ServerSettings, open_registry, run_server

Png = Callable[..., bytes]
# What a client sees of a server that was killed: no connection, or half an answer.
GONE = (OSError, HTTPException, json.JSONDecodeError)


def post(address: str, path: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "image/png" if isinstance(body, bytes) else "application/json"
    request = urllib.request.Request(f"{address}/v1/{path}", data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_what_was_acknowledged_outlives_a_kill(place: Path, png: Png) -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def serve() -> None:
        settings = ServerSettings(port=0, limits=Limits(rate=0))
        run_server(open_registry(str(place)), settings, on_start=sender.send, log=False)

    process = context.Process(target=serve, daemon=True)
    process.start()
    assert receiver.poll(60)
    address = receiver.recv()
    names: list[str] = []
    feedback: list[str] = []

    def enrol(first: int) -> None:
        try:
            for i in range(first, first + 1000):
                item = {"data": base64.b64encode(png("scribble", i)).decode()}
                body = {"name": f"person {i}", "force": True, "items": [item]}
                post(address, "galleries/marks/identities", body)
                names.append(f"person {i}")
        except GONE:
            return

    def teach() -> None:
        try:
            for i in range(1000):
                said = post(address, "models/shapes/predict", png("circle", 50 + i))
                verdict = {"answer": said["answers"][0]["id"], "verdict": "right"}
                verdict["label"] = "circle"
                feedback.append(post(address, "models/shapes/feedback", verdict)["feedback"])
        except GONE:
            return

    clients = [threading.Thread(target=enrol, args=(1000 * c,)) for c in (1, 2)]
    clients.append(threading.Thread(target=teach))
    for client in clients:
        client.start()
    deadline = time.monotonic() + 30
    while (len(names) < 6 or len(feedback) < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.join()
    for client in clients:
        client.join()
    assert len(names) >= 6
    assert len(feedback) >= 3
    kept = [one.id for one in FittedModel.load(place / "shapes").feedback]
    assert set(feedback) <= set(kept)
    assert len(kept) == len(set(kept))
    with Gallery.open(place / "marks.db") as gallery:
        people = {person["name"]: person for person in gallery.identities()}
        assert set(names) <= people.keys()
        assert all(len(people[name]["templates"]) == 1 for name in names)
        assert not gallery.check_audit().problems
