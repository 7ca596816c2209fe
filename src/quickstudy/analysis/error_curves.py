"""Pictures of error rates: ROC, DET, and misses against false alarms of an identification, with
bands over identities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_LINE, _MARK, _OWN = "#0969da", "#24292f", "#cf222e"
_MOST = 400  # thresholds that are looked at, of either kind, in each of two ways of choosing them
_RATES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.9)


@dataclass(frozen=True)
class ErrorCurve:
    """False rejects against false accepts as the threshold moves, and how far identities drawn anew
    would move them.

    Args:
        genuine, impostor: the scores, smallest first. A genuine score of −∞ is rejected at any
            threshold.
        threshold: from +∞ down, ``[m]``; accepted are scores of at least that.
        far, frr: shares of the impostors accepted and of the genuine rejected, ``[m]``.
        drawn_far, drawn_frr: the same of each draw of identities, ``[b m]``; none without
            identities.
    """

    genuine: Float[Array, " p"]
    impostor: Float[Array, " q"]
    threshold: Float[Array, " m"]
    far: Float[Array, " m"]
    frr: Float[Array, " m"]
    drawn_far: Float[Array, "b m"]
    drawn_frr: Float[Array, "b m"]

    def at(self, threshold: float) -> tuple[float, float]:
        """False-accept and false-reject rate where scores *above* a threshold are accepted, as
        galleries decide.
        """
        accepted = [
            len(s) - np.searchsorted(s, threshold, side="right")
            for s in (self.impostor, self.genuine)
        ]
        return float(accepted[0] / len(self.impostor)), float(1 - accepted[1] / len(self.genuine))

    @property
    def equal_error(self) -> tuple[float, float]:
        """The rates at the threshold where they are nearest to each other."""
        at = int(np.abs(self.far - self.frr).argmin())
        return float(self.far[at]), float(self.frr[at])

    @property
    def equal_error_interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean of these two over draws of identities; None where there are
        none.
        """
        if not len(self.drawn_far):
            return None
        at = np.abs(self.drawn_far - self.drawn_frr).argmin(1)[:, None]
        rates = (
            np.take_along_axis(self.drawn_far, at, 1) + np.take_along_axis(self.drawn_frr, at, 1)
        ) / 2
        return _interval(rates[:, 0])

    def band(self, far: Float[Array, " g"]) -> tuple[Float[Array, " g"], Float[Array, " g"]] | None:
        """95 % interval of the smallest false-reject rate at a false-accept rate of at most
        ``far``, over draws of identities; None where there are none.
        """
        if not len(self.drawn_far):
            return None
        some = (
            frr[np.searchsorted(f, far + 1e-12, side="right") - 1]
            for f, frr in zip(self.drawn_far, self.drawn_frr, strict=True)
        )
        low, high = np.quantile(np.stack(list(some)), [0.025, 0.975], axis=0)
        return low, high


def error_curve(
    genuine: ArrayLike,
    impostor: ArrayLike,
    *,
    genuine_of: ArrayLike | None = None,
    impostor_of: ArrayLike | None = None,
    draws: int = 500,
    seed: int = 0,
) -> ErrorCurve:
    """The error rates at every threshold that matters, and a band from drawing whole identities
    with replacement.

    Of many scores a thousand thresholds are looked at, closely spaced where rates are small.

    Args:
        genuine: scores of pairs that are the same, or of members who are found; −∞ where they are
            not.
        impostor: scores of pairs that are not, or of strangers.
        genuine_of, impostor_of: whose each score is (the probe's identity); both or neither.
        draws, seed: of the bootstrap.

    Raises:
        ConfigError: without scores of either kind, for impostors that are not finite, or identities
            of some scores only.

    >>> curve = error_curve([0.9, 0.8, 0.4], [0.5, 0.2, 0.1])
    >>> curve.at(0.45)
    (0.3333333333333333, 0.33333333333333337)
    """
    g, i = (np.asarray(s, dtype=np.float64).ravel() for s in (genuine, impostor))
    if not len(g) or not len(i):
        raise ConfigError(
            f"Error rates take scores of both kinds, got {len(g)} of the same and {len(i)} of "
            "different ones."
        )
    if not np.isfinite(i).all() or np.isnan(g).any() or np.isposinf(g).any():
        raise ConfigError("A score is not a finite number. Check the features.")
    if (genuine_of is None) != (impostor_of is None):
        raise ConfigError(
            "A band over identities takes the identities of the genuine and of the impostor "
            "scores. Give both, or neither."
        )
    g_sorted, i_sorted = np.sort(g), np.sort(i)
    thresholds = np.r_[
        np.inf, np.unique(np.r_[_some(i_sorted), _some(g_sorted[np.isfinite(g_sorted)])])[::-1]
    ]
    far = 1 - np.searchsorted(i_sorted, thresholds, side="left") / len(i)
    frr = np.searchsorted(g_sorted, thresholds, side="left") / len(g)
    drawn_far = drawn_frr = np.empty((0, len(thresholds)))
    if genuine_of is not None:
        drawn_far, drawn_frr = _drawn(
            (g, np.asarray(genuine_of).ravel()),
            (i, np.asarray(impostor_of).ravel()),
            thresholds,
            draws,
            seed,
        )
    return ErrorCurve(g_sorted, i_sorted, thresholds, far, frr, drawn_far, drawn_frr)


