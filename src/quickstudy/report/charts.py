"""Where scores lie, as bars that a page can stretch to its width and colour for light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from quickstudy.estimators.advice import shown
from quickstudy.estimators.scaling import Array

_FEWEST, _MOST = 16, 48


@dataclass(frozen=True)
class Strip:
    """The scores of one group.

    Args:
        label: what they are scores of, with how many.
        colour: "own", "other" or "unknowns".
        bars: left edge, width and height of each bar, all in % of the strip.
        middle: where the median lies, in %.
        said: in words, for those who do not see it.
    """

    label: str
    colour: str
    bars: tuple[tuple[float, float, float], ...]
    middle: float
    said: str


@dataclass(frozen=True)
class Chart:
    """Strips under each other over one axis.

    Args:
        strips: one per group.
        ticks: places in % and their labels.
        line: the threshold's place in % and its label; None = no threshold.
        band: from where to where a person should look, in %; None = nowhere.
    """

    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    line: tuple[float, str] | None
    band: tuple[float, float] | None


def chart(
    groups: Sequence[tuple[str, str, Float[Array, " _"]]],
    *,
    line: float | None = None,
    until: float | None = None,
) -> Chart:
    """A chart of scores.

    Args:
        groups: label, colour and scores of each strip; strips without a score are left out.
        line: a threshold.
        until: the other end of the band in which a person should look.
    """
    there = [(label, colour, v[np.isfinite(v)]) for label, colour, v in groups]
    there = [g for g in there if len(g[2])]
    everything = np.concatenate(
        [v for _, _, v in there] + [np.asarray([e for e in (line, until) if e is not None])]
    )
    low, high = float(everything.min()), float(everything.max())
    room = 0.03 * (high - low) or max(0.03 * abs(high), 0.01)
    low, high = low - room, high + room

    def at(value: float) -> float:
        return round(100 * (float(value) - low) / (high - low), 2)

    bins = min(_MOST, max(_FEWEST, round(3 * max(len(v) for _, _, v in there) ** 0.5)))
    strips = []
    for label, colour, values in there:
        counts, edges = np.histogram(values, bins=bins, range=(low, high))
        most = int(counts.max())
        bars = tuple(
            (at(edges[k]), round(100 / bins, 2), round(100 * n / most, 1))
            for k, n in enumerate(counts.tolist())
            if n
        )
        first, middle, third = np.quantile(values, [0.25, 0.5, 0.75])
        said = (
            f"{label}: half of them lie between {shown(first)} and {shown(third)}, the middle "
            f"at {shown(middle)}, all from {shown(values.min())} to {shown(values.max())}."
        )
        strips.append(Strip(f"{label} ({len(values):,})", colour, bars, at(middle), said))
    band = (
        None
        if line is None or until is None or line == until
        else (at(min(line, until)), at(max(line, until)))
    )
    return Chart(
        tuple(strips),
        _ticks(low, high, at),
        None if line is None else (at(line), shown(line)),
        band,
    )


def _ticks(low: float, high: float, at: Callable[[float], float]) -> tuple[tuple[float, str], ...]:
    """Four to nine round numbers."""
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    first = math.ceil(low / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]
    return tuple((at(v), f"{v + 0.0:,.{digits}f}".replace("-", "−")) for v in values)
