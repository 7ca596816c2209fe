"""Measurements as pictures: how many times faster, and how cost grows."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.bench.growth import GrowthReport, Point, exponent
from quickstudy.bench.ours import OURS, QUICKSTUDY
from quickstudy.bench.speed import SpeedReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _GREY = "#24292f", "#8c959f"
_OURS = (
    "#0969da",
    "#54aeff",
    "#8250df",
    "#1b7c83",
    "#bf3989",
    "#4d2d00",
    "#2da44e",
    "#6e7781",
)
_PEERS = ("#bc4c00", "#9a6700", "#cf222e", "#57606a")
_LEAST_SPAN = 4.0


def ratio_bars(report: SpeedReport, path: str | Path) -> Path:
    """Tasks a second of each of quickstudy's entries, as a multiple of the best peer's; one group
    of bars per workload.
    """
    rows = [
        (m, name, ratio)
        for m in report.workloads.values()
        for name in m.timings
        if name in OURS and (ratio := m.ratio(name)) is not None
    ]
    figure = new_figure(8.0, 1.4 + 0.3 * len(rows) + 0.15 * len(report.workloads))
    axes = figure.subplots()
    at, ticks = 0.0, []
    for i, (m, name, ratio) in enumerate(rows):
        first = i == 0 or rows[i - 1][0] is not m
        at += 1.0 + 0.5 * first
        bar = axes.barh(at, ratio, height=0.85, color=_OURS[list(OURS).index(name) % len(_OURS)])
        text = f"{ratio:.2f}×  {name.removeprefix(QUICKSTUDY.name).removeprefix('-')}".rstrip()
        if m.best_peer(name) != m.best_peer(QUICKSTUDY.name):
            text += f", against {m.best_peer(name)}"
        axes.bar_label(
            bar,
            [text],
            padding=3,
            fontsize=8,
            color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
        if first:
            ticks.append((at, f"{m.workload.name}\nagainst {m.best_peer(QUICKSTUDY.name)}"))
    axes.axvline(1.0, color=_GREY, linewidth=0.8, zorder=0)
    axes.set_yticks([t for t, _ in ticks], [text for _, text in ticks], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlim(0, 1.25 * max([1.0, *(ratio for _, _, ratio in rows)]))
    axes.set_xlabel("tasks per second, as a multiple of the best peer's")
    axes.set_title(
        f"{QUICKSTUDY.name} against the best PyTorch peer ({report.about['cores']} cores, "
        f"{report.about['device']})",
        fontsize=10,
    )
    _plain(axes)
    return save_figure(figure, path)


def growth_page(report: GrowthReport, path: str | Path) -> Path:
    """Time above, memory below, one column per axis, all doubly logarithmic; the legend of each
    panel gives the exponents.
    """
    has_memory = any(
        p.peak_bytes
        for curves in report.curves.values()
        for points in curves.values()
        for p in points
    )
    rows = (("seconds", "seconds per step", 1.0), ("peak_bytes", "peak MB per step", 1e6))[
        : 2 if has_memory else 1
    ]
    figure = new_figure(max(5.0, 3.3 * len(report.curves)), 3.4 * len(rows) + 0.6)
    grid = figure.subplots(len(rows), len(report.curves), squeeze=False)
    for row, (of, label, unit) in zip(grid, rows, strict=True):
        for axes, (axis, curves) in zip(row, report.curves.items(), strict=True):
            ours = theirs = 0
            for name, points in curves.items():
                if name in OURS:
                    colour, ours = _OURS[ours % len(_OURS)], ours + 1
                else:
                    colour, theirs = _PEERS[theirs % len(_PEERS)], theirs + 1
                _curve(axes, points, of, unit, name, colour)
            axes.set_xlabel(axis)
            axes.set_visible(bool(axes.lines))
            low, high = axes.get_ylim()
            if axes.lines and high < _LEAST_SPAN * low:  # or noise would look like growth
                axes.set_ylim(
                    math.sqrt(low * high / _LEAST_SPAN), math.sqrt(low * high * _LEAST_SPAN)
                )
        row[0].set_ylabel(label)
    w = report.workload
    figure.suptitle(
        f"{w.name}: {w.summary}. Exponents are those of the larger half of each curve", fontsize=10
    )
    return save_figure(figure, path)


def _curve(
    axes: "Axes", points: Sequence[Point], of: str, unit: float, name: str, colour: str
) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

    known = [
        (p.value, y / unit)
        for p in points
        if (y := {"seconds": p.seconds, "peak_bytes": p.peak_bytes}[of])
    ]
    if not known:
        return
    slope = exponent(points, of)
    text = name if slope is None else f"{name}: exponent {slope:.2f}"
    axes.loglog(
        *zip(*known, strict=True),
        color=colour,
        marker="o",
        markersize=3.5,
        linewidth=1.4,
        label=text,
    )
    axes.xaxis.set_major_locator(FixedLocator([p.value for p in points]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    # Above the panel, where no curve can run through it.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        borderaxespad=0.2,
    )
    axes.grid(color=_GREY, alpha=0.25, linewidth=0.6)
    _plain(axes)


def _plain(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
