"""A folder with a model of drawings and a gallery, and a client of a server that serves it."""

import io
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from quickstudy.estimators import BlankModel
from quickstudy.gallery import Gallery
from quickstudy.pretrained import open_encoder
from quickstudy.serve import (
    Limits,
    Registry,
    ServedModel,
    ServerSettings,
    create_app,
    open_registry,
    run_server,
)

Client = Callable[..., TestClient]
Strokes = Sequence[Sequence[tuple[float, float]]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHAPES = ("circle", "cross", "bars")


def draw(shape: str, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("L", (60, 60), 255)
    pen = ImageDraw.Draw(image)
    a, b = (8 + rng.integers(0, 5, 2)).tolist()
    c, d = (52 - rng.integers(0, 5, 2)).tolist()
    if shape == "circle":
        pen.ellipse((a, b, c, d), outline=0, width=4)
    elif shape == "cross":
        pen.line((a, b, c, d), fill=0, width=4)
        pen.line((a, d, c, b), fill=0, width=4)
    elif shape == "bars":
        for y in (15, 30, 45):
            pen.line((a, y + b - 10, c, y + b - 10), fill=0, width=4)
    else:
        points = [tuple(p) for p in rng.integers(5, 55, (6, 2)).tolist()]
        pen.line(points, fill=0, width=4)
    return image


@pytest.fixture(scope="session")
def drawing() -> Callable[..., Image.Image]:
    return draw


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    def content(shape: str, seed: int = 0) -> bytes:
        out = io.BytesIO()
        draw(shape, seed).save(out, "PNG")
        return out.getvalue()

    return content


@pytest.fixture(scope="session")
def files(png: Callable[..., bytes]) -> Callable[..., list[tuple[str, tuple[str, bytes, str]]]]:
    """Drawings as a form sends them."""

    def form(*shapes: str, seed: int = 7) -> list[tuple[str, tuple[str, bytes, str]]]:
        return [("file", (f"{shape}.png", png(shape, seed), "image/png")) for shape in shapes]

    return form


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    encoder = open_encoder("symbols")
    cohort = encoder.encode([draw("scribble", seed) for seed in range(40)]).astype(float)
    model = None
    for shape in SHAPES:
        x = encoder.encode([draw(shape, seed) for seed in range(3)]).astype(float)
        if model is None:
            model = BlankModel(encoder, cohort).with_class(shape, x)
        else:
            model.add_vectors(shape, x)
    assert model is not None
    model.save(root / "shapes")
    with Gallery.create_for(root / "marks.db", encoder) as gallery:
        for shape in SHAPES:
            gallery.enrol(shape, encoder.encode([draw(shape, s) for s in range(2)]))
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "served"))


@contextmanager
def running(registry: Registry, limits: Limits) -> Iterator[str]:
    """The address of a real server, in a process of its own, which ends in peace."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def serve() -> None:
        settings = ServerSettings(port=0, limits=limits)
        run_server(registry, settings, on_start=sender.send, log=False)

    process = context.Process(target=serve, daemon=True)
    process.start()
    assert receiver.poll(60)
    yield receiver.recv()
    process.terminate()
    process.join(10)
    assert process.exitcode == 0


@pytest.fixture
def serve_folder() -> Iterator[Callable[[Path], str]]:
    """Serves a folder; returns the address."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(
            running(open_registry(str(folder)), Limits(rate=0))
        )


@pytest.fixture
def impatient(place: Path) -> Iterator[str]:
    """A server with short patience."""
    with running(open_registry(str(place)), Limits(headers=0.4, deadline=0.8, rate=0)) as address:
        yield address


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[str]:
    """A server of a model without classes."""
    encoder = open_encoder("symbols")
    cohort = encoder.encode([draw("scribble", seed) for seed in range(60)]).astype(float)
    model = ServedModel("drawings", tmp_path / "drawings", blank=BlankModel(encoder, cohort))
    with running(Registry([model]), Limits(rate=0)) as address:
        yield address


@pytest.fixture
def client(place: Path) -> Iterator[Client]:
    with ExitStack() as stack:

        def start(*, limits: Limits | None = None, keys: Path | None = None) -> TestClient:
            options = ServerSettings(limits=limits or Limits(rate=0), keys=keys)
            app = create_app(open_registry(str(place)), options)
            return stack.enter_context(
                TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
            )

        yield start


@pytest.fixture
def browse() -> Iterator[Callable[..., Any]]:
    """Opens the page at an address in a browser; it must ask for nothing outside, and no script of
    it may fail.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    playwright.expect.set_options(timeout=30_000)
    outside: list[str] = []
    wrong: list[str] = []
    with (
        playwright.sync_playwright() as p,
        p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):

        def opened(address: str, **options: Any) -> Any:
            given = {"viewport": {"width": 1100, "height": 900}, **options}
            page = browser.new_context(**given).new_page()
            page.set_default_timeout(30_000)
            inside = (address, "blob:", "data:")
            page.on("request", lambda r: r.url.startswith(inside) or outside.append(r.url))
            page.on("pageerror", lambda e: wrong.append(str(e)))
            page.on("dialog", lambda d: d.accept())
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            return page

        yield opened
    assert outside == []
    assert wrong == []


@pytest.fixture(scope="session")
def pen() -> Callable[[Any, Strokes], None]:
    """Draws strokes on the pad of the page; its width and height are 1."""

    def draw_strokes(page: Any, strokes: Strokes) -> None:
        box = page.locator("#pad").bounding_box()
        for points in strokes:
            corners = [
                (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points
            ]
            page.mouse.move(*corners[0])
            page.mouse.down()
            for corner in corners[1:] or corners:
                page.mouse.move(*corner)
            page.mouse.up()

    return draw_strokes
