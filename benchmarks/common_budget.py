"""Every learner of the registry on one budget of 4,000 training tasks of Omniglot.

quickstudy bench run --suite omniglot-short       measures what is not in benchmarks/rows yet

This file only renders the table of docs/experiments/results.md.
"""

from pathlib import Path

from rendering import Column, Table, with_interval

from quickstudy.algorithms import family
from quickstudy.bench.record import Record
from quickstudy.evaluation import Report
from quickstudy.recipes.common_budget import SHORT_BUDGET, common_learners

FOLDER = Path(__file__).parent / "rows" / "omniglot-short"


def rows() -> list[str]:
    """The table, the best inductive answers to 5-way tasks first."""
    files = {name: FOLDER / f"{name}.json" for name in common_learners()}
    records = [Record.load(file) for file in files.values() if file.exists()]
    records.sort(key=lambda record: -max(r.mean for r in record.test.values() if r.n_way == 5))
    lacking = [f"`{name}`" for name, file in files.items() if not file.exists()]
    commits = sorted({f"{record.commit}" for record in records})
    note = (
        f"Omniglot, 5-way 1-shot, {SHORT_BUDGET.tasks:,} training tasks, 1,000 tasks scored with "
        f"15 queries per class (14 where 5 drawings are unlabelled); commit {', '.join(commits)}."
    )
    rest = (f"Not measured: {', '.join(lacking)}.",) if lacking else ()
    columns = (
        Column("learner", lambda record: f"`{record.row}`"),
        Column("family", lambda record: family(record.row).replace("_", " ")),
        Column("one query at a time", lambda record: _score(record, 5, transductive=False)),
        Column("all queries together", lambda record: _score(record, 5, transductive=True)),
        Column("20-way", lambda record: _score(record, 20)),
        Column("validation", lambda record: _cell(record.validation)),
        Column("parameters", _parameters),
    )
    return Table(columns, records, (note, *rest)).lines()


def _score(record: Record, n_way: int, *, transductive: bool | None = None) -> str | None:
    return _cell(
        next(
            (
                r
                for r in record.test.values()
                if r.n_way == n_way and transductive in (None, r.transductive)
            ),
            None,
        )
    )


def _cell(report: Report | None) -> str | None:
    return None if report is None else with_interval((report.mean, report.ci95), 2)


def _parameters(record: Record) -> str:
    return f"{next(iter(record.test.values())).parameters or 0:,}"
