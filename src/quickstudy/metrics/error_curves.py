"""Error rates at every threshold, of verification and of identification, with bands over
identities.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import words

Array = NDArray[np.float64]

_MOST = 400  # thresholds that are looked at, of either kind, in each of two ways of choosing them


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
        impostor: scores of pairs that are not, or of unknowns.
        genuine_of, impostor_of: the identity of each score's probe; both or neither.
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

    A member is missed where nobody or another identity is returned; an unknown is a false alarm
    where any identity is.

    Args:
        similarity: of each probe to each identity of the gallery.
        mate: column of the probe's identity; −1 for unknowns.
        identity: of each probe, for the band.
        draws, seed: of the bootstrap.

    Raises:
        ConfigError: without members, or without unknowns.
    """
    best, member = similarity.max(1), mate >= 0
    if not member.any() or member.all():
        raise ConfigError(
            f"Identification takes probes of members and of unknowns, got {int(member.sum())} and "
            f"{int((~member).sum())}."
        )
    score = np.where(similarity.argmax(1) == mate, best, -np.inf)
    probes = None if identity is None else np.asarray(identity).ravel()
    return error_curve(
        score[member],
        best[~member],
        genuine_of=None if probes is None else probes[member],
        impostor_of=None if probes is None else probes[~member],
        draws=draws,
        seed=seed,
    )


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
    for scores, identities in (genuine, impostor):
        if len(scores) != len(identities):
            raise ConfigError(
                f"There are {len(scores)} scores but {len(identities)} identities. Give one "
                "identity per score."
            )
    names, numbers = np.unique(np.r_[genuine[1], impostor[1]], return_inverse=True)
    accepted = []
    parts = np.split(numbers, [len(genuine[0])])
    for (scores, _), of_score in zip((genuine, impostor), parts, strict=True):
        # Thresholds fall, so a score is accepted from the first one on that is not above it.
        first = np.searchsorted(-thresholds, -scores, side="left")
        m = len(thresholds) + 1
        counts = np.bincount(of_score * m + first, minlength=len(names) * m).reshape(len(names), m)
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
        if of_genuine and of_impostor:  # a draw without members, or without unknowns, has no rates
            far.append(wrong / of_impostor)
            frr.append(1 - right / of_genuine)
    return np.reshape(far, (-1, len(thresholds))), np.reshape(frr, (-1, len(thresholds)))
