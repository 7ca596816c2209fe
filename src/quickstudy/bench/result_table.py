"""The rows of results as a table of Markdown."""

from collections.abc import Iterator, Mapping

from quickstudy.bench.record import Record
from quickstudy.evaluation import Report

TITLES = (
    "row",
    "task",
    "queries per class",
    "test (95 % interval)",
    "validation",
    "paper",
    "transductive",
    "norm",
    "parameters",
    "trained on",
    "in",
    "looks",
)


def markdown(records: Mapping[str, Record]) -> list[str]:
    """One line for each setting of each row, rows with higher scores first within their suite."""
    lines = [f"| {' | '.join(TITLES)} |", f"|{'---|' * len(TITLES)}"]
    order = sorted(records.values(), key=lambda r: (r.suite, -_best(r)))
    lines += [f"| {' | '.join(cells)} |" for record in order for cells in _rows(record)]
    return lines


def _best(record: Record) -> float:
    return max((report.mean for report in record.test.values()), default=0.0)


def _rows(record: Record) -> Iterator[list[str]]:
    tasks = sum(run.tasks or 0 for run in record.chain)
    seconds = sum(run.seconds or 0.0 for run in record.chain)
    for i, report in enumerate(record.test.values()):
        unlabelled = f", {report.n_unlabelled} unlabelled" if report.n_unlabelled else ""
        way = f"{report.n_way}-way " if report.n_way else ""
        yield [
            f"`{record.row}`",
            f"{way}{report.n_shot}-shot{unlabelled}",
            f"{report.n_query}",
            _score(report),
            _score(record.validation) if record.validation is not None and i == 0 else "",
            report.published_value,
            "yes" if report.transductive else "no",
            report.norm,
            f"{report.parameters:,}",
            f"{tasks:,} tasks",
            f"{seconds / 60:.0f} min, {report.device}",
            _looks(record),
        ]


def _score(report: Report) -> str:
    if report.metric == "accuracy":
        return f"{100 * report.mean:.2f} ± {100 * report.ci95:.2f}"
    if report.metric == "mse":
        return f"MSE {-report.mean:.3f} ± {report.ci95:.3f}"
    return f"{report.mean:.3f} ± {report.ci95:.3f}"


def _looks(record: Record) -> str:
    reasons = [look.reason for look in record.looks if look.reason]
    return f"{len(record.looks)}" + (f" ({'; '.join(reasons)})" if reasons else "")
