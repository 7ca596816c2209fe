"""How well a fitted model does on labelled items that it has not seen."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstudy.core.errors import DataError
from quickstudy.data import find_classes
from quickstudy.estimators.encoding import TABLE
from quickstudy.estimators.fitted import FittedModel, Prediction
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.support import Cache
from quickstudy.estimators.tables import ENDINGS, TARGET, column, read_table


@dataclass(frozen=True)
class ScoredItem:
    """One item, its true class and what the model says.

    Args:
        label: the true class, as the model has it; None of an item whose class it does not know.
        folder: what the class is called where the item came from.
        answer: of the model.
    """

    label: Any
    folder: str
    answer: Prediction

    @property
    def is_right(self) -> bool:
        """Whether the answer is the true class."""
        return self.label is not None and self.answer.label == self.label


@dataclass(frozen=True)
class Score:
    """What a model says of labelled items.

    Args:
        items: those that could be read.
        unread: the others, with the reason in ``error``.
        classes: of the model.
        reject_label: what the model calls unknowns; None where it never says so.
    """

    items: tuple[ScoredItem, ...]
    unread: tuple[Prediction, ...]
    classes: tuple[Any, ...]
    reject_label: Any

    @property
    def known(self) -> tuple[ScoredItem, ...]:
        """Items of classes that the model knows."""
        return tuple(item for item in self.items if item.label is not None)

    @property
    def unknown(self) -> tuple[ScoredItem, ...]:
        """Items of classes that it does not know."""
        return tuple(item for item in self.items if item.label is None)

    @property
    def accuracy(self) -> float:
        """Share of the items of known classes that get their class; NaN where there are none."""
        return _share([item.is_right for item in self.known])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `accuracy` by Wilson's method."""
        return wilson(sum(item.is_right for item in self.known), len(self.known))

    @property
    def false_reject_rate(self) -> float:
        """Share of the items of known classes that are called unknown."""
        return _share([item.answer.label == self.reject_label for item in self.known])

    @property
    def false_accept_rate(self) -> float:
        """Share of the items of unknown classes that are taken for a class; NaN where there are
        none.
        """
        return _share([item.answer.label != self.reject_label for item in self.unknown])

    @property
    def false_accept_interval(self) -> tuple[float, float]:
        """The 95 % interval of `false_accept_rate` by Wilson's method."""
        taken = sum(item.answer.label != self.reject_label for item in self.unknown)
        return wilson(taken, len(self.unknown))

    def by_class(self) -> dict[str, dict[str, int]]:
        """Of each folder (true class) how many items got each answer, the most frequent first."""
        counts: dict[str, Counter[str]] = {}
        for item in self.items:
            counts.setdefault(item.folder, Counter())[str(item.answer.label)] += 1
        return {name: dict(of.most_common()) for name, of in counts.items()}

    def confusion(self) -> dict[tuple[str, str], int]:
        """How many items of each folder (true class) got each answer."""
        return dict(Counter((item.folder, str(item.answer.label)) for item in self.items))


def score_model(
    model: FittedModel, labelled: str | Path, *, target: str = "label", cache: Cache = None
) -> Score:
    """Ask a model about labelled items that it has not seen.

    Args:
        model: a fitted model.
        labelled: a folder with one sub-folder per class; or a table, of a model of files with the
            paths of some. Classes that the model does not know count as unknowns.
        target: of a table: the column with the class.
        cache: as of `FittedModel.predict_files`.

    Raises:
        DataError: when the folder or the table cannot be read, or holds nothing of a known class.
    """
    names, answers = _asked(model, Path(labelled), target=target, cache=cache)
    return score_answers(model, names, answers, where=str(labelled))


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's method; 0 to 1 where there is nothing.

    >>> [round(float(x), 3) for x in wilson(9, 10)]
    [0.596, 0.982]
    """
    from scipy.stats import binomtest

    if not n:
        return 0.0, 1.0
    low, high = binomtest(k, n).proportion_ci(method="wilson")
    return float(low), float(high)


def _asked(
    model: FittedModel, labelled: Path, *, target: str, cache: Cache
) -> tuple[list[str], list[Prediction]]:
    if model.encoding.kind == TABLE or labelled.suffix.lower() in ENDINGS:
        names = column(read_table(labelled), target, labelled, option=TARGET)
        return names, model.predict_table(labelled, cache=cache)
    found = find_classes(labelled, kind=model.encoding.kind)
    names = [name for name, files in found.items() for _ in files]
    paths = [path for files in found.values() for path in files]
    return names, model.predict_files(paths, cache=cache)


def score_answers(
    model: FittedModel, names: list[str], answers: list[Prediction], *, where: str
) -> Score:
    """The score of answers that a model gave.

    Args:
        model: that gave them.
        names: the true class of each item.
        answers: in their order.
        where: what error messages call the items.

    Raises:
        DataError: when nothing that could be read is of a class that the model knows.
    """
    labels = {str(label): label for label in model.counts}
    items = tuple(
        ScoredItem(labels.get(name), name, answer)
        for name, answer in zip(names, answers, strict=True)
        if not answer.error
    )
    unread = tuple(answer for answer in answers if answer.error)
    if not any(item.label is not None for item in items):
        ten = ", ".join(list(labels)[:10])
        raise DataError(
            f"{where} holds nothing that can be read of a class that the model knows ({ten}"
            f"{' …' if len(labels) > 10 else ''}). Call the sub-folders, or the labels, as its "
            "classes are called."
        )
    classifier = model.classifier
    reject = classifier.reject_label_ if isinstance(classifier, OpenSetClassifier) else None
    return Score(items, unread, tuple(model.counts), reject)


def _share(values: list[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")
