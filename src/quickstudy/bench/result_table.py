"""The rows of results as a table of Markdown."""

from collections.abc import Iterator, Mapping

from quickstudy.bench.record import Record
from quickstudy.core.words import percent_about, rounded
from quickstudy.evaluation import Report
from quickstudy.recipes.published_numbers import published_numbers

TITLES = (
    "row",
    "task",
    "queries per class",
    "paper",
    "peer",
    "ours (95 % interval)",
    "validation",
    "seconds",
    "parameters",
    "transductive",
    "norm",
    "trained on",
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
    for i, (title, report) in enumerate(record.test.items()):
        yield [
            f"`{record.row}`",
            _task(record, report),
            f"{report.n_query}" if report.n_query else "",
            report.published_value,
            _peer(record, title),
            _score(report),
            _score(record.validation) if record.validation is not None and i == 0 else "",
            f"{seconds or report.train_seconds or 0:,.0f}, {report.device}",
            f"{report.parameters:,}" if report.parameters else "",
            "yes" if report.transductive else "no",
            report.norm,
            f"{tasks or report.train_tasks:,} tasks" if tasks or report.train_tasks else "",
            _looks(record),
        ]


def _task(record: Record, report: Report) -> str:
    """The task in words, with the data where a row has several."""
    way = f"{report.n_way}-way " if report.n_way else ""
    unlabelled = f", {report.n_unlabelled} unlabelled" if report.n_unlabelled else ""
    several = len({r.data for r in record.test.values()}) > 1
    return (f"{report.data}, " if several else "") + f"{way}{report.n_shot}-shot{unlabelled}"


def _peer(record: Record, title: str) -> str:
    """What another library says that it reaches, in per cent."""
    last = record.chain[-1].recipe if record.chain else ""
    number = published_numbers().get((last, title))
    return "" if number is None or number.peer is None else rounded(100 * number.peer, 1)


def _score(report: Report) -> str:
    if report.metric == "accuracy":
        return percent_about(report.mean, report.ci95).removesuffix(" %")
    if report.metric == "mse":
        return f"MSE {-report.mean:.3f} ± {report.ci95:.3f}"
    return f"{report.mean:.3f} ± {report.ci95:.3f}"


def _looks(record: Record) -> str:
    reasons = [look.reason for look in record.looks if look.reason]
    return f"{len(record.looks)}" + (f" ({'; '.join(reasons)})" if reasons else "")
