"""What an open-set classifier refuses: the scores of unknowns, and how its examples fare."""

import numpy as np

from quickstudy.estimators.advice import Rejection
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.findings import Findings
from quickstudy.estimators.membership import log_odds
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.scaling import Array

MOST_FITS = 400


def rejection_of(model: OpenSetClassifier, findings: Findings) -> Rejection:
    """The threshold, the scores of the unknowns, and how the examples would fare."""
    members = membership_left_out(model, findings)
    return Rejection(
        model.calibration_scores_,
        model.n_unknowns_,
        model.rate_,
        model.rule_,
        model.threshold_,
        model.review_threshold_,
        members,
    )


def membership_left_out(model: OpenSetClassifier, findings: Findings) -> Array | None:
    """The membership score of each example that is not alone in its class, by the classifier
    without it; None where that took too many fits.

    Of "energy" and "max_probability" the temperature is that of the classifier with all examples.
    """
    known, rows = model.estimator_, np.flatnonzero(findings.judged)
    if model.unknown_score == "max_similarity":
        return findings.scores[rows].max(1)
    if model.unknown_score == "energy":
        return np.logaddexp.reduce(findings.scores[rows] / known.temperature, axis=1)
    if model.unknown_score == "max_probability":
        return log_odds(findings.scores[rows] / known.temperature)
    if len(rows) > MOST_FITS:
        return None
    names, out = known.classes_[known.labels_], np.empty(len(rows))
    for k, i in enumerate(rows.tolist()):
        rest = np.arange(len(names)) != i
        # The other scores look at the examples alone, so any head will do. The one left out is all
        # the cohort there is: its score is the unknown's.
        without = OpenSetClassifier(
            FewShotClassifier(),
            unknown_score=model.unknown_score,
            false_accept_rate=0.5,
            reject_label=model.reject_label,
        )
        without.fit(
            known.support_[rest],
            names[rest],
            known.weights_[rest],
            cohort=known.support_[i : i + 1],
        )
        out[k] = without.calibration_scores_[0]
    return out
