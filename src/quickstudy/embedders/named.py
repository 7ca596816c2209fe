"""From what a user writes (a folder, a file, a name on the hub) to an embedder."""

from pathlib import Path

from quickstudy.core.errors import ConfigError
from quickstudy.embedders.embedder import AbstractEmbedder
from quickstudy.embedders.run import RunEmbedder

KINDS = ("pictures", "sentences", "recordings")


def open_embedder(
    source: str | Path | AbstractEmbedder, *, kind: str = "pictures", invert: bool | None = None, device: str = "auto"
) -> AbstractEmbedder:
    """The embedder that ``source`` names.

    Args:
        source: an embedder (taken as it is), or the folder of a trained run.
        kind: "pictures", "sentences" or "recordings".
        invert: of drawings, for our own runs: turn dark ink on light paper to light on dark; None = as trained.
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: when nothing is called so, or it does not take this kind of thing.
    """
    found = source if isinstance(source, AbstractEmbedder) else _opened(str(source), kind=kind, invert=invert, device=device)
    if found.kind != kind:
        raise ConfigError(f"'{found.source}' encodes {found.kind}, not {kind}. Choose an encoder of {kind}.")
    return found


def _opened(source: str, *, kind: str, invert: bool | None, device: str) -> AbstractEmbedder:
    return RunEmbedder(source, invert=invert)
