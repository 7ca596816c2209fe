"""What every request passes: its size, time, rate and origin are checked before anything reads it,
and one line about it is logged, without names, items and images.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstudy.core.words import counted
from quickstudy.serve.keys import KeyFile
from quickstudy.serve.measures import Measures
from quickstudy.serve.problems import MEDIA_TYPE, ProblemError, problem_body
from quickstudy.serve.settings import ServerSettings, is_loopback

LOG = logging.getLogger("quickstudy.serve")
_CLIENTS = 10_000
_OPEN = ("/v2/health/live", "/v2/health/ready")
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")
_SECURITY = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' blob: data:; "
    b"media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}

Headers: TypeAlias = dict[bytes, bytes]


class Gate:
    """The outermost layer of the service.

    Args:
        app: what answers.
        settings: of the server.
        measures: where requests are counted.
        keys: None = nobody needs one.
    """

    def __init__(
        self, app: ASGIApp, *, settings: ServerSettings, measures: Measures, keys: KeyFile | None
    ) -> None:
        self.app, self.settings, self.measures, self.keys = app, settings, measures, keys
        self.is_stopping = False
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        arrival = time.monotonic()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id = secrets.token_hex(8)
        state["deadline"] = arrival + self.settings.limits.deadline
        state["key"] = None
        status, has_begun = 500, False

        async def answer(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                given = {name.lower() for name, _ in message["headers"]}
                more = [(n, v) for n, v in _SECURITY.items() if n not in given]
                message["headers"] = [
                    *message["headers"],
                    *more,
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        self.measures.active.inc()
        try:
            headers = dict(scope["headers"])
            try:
                self._check(scope, headers)
                state["key"] = await self._key(scope, headers)
                self._count(scope, state)
                await self.app(scope, self._limited(receive, state["deadline"]), answer)
            except ProblemError as problem:
                if has_begun:
                    raise
                await _refuse(answer, problem, request_id)
            except Exception as error:
                LOG.error(
                    json.dumps({"request_id": request_id, "error": type(error).__name__}),
                    exc_info=error,
                )
                if has_begun:
                    raise
                await _refuse(
                    answer,
                    ProblemError(
                        500, f"Something went wrong; the log says more of request {request_id}."
                    ),
                    request_id,
                )
        finally:
            self.measures.active.dec()
            seconds = time.monotonic() - arrival
            # Names of people stand in paths, so the route is logged in their place.
            route = getattr(scope.get("route"), "path", "other")
            self.measures.requests.labels(scope["method"], route, str(status)).inc()
            self.measures.seconds.labels(route).observe(seconds)
            key = state.get("key")
            LOG.info(
                json.dumps(
                    {
                        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                        "request_id": request_id,
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "ms": round(1000 * seconds, 1),
                        "key": None if key is None else key.id,
                    }
                )
            )

    def _check(self, scope: Scope, headers: Headers) -> None:
        limits = self.settings.limits
        if self.is_stopping and scope["path"] != "/v2/health/live":
            raise ProblemError(
                503,
                "The server is stopping. Ask another one, or again in a moment.",
                headers={"Retry-After": "5", "Connection": "close"},
            )
        host = urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname or ""
        names = {self.settings.host, *self.settings.names}
        if self.settings.is_local and host not in names and not is_loopback(host):
            # Another site may have a name of its own that leads to this machine.
            raise ProblemError(
                421,
                f"This server is not called '{host}'. Give the name with --name when it starts.",
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        own = headers.get(b"host", b"").decode("latin-1")
        is_foreign = (bool(origin) and urlsplit(origin).netloc != own) or site == "cross-site"
        if is_foreign and (scope["method"] in _CHANGES or scope["path"].startswith("/v")):
            raise ProblemError(
                403,
                f"The request comes from a page of {origin or 'another site'}, and only pages of "
                "this server may use it from a browser.",
            )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise ProblemError(400, "Content-Length is not a number.")
        if int(length) > limits.body:
            raise _too_large(int(length), limits.body)

    async def _key(self, scope: Scope, headers: Headers) -> Any:
        if self.keys is None or not _needs_key(scope["path"]):
            return None
        given = headers.get(b"authorization", b"").decode("latin-1")
        kind, _, presented = given.partition(" ")
        if kind.lower() != "bearer" or not presented:
            presented = headers.get(b"x-api-key", b"").decode("latin-1")
        key = None
        if presented:
            key = await asyncio.to_thread(self.keys.key_of, presented.strip())
        if key is None:
            raise ProblemError(
                401,
                "A key is needed, and "
                + ("the one that came is none of them." if presented else "none came.")
                + " Send the header Authorization: Bearer KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key

    def _count(self, scope: Scope, state: dict[str, Any]) -> None:
        """Take a token from the client's bucket."""
        limits = self.settings.limits
        if not limits.rate or scope["path"] in _OPEN:
            return
        client = scope.get("client") or ("", 0)
        who = client[0] if state["key"] is None else state["key"].id
        now = time.monotonic()
        tokens, since = self._buckets.pop(who, (float(limits.burst), now))
        tokens = min(limits.burst, tokens + (now - since) * limits.rate)
        if len(self._buckets) >= _CLIENTS:
            self._buckets.popitem(last=False)
        self._buckets[who] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            raise ProblemError(
                429,
                f"More than {limits.rate:g} requests per second came, after {limits.burst} at "
                "once. Wait a second, or send several items in one request.",
                headers={"Retry-After": "1"},
            )

    def _limited(self, receive: Receive, deadline: float) -> Receive:
        size, limit = 0, self.settings.limits.body

        async def limited() -> Message:
            nonlocal size
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                    message = await receive()
            except TimeoutError:
                raise ProblemError(
                    408,
                    f"The body was not there {self.settings.limits.deadline:g} s after the head.",
                    headers={"Connection": "close"},
                ) from None
            size += len(message.get("body", b""))
            if size > limit:
                raise _too_large(size, limit)
            return message

        return limited


async def _refuse(send: Send, problem: ProblemError, request_id: str) -> None:
    body = json.dumps(problem_body(problem.status, problem.detail, request_id, **problem.extra))
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    headers += [(k.lower().encode(), v.encode()) for k, v in (problem.headers or {}).items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def _too_large(size: int, limit: int) -> ProblemError:
    return ProblemError(
        413,
        f"The request has {counted(size, 'byte')} or more, and {limit:,} are read. Send fewer or "
        f"smaller "
        "items at once.",
        headers={"Connection": "close"},
    )


def _needs_key(path: str) -> bool:
    """The page itself holds nothing; what it asks for does."""
    return path not in _OPEN and (path.startswith(("/v1", "/v2")) or path == "/metrics")
