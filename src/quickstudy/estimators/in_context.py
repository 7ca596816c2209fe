"""scikit-learn estimators that learn a table by reading it: no training, no tuning."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from quickstudy.algorithms.in_context import Binned, TabularInContext
from quickstudy.algorithms.in_context.labels import row_heights
from quickstudy.core.arrays import NDArray
from quickstudy.core.batching import is_small, threads_per_operation
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator
from quickstudy.core.types import Classes, Examples, Reals, Target
from quickstudy.estimators.codes import class_codes
from quickstudy.estimators.trend import linear_trend
from quickstudy.estimators.validation import (
    check_classes,
    check_labels,
    check_numbers,
    check_vectors,
    columns_named,
)
from quickstudy.pretrained.tabular import open_tabular

Array = NDArray[np.float64]

_CHUNK, _FOLDS = 512, 5
# rows of a class: read once, fewer are answered worse (*measured*: ``benchmarks/left_out.json``)
_FEW = 3

# In parts of the largest number: what rounding leaves of numbers that a line says exactly, and how
# wide the answers' distributions are then, as those of scikit-learn's BayesianRidge.
_ROUNDING, _NARROW = 1e-12, 1.5e-8


def _threads(x: Tensor) -> AbstractContextManager[None]:
    """As many threads for each operation as tables of this size are worth."""
    return threads_per_operation(1 if is_small(x.numel()) else 0)


class _InContext(BaseEstimator):
    """What both estimators share: members of an ensemble that read the same rows in different
    ways.
    """

    learner: TabularInContext | None
    n_members: int
    max_columns: int
    max_rows: int
    random_state: int
    n_features_in_: int
    _views: list[tuple[Tensor, Tensor]]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _check_parameters(self) -> TabularInContext:
        for name in ("n_members", "max_columns", "max_rows"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        return self.learner if self.learner is not None else open_tabular()

    def _read(
        self, x: Array, labels: Sequence[Tensor], target: Target, codings: Tensor | None
    ) -> None:
        """Let every member read its columns and rows, with its labels ``[N]`` or ``[N 1]``."""
        learner, n_members = self._check_parameters(), len(labels)
        table = torch.tensor(x, dtype=learner.borders.dtype)
        views = []
        supports, answers = [], []
        for member in range(n_members):
            g = generator("in context", "member", self.random_state, member)
            columns = torch.arange(x.shape[1])
            if x.shape[1] > self.max_columns:
                columns = torch.randperm(x.shape[1], generator=g)[: self.max_columns]
            signs = torch.ones(len(columns), dtype=table.dtype)
            if member:
                signs = (torch.randint(2, signs.shape, generator=g) * 2 - 1).to(table.dtype)
            rows = _some_rows(labels[member], self.max_rows, g)
            views.append((columns, signs))
            supports.append(table[rows][:, columns] * signs)
            answers.append(labels[member][rows])
        support = Examples(torch.stack(supports), torch.stack(answers))
        self._views = views
        with torch.inference_mode(), _threads(support.x):
            self._state = learner.read(support, target, codings)

    def _chunks(self, x: Array) -> Iterator[Tensor]:
        """The queries as each member sees them, ``[E Q F]``, some at a time."""
        table = torch.tensor(x, dtype=self._check_parameters().borders.dtype)
        for at in range(0, len(table), _CHUNK):
            rows = table[at : at + _CHUNK]
            yield torch.stack([rows[:, columns] * signs for columns, signs in self._views])


class InContextClassifier(ClassifierMixin, _InContext):
    """A classifier of tables that was meta-trained on synthetic ones: `fit` reads the rows, and
    `predict_proba` answers, by one pass through a network whose weights stay as they are.

    Made for tables of few rows (some ten to some hundred) and up to some dozen columns of numbers,
    categories as codes, or missing values (NaN), in any unit.

    Several members read the table with different codes of the classes and columns turned round, and
    their probabilities are multiplied. With more classes than the network knows, each member sees
    groups of classes (an error-correcting code); with more columns than ``max_columns``, each sees
    some of them; with more rows than ``max_rows`` likewise.

    The network reads what a column says of a row from the other rows, so that of a class of one row
    it would only learn what is not of that class. Rows of classes of one or two are therefore read
    twice.

    The scores are divided by a temperature, which is chosen on the rows themselves: each is scored
    by a network that has read the others, a fifth of the rows left out at a time.

    Args:
        n_members: how many read the table. Time grows with it.
        temperature: None = chosen; 1 = the probabilities as the network gives them.
        max_columns: how many columns a member reads.
        max_rows: how many rows a member reads.
        learner: which network; None = the one that comes with quickstudy.
        random_state: of the members; the same gives the same answers.

    Attributes:
        classes_: the classes, sorted.
        temperature_: what the scores are divided by.
        n_features_in_: how many columns there were.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> model = InContextClassifier().fit(x[::10], y[::10])
        >>> bool(model.score(x, y) > 0.85)
        True

    Raises:
        ConfigError: for numbers below 1.
    """

    classes_: NDArray[Any]
    temperature_: float

    def __init__(
        self,
        n_members: int = 4,
        *,
        temperature: float | None = None,
        max_columns: int = 40,
        max_rows: int = 2000,
        learner: TabularInContext | None = None,
        random_state: int = 0,
    ) -> None:
        self.n_members, self.max_columns, self.max_rows = n_members, max_columns, max_rows
        self.learner, self.random_state = learner, random_state
        self.temperature = temperature

    def fit(self, X: Any, y: Any) -> Self:
        """Read rows ``[N F]`` and a label each.

        Raises:
            ValueError: for what scikit-learn's classifiers refuse.
            DataError: for columns of texts or dates, missing labels, labels of several kinds, or
                features above 1e150.
            ConfigError: for numbers below 1, and a temperature that is not above 0.
        """
        learner = self._check_parameters()
        if self.temperature is not None and self.temperature <= 0:
            raise ConfigError(f"temperature must be above 0, got {self.temperature}.")
        x = check_vectors(self, X, reset=True, allow_nan=True)
        labels = check_labels(y, len(x))
        check_classes(labels)
        self.classes_, at = np.unique(labels, return_inverse=True)
        n = len(self.classes_)
        self.temperature_ = 1.0 if self.temperature is None else self.temperature
        if n == 1:
            return self
        known = learner.max_classes
        if n <= known:
            self._codes = np.tile(np.arange(n), (self.n_members, 1))
        else:
            self._codes = class_codes(n, known, self.n_members, seed=self.random_state)
        wide = min(n, known)
        rows = _with_few_twice(at)
        members = [torch.from_numpy(code[at[rows]]) for code in self._codes]
        self._read(x[rows], members, Classes(wide), self._codings(len(members), known))
        if self.temperature is None:
            self.temperature_ = self._best_temperature(x, at)
        return self

    def predict_proba(self, X: Any) -> Array:
        """How likely each class is, ``[n C]``; rows sum to 1."""
        check_is_fitted(self)
        x = check_vectors(self, X, allow_nan=True)
        if len(self.classes_) == 1:
            return np.ones((len(x), 1))
        scores = self._scores(x) / self.temperature_
        return softmax(scores, axis=1)

    def _scores(self, x: Array) -> Array:
        """The members' mean log probabilities, ``[n C]``."""
        learner = self._check_parameters()
        codes = torch.from_numpy(self._codes)
        parts = []
        with torch.inference_mode():
            for rows in self._chunks(x):
                with _threads(rows):
                    log = learner.raw(self._state, rows)[:, 0].log_softmax(-1).double()  # [E Q C]
                log = log.gather(2, codes[:, None].expand(-1, log.shape[1], -1))
                parts.append(log.mean(0))
        return torch.cat(parts).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each row."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _best_temperature(self, x: Array, at: NDArray[np.int64]) -> float:
        """What gives left-out rows the highest likelihood, drawn to 1 where there are few. Which
        rows are left out together depends on what is in them, not on their order.
        """
        counts = np.bincount(at)
        height = row_heights(torch.tensor(x)[None])[0].numpy().round(9)
        order = np.lexsort((height, at))
        nth = np.arange(len(at)) - (np.cumsum(counts) - counts)[at[order]]
        fold = np.empty(len(at), dtype=np.int64)
        fold[order] = nth % _FOLDS
        fold[counts[at] == 1] = _FOLDS  # the only row of a class is always read
        few = len(self.classes_) <= self._check_parameters().max_classes
        part: Any = clone(self)
        part.set_params(temperature=1.0, n_members=1 if few else self.n_members)
        scores, labels = [], []
        for f in range(_FOLDS):
            left = fold == f
            if left.any():
                scores.append(part.fit(x[~left], at[~left])._scores(x[left]))
                labels.append(at[left])
        if not scores:
            return 1.0
        z, y = np.concatenate(scores), np.concatenate(labels)
        temperatures = np.geomspace(0.1, 4, 75)
        loss = [
            -log_softmax(z / t, axis=1)[np.arange(len(y)), y].sum() + 2 * np.log(t) ** 2
            for t in temperatures
        ]
        return float(temperatures[int(np.argmin(loss))])

    def _codings(self, n_members: int, n_codes: int) -> Tensor:
        first = torch.arange(n_codes)
        more = [
            torch.randperm(
                n_codes, generator=generator("in context", "coding", self.random_state, e)
            )
            for e in range(1, n_members)
        ]
        return torch.stack([first, *more])


