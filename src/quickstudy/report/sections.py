"""What each section of the page shows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax

from quickstudy.core.words import counted, percent, percent_range, rounded
from quickstudy.estimators.advice import Advice, Rejection, listed, shown
from quickstudy.estimators.findings import Findings
from quickstudy.estimators.sets import needed_for_sets
from quickstudy.report.charts import Chart, chart
from quickstudy.report.marks import as_other
from quickstudy.report.thumbnails import Items

_MATRIX = 40
_ADVICE, _OF_A_KIND, _MORE_ADVICE = 12, 4, 40
_MISTAKES, _MORE_MISTAKES = 18, 100
_CLOSE = 6
_ROWS, _MORE_ROWS, _CONFUSIONS = 30, 170, 60
_IN_A_ROW = 6
_NAMED = 90  # letters of all names together, up to which they are listed at the top
TAGS = {
    "label": "Wrong label?",
    "copy": "Same example twice",
    "single": "One example only",
    "overlap": "Overlap",
    "scattered": "Hard class",
    "few": "Only two examples",
    "refused": "Members refused",
    "unknowns": "Few unknowns",
    "alike": "Too alike",
    "outlier": "Odd one",
    "uneven": "Few examples",
}


def verdict(findings: Findings) -> dict[str, Any]:
    """The answer in one sentence, and its interval."""
    from scipy.stats import binomtest

    n, right, classes = int(findings.judged.sum()), int(findings.right.sum()), len(findings.names)
    alone = int((~findings.judged).sum())
    if classes == 1 or not n:
        why = (
            "There is one class, so its examples cannot be taken for anything else."
            if classes == 1
            else (
                "Every class has a single example, so nothing can be said yet of how well they are "
                "told apart."
                if (findings.counts == 1).all()
                else "No example could be judged."
            )
        )
        what = (
            ""
            if classes == 1
            else "A second example of each class, from another day or place, changes that."
        )
        return {"share": None, "sentence": why, "caveat": what}
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    sentence = (
        f"{right:,} of {n:,} examples are recognised by the classifier that learned from the "
        f"others ({percent(right / n)}; 95 % interval {percent_range(low, high)})."
    )
    if alone:
        sentence += (
            f" {alone:,} {'is' if alone == 1 else 'are'} alone in "
            f"{'its' if alone == 1 else 'their'} class and could not be judged."
        )
    caveat = (
        "This is how well your examples know each other, not a promise for new ones: images "
        "taken in one go resemble each other more than tomorrow's will. "
        "Each example is judged with one fewer of its class than the classifier has."
    )
    return {
        "share": _floor_percent(right, n),
        "exact": round(100 * right / n, 2),
        "low": int(rounded(100 * low)),
        "high": int(rounded(100 * high)),
        "chance": float(rounded(100 / classes, 1)) if classes > 66 else int(rounded(100 / classes)),
        "sentence": sentence,
        "caveat": caveat,
    }


def facts(
    findings: Findings, head: str, encoder: str, rejection: Rejection | None
) -> list[tuple[str, str]]:
    """What was fitted, in a few words each."""
    counts, n = findings.counts, len(findings.names)
    each = (
        f"{counts.min()} each"
        if counts.min() == counts.max()
        else f"{counts.min()} to {counts.max()} each, {np.median(counts):g} in the middle"
    )
    names = (
        f": {listed([as_other(name) for name in findings.names], most=12)}"
        if len("".join(findings.names)) < _NAMED
        else ""
    )
    vectors = f"{counted(findings.x.shape[1], 'number')} per example"
    out = [
        ("Classes", f"{n:,}{names}"),
        ("Examples", f"{len(findings.labels):,}; {each}"),
        ("Head", head),
        ("Encoder", f"{as_other(encoder)}; {vectors}") if encoder else ("Vectors", vectors),
    ]
    if rejection is not None:
        out.append(
            (
                "Unknowns",
                f"refused below {shown(rejection.threshold)}, for a false-accept rate of "
                f"{percent(rejection.rate)}, by the rule: {rejection.rule}",
            )
        )
    return out


def todo(advice: Sequence[Advice], items: Items) -> dict[str, Any]:
    """What to do, with the pictures it is about."""

    def item(a: Advice, pictures: bool) -> dict[str, Any]:
        return {
            "kind": a.kind,
            "tag": TAGS[a.kind],
            "text": a.text,
            "examples": [items[i] for i in a.rows if i >= 0 and items.is_picture(i)]
            if pictures
            else [],
        }

    seen: Counter[str] = Counter()
    first: list[Advice] = []
    later: list[Advice] = []
    for a in advice:
        seen[a.kind] += 1
        (first if seen[a.kind] <= _OF_A_KIND and len(first) < _ADVICE else later).append(a)
    second = later[:_MORE_ADVICE]
    return {
        "shown": [item(a, True) for a in first],
        "more": [item(a, False) for a in second],
        "rest": len(later) - len(second),
    }


def mistakes(findings: Findings, items: Items) -> dict[str, Any]:
    """The examples that were taken for another class."""
    wrong, suspects = findings.wrong.tolist(), {i for i, _ in findings.suspects}
    known = findings.scores[findings.judged]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)

    def words(i: int) -> dict[str, Any]:
        return {
            "name": items.names[i],
            "true": findings.names[findings.labels[i]],
            "taken": findings.names[findings.predicted[i]],
            "own": shown(findings.own[i]),
            "other": shown(findings.other[i]),
        }

    def card(i: int) -> dict[str, Any]:
        twin = findings.nearest_in(i, int(findings.predicted[i]))
        mate = findings.nearest_in(i, int(findings.labels[i]))
        bars = [
            round(100 * (float(s) - low) / ((high - low) or 1.0), 1)
            for s in (findings.other[i], findings.own[i])
        ]
        return words(i) | {
            "item": items[i],
            "twin": items[twin],
            "mate": items[mate] if mate >= 0 else None,
            "suspect": i in suspects,
            "bars": bars,
        }

    more = wrong[_MISTAKES : _MISTAKES + _MORE_MISTAKES]
    return {
        "shown": [card(i) for i in wrong[:_MISTAKES]],
        "more": [words(i) for i in more],
        "rest": max(0, len(wrong) - _MISTAKES - len(more)),
        "total": len(wrong),
    }


def pairs(findings: Findings, items: Items) -> list[dict[str, Any]]:
    """The pairs of classes that lie closest, each by its two most similar examples."""
    taken = {(a, b): n for a, b, n in findings.confused()}
    out = []
    for a, b, apart in findings.pairs[:_CLOSE]:
        first, second = np.flatnonzero(findings.labels == a), np.flatnonzero(findings.labels == b)
        one, two = findings.x[first], findings.x[second]
        squares = (one * one).sum(1)[:, None] - 2 * one @ two.T + (two * two).sum(1)
        i, j = np.unravel_index(int(squares.argmin()), squares.shape)
        n = taken.get((a, b), 0)
        out.append(
            {
                "names": (findings.names[a], findings.names[b]),
                "examples": (items[int(first[i])], items[int(second[j])]),
                "apart": _apart(findings, apart),
                "mistakes": f"{n} taken for the other"
                if n
                else "no mistake between them"
                if findings.judged.any()
                else "not tried",
            }
        )
    return out


def pairs_said(findings: Findings) -> str:
    """What the numbers in the section of pairs mean."""
    start = (
        "The pairs that are likeliest to be mixed up, mistakes or not, each by its two most "
        "similar examples. "
    )
    if not np.isfinite(findings.spread).any():
        return (
            f"{start}How far apart is the distance of the two examples, as no class has two "
            "from which to see how far its own lie apart."
        )
    usual = (
        float(np.median(findings.separation[np.isfinite(findings.separation)]))
        if np.isfinite(findings.separation).any()
        else 0.0
    )
    return (
        f"{start}How far apart is the distance of the class means in units of how far examples lie "
        "from the mean of their class, less what chance adds to so few. In the "
        f"middle a class is {usual:,.2f} away from its nearest one."
    )


def matrix(findings: Findings) -> dict[str, Any] | None:
    """The confusion matrix, where it is not too large to be read."""
    n = len(findings.names)
    if not 1 < n <= _MATRIX or not findings.judged.any():
        return None
    counts = np.zeros((n, n), np.int64)
    np.add.at(counts, (findings.labels[findings.judged], findings.predicted[findings.judged]), 1)
    rows = []
    for a in range(n):
        total = max(int(counts[a].sum()), 1)
        cells = [
            {
                "n": int(k),
                "share": round(k / total, 2),
                "hit": a == b,
                "said": f"{findings.names[a]} taken for {findings.names[b]}: {k} of {total}",
            }
            if (k := int(counts[a, b]))
            else None
            for b in range(n)
        ]
        rows.append(
            {"name": findings.names[a], "cells": cells, "single": not counts[a].any(), "at": a}
        )
    return {"names": findings.names, "rows": rows}


def confusions(findings: Findings) -> dict[str, Any] | None:
    """Only the rows with mistakes, where the matrix would be too large."""
    if len(findings.names) <= _MATRIX:
        return None
    taken: dict[int, Counter[int]] = {}
    for i in findings.wrong.tolist():
        taken.setdefault(int(findings.labels[i]), Counter())[int(findings.predicted[i])] += 1
    order = sorted(
        taken, key=lambda c: (-taken[c].total(), findings.right[c] / findings.tried[c], c)
    )
    if not order:
        return None
    rows = [
        {
            "name": findings.names[c],
            "right": int(findings.right[c]),
            "tried": int(findings.tried[c]),
            "taken": [(findings.names[k], n) for k, n in taken[c].most_common(6)],
            "cut": len(taken[c]) > 6,
        }
        for c in order[:_CONFUSIONS]
    ]
    return {
        "shown": rows,
        "rest": len(order) - len(rows),
        "fine": len(findings.names) - len(order),
        "total": len(findings.names),
    }


def scores(findings: Findings) -> Chart | None:
    """The scores for the own and the best other class."""
    if len(findings.names) < 2 or not findings.judged.any():
        return None
    return chart(
        [
            ("For the own class, without the example", "own", findings.own),
            ("For the best other class", "other", findings.other),
        ]
    )


def unknowns(s: Rejection | None) -> dict[str, Any] | None:
    """The scores of unknowns, and the threshold between them and members."""
    if s is None:
        return None
    over = float((s.scores > s.threshold).mean())
    low, high = s.interval
    several = "" if s.n == len(s.scores) else f" ({counted(len(s.scores), 'score')})"
    said = (
        f"What scores above {shown(s.threshold)} is accepted. Of {s.n:,} unknowns{several} "
        f"{percent(over)} are; {percent(s.rate)} were asked for, and given so many "
        f"unknowns the real share lies between {percent_range(low, high, to='and')} (95 %)."
    )
    groups = (
        []
        if s.members is None
        else [("Examples, each by the classifier without it", "own", s.members)]
    )
    if s.members is not None and len(s.members):
        accepted = int((s.members > s.threshold).sum())
        said += (
            f" Of the examples, each left out, {accepted:,} of {len(s.members):,} would be "
            f"accepted ({percent(accepted / len(s.members))})."
        )
        sure = int((s.members > max(s.threshold, s.review_threshold)).sum())
        if s.review_threshold != s.threshold:
            said += (
                f" {sure:,} of them lie above {shown(max(s.threshold, s.review_threshold))}, "
                "where the answer is certain; in the grey band a person should look."
            )
    how = (
        "The unknowns are the cohort that was given. The threshold holds for unknowns like these."
        if s.rule == "cohort"
        else "There was no cohort, so the examples of each class in turn played the unknown to "
        "the others. Unknowns of other kinds may score higher or lower."
    )
    review = s.review_threshold if s.review_threshold != s.threshold else None
    label = "Unknowns, for the class they look like most"
    return {
        "said": said,
        "how": how,
        "chart": chart([*groups, (label, "unknowns", s.scores)], line=s.threshold, until=review),
    }


def prediction_sets(
    findings: Findings, temperature: float, *, alpha: float = 0.1
) -> dict[str, Any] | None:
    """How many classes the prediction set of each example holds, by the classifier without it; None
    where there are too few examples for this α, or one class.

    Args:
        findings: what they are of.
        temperature: what scores are divided by before the softmax.
        alpha: the share of cases in which a set may miss the right class.
    """
    rows = np.flatnonzero(findings.judged)
    n, y = len(rows), findings.labels[rows]
    if len(findings.names) < 2 or n < needed_for_sets(alpha) + 1:
        return None
    conformity = log_softmax(findings.scores[rows] / temperature, axis=1)
    own = conformity[np.arange(n), y]
    below = np.searchsorted(np.sort(own), conformity, side="right")
    # The example itself is not compared with itself, but counts as the one that is asked about.
    below = below - (own[:, None] <= conformity) + 1
    inside = below / n > alpha
    inside[np.arange(n), conformity.argmax(1)] = True
    sizes = inside.sum(1)
    hit = int(inside[np.arange(n), y].sum())
    return {
        "said": f"So many classes that the right one is missing in {percent(alpha)} of cases at "
        f"most, for examples like these: {sizes.mean():.2g} of {len(findings.names)} on average. "
        f"Each example was left out and asked about: {hit:,} of {n:,} sets hold its class.",
        "how": f"quickstudy predict --sets {alpha:g}",
        "sizes": [(int(k), int((sizes == k).sum())) for k in np.unique(sizes)],
    }


def classes(findings: Findings, items: Items) -> dict[str, Any]:
    """A row per class: those with trouble first."""
    n, right, tried, counts = len(findings.names), findings.right, findings.tried, findings.counts
    if n == 1:
        tried = np.zeros_like(tried)  # there was nothing to take its examples for
    margin = np.bincount(
        findings.labels[findings.judged],
        (findings.own - findings.other)[findings.judged],
        minlength=n,
    )
    clear = np.where(tried > 0, margin / np.maximum(tried, 1), np.inf)
    group = np.where(right < tried, 0, np.where(tried == 0, 1, 2))
    share = np.where(tried > 0, right / np.maximum(tried, 1), 1.0)
    order = np.lexsort((np.arange(n), clear, share, group)).tolist()
    marks = dict.fromkeys(findings.wrong.tolist(), "taken for another class") | dict.fromkeys(
        findings.outliers, "looks unlike its class"
    )
    marks |= {i: f"looks like {findings.names[c]}" for i, c in findings.suspects}
    within = [g for g in findings.copies if len({int(findings.labels[i]) for i in g}) == 1]
    starts = np.r_[0, np.cumsum(counts)]

    def row(c: int, room: int) -> dict[str, Any]:
        mine = list(range(starts[c], starts[c + 1]))
        chosen = sorted(sorted(mine, key=lambda i: i not in marks)[:room])
        looks = [(items[i], marks.get(i, "")) for i in chosen if items.is_picture(i)]
        remarks = ["one example only"] if counts[c] == 1 else []
        remarks += _counted(
            sum(int(findings.labels[i]) == c for i, _ in findings.suspects),
            "may carry a wrong label",
            "may carry wrong labels",
        )
        remarks += _counted(
            sum(int(findings.labels[i]) == c for i in findings.outliers),
            "looks unlike the rest",
            "look unlike the rest",
        )
        remarks += _counted(
            sum(len(g) - 1 for g in within if findings.labels[g[0]] == c),
            "is a copy of another",
            "are copies of others",
        )
        other = int(findings.neighbour[c])
        return {
            "name": findings.names[c],
            "examples": looks,
            "count": int(counts[c]),
            "right": int(right[c]),
            "tried": int(tried[c]),
            "own": shown(float(np.mean(findings.own[(findings.labels == c) & findings.judged])))
            if tried[c]
            else "",
            "neighbour": findings.names[other] if other >= 0 else "",
            "apart": f"({findings.separation[c]:,.2f})" if other >= 0 else "",
            "remarks": remarks,
        }

    first, second = order[:_ROWS], order[_ROWS : _ROWS + _MORE_ROWS]
    shown_rows = [
        row(c, room) for c, room in zip(first, _rooms(items.left, len(first)), strict=True)
    ]
    more = [row(c, room) for c, room in zip(second, _rooms(items.left, len(second)), strict=True)]
    columns = [
        c for c in ("examples", "neighbour", "remarks") if any(r[c] for r in [*shown_rows, *more])
    ]
    return {
        "shown": shown_rows,
        "more": more,
        "rest": n - len(first) - len(second),
        "columns": columns,
    }


def about(findings: Findings, score: str, *, is_exact: bool) -> list[str]:
    """How the numbers are computed.

    Args:
        findings: what they are of.
        score: what a score is.
        is_exact: each example was left out by itself, however many there are.
    """
    some = (
        ""
        if is_exact or len(findings.labels) <= 100
        else " (with so many examples, several are left out at a time, at most a few of each class)"
    )
    return [
        f"Leave one out: each example is scored by the classifier fitted without it{some}, so no "
        "example helps to recognise itself. An example that is alone in its class "
        f"cannot be judged. {score}",
        "The interval is Wilson's for a share. It takes the examples for independent; several "
        "images of one object are not, so the truth may lie outside of it more often "
        "than one time in twenty.",
        "An example may carry a wrong label where it scores far more for another class than for "
        "its own, while half or more of its classmates are recognised. It looks unlike "
        "its class where it scores far less for it than its classmates do, and hardly more than "
        "for another. Far is three and four times the usual deviation from the "
        "classmates. These are hints where to look, not findings.",
    ]


def _rooms(left: int, rows: int) -> list[int]:
    """How many pictures each of so many rows may show."""
    each, over = divmod(max(left, 0), max(rows, 1))
    return [min(_IN_A_ROW, each + (k < over)) for k in range(rows)]


def _counted(n: int, one: str, several: str) -> list[str]:
    return [f"{n} {one if n == 1 else several}"] if n else []


def _apart(findings: Findings, value: float) -> str:
    if not np.isfinite(findings.spread).any():
        return f"{shown(value)} apart"
    return (
        f"{value:,.2f} spreads apart"
        if value > 0
        else "no further apart than chance would have them"
    )


def _floor_percent(right: int, n: int) -> int:
    """Rounded, but 100 only where all are right."""
    return min(int(rounded(100 * right / n)), 99) if right < n else 100
