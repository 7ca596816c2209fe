"""What a classifier learns from: labelled items of a folder or a table with their vectors, and the
items of a cohort, which belong to no class.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.words import counted
from quickstudy.data import find_classes, find_files, kind_of
from quickstudy.estimators.advice import listed
from quickstudy.estimators.encoding import TABLE, Encoding, encode_texts
from quickstudy.estimators.tables import (
    TARGET,
    Columns,
    called,
    column,
    counts_rows,
    is_missing_text,
    is_number,
    read_table,
    row_numbers,
    texts,
    usable_columns,
)
from quickstudy.pretrained import AbstractPretrained, FeatureCache, encode_files, open_encoder

Cache: TypeAlias = FeatureCache | str | Path | bool | None
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is."""
_MANY = 20  # different whole numbers, of which more are an amount if most stand in one row
Opener: TypeAlias = Callable[[str, Mapping[Path, str]], tuple[AbstractPretrained, Encoding]]
"""Opens the encoder of files of a kind, given with their labels."""


@dataclass(frozen=True)
class SupportSet:
    """Labelled items and their vectors.

    Args:
        items: paths, texts, or of a table the numbers of its rows, from 1.
        x: their vectors.
        labels: their classes.
        encoding: how items become vectors.
        encoder: the open encoder; None of a table.
        skipped: files that could not be read, each with the reason.
        notes: what is to be known about them, in plain sentences.
    """

    items: list[Any]
    x: Float[NDArray[Any], "N D"]
    labels: list[str]
    encoding: Encoding
    encoder: AbstractPretrained | None = None
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """Vectors of items that belong to no class, and whose each is.

    Args:
        x: the vectors; None where there is no cohort.
        groups: whose each vector is; None = each of another.
        items: paths, texts, or the numbers of rows, from 1.
        skipped, notes: as in `SupportSet`.
    """

    x: Float[NDArray[Any], "n D"] | None = None
    groups: NDArray[Any] | None = None
    items: Sequence[Any] = ()
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


def folder_support(
    folder: Path,
    *,
    kind: str,
    open_as: Opener,
    on_bad: str,
    cache: Cache,
    progress: Progress | None,
) -> SupportSet:
    """The files of a folder with a sub-folder per class.

    Args:
        folder: it.
        kind: "images", "audio", "text", or "auto": what most of its files are.
        open_as: opens the encoder for files of a kind, which it is given with their labels.
        on_bad, cache, progress: as of `quickstudy.pretrained.encode_files`.

    Raises:
        DataError: when it is not laid out like this, or files cannot be read.
    """
    chosen = kind_of_folder(folder) if kind == "auto" else kind
    classes = find_classes(folder, kind=chosen)
    labels = {path: name for name, files in classes.items() for path in files}
    encoder, encoding = open_as(chosen, labels)
    return files_support(
        labels, encoder, encoding, where=str(folder), on_bad=on_bad, cache=cache, progress=progress
    )


def files_support(
    labels: dict[Path, str],
    encoder: AbstractPretrained,
    encoding: Encoding,
    *,
    where: str,
    on_bad: str,
    cache: Cache,
    progress: Progress | None,
    notes: tuple[str, ...] = (),
) -> SupportSet:
    """Files and their labels, wherever both come from.

    Raises:
        DataError: when files cannot be read, or none of a class can.
    """
    encoded = encode_files(
        encoder,
        list(labels),
        cache=None if encoding.image is not None else cache,
        on_bad=on_bad,
        progress=None if progress is None else lambda n, of: progress("encoding", n, of),
    )
    kept = [labels[path] for path in encoded.paths]
    empty = sorted(set(labels.values()) - set(kept))
    if empty:
        raise DataError(
            f"In {where} these classes have nothing that can be read: {', '.join(empty[:10])}. "
            f"Repair the files, or remove the classes. The first: {encoded.skipped[0][1]}"
        )
    return SupportSet(
        list(encoded.paths),
        encoded.vectors,
        kept,
        encoding,
        encoder,
        tuple(encoded.skipped),
        (*notes, *encoded.notes),
    )


def kind_of_folder(folder: Path) -> str:
    """What most files in the sub-folders of a folder are, by their endings: "images" where there
    are none of any kind.

    Raises:
        DataError: for as many of one kind as of another.
    """
    counts: Counter[str] = Counter()
    root = folder.expanduser()
    for path in root.glob("*/*") if root.is_dir() else ():
        counts[kind_of(path)] += 1
    del counts[""]
    ranked = counts.most_common(2)
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        raise DataError(
            f"{folder} holds as many {ranked[0][0]} as {ranked[1][0]} ({ranked[0][1]} each). Say "
            "which are to be learned (kind, on the command line --kind)."
        )
    return ranked[0][0] if ranked else "images"


