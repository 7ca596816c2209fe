"""A folder of pictures learned by the own learner of a trained run: the model is its predictor."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from quickstudy.cli.screen import results
from quickstudy.core.errors import ConfigError, DataError, ImageError, LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import holds
from quickstudy.core.types import Classes, Examples
from quickstudy.data import FolderContent, ImageFormat, find_images, read_folder
from quickstudy.metrics.thresholds import conformal_threshold
from quickstudy.recipes import learner_extra, load

_BATCH = 64
UNKNOWN = "unknown"


def name_to_rename() -> DataError:
    """The error where a class has the name that strangers get."""
    return DataError(
        f"With --false-accept-rate, '{UNKNOWN}' is what strangers are called, so no class can be "
        "called "
        "so. Rename it."
    )


def fit_with_run(
    folder: Path,
    model: Path,
    run: Path,
    *,
    on_bad: str = "refuse",
    invert: bool | None = None,
    norm: str = "",
    false_accept_rate: float = 0.0,
    cohort: Path | None = None,
) -> None:
    """``quickstudy fit --run``: the run's own learner learns the classes of a folder, and the model
    is its predictor.
    """
    predictor, content = fit_folder(folder, run, on_bad=on_bad, invert=invert, norm=norm)
    if false_accept_rate:
        predictor = rejecting(predictor, content, false_accept_rate, cohort=cohort)
    if (
        model.exists()
        and not holds(model, "predictor")
        and (not model.is_dir() or any(model.iterdir()))
    ):
        raise ConfigError(
            f"{model} exists and is no model that was fitted with --run; it is left alone. Choose "
            "another name for -o."
        )
    try:
        predictor.save(model)
    except (OSError, SafetensorError) as error:
        for part in model.glob("predictor.*.part"):
            part.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"The model cannot be written to {model}: {why}. An older one there is as it was; make "
            "room, or choose another folder."
        ) from error
    for path, reason in content.skipped:
        results().print(f"skipped {path}: {reason}")
    for same in content.duplicates:
        results().print(f"the same picture in two classes: {', '.join(map(str, same))}")
    if not learner_extra(run).get("result", {}).get("finished", True):
        results().print(
            f"{run} was stopped before its training was done; `quickstudy train … --resume` would "
            "make a better model."
        )
    counts = ", ".join(
        f"{name} {n}"
        for name, n in zip(predictor.labels, content.dataset.index.counts, strict=True)
    )
    results().print(
        f"Learned {len(predictor.labels)} classes from {len(content.paths)} pictures ({counts}). "
        f"Model: {model}"
    )
    if false_accept_rate:
        results().print(
            f"Says unknown, at a false-accept rate of {100 * false_accept_rate:g} % by the rule: "
            f"{predictor.extra['unknown']['rule']}."
        )


def fit_folder(
    folder: Path, run: Path, *, on_bad: str = "refuse", invert: bool | None = None, norm: str = ""
) -> tuple[Predictor, FolderContent]:
    """A predictor for the classes of a folder, by the learner of a trained run.

    Raises:
        LoadError: when the run was not trained on pictures.
        DataError: when the folder is not usable, see `quickstudy.data.read_folder`.
    """
    learner = load(run, norm=norm)
    if not isinstance(learner, AbstractLearner):
        raise LoadError(
            f"{run} holds a fitted model, not a trained run. Give the folder that `quickstudy "
            "train` wrote."
        )
    image = learner_extra(run).get("image")
    if not image:
        raise LoadError(
            f"{run} was not trained on pictures, so it cannot learn a folder of them. Use a run of "
            "an image recipe."
        )
    fmt = ImageFormat.from_json(image if invert is None else {**image, "invert": invert})
    content = read_folder(folder, fmt, on_bad=on_bad)
    data = content.dataset
    labels = torch.from_numpy(data.index.labels)
    predictor = learner.fit(
        Examples.single(fmt.normalise(data.x), labels), Classes(len(data.index))
    )
    return predictor.named(data.index.names, extra={"image": fmt.to_json()}), content


def rejecting(
    predictor: Predictor, content: FolderContent, rate: float, *, cohort: Path | None = None
) -> Predictor:
    """The predictor with a threshold for the best class's score: what stays below is unknown.

    Args:
        predictor: fitted to the folder.
        content: the folder.
        rate: the wanted share of strangers who are taken for a class.
        cohort: pictures of strangers; None lets each class in turn be the stranger to the others.

    Raises:
        ConfigError: for too few strangers, or a learner that cannot leave a class out.
    """
    if UNKNOWN in predictor.labels:
        raise name_to_rename()
    fmt, learner = ImageFormat.from_json(predictor.extra["image"]), predictor.learner
    scores: list[torch.Tensor] = []
    if cohort:
        place = cohort.expanduser()
        paths, rule = find_images([place]), "cohort"
        strangers, groups = (
            [fmt.read(path) for path in paths],
            np.asarray([whose(path, place) for path in paths]),
        )
        for at in range(0, len(strangers), _BATCH):
            with torch.no_grad():
                scores.append(
                    predictor(fmt.normalise(torch.stack(strangers[at : at + _BATCH]))).amax(1)
                )
    else:
        n, rule = len(predictor.labels), "leave one class out"
        if not learner.traits.any_way or n < 2:
            raise ConfigError(
                f"{type(learner).__name__} cannot learn these {n} classes without one of them, to "
                "see what strangers score. Give --cohort, a folder of "
                "pictures that belong to no class, or a learner for any number of classes "
                "(protonet)."
            )
        x, y = fmt.normalise(content.dataset.x), torch.from_numpy(content.dataset.index.labels)
        for c in range(n):
            rest = y != c
            without = learner.fit(
                Examples.single(x[rest], y[rest] - (y[rest] > c).long()), Classes(n - 1)
            )
            with torch.no_grad():
                scores.append(without(x[~rest]).amax(1))
        groups = np.sort(content.dataset.index.labels)
    threshold = conformal_threshold(torch.cat(scores).double().numpy(), rate, groups=groups)
    return predictor.named(
        predictor.labels,
        extra={**predictor.extra, "unknown": {"threshold": threshold, "rate": rate, "rule": rule}},
    )


def whose(path: Path, cohort: Path) -> str:
    """Which stranger a file of a cohort is of: those in one sub-folder of it are of one, those
    beside each other in the folder itself of one each.

    >>> [
    ...     whose(Path(p), Path("others"))
    ...     for p in ("others/a.png", "others/anna/1.png", "others/anna/more/2.png")
    ... ]
    ['others/a.png', 'anna', 'anna']
    """
    return str(path) if cohort in (path, path.parent) else path.relative_to(cohort).parts[0]


def classify(predictor: Predictor, paths: list[Path]) -> list[dict[str, Any]]:
    """Label and score of each picture, or why it could not be read.

    The score is the softmax of the outputs over the known classes: it compares them with each other
    and says nothing of pictures that belong to none of them. A model fitted with a reject rate
    calls these "unknown", and names the nearest class besides.
    """
    line = predictor.extra.get("unknown", {}).get("threshold", -math.inf)
    fmt = ImageFormat.from_json(predictor.extra["image"])
    rows: list[dict[str, Any]] = []
    for at in range(0, len(paths), _BATCH):
        pictures, good = [], []
        for path in paths[at : at + _BATCH]:
            try:
                pictures.append(fmt.read(path))
                good.append({"image": str(path)})
                rows.append(good[-1])
            except ImageError as error:
                rows.append({"image": str(path), "error": str(error)})
        if not good:
            continue
        with torch.no_grad():
            out = predictor(fmt.normalise(torch.stack(pictures)))  # [B C]
        known = out.amax(1).double() > line
        for row, score, is_known in zip(
            good, out.softmax(-1).numpy().astype(np.float64), known.tolist(), strict=True
        ):
            best = int(score.argmax())
            row.update(
                label=predictor.labels[best] if is_known else UNKNOWN,
                score=round(float(score[best]), 4),
            )
            if not is_known:
                row["nearest"] = predictor.labels[best]
    return rows
