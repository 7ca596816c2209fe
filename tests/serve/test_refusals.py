"""What must not get through, and with which status it is refused."""

import asyncio
import base64
import contextlib
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from quickstudy.core.errors import DataError
from quickstudy.serve import Limits
from quickstudy.serve.batching import Batcher
from quickstudy.serve.problems import MEDIA_TYPE, ProblemError

Client = Callable[..., TestClient]
Png = Callable[..., bytes]
URL = "/v1/models/shapes/predict"
LOCAL = "http://127.0.0.1"


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that would fill side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (SVG, "image/svg+xml", 415),
        (b"\xef\xbb\xbf <?xml version='1.0'?>" + SVG, "image/png", 415),
        (b"%PDF-1.4", "image/png", 415),
        (b"PK\x03\x04" + bytes(100), "image/jpeg", 415),
        (b"GIF89a/*<script>*/=1;", "image/png", 415),
        (b"", "image/png", 415),
        (b"\x89PNG\r\n\x1a\n", "image/png", 415),
        (bomb(8_000), "image/png", 413),
        (bomb(60_000), "image/png", 413),
    ],
    ids=["svg", "xml", "pdf", "zip", "gif", "empty", "cut", "pixels", "bomb"],
)
def test_no_image_no_answer(client: Client, content: bytes, kind: str, status: int) -> None:
    http = client()
    said = http.post(URL, files=[("file", ("../../x\n.png", content, kind))])
    assert said.status_code == status, said.text
    assert said.headers["content-type"] == MEDIA_TYPE
    assert {"title", "status", "detail", "request_id"} <= set(said.json())
    assert said.json()["detail"].startswith("x")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b'{"items": 3}', 422),
        (b'{"items": []}', 422),
        (b'{"items": [{"data": "http://127.0.0.1/secret.png"}]}', 422),
        (b'{"items": [{"name": "a"}]}', 422),
        (json.dumps({"items": ["a"] * 65}).encode(), 413),
    ],
)
def test_no_items_no_answer(client: Client, body: bytes, status: int) -> None:
    said = client().post(URL, content=body, headers={"content-type": "application/json"})
    assert said.status_code == status, said.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"origin": LOCAL}, 200),
    ],
)
def test_other_origins_and_names_are_refused(
    client: Client, png: Png, headers: dict[str, str], status: int
) -> None:
    http = client()
    body = {"content-type": "image/png", **headers}
    assert http.post(URL, content=png("circle"), headers=body).status_code == status
    assert http.get("/v1/models", headers=headers).status_code == status


def test_paths_lead_nowhere_else(client: Client) -> None:
    http = client()
    for path in (
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/..%2fapp.py",
        "/web//etc/passwd",
        "/v1/models/..%2f..%2fetc/predict",
        "/v1/galleries/%00/identities",
    ):
        assert http.get(path).status_code in (404, 405), path
    page = http.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_a_body_is_counted_while_it_comes(client: Client) -> None:
    http = client(limits=Limits(body=100_000, rate=0))
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 10_000
            yield bytes(10_000)

    said = http.post(URL, content=endless(), headers={"content-type": "image/png"})
    assert said.status_code == 413
    told = http.post(URL, content=bytes(100_001), headers={"content-type": "image/png"})
    assert told.status_code == 413
    assert "100,000" in told.json()["detail"]


def test_names_are_kept_as_they_are_or_refused(client: Client, png: Png) -> None:
    http = client()
    path = "/v1/models/shapes/classes"
    sent = [("file", ("a.png", png("scribble", 77), "image/png"))]
    for name in ("<img src=x onerror=alert(1)>", "'; DROP TABLE x; --", "\u202egnp"):
        assert name in http.post(path, data={"name": name}, files=sent).json()["classes"]
    for name in ("", "   ", "unknown"):
        said = http.post(path, data={"name": name}, files=sent)
        assert said.status_code in (409, 422), said.text
    people = "/v1/galleries/marks/identities"
    assert http.post(people, data={"name": "a\x00b"}, files=sent).status_code == 422
    assert http.post(people, data={"name": "a" * 501}, files=sent).status_code == 422