def table_support(
    file: Path,
    *,
    target: str,
    text: str,
    columns: Sequence[str],
    paths: str,
    kind: str,
    encoder: str | Path | AbstractPretrained,
    invert: bool | None,
    open_as: Opener,
    on_bad: str,
    cache: Cache,
    progress: Progress | None,
) -> SupportSet:
    """The rows of a table: numbers, texts, or the paths of files, which ``open_as`` opens the
    encoder for.

    Raises:
        ConfigError: for columns that cannot be.
        DataError: when the table or its files cannot be read.
    """
    rows = read_table(file)
    # As of folders: letters with accents are written in two ways that look the same.
    labels = [
        unicodedata.normalize("NFC", name) for name in column(rows, target, file, option=TARGET)
    ]
    given = [name for name in (text, paths) if name]
    if len(given) + bool(columns) > 1:
        raise ConfigError(
            "A table is learned from numbers (columns), from texts (text) or from files (paths), "
            f"but got {len(given) + bool(columns)} of these. Name one."
        )
    notes: tuple[str, ...] = ()
    if not given and not columns:
        paths = _column_of_files(rows, but=target)
        notes = (f"Learned from the files that the column '{paths}' names.",) if paths else ()
    _check_columns([*(columns or ()), *given], target)
    if paths:
        names = [
            Path(file).parent / Path(name).expanduser()
            for name in column(rows, paths, file, option="paths, on the command line --paths")
        ]
        return _files_of_table(
            names,
            labels,
            file=file,
            column_name=paths,
            kind=kind,
            open_as=open_as,
            on_bad=on_bad,
            cache=cache,
            progress=progress,
            notes=notes,
        )
    if text:
        _refuse_options("texts", kind=kind in ("auto", "text"), invert=invert is None)
        items = column(rows, text, file, option="text, on the command line --text")
        opened = open_encoder(encoder, kind="text")
        vectors, warned = encode_texts(
            opened,
            items,
            progress=None if progress is None else lambda n, of: progress("encoding", n, of),
        )
        encoding = Encoding("text", opened.source, opened.key, columns=(text,))
        return SupportSet(items, vectors, labels, encoding, opened, notes=warned)
    _refuse_options(
        "numbers",
        encoder=encoder == "auto",
        kind=kind == "auto",
        invert=invert is None,
        on_bad=on_bad == "refuse",
    )
    return _numbers_of_table(rows, labels, file=file, columns=columns, target=target)


def _check_columns(names: Sequence[str], target: str) -> None:
    if target in names or len(set(names)) < len(names):
        raise ConfigError(
            "The columns to learn from are named once each and without that of the class, "
            f"'{target}', but got {', '.join(names)}."
        )


def _refuse_options(what: str, **is_usual: bool) -> None:
    """An option that would be passed over in silence is a misunderstanding."""
    for name, usual in is_usual.items():
        if not usual:
            raise ConfigError(
                f"{name} is not for tables of {what} (on the command line "
                f"--{name.replace('_', '-')}). Leave it out; of texts, name their column (text), "
                "of files theirs (paths)."
            )


def _column_of_files(rows: list[dict[str, Any]], *, but: str) -> str:
    """The one column whose every value ends like the name of a picture or a recording; else
    nothing.
    """
    found = [
        name
        for name in rows[0]
        if name != but and all(kind_of(str(row.get(name) or "").strip()) for row in rows)
    ]
    return found[0] if len(found) == 1 else ""


def paths_of_rows(rows: list[dict[str, Any]], file: Path | str) -> list[Path]:
    """The files that the rows of a table name, in the one column that looks like it.

    Args:
        rows: of the table.
        file: where it lies; of one that is no file, what it is called in a sentence.

    Raises:
        DataError: when there is no such column, or more than one.
    """
    name = _column_of_files(rows, but="")
    if not name:
        raise DataError(
            f"{called(file)} has not one column in which every value ends like the name of a file, "
            "such as photos/1.jpg; the model was fitted to files. Give a table with their paths in "
            "one column, or the files."
        )
    folder = file.parent if isinstance(file, Path) else Path()
    return [folder / Path(path).expanduser() for path in texts(rows, name, file)]


