"""Checkpoints that survive being killed at any moment, and are checked when they are read."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from quickstudy.core.errors import LoadError
from quickstudy.core.saving import load_record, save_record


def save_checkpoint(file: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values so that a kill leaves either the old file or the new one.

    Raises:
        ConfigError: when it cannot be written.
    """
    save_record(file, kind="checkpoint", content=lambda stream: torch.save(dict(content), stream))


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are accepted, so nothing in the file is
    executed.

    Raises:
        LoadError: when it is missing or damaged.
    """
    stored = load_record(file, kind="checkpoint")
    try:
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise TypeError(f"it holds {type(content).__name__} where a dict was expected")
        return content
    except MemoryError:
        raise
    except Exception as error:  # torch raises whatever error a forged file happens to cause
        raise LoadError(
            f"{file} is not a readable checkpoint: {error}. Start again without --resume."
        ) from error