def identification_curve(
    similarity: Float[Array, "P N"],
    mate: Int[NDArray[np.int64], " P"],
    *,
    identity: ArrayLike | None = None,
    draws: int = 500,
    seed: int = 0,
) -> ErrorCurve:
    """FNIR (``frr``) against FPIR (``far``) of a search that returns the best identity above a
    threshold.

    A member is missed where nobody or somebody else is returned, a stranger is a false alarm where
    anybody is.

    Args:
        similarity: of each probe to each identity of the gallery.
        mate: column of the probe's identity; −1 for strangers.
        identity: whose each probe is, for the band.
        draws, seed: of the bootstrap.

    Raises:
        ConfigError: without members, or without strangers.
    """
    best, member = similarity.max(1), mate >= 0
    if not member.any() or member.all():
        raise ConfigError(
            f"Identification takes probes of members and of strangers, got {int(member.sum())} and "
            f"{int((~member).sum())}."
        )
    score = np.where(similarity.argmax(1) == mate, best, -np.inf)
    whose = None if identity is None else np.asarray(identity).ravel()
    return error_curve(
        score[member],
        best[~member],
        genuine_of=None if whose is None else whose[member],
        impostor_of=None if whose is None else whose[~member],
        draws=draws,
        seed=seed,
    )


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
        told = (
            f"threshold {threshold:.3f}: accepts {_percent(1 - frr)} right, {_percent(far)} wrong"
        )
        axes.plot(max(far, least), 1 - frr, "D", color=_OWN, label=told)
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

    def place(rates: ArrayLike, of: int) -> Array:
        return norm.ppf(
            np.clip(np.atleast_1d(np.asarray(rates, dtype=np.float64)), 0.5 / of, 1 - 0.5 / of)
        )

    figure = new_figure(6.0, 5.4)
    axes = figure.subplots()
    axes.plot(place(curve.far, n), place(curve.frr, p), color=_LINE)
    grid = _grid(curve)
    if band := curve.band(grid):
        axes.fill_between(
            place(grid, n),
            place(band[0], p),
            place(band[1], p),
            color=_LINE,
            alpha=0.18,
            linewidth=0,
            label=_BAND,
        )
    far, frr = curve.equal_error
    axes.plot(
        place(far, n),
        place(frr, p),
        "o",
        color=_MARK,
        label=f"equal errors: {_percent((far + frr) / 2)}",
    )
    if threshold is not None:
        far, frr = curve.at(threshold)
        told = (
            f"threshold {threshold:.3f}: accepts {_percent(far)} wrong, rejects "
            f"{_percent(frr)} "
            "right"
        )
        axes.plot(place(far, n), place(frr, p), "D", color=_OWN, label=told)
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
    """Members missed (FNIR) against strangers taken for somebody (FPIR), the latter on a
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
        told = f"threshold {threshold:.3f}: FPIR {_percent(far)}, FNIR {_percent(frr)}"
        axes.plot(max(far, least), frr, "D", color=_OWN, label=told)
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.set_ylim(0, min(1.01, max(0.1, 1.05 * highest)))
    axes.set_xlabel("strangers taken for somebody (FPIR)")
    axes.set_ylabel("members missed (FNIR)")
    _as_percent(axes)
    _finish(axes, title or "Identification", curve, ("probes of members", "of strangers"))
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


def _some(ordered: Array) -> Array:
    """Of sorted scores those at which the rates are looked at: all, or the ends closely and the
    rest evenly.
    """
    n = len(ordered)
    if n <= 2 * _MOST:
        return ordered
    near = np.geomspace(1, n, _MOST).astype(np.int64) - 1
    return ordered[
        np.unique(np.r_[near, n - 1 - near, np.linspace(0, n - 1, _MOST).astype(np.int64)])
    ]


def _grid(curve: ErrorCurve) -> Array:
    """False-accept rates at which a band is drawn."""
    return np.geomspace(1 / len(curve.impostor), 1, 100)


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _drawn(
    genuine: tuple[Array, NDArray[np.generic]],
    impostor: tuple[Array, NDArray[np.generic]],
    thresholds: Array,
    draws: int,
    seed: int,
) -> tuple[Array, Array]:
    """The rates of each draw of identities, as
    `quickstudy.metrics.verification.bootstrap_by_identity` draws them.
    """
    for s, whose in (genuine, impostor):
        if len(s) != len(whose):
            raise ConfigError(
                f"There are {len(s)} scores but {len(whose)} identities. Say of each score whose "
                "it is."
            )
    names, of = np.unique(np.r_[genuine[1], impostor[1]], return_inverse=True)
    accepted = []
    for (s, _), whose in zip((genuine, impostor), np.split(of, [len(genuine[0])]), strict=True):
        # Thresholds fall, so a score is accepted from the first one on that is not above it.
        first = np.searchsorted(-thresholds, -s, side="left")
        m = len(thresholds) + 1
        counts = np.bincount(whose * m + first, minlength=len(names) * m).reshape(len(names), m)
        accepted.append((counts.cumsum(1)[:, :-1].astype(np.float64), counts.sum(1)))  # [I m], [I]
    far, frr = [], []
    for draw in range(draws):
        chosen = (words(len(names), "bootstrap", seed, draw) % np.uint64(len(names))).astype(
            np.int64
        )
        weight = np.bincount(chosen, minlength=len(names)).astype(np.float64)
        (right, of_genuine), (wrong, of_impostor) = (
            (weight @ counts, float(weight @ totals)) for counts, totals in accepted
        )
        if of_genuine and of_impostor:  # a draw without members, or without strangers, has no rates
            far.append(wrong / of_impostor)
            frr.append(1 - right / of_genuine)
    return np.reshape(far, (-1, len(thresholds))), np.reshape(frr, (-1, len(thresholds)))
