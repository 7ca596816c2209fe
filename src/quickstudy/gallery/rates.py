"""How often a gallery is wrong, on probes whose identity is known."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from quickstudy.analysis import det_picture, identification_picture, roc_picture
from quickstudy.core.arrays import NDArray
from quickstudy.core.words import counted, percent, percent_range
from quickstudy.gallery.vectors import SAME_PHOTO
from quickstudy.metrics.error_curves import ErrorCurve, error_curve, identification_curve
from quickstudy.metrics.verification import (
    bootstrap_by_identity,
    equal_error_rate,
    identification_rates,
    true_accept_rate,
)

FARS = (0.01, 0.001)
FPIRS = (0.01, 0.05, 0.1)
_ERRORS_NEEDED = 30
_FEW_IDENTITIES = 10


@dataclass(frozen=True)
class Probes:
    """What a gallery says of probes. Mated probes are of somebody who is enrolled, non-mated ones
    of nobody: impostors.

    Args:
        similarity: of each probe to each identity that is enrolled.
        mate: column of the probe's identity, −1 for non-mated probes.
        identity: who each probe is of: a number for each folder of probes.
        threshold: the gallery's own; None where it is not calibrated.
    """

    similarity: Float[NDArray[np.float64], "P N"]
    mate: Int[NDArray[np.int64], " P"]
    identity: Int[NDArray[np.int64], " P"]
    threshold: float | None

    @property
    def is_mated(self) -> Bool[NDArray[np.bool_], " P"]:
        """Which probes are of somebody who is enrolled."""
        return self.mate >= 0

    @property
    def is_right(self) -> Bool[NDArray[np.bool_], " P"]:
        """Of which probes the nearest identity is the right one."""
        return self.similarity.argmax(1) == self.mate

    @property
    def is_accepted(self) -> Bool[NDArray[np.bool_], " P"]:
        """Which probes the gallery takes for somebody."""
        if self.threshold is None:
            return np.zeros(len(self.mate), bool)
        return self.similarity.max(1) > self.threshold

    def pairs(self) -> ErrorCurve | None:
        """The error rates of comparing each probe with each identity, one by one; None where there
        is no pair of either kind.
        """
        same = (self.mate[:, None] == np.arange(self.similarity.shape[1])).ravel()
        if not same.any() or same.all():
            return None
        of, scores = np.repeat(self.identity, self.similarity.shape[1]), self.similarity.ravel()
        return error_curve(scores[same], scores[~same], genuine_of=of[same], impostor_of=of[~same])

    def searches(self) -> ErrorCurve | None:
        """The error rates of searching each probe among all; None where there are no mated probes,
        or no others.
        """
        if not self.is_mated.any() or self.is_mated.all():
            return None
        return identification_curve(self.similarity, self.mate, identity=self.identity)


def error_rates_of(probes: Probes) -> dict[str, Any]:
    """All rates with their intervals, as JSON.

    Each is ``{"rate", "low", "high"}`` with a 95 % interval from drawing identities; at the
    gallery's own threshold also ``count``, ``of`` and the exact binomial interval. What the probes
    cannot tell is left out.
    """
    mated = probes.is_mated
    people = [len(np.unique(probes.identity[some])) for some in (mated, ~mated)]
    out: dict[str, Any] = {
        "enrolled": probes.similarity.shape[1],
        "threshold": probes.threshold,
        "mated": {"probes": int(mated.sum()), "identities": people[0]},
        "non_mated": {"probes": int((~mated).sum()), "identities": people[1]},
    }
    if mated.any():
        out["rank_1"] = _by_identity(
            probes, mated, lambda rows: float(probes.is_right[rows].mean())
        )
    pairs, searches = probes.pairs(), probes.searches()
    if pairs is not None:
        out |= _comparison_rates(pairs)
    if searches is not None:
        out["fnir"] = _search_rates(probes, searches)
    if probes.threshold is not None:
        missed = ~(probes.is_right & probes.is_accepted)
        for name, which, wrong in (("fpir", ~mated, probes.is_accepted), ("fnir", mated, missed)):
            if which.any():
                out.setdefault("at_threshold", {})[name] = _counted(probes, which, wrong)
    out["warnings"] = _warnings(probes, out)
    return out


def rate_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, rate and interval of each, for a table."""
    out = []
    if "rank_1" in result:
        out.append(("right one first (rank 1)", *_cells(result["rank_1"])))
    if "eer" in result:
        out.append(("equal error rate", *_cells(result["eer"])))
        out += [
            (f"accepted at FAR {_percent(float(far))} (TAR)", *_cells(rate))
            for far, rate in result["tar"].items()
        ]
    out += [
        (f"missed at FPIR {_percent(float(fpir))} (FNIR)", *_cells(rate))
        for fpir, rate in result.get("fnir", {}).items()
    ]
    names = {"fpir": "impostors taken for somebody (FPIR)", "fnir": "mated probes missed (FNIR)"}
    for name, rate in result.get("at_threshold", {}).items():
        low, high = rate["binomial"]
        value, by_identity = _cells(rate)
        binomial = f"binomial {percent_range(low, high, 1, to='…')}"
        label = f"at {result['threshold']:.4f}: {names[name]}"
        count = f"{value}, {rate['count']} of {rate['of']}"
        out.append((label, count, f"{by_identity}, {binomial}"))
    return out


