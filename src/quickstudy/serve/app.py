"""The service as one ASGI application, and the process that runs it."""

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI, Response
from starlette.responses import FileResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from quickstudy.serve.gallery_routes import gallery_routes
from quickstudy.serve.gate import LOG, Gate
from quickstudy.serve.inference_routes import inference_routes
from quickstudy.serve.keys import KeyFile
from quickstudy.serve.measures import Measures
from quickstudy.serve.model_routes import model_routes
from quickstudy.serve.problems import RESPONSES, install_problems
from quickstudy.serve.registry import Registry
from quickstudy.serve.service import Service
from quickstudy.serve.settings import ServerSettings
from quickstudy.version import __version__

_STOPS = (signal.SIGINT, signal.SIGTERM)
PAGES = Path(__file__).parent / "web"
_ABOUT = (
    "Few-shot models and galleries: ask, teach, enrol, comment. Every answer says what it promises."
)


def create_app(registry: Registry, settings: ServerSettings) -> Gate:
    """The service as an ASGI application.

    Args:
        registry: what is served.
        settings: of the server.

    Raises:
        ConfigError: for settings that would show people's templates to a network.
        LoadError: when the file of keys cannot be read.
    """
    settings.check(galleries=len(registry.galleries))
    keys = None if settings.keys is None else KeyFile(settings.keys)
    measures = Measures()
    service = Service(registry, settings, measures)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="quickstudy",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses=RESPONSES,
        lifespan=lifespan,
    )
    gate = Gate(app, settings=settings, measures=measures, keys=keys)
    install_problems(app)
    app.include_router(model_routes(service))
    app.include_router(gallery_routes(service))
    app.include_router(inference_routes(service, gate))

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(measures.page(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGES / "api.html")

    if settings.page:

        @app.get("/", include_in_schema=False)
        async def page() -> FileResponse:
            return FileResponse(PAGES / "index.html")

    else:

        @app.get("/", include_in_schema=False)
        async def nothing() -> RedirectResponse:
            return RedirectResponse("/docs")

    app.mount("/web", StaticFiles(directory=PAGES), name="web")
    return gate


class HeadTimeout(H11Protocol):
    """Uvicorn's protocol, which also ends a connection whose request's head does not come."""

    head_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        # One timer for the whole head: bytes that trickle in do not win time.
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self.transport.close)


class GracefulServer(uvicorn.Server):
    """Uvicorn's server; once it is told to stop, new requests are refused while those that were
    taken are finished.
    """

    gate: Gate

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the process ends in peace, not by the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in _STOPS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.gate.is_stopping = True
        super().handle_exit(sig, frame)


def run_server(
    registry: Registry,
    settings: ServerSettings,
    *,
    on_start: Callable[[str], None] = lambda address: None,
    log: bool = True,
) -> None:
    """Serve until the process is told to stop.

    Args:
        registry: what is served.
        settings: of the server.
        on_start: called with the address once it answers.
        log: whether each request writes a line of JSON to standard error.

    Raises:
        ConfigError, LoadError: as `create_app`.
    """
    gate = create_app(registry, settings)
    if log:
        LOG.setLevel(logging.INFO)
        LOG.addHandler(logging.StreamHandler(sys.stderr))
        LOG.propagate = False
    protocol = type("Protocol", (HeadTimeout,), {"head_seconds": settings.limits.headers})
    config = uvicorn.Config(
        gate,
        host=settings.host,
        port=settings.port,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.limits.deadline) + 1,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=32_768,
    )
    server = GracefulServer(config)
    server.gate = gate

    async def serve() -> None:
        asyncio.get_running_loop().create_task(_announce(server, on_start))
        await server.serve()

    asyncio.run(serve())


async def _announce(server: uvicorn.Server, on_start: Callable[[str], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.02)
    for one in server.servers:
        for listening in one.sockets:
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if listening.family is socket.AF_INET6 else host
            on_start(f"http://{shown}:{port}")
            return
