"""The command ``fit``: a few examples per class in, a classifier out."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from quickstudy.cli.choices import FolderKind, Head, Norm, OnBad, UnknownScore
from quickstudy.cli.options import CacheOption
from quickstudy.cli.overwrite import check_replaceable
from quickstudy.cli.screen import Stages, results
from quickstudy.core.errors import ConfigError
from quickstudy.core.words import counted, percent, percent_range
from quickstudy.estimators import FittedModel, fit_folder, fit_table
from quickstudy.estimators.advice import listed
from quickstudy.estimators.encoding import NOUNS
from quickstudy.estimators.model_header import KIND, said_of
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.support import item_name
from quickstudy.estimators.tables import ENDINGS
from quickstudy.metrics.intervals import exact_interval
from quickstudy.pretrained.registry import entry_of
from quickstudy.report import model_page

_MOST = 10  # of what a screen lists


SourceArgument = Annotated[
    Path,
    typer.Argument(
        help="A folder with one sub-folder of images, recordings or texts per class, or a "
        "table (.csv, .tsv, .jsonl).",
        show_default=False,
    ),
]
ModelOption = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the fitted model.", show_default=False)
]
EncoderOption = Annotated[
    str,
    typer.Option(
        help="auto, symbols, the folder of a trained run, a model of the hub (owner/name), "
        "FILE.onnx, timm:NAME, or module:function for your own."
    ),
]
HeadOption = Annotated[Head, typer.Option(help="What learns the classes from vectors.")]
RunOption = Annotated[
    Path | None,
    typer.Option(
        help="Use this trained run's own learner (MAML, matching networks, …) and its encoder."
    ),
]
KindOption = Annotated[
    FolderKind, typer.Option(help="What the files are; auto takes what most of them are.")
]
LabelOption = Annotated[
    str, typer.Option(help="Of a table: the column with the class; default label.")
]
TextOption = Annotated[str, typer.Option(help="Of a table of texts: the column with the text.")]
ColumnsOption = Annotated[
    str,
    typer.Option(
        help="Of a table of numbers: the columns, with commas; default all of numbers and of "
        "categories."
    ),
]
PathsOption = Annotated[
    str,
    typer.Option(
        help="Of a table of files: the column with their paths, relative to the table's "
        "folder; default the one that looks like it."
    ),
]
InvertOption = Annotated[
    bool | None,
    typer.Option(
        help="Of drawings: --invert takes each for dark ink on light paper, --no-invert for light "
        "ink on dark; default: the border of each tells."
    ),
]
NormOption = Annotated[
    Norm | None,
    typer.Option(
        help="With --run: another normalisation policy of the learner; support makes MAML "
        "inductive."
    ),
]
FalseAcceptRateOption = Annotated[
    float,
    typer.Option(
        help="Call items unknown, so that this share of those that belong to no class is taken "
        "for one; 0 = always name a class."
    ),
]
ReviewRateOption = Annotated[
    float,
    typer.Option(
        help="The share of --false-accept-rate at which certainty begins; between the two a "
        "person should look. 0 = no such band."
    ),
]
ScoreOption = Annotated[
    UnknownScore,
    typer.Option(help="With --false-accept-rate: what tells unknowns from the classes."),
]
CohortOption = Annotated[
    Path | None,
    typer.Option(
        help="A folder (or table) of items that belong to no class, to set "
        "--false-accept-rate by; else each class plays the unknown to the others."
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace the model that lies in --out already.")
]
ReportOption = Annotated[bool, typer.Option(help="Write report.html into the model's folder.")]


def fit(
    source: SourceArgument,
    model: ModelOption,
    encoder: EncoderOption = "auto",
    head: HeadOption = "auto",
    run: RunOption = None,
    kind: KindOption = "auto",
    label: LabelOption = "",
    text: TextOption = "",
    columns: ColumnsOption = "",
    paths: PathsOption = "",
    on_bad: OnBad = "refuse",
    invert: InvertOption = None,
    norm: NormOption = None,
    false_accept_rate: FalseAcceptRateOption = 0.0,
    review_rate: ReviewRateOption = 0.0,
    score: ScoreOption = "max_similarity",
    cohort: CohortOption = None,
    force: ForceOption = False,
    report: ReportOption = True,
    cache: CacheOption = True,
) -> None:
    """Learn the classes of a folder or a table from a few examples each; nothing is trained.

    A model has an encoder, which makes vectors and stays as it is, and a head, which learns the
    classes from them.
    """
    add = shlex.join(["quickstudy", "add-class", str(model), "NAME", "FILES"])
    check_replaceable(
        model, KIND, force=force, about=said_of, otherwise=f"teach it one more class with: {add}"
    )
    options: dict[str, Any] = {
        "encoder": encoder,
        "head": head,
        "kind": kind,
        "invert": invert,
        "on_bad": on_bad,
        "false_accept_rate": false_accept_rate,
        "review_rate": review_rate,
        "unknown_score": score,
        "cohort": cohort,
        "cache": cache or None,
    }
    of_table = {"label": label, "text": text, "columns": columns, "paths": paths}
    of_folder = {"run": run, "norm": norm}
    with Stages() as stages:
        fitted = _fitted(source, of_table, of_folder, progress=stages.update, **options)
    fitted.save(model)
    _print_summary(fitted, model)
    if report:
        page = model_page(fitted, model / "report.html", title=source.resolve().name)
        results().print(f"Report: {page}")


def _fitted(
    source: Path, of_table: dict[str, str], of_folder: dict[str, Any], **options: Any
) -> FittedModel:
    """The model of a table or of a folder; the options of the other are refused."""
    if source.suffix.lower() in ENDINGS or source.is_file():
        _refuse(of_folder, f"is for folders only, and {source} is a table")
        columns = [name.strip() for name in of_table["columns"].split(",") if name.strip()]
        return fit_table(
            source,
            target=of_table["label"] or "label",
            text=of_table["text"],
            columns=columns,
            paths=of_table["paths"],
            **options,
        )
    _refuse(of_table, f"is for tables only, and {source} is none")
    return fit_folder(source, run=of_folder["run"], norm=of_folder["norm"] or "", **options)


def _refuse(given: dict[str, Any], why: str) -> None:
    """An option that would be passed over in silence is a misunderstanding."""
    for name, value in given.items():
        if value:
            raise ConfigError(f"--{name} {why}. Leave it out, or change the rest.")


def _shown(items: Sequence[Any]) -> list[str]:
    """Items by their whole paths, and rows of a table as such."""
    return [item_name(item) if isinstance(item, int) else str(item) for item in items]


def _print_summary(fitted: FittedModel, model: Path) -> None:
    """What the fit found out, at most ten lines of each kind."""
    summary = fitted.summary
    assert summary is not None
    console = results()
    lines = [f"skipped {path}: {reason}" for path, reason in summary.skipped]
    _print_some(lines, "skipped files")
    _print_some(
        [
            f"the same in two classes: {listed(_shown(items), most=_MOST)}"
            for items in summary.repeated
        ],
        "such groups",
    )
    encoder = fitted.encoder
    if fitted.encoding.image is not None:
        console.print(f"Head and encoder: those of {fitted.encoding.source}.")
    elif encoder is not None:
        entry = entry_of(encoder.source)
        about = f" {entry.use} {entry.limits}" if entry else ""
        console.print(f"Encoder: {encoder.source}, {counted(encoder.dim, 'number')} each.{about}")
    for note in summary.notes:
        # What an encoder that comes along is for was said in one line.
        if not (encoder and note in encoder.notes and entry_of(encoder.source)):
            console.print(f"Note: {note}")
    _print_some([f"Look: {advice}" for advice in summary.advice], "such hints, in the report")
    if np.isfinite(summary.accuracy):
        console.print(
            f"Of the examples, {percent(summary.accuracy, 1)} are recognised by the classifier "
            f"without them ({_counted(summary.accuracy, summary.n_left_out)})."
        )
    _print_rejection(fitted)
    counts = listed([f"{name} {n}" for name, n in fitted.counts.items()], most=_MOST)
    console.print(
        f"Learned {counted(len(fitted.counts), 'class', 'classes')} from {len(summary.items)} "
        f"{NOUNS[fitted.encoding.kind]} ({counts}), head "
        f"{fitted.known.head_comparison_ or fitted.known.head}. Model: {model}"
    )


def _print_rejection(fitted: FittedModel) -> None:
    classifier, summary = fitted.classifier, fitted.summary
    if not isinstance(classifier, OpenSetClassifier):
        results().print(
            "Not calibrated: it names the nearest class of whatever comes. With "
            "--false-accept-rate it can say unknown."
        )
        return
    rate = f"{100 * classifier.rate_:g} %"
    results().print(
        f"Says unknown, at a false-accept rate of {rate} by the rule: {classifier.rule_}."
    )
    if summary is not None and summary.accepted is not None:
        results().print(
            f"The price: at {rate}, {percent(summary.accepted, 0)} of your own examples are still "
            "accepted, each asked of the classifier without it "
            f"({_counted(summary.accepted, summary.n_left_out)})."
        )


def _counted(share: float, n: int) -> str:
    """A share as a count, and between what it may lie of new items like these."""
    k = round(share * n)
    low, high = exact_interval(k, n)
    between = f"between {percent_range(low, high, 0, to='and')}"
    return f"{k} of {n}; of new ones like these {between}"


def _print_some(lines: list[str], of_what: str) -> None:
    for line in lines[:_MOST]:
        results().print(line)
    if len(lines) > _MOST:
        results().print(f"… and {len(lines) - _MOST} more {of_what}.")
