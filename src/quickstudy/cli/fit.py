"""The command ``fit``: a few examples per class in, a classifier out."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from quickstudy.cli.own import UNKNOWN, fit_with_run, name_to_rename, whose
from quickstudy.cli.screen import Bar, progress, results
from quickstudy.cli.tables import (
    ENDINGS,
    column,
    encode_sentences,
    numbers,
    numeric_columns,
    read_table,
)
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError, did_you_mean
from quickstudy.data import find_classes, find_files
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel, OpenSetClassifier
from quickstudy.estimators.fitted import FILE, ROWS
from quickstudy.pretrained import AbstractPretrained, encode_files, open_encoder
from quickstudy.report import fit_page

HEADS = ("auto", "prototype", "cosine", "ridge", "logistic")
# examples of the smallest class from which on ridge regression is taken; measured, neither is ahead
# with every encoder
_MANY = 4
_ADVICE = 10  # lines of it on the screen
_USUAL = {
    "encoder": "auto",
    "head": "auto",
    "kind": "images",
    "label": "label",
    "on_bad": "refuse",
    "score": "max_similarity",
}


@dataclass(frozen=True)
class _Examples:
    """What there is to learn: things (paths or texts; of tables row numbers), their vectors,
    labels, and how they became vectors.
    """

    things: list[Any]
    x: Any
    labels: list[str]
    encoding: Encoding
    encoder: AbstractPretrained | None
    skipped: list[tuple[Path, str]]
    remarks: tuple[str, ...] = ()


def fit(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder with one sub-folder of pictures (or recordings) per class, or a table "
            "(.csv, .tsv, .jsonl).",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the fitted model.", show_default=False)
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, symbols, the folder of a trained run, a model of the hub (owner/name), "
            "FILE.onnx, timm:NAME."
        ),
    ] = "auto",
    head: Annotated[str, typer.Option(help="auto, prototype, cosine, ridge or logistic.")] = "auto",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Use this trained run's own learner (MAML, matching networks, …) and its encoder."
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="What the folder holds: pictures or recordings.")
    ] = "images",
    label: Annotated[str, typer.Option(help="Of a table: the column with the class.")] = "label",
    text: Annotated[
        str, typer.Option(help="Of a table of sentences: the column with the sentence.")
    ] = "",
    columns: Annotated[
        str,
        typer.Option(
            help="Of a table of numbers: the columns, with commas; default all that are numbers."
        ),
    ] = "",
    on_bad: Annotated[
        str, typer.Option(help="Files that cannot be read: refuse them all, or skip and name them.")
    ] = "refuse",
    invert: Annotated[
        bool | None,
        typer.Option(
            help="Of drawings: turn dark ink on light paper to light on dark; default as the "
            "encoder was trained."
        ),
    ] = None,
    norm: Annotated[
        str,
        typer.Option(
            help="With --run: another normalisation policy of the learner, e.g. support for MAML."
        ),
    ] = "",
    false_accept_rate: Annotated[
        float,
        typer.Option(
            help="Call things unknown, so that this share of strangers is taken for a class; 0 = "
            "always name a class."
        ),
    ] = 0.0,
    review_rate: Annotated[
        float,
        typer.Option(
            help="The share of --false-accept-rate at which certainty begins; between the two a "
            "person "
            "should look. 0 = no such band."
        ),
    ] = 0.0,
    score: Annotated[
        str,
        typer.Option(
            help="With --false-accept-rate: the membership score, max_similarity, nearest, energy, "
            "mahalanobis or max_probability."
        ),
    ] = "max_similarity",
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="A folder (or table) of things that belong to no class, to set "
            "--false-accept-rate by; "
            "else each class plays it."
        ),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.html into the model's folder.")] = True,
    cache: Annotated[
        bool,
        typer.Option(
            help="Keep vectors in the user's cache folder, so that no file is encoded twice."
        ),
    ] = True,
) -> None:
    """Learn the classes of a folder or a table from a few examples each; nothing is trained.

    A model has an encoder, which makes vectors and stays as it is, and a head, which learns the
    classes from them.
    """
    if source.is_file() and source.suffix.lower() not in ENDINGS and run is None:
        read_table(source)  # which says what a table is
    _refuse_what_has_no_use(
        source,
        run=run,
        encoder=encoder,
        head=head,
        kind=kind,
        label=label,
        text=text,
        columns=columns,
        on_bad=on_bad,
        invert=invert,
        norm=norm,
        false_accept_rate=false_accept_rate,
        review_rate=review_rate,
        score=score,
        cohort=cohort,
    )
    if run is not None:
        fit_with_run(
            source,
            model,
            run,
            on_bad=on_bad,
            invert=invert,
            norm=norm,
            false_accept_rate=false_accept_rate,
            cohort=cohort,
        )
        return
    if (
        model.exists()
        and not (model / FILE).exists()
        and (not model.is_dir() or any(model.iterdir()))
    ):
        raise ConfigError(
            f"{model} exists and is no model that was fitted with an encoder; it is left alone. "
            "Choose another name for -o."
        )
    if head not in HEADS:
        raise ConfigError(f"There is no head '{head}'. {did_you_mean(head, HEADS)}")
    out = results()
    if source.suffix.lower() in ENDINGS:
        examples = _from_table(source, label=label, text=text, columns=columns, encoder=encoder)
    else:
        examples = _from_folder(
            source, kind=kind, encoder=encoder, invert=invert, on_bad=on_bad, cache=cache
        )
    counts = Counter(examples.labels)
    if len(counts) < 2:
        raise DataError(
            f"{source} holds one class, '{next(iter(counts))}', but a classifier needs at least "
            "two. Add examples of another."
        )
    if false_accept_rate and UNKNOWN in counts:
        raise name_to_rename()
    strangers = (
        _Strangers() if cohort is None else _strangers(cohort, examples, on_bad=on_bad, cache=cache)
    )
    chosen = head if head != "auto" else "ridge" if min(counts.values()) >= _MANY else "prototype"
    classifier: Any = FewShotClassifier(chosen)
    with progress().status("learning"):
        if false_accept_rate:
            classifier = OpenSetClassifier(
                classifier,
                unknown_score=score,
                false_accept_rate=false_accept_rate,
                review_rate=review_rate,
            )
            classifier.fit(
                examples.x, examples.labels, cohort=strangers.x, cohort_groups=strangers.groups
            )
        else:
            classifier.fit(examples.x, examples.labels)
        notes = examples.encoder.notes if examples.encoder else ()
        fitted = FittedModel(classifier, examples.encoding, examples.encoder, notes)
        fitted.save(model)
        told = fitted.known.diagnose()
    for path, reason in (*examples.skipped, *strangers.skipped):
        out.print(f"skipped {path}: {reason}")
    for same in _in_two_classes(examples):
        out.print(f"the same in two classes: {', '.join(map(str, same))}")
    if examples.encoder is not None:
        out.print(f"Encoder: {examples.encoder.source}, {examples.encoder.dim} numbers each.")
    for note in (*notes, *examples.remarks, *strangers.remarks):
        out.print(f"Note: {note}")
    for advice in told.advice[:_ADVICE]:
        out.print(f"Look: {advice}")
    if len(told.advice) > _ADVICE:
        out.print(f"… and {len(told.advice) - _ADVICE} more, in the report.")
    if np.isfinite(told.accuracy):
        out.print(
            f"Of the examples, {100 * told.accuracy:.1f} % are recognised by the classifier "
            "without them."
        )
    if false_accept_rate:
        out.print(
            f"Says unknown, at a false-accept rate of {100 * false_accept_rate:g} % by the rule: "
            f"{classifier.rule_}."
        )
    listed = ", ".join(f"{name} {n}" for name, n in sorted(counts.items())[:20]) + (
        " …" if len(counts) > 20 else ""
    )
    what = examples.encoding.kind
    out.print(
        f"Learned {len(counts)} classes from {len(examples.labels)} {what} ({listed}), head "
        f"{chosen}. Model: {model}"
    )
    if report:
        order = np.argsort(np.unique(examples.labels, return_inverse=True)[1], kind="stable")
        page = fit_page(
            classifier,
            model / "report.html",
            things=[examples.things[i] for i in order],
            title=source.resolve().name,
            notes=notes,
            encoder=examples.encoding.source,
        )
        out.print(f"Report: {page}")


def _refuse_what_has_no_use(source: Path, **given: Any) -> None:
    """An option that would be passed over in silence is a misunderstanding."""
    said = {
        n
        for n, value in given.items()
        if value is not None and (n == "invert" or value not in ("", 0.0, _USUAL.get(n)))
    }
    if source.suffix.lower() not in ENDINGS:
        kept, why = {"label", "text", "columns"}, f"is for tables only, and {source} is none"
    elif given["text"]:
        kept, why = {"kind", "on_bad", "invert", "columns"}, "is not for tables of sentences"
    else:
        kept, why = (
            {"kind", "on_bad", "invert", "encoder"},
            "is not for tables of numbers; of sentences, name their column with --text",
        )
    checks = [
        (
            {"encoder", "head", "kind", "label", "text", "columns", "review_rate", "score"},
            "means nothing with --run, whose learner brings its own",
        )
        if given["run"] is not None
        else ({"norm"}, "is for --run only"),
        (set() if given["run"] is not None else kept, why),
        (
            set() if given["false_accept_rate"] else {"review_rate", "score", "cohort"},
            "is for --false-accept-rate only",
        ),
    ]
    for names, reason in checks:
        wrong = sorted(names & said)
        if wrong:
            raise ConfigError(
                f"--{wrong[0].replace('_', '-')} {reason}. Leave it out, or change the rest."
            )


def _from_folder(
    source: Path, *, kind: str, encoder: str, invert: bool | None, on_bad: str, cache: bool
) -> _Examples:
    found = find_classes(source, kind=kind)
    paths = [path for files in found.values() for path in files]
    labels = {path: name for name, files in found.items() for path in files}
    pretrained = open_encoder(encoder, kind=kind, invert=invert)
    with Bar("encoding", len(paths)) as bar:
        made = encode_files(
            pretrained, paths, cache=cache or None, on_bad=on_bad, progress=bar.update
        )
    kept = [labels[path] for path in made.paths]
    empty = sorted(set(found) - set(kept))
    if empty:
        raise DataError(
            f"In {source} these classes have nothing that can be read: {', '.join(empty)}. Repair "
            f"the files, or remove the folders. The first: {made.skipped[0][1]}"
        )
    encoding = Encoding(kind, pretrained.source, pretrained.key, invert)
    return _Examples(made.paths, made.vectors, kept, encoding, pretrained, made.skipped, made.notes)


def _from_table(source: Path, *, label: str, text: str, columns: str, encoder: str) -> _Examples:
    rows = read_table(source)
    # As of folders: letters with accents are written in two ways that look the same.
    labels = [unicodedata.normalize("NFC", name) for name in column(rows, label, source)]
    names, rest = ([name.strip() for name in columns.split(",")], []) if columns else ([text], [])
    if not columns and not text:
        names, rest = numeric_columns(rows, source, but=label)
    if label in names or len(set(names)) < len(names):
        raise ConfigError(
            "The columns to learn from are named once each and without that of the class, "
            f"'{label}', but got {', '.join(names)}."
        )
    if text:
        sentences = column(rows, text, source)
        pretrained = open_encoder(encoder, kind="text")
        with Bar("encoding", len(sentences)) as bar:
            vectors, warned = encode_sentences(pretrained, sentences, progress=bar.update)
        encoding = Encoding("text", pretrained.source, pretrained.key, columns=(text,))
        return _Examples(sentences, vectors, labels, encoding, pretrained, [], tuple(warned))
    if not names:
        raise DataError(
            f"'{source}' has no column of numbers beside '{label}'. Name them with --columns; of "
            "sentences, name their column with --text."
        )
    x = _all_numbers(rows, names, source)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = x.mean(0), x.std(0)
    huge = [name for name, m, s in zip(names, mean, std, strict=True) if not np.isfinite(m + s)]
    if huge:
        raise DataError(
            f"In '{source}' the numbers of the column '{huge[0]}' are too large to be "
            "standardised. Give it in another unit."
        )
    std[std == 0] = 1.0
    encoding = Encoding(
        ROWS, columns=tuple(names), mean=tuple(mean.tolist()), std=tuple(std.tolist())
    )
    remarks = f"Learned from the columns {', '.join(names)}" + (
        f"; these are no numbers: {', '.join(rest)}." if rest else "."
    )
    return _Examples(
        [f"row {i + 1}" for i in range(len(rows))],
        (x - mean) / std,
        labels,
        encoding,
        None,
        [],
        (remarks,),
    )


def _all_numbers(
    rows: list[dict[str, Any]], names: Sequence[str], file: Path
) -> NDArray[np.float64]:
    x, wrong = numbers(rows, names, file)
    bad = [i for i, why in enumerate(wrong) if why]
    if bad:
        raise DataError(
            f"In '{file}', row {bad[0] + 1}, {wrong[bad[0]]}. Of {len(rows)} rows {len(bad)} are "
            "like this. Correct them, or leave the column out with --columns."
        )
    return x


@dataclass(frozen=True)
class _Strangers:
    """Vectors of what belongs to no class, and whose each is."""

    x: Any = None
    groups: Any = None
    skipped: tuple[tuple[Path, str], ...] = ()
    remarks: tuple[str, ...] = ()


def _strangers(cohort: Path, examples: _Examples, *, on_bad: str, cache: bool) -> _Strangers:
    encoding, place = examples.encoding, cohort.expanduser()
    if encoding.kind == ROWS or examples.encoder is None:
        x = _all_numbers(read_table(place), encoding.columns, place)
        return _Strangers((x - np.asarray(encoding.mean)) / np.asarray(encoding.std))
    if encoding.kind == "text":
        x, warned = encode_sentences(
            examples.encoder, column(read_table(place), encoding.columns[0], place)
        )
        return _Strangers(x, remarks=tuple(warned))
    paths = find_files([place], kind=encoding.kind)
    with Bar("encoding strangers", len(paths)) as bar:
        made = encode_files(
            examples.encoder, paths, cache=cache or None, on_bad=on_bad, progress=bar.update
        )
    if not made.paths:
        raise DataError(
            f"None of the {len(paths)} files of {cohort} can be read. The first: "
            f"{made.skipped[0][1]}"
        )
    return _Strangers(
        made.vectors,
        np.asarray([whose(p, place) for p in made.paths]),
        tuple(made.skipped),
        made.notes,
    )


def _in_two_classes(examples: _Examples) -> list[tuple[Any, ...]]:
    """Things with the same content and different labels."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, thing in enumerate(examples.things):
        if isinstance(thing, Path):
            with suppress(OSError), thing.open("rb") as stream:
                same[hashlib.file_digest(stream, "sha256").digest()].append(i)
        else:
            same[
                thing.encode(errors="surrogatepass")
                if examples.encoder
                else np.asarray(examples.x[i]).tobytes()
            ].append(i)
    return [
        tuple(examples.things[i] for i in group)
        for group in same.values()
        if len({examples.labels[i] for i in group}) > 1
    ]
