"""Real tables of the literature, and scikit-learn's learners beside in-context learning on them."""

import csv
import functools
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from quickstudy.bench.measurement import Measurement, Setup, report_of
from quickstudy.core.arrays import NDArray
from quickstudy.data.brought import located
from quickstudy.estimators import InContextClassifier, InContextRegressor
from quickstudy.evaluation import Report

MOST_QUERIES, FEWEST_IN_CLASS = 300, 15
_MODELS = ("ours", "linear", "forest", "boosting", "neighbours")
_PER_CLASS, _IN_ALL, _DRAWS = 10, 50, 10
# As in the archive's index.csv.
_TABLES = {
    "classification": (
        "banknote",
        "breast-cancer-yugoslavia",
        "ecoli",
        "german-credit",
        "glass",
        "haberman",
        "ionosphere",
        "iris",
        "pima-diabetes",
        "soybean",
        "vote",
        "wine",
    ),
    "regression": (
        "auto-mpg",
        "auto-price",
        "bodyfat",
        "cholesterol",
        "cpu",
        "fishcatch",
        "housing",
        "lowbwt",
        "quake",
        "servo",
    ),
}


@dataclass(frozen=True)
class Table:
    """A real table: numbers, categories as codes, and the target."""

    name: str
    task: str
    validation: bool
    x: NDArray[Any]
    y: NDArray[Any]
    categories: tuple[int, ...]


def read_tables(archive: Path) -> list[Table]:
    """The tables of tables.zip, in alphabetical order within the kind of task."""
    with zipfile.ZipFile(archive) as z:
        index = list(csv.DictReader(io.TextIOWrapper(z.open("tables/index.csv"))))
        tables = []
        for task in ("classification", "regression"):
            names = sorted(row["name"] for row in index if row["task"] == task)
            for at, name in enumerate(names):
                text = io.TextIOWrapper(z.open(f"tables/{name}.csv"))
                tables.append(_table(name, task, at % 3 == 2, list(csv.DictReader(text))))
    return tables


def _table(name: str, task: str, validation: bool, rows: list[dict[str, str]]) -> Table:
    columns = {c: [row[c] for row in rows] for c in rows[0] if c != "target"}
    return as_table(name, task, validation, columns, [row["target"] for row in rows])


def as_table(
    name: str, task: str, validation: bool, columns: dict[str, list[str]], target: list[str]
) -> Table:
    """A table from texts: a column that is not all numbers is categories, an empty text a hole.
    Classes of fewer than 15 rows are left out.
    """
    read, categories = [], []
    for values in columns.values():
        try:
            read.append([float(v) if v else np.nan for v in values])
        except ValueError:
            codes = {v: float(i) for i, v in enumerate(sorted({v for v in values if v}))}
            categories.append(len(read))
            read.append([codes[v] if v else np.nan for v in values])
    x = np.array(read).T
    if task == "regression":
        return Table(name, task, validation, x, np.array(target, float), tuple(categories))
    _, y, counts = np.unique(target, return_inverse=True, return_counts=True)
    keep = counts[y] >= FEWEST_IN_CLASS
    y = np.unique(y[keep], return_inverse=True)[1]
    return Table(name, task, validation, x[keep], y, tuple(categories))


