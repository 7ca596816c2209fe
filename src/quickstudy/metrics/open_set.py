"""How well a membership score separates known queries from unknown ones. Scores: higher = more like
one of the known.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean

Array = NDArray[np.float64]

SCORES = ("max_similarity", "nearest", "energy", "mahalanobis", "max_probability")
MEMBERSHIP: dict[str, Callable[[Tensor], Tensor]] = {
    "max_similarity": lambda out: out.amax(-1),
    "energy": lambda out: out.logsumexp(-1),
    "max_probability": lambda out: out.softmax(-1).amax(-1),
}


def membership(
    out: Float[Tensor, "T Q O"], unknown_score: str = "max_similarity"
) -> Float[Tensor, "T Q"]:
    """How much each query looks like a member of one of the classes, from the scores that it got.

    Args:
        out: the outputs of a learner for the queries.
        unknown_score: "max_similarity" (the highest output), "energy" (log Σ exp, Liu et al. 2020,
            arXiv:2010.03759), or "max_probability" (the highest softmax, Hendrycks and Gimpel 2017,
            arXiv:1610.02136). "nearest" and "mahalanobis" compare with the examples and are scores
            of `quickstudy.estimators.OpenSetClassifier` only.

    Raises:
        ConfigError: for a membership score that does not exist, or that needs the examples.

    >>> import torch
    >>> membership(torch.tensor([[[2.0, 2.0]]]), "max_probability")
    tensor([[0.5000]])
    """
    if unknown_score in SCORES and unknown_score not in MEMBERSHIP:
        raise ConfigError(
            f"The membership score '{unknown_score}' compares with the examples, but here are only "
            f"the outputs of a learner. Use one of {', '.join(MEMBERSHIP)}."
        )
    if unknown_score not in MEMBERSHIP:
        raise ConfigError(
            f"There is no membership score '{unknown_score}'. "
            f"{did_you_mean(unknown_score, MEMBERSHIP)}"
        )
    return MEMBERSHIP[unknown_score](out)


def auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    """The probability that one of the known scores higher than an unknown, a tie counting half: the
    area under the ROC curve.

    Args:
        known, unknown: the scores of either.

    Raises:
        ConfigError: when one of them is empty, or a score is not a finite number.

    >>> auroc([0.9, 0.4], [0.4, 0.1])
    0.875
    """
    from sklearn.metrics import auc, roc_curve

    far, found, _ = roc_curve(*_labelled(known, unknown))
    return float(auc(far, found))


def aupr(known: ArrayLike, unknown: ArrayLike) -> float:
    """Area under the precision-recall curve of finding the known, by scikit-learn's average
    precision. It depends on how many unknowns there are.

    Args and errors: as of `auroc`.

    >>> round(aupr([0.9, 0.4], [0.5, 0.1]), 4)
    0.8333
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_labelled(known, unknown)))


def fpr_at_tpr(known: ArrayLike, unknown: ArrayLike, *, tpr: float = 0.95) -> float:
    """The smallest share of unknowns let in by a threshold that lets in a share of at least
    ``tpr`` of the known.

    Args:
        known, unknown: the scores of either.
        tpr: the share, above 0 and at most 1.

    Raises:
        ConfigError: for another share, and as `auroc`.

    >>> fpr_at_tpr([0.9, 0.8, 0.4], [0.5, 0.2], tpr=0.95)
    0.5
    """
    from sklearn.metrics import roc_curve

    if not 0 < tpr <= 1:
        raise ConfigError(f"tpr is a share of the known, above 0 and at most 1, got {tpr}.")
    far, found, _ = roc_curve(*_labelled(known, unknown), drop_intermediate=False)
    return float(far[found >= tpr - 1e-12].min())


def oscr(score: ArrayLike, correct: ArrayLike, is_known: ArrayLike) -> float:
    """Area under the correct-classification rate against the false-positive rate (OSCR): known,
    accepted *and* rightly classified.

    At a threshold the first is the share of the known that score at least that and are rightly
    classified, the second the share of unknowns that score at least that. The area is the accuracy
    times the AUROC of the rightly classified against the unknowns; ties count half.

    Args:
        score: of each query, ``[n]``.
        correct: whether its most likely class is the right one, ``[n]``; what is said of unknowns
            does not matter.
        is_known: False for unknowns, ``[n]``.

    Raises:
        ConfigError: when the three are of different lengths, and as `auroc`.

    >>> oscr(
    ...     [0.9, 0.8, 0.4, 0.5, 0.2],
    ...     [True, False, True, False, False],
    ...     [True, True, True, False, False],
    ... )
    0.5

    Source: Dhamija, Günther, Boult 2018, arXiv:1811.04110, equation 5 and figure 2.
    """
    s, right, of_known = (np.asarray(given).ravel() for given in (score, correct, is_known))
    if not len(s) == len(right) == len(of_known):
        raise ConfigError(
            f"score, correct and is_known are of {len(s)}, {len(right)} and {len(of_known)} "
            "queries. Give one of each per query."
        )
    of_known = of_known.astype(bool)
    right = right.astype(bool) & of_known
    _labelled(s[of_known], s[~of_known])  # refuses what cannot be scored
    if not right.any():
        return 0.0
    return float(right.sum() / of_known.sum()) * auroc(s[right], s[~of_known])


def _labelled(known: ArrayLike, unknown: ArrayLike) -> tuple[Array, Array]:
    """Labels and scores, as scikit-learn takes them."""
    k, u = (np.asarray(s, dtype=np.float64).ravel() for s in (known, unknown))
    if not len(k) or not len(u):
        raise ConfigError(
            f"Open-set rates take scores of both kinds, got {len(k)} of the known and {len(u)} of "
            "unknowns."
        )
    if not (np.isfinite(k).all() and np.isfinite(u).all()):
        raise ConfigError(
            "A membership score is not a finite number. Check what the learner says of the queries."
        )
    return np.r_[np.ones(len(k)), np.zeros(len(u))], np.r_[k, u]
