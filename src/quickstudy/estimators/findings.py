"""What the examples of a classifier say of each other: the numbers behind its diagnosis and its
report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from quickstudy.core.arrays import NDArray
from quickstudy.core.rng import uniform
from quickstudy.estimators.scaling import Array, unit

SAME = 1e-5
"""Of the usual length of a vector: what encoding in another batch may change."""
_ENOUGH = 8  # judged examples, before one of them is called odd
# In usual deviations; what becomes of wrong and of right labels with these is in
# benchmarks/fit_report.json.
_SUSPECT, _ODD = 3.0, 4.0
# The largest probability of its own class for a suspect where more examples than these, and than
# this share, are taken for another class: see benchmarks/wrong_labels.json.
_IMPROBABLE, _MISTAKES, _SHARE = 0.05, 2, 0.05
_SMALL = 50  # examples of a class, above which one of them hardly moves the median
_BLOCK, _AXES = 512, 8
_PAIRS = 12


@dataclass(frozen=True)
class Findings:
    """What leaving every example out once shows, and how the classes lie to each other.

    "Score" is the one that the classifier decides by, higher = closer. ``N`` examples, ``C``
    classes, vectors of length ``D``.

    Args:
        names: the classes, as texts ``[C]``.
        x: the vectors as they are compared: of length 1, or as they are for Euclidean prototypes.
        labels: the class of each example.
        scores: of each example by the classifier without it; NaN where it is alone in its class.
        judged: the examples whose scores are known.
        predicted: the class that it was taken for; −1 where it was not judged.
        own: the score for its own class; NaN where it was not judged.
        other, rival: the best score for another class, and which class; NaN and −1 where there is
            none.
        spread: of each class, how far its examples lie from their mean: √(Σ|x − mean|² / (n − 1));
            NaN of a single one.
        neighbour, separation: of each class the nearest other one, and how far their means are
            apart in units of their spread, see `examine`; −1 and NaN where there is no other.
        pairs: the pairs of classes that lie closest together, nearest first, with their separation.
        probabilities: of the classes for each example, by the classifier without it ``[N C]``; NaN
            where it was not judged, or no temperature is known.
        suspects: examples that probably carry a wrong label, and the class that each looks like.
        outliers: other examples that look unlike their class.
        copies: groups of examples whose vectors are the same.
    """

    names: tuple[str, ...]
    x: Float[Array, "N D"]
    labels: Int[NDArray[np.int64], " N"]
    scores: Float[Array, "N C"]
    judged: Bool[NDArray[np.bool_], " N"]
    predicted: Int[NDArray[np.int64], " N"]
    own: Float[Array, " N"]
    other: Float[Array, " N"]
    rival: Int[NDArray[np.int64], " N"]
    spread: Float[Array, " C"]
    neighbour: Int[NDArray[np.int64], " C"]
    separation: Float[Array, " C"]
    pairs: tuple[tuple[int, int, float], ...]
    probabilities: Float[Array, "N C"]
    suspects: tuple[tuple[int, int], ...]
    outliers: tuple[int, ...]
    copies: tuple[tuple[int, ...], ...]

    @property
    def counts(self) -> Int[NDArray[np.int64], " C"]:
        """How many examples each class has."""
        return np.bincount(self.labels, minlength=len(self.names))

    @property
    def tried(self) -> Int[NDArray[np.int64], " C"]:
        """How many of them were judged."""
        return np.bincount(self.labels[self.judged], minlength=len(self.names))

    @property
    def right(self) -> Int[NDArray[np.int64], " C"]:
        """How many of these were recognised."""
        return np.bincount(
            self.labels[self.judged & (self.predicted == self.labels)], minlength=len(self.names)
        )

    @property
    def wrong(self) -> Int[NDArray[np.int64], " n"]:
        """The examples that were taken for another class, the clearest mistake first."""
        rows = np.flatnonzero(self.judged & (self.predicted != self.labels))
        return rows[np.argsort((self.own - self.other)[rows], kind="stable")]

    def confused(self, *, without: Sequence[int] = ()) -> tuple[tuple[int, int, int], ...]:
        """Pairs of classes whose examples were taken for the other's, with how many, most first;
        ``without`` some examples.
        """
        pairs: dict[tuple[int, int], int] = {}
        for i in sorted(set(self.wrong.tolist()) - set(without)):
            a, b = sorted((int(self.labels[i]), int(self.predicted[i])))
            pairs[a, b] = pairs.get((a, b), 0) + 1
        return tuple(
            (a, b, n) for (a, b), n in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        )

    def nearest_in(self, i: int, c: int) -> int:
        """The example of class ``c`` that looks most like example ``i``, other than itself; −1
        where there is none.
        """
        rows = np.flatnonzero(self.labels == c)
        rows = rows[rows != i]
        return int(rows[((self.x[rows] - self.x[i]) ** 2).sum(1).argmin()]) if len(rows) else -1


def examine(
    x: Float[Array, "N D"],
    labels: Int[NDArray[np.int64], " N"],
    names: Sequence[str],
    scores: Float[Array, "N C"],
    *,
    metric: str = "cosine",
    temperature: float | None = None,
) -> Findings:
    """Look at examples and at the scores that each got from a classifier without it.

    The separation of two classes is the distance of their means in units of how far examples lie
    from their mean: with spreads s of n examples

        √((|mean_a − mean_b|² − s_a² / n_a − s_b² / n_b) / ((s_a² + s_b²) / 2)),

    where what is subtracted is what chance adds to the distance of the means of so few. A class of
    one example has the spread of the others; where no class has two, the separation is the plain
    distance.

    Args:
        x: the vectors.
        labels: the class of each, from 0.
        names: the classes.
        scores: by the classifier without the example, see `FewShotClassifier.left_out_scores`.
        metric: "cosine" or "euclidean".
        temperature: what the scores are divided by to become probabilities. None = not known, so
            that suspects are judged by their scores alone.
    """
    compared = unit(x) if metric == "cosine" else x
    n = len(names)
    rows = np.arange(len(x))
    judged = np.asarray(np.isfinite(scores).all(1))
    predicted = np.where(judged, np.where(judged[:, None], scores, 0.0).argmax(1), -1)
    others = np.where(judged[:, None], scores, -np.inf)
    others[rows, labels] = -np.inf
    with_other = judged & (n > 1)
    rival = np.where(with_other, others.argmax(1), -1)
    own = np.where(judged, scores[rows, labels], np.nan)
    other = np.where(with_other, others.max(1), np.nan)
    means, spread = _means(compared, labels, n)
    neighbour, separation, pairs = _neighbours(means, spread, np.bincount(labels, minlength=n))
    probabilities = np.full_like(scores, np.nan)
    if temperature is not None:
        probabilities[judged] = softmax(scores[judged] / temperature, axis=1)
    suspects, outliers = _odd(own, other, rival, labels, predicted, probabilities[rows, labels])
    return Findings(
        tuple(names),
        compared,
        labels,
        scores,
        judged,
        predicted,
        own,
        other,
        rival,
        spread,
        neighbour,
        separation,
        pairs,
        probabilities,
        suspects,
        outliers,
        _copies(x),
    )


def _means(x: Array, labels: NDArray[np.int64], n: int) -> tuple[Array, Array]:
    counts = np.bincount(labels, minlength=n)
    means = np.zeros((n, x.shape[1]))
    np.add.at(means, labels, x)
    means /= counts[:, None]
    squares = np.bincount(labels, ((x - means[labels]) ** 2).sum(1), minlength=n)
    return means, np.where(counts > 1, np.sqrt(squares / np.maximum(counts - 1, 1)), np.nan)


def _neighbours(
    means: Array, spread: Array, counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array, tuple[tuple[int, int, float], ...]]:
    n = len(means)
    known = np.isfinite(spread)
    usual = float(np.mean(spread[known] ** 2)) if known.any() else 0.0
    variance = np.where(known, spread**2, usual)
    chance = variance / counts
    scaled = usual > 0
    neighbour, nearest = np.full(n, -1), np.full(n, np.nan)
    pairs: list[tuple[float, int, int]] = []
    for start in range(0, n if n > 1 else 0, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, n))
        apart = (
            (means[block] ** 2).sum(1)[:, None] - 2 * means[block] @ means.T + (means**2).sum(1)
        ).clip(0)  # [B C]
        if scaled:
            apart = (apart - chance[block, None] - chance) / np.maximum(
                (variance[block, None] + variance) / 2, 1e-12 * usual
            )
        apart[np.arange(len(block)), block] = np.inf
        neighbour[block] = apart.argmin(1)
        nearest[block] = apart.min(1)
        apart[np.arange(n) <= block[:, None]] = np.inf  # each pair once
        least = np.argpartition(apart, min(_PAIRS, apart.size - 1), axis=None)[:_PAIRS]
        pairs += [
            (float(apart.flat[k]), int(block[k // n]), int(k % n))
            for k in least.tolist()
            if np.isfinite(apart.flat[k])
        ]
    closest = tuple((a, b, max(square, 0.0) ** 0.5) for square, a, b in sorted(pairs)[:_PAIRS])
    return neighbour, np.sqrt(np.maximum(nearest, 0.0)), closest


def _odd(
    own: Array,
    other: Array,
    rival: NDArray[np.int64],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probability: Array,
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """The suspects, with the class that each looks like, and the outliers.

    A suspect scores far more for another class than for its own, while half or more of its
    classmates are recognised; of two examples nobody can say which is the odd one. Where classes
    overlap, as those of tables do, a mistake is nothing unusual, and only what has hardly a chance
    of its own class is suspected. An outlier
    scores far less for its class than its classmates do, and hardly more than for another class.
    Far is a multiple of what is usual: the median deviation of a score for the own class from the
        median of the classmates, over all classes, as each
    alone has too few examples.
    """
    judged = np.flatnonzero(np.isfinite(own))
    if len(judged) < _ENOUGH:
        return (), ()
    right = np.bincount(
        labels[judged[predicted[judged] == labels[judged]]], minlength=labels.max() + 1
    )
    mates = np.bincount(labels[judged], minlength=labels.max() + 1) - 1
    everyone = float(np.median(own[judged]))
    low = np.full(len(own), np.nan)
    for c in np.unique(labels[judged]).tolist():
        rows = judged[labels[judged] == c]
        for k, i in enumerate(rows.tolist()):
            mates_own = np.delete(own[rows], k) if len(rows) < _SMALL else own[rows]
            low[i] = own[i] - (float(np.median(mates_own)) if len(rows) > 2 else everyone)
    scale = 1.4826 * float(np.median(np.abs(low[judged])))
    if scale <= 0:
        return (), ()
    margin = own - other
    for_another = margin < -_SUSPECT * scale
    n_wrong = len(judged) - int(right.sum())
    overlap = n_wrong > max(_MISTAKES, _SHARE * len(judged))
    is_usual = for_another & (probability > _IMPROBABLE) & overlap
    is_suspect = (
        for_another & ~is_usual & (mates[labels] > 1) & (mates[labels] <= 2 * right[labels])
    )
    unsure = (
        margin < np.median(margin[judged]) / 2 if (rival[judged] >= 0).all() else np.isfinite(own)
    )
    is_outlier = (low < -_ODD * scale) & unsure & ~is_suspect & ~is_usual
    suspects = np.flatnonzero(is_suspect)[np.argsort(margin[is_suspect], kind="stable")]
    outliers = np.flatnonzero(is_outlier)[np.argsort(low[is_outlier], kind="stable")]
    return tuple((int(i), int(rival[i])) for i in suspects), tuple(outliers.tolist())


def _copies(x: Array) -> tuple[tuple[int, ...], ...]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    # Equal rows first: of a table there may be so many that listing all pairs would not fit into
    # memory.
    distinct, group_of = np.unique(x, axis=0, return_inverse=True)
    within = SAME * float(np.sqrt((x * x).sum(1).mean()))
    # A tree is quick in few dimensions only. Two that are near stay near when they are projected,
    # and others hardly come near.
    size = x.shape[1]
    # [D A]
    axes = np.linalg.qr(uniform(size * min(size, _AXES), "copies").reshape(size, -1) - 0.5)[0]
    near = KDTree(distinct @ axes).query_pairs(within, output_type="ndarray")  # [P 2]
    near = near[((distinct[near[:, 0]] - distinct[near[:, 1]]) ** 2).sum(1) <= within**2]
    graph = coo_array(
        (np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(len(distinct), len(distinct))
    )
    group = connected_components(graph, directed=False)[1][group_of.ravel()]
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return tuple(sorted(tuple(g.tolist()) for g in groups if len(g) > 1))