def batcher(encode: Callable[[Any], Any], **options: Any) -> Batcher:
    return Batcher(encode, **{"at_once": 4, "queued": 8, **options})


def test_items_of_all_requests_are_encoded_together_and_a_bad_one_fails_alone() -> None:
    sizes: list[int] = []

    def encode(items: list[int]) -> np.ndarray[Any, Any]:
        time.sleep(0.02)
        if 13 in items:
            raise DataError("13 is bad.")
        if 14 in items:
            raise RuntimeError("a secret path")
        return np.asarray([[i, 1.0 / i if i != 3 else np.nan] for i in items])

    async def ask() -> list[Any]:
        one = batcher(encode, on_batch=lambda n, seconds: sizes.append(n))
        later = time.monotonic() + 10
        asked = [one.vectors([n], deadline=later) for n in (1, 2, 3, 13, 14, 6, 7, 8)]
        return [r for results in await asyncio.gather(*asked) for r in results]

    results = asyncio.run(ask())
    good = [1, 2, 6, 7, 8]
    assert [r[0] for r in results if not isinstance(r, str)] == good
    assert results[3] == "13 is bad."
    assert "secret" not in results[4]
    assert "finite" in results[2]
    assert sum(sizes) == 8
    assert max(sizes) == 4


def test_a_full_queue_and_a_passed_deadline_are_said() -> None:
    release = threading.Event()

    def encode(items: list[int]) -> np.ndarray[Any, Any]:
        release.wait(5)
        return np.ones((len(items), 2))

    async def ask() -> tuple[ProblemError, ProblemError, list[Any]]:
        one = batcher(encode)
        first = asyncio.create_task(one.vectors([0], deadline=time.monotonic() + 10))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(one.vectors([0] * 8, deadline=time.monotonic() + 10))
        await asyncio.sleep(0.05)
        with pytest.raises(ProblemError) as full:
            await one.vectors([0], deadline=time.monotonic() + 10)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        release.set()
        await first
        release.clear()
        with pytest.raises(ProblemError) as late:
            await one.vectors([0], deadline=time.monotonic() + 0.05)
        release.set()
        return full.value, late.value, await one.vectors([0], deadline=time.monotonic() + 10)

    full, late, after = asyncio.run(ask())
    assert full.status == 429
    assert full.headers is not None
    assert int(full.headers["Retry-After"]) >= 1
    assert late.status == 504
    assert len(after) == 1


def closes(connection: socket.socket, trickle: bytes) -> tuple[bytes, float]:
    """What comes back when a byte is sent now and then, and after how many seconds it is over."""
    start, seen = time.monotonic(), b""
    connection.settimeout(0.1)
    while time.monotonic() - start < 10:
        with contextlib.suppress(TimeoutError):
            try:
                part = connection.recv(65_536)
            except ConnectionError:
                break
            if not part:
                break
            seen += part
        with contextlib.suppress(OSError):
            connection.send(trickle)
    return seen, time.monotonic() - start


def test_slow_clients_are_let_go_and_a_stop_is_graceful(impatient: str) -> None:
    address = "127.0.0.1", int(impatient.rsplit(":", 1)[1])
    with socket.create_connection(address) as slow_head:
        slow_head.send(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        said, seconds = closes(slow_head, b"X")
    assert said == b""
    assert seconds < 5
    with socket.create_connection(address) as slow_body:
        slow_body.send(
            b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
        )
        said, seconds = closes(slow_body, b"x")
    assert b" 408 " in said.split(b"\r\n")[0]
    assert seconds < 8


def test_base64_of_an_image_is_what_a_form_says(client: Client, png: Png) -> None:
    data = "data:image/png;base64," + base64.b64encode(png("circle")).decode()
    http = client()
    said = http.post(URL, json={"items": [{"data": data}]})
    assert said.json()["answers"][0]["answer"] == "circle"
    wrong = data.replace("image/png", "image/jpeg")
    assert http.post(URL, json={"items": [{"data": wrong}]}).status_code == 415
