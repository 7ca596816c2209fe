"""The commands under ``bench``: speed, growth and learners, and the rows of results."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from quickstudy.algorithms import ALGORITHMS
from quickstudy.bench import (
    AXES,
    OURS,
    PEERS,
    WORKLOADS,
    GrowthReport,
    LearnersReport,
    SpeedReport,
    axis_named,
    compare_speed,
    device_named,
    growth_page,
    measure_growth,
    measure_learners,
    missing_entries,
    peer_named,
    ratio_bars,
    workload_named,
)
from quickstudy.bench.growth import exponent
from quickstudy.bench.harness import Outcome, Places, run_suite
from quickstudy.bench.record import records_in
from quickstudy.bench.regress import changes
from quickstudy.bench.result_table import markdown
from quickstudy.cli.choices import AxisName, Device, PeerName, SuiteName, WorkloadName
from quickstudy.cli.options import DeviceOption
from quickstudy.cli.screen import progress, results, table
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.words import percent

bench = typer.Typer(
    help="Time quickstudy beside the other libraries, and measure the rows of results.",
    no_args_is_help=True,
)

_ROUNDS = typer.Option(min=1, help="Counted rounds behind each median.")
_DEVICE = typer.Option(help="Where the workloads run; auto takes cuda where there is one.")
_JSON = typer.Option("--json", help="Write everything here.")
_PLOT = typer.Option(help="Draw a figure here.")


@bench.command()
def speed(
    against: Annotated[
        list[PeerName] | None,
        typer.Option(
            help="A library to compare with, any number of times; default those that are "
            "installed.",
        ),
    ] = None,
    workload: Annotated[
        list[WorkloadName] | None,
        typer.Option(help="What to time, any number of times; default all."),
    ] = None,
    rounds: Annotated[int, _ROUNDS] = 9,
    n_tasks: Annotated[
        int, typer.Option(min=0, help="Tasks per step instead of each workload's own; 0 = its own.")
    ] = 0,
    memory: Annotated[
        bool, typer.Option(help="Also the peak memory at 20 inner steps (W1 and W5).")
    ] = True,
    shares: Annotated[
        bool,
        typer.Option(
            help="Also the share of a step that drawing its tasks takes (W1 and W6-60way)."
        ),
    ] = True,
    device: Annotated[Device, _DEVICE] = "auto",
    json_file: Annotated[Path | None, _JSON] = None,
    plot: Annotated[Path | None, _PLOT] = None,
) -> None:
    """Compare tasks per second, gradients and memory with the peers."""
    peers = [peer_named(name) for name in against or ()] or list(PEERS.values())
    chosen = [workload_named(name) for name in workload or ()] or list(WORKLOADS.values())
    where = device_named(device)
    for reason in missing_entries(chosen, peers, where).values():
        results().print(f"Not measured: {reason}")
    with progress().status("measuring the machine") as status:
        report = compare_speed(
            [w.changed(n_tasks=n_tasks or w.n_tasks) for w in chosen],
            peers,
            device=where,
            rounds=rounds,
            with_memory=memory,
            with_shares=shares,
            on_progress=status.update,
            on_report=lambda so_far: so_far.save(json_file) if json_file is not None else None,
        )
    _print_speed(results(), report)
    if plot is not None:
        results().print(f"Figure: {ratio_bars(report, plot)}")


@bench.command()
def growth(
    axis: Annotated[
        list[AxisName] | None,
        typer.Option(
            help="What grows, any number of times; default all.",
        ),
    ] = None,
    against: Annotated[
        list[PeerName] | None,
        typer.Option(
            help="A library to draw beside it, any number of times; default plain.",
        ),
    ] = None,
    workload: Annotated[
        WorkloadName, typer.Option(help="Where the axes start from.")
    ] = WorkloadName.W1,
    largest: Annotated[int, typer.Option(min=0, help="Leave out larger sizes; 0 = none.")] = 0,
    rounds: Annotated[int, _ROUNDS] = 5,
    memory: Annotated[bool, typer.Option(help="Also the peak memory.")] = True,
    device: Annotated[Device, _DEVICE] = "auto",
    json_file: Annotated[Path | None, _JSON] = None,
    plot: Annotated[Path | None, _PLOT] = None,
) -> None:
    """Measure how time and memory of a step grow with tasks, ways, shots and inner steps, and what
    a second process adds.
    """
    base, where = workload_named(workload), device_named(device)
    entries = [
        next(iter(OURS.values())),
        *(peer_named(name) for name in against or ["plain"]),
    ]
    if unable := [e.name for e in entries if not e.serves(base, where)]:
        raise ConfigError(
            f"{', '.join(unable)} cannot do {base.name} on {where}. Choose another --against or "
            "--workload."
        )
    axes = [axis_named(name) for name in axis or ()] or [
        a
        for a in AXES.values()
        if a.applies(base) and (where.type == "cpu" or a.name != "processes")
    ]
    with progress().status("") as status:
        report = measure_growth(
            base,
            entries,
            [a.up_to(largest) if largest else a for a in axes],
            device=where,
            rounds=rounds,
            with_memory=memory,
            on_progress=status.update,
        )
    _print_growth(results(), report)
    if json_file is not None:
        report.save(json_file)
    if plot is not None:
        results().print(f"Figure: {growth_page(report, plot)}")


_ROWS = Path("benchmarks") / "rows"


@bench.command()
def run(
    suite: Annotated[SuiteName, typer.Option(help="Which table.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Only this row, any number of times.")
    ] = None,
    budget: Annotated[
        float,
        typer.Option(min=0, metavar="MINUTES", help="Stop after so long; 0 = when all is done."),
    ] = 0.0,
    rows: Annotated[Path, typer.Option(help="Folder of the rows, one JSON file each.")] = _ROWS,
    runs: Annotated[Path, typer.Option(help="Folder of the trainings.")] = Path("runs"),
    again: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Score a recipe on the test classes that has changed since it was scored there. "
            "The row keeps the reason.",
        ),
    ] = "",
    device: DeviceOption = "auto",
) -> None:
    """Train and score the rows of a table that are missing. Several of these commands may run side
    by side; what was stopped goes on where it was.
    """

    def show(outcome: Outcome) -> None:
        results().print(f"{outcome.row}: {outcome.state}. {outcome.detail}".rstrip(". ") + ".")

    outcomes = run_suite(
        suite,
        Places(rows, runs),
        only=tuple(only or ()),
        minutes=budget or math.inf,
        again=again,
        device=device,
        console=progress(),
        on_row=show,
    )
    if any(outcome.state in ("refused", "failed") for outcome in outcomes):
        raise typer.Exit(1)
    if any(outcome.state == "stopped" for outcome in outcomes):
        results().print("Nothing is lost. Go on with the same command.")


@bench.command("table")
def result_table(
    rows: Annotated[Path, typer.Argument(help="A folder of rows, or one row.")] = _ROWS,
) -> None:
    """Print the rows that were measured as a table of Markdown."""
    for line in markdown(records_in(rows)):
        results().print(line)


@bench.command()
def regress(
    old: Annotated[Path, typer.Argument(help="A folder of rows, or one row.")],
    new: Annotated[Path, typer.Argument(help="Another.")],
) -> None:
    """Say which rows became worse beyond their intervals; exit with 1 where any did."""
    before, after = records_in(old), records_in(new)
    changed = changes(before, after)
    shown = table("row", "setting", "old", "new", "new − old", "tasks", "")
    for c in changed:
        shown.add_row(
            c.row,
            c.setting,
            f"{c.old:.4f}",
            f"{c.new:.4f}",
            f"{c.difference:+.4f} ± {c.ci95:.4f}",
            "the same" if c.paired else "others",
            "worse" if c.worse else "",
        )
    results().print(shown)
    for row in before:
        if row not in after:
            results().print(f"{row} is only among the old rows.")
    n_worse = sum(c.worse for c in changed)
    results().print(f"{n_worse} of {len(changed)} scores became worse beyond their interval.")
    if n_worse:
        raise typer.Exit(1)


@bench.command()
def learners(
    learner: Annotated[
        list[str] | None,
        typer.Option(help="An algorithm, any number of times; default all."),
    ] = None,
    n_tasks: Annotated[int, typer.Option(min=1, help="Tasks of a step.")] = 2,
    width: Annotated[int, typer.Option(min=1, help="Filters of the encoder.")] = 64,
    rounds: Annotated[int, _ROUNDS] = 3,
    json_file: Annotated[Path | None, _JSON] = None,
) -> None:
    """Measure the processor time of a training step of every learner beside its own arithmetic."""
    for name in learner or ():
        if name not in ALGORITHMS:
            near = did_you_mean(name, ALGORITHMS, listed_by="`quickstudy list algorithms`")
            raise ConfigError(f"No algorithm is called '{name}'. {near}")
    with progress().status("") as status:
        report = measure_learners(
            learner or list(ALGORITHMS),
            n_tasks=n_tasks,
            width=width,
            rounds=rounds,
            on_progress=status.update,
            on_report=lambda so_far: so_far.save(json_file) if json_file is not None else None,
        )
    _print_learners(results(), report)


def _print_learners(out: Console, report: LearnersReport) -> None:
    shown = table("learner", "ms per step", "GFLOP", "calls", "× its arithmetic", "× plain loop")
    for name, cost in report.costs.items():
        arithmetic, plain = cost.of_arithmetic, cost.of_plain
        shown.add_row(
            name,
            f"{1000 * cost.seconds:.4g}",
            f"{cost.flops / 1e9:.3g}",
            str(cost.calls),
            "" if arithmetic is None else f"{arithmetic:.1f}",
            "" if plain is None else f"{plain:.2f}",
        )
    out.print(shown)
    for name, reason in report.skipped.items():
        out.print(f"{name} is left out: {reason}")
    out.print(
        f"Processor time of one thread of {report.about['processor']}, which does "
        f"{report.rate / 1e9:.0f} GFLOP/s; medians of {report.rounds} steps of {report.n_tasks} "
        f"tasks, {report.width} filters"
    )


def _print_speed(out: Console, report: SpeedReport) -> None:
    shown = table(
        "workload",
        "entry",
        "tasks/s",
        "ms per step",
        "× best peer",
        "best peer",
        "of the ceiling",
        "error",
        "error in float64",
        "peak MB",
    )
    for m in report.workloads.values():
        for name, t in m.timings.items():
            peak = report.memory.get(m.workload.name, {}).get(name)
            shown.add_row(
                m.workload.name,
                name,
                f"{m.rate(name):.4g}",
                f"{1000 * t.seconds:.4g}",
                "" if (ratio := m.ratio(name)) is None else f"{ratio:.2f}",
                m.best_peer(name),
                percent(m.of_ceiling(name, report.machine_rate), 0),
                f"{t.error.median:.0e}",
                "" if t.error64 is None else f"{t.error64.median:.0e}",
                "" if peak is None else f"{peak / 1e6:.0f}",
            )
    out.print(shown)
    for m in report.workloads.values():
        for name, reason in m.skipped.items():
            out.print(f"{m.workload.name}: {name} is installed but broken, left out: {reason}")
    for name, s in report.shares.items():
        out.print(
            f"{name}: {percent(s.waiting, 1)} of a step is not learning (drawing "
            f"{1000 * s.drawing:.1f} ms, augmentation "
            f"{1000 * s.augmentation:.1f} ms, transfer {1000 * s.transfer:.1f} ms; learning "
            f"{1000 * s.learning:.1f} ms)"
        )
    out.print(
        f"{report.rounds} rounds, {report.about['threads']} threads, {report.about['cores']} cores "
        f"of {report.about['processor']}, "
        f"{report.about['device']}; the ceiling is counted arithmetic at "
        f"{report.machine_rate / 1e9:.0f} GFLOP/s, all cores together"
    )


def _print_growth(out: Console, report: GrowthReport) -> None:
    shown = table("axis", "entry", "size: ms", "exponent", "size: MB", "exponent of memory")
    for axis, curves in report.curves.items():
        for name, points in curves.items():
            time, space = exponent(points, "seconds"), exponent(points, "peak_bytes")
            shown.add_row(
                axis,
                name,
                "  ".join(f"{p.value}: {1000 * p.seconds:.4g}" for p in points),
                "" if time is None else f"{time:.2f}",
                "  ".join(f"{p.value}: {p.peak_bytes / 1e6:.0f}" for p in points if p.peak_bytes),
                "" if space is None else f"{space:.2f}",
            )
    out.print(shown)
    if report.processes is not None:
        out.print(
            f"2 processes of 1 worker do {report.processes.ratio:.2f} times the tasks per second "
            "of 1 process of 2 workers"
        )
