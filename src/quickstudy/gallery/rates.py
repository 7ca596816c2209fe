"""How often a gallery is wrong, on probes whose identity is known: for ``quickstudy gallery
evaluate``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from quickstudy.analysis import (
    ErrorCurve,
    det_picture,
    error_curve,
    identification_curve,
    identification_picture,
    roc_picture,
)
from quickstudy.core.arrays import NDArray
from quickstudy.metrics.verification import (
    bootstrap_by_identity,
    equal_error_rate,
    identification_rates,
    true_accept_rate,
)

FARS, FPIRS = (0.01, 0.001), (0.01, 0.05, 0.1)
_ERRORS_NEEDED = 30
_SAME = 1 - 1e-6


@dataclass(frozen=True)
class Probes:
    """What a gallery says of probes.

    Args:
        similarity: of each probe to each identity that is enrolled.
        mate: column of the probe's identity, −1 for strangers.
        identity: whose each probe is: a number for each folder of probes.
        threshold: the gallery's own.
    """

    similarity: Float[NDArray[np.float64], "P N"]
    mate: Int[NDArray[np.int64], " P"]
    identity: Int[NDArray[np.int64], " P"]
    threshold: float

    @property
    def members(self) -> NDArray[np.bool_]:
        """Which probes are of somebody who is enrolled."""
        return self.mate >= 0

    @property
    def found(self) -> NDArray[np.bool_]:
        """Of which probes the nearest identity is the right one."""
        return self.similarity.argmax(1) == self.mate

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Which probes the gallery takes for somebody."""
        return self.similarity.max(1) > self.threshold

    def pairs(self) -> ErrorCurve | None:
        """The error rates of comparing each probe with each identity, one by one; None where there
        is no pair of either kind.
        """
        of, same = np.repeat(self.identity, self.similarity.shape[1]), self._same.ravel()
        if not same.any() or same.all():
            return None
        scores = self.similarity.ravel()
        return error_curve(scores[same], scores[~same], genuine_of=of[same], impostor_of=of[~same])

    def searches(self) -> ErrorCurve | None:
        """The error rates of searching each probe among all; None where there are no members, or no
        strangers.
        """
        if not self.members.any() or self.members.all():
            return None
        return identification_curve(self.similarity, self.mate, identity=self.identity)

    @property
    def _same(self) -> NDArray[np.bool_]:
        return self.mate[:, None] == np.arange(self.similarity.shape[1])


def rates(probes: Probes) -> dict[str, Any]:
    """All rates with their intervals, as JSON.

    Each is ``{"rate", "low", "high"}`` with a 95 % interval from drawing identities; at the
    gallery's own threshold also ``count``, ``of`` and the exact binomial interval. What the probes
    cannot tell is left out.
    """
    members, n = probes.members, probes.similarity.shape[1]
    people = [len(np.unique(probes.identity[some])) for some in (members, ~members)]
    out: dict[str, Any] = {
        "enrolled": n,
        "threshold": probes.threshold,
        "members": {"probes": int(members.sum()), "identities": people[0]},
        "strangers": {"probes": int((~members).sum()), "identities": people[1]},
    }
    if members.any():
        out["rank_1"] = _by_identity(probes, members, lambda rows: float(probes.found[rows].mean()))
    pairs, searches = probes.pairs(), probes.searches()
    if pairs is not None:
        out["comparisons"] = {"same": len(pairs.genuine), "different": len(pairs.impostor)}
        out["eer"] = _rate(
            equal_error_rate(pairs.genuine, pairs.impostor), pairs.equal_error_interval
        )
        out["tar"] = {}
        for far in FARS:
            low, high = pairs.band(np.array([far])) or (np.zeros(1), np.ones(1))
            value = true_accept_rate(pairs.genuine, pairs.impostor, far=far)
            out["tar"][str(far)] = _rate(value, (1 - float(high[0]), 1 - float(low[0])))
    if searches is not None:
        out["fnir"] = {}
        for fpir in FPIRS:
            low, high = searches.band(np.array([fpir])) or (np.zeros(1), np.ones(1))
            fnir, threshold = identification_rates(probes.similarity, probes.mate, fpir=fpir)
            out["fnir"][str(fpir)] = {
                **_rate(fnir, (float(low[0]), float(high[0]))),
                "threshold": threshold,
            }
    missed = ~(probes.found & probes.accepted)
    for name, which, wrong in (("fpir", ~members, probes.accepted), ("fnir", members, missed)):
        if which.any():
            out.setdefault("at_threshold", {})[name] = _counted(probes, which, wrong)
    out["warnings"] = _warnings(probes, out)
    return out


