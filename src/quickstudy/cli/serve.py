"""The commands ``serve`` and ``serve-key``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quickstudy.cli.choices import GalleryIndex
from quickstudy.cli.screen import progress, results, table
from quickstudy.core.errors import ConfigError

serve_key = typer.Typer(help="API keys of a server.", no_args_is_help=True)
_DEMO_RATE = 0.05
_File = Annotated[Path, typer.Argument(help="The file of keys.", show_default=False)]


def serve(
    source: Annotated[
        str,
        typer.Argument(
            help="A fitted model, a gallery (a file or postgresql://…), or a folder of them.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 = any free one.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help="The file of API keys, see serve-key.", show_default=False)
    ] = None,
    tls_in_front: Annotated[
        bool, typer.Option("--tls-in-front", help="Something in front of this server does TLS.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="A further host name it is called by.")
    ] = None,
    index: Annotated[
        GalleryIndex,
        typer.Option(help="How galleries are searched; pgvector is for those in PostgreSQL."),
    ] = "exact",
    page: Annotated[bool, typer.Option(help="Serve the web page.")] = True,
    log: Annotated[bool, typer.Option(help="One line of JSON per request.")] = True,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 32_000_000,
    max_pixels: Annotated[int, typer.Option(help="Pixels of an image.")] = 25_000_000,
    max_items: Annotated[int, typer.Option(help="Items in a request.")] = 64,
    queue: Annotated[int, typer.Option(help="Items that may wait to be encoded.")] = 512,
    deadline: Annotated[float, typer.Option(help="Seconds from arrival to answer.")] = 30.0,
    rate: Annotated[float, typer.Option(help="Requests per second and client; 0 = any.")] = 50.0,
) -> None:
    """Serve models and galleries over HTTP, with a web page."""
    serving = _room()
    limits = serving.Limits(
        body=max_body,
        pixels=max_pixels,
        items=max_items,
        queued=queue,
        deadline=deadline,
        rate=rate,
    )
    settings = serving.ServerSettings(
        host=host,
        port=port,
        keys=keys,
        tls_in_front=tls_in_front,
        names=tuple(name or ()),
        page=page,
        limits=limits,
    )
    _run(serving, serving.open_registry(source, index=index), settings, log=log)


def serve_demo(folder: Path, port: int) -> None:
    """Serve a model without classes, for drawings, with printed characters as unknowns."""
    serving = _room()
    import numpy as np
    from PIL import Image

    from quickstudy.data import Glyphs
    from quickstudy.estimators import BlankModel
    from quickstudy.pretrained import open_encoder

    encoder = open_encoder("symbols")
    test = Glyphs().split("test")
    rows = [int(test.index.rows_of(c)[0]) for c in range(len(test.index))]
    unknowns = [Image.fromarray(255 - test.x[row, 0].numpy()) for row in rows]
    blank = BlankModel(encoder, encoder.encode(unknowns).astype(np.float64), _DEMO_RATE)
    model = serving.ServedModel("drawings", folder / "drawings", blank=blank)
    settings = serving.ServerSettings(port=port, limits=serving.Limits(rate=0))
    _run(serving, serving.Registry([model]), settings, log=False)


def _run(serving: Any, registry: Any, settings: Any, *, log: bool) -> None:
    out = results()

    def announce(address: str) -> None:
        served = [*registry.models, *registry.galleries]
        out.print(f"Serving {', '.join(served)} at {address} – stop with Ctrl-C.")
        out.print(f"The page: {address}/   the interface: {address}/docs")
        out.file.flush()

    serving.run_server(registry, settings, on_start=announce, log=log)
    progress().print("Stopped; what was taken was finished.")


@serve_key.command("add")
def add(
    file: _File,
    name: Annotated[str, typer.Argument(help="Whose it is.", show_default=False)],
    scope: Annotated[
        str,
        typer.Option(
            help="read: ask; enrol: also teach and enrol; administer: also remove, rename, "
            "calibrate, export and audit."
        ),
    ] = "read",
) -> None:
    """Make a key and print it; only its hash is kept."""
    _room()
    from quickstudy.serve.keys import add_key

    results().print(add_key(file, name, scope))
    progress().print(f"The key of {name} ({scope}). It is shown once; {file} holds its hash.")


@serve_key.command("list")
def list_keys(file: _File) -> None:
    """List the keys of a file."""
    _room()
    from quickstudy.serve.keys import read_keys

    shown = table("id", "name", "scope", "created")
    for key in read_keys(file):
        shown.add_row(key.id, key.name, key.scope, key.created)
    results().print(shown)


@serve_key.command("remove")
def remove(
    file: _File, key: Annotated[str, typer.Argument(help="Its id.", show_default=False)]
) -> None:
    """Take a key out of a file; it is refused from the next request on."""
    _room()
    from quickstudy.serve.keys import remove_key

    gone = remove_key(file, key)
    results().print(f"Removed the key {gone.id} of {gone.name}.")


def _room() -> Any:
    try:
        import quickstudy.serve as room
    except ImportError as error:
        raise ConfigError(
            f"Serving needs the package {error.name}: pip install 'quickstudy[serve]'."
        ) from error
    return room
