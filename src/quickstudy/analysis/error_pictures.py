"""Pictures of error rates: ROC, DET, and misses against false alarms of an identification, with
bands over identities.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.arrays import NDArray
from quickstudy.metrics.error_curves import ErrorCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_LINE, _MARK, _OWN = "#0969da", "#24292f", "#cf222e"
_RATES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.9)


def roc_picture(
    curve: ErrorCurve, path: str | Path, *, threshold: float | None = None, title: str = ""
) -> Path:
    """True accepts against false accepts, the latter on a logarithmic scale.

    Args:
        curve: of pairs.
        path: the picture to write.
        threshold: the one in use, to be marked.
        title: above it.
    """
    figure = new_figure(6.4, 4.8)
    axes, least = figure.subplots(), 0.5 / len(curve.impostor)
    axes.plot(np.maximum(curve.far, least), 1 - curve.frr, color=_LINE)
    grid = _grid(curve)
    if band := curve.band(grid):
        axes.fill_between(
            grid, 1 - band[1], 1 - band[0], color=_LINE, alpha=0.18, linewidth=0, label=_BAND
        )
    far, frr = curve.equal_error
    axes.plot(
        max(far, least),
        1 - frr,
        "o",
        color=_MARK,
        label=f"equal errors: {_percent((far + frr) / 2)}",
    )
    if threshold is not None:
        far, frr = curve.at(threshold)
        label = (
            f"threshold {threshold:.3f}: accepts {_percent(1 - frr)} right, {_percent(far)} wrong"
        )
        axes.plot(max(far, least), 1 - frr, "D", color=_OWN, label=label)
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("false-accept rate")
    axes.set_ylabel("true-accept rate")
    _as_percent(axes)
    _finish(axes, title or "ROC", curve, _PAIRS)
    return save_figure(figure, path)


def det_picture(
    curve: ErrorCurve, path: str | Path, *, threshold: float | None = None, title: str = ""
) -> Path:
    """False rejects against false accepts on normal-deviate axes, where the curve of two normal
    distributions is a straight line.

    Args: as of `roc_picture`.

    Source: Martin, Doddington, Kamm, Ordowski, Przybocki 1997, The DET curve in assessment of
        detection task performance.
    """
    from scipy.stats import norm

    n, p = len(curve.impostor), len(curve.genuine)

    def deviate(rates: ArrayLike, of: int) -> Array:
        return norm.ppf(
            np.clip(np.atleast_1d(np.asarray(rates, dtype=np.float64)), 0.5 / of, 1 - 0.5 / of)
        )

    figure = new_figure(6.0, 5.4)
    axes = figure.subplots()
    axes.plot(deviate(curve.far, n), deviate(curve.frr, p), color=_LINE)
    grid = _grid(curve)
    if band := curve.band(grid):
        axes.fill_between(
            deviate(grid, n),
            deviate(band[0], p),
            deviate(band[1], p),
            color=_LINE,
            alpha=0.18,
            linewidth=0,
            label=_BAND,
        )
    far, frr = curve.equal_error
    axes.plot(
        deviate(far, n),
        deviate(frr, p),
        "o",
        color=_MARK,
        label=f"equal errors: {_percent((far + frr) / 2)}",
    )
    if threshold is not None:
        far, frr = curve.at(threshold)
        label = (
            f"threshold {threshold:.3f}: accepts {_percent(far)} wrong, rejects "
            f"{_percent(frr)} "
            "right"
        )
        axes.plot(deviate(far, n), deviate(frr, p), "D", color=_OWN, label=label)
    for axis, limit, of, rates, other in (
        (axes.xaxis, axes.set_xlim, n, curve.far, curve.frr),
        (axes.yaxis, axes.set_ylim, p, curve.frr, curve.far),
    ):
        ticks = [r for r in _RATES if r >= 0.5 / of]
        axis.set_ticks(norm.ppf(ticks), labels=[f"{100 * r:g} %" for r in ticks])
        # As far as the other kind of error is made at all.
        most = min(0.95, max(0.2, float(rates[other > 0].max(initial=0))))
        limit(float(norm.ppf(0.5 / of)), float(norm.ppf(most)))
    axes.set_xlabel("false-accept rate")
    axes.set_ylabel("false-reject rate")
    _finish(axes, title or "DET", curve, _PAIRS)
    return save_figure(figure, path)


def identification_picture(
    curve: ErrorCurve, path: str | Path, *, threshold: float | None = None, title: str = ""
) -> Path:
    """Members missed (FNIR) against unknowns taken for a member (FPIR), the latter on a
    logarithmic scale.

    Args:
        curve: of `identification_curve`.
        path, threshold, title: as of `roc_picture`.
    """
    figure = new_figure(6.4, 4.8)
    axes, least = figure.subplots(), 0.5 / len(curve.impostor)
    axes.plot(np.maximum(curve.far, least), curve.frr, color=_LINE)
    grid, highest = _grid(curve), float(curve.frr[curve.far > 0].max())
    if band := curve.band(grid):
        axes.fill_between(grid, band[0], band[1], color=_LINE, alpha=0.18, linewidth=0, label=_BAND)
        highest = max(highest, float(band[1].max()))
    if threshold is not None:
        far, frr = curve.at(threshold)
        label = f"threshold {threshold:.3f}: FPIR {_percent(far)}, FNIR {_percent(frr)}"
        axes.plot(max(far, least), frr, "D", color=_OWN, label=label)
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.set_ylim(0, min(1.01, max(0.1, 1.05 * highest)))
    axes.set_xlabel("unknowns taken for a member (FPIR)")
    axes.set_ylabel("members missed (FNIR)")
    _as_percent(axes)
    _finish(axes, title or "Identification", curve, ("probes of members", "of unknowns"))
    return save_figure(figure, path)


_BAND = "95 %, identities drawn anew"
_PAIRS = ("comparisons of the same", "of different ones")


def _as_percent(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))


def _finish(axes: "Axes", title: str, curve: ErrorCurve, kinds: Sequence[str]) -> None:
    axes.grid(color="#d0d7de", linewidth=0.5)
    axes.set_title(
        f"{title}\n{len(curve.genuine):,} {kinds[0]}, {len(curve.impostor):,} {kinds[1]}",
        fontsize=10,
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8, framealpha=0.9)


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _grid(curve: ErrorCurve) -> Array:
    """False-accept rates at which a band is drawn."""
    return np.geomspace(1 / len(curve.impostor), 1, 100)
