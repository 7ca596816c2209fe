"""From a folder or a table to a fitted model, in one call."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from quickstudy.core.disk import as_path
from quickstudy.core.errors import (
    ConfigError,
    DataError,
    LoadError,
    TransductiveError,
    did_you_mean,
)
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.words import counted
from quickstudy.data import ImageFormat
from quickstudy.estimators.advice import listed
from quickstudy.estimators.class_names import UNKNOWN, check_names
from quickstudy.estimators.classifier import HEADS as ALL_HEADS
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.comparison import IN_CONTEXT
from quickstudy.estimators.encoding import TABLE, Encoding, PixelEncoder, PixelLearner
from quickstudy.estimators.fitted import FittedModel
from quickstudy.estimators.history import Change
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.summary import summarise
from quickstudy.estimators.support import (
    Cache,
    Cohort,
    Progress,
    SupportSet,
    folder_support,
    item_name,
    read_cohort,
    repeated_across_classes,
    table_support,
)
from quickstudy.pretrained import AbstractPretrained, FeatureCache, choose_encoder, open_encoder
from quickstudy.pretrained.auto import show_people
from quickstudy.pretrained.choose import against_borders
from quickstudy.recipes import learner_extra, load

HEADS = tuple(head for head in ALL_HEADS if head != "learner")
_UNEVEN = 2  # times as many rows as of another class
# Membership scores that look at the outputs of the head alone.
_OF_OUTPUTS = ("max_similarity", "energy", "max_probability")
_ONE_FOLDER = (
    "It is one folder, with a sub-folder of files per class; a list of files with their labels is "
    "a table for fit_table."
)
_IN_MEMORY = (
    "It is a file (.csv, .tsv, .jsonl); write a table in memory to one, or fit a FewShotClassifier "
    "to its columns."
)


@dataclass(frozen=True)
class _Wanted:
    """How a model is to say unknown: the arguments of `fit_folder` of these names."""

    false_accept_rate: float
    review_rate: float
    unknown_score: str
    cohort: str | Path | None

    def check(self) -> None:
        given = {
            "review_rate": bool(self.review_rate),
            "unknown_score": self.unknown_score != "max_similarity",
            "cohort": self.cohort is not None,
        }
        for name, is_given in given.items():
            if is_given and not self.false_accept_rate:
                raise ConfigError(
                    f"{name} is for models that say unknown. Give a false_accept_rate with it, or "
                    f"leave {name} out."
                )
        if self.cohort is not None:
            as_path(self.cohort, "cohort")


def fit_folder(
    folder: str | Path,
    *,
    encoder: str | Path | AbstractPretrained = "auto",
    head: str = "auto",
    run: str | Path | None = None,
    norm: str = "",
    kind: str = "auto",
    invert: bool | None = None,
    on_bad: str = "refuse",
    false_accept_rate: float = 0.0,
    review_rate: float = 0.0,
    unknown_score: str = "max_similarity",
    cohort: str | Path | None = None,
    cache: Cache = None,
    progress: Progress | None = None,
) -> FittedModel:
    """Learn the classes of a folder from a few examples each; nothing is trained.

    Args:
        folder: with one sub-folder of files per class.
        encoder: what makes vectors of files, as `quickstudy.pretrained.open_encoder` takes it.
        head: what learns the classes from the vectors, see `FewShotClassifier`; "auto" = the one
            that the examples prefer.
        run: the folder of a trained run, whose own learner is the head; its encoder is in it.
        norm: with ``run``: another normalisation policy of its encoders, e.g. "support".
        kind: what the files are: "images", "audio", "text", or "auto": what most of them are.
        invert: of drawings: turn dark ink on light paper to light on dark; None = as the encoder
            was trained.
        on_bad: what happens when a file cannot be read: "refuse" them all, or "skip" the file.
        false_accept_rate: the wanted share of unknown things that are taken for a class, between 0
            and 1; 0 = always name a class, and the model is not calibrated.
        review_rate: the share of ``false_accept_rate`` at which certainty begins; between the two a
            person should look. 0 = no such band.
        unknown_score: the membership score, see `OpenSetClassifier`.
        cohort: a folder of files that belong to no class, to set the false-accept rate by; those in
            one sub-folder are of one identity. None = each class in turn plays the unknown to the
            others.
        cache: where vectors are kept, as in `quickstudy.pretrained.encode_files`; True = in the
            user's cache folder, None = nowhere.
        progress: called with what is being done, how much of it is done and how much there is.

    Returns:
        the model, with what the fit found out in its ``summary``.

    Raises:
        ConfigError: for what is no path, options that cannot be, or too few unknowns for the
            rate.
        DataError: when the folder is not laid out like this, or files cannot be read.
        LoadError: when the encoder or the run cannot be opened.
    """
    root = as_path(folder, "folder", hint=_ONE_FOLDER)
    wanted = _Wanted(false_accept_rate, review_rate, unknown_score, cohort)
    wanted.check()
    if run is None:
        _refuse(norm, "norm", "is for a run only, and none was given")
        _check_head(head)

        with _opening(encoder, invert, cache) as open_as:
            support = folder_support(
                root,
                kind=kind,
                open_as=open_as,
                on_bad=on_bad,
                cache=open_as.cache,
                progress=progress,
            )
        support = replace(support, notes=(*open_as.reasons, *support.notes))
        classifier = _classifier_of(head, support.encoding)
    else:
        usual = {"encoder": "auto", "head": "auto", "kind": "auto"}
        for name, value in {"encoder": encoder, "head": head, "kind": kind}.items():
            if value not in (usual[name], "images"):
                _refuse(str(value), name, "means nothing with a run, whose learner brings its own")
        support, classifier = _support_of_run(
            root, as_path(run, "run"), norm=norm, invert=invert, on_bad=on_bad, progress=progress
        )
        if false_accept_rate and unknown_score not in _OF_OUTPUTS:
            raise ConfigError(
                f"A run's own learner has the membership scores {', '.join(_OF_OUTPUTS)}, not "
                f"'{unknown_score}', which compares vectors. Choose one of these, or fit with the "
                "run as the encoder."
            )
    return _fit(support, classifier, wanted, on_bad=on_bad, cache=cache, progress=progress)


def fit_table(
    table: str | Path,
    *,
    target: str = "label",
    text: str = "",
    columns: Sequence[str] = (),
    paths: str = "",
    encoder: str | Path | AbstractPretrained = "auto",
    head: str = "auto",
    kind: str = "auto",
    invert: bool | None = None,
    on_bad: str = "refuse",
    false_accept_rate: float = 0.0,
    review_rate: float = 0.0,
    unknown_score: str = "max_similarity",
    cohort: str | Path | None = None,
    cache: Cache = None,
    progress: Progress | None = None,
) -> FittedModel:
    """Learn the classes of a table from a few rows each: of numbers, of texts, or of paths of
    files.

    Args:
        table: a file (.csv, .tsv, .jsonl).
        target: the column with the class.
        text: the column with the text, where texts are to be learned.
        columns: the columns to learn from; empty = all that are numbers or categories. Numbers are
            brought to mean 0 and deviation 1, a category is a number of its own, and a missing
            value counts as the mean (`quickstudy.estimators.tables.usable_columns`).
        paths: the column with the paths of files, relative to the table's folder; empty = the one
            column in which every value looks like such a path, if there is one.
        encoder, head, kind, invert, on_bad: as of `fit_folder`; ``encoder`` and what follows only
            where there are files or texts.
        false_accept_rate, review_rate, unknown_score, cache, progress: as of `fit_folder`.
        cohort: another table with rows that belong to no class; of files a folder.

    Returns:
        the model, with what the fit found out in its ``summary``.

    Raises:
        ConfigError: for what is no path, options or columns that cannot be, or too few unknowns
            for the rate.
        DataError: when the table or its files cannot be read.
        LoadError: when the encoder cannot be opened.
    """
    file = as_path(table, "table", hint=_IN_MEMORY)
    wanted = _Wanted(false_accept_rate, review_rate, unknown_score, cohort)
    wanted.check()
    _check_head(head)
    with _opening(encoder, invert, cache) as open_as:
        support = table_support(
            file,
            target=target,
            text=text,
            columns=columns,
            paths=paths,
            kind=kind,
            encoder=encoder,
            invert=invert,
            open_as=open_as,
            on_bad=on_bad,
            cache=open_as.cache,
            progress=progress,
        )
    support = replace(support, notes=(*open_as.reasons, *support.notes))
    classifier = _classifier_of(head, support.encoding)
    return _fit(support, classifier, wanted, on_bad=on_bad, cache=cache, progress=progress)


def _classifier_of(head: str, encoding: Encoding) -> FewShotClassifier:
    """The classifier for columns of a table, which differ in scale, and in which it says something
    how far a row is from the mean; or for vectors of an encoder.
    """
    options: dict[str, Any] = {}
    if encoding.kind == "table":
        if head != "prototype":
            options["scaling"] = "standardise"
        if head in ("ridge", "logistic", "gaussian"):
            options["metric"] = "euclidean"
    elif head == "auto":
        options["scaling"] = "centre"
    return FewShotClassifier(head, **options)


class _Opener:
    """Opens the encoder of labelled files: where it is "auto", the one that they prefer.

    Args:
        encoder, invert: as of `fit_folder`.
        cache: where what is encoded to choose is kept.

    Attributes:
        reasons: why it was this one, in plain sentences.
    """

    def __init__(
        self, encoder: str | Path | AbstractPretrained, invert: bool | None, cache: Cache
    ) -> None:
        self.encoder = encoder
        self.invert = invert
        self.cache = cache
        self.reasons: list[str] = []

    def __call__(
        self, kind: str, labels: Mapping[Path, str]
    ) -> tuple[AbstractPretrained, Encoding]:
        if self.encoder == "auto" and kind in ("images", "audio") and self.invert is None:
            choice = choose_encoder(
                list(labels),
                list(labels.values()),
                kind=kind,
                cache=None if isinstance(self.cache, FeatureCache) else self.cache,
            )
            self.reasons.append(f"Encoder '{choice.encoder.source}': {choice.reason}.")
            opened = choice.encoder
            if kind == "images" and opened.source != "symbols" and show_people(list(labels)):
                self.reasons.append(
                    "Most of these images show a face. To tell people apart take the encoder "
                    "'faces' (on the command line --encoder faces): this one sees what is there, "
                    "not who."
                )
        else:
            opened = open_encoder(self.encoder, kind=kind, invert=self.invert)
            if self.invert is not None and kind == "images":
                if self.encoder == "auto":
                    self.reasons.append(
                        f"Encoder '{opened.source}': as invert was given, drawings are meant."
                    )
                self.reasons += against_borders(list(labels), invert=self.invert)
        return opened, Encoding(kind, opened.source, opened.key, self.invert)


@contextmanager
def _opening(
    encoder: str | Path | AbstractPretrained, invert: bool | None, cache: Cache
) -> Iterator[_Opener]:
    """An opener, whose cache is there as long as the context is: what was encoded to choose is not
    encoded again.
    """
    with ExitStack() as stack:
        if encoder == "auto" and (cache is None or cache is False):
            cache = stack.enter_context(TemporaryDirectory())
        yield _Opener(encoder, invert, cache)


def _fit(
    support: SupportSet,
    classifier: FewShotClassifier,
    wanted: _Wanted,
    *,
    on_bad: str,
    cache: Cache,
    progress: Progress | None,
) -> FittedModel:
    classes = sorted(set(support.labels))
    if len(classes) < 2:
        raise DataError(
            f"There is one class, '{classes[0]}', but a classifier needs at least two. Add "
            "examples of another."
        )
    fitted: FewShotClassifier | OpenSetClassifier = classifier
    cohort = Cohort()
    if wanted.false_accept_rate:
        check_names(classes)
        if wanted.cohort is not None:
            cohort = read_cohort(
                Path(wanted.cohort), support, on_bad=on_bad, cache=cache, progress=progress
            )
        elif isinstance(classifier.learner, PixelLearner):
            _check_leaves_out(classifier.learner.learner, len(classes))
        fitted = OpenSetClassifier(
            classifier,
            unknown_score=wanted.unknown_score,
            false_accept_rate=wanted.false_accept_rate,
            review_rate=wanted.review_rate,
            reject_label=UNKNOWN,
        )
        with warnings.catch_warnings():  # it is said below, with the names of the files
            warnings.simplefilter("ignore", UserWarning)
            fitted.fit(support.x, support.labels, cohort=cohort.x, cohort_groups=cohort.groups)
    else:
        fitted.fit(support.x, support.labels)
    order = np.argsort(np.unique(support.labels, return_inverse=True)[1], kind="stable")
    items = [support.items[i] for i in order]
    notes = (*(support.encoder.notes if support.encoder else ()), *support.notes, *cohort.notes)
    if isinstance(fitted, OpenSetClassifier) and fitted.cohort_overlap_ is not None:
        rows = fitted.cohort_overlap_.rows
        names = listed([item_name(cohort.items[i]) for i in rows], most=10)
        notes = (*notes, f"{fitted.cohort_overlap_} They are: {names}.")
    notes = (*notes, *_note_of_shares(support, fitted))
    summary = summarise(
        fitted,
        items,
        called=[item_name(item) for item in items],
        skipped=(*support.skipped, *cohort.skipped),
        repeated=repeated_across_classes(support),
        notes=notes,
    )
    return FittedModel(
        fitted,
        support.encoding,
        support.encoder,
        notes,
        summary,
        history=(Change.now("fitted"),),
    )


def _note_of_shares(
    support: SupportSet, fitted: FewShotClassifier | OpenSetClassifier
) -> tuple[str, ...]:
    """A note where the classes of a table count by their rows, and some have far more."""
    known = fitted.estimator_ if isinstance(fitted, OpenSetClassifier) else fitted
    comparison = known.head_comparison_
    head = known.head if comparison is None else comparison.choice.head
    counts = Counter(support.labels).most_common()
    (most, n), (least, few) = counts[0], counts[-1]
    if support.encoding.kind != TABLE or head != IN_CONTEXT.head or n < _UNEVEN * few:
        return ()
    return (
        f"Each class is expected as often as here ({most} in {n} of {len(support.labels)} rows, "
        f"{least} in {few}). Where new rows come otherwise, give as many rows of each class, or "
        "take another head, for which all classes are alike (--head gaussian).",
    )


def _support_of_run(
    folder: Path,
    run: Path,
    *,
    norm: str,
    invert: bool | None,
    on_bad: str,
    progress: Progress | None,
) -> tuple[SupportSet, FewShotClassifier]:
    """The pictures of a folder as pixels, and the run's own learner as the head."""
    learner = load(run, norm=norm)
    if not isinstance(learner, AbstractLearner):
        raise LoadError(
            f"{run} holds a predictor, not a trained run. Give the folder that `quickstudy train` "
            "wrote."
        )
    about = learner_extra(run)
    if not about.get("image"):
        raise LoadError(
            f"{run} was not trained on images, so it cannot learn a folder of them. Use a run of "
            "an image recipe."
        )
    if learner.traits.transductive:
        raise TransductiveError(
            f"The learner of {run}, {type(learner).__name__}, is transductive: its answer to one "
            "image depends on the others that are asked about with it. Use an inductive one "
            '(for batch statistics: norm="support", on the command line --norm support).'
        )
    image = about["image"] if invert is None else {**about["image"], "invert": invert}
    format_ = ImageFormat.from_json(image)
    encoder = PixelEncoder(format_, source=str(run))
    encoding = Encoding("images", encoder.source, encoder.key, invert, image=format_.to_json())
    support = folder_support(
        folder,
        kind="images",
        open_as=lambda *_: (encoder, encoding),
        on_bad=on_bad,
        cache=None,
        progress=progress,
    )
    if not about.get("result", {}).get("finished", True):
        stopped = (
            f"{run} was stopped before its training was done; `quickstudy train … --resume` would "
            "make a better model."
        )
        support = replace(support, notes=(*support.notes, stopped))
    pixels = PixelLearner(learner, shape=format_.shape, mean=format_.mean, std=format_.std)
    return support, FewShotClassifier("learner", learner=pixels.eval())


def _check_leaves_out(learner: AbstractLearner[Any], n: int) -> None:
    if not learner.traits.any_way or n < 2:
        raise ConfigError(
            f"{type(learner).__name__} cannot learn these {counted(n, 'class', 'classes')} "
            f"without one of them, to see "
            "what unknowns score. Give a cohort, a folder of images that belong to no class, or "
            "a learner for any number of classes (protonet)."
        )


def _check_head(head: str) -> None:
    if head not in HEADS:
        raise ConfigError(f"There is no head '{head}'. {did_you_mean(head, HEADS)}")


def _refuse(value: str, name: str, why: str) -> None:
    if value:
        raise ConfigError(f"{name} {why}. Leave it out (on the command line --{name}).")