class InContextRegressor(RegressorMixin, _InContext):
    """A regression of tables that was meta-trained on synthetic ones, with a distribution for each
    answer: `fit` reads the rows, `predict` gives means, and standard deviations if asked.

    The network reads what a linear trend leaves: each row's deviation from the ridge regression of
    the other rows, whose penalty has the smallest such deviations (no trend being one of the
    choices). See `InContextClassifier` for what tables it is made for. Members of the ensemble turn
    columns and target round; their distributions are averaged.

    Args:
        n_members, max_columns, max_rows, learner, random_state: as for `InContextClassifier`.

    Attributes:
        n_features_in_: how many columns there were.
        trend_: the linear trend (`quickstudy.estimators.trend.LinearTrend`).

    Example:
        >>> x = np.linspace(0, 1, 30)[:, None]
        >>> model = InContextRegressor().fit(x, 3 * x[:, 0] + 1)
        >>> mean, std = model.predict(x, return_std=True)
        >>> bool(np.abs(mean - 3 * x[:, 0] - 1).mean() < 0.1)
        True

    Raises:
        ConfigError: for numbers below 1.
    """

    def __init__(
        self,
        n_members: int = 4,
        *,
        max_columns: int = 40,
        max_rows: int = 2000,
        learner: TabularInContext | None = None,
        random_state: int = 0,
    ) -> None:
        self.n_members, self.max_columns, self.max_rows = n_members, max_columns, max_rows
        self.learner, self.random_state = learner, random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Read rows ``[N F]`` and a number each.

        Raises:
            ValueError: for what scikit-learn's regressors refuse.
            DataError: for columns or a ``y`` of texts or dates, and features above 1e150.
            ConfigError: for numbers below 1.
        """
        learner = self._check_parameters()
        check_numbers(y)
        with columns_named(X):
            _, numbers = _validate(self, X, y, y_numeric=True)
        x = check_vectors(self, X, reset=True, allow_nan=True)
        self.trend_, y64 = linear_trend(x, np.asarray(numbers, dtype=np.float64))
        self._mean, self._scale = float(y64.mean()), float(y64.std())
        size = float(np.abs(numbers).max())
        if self._scale <= _ROUNDING * size:
            self._scale = _NARROW * (size or 1.0)
        dtype = learner.borders.dtype
        standard = torch.tensor((y64 - self._mean) / self._scale, dtype=dtype)[:, None]
        self._turned = torch.tensor([(-1.0) ** e for e in range(self.n_members)], dtype=dtype)
        self._read(x, [sign * standard for sign in self._turned], Reals(1), None)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The expected number of each row, ``[n]``; and the standard deviation of its distribution,
        where it is asked for.
        """
        check_is_fitted(self)
        x = check_vectors(self, X, allow_nan=True)
        means, stds = [], []
        for binned in self._members(x):
            mean = binned.mean * self._turned[:, None]
            second = binned.stddev**2 + mean**2
            means.append(mean.mean(0))
            stds.append((second.mean(0) - mean.mean(0) ** 2).clamp(min=0).sqrt())
        mean = self._moved(x) + self._scale * torch.cat(means).double().numpy()
        return (mean, self._scale * torch.cat(stds).double().numpy()) if return_std else mean

    def predict_quantiles(self, X: Any, quantiles: Sequence[float]) -> Array:
        """Numbers below which each share lies, ``[n len(quantiles)]``: the members' mean.

        Raises:
            ConfigError: for shares that do not lie between 0 and 1.
        """
        check_is_fitted(self)
        if not all(0 < q < 1 for q in quantiles):
            raise ConfigError(f"Quantiles lie between 0 and 1, got {list(quantiles)}.")
        x = check_vectors(self, X, allow_nan=True)
        parts = []
        for binned in self._members(x):
            columns = []
            for q in quantiles:
                of_each = torch.stack((binned.quantile(q), -binned.quantile(1 - q)))
                turned = (self._turned < 0).long()[None, :, None].expand(1, *of_each.shape[1:])
                columns.append(of_each.gather(0, turned)[0].mean(0))
            parts.append(torch.stack(columns, 1))
        return self._moved(x)[:, None] + self._scale * torch.cat(parts).double().numpy()

    def log_likelihood(self, X: Any, y: Any) -> Array:
        """The log density of each row's number, ``[n]``, under the average of the members'
        distributions.
        """
        check_is_fitted(self)
        x = check_vectors(self, X, allow_nan=True)
        standard = (np.asarray(y, dtype=np.float64).ravel() - self._moved(x)) / self._scale
        known = torch.tensor(standard, dtype=self._check_parameters().borders.dtype)
        parts, at = [], 0
        for binned in self._members(x):
            n = binned.log_share.shape[1]
            log = binned.log_prob(known[at : at + n] * self._turned[:, None])
            parts.append(log.logsumexp(0) - np.log(len(log)))
            at += n
        return torch.cat(parts).double().numpy() - np.log(self._scale)

    def _moved(self, x: Array) -> Array:
        """Where 0 of the members' distributions lies at each row."""
        return self.trend_.predict(x) + self._mean

    def _members(self, x: Array) -> Iterator[Binned]:
        """The distributions of some rows after the other, ``[E Q]``, turned as the member was."""
        learner = self._check_parameters()
        with torch.inference_mode():
            for rows in self._chunks(x):
                with _threads(rows):
                    b = learner.distribution(self._state, rows)
                yield Binned(
                    b.log_share[:, :, 0],
                    b.borders,
                    b.mean_of_target[..., 0],
                    b.scale_of_target[..., 0],
                )


def _validate(estimator: Any, *given: Any, **options: Any) -> Any:
    check: Any = validate_data  # its stubs know no arrays
    return check(estimator, *given, dtype=np.float64, ensure_all_finite="allow-nan", **options)


def _with_few_twice(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every row, and those of classes of fewer than three once more."""
    rows = np.arange(len(labels))
    return np.concatenate((rows, rows[np.bincount(labels)[labels] < _FEW]))


def _some_rows(labels: Tensor, n: int, g: torch.Generator) -> Tensor:
    """All rows, or a random ``n`` of them with one of every class first."""
    if len(labels) <= n:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=g)
    if labels.ndim == 1:
        shuffled = labels[order].numpy()
        first = torch.zeros(len(labels), dtype=torch.bool)
        first[torch.from_numpy(np.unique(shuffled, return_index=True)[1])] = True
        order = torch.cat((order[first], order[~first]))
    return order[:n].sort().values
