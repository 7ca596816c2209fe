"""The command ``predict``, and those that change the classes of a fitted model."""

import csv
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from quickstudy.cli.own import UNKNOWN, classify, name_to_rename
from quickstudy.cli.screen import progress, results, table
from quickstudy.cli.tables import ENDINGS, encode_sentences, numbers, read_table, texts
from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import holds
from quickstudy.data import find_files, find_images
from quickstudy.estimators import FittedModel, OpenSetClassifier
from quickstudy.estimators.fitted import FILE, ROWS, decide
from quickstudy.pretrained import FeatureCache, encode_files
from quickstudy.pretrained.files import cache_for
from quickstudy.recipes import load

FORMATS = ("table", "csv", "jsonl")
_AT_ONCE = 256
_COLUMNS = ("label", "score", "similarity", "threshold", "certain", "nearest", "error")

_Model = Annotated[
    Path, typer.Argument(help="A model that `quickstudy fit` wrote.", show_default=False)
]
_Encoder = Annotated[
    str,
    typer.Option(
        help="Where the encoder lies now; default where it lay when the model was fitted."
    ),
]


def predict(
    model: _Model,
    things: Annotated[
        list[Path],
        typer.Argument(
            help="Pictures or recordings, folders of them, or tables.", show_default=False
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", help="table, csv, or jsonl: one JSON object per line.")
    ] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write csv or jsonl into this file.")
    ] = None,
    false_accept_rate: Annotated[
        float,
        typer.Option(
            help="Say unknown at this false-accept rate, whatever the model was fitted with; 0 = "
            "as fitted."
        ),
    ] = 0.0,
    encoder: _Encoder = "",
    cache: Annotated[
        bool,
        typer.Option(
            help="Keep vectors in the user's cache folder, so that no file is encoded twice."
        ),
    ] = True,
) -> None:
    """Print label and score of each thing. What cannot be read is named, and the command then ends
    with status 1.
    """
    form = "jsonl" if as_json else form
    if form not in FORMATS:
        raise ConfigError(f"There is no format '{form}'. {did_you_mean(form, FORMATS)}")
    if out is not None and form == "table":
        form = "jsonl" if out.suffix.lower() in (".jsonl", ".json", ".ndjson") else "csv"
    if (model / FILE).exists():
        fitted = FittedModel.load(model, encoder=encoder)
        if encoder and fitted.encoder is None:
            raise ConfigError(
                f"{model} was fitted to rows of numbers, which need no encoder. Leave --encoder "
                "out."
            )
        if false_accept_rate:
            fitted = _rejecting(fitted, false_accept_rate)
        rows = _rows(fitted, things, cache=cache)
    else:
        predictor = load(model)
        if not isinstance(predictor, Predictor):
            raise LoadError(
                f"{model} holds a trained learner, not a fitted model. Fit one first: quickstudy "
                f"fit FOLDER -o MODEL --run {model}"
            )
        if false_accept_rate:
            raise ConfigError(
                f"{model} was fitted with a run's own learner; its threshold is set when it is "
                f"fitted: quickstudy fit … --false-accept-rate {false_accept_rate}"
            )
        if encoder:
            raise ConfigError(
                f"{model} was fitted with a run's own learner, which is in it with its encoder. "
                "Leave --encoder out."
            )
        paths = find_images(things)
        rows = (
            row
            for at in range(0, len(paths), _AT_ONCE)
            for row in classify(predictor, paths[at : at + _AT_ONCE])
        )
    if _written(rows, form, out):
        raise typer.Exit(1)


def classes(model: _Model) -> None:
    """List the classes of a fitted model and how many examples each has."""
    known = _opened(model, encoder=None).known
    shown = table("class", "examples")
    for name, n in zip(known.classes_.tolist(), np.bincount(known.labels_).tolist(), strict=True):
        shown.add_row(str(name), str(n))
    results().print(shown)


def add_class(
    model: _Model,
    name: Annotated[str, typer.Argument(help="Of the class.", show_default=False)],
    things: Annotated[
        list[Path],
        typer.Argument(help="Its pictures or recordings, or folders of them.", show_default=False),
    ],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Give a class that is there these examples in place of its own."
        ),
    ] = False,
    encoder: _Encoder = "",
) -> None:
    """Teach a fitted model one more class; the result equals fitting anew."""
    fitted = _opened(model, encoder=encoder)
    found = _files(fitted, things)
    called = _label(fitted, name)
    _changed(
        lambda: (fitted.update_class if replace else fitted.add_class)(called, found).save(model)
    )
    results().print(
        f"{model} knows {len(fitted.known.classes_)} classes now; {called} has {len(found)} "
        "examples."
    )


