"""The commands of practitioners: a folder of pictures in, labels out."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from quickstudy.cli.screen import results, table
from quickstudy.core.errors import ConfigError, ImageError, LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.predictor import Predictor
from quickstudy.core.types import Classes, Examples
from quickstudy.data import FolderContent, ImageFormat, find_images, read_folder
from quickstudy.functional.thresholds import conformal_threshold
from quickstudy.recipes import learner_json, load

_BATCH = 64
UNKNOWN = "unknown"


def fit(
    folder: Annotated[Path, typer.Argument(help="A folder with one sub-folder of pictures per class.", show_default=False)],
    model: Annotated[Path, typer.Option("--out", "-o", help="Folder for the fitted model.", show_default=False)],
    run: Annotated[
        Path, typer.Option(help="A trained run whose learner learns the classes, e.g. runs/glyphs-protonet.", show_default=False)
    ],
    on_bad: Annotated[str, typer.Option(help="Pictures that cannot be read: refuse them all, or skip and name them.")] = "refuse",
    invert: Annotated[
        bool | None, typer.Option(help="Turn dark ink on light paper to light on dark; default as the run was trained.")
    ] = None,
    norm: Annotated[str, typer.Option(help="Another normalisation policy of the learner, e.g. support for MAML.")] = "",
    reject_rate: Annotated[
        float, typer.Option(help="Call pictures unknown, so that this share of strangers is taken for a class; 0 = always name a class.")
    ] = 0.0,
    cohort: Annotated[
        Path | None, typer.Option(help="A folder of pictures that belong to no class, to set --reject-rate by; else each class plays it.")
    ] = None,
) -> None:
    """Learn the classes of a folder from a few pictures each; no training."""
    predictor, content = fit_folder(folder, run, on_bad=on_bad, invert=invert, norm=norm)
    if reject_rate:
        predictor = rejecting(predictor, content, reject_rate, cohort=cohort)
    if model.exists() and not (model / "predictor.json").exists() and (not model.is_dir() or any(model.iterdir())):
        raise ConfigError(f"{model} exists and is no fitted model; it is left alone. Choose another name for -o.")
    predictor.save(model)
    for path, reason in content.skipped:
        results().print(f"skipped {path}: {reason}")
    for same in content.duplicates:
        results().print(f"the same picture in two classes: {', '.join(map(str, same))}")
    if not learner_json(run)["extra"].get("result", {}).get("finished", True):
        results().print(f"{run} was stopped before its training was done; `quickstudy train … --resume` would make a better model.")
    counts = ", ".join(f"{name} {n}" for name, n in zip(predictor.labels, content.dataset.index.counts, strict=True))
    results().print(f"Learned {len(predictor.labels)} classes from {len(content.paths)} pictures ({counts}). Model: {model}")
    if reject_rate:
        results().print(
            f"Says unknown, at a false-accept rate of {100 * reject_rate:g} % by the rule: {predictor.extra['unknown']['rule']}."
        )


def predict(
    model: Annotated[Path, typer.Argument(help="A model that `quickstudy fit` wrote.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line instead of a table.")] = False,
) -> None:
    """Print label and score of each picture. Pictures that cannot be read are named, and the command then ends with status 1."""
    predictor = load(model)
    if not isinstance(predictor, Predictor):
        raise LoadError(f"{model} holds a trained learner, not a fitted model. Fit one first: quickstudy fit FOLDER -o MODEL --run {model}")
    rows = classify(predictor, find_images(images))
    if as_json:
        for row in rows:
            # print, not rich: a line of JSON must not be wrapped or styled.
            print(json.dumps(row, ensure_ascii=False))
    else:
        shown = table("picture", "label", "score")
        for row in rows:
            shown.add_row(row["image"], row.get("label", "—"), f"{row['score']:.3f}" if "score" in row else row["error"])
        results().print(shown)
    if any("error" in row for row in rows):
        raise typer.Exit(1)


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
        raise LoadError(f"{run} holds a fitted model, not a trained run. Give the folder that `quickstudy train` wrote.")
    image = learner_json(run)["extra"].get("image")
    if not image:
        raise LoadError(f"{run} was not trained on pictures, so it cannot learn a folder of them. Use a run of an image recipe.")
    fmt = ImageFormat.from_json(image if invert is None else {**image, "invert": invert})
    content = read_folder(folder, fmt, on_bad=on_bad)
    data = content.dataset
    labels = torch.from_numpy(data.index.labels)
    predictor = learner.fit(Examples.single(fmt.normalise(data.x), labels), Classes(len(data.index)))
    return predictor.named(data.index.names, extra={"image": fmt.to_json()}), content


def rejecting(predictor: Predictor, content: FolderContent, rate: float, *, cohort: Path | None = None) -> Predictor:
    """The predictor with a threshold for the best class's score: what stays below is unknown.

    Args:
        predictor: fitted to the folder.
        content: the folder.
        rate: the wanted share of strangers who are taken for a class.
        cohort: pictures of strangers; None lets each class in turn be the stranger to the others.

    Raises:
        ConfigError: for too few strangers, or a learner that cannot leave a class out.
    """
    fmt, learner = ImageFormat.from_json(predictor.extra["image"]), predictor.learner
    scores: list[torch.Tensor] = []
    if cohort:
        strangers, rule = [fmt.read(path) for path in find_images([cohort])], "cohort"
        for at in range(0, len(strangers), _BATCH):
            with torch.no_grad():
                scores.append(predictor(fmt.normalise(torch.stack(strangers[at : at + _BATCH]))).amax(1))
    else:
        n, rule = len(predictor.labels), "leave one class out"
        if not learner.traits.any_way or n < 2:
            raise ConfigError(
                f"{type(learner).__name__} cannot learn these {n} classes without one of them, to see what strangers score. Give --cohort, a folder of "
                "pictures that belong to no class, or a learner for any number of classes (protonet)."
            )
        x, y = fmt.normalise(content.dataset.x), torch.from_numpy(content.dataset.index.labels)
        for c in range(n):
            rest = y != c
            without = learner.fit(Examples.single(x[rest], y[rest] - (y[rest] > c).long()), Classes(n - 1))
            with torch.no_grad():
                scores.append(without(x[~rest]).amax(1))
    threshold = conformal_threshold(torch.cat(scores).double().numpy(), rate)
    return predictor.named(predictor.labels, extra={**predictor.extra, "unknown": {"threshold": threshold, "rate": rate, "rule": rule}})


def classify(predictor: Predictor, paths: list[Path]) -> list[dict[str, Any]]:
    """Label and score of each picture, or why it could not be read.

    The score is the softmax of the outputs over the known classes: it compares them with each other and says nothing of
    pictures that belong to none of them. A model fitted with a reject rate calls these "unknown", and names the nearest class besides.
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
        for row, score, is_known in zip(good, out.softmax(-1).numpy().astype(np.float64), known.tolist(), strict=True):
            best = int(score.argmax())
            row.update(label=predictor.labels[best] if is_known else UNKNOWN, score=round(float(score[best]), 4))
            if not is_known:
                row["nearest"] = predictor.labels[best]
    return rows