def rate_pictures(probes: Probes, folder: Path, title: str) -> list[Path]:
    """ROC, DET and FNIR against FPIR, those that there is something to draw of."""
    files, pairs, searches = list[Path](), probes.pairs(), probes.searches()
    if pairs is not None:
        for draw, name in ((roc_picture, "roc.png"), (det_picture, "det.png")):
            file = folder / name
            one_to_one = f"{title}: one against one"
            files.append(draw(pairs, file, threshold=probes.threshold, title=one_to_one))
    if searches is not None:
        among = f"{title}: one among {probes.similarity.shape[1]}"
        file = folder / "fnir_fpir.png"
        files.append(
            identification_picture(searches, file, threshold=probes.threshold, title=among)
        )
    return files


def _comparison_rates(pairs: ErrorCurve) -> dict[str, Any]:
    eer = equal_error_rate(pairs.genuine, pairs.impostor)
    out: dict[str, Any] = {
        "comparisons": {"same": len(pairs.genuine), "different": len(pairs.impostor)},
        "eer": _rate(eer, pairs.equal_error_interval),
        "tar": {},
    }
    for far in FARS:
        low, high = pairs.band(np.array([far])) or (np.zeros(1), np.ones(1))
        value = true_accept_rate(pairs.genuine, pairs.impostor, far=far)
        out["tar"][str(far)] = _rate(value, (1 - float(high[0]), 1 - float(low[0])))
    return out


def _search_rates(probes: Probes, searches: ErrorCurve) -> dict[str, Any]:
    out = {}
    for fpir in FPIRS:
        low, high = searches.band(np.array([fpir])) or (np.zeros(1), np.ones(1))
        fnir, threshold = identification_rates(probes.similarity, probes.mate, fpir=fpir)
        rate = _rate(fnir, (float(low[0]), float(high[0])))
        out[str(fpir)] = {**rate, "threshold": threshold if np.isfinite(threshold) else None}
    return out


def _warnings(probes: Probes, result: dict[str, Any]) -> list[str]:
    """What the numbers cannot say, in plain sentences."""
    out, mated, non_mated = list[str](), result["mated"], result["non_mated"]
    if probes.threshold is None:
        out.append(
            "The gallery is not calibrated: it gives no names, so there are no error rates of its "
            "own."
        )
    different = result.get("comparisons", {}).get("different", 0)
    for far in FARS:
        if "tar" in result and different * far < _ERRORS_NEEDED:
            out.append(
                f"A false-accept rate of {_percent(far)} takes at least "
                f"{round(_ERRORS_NEEDED / far):,} comparisons of different ones to be known to a "
                f"third (rule of 30), and there are {different:,}, which are not independent of "
                "each other either."
            )
    short = [
        fpir for fpir in FPIRS if "fnir" in result and non_mated["probes"] * fpir < _ERRORS_NEEDED
    ]
    if short:
        out.append(
            f"FPIR {', '.join(_percent(f) for f in short)}: with "
            f"{counted(non_mated['probes'], 'probe')} of "
            f"{counted(non_mated['identities'], 'impostor')} the threshold for it is known "
            f"roughly; "
            f"{_percent(short[0])} takes {round(_ERRORS_NEEDED / short[0]):,} by the rule of 30."
        )
    for kind, some in (("people who are enrolled", mated), ("impostors", non_mated)):
        if some["probes"] and some["identities"] < _FEW_IDENTITIES:
            out.append(
                f"There are {some['identities']} {kind}: intervals over so few identities are too "
                "narrow."
            )
    if not mated["probes"]:
        out.append(
            "No folder is called like somebody who is enrolled, so all are taken for impostors. "
            "Folders of people who are enrolled bear their names."
        )
    elif not non_mated["probes"]:
        out.append(
            "All folders are of people who are enrolled, so nothing is known of impostors. Add "
            "folders of people who are not enrolled."
        )
    own = probes.similarity[np.flatnonzero(probes.is_mated), probes.mate[probes.is_mated]]
    copies = int((own >= SAME_PHOTO).sum())
    if copies:
        out.append(
            f"{counted(copies, 'probe equals', 'probes equal')} a template: was somebody enrolled "
            "with the same file? The rates of people who are enrolled are better than the truth "
            "then. Use other files."
        )
    return out


def _by_identity(
    probes: Probes, which: NDArray[np.bool_], statistic: Callable[[NDArray[np.int64]], float]
) -> dict[str, float]:
    rows = np.flatnonzero(which)
    interval = bootstrap_by_identity(lambda some: statistic(rows[some]), probes.identity[rows])
    return _rate(statistic(rows), interval)


def _counted(probes: Probes, which: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, Any]:
    from scipy.stats import binomtest

    count, n = int(wrong[which].sum()), int(which.sum())
    exact = binomtest(count, n).proportion_ci(0.95, method="exact")
    return {
        **_by_identity(probes, which, lambda some: float(wrong[some].mean())),
        "count": count,
        "of": n,
        "binomial": [float(exact.low), float(exact.high)],
    }


def _rate(rate: float, interval: tuple[float, float] | None) -> dict[str, float]:
    low, high = interval or (0.0, 1.0)
    return {"rate": rate, "low": low, "high": high}


def _cells(rate: dict[str, Any]) -> tuple[str, str]:
    return percent(rate["rate"], 1), percent_range(rate["low"], rate["high"], 1, to="…")


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"
