"""Images, text and audio to vectors, by encoders of ours and of others."""

import importlib
from typing import TYPE_CHECKING, Any

from quickstudy.pretrained.registry import ENCODERS as ENCODERS
from quickstudy.pretrained.registry import KINDS as KINDS
from quickstudy.pretrained.registry import EncoderEntry as EncoderEntry
from quickstudy.pretrained.registry import entry_of as entry_of

if TYPE_CHECKING:
    from quickstudy.pretrained.audio import HubAudioEncoder as HubAudioEncoder
    from quickstudy.pretrained.cache import FeatureCache as FeatureCache
    from quickstudy.pretrained.choose import EncoderChoice as EncoderChoice
    from quickstudy.pretrained.choose import EncoderScore as EncoderScore
    from quickstudy.pretrained.choose import choose_encoder as choose_encoder
    from quickstudy.pretrained.encoder import AbstractImagePretrained as AbstractImagePretrained
    from quickstudy.pretrained.encoder import AbstractPretrained as AbstractPretrained
    from quickstudy.pretrained.encoder import FunctionEncoder as FunctionEncoder
    from quickstudy.pretrained.faces import FaceEncoder as FaceEncoder
    from quickstudy.pretrained.files import EncodedFiles as EncodedFiles
    from quickstudy.pretrained.files import encode_files as encode_files
    from quickstudy.pretrained.files import stream_files as stream_files
    from quickstudy.pretrained.measured import MeasuredThresholds as MeasuredThresholds
    from quickstudy.pretrained.open import open_encoder as open_encoder
    from quickstudy.pretrained.photographs import PhotographEncoder as PhotographEncoder
    from quickstudy.pretrained.run import RunEncoder as RunEncoder
    from quickstudy.pretrained.spectrogram import SpectrogramEncoder as SpectrogramEncoder
    from quickstudy.pretrained.spectrum import SpectrumEncoder as SpectrumEncoder
    from quickstudy.pretrained.symbols import SymbolEncoder as SymbolEncoder
    from quickstudy.pretrained.text import SentenceEncoder as SentenceEncoder
    from quickstudy.pretrained.voices import VoiceEncoder as VoiceEncoder

# Opened when they are asked for, so that the list of encoders needs no torch.
_MODULES = {
    "HubAudioEncoder": "audio",
    "FeatureCache": "cache",
    "EncoderChoice": "choose",
    "EncoderScore": "choose",
    "choose_encoder": "choose",
    "AbstractImagePretrained": "encoder",
    "AbstractPretrained": "encoder",
    "FunctionEncoder": "encoder",
    "FaceEncoder": "faces",
    "EncodedFiles": "files",
    "encode_files": "files",
    "stream_files": "files",
    "MeasuredThresholds": "measured",
    "open_encoder": "open",
    "PhotographEncoder": "photographs",
    "RunEncoder": "run",
    "SpectrogramEncoder": "spectrogram",
    "SpectrumEncoder": "spectrum",
    "SymbolEncoder": "symbols",
    "SentenceEncoder": "text",
    "VoiceEncoder": "voices",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