def split_rows(table: Table, size: int, draw: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows to learn from and rows to ask for."""
    rng = np.random.default_rng([draw, size])
    n = len(table.y)
    if table.task == "regression":
        order = rng.permutation(n)
        m = min(size, n // 2)
        return order[:m], order[m:][:MOST_QUERIES]
    known = np.concatenate(
        [
            rng.permutation(np.flatnonzero(table.y == c))[: min(size, (table.y == c).sum() // 2)]
            for c in range(table.y.max() + 1)
        ]
    )
    rest = rng.permutation(np.setdiff1d(np.arange(n), known))
    return rng.permutation(known), rest[:MOST_QUERIES]


def with_values(table: Table, known: NDArray[Any]) -> Table:
    """The table without the columns that hold nothing in the rows to learn from, which boosting
    does not take.
    """
    there = np.asarray(np.isfinite(table.x[known]).any(0))
    at = np.cumsum(there) - 1
    categories = tuple(int(at[f]) for f in table.categories if there[f])
    return replace(table, x=table.x[:, there], categories=categories)


def as_numbers(table: Table) -> Any:
    """One-hot categories, no holes, everything standardised."""
    categories = list(table.categories)
    others = [f for f in range(table.x.shape[1]) if f not in categories]
    encode = make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(
        make_column_transformer((encode, categories), (fill, others)), StandardScaler()
    )


def classifiers(table: Table) -> dict[str, Callable[[], Any]]:
    """By name, what makes each learner of classes for a table."""

    def on_numbers(model: Any) -> Any:
        return make_pipeline(as_numbers(table), model)

    return {
        "ours": InContextClassifier,
        "linear": lambda: on_numbers(LogisticRegression(max_iter=1000)),
        "forest": lambda: RandomForestClassifier(200, random_state=0),
        "boosting": lambda: HistGradientBoostingClassifier(min_samples_leaf=5, random_state=0),
        "neighbours": lambda: on_numbers(KNeighborsClassifier(5)),
        "process": lambda: on_numbers(
            GaussianProcessClassifier(1.0 * RBF(np.sqrt(table.x.shape[1])))
        ),
    }


def regressors(table: Table) -> dict[str, Callable[[], Any]]:
    """By name, what makes each learner of numbers for a table."""

    def on_numbers(model: Any) -> Any:
        return make_pipeline(as_numbers(table), model)

    kernel = ConstantKernel(1.0) * RBF(np.sqrt(table.x.shape[1])) + WhiteKernel(0.1)
    return {
        "ours": InContextRegressor,
        "linear": lambda: on_numbers(BayesianRidge()),
        "forest": lambda: RandomForestRegressor(200, random_state=0),
        "boosting": lambda: HistGradientBoostingRegressor(min_samples_leaf=5, random_state=0),
        "neighbours": lambda: on_numbers(KNeighborsRegressor(5)),
        "process": lambda: on_numbers(GaussianProcessRegressor(kernel, normalize_y=True)),
    }


def on_tables() -> Iterator[tuple[str, Measurement]]:
    """For each learner its scores on all tables: accuracy with ten rows of each class, or R² with
    50 rows.
    """
    settings = tuple(f"{name}-{task}" for task, names in _TABLES.items() for name in names)
    for name in _MODELS:
        fixes = {"model": name, "per_class": _PER_CLASS, "in_all": _IN_ALL, "draws": _DRAWS}
        yield name, Measurement(settings, fixes, functools.partial(_scored, name))


def _archive() -> Path:
    forms = "tables.zip, with tables/index.csv and tables/NAME.csv"
    return located("", ("tables.zip",), what="the real tables", forms=forms)


@functools.cache
def _tables(path: Path) -> tuple[Table, ...]:
    return tuple(read_tables(path))


def _scored(name: str, title: str, setup: Setup) -> Report:
    (table,) = (t for t in _tables(_archive()) if f"{t.name}-{t.task}" == title)
    classes = table.task == "classification"
    make = (classifiers if classes else regressors)(table)[name]
    size = _PER_CLASS if classes else _IN_ALL
    scores = []
    began = time.process_time()
    for draw in range(_DRAWS):
        known, asked = split_rows(table, size, draw)
        model = make().fit(table.x[known], table.y[known])
        scores.append(float(model.score(table.x[asked], table.y[asked])))
    return report_of(
        scores,
        algorithm=name,
        data=table.name,
        metric="accuracy" if classes else "r2",
        n_way=int(table.y.max()) + 1 if classes else 0,
        n_shot=size,
        n_query=MOST_QUERIES,
        train_seconds=round(time.process_time() - began, 2),
    )