def _files_of_table(
    names: list[Path],
    labels: list[str],
    *,
    file: Path,
    column_name: str,
    kind: str,
    open_as: Opener,
    on_bad: str,
    cache: Cache,
    progress: Progress | None,
    notes: tuple[str, ...],
) -> SupportSet:
    of: dict[Path, str] = {}
    for i, (path, label) in enumerate(zip(names, labels, strict=True)):
        if of.setdefault(path, label) != label:
            raise DataError(
                f"In '{file}', row {i + 1}, the file '{path}' is of the class '{label}', but in an "
                f"earlier row of '{of[path]}'. Correct one of them."
            )
    if kind == "auto":
        kinds = Counter(filter(None, map(kind_of, of)))
        kind = kinds.most_common(1)[0][0] if kinds else "images"
    encoder, encoding = open_as(kind, of)
    return files_support(
        of,
        encoder,
        encoding,
        where=f"'{file}' (column '{column_name}')",
        on_bad=on_bad,
        cache=cache,
        progress=progress,
        notes=notes,
    )


def _numbers_of_table(
    rows: list[dict[str, Any]],
    labels: list[str],
    *,
    file: Path,
    columns: Sequence[str],
    target: str,
) -> SupportSet:
    chosen, others, naming = usable_columns(rows, file, but=target, named=columns)
    if not chosen.names:
        but = f" but {listed(naming)}, which only names the rows" if naming else ""
        raise DataError(
            f"'{file}' has no column of numbers beside '{target}'{but}. Name them (columns, on the "
            "command line --columns); of texts, name their column (text, --text), of files theirs "
            "(paths, --paths)."
        )
    x = _all_numbers(rows, chosen, file)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.nanmean(x, axis=0)
        std = np.nanstd(x, axis=0)
    huge = np.flatnonzero(~np.isfinite(mean + std))
    if len(huge):
        name = chosen.of_numbers[huge[0]]
        raise DataError(
            f"In '{file}' the numbers of the column '{name}' are too large to be "
            "standardised. Give it in another unit."
        )
    std[std == 0] = 1.0
    encoding = Encoding(
        TABLE,
        columns=chosen.names,
        categories=chosen.categories,
        optional=chosen.optional,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )
    return SupportSet(
        list(range(1, len(rows) + 1)),
        encoding.standardised(x),
        labels,
        encoding,
        notes=(
            *_notes_of_labels(labels, target),
            *_notes_of_columns(chosen, others, naming, x, is_named=bool(columns)),
        ),
    )


def _notes_of_labels(labels: Sequence[str], target: str) -> tuple[str, ...]:
    """A note where the labels are amounts rather than names of classes, or say that there is
    none.
    """
    if not all(map(is_number, labels)):
        missing = Counter(filter(is_missing_text, labels))
        return tuple(
            f"In {counted(n, 'row')} the column '{target}' holds {text!r}, which is learned as a "
            "class of its own. If it means that nobody knows the class, take these rows out."
            for text, n in missing.items()
        )
    counts = Counter(map(float, labels))
    is_whole = all(number.is_integer() for number in counts)
    n_alone = sum(n == 1 for n in counts.values())
    if is_whole and (len(counts) <= _MANY or 2 * n_alone <= len(counts)):
        return ()
    return (
        f"The column '{target}' holds numbers, and each of {counted(len(counts), 'number')} is "
        "learned as a class of its own, whatever lies near it. To learn an amount take "
        "InContextRegressor, in Python.",
    )


def _notes_of_columns(
    chosen: Columns,
    others: list[str],
    naming: list[str],
    x: Float[NDArray[np.float64], "n D"],
    *,
    is_named: bool,
) -> tuple[str, ...]:
    """What was learned from, and what became of categories and of missing values."""
    notes = [f"Learned from the columns {listed(chosen.names, most=10)}."]
    if others:
        notes.append(
            "Left out, as they hold one value only, or are neither numbers nor categories: "
            f"{listed(others, most=10)}."
        )
    if naming:
        notes.append(
            f"Left out, as {'they name' if len(naming) > 1 else 'it names'} the rows and nothing "
            f"that new ones have: {listed(naming, most=10)}. To learn from it all the same, name "
            "all wanted columns with --columns."
        )
    notes += [
        f"The column '{name}' counts the rows. If it is only their number, leave it out (name the "
        "others with --columns): it says nothing of new rows, and of these in which order they lie."
        for name, values in zip(chosen.of_numbers, x.T, strict=True)
        if not is_named and counts_rows(values)
    ]
    kinds = [
        f"{name} ({', '.join(known[:5])}{', …' if len(known) > 5 else ''})"
        for name, known in zip(chosen.names, chosen.categories, strict=False)
        if known
    ]
    if kinds:
        notes.append(
            f"Categories, each of which is a number of its own, 1 or 0: "
            f"{'; '.join(kinds[:10])}{' …' if len(kinds) > 10 else ''}. "
            "One that is not known counts as none of them."
        )
    if chosen.optional:
        gaps = np.isnan(x)
        names = dict.fromkeys(np.asarray(chosen.of_numbers)[gaps.any(0)].tolist())
        notes.append(
            f"Values are missing in {int(gaps.any(1).sum())} of {len(x)} rows (columns "
            f"{listed(list(names), most=10)}). They count as the mean of their column."
        )
    return tuple(notes)


