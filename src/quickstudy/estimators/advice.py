"""What to do about the examples of a classifier: which labels to check, and what to photograph
next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quickstudy.core.words import counted, percent, percent_range
from quickstudy.estimators.findings import Findings
from quickstudy.estimators.scaling import Array

_OVERLAP = 0.25  # share of the examples of two classes that are taken for the other's
_FEW = 3  # times fewer examples than is usual
# times closer together than is usual; two come close by chance more often than three
_ALIKE, _TWO_ALIKE = (
    3.0,
    6.0,
)
# to be expected above the threshold; then the real rate is hardly ever more than twice what was
# asked for
_UNKNOWNS = 6
_ACCEPTED = 0.8


@dataclass(frozen=True)
class Rejection:
    """Where the threshold for unknowns lies, and from what scores it comes.

    Args:
        scores: of the unknowns ``[n]``.
        n: how many unknowns there are; several scores may be of one.
        rate: the wanted share of unknowns that are taken for members.
        rule: "cohort" or "leave one class out".
        threshold: what is above is accepted.
        review_threshold: where certainty begins.
        members: the membership scores of the examples, each by the classifier without it; None
            where they were too many to compute.
    """

    scores: Array
    n: int
    rate: float
    rule: str
    threshold: float
    review_threshold: float
    members: Array | None

    @property
    def wanted(self) -> int:
        """How many unknowns it takes for a real rate that is hardly ever more than twice what was
        asked for.
        """
        return int(np.ceil(_UNKNOWNS / self.rate - 1e-9))

    @property
    def interval(self) -> tuple[float, float]:
        """Between what the real rate lies with a probability of 95 %, given that the unknowns are
        like those to come, each with one score.

        The rate above the k-th smallest of n scores is distributed as Beta(n + 1 − k, k) (Vovk
        2012, arXiv:1209.2673, proposition 2a).
        """
        from scipy.stats import beta

        k = min(int(np.ceil((self.n + 1) * (1 - self.rate) - 1e-9)), self.n)
        low, high = beta.ppf([0.025, 0.975], self.n + 1 - k, k)
        return float(low), float(high)


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Args:
        kind: "label", "copy", "single", "overlap", "scattered", "few", "refused", "unknowns",
            "alike", "outlier" or "uneven".
        text: in a plain sentence or two.
        rows: the examples that it is about, where they are few; of a label the example and the one
            that it resembles.
    """

    kind: str
    text: str
    rows: tuple[int, ...] = ()


def advise(
    findings: Findings,
    *,
    rejection: Rejection | None = None,
    called: Sequence[str] | None = None,
    of_table: bool = False,
) -> tuple[Advice, ...]:
    """What to do next, the most useful first; nothing where all is well.

    First what costs nothing (labels to check, copies to sort out), then what keeps the classifier
    from working (single examples, overlapping classes, mistakes all over), then unknowns, and last
    what would make it sturdier.

    Args:
        findings: see `examine`.
        rejection: of a classifier that says unknown.
        called: what each example is called; None calls them by class and place.
        of_table: examples are rows of a table: of few columns many are the same by nature, and
            nothing can be photographed anew.
    """
    names = tuple(called) if called is not None else _numbered(findings)
    explained = {int(findings.labels[i]) for i, _ in findings.suspects} | {
        c for pair in findings.confused() if _is_overlap(findings, pair) for c in pair[:2]
    }
    return (
        *_labels(findings, names),
        *(_same_rows(findings, names) if of_table else _copies(findings, names, across=True)),
        *_single(findings),
        *_overlaps(findings),
        *_scattered(findings, explained),
        *_few(findings, explained),
        *_unknowns(rejection),
        *(() if of_table else _alike(findings)),
        *(() if of_table else _copies(findings, names, across=False)),
        *_outliers(findings, names),
        *_uneven(findings),
    )


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """The first few, and a sign that there are more.

    >>> listed(["a", "b", "c"], most=2)
    'a, b …'
    """
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def shown(score: float) -> str:
    """A score as text, in three digits or so, with a minus that looks like one.

    >>> shown(0.8172), shown(-4.25), shown(-1234.5)
    ('0.817', '−4.25', '−1,234')
    """
    size = abs(score)
    decimals = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{score:,.{decimals}f}".replace("-", "−")