def rows(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, rate and interval of each, for a table."""
    out = []
    if "rank_1" in told:
        out.append(("right one first (rank 1)", *_cells(told["rank_1"])))
    if "eer" in told:
        out.append(("equal error rate", *_cells(told["eer"])))
        out += [
            (f"accepted at FAR {_percent(float(far))} (TAR)", *_cells(rate))
            for far, rate in told["tar"].items()
        ]
    out += [
        (f"missed at FPIR {_percent(float(fpir))} (FNIR)", *_cells(rate))
        for fpir, rate in told.get("fnir", {}).items()
    ]
    names = {"fpir": "strangers taken for somebody (FPIR)", "fnir": "members missed (FNIR)"}
    for name, rate in told.get("at_threshold", {}).items():
        low, high = rate["binomial"]
        value, by_identity = _cells(rate)
        binomial = f"binomial {100 * low:.1f} … {100 * high:.1f} %"
        out.append(
            (
                f"at {told['threshold']:.4f}: {names[name]}",
                f"{value}, {rate['count']} of {rate['of']}",
                f"{by_identity}, {binomial}",
            )
        )
    return out


def pictures(probes: Probes, folder: Path, title: str) -> list[Path]:
    """ROC, DET and FNIR against FPIR, those that there is something to draw of."""
    made, pairs, searches = [], probes.pairs(), probes.searches()
    if pairs is not None:
        made.append(
            roc_picture(
                pairs,
                folder / "roc.png",
                threshold=probes.threshold,
                title=f"{title}: one against one",
            )
        )
        made.append(
            det_picture(
                pairs,
                folder / "det.png",
                threshold=probes.threshold,
                title=f"{title}: one against one",
            )
        )
    if searches is not None:
        told = f"{title}: one among {probes.similarity.shape[1]}"
        made.append(
            identification_picture(
                searches, folder / "fnir_fpir.png", threshold=probes.threshold, title=told
            )
        )
    return made


def _warnings(probes: Probes, told: dict[str, Any]) -> list[str]:
    """What the numbers cannot say, in plain sentences."""
    out, members, strangers = [], told["members"], told["strangers"]
    few = [
        (far, told["comparisons"]["different"])
        for far in FARS
        if "tar" in told and told["comparisons"]["different"] * far < _ERRORS_NEEDED
    ]
    for far, n in few:
        needed = round(_ERRORS_NEEDED / far)
        out.append(
            f"A false-accept rate of {_percent(far)} takes at least {needed:,} comparisons of "
            "different ones to be known to a third (rule of 30), and there "
            f"are {n:,}, which are not independent of each other either."
        )
    short = [
        fpir for fpir in FPIRS if "fnir" in told and strangers["probes"] * fpir < _ERRORS_NEEDED
    ]
    if short:
        out.append(
            f"FPIR {', '.join(_percent(f) for f in short)}: with {strangers['probes']} probes of "
            f"{strangers['identities']} strangers the threshold for it is known "
            f"roughly; {_percent(short[0])} takes {round(_ERRORS_NEEDED / short[0]):,} by the rule "
            "of 30."
        )
    for kind, some in (("members", members), ("strangers", strangers)):
        if some["probes"] and some["identities"] < 10:
            out.append(
                f"There are {some['identities']} {kind}: intervals over so few identities are too "
                "narrow."
            )
    if not members["probes"]:
        out.append(
            "No folder is called like somebody who is enrolled, so all are taken for strangers. "
            "Folders of members bear their names."
        )
    elif not strangers["probes"]:
        out.append(
            "All folders are of members, so nothing is known of strangers. Add folders of people "
            "who are not enrolled."
        )
    own = probes.similarity[np.flatnonzero(probes.members), probes.mate[probes.members]]
    copies = int((own > _SAME).sum())
    if copies:
        out.append(
            f"{copies} probes equal a template: were they enrolled with? The rates of members are "
            "better than the truth then. Use other pictures."
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
    return f"{100 * rate['rate']:.1f} %", f"{100 * rate['low']:.1f} … {100 * rate['high']:.1f} %"


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"
