"""The command ``predict``, and those that change the classes of a fitted model."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import typer

from quickstudy.cli.own import classify
from quickstudy.cli.screen import results, table
from quickstudy.cli.tables import ENDINGS, column, numbers, read_table
from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.predictor import Predictor
from quickstudy.data import find_files, find_images
from quickstudy.embedders import embed_files
from quickstudy.estimator import FittedModel, OpenSetClassifier
from quickstudy.estimator.saved import FILE, ROWS, decide
from quickstudy.recipes import load

FORMATS = ("table", "csv", "jsonl")
_AT_ONCE = 256
_COLUMNS = ("label", "score", "similarity", "threshold", "certain", "nearest", "error")

_Model = Annotated[Path, typer.Argument(help="A model that `quickstudy fit` wrote.", show_default=False)]
_Encoder = Annotated[str, typer.Option(help="Where the encoder lies now; default where it lay when the model was fitted.")]


def predict(
    model: _Model,
    things: Annotated[list[Path], typer.Argument(help="Pictures or recordings, folders of them, or tables.", show_default=False)],
    form: Annotated[str, typer.Option("--format", help="table, csv, or jsonl: one JSON object per line.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write csv or jsonl into this file.")] = None,
    reject_rate: Annotated[
        float, typer.Option(help="Say unknown at this false-accept rate, whatever the model was fitted with; 0 = as fitted.")
    ] = 0.0,
    encoder: _Encoder = "",
    cache: Annotated[bool, typer.Option(help="Keep vectors in the user's cache folder, so that no file is encoded twice.")] = True,
) -> None:
    """Print label and score of each thing. What cannot be read is named, and the command then ends with status 1."""
    form = "jsonl" if as_json else form
    if form not in FORMATS:
        raise ConfigError(f"There is no format '{form}'. {did_you_mean(form, FORMATS)}")
    if out is not None and form == "table":
        form = "jsonl" if out.suffix == ".jsonl" else "csv"
    if (model / FILE).exists():
        fitted = FittedModel.load(model, encoder=encoder)
        if reject_rate:
            fitted = _rejecting(fitted, reject_rate)
        rows = _rows(fitted, things, cache=cache)
    else:
        predictor = load(model)
        if not isinstance(predictor, Predictor):
            raise LoadError(
                f"{model} holds a trained learner, not a fitted model. Fit one first: quickstudy fit FOLDER -o MODEL --run {model}"
            )
        if reject_rate:
            raise ConfigError(
                f"{model} was fitted with a run's own learner; its threshold is set when it is fitted: quickstudy fit … --reject-rate {reject_rate}"
            )
        paths = find_images(things)
        rows = (row for at in range(0, len(paths), _AT_ONCE) for row in classify(predictor, paths[at : at + _AT_ONCE]))
    if _written(rows, form, out):
        raise typer.Exit(1)


def classes(model: _Model, encoder: _Encoder = "") -> None:
    """List the classes of a fitted model and how many examples each has."""
    known = FittedModel.load(model, encoder=encoder).known
    shown = table("class", "examples")
    for name, n in zip(known.classes_.tolist(), np.bincount(known.labels_).tolist(), strict=True):
        shown.add_row(str(name), str(n))
    results().print(shown)


def add_class(
    model: _Model,
    name: Annotated[str, typer.Argument(help="Of the class.", show_default=False)],
    things: Annotated[list[Path], typer.Argument(help="Its pictures or recordings, or folders of them.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Give a class that is there these examples in place of its own.")] = False,
    encoder: _Encoder = "",
) -> None:
    """Teach a fitted model one more class; the result equals fitting anew."""
    fitted = FittedModel.load(model, encoder=encoder)
    found = _files(fitted, things)
    _changed(lambda: fitted.changed("update" if replace else "add", name, found).save(model))
    results().print(f"{model} knows {len(fitted.known.classes_)} classes now; {name} has {len(found)} examples.")


def remove_class(
    model: _Model, name: Annotated[str, typer.Argument(help="Of the class.", show_default=False)], encoder: _Encoder = ""
) -> None:
    """Let a fitted model forget a class and its examples."""
    fitted = FittedModel.load(model, encoder=encoder)
    _changed(lambda: fitted.changed("remove", name).save(model))
    results().print(f"{model} knows {len(fitted.known.classes_)} classes now.")


def _changed(change: Any) -> None:
    try:
        change()
    except ConfigError:
        raise
    except ValueError as error:  # of the estimators, which speak scikit-learn's language
        raise ConfigError(str(error)) from error


def _files(fitted: FittedModel, things: list[Path]) -> list[Path]:
    if fitted.encoding.kind not in ("pictures", "recordings"):
        raise ConfigError(f"The model was fitted to {fitted.encoding.kind} of a table. Change the table and fit again.")
    return find_files(things, kind=fitted.encoding.kind)


def _rejecting(fitted: FittedModel, rate: float) -> FittedModel:
    model = fitted.classifier
    if isinstance(model, OpenSetClassifier):
        model.calibrate(rate)
        return fitted
    made = OpenSetClassifier(model, false_accept_rate=rate).fit(model.support_, model.classes_[model.labels_], model.weights_)
    return FittedModel(made, fitted.encoding, fitted.encoder, fitted.notes)


def _rows(fitted: FittedModel, things: list[Path], *, cache: bool) -> Iterator[dict[str, Any]]:
    kind = fitted.encoding.kind
    if kind in ("pictures", "recordings"):
        paths = _files(fitted, things)
        assert fitted.encoder is not None
        for at in range(0, len(paths), _AT_ONCE):
            some = paths[at : at + _AT_ONCE]
            made = embed_files(fitted.encoder, some, cache=cache or None, on_bad="skip")
            told = dict(zip(made.paths, _decided(fitted, made.vectors.astype(np.float64)), strict=True)) if made.paths else {}
            told |= {path: {"error": reason} for path, reason in made.skipped}
            yield from ({"image" if kind == "pictures" else "recording": str(path), **told[path]} for path in some)
        return
    for file in things:
        if file.suffix.lower() not in ENDINGS:
            raise ConfigError(f"The model was fitted to {kind} of a table, so it takes tables ({', '.join(ENDINGS)}), not '{file}'.")
        rows = read_table(file)
        if kind == ROWS:
            x = fitted.standardised(numbers(rows, fitted.encoding.columns, file))
            yield from ({"row": i + 1, **told} for i, told in enumerate(_decided(fitted, x)))
        else:
            texts = column(rows, fitted.encoding.columns[0], file)
            for at in range(0, len(texts), _AT_ONCE):
                some_texts = texts[at : at + _AT_ONCE]
                yield from ({"text": t, **told} for t, told in zip(some_texts, _decided(fitted, fitted.vectors(some_texts)), strict=True))


def _decided(fitted: FittedModel, x: Any) -> list[dict[str, Any]]:
    likely = fitted.classifier.predict_proba(x)
    model = fitted.classifier
    out = []
    for d, p in zip(decide(fitted.classifier, x), likely, strict=True):
        row: dict[str, Any] = {"label": d.label, "score": round(float(p.max()), 4), "similarity": round(d.score, 4)}
        if isinstance(model, OpenSetClassifier):
            row |= {"threshold": round(d.threshold, 4), "certain": d.certain}
            if d.label is None:
                row |= {"label": model.reject_label, "nearest": d.best}
        out.append(row)
    return out


def _written(rows: Iterable[dict[str, Any]], form: str, out: Path | None) -> bool:
    """Write the rows as they come; returns whether there was one with an error."""
    failed = False
    if form == "table":
        shown, first = None, ""
        for row in rows:
            first = next(iter(row))
            shown = shown or table("picture" if first == "image" else first, "label", "score", "")
            remark = row.get("error") or (
                "look" if row.get("certain") is False else f"nearest: {row['nearest']}" if "nearest" in row else ""
            )
            failed |= "error" in row
            shown.add_row(str(row[first]), str(row.get("label", "—")), f"{row['score']:.3f}" if "score" in row else "", remark)
        if shown is not None:
            results().print(shown)
        return failed
    part = out.with_name(f"{out.name}.part") if out is not None else None
    try:
        stream: TextIO = part.open("w", encoding="utf-8", newline="") if part is not None else sys.stdout
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}. Choose another -o.") from error
    try:
        writer = None
        for row in rows:
            failed |= "error" in row
            if form == "jsonl":
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                if writer is None:
                    writer = csv.DictWriter(stream, [next(iter(row)), *_COLUMNS], lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)
    except OSError as error:
        raise ConfigError(f"{out or 'the output'} cannot be written: {error.strerror}. Make room, or choose another -o.") from error
    finally:
        if part is not None:
            stream.close()
    if part is not None and out is not None:
        part.replace(out)
    return failed