def _numbered(findings: Findings) -> tuple[str, ...]:
    number = np.zeros(len(findings.names), np.int64)
    out = []
    for c in findings.labels.tolist():
        number[c] += 1
        out.append(f"example {number[c]} of {findings.names[c]}")
    return tuple(out)


def _labels(findings: Findings, names: Sequence[str]) -> list[Advice]:
    out = []
    for i, c in findings.suspects:
        own = findings.names[findings.labels[i]]
        other = findings.names[c]
        text = (
            f"Check the label of {names[i]}. It is filed under {own}, but looks like {other}: "
            f"without it the classifier gives it {_given(findings, i, c)} for {other} and "
            f"{_given(findings, i, int(findings.labels[i]))} for {own}."
        )
        out.append(Advice("label", text, (i, findings.nearest_in(i, c))))
    return out


def _given(findings: Findings, i: int, c: int) -> str:
    """What an example gets for a class: the probability where it is known, else the score."""
    probability = findings.probabilities[i, c]
    return percent(probability) if np.isfinite(probability) else shown(findings.scores[i, c])


def _same_rows(findings: Findings, names: Sequence[str]) -> list[Advice]:
    """One hint for all rows that are the same in everything but the class."""
    groups = [g for g in findings.copies if len({int(findings.labels[i]) for i in g}) > 1]
    if not groups:
        return []
    rows = sorted(i for group in groups for i in group)
    text = (
        f"{len(rows)} rows have a twin in another class, the same in all columns: "
        f"{listed([names[i] for i in rows])}. Nothing can tell them apart. Correct the label where "
        "it is wrong; else learn from more columns."
    )
    return [Advice("copy", text, tuple(groups[0][:4]))]


def _copies(findings: Findings, names: Sequence[str], *, across: bool) -> list[Advice]:
    out = []
    for group in findings.copies:
        classes = sorted({int(findings.labels[i]) for i in group})
        if across and len(classes) > 1:
            of = " and ".join(findings.names[c] for c in classes)
            out.append(
                Advice(
                    "copy",
                    f"The same example is filed under {of}: {listed([names[i] for i in group])}. "
                    "Keep it where it belongs.",
                    group[:4],
                )
            )
        elif not across and len(classes) == 1:
            text = (
                f"{findings.names[classes[0]]} holds the same example {len(group)} times: "
                f"{listed([names[i] for i in group])}. A copy teaches nothing and makes the "
                "class look better than it is. Replace it by another one."
            )
            out.append(Advice("copy", text, group[:4]))
    return out


def _single(findings: Findings) -> list[Advice]:
    of = [findings.names[c] for c in np.flatnonzero(findings.counts == 1)]
    if not of:
        return []
    text = (
        f"{len(of)} of {len(findings.counts)} classes have one example ({listed(of)}): how well "
        "they are recognised cannot be said. Give a second."
    )
    return [Advice("single", text)]


def _is_overlap(findings: Findings, pair: tuple[int, int, int]) -> bool:
    a, b, n = pair
    return n > 1 and n >= _OVERLAP * int(findings.counts[a] + findings.counts[b])


def _overlaps(findings: Findings) -> list[Advice]:
    out = []
    for pair in findings.confused(without=[i for i, _ in findings.suspects]):
        a, b, n = pair
        if _is_overlap(findings, pair):
            text = (
                f"{findings.names[a]} and {findings.names[b]} overlap: of their "
                f"{findings.counts[a] + findings.counts[b]} examples "
                f"{counted(n, 'is', 'are')} taken for the other's. "
                "Give more examples of both, or join them."
            )
            i = next(
                i
                for i in findings.wrong.tolist()
                if {int(findings.labels[i]), int(findings.predicted[i])} == {a, b}
            )
            out.append(
                Advice("overlap", text, (i, findings.nearest_in(i, int(findings.predicted[i]))))
            )
    return out


