"""How well scores tell the same from another: error rates of verification and of identification."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from sklearn.metrics import det_curve, roc_curve

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import words

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorRates:
    """False-accept and false-reject rates at every threshold.

    Args:
        threshold: ``[m]``; a pair is accepted where its score is at least the threshold.
        far: share of the impostor pairs accepted, ``[m]``.
        frr: share of the genuine pairs refused, ``[m]``.
    """

    threshold: Float[Array, " m"]
    far: Float[Array, " m"]
    frr: Float[Array, " m"]


def error_rates(genuine: ArrayLike, impostor: ArrayLike) -> ErrorRates:
    """The two error rates at every threshold that matters, by scikit-learn's DET curve.

    Args:
        genuine: scores of pairs that are the same.
        impostor: scores of pairs that are not.

    Raises:
        ConfigError: when one of them is empty, or a score is not a finite number.
    """
    g, i = (np.asarray(s, dtype=np.float64).ravel() for s in (genuine, impostor))
    if not len(g) or not len(i):
        raise ConfigError(
            f"Error rates take scores of both kinds, got {len(g)} of the same and {len(i)} of "
            "different ones."
        )
    if not (np.isfinite(g).all() and np.isfinite(i).all()):
        raise ConfigError("A score is not a finite number. Check the features.")
    label, score = np.r_[np.ones(len(g)), np.zeros(len(i))], np.r_[g, i]
    far, frr, threshold = det_curve(label, score)
    return ErrorRates(threshold, far, frr)


def equal_error_rate(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """Where the false-accept and the false-reject rate are equal, interpolated between the two
    nearest thresholds.

    >>> equal_error_rate([0.9, 0.8, 0.4], [0.5, 0.2, 0.1])
    0.3333333333333333
    """
    g, i = (np.asarray(s, dtype=np.float64).ravel() for s in (genuine, impostor))
    error_rates(g, i)  # refuses what cannot be scored
    far, tar, _ = roc_curve(
        np.r_[np.ones(len(g)), np.zeros(len(i))], np.r_[g, i], drop_intermediate=False
    )
    gap = far - (1 - tar)
    at = int(np.flatnonzero(gap >= 0)[0])
    if gap[at] == 0 or at == 0:
        return float(far[at])
    share = -gap[at - 1] / (gap[at] - gap[at - 1])
    return float(far[at - 1] + share * (far[at] - far[at - 1]))


def true_accept_rate(genuine: ArrayLike, impostor: ArrayLike, *, far: float) -> float:
    """The largest share of genuine pairs accepted at a false-accept rate of at most ``far`` (TAR at
    FAR).

    >>> true_accept_rate([0.9, 0.8, 0.4], [0.5, 0.2, 0.1], far=0.1)
    0.6666666666666666
    """
    g, i = (np.asarray(s, dtype=np.float64).ravel() for s in (genuine, impostor))
    error_rates(g, i)
    rates, tar, _ = roc_curve(
        np.r_[np.ones(len(g)), np.zeros(len(i))], np.r_[g, i], drop_intermediate=False
    )
    return float(tar[rates <= far].max())


def identification_rates(
    similarity: Float[Array, "P N"], mate: Int[NDArray[np.int64], " P"], *, fpir: float
) -> tuple[float, float]:
    """Miss rate of an open-set search at a false-positive identification rate (FNIR at FPIR), and
    the threshold.

    A search returns the best identity, if its similarity is above the threshold. A search of a
    member is missed when it returns nothing or somebody else; one of an impostor is a false alarm
    when it returns anybody.

    Args:
        similarity: of each probe to each identity of the gallery.
        mate: column of the probe's identity; −1 for impostors.
        fpir: the share of impostors who may be taken for a member.

    Returns:
        FNIR, and the smallest threshold that keeps the FPIR among these impostors.

    Raises:
        ConfigError: without members, or without impostors.

    Source: NIST FRTE 1:N, the pair of rates that it reports.
    """
    best, found = similarity.max(1), similarity.argmax(1)
    impostors = np.sort(best[mate < 0])
    if not len(impostors) or not (mate >= 0).any():
        raise ConfigError(
            "Identification takes probes of members and of impostors, got "
            f"{int((mate >= 0).sum())} and {len(impostors)}."
        )
    allowed = int(np.floor(fpir * len(impostors) + 1e-9))
    threshold = (
        float(impostors[len(impostors) - allowed - 1]) if allowed < len(impostors) else -np.inf
    )
    members = mate >= 0
    hit = (found[members] == mate[members]) & (best[members] > threshold)
    return float(1 - hit.mean()), threshold


def bootstrap_by_identity(
    statistic: Callable[[NDArray[np.int64]], float],
    identity: Int[NDArray[np.int64], " n"],
    *,
    n: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """A 95 % interval of ``statistic(rows)`` when whole identities are drawn with replacement: the
    pairs of one person are not independent.

    Args:
        statistic: takes the chosen rows (an index array, identities drawn twice appear twice) and
            returns a number.
        identity: of each row.
        n: draws.
        seed: of the draws.
    """
    names = np.unique(identity)
    rows = {name: np.flatnonzero(identity == name) for name in names}
    values = []
    for draw in range(n):
        chosen = names[
            (words(len(names), "bootstrap", seed, draw) % np.uint64(len(names))).astype(np.int64)
        ]
        values.append(statistic(np.concatenate([rows[name] for name in chosen])))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
