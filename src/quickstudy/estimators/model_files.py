"""A fitted classifier on disk: what JSON says of it, and its tensors."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import load, save

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Modules, check_given_modules, describe, rebuild
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.lock import LOCK
from quickstudy.core.saving import MANIFEST, holds, save_folder
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.comparison import HeadComparison
from quickstudy.estimators.feedback import Feedback
from quickstudy.estimators.history import Change
from quickstudy.estimators.model_header import (
    FORMAT,
    KIND,
    TENSORS,
    damage_is_a_load_error,
    read_saved,
)
from quickstudy.estimators.open_set import OpenSetClassifier

_LEARNER = "learner."  # before the names of its weights

Classifier: TypeAlias = FewShotClassifier | OpenSetClassifier


def write(
    folder: Path,
    classifier: Classifier,
    encoding: dict[str, Any],
    *,
    notes: Sequence[str],
    feedback: Sequence[Feedback] = (),
    history: Sequence[Change] = (),
) -> Path:
    """Write a model into a folder, whole or not at all, see `quickstudy.core.saving`.

    Raises:
        ConfigError: when a label or the learner has no form on disk, the folder holds something
            else, or cannot be written.
    """
    check_free(folder)
    about, tensors = _taken_apart(classifier)
    about["history"] = [
        change.to_json() | {"label": None if change.label is None else _plain(change.label)}
        for change in history
    ]
    if feedback:
        about["feedback"] = [one.to_json() for one in feedback]
        vectors = np.stack([one.vector for one in feedback])
        tensors["feedback"] = torch.from_numpy(_compact(vectors))
    return save_folder(
        folder,
        kind=KIND,
        about={"format": FORMAT, **about, "encoding": encoding, "notes": list(notes)},
        files={TENSORS: save(tensors)},
    )


def check_free(folder: Path) -> None:
    """Refuse a place that holds something other than a fitted model.

    Raises:
        ConfigError: where it does.
    """
    if not folder.exists() or (folder.is_dir() and holds(folder, KIND)):
        return
    if not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir()):
        raise ConfigError(
            f"{folder} exists and is no fitted model; it is left alone. Choose another name (on "
            "the command line -o)."
        )


def read(
    folder: Path, *, modules: Modules | None = None
) -> tuple[Classifier, dict[str, Any], tuple[str, ...], tuple[Feedback, ...], tuple[Change, ...]]:
    """The classifier, what JSON says of its encoding, the notes, the feedback, and the history.

    Args:
        folder: where it lies.
        modules: the networks that its learner's encoder wraps, by name.

    Raises:
        LoadError: when files are missing, damaged or of another format.
    """
    about, content = read_saved(folder)
    with damage_is_a_load_error(folder):
        tensors = load(content)
        vectors = tensors.pop("feedback", torch.empty(0, 0)).numpy().astype(np.float64)
        feedback = tuple(
            Feedback.from_json(values, vector)
            for values, vector in zip(about.get("feedback", ()), vectors, strict=True)
        )
        classifier = _put_together(about, tensors, modules)
        history = tuple(Change.from_json(values) for values in about.get("history", ()))
        notes = tuple(map(str, about["notes"]))
        return classifier, dict(about["encoding"]), notes, feedback, history


def version_of(folder: Path) -> str:
    """What tells the saved state of a folder from earlier and later ones; empty where there is
    none.
    """
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def _taken_apart(model: Classifier) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What JSON says of a classifier, and its tensors."""
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    about: dict[str, Any] = {
        "classes": [_plain(c) for c in known.classes_.tolist()],
        "known": {
            "head": known.head,
            "scaling": known.scaling,
            "metric": known.metric,
            "alpha": known.alpha,
            "C": known.C,
        },
        "comparison": known.head_comparison_ and known.head_comparison_.to_json(),
        "learner": describe(known.learner) if known.head == "learner" else None,
        "temperature": known.temperature,
        "open_set": None,
    }
    arrays: dict[str, NDArray[Any]] = {
        "support": known.support_,
        "labels": known.labels_,
        "weights": known.weights_,
    }
    if isinstance(model, OpenSetClassifier):
        about["open_set"] = {
            "unknown_score": model.unknown_score,
            "rate": model.rate_,
            "review_rate": model.review_rate,
            "reject_label": _plain(model.reject_label_),
        }
        arrays["calibration_scores"] = model.calibration_scores_
        if model.negatives_ is not None:
            arrays["negatives"] = model.negatives_
        if model.cohort_ is not None:
            arrays["cohort"] = model.cohort_
            if model.cohort_groups_ is not None:
                arrays["cohort_groups"] = np.unique(model.cohort_groups_, return_inverse=True)[
                    1
                ].astype(np.int64)
    tensors = {name: torch.from_numpy(_compact(array)) for name, array in arrays.items()}
    if known.head == "learner":
        assert isinstance(known.learner, AbstractLearner)
        tensors |= {
            f"{_LEARNER}{name}": t.detach().cpu().contiguous().clone()
            for name, t in known.learner.state_dict().items()
        }
    return about, tensors


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in fewer bytes where none of them changes: vectors mostly come from
    networks in float32, and pixels are bytes.
    """
    kinds = (np.uint8, np.float32) if array.dtype == np.float64 else ()
    for kind in kinds:
        with np.errstate(all="ignore"):
            small = array.astype(kind)
        if np.array_equal(small.astype(np.float64), array):
            return np.ascontiguousarray(small)
    return np.ascontiguousarray(array)


def _put_together(
    about: dict[str, Any], tensors: dict[str, torch.Tensor], modules: Modules | None
) -> Classifier:
    learner = None if about["learner"] is None else _learner(about["learner"], tensors, modules)
    arrays: dict[str, NDArray[Any]] = {
        name: t.numpy() if name in ("labels", "cohort_groups") else t.numpy().astype(np.float64)
        for name, t in tensors.items()
        if not name.startswith(_LEARNER)
    }
    labels = arrays["labels"]
    if np.unique(labels).tolist() != list(range(len(about["classes"]))):
        raise ValueError(
            f"there are {len(about['classes'])} classes, but examples of {len(np.unique(labels))}"
        )
    options = about["known"]
    known = FewShotClassifier(
        options["head"],
        scaling=options["scaling"],
        metric=options["metric"],
        alpha=options["alpha"],
        C=options["C"],
        learner=learner,
    )
    names = np.asarray(about["classes"])[labels.astype(np.int64)]
    compared = about["comparison"]
    known.fit(
        arrays["support"],
        names,
        arrays["weights"],
        comparison=None if compared is None else HeadComparison.from_json(compared),
    )
    known.temperature = float(about["temperature"])
    given = about["open_set"]
    if given is None:
        return known
    model = OpenSetClassifier(
        known,
        unknown_score=given["unknown_score"],
        false_accept_rate=given["rate"],
        review_rate=given["review_rate"],
        reject_label=given["reject_label"],
    )
    return model.restore(
        known,
        arrays["calibration_scores"],
        cohort=arrays.get("cohort"),
        cohort_groups=arrays.get("cohort_groups"),
        negatives=arrays.get("negatives"),
    )


def _learner(
    description: Any, tensors: dict[str, torch.Tensor], modules: Modules | None
) -> AbstractLearner[Any]:
    learner = rebuild(description, modules=modules)
    if not isinstance(learner, AbstractLearner):
        raise ValueError(f"a {type(learner).__name__} is no learner")
    weights = {
        name.removeprefix(_LEARNER): t for name, t in tensors.items() if name.startswith(_LEARNER)
    }
    check_given_modules(learner, weights)
    for name, fresh in learner.state_dict(keep_vars=True).items():
        # Fresh weights are float32, the kept ones need not be.
        fresh.data = fresh.data.to(weights[name].dtype)
    learner.load_state_dict(weights)
    return learner.eval()


def _plain(label: Any) -> Any:
    if not isinstance(label, str | int | float | bool):
        raise ConfigError(
            f"A label of type {type(label).__name__} cannot be written to JSON. Use texts or "
            "numbers."
        )
    return label
