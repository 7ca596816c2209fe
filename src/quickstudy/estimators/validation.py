"""What the estimators demand of vectors, labels and weights, before anything is computed."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _get_feature_names,
    validate_data,
)

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError

Array = NDArray[np.float64]
LARGEST = 1e150
"""The largest size of a feature: squares of larger ones overflow."""

_SHOWN = 5  # columns in a message

_validate: Any = validate_data  # its type stubs know no arrays


def check_vectors(estimator: Any, X: Any, *, reset: bool = False, allow_nan: bool = False) -> Array:
    """Vectors ``[n D]`` as finite numbers, with the features that the estimator was fitted to.

    Args:
        estimator: keeps, or is asked for, the number and the names of the features.
        X: the vectors.
        reset: at the begin of a fit: keep what came instead of comparing with it.
        allow_nan: NaN is a missing value.

    Raises:
        ValueError: as scikit-learn's estimators.
        DataError: for columns of texts or dates, and for features that are too large.
    """
    finite = "allow-nan" if allow_nan else True
    with columns_named(X):
        x: Array = _validate(
            estimator, X, dtype=np.float64, order="C", reset=reset, ensure_all_finite=finite
        )
    too_large = np.abs(x) > LARGEST
    if too_large.any():
        row, column = np.argwhere(too_large)[0].tolist()
        raise DataError(
            f"Feature {column} of row {row} is {x[row, column]:.3g}, but at most {LARGEST:.0e} is "
            "possible, as squares of larger numbers overflow. Give it in another unit."
        )
    return x


@contextmanager
def columns_named(X: Any) -> Iterator[None]:
    """What fails meanwhile for columns of texts or dates in a table ``[N F]`` says which these are.

    Raises:
        DataError: naming them; by number, from 0, where they have no names.
    """
    names = _get_feature_names(X)
    plain = X if isinstance(X, np.ndarray) or names is None else np.asarray(X[:1])
    # Dates alone would count as nanoseconds without a word.
    if isinstance(plain, np.ndarray) and plain.ndim == 2 and plain.dtype.kind in "mM":
        raise DataError(_said_of_columns(X, names))
    try:
        yield
    except (TypeError, ValueError) as error:
        said = _said_of_columns(X, names)
        if said:
            raise DataError(said) from error
        raise


def check_numbers(y: Any) -> None:
    """Refuse texts and dates where numbers are to be predicted.

    Raises:
        DataError: with the first one.
    """
    values = np.asarray(y)
    if values.dtype.kind in "biuf":
        return
    kinds = [_no_number(value) for value in values.astype(object).ravel()]
    wrong = [row for row, kind in enumerate(kinds) if kind]
    if wrong:
        raise DataError(
            f"A regression predicts numbers, but y holds {kinds[wrong[0]]} (row {wrong[0]}). Give "
            "numbers, dates as days since the first; classes are for a classifier."
        )


def _said_of_columns(X: Any, names: NDArray[Any] | None) -> str:
    """Which columns hold texts or dates, and what to do; empty where none does."""
    table = np.asarray(X, dtype=object)
    if table.ndim != 2:
        return ""
    found = []
    for c in range(table.shape[1]):
        kind = next(filter(None, map(_no_number, table[:, c])), "")
        if kind:
            found.append(f"column {c if names is None else repr(str(names[c]))} holds {kind}")
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"Numbers are expected, but {', '.join(found[:_SHOWN])}{more}. Give categories as codes "
        "(sklearn.preprocessing.OrdinalEncoder), dates as numbers (days since the first), or "
        "leave the columns out."
    )


def _no_number(value: Any) -> str:
    """What a value is, where it is a text that is no number, a date or a duration."""
    if isinstance(value, date | timedelta | np.datetime64 | np.timedelta64):
        of = "durations" if isinstance(value, timedelta | np.timedelta64) else "dates"
        return f"{of}, such as {value}"
    if not isinstance(value, str | bytes):
        return ""
    try:
        float(value)
    except ValueError:
        return f"texts, such as {str(value)!r}"
    return ""


def check_labels(y: Any, n: int) -> NDArray[Any]:
    """Labels ``[n]``: texts, whole numbers, numbers or truth values, all of one kind.

    Their dtype is kept, so that predictions have it too.

    Raises:
        ValueError: as scikit-learn's classifiers.
        DataError: for missing labels, or texts and numbers mixed.
    """
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    # What is only an array by protocol cannot be iterated; numbers alone are refused below.
    given = y if isinstance(y, Iterable) else np.asarray(y)
    values = [] if isinstance(given, np.ndarray) and given.ndim == 0 else list(given)
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(values)} labels are missing, the first in row {missing[0]}. "
            "Label these examples, or leave them out."
        )
    texts = [row for row, value in enumerate(values) if isinstance(value, str | bytes)]
    if 0 < len(texts) < len(values):
        raise DataError(
            f"Labels must be of one kind, but {len(texts)} of {len(values)} are texts and the "
            f"others are not (row {texts[0]} holds {values[texts[0]]!r}). Make all of them texts, "
            "or all of them numbers."
        )
    labels: NDArray[Any] = column_or_1d(np.asarray(y), warn=True)
    if labels.dtype.kind == "f":
        if np.isinf(labels).any():
            raise ValueError("Input y contains infinity. Give each example the label of a class.")
        check_classes(labels)
    if len(labels) != n:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {[n, len(labels)]}"
        )
    return labels


def check_classes(labels: NDArray[Any]) -> None:
    """Refuse labels that are amounts. That there are many classes of few examples, which
    scikit-learn warns of, is usual here.

    Raises:
        ValueError: as scikit-learn's classifiers.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        check_classification_targets(labels)


