"""Rates of the open set: against double loops, and the laws they keep."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError
from quickstudy.metrics.open_set import aupr, auroc, fpr_at_tpr, membership, oscr

# Few different values, so that ties are common.
SCORES = st.lists(st.integers(-6, 6).map(lambda v: v / 4), min_size=1, max_size=25)
QUERIES = st.lists(
    st.tuples(st.integers(-6, 6).map(lambda v: v / 4), st.booleans(), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda rows: 0 < sum(known for _, _, known in rows) < len(rows))


@given(SCORES, SCORES)
def test_auroc_counts_pairs(known, unknown):
    pairs = [1.0 if k > u else 0.5 if k == u else 0.0 for k in known for u in unknown]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))


@given(SCORES, SCORES)
def test_aupr_adds_precision_where_recall_grows(known, unknown):
    area, before = 0.0, 0.0
    for t in sorted({*known, *unknown}, reverse=True):
        hits, false = sum(k >= t for k in known), sum(u >= t for u in unknown)
        area += (hits / len(known) - before) * hits / (hits + false)
        before = hits / len(known)
    assert aupr(known, unknown) == pytest.approx(area)


@given(SCORES, SCORES, st.sampled_from([0.05, 0.5, 0.9, 0.95, 1.0]))
def test_false_positives_at_a_rate_of_true_ones(known, unknown, tpr):
    rates = [
        np.mean(np.array(unknown) >= t)
        for t in {*known, *unknown}
        if sum(k >= t for k in known) >= tpr * len(known) - 1e-9
    ]
    assert fpr_at_tpr(known, unknown, tpr=tpr) == pytest.approx(min(rates))


def curve_by_hand(rows):
    """The area under the curve itself: correct-classification rate against false-positive rate,
    threshold by threshold.
    """
    known = [(s, c) for s, c, k in rows if k]
    unknown = [s for s, _, k in rows if not k]
    area, x0, y0 = 0.0, 0.0, 0.0
    for t in sorted({s for s, _, _ in rows}, reverse=True):
        x = sum(u >= t for u in unknown) / len(unknown)
        y = sum(s >= t and c for s, c in known) / len(known)
        area += (x - x0) * (y + y0) / 2
        x0, y0 = x, y
    return area


@given(QUERIES)
def test_oscr_is_the_area_under_its_curve(rows):
    score, correct, is_known = map(list, zip(*rows, strict=True))
    assert oscr(score, correct, is_known) == pytest.approx(curve_by_hand(rows))
    pairs = [
        float(c) * (1.0 if s > u else 0.5 if s == u else 0.0)
        for s, c, k in rows
        if k
        for u, _, other in rows
        if not other
    ]
    assert oscr(score, correct, is_known) == pytest.approx(np.mean(pairs))


@given(SCORES, SCORES)
def test_the_kinds_exchanged(known, unknown):
    assert auroc(unknown, known) == pytest.approx(1 - auroc(known, unknown))


@given(SCORES, SCORES)
def test_only_the_order_of_scores_matters(known, unknown):
    k, u = np.array(known), np.array(unknown)
    for rate in (auroc, aupr, fpr_at_tpr):
        assert rate(np.exp(k) * 3 + 7, np.exp(u) * 3 + 7) == pytest.approx(rate(k, u))


@given(QUERIES)
def test_laws_of_oscr(rows):
    score, correct, is_known = map(np.array, zip(*rows, strict=True))
    value, accuracy = oscr(score, correct, is_known), correct[is_known].mean()
    assert oscr(np.arctan(score), correct, is_known) == pytest.approx(value)
    assert 0 <= value <= accuracy + 1e-12
    assert value <= auroc(score[is_known], score[~is_known]) + 1e-12
    # Where all is right, it is the AUROC; what is said of unknowns is never asked.
    assert oscr(score, np.ones_like(correct), is_known) == pytest.approx(
        auroc(score[is_known], score[~is_known])
    )
    assert oscr(score, np.where(is_known, correct, ~correct), is_known) == value


def test_numbers_by_hand():
    assert auroc([3, 2], [1]) == 1
    assert fpr_at_tpr([3, 2], [1]) == 0
    assert fpr_at_tpr([1, 1], [1]) == 1
    # all tied: half of the accuracy
    assert oscr([1, 1, 1], [True, False, False], [True, True, False]) == pytest.approx(0.25)
    assert oscr([1, 2], [False, True], [True, False]) == 0


def test_membership_by_hand():
    out = torch.tensor([[[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]]])
    assert torch.equal(membership(out), torch.tensor([[3.0, 0.0]]))
    energy = [[np.log(np.exp(1) + np.exp(3) + 1), np.log(3)]]
    assert membership(out, "energy").numpy() == pytest.approx(np.array(energy))
    assert membership(out, "max_probability")[0, 0] == pytest.approx(
        np.exp(3) / (np.exp(1) + np.exp(3) + 1)
    )
    assert membership(out, "max_probability")[0, 1] == pytest.approx(1 / 3)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ConfigError, match="got 0 of the known and 1 of unknowns"):
        auroc([], [1.0])
    with pytest.raises(ConfigError, match="got 2 of the known and 0 of unknowns"):
        oscr([1.0, 2.0], [True, True], [True, True])
    with pytest.raises(ConfigError, match="not a finite number"):
        aupr([np.nan], [1.0])
    with pytest.raises(ConfigError, match="above 0 and at most 1, got 0"):
        fpr_at_tpr([1.0], [0.0], tpr=0)
    with pytest.raises(ConfigError, match="of 2, 1 and 2 queries"):
        oscr([1.0, 2.0], [True], [True, False])
    with pytest.raises(ConfigError, match=r"no membership score 'energies'.*energy"):
        membership(torch.zeros(1, 1, 2), "energies")
    with pytest.raises(ConfigError, match="compares with the examples"):
        membership(torch.zeros(1, 1, 2), "nearest")
