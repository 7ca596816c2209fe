"""What a saved model says of itself before it is opened: its format, its classes and how many
examples each has. Imports neither torch nor scikit-learn, so that listing classes costs little.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from quickstudy.core.disk import as_path
from quickstudy.core.errors import LoadError
from quickstudy.core.saving import MANIFEST, holds, load_folder
from quickstudy.core.words import counted
from quickstudy.estimators.history import Change, since_fit

FORMAT = 3
KIND = "model"
TENSORS = "classifier.safetensors"
_MOST = 10


def class_counts(folder: str | Path) -> dict[Any, int]:
    """How many examples each class of a saved model has; neither the classifier nor the encoder is
    opened.

    Args:
        folder: where `quickstudy.FittedModel.save` or ``quickstudy fit`` wrote the model.

    Raises:
        LoadError: when files are missing, damaged or of another format.
    """
    path = as_path(folder, "folder")
    about, content = read_saved(path)
    with damage_is_a_load_error(path):
        classes = list(about["classes"])
        labels = dict(deserialize(content))["labels"]
        if labels["dtype"] != "I64":
            raise ValueError(f"labels of type I64 were expected, but they are {labels['dtype']}")
        counts = np.bincount(np.frombuffer(labels["data"], dtype="<i8"), minlength=len(classes))
        if len(counts) != len(classes):
            raise ValueError(f"there are {len(classes)} classes, but examples of {len(counts)}")
        return dict(zip(classes, counts.tolist(), strict=True))


def said_of(folder: str | Path) -> str:
    """What a saved model holds, when it was fitted and what was changed since, in a sentence or
    two; neither the classifier nor the encoder is opened.

    Raises:
        LoadError: when files are missing, damaged or of another format.
    """
    counts = class_counts(folder)
    about, _ = read_saved(Path(folder))
    names = [f"{name} {n}" for name, n in counts.items()]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    classes = (
        f"It knows {counted(len(names), 'class', 'classes')} ({', '.join(names[:_MOST])}{more})."
    )
    with damage_is_a_load_error(Path(folder)):
        history = [Change.from_json(values) for values in about.get("history", ())]
        return " ".join(part for part in (classes, since_fit(history)) if part)


def read_saved(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What JSON says of a saved model, and the content of its file of tensors.

    Raises:
        LoadError: when files are missing or damaged, or hold something else than a model of this
            format.
    """
    for old in ("classifier.json", "predictor.json"):
        if (folder / old).is_file() and not (folder / MANIFEST).exists():
            raise LoadError(
                f"{folder} was written by an older version of quickstudy ({old}), which this one "
                f"does not read. Make it again: quickstudy fit SOURCE -o {folder}"
            )
    if holds(folder, "run") or holds(folder, "learner"):
        raise LoadError(
            f"{folder} holds a trained run, not a fitted model. Fit one first: quickstudy fit "
            f"FOLDER -o MODEL --run {folder}"
        )
    saved = load_folder(folder, kind=KIND, files=(TENSORS,))
    with damage_is_a_load_error(folder):
        about = dict(saved.about)
    if about.get("format") != FORMAT:
        raise LoadError(
            f"{folder} holds a fitted model of format {about.get('format')}, and this version "
            f"reads {FORMAT}. Make it again: quickstudy fit SOURCE -o {folder} --force"
        )
    return about, saved.files[TENSORS]


@contextmanager
def damage_is_a_load_error(folder: Path) -> Iterator[None]:
    """Whatever a damaged file may raise becomes a LoadError that names the folder."""
    try:
        yield
    except LoadError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise LoadError(
            f"The model in {folder} is damaged or cannot be read: {error}. Copy it again, or fit "
            "it again."
        ) from error