def is_missing(value: Any) -> bool:
    """Whether a label is None, NaN, or the missing value of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def kind_of(label: Any) -> str:
    """In words, what a label is: a text, a truth value, a whole number or a number."""
    if isinstance(label, str):
        return "a text"
    if isinstance(label, bool | np.bool_):
        return "a truth value"
    if isinstance(label, int | np.integer):
        return "a whole number"
    if isinstance(label, float | np.floating):
        return "a number"
    return f"a {type(label).__name__}"


def with_label(classes: NDArray[Any], name: Any) -> NDArray[Any]:
    """The classes and one more at the end, of the same kind: labels never change theirs.

    Raises:
        DataError: for a label that is missing, or of another kind than the classes.

    >>> with_label(np.asarray(["a", "b"]), "conifer").tolist()
    ['a', 'b', 'conifer']
    """
    plain = name.item() if isinstance(name, np.generic) else name
    if is_missing(plain):
        raise DataError(f"The label {name!r} is a missing value. Name the class.")
    first = classes.tolist()[0]
    if kind_of(plain) != kind_of(first):
        raise DataError(
            f"The classes are called by {kind_of(first)} each, such as {first!r}, but {plain!r} is "
            f"{kind_of(plain)}. Choose a name of the same kind."
        )
    if classes.dtype.kind in "iufb":
        added = np.asarray([plain])
        if added.dtype.kind in "iu" and np.can_cast(np.min_scalar_type(plain), classes.dtype):
            added = added.astype(classes.dtype)
        widened = np.concatenate([classes, added])
        if widened.dtype.kind != classes.dtype.kind or widened[-1] != plain:
            raise DataError(
                f"{plain!r} does not fit among classes of the type {classes.dtype}. Choose another "
                "number."
            )
        return widened
    kind = object if classes.dtype.kind == "O" else None
    widened = np.append(classes, np.asarray([plain], dtype=kind))
    if widened[-1] != plain:
        raise DataError(f"{plain!r} cannot be kept as a label: numpy drops NULs at its end.")
    return widened


def check_weights(weight: Any, x: Array, y: NDArray[np.int64], classes: NDArray[Any]) -> Array:
    """Weights of examples ``[N]``, not negative, and of no class all zero.

    Args:
        weight: None for 1 each.
        x: the examples ``[N D]``.
        y: the place of each one's class in ``classes``.
        classes: the classes.

    Raises:
        ValueError: as scikit-learn's estimators.
        DataError: for a class whose examples all weigh nothing.
    """
    checked: Any = _check_sample_weight(weight, x, dtype=np.float64, ensure_non_negative=True)
    totals = np.bincount(y, checked, minlength=len(classes))
    if not (totals > 0).all():
        empty = classes[np.flatnonzero(~(totals > 0))].tolist()[0]
        raise DataError(
            f"The examples of the class {empty!r} all have the weight 0, so nothing can be learned "
            "of it. Leave them out, or give one of them a weight."
        )
    return checked