def _all_numbers(
    rows: list[dict[str, Any]], columns: Columns, file: Path
) -> Float[NDArray[np.float64], "n D"]:
    x, wrong = row_numbers(rows, columns, file)
    bad = [i for i, why in enumerate(wrong) if why]
    if bad:
        raise DataError(
            f"In '{file}', row {bad[0] + 1}, {wrong[bad[0]]}. Of {counted(len(rows), 'row')} "
            f"{len(bad)} are "
            "like this. Correct them, or leave the column out with --columns."
        )
    return x


def read_cohort(
    cohort: Path,
    support: SupportSet,
    *,
    on_bad: str,
    cache: Cache,
    progress: Progress | None,
) -> Cohort:
    """The items of a cohort, as vectors by the encoder of the support: a folder of files, or a
    table for a table.

    Raises:
        DataError: when it cannot be read.
    """
    encoding = support.encoding
    root = cohort.expanduser()
    if encoding.kind == TABLE or support.encoder is None:
        x = _all_numbers(read_table(root), encoding.table_columns, root)
        return Cohort(encoding.standardised(x), items=range(1, len(x) + 1))
    if encoding.kind == "text" and encoding.columns:
        items = column(read_table(root), encoding.columns[0], root)
        x, warned = encode_texts(support.encoder, items)
        return Cohort(x, items=items, notes=warned)
    paths = find_files([root], kind=encoding.kind)
    encoded = encode_files(
        support.encoder,
        paths,
        cache=None if encoding.image is not None else cache,
        on_bad=on_bad,
        progress=None if progress is None else lambda n, of: progress("encoding the cohort", n, of),
    )
    if not encoded.paths:
        raise DataError(
            f"None of the {counted(len(paths), 'file')} of {cohort} can be read. The first: "
            f"{encoded.skipped[0][1]}"
        )
    groups = np.asarray([cohort_group(path, root) for path in encoded.paths])
    return Cohort(
        encoded.vectors, groups, encoded.paths, tuple(encoded.skipped), tuple(encoded.notes)
    )


def cohort_group(path: Path, cohort: Path) -> str:
    """Whose a file of a cohort is: those in one sub-folder of it are of one identity, those beside
    each other in the folder itself of one each.

    >>> [
    ...     cohort_group(Path(p), Path("others"))
    ...     for p in ("others/a.png", "others/anna/1.png", "others/anna/more/2.png")
    ... ]
    ['others/a.png', 'anna', 'anna']
    """
    return str(path) if cohort in (path, path.parent) else path.relative_to(cohort).parts[0]


def repeated_across_classes(support: SupportSet) -> tuple[tuple[Any, ...], ...]:
    """Groups of files or texts with the same content and different labels; of the rows of a table,
    many of which may be the same by nature, the advice says it.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, item in enumerate(support.items):
        if isinstance(item, Path):
            with suppress(OSError), item.open("rb") as stream:
                groups[hashlib.file_digest(stream, "sha256").digest()].append(i)
        elif support.encoder is not None:
            groups[item.encode(errors="surrogatepass")].append(i)
    return tuple(
        tuple(support.items[i] for i in group)
        for group in groups.values()
        if len({support.labels[i] for i in group}) > 1
    )


def is_of_table(items: Sequence[Any]) -> bool:
    """Whether items are the rows of a table, by their numbers."""
    return all(isinstance(item, int) for item in items)


def item_name(item: Any) -> str:
    """What an item is called in a sentence: a file by its last folder and name, a text by its
    beginning, a row as it is.

    >>> item_name(Path("birds/robin/1.jpg")), item_name("turn on  the light"), item_name(3)
    ('robin/1.jpg', '“turn on the light”', 'row 3')
    """
    if isinstance(item, Path):
        return "/".join(item.parts[-2:])
    if isinstance(item, str):
        plain = " ".join(item.split())
        return f"“{plain}”" if len(plain) <= 60 else f"“{plain[:59].rstrip()}…”"
    return f"row {item}"
