"""The command ``fit``: a few examples per class in, a classifier out."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from quickstudy.cli.own import fit_with_run
from quickstudy.cli.screen import Bar, results
from quickstudy.cli.tables import ENDINGS, column, numbers, numeric_columns, read_table
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.data import find_classes, find_files
from quickstudy.embedders import AbstractEmbedder, embed_files, open_embedder
from quickstudy.estimator import Encoding, FewShotClassifier, FittedModel, OpenSetClassifier, fit_page
from quickstudy.estimator.saved import FILE, ROWS

HEADS = ("auto", "prototype", "cosine", "ridge", "logistic")
_MANY = 4  # examples of the smallest class from which on ridge regression is at least as good as prototypes


@dataclass(frozen=True)
class _Examples:
    """What there is to learn: things (paths or texts; of tables row numbers), their vectors, labels, and how they became vectors."""

    things: list[Any]
    x: Any
    labels: list[str]
    encoding: Encoding
    encoder: AbstractEmbedder | None
    skipped: list[tuple[Path, str]]


def fit(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder with one sub-folder of pictures (or recordings) per class, or a table (.csv, .tsv, .jsonl).", show_default=False
        ),
    ],
    model: Annotated[Path, typer.Option("--out", "-o", help="Folder for the fitted model.", show_default=False)],
    encoder: Annotated[
        str, typer.Option(help="auto, symbols, the folder of a trained run, a model of the hub (owner/name), FILE.onnx, timm:NAME.")
    ] = "auto",
    head: Annotated[str, typer.Option(help="auto, prototype, cosine, ridge or logistic.")] = "auto",
    run: Annotated[
        Path | None, typer.Option(help="Use this trained run's own learner (MAML, matching networks, …) and its encoder.")
    ] = None,
    kind: Annotated[str, typer.Option(help="What the folder holds: pictures or recordings.")] = "pictures",
    label: Annotated[str, typer.Option(help="Of a table: the column with the class.")] = "label",
    text: Annotated[str, typer.Option(help="Of a table of sentences: the column with the sentence.")] = "",
    columns: Annotated[str, typer.Option(help="Of a table of numbers: the columns, with commas; default all that are numbers.")] = "",
    on_bad: Annotated[str, typer.Option(help="Files that cannot be read: refuse them all, or skip and name them.")] = "refuse",
    invert: Annotated[
        bool | None, typer.Option(help="Of drawings: turn dark ink on light paper to light on dark; default as the encoder was trained.")
    ] = None,
    norm: Annotated[str, typer.Option(help="With --run: another normalisation policy of the learner, e.g. support for MAML.")] = "",
    reject_rate: Annotated[
        float, typer.Option(help="Call things unknown, so that this share of strangers is taken for a class; 0 = always name a class.")
    ] = 0.0,
    review_rate: Annotated[
        float,
        typer.Option(help="The share of --reject-rate at which certainty begins; between the two a person should look. 0 = no such band."),
    ] = 0.0,
    known_by: Annotated[str, typer.Option(help="How a member is told: similarity, nearest, energy or mahalanobis.")] = "similarity",
    cohort: Annotated[
        Path | None, typer.Option(help="A folder of things that belong to no class, to set --reject-rate by; else each class plays it.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.html into the model's folder.")] = True,
    cache: Annotated[bool, typer.Option(help="Keep vectors in the user's cache folder, so that no file is encoded twice.")] = True,
) -> None:
    """Learn the classes of a folder or a table from a few examples each; nothing is trained.

    A model has an encoder, which makes vectors and stays as it is, and a head, which learns the classes from them.
    """
    if run is not None:
        fit_with_run(source, model, run, on_bad=on_bad, invert=invert, norm=norm, reject_rate=reject_rate, cohort=cohort)
        return
    if model.exists() and not (model / FILE).exists() and (not model.is_dir() or any(model.iterdir())):
        raise ConfigError(f"{model} exists and is no fitted model; it is left alone. Choose another name for -o.")
    if head not in HEADS:
        raise ConfigError(f"There is no head '{head}'. Known: {', '.join(HEADS)}.")
    out = results()
    if source.suffix.lower() in ENDINGS or source.is_file():
        examples = _from_table(source, label=label, text=text, columns=columns, encoder=encoder)
    else:
        examples = _from_folder(source, kind=kind, encoder=encoder, invert=invert, on_bad=on_bad, cache=cache)
    counts = Counter(examples.labels)
    if len(counts) < 2:
        raise DataError(f"{source} holds one class, '{next(iter(counts))}', but a classifier needs at least two. Add examples of another.")
    chosen = head if head != "auto" else "ridge" if min(counts.values()) >= _MANY else "prototype"
    known = FewShotClassifier(chosen)
    if reject_rate:
        strangers, groups = _strangers(cohort, examples, kind=kind, cache=cache)
        classifier: Any = OpenSetClassifier(known, known_by=known_by, false_accept_rate=reject_rate, review_rate=review_rate)
        classifier.fit(examples.x, examples.labels, cohort=strangers, cohort_groups=groups)
    else:
        classifier = known.fit(examples.x, examples.labels)
    notes = examples.encoder.notes if examples.encoder else ()
    fitted = FittedModel(classifier, examples.encoding, examples.encoder, notes)
    fitted.save(model)
    for path, reason in examples.skipped:
        out.print(f"skipped {path}: {reason}")
    for same in _in_two_classes(examples):
        out.print(f"the same in two classes: {', '.join(map(str, same))}")
    for note in notes:
        out.print(f"Note: {note}")
    told = fitted.known.diagnose()
    for advice in told.advice:
        out.print(f"Look: {advice}")
    if np.isfinite(told.accuracy):
        out.print(f"Of the examples, {100 * told.accuracy:.1f} % are recognised by the classifier without them.")
    if reject_rate:
        out.print(f"Says unknown, at a false-accept rate of {100 * reject_rate:g} % by the rule: {classifier.rule_}.")
    listed = ", ".join(f"{name} {n}" for name, n in sorted(counts.items())[:20]) + (" …" if len(counts) > 20 else "")
    what = examples.encoding.kind
    out.print(f"Learned {len(counts)} classes from {len(examples.labels)} {what} ({listed}), head {chosen}. Model: {model}")
    if report:
        order = np.argsort(np.unique(examples.labels, return_inverse=True)[1], kind="stable")
        page = fit_page(classifier, model / "report.html", things=[examples.things[i] for i in order], title=source.stem, notes=notes)
        out.print(f"Report: {page}")


def _from_folder(source: Path, *, kind: str, encoder: str, invert: bool | None, on_bad: str, cache: bool) -> _Examples:
    found = find_classes(source, kind=kind)
    paths = [path for files in found.values() for path in files]
    labels = {path: name for name, files in found.items() for path in files}
    embedder = open_embedder(encoder, kind=kind, invert=invert)
    with Bar("encoding", len(paths)) as bar:
        made = embed_files(embedder, paths, cache=cache or None, on_bad=on_bad, progress=bar.update)
    kept = [labels[path] for path in made.paths]
    empty = sorted(set(found) - set(kept))
    if empty:
        raise DataError(
            f"In {source} these classes have nothing that can be read: {', '.join(empty)}. Repair the files, or remove the folders. The first: {made.skipped[0][1]}"
        )
    encoding = Encoding(kind, embedder.source, embedder.key, invert)
    for note in made.notes:
        results().print(f"Note: {note}")
    return _Examples(made.paths, made.vectors, kept, encoding, embedder, made.skipped)


def _from_table(source: Path, *, label: str, text: str, columns: str, encoder: str) -> _Examples:
    rows = read_table(source)
    labels = column(rows, label, source)
    if text:
        sentences = column(rows, text, source)
        embedder = open_embedder(encoder, kind="sentences")
        vectors = np.concatenate([embedder.embed(sentences[at : at + 64]) for at in range(0, len(sentences), 64)])
        return _Examples(sentences, vectors, labels, Encoding("sentences", embedder.source, embedder.key, columns=(text,)), embedder, [])
    names = [name.strip() for name in columns.split(",")] if columns else numeric_columns(rows, but=label)
    if not names:
        raise DataError(
            f"'{source}' has no column of numbers beside '{label}'. Name them with --columns; of sentences, name their column with --text."
        )
    x = numbers(rows, names, source)
    mean, std = x.mean(0), x.std(0)
    std[std == 0] = 1.0
    encoding = Encoding(ROWS, columns=tuple(names), mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    return _Examples([f"row {i + 1}" for i in range(len(rows))], (x - mean) / std, labels, encoding, None, [])


def _strangers(cohort: Path | None, examples: _Examples, *, kind: str, cache: bool) -> tuple[Any, Any]:
    """Vectors of what belongs to no class, and whose each is: sub-folders are one stranger each."""
    if cohort is None:
        return None, None
    if examples.encoder is None or examples.encoding.kind == "sentences":
        raise ConfigError(
            "--cohort is a folder of pictures or recordings. For a table, give more classes: each in turn plays the stranger."
        )
    paths = find_files([cohort], kind=kind)
    made = embed_files(examples.encoder, paths, cache=cache or None)
    # Things that lie in one sub-folder are of one stranger; those beside each other in the folder itself are of one each.
    groups = [str(p) if p.parent == cohort else str(p.relative_to(cohort).parts[0]) for p in made.paths]
    return made.vectors, np.asarray(groups)


def _in_two_classes(examples: _Examples) -> list[tuple[Any, ...]]:
    """Things with the same content and different labels."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, thing in enumerate(examples.things):
        content = (
            thing.read_bytes()
            if isinstance(thing, Path)
            else repr(thing).encode()
            if examples.encoder
            else np.asarray(examples.x[i]).tobytes()
        )
        same[hashlib.sha256(content).digest()].append(i)
    return [tuple(examples.things[i] for i in group) for group in same.values() if len({examples.labels[i] for i in group}) > 1]
