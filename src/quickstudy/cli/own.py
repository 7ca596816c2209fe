"""The commands of practitioners: a folder of pictures in, labels out."""

import json
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
from quickstudy.recipes import learner_json, load

_BATCH = 64


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
) -> None:
    """Learn the classes of a folder from a few pictures each; no training."""
    predictor, content = fit_folder(folder, run, on_bad=on_bad, invert=invert, norm=norm)
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


def classify(predictor: Predictor, paths: list[Path]) -> list[dict[str, Any]]:
    """Label and score of each picture, or why it could not be read.

    The score is the softmax of the outputs over the known classes: it compares them with each other and says nothing of
    pictures that belong to none of them.
    """
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
            scores = predictor(fmt.normalise(torch.stack(pictures))).softmax(-1)  # [B C]
        for row, score in zip(good, scores.numpy().astype(np.float64), strict=True):
            best = int(score.argmax())
            row.update(label=predictor.labels[best], score=round(float(score[best]), 4))
    return rows