def remove_class(
    model: _Model, name: Annotated[str, typer.Argument(help="Of the class.", show_default=False)]
) -> None:
    """Let a fitted model forget a class and its examples."""
    fitted = _opened(model, encoder=None)
    called = _label(fitted, name)
    _changed(lambda: fitted.remove_class(called).save(model))
    results().print(f"{model} knows {len(fitted.known.classes_)} classes now.")


def _opened(model: Path, *, encoder: str | None) -> FittedModel:
    if holds(model, "predictor") and not (model / FILE).is_file():
        raise ConfigError(
            f"{model} was fitted with --run, by a learner that learns all classes together. Change "
            "the folder of pictures and fit again."
        )
    return FittedModel.load(model, encoder=encoder)


def _label(fitted: FittedModel, name: str) -> Any:
    """A name as the model has it: of a model whose labels are numbers, the number."""
    classes = fitted.known.classes_.tolist()
    written = unicodedata.normalize("NFC", name).strip()
    if not written:
        raise ConfigError("A class needs a name, but got an empty one.")
    same = [label for label in classes if str(label) == written]
    if same or isinstance(classes[0], str):
        return same[0] if same else written
    kind = type(classes[0])
    with suppress(ValueError):
        value = json.loads(written)
        if type(value) is kind or (kind is float and type(value) is int):
            return kind(value)
    raise ConfigError(
        f"The classes of this model are called {classes[0]!r} and the like, so '{written}' cannot "
        f"be one. Give a value of type {kind.__name__}."
    )


def _changed(change: Callable[[], object]) -> None:
    try:
        change()
    except ConfigError:
        raise
    except ValueError as error:  # of the estimators, which speak scikit-learn's language
        raise ConfigError(str(error)) from error


def _files(fitted: FittedModel, things: list[Path]) -> list[Path]:
    if fitted.encoding.kind not in ("images", "audio"):
        raise ConfigError(
            f"The model was fitted to {fitted.encoding.kind} of a table. Change the table and fit "
            "again."
        )
    return find_files(things, kind=fitted.encoding.kind)


def _rejecting(fitted: FittedModel, rate: float) -> FittedModel:
    model = fitted.classifier
    if isinstance(model, OpenSetClassifier):
        model.set_rate(rate)
        return fitted
    if UNKNOWN in model.classes_.tolist():
        raise name_to_rename()
    with progress().status("each class plays the stranger to the others"):
        made = OpenSetClassifier(model, false_accept_rate=rate, reject_label=UNKNOWN)
        made.fit(model.support_, model.classes_[model.labels_], model.weights_)
    return FittedModel(made, fitted.encoding, fitted.encoder, fitted.notes)


def _rows(fitted: FittedModel, things: list[Path], *, cache: bool) -> Iterator[dict[str, Any]]:
    kind = fitted.encoding.kind
    if kind in ("images", "audio"):
        paths = _files(fitted, things)
        assert fitted.encoder is not None
        with cache_for(fitted.encoder, cache) as kept:
            for at in range(0, len(paths), _AT_ONCE):
                yield from _of_files(fitted, paths[at : at + _AT_ONCE], kept)
        for note in () if kept is None else kept.notes:
            progress().print(f"Note: {note}", markup=False, soft_wrap=True)
        return
    for file in things:
        if file.suffix.lower() not in ENDINGS or not file.exists():
            found = "" if file.exists() else ", which does not exist"
            raise ConfigError(
                f"The model was fitted to {kind} of a table, so it takes tables "
                f"({', '.join(ENDINGS)}), not '{file}'{found}."
            )
    for file in things:
        rows = read_table(file)
        for at in range(0, len(rows), _AT_ONCE):
            # Where there are several tables, a row's number alone would not tell it.
            where = {"table": str(file)} if len(things) > 1 else {}
            yield from (
                {**row, **where} for row in _of_rows(fitted, rows, slice(at, at + _AT_ONCE), file)
            )


