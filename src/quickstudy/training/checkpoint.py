"""Checkpoints that survive being killed at any moment."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from quickstudy.core.errors import LoadError


def save_checkpoint(file: Path, content: Mapping[str, Any], *, writer: int = 0) -> None:
    """Write ``content`` so that a kill leaves either the old file or the new one, whole.

    Args:
        file: where.
        content: tensors and plain values.
        writer: the number of the process; several may write the same file at once, and one of them
            wins.
    """
    part = file.with_name(f"{file.name}.{writer}.part")
    with part.open("wb") as stream:
        torch.save(dict(content), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, file)


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are accepted, so nothing in the file is
    executed.

    Raises:
        LoadError: when it is missing or damaged.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise LoadError(
            f"{file} is not a readable checkpoint: {error}. Start again without --resume."
        ) from error