def _scattered(findings: Findings, explained: set[int]) -> list[Advice]:
    out = []
    for c in np.flatnonzero((findings.tried > 2) & (2 * findings.right <= findings.tried)).tolist():
        if c in explained:
            continue
        taken_for = findings.predicted[(findings.labels == c) & findings.judged]
        others = dict.fromkeys(taken_for[taken_for != c].tolist())
        taken = [findings.names[k] for k in others]
        text = (
            f"{findings.names[c]} is recognised in {findings.right[c]} of {findings.tried[c]} "
            f"examples; the others are taken for {listed(taken)}. Its examples differ too much for "
            "so few: give more, and split the class if it holds several kinds of thing."
        )
        out.append(
            Advice("scattered", text, tuple(np.flatnonzero(findings.labels == c)[:4].tolist()))
        )
    return out


def _few(findings: Findings, explained: set[int]) -> list[Advice]:
    few = [
        c
        for c in np.flatnonzero((findings.counts == 2) & (findings.right < findings.tried)).tolist()
        if c not in explained
    ]
    if not few:
        return []
    of = listed([findings.names[c] for c in sorted(few, key=lambda c: findings.right[c])])
    what = "class of two examples has" if len(few) == 1 else "classes of two examples have"
    text = (
        f"{len(few)} {what} a mistake among them ({of}). Of two that differ nobody can say "
        "which is the odd one. Give a third and a fourth."
    )
    return [Advice("few", text)]


def _unknowns(rejection: Rejection | None) -> list[Advice]:
    if rejection is None:
        return []
    out = []
    if rejection.members is not None and len(rejection.members):
        accepted = int((rejection.members > rejection.threshold).sum())
        if accepted < _ACCEPTED * len(rejection.members):
            text = (
                f"Only {accepted} of {len(rejection.members)} examples would be accepted if they "
                "came as new ones; the others would be called unknown. Give more examples of each "
                "class, take an encoder that was made for such things, or allow a false-accept "
                f"rate above {percent(rejection.rate)}."
            )
            out.append(Advice("refused", text))
    if rejection.n < rejection.wanted:
        low, high = rejection.interval
        if rejection.rule == "cohort":
            more = (
                f"Bring the cohort to {counted(rejection.wanted, 'item')} that belong to no class."
            )
        else:
            more = (
                f"Give a cohort of {rejection.wanted} items that belong to no class; at present "
                "each class plays the unknown to the others."
            )
        text = (
            f"The threshold rests on {rejection.n} unknowns. A false-accept rate of "
            f"{percent(rejection.rate)} was asked for, but the real one may be anything from "
            f"{percent_range(low, high)}. {more}"
        )
        out.append(Advice("unknowns", text))
    return out


def _alike(findings: Findings) -> list[Advice]:
    known = np.flatnonzero(findings.counts > 1)
    usual = float(np.median(findings.spread[known])) if len(known) >= 4 else 0.0
    out = []
    for c in known.tolist():
        spread = float(findings.spread[c])
        # Where they are the same, it is not for lack of variety but a copy.
        if 0 < spread * (_ALIKE if findings.counts[c] > 2 else _TWO_ALIKE) < usual:
            times = usual / spread
            text = (
                f"The {findings.counts[c]} examples of {findings.names[c]} are {times:.0f} times "
                "closer together than is usual here, as if they were taken in one go. Add one from "
                "another time and setting: other light, background, distance or device."
            )
            out.append(
                Advice("alike", text, tuple(np.flatnonzero(findings.labels == c)[:4].tolist()))
            )
    return out


def _outliers(findings: Findings, names: Sequence[str]) -> list[Advice]:
    return [
        Advice(
            "outlier",
            f"{names[i]} looks unlike the other examples of "
            f"{findings.names[findings.labels[i]]} (its score for the class is "
            f"{shown(findings.own[i])}). If it is spoilt, replace "
            "it; if such examples do come at times, add more like it.",
            (i,),
        )
        for i in findings.outliers
    ]


def _uneven(findings: Findings) -> list[Advice]:
    usual = float(np.median(findings.counts))
    few = np.flatnonzero((findings.counts > 1) & (findings.counts * _FEW <= usual))
    if not len(few):
        return []
    of = listed([f"{findings.names[c]} {findings.counts[c]}" for c in few])
    return [
        Advice(
            "uneven",
            f"Half of the classes have {usual:g} examples or more, but {len(few)} far fewer "
            f"({of}). Bring them up.",
        )
    ]