def _of_files(
    fitted: FittedModel, paths: list[Path], cache: FeatureCache | None
) -> list[dict[str, Any]]:
    assert fitted.encoder is not None
    made = encode_files(fitted.encoder, paths, cache=cache, on_bad="skip")
    told = (
        dict(zip(made.paths, _decided(fitted, made.vectors.astype(np.float64)), strict=True))
        if made.paths
        else {}
    )
    told |= {path: {"error": reason} for path, reason in made.skipped}
    return [
        {"image" if fitted.encoding.kind == "images" else "recording": str(path), **told[path]}
        for path in paths
    ]


def _of_rows(
    fitted: FittedModel, rows: list[dict[str, Any]], some: slice, file: Path
) -> list[dict[str, Any]]:
    """Rows of a table: those that lack something are told so, the others are answered."""
    names = fitted.encoding.columns
    out: list[dict[str, Any]]
    if fitted.encoding.kind == ROWS:
        x, wrong = numbers(rows[some], names, file)
        out = [
            {"row": some.start + i + 1} | ({"error": f"{why}."} if why else {})
            for i, why in enumerate(wrong)
        ]
        good = [i for i, why in enumerate(wrong) if not why]
        x = fitted.standardised(x[good])
    else:
        assert fitted.encoder is not None
        said = texts(rows[some], names[0], file)
        out = [
            {"text": text}
            if text
            else {"text": "", "error": f"row {some.start + i + 1} has no text."}
            for i, text in enumerate(said)
        ]
        good = [i for i, text in enumerate(said) if text]
        x, warned = (
            encode_sentences(fitted.encoder, [said[i] for i in good])
            if good
            else (np.empty((0, 0)), [])
        )
        for note in warned:
            progress().print(f"Note: {note}", markup=False, soft_wrap=True)
    for i, told in zip(good, _decided(fitted, x.astype(np.float64)) if good else [], strict=True):
        out[i] |= told
    return out


def _decided(fitted: FittedModel, x: Any) -> list[dict[str, Any]]:
    likely = fitted.classifier.predict_proba(x)
    model = fitted.classifier
    out = []
    for d, p in zip(decide(fitted.classifier, x), likely, strict=True):
        row: dict[str, Any] = {
            "label": d.label,
            "score": round(float(p.max()), 4),
            "similarity": round(d.score, 4),
        }
        if isinstance(model, OpenSetClassifier):
            row |= {"threshold": round(d.threshold, 4), "certain": d.certain}
            if d.label is None:
                row |= {"label": model.reject_label, "nearest": d.best}
        out.append(row)
    return out


def _written(rows: Iterator[dict[str, Any]], form: str, out: Path | None) -> bool:
    """Write the rows as they come; returns whether there was one with an error."""
    if out is None:
        try:
            return _shown(rows) if form == "table" else _streamed(rows, form, sys.stdout)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ConfigError(
                f"The output cannot be written: {error.strerror or error}. Make room, or write "
                "into a file with -o."
            ) from error
    part = out.with_name(f"{out.name}.part")
    try:
        # Names of files that are no valid Unicode are written as escapes, which JSON reads back as
        # they were.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            failed = _streamed(rows, form, stream)
        part.replace(out)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror or error}. Make room, or choose another -o."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return failed


def _shown(rows: Iterator[dict[str, Any]]) -> bool:
    """A table, so many rows at a time."""
    failed, head = False, True
    while some := list(islice(rows, _AT_ONCE)):
        first = next(iter(some[0]))
        shown = table("picture" if first == "image" else first, "label", "score", "")
        shown.show_header, head = head, False
        for row in some:
            remark = row.get("error") or (
                "look"
                if row.get("certain") is False
                else f"nearest: {row['nearest']}"
                if "nearest" in row
                else ""
            )
            failed |= "error" in row
            thing = f"{row['table']}: {row[first]}" if "table" in row else str(row[first])
            shown.add_row(
                thing,
                str(row.get("label", "—")),
                f"{row['score']:.3f}" if "score" in row else "",
                remark,
            )
        results().print(shown)
    return failed


def _streamed(rows: Iterator[dict[str, Any]], form: str, stream: Any) -> bool:
    failed, writer = False, None
    for row in rows:
        failed |= "error" in row
        if form == "jsonl":
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            if writer is None:
                names = [next(iter(row)), *_COLUMNS, *(["table"] if "table" in row else [])]
                writer = csv.DictWriter(stream, names, lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
        stream.flush()
    return failed
