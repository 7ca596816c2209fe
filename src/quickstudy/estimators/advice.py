"""What to do about the examples of a classifier: which labels to check, and what to photograph
next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quickstudy.estimators.findings import Findings
from quickstudy.estimators.scaling import Array

_OVERLAP = 0.25  # share of the examples of two classes that are taken for the other's
_FEW = 3  # times fewer examples than is usual
_ALIKE, _TWO_ALIKE = (
    3.0,
    6.0,
)  # times closer together than is usual; two come close by chance more often than three
# to be expected above the threshold; then the real rate is hardly ever more than twice what was
# asked for
_STRANGERS = 6
_ACCEPTED = 0.8


@dataclass(frozen=True)
class Strangers:
    """Where the line to strangers was drawn, and from what.

    Args:
        scores: of the strangers ``[n]``.
        n: how many strangers there are; several scores may be of one.
        rate: the wanted share of strangers who are taken for members.
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
        """How many strangers it takes for a real rate that is hardly ever more than twice what was
        asked for.
        """
        return int(np.ceil(_STRANGERS / self.rate - 1e-9))

    @property
    def interval(self) -> tuple[float, float]:
        """Between what the real rate lies with a probability of 95 %, given that the strangers are
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
        kind: "label", "copy", "single", "overlap", "scattered", "few", "refused", "strangers",
            "alike", "outlier" or "uneven".
        text: in a plain sentence or two.
        rows: the examples that it is about, where they are few; of a label the example and the one
            that it resembles.
    """

    kind: str
    text: str
    rows: tuple[int, ...] = ()


def advise(
    told: Findings, *, strangers: Strangers | None = None, called: Sequence[str] | None = None
) -> tuple[Advice, ...]:
    """What to do next, the most useful first; nothing where all is well.

    First what costs nothing (labels to check, copies to sort out), then what keeps the classifier
    from working (single examples, overlapping classes, mistakes all over), then strangers, and last
    what would make it sturdier.

    Args:
        told: see `examine`.
        strangers: of a classifier that refuses them.
        called: what each example is called; None calls them by class and place.
    """
    names = tuple(called) if called is not None else _numbered(told)
    explained = {int(told.labels[i]) for i, _ in told.suspects} | {
        c for pair in told.confused() if _is_overlap(told, pair) for c in pair[:2]
    }
    return (
        *_labels(told, names),
        *_copies(told, names, across=True),
        *_single(told),
        *_overlaps(told),
        *_scattered(told, explained),
        *_few(told, explained),
        *_strangers(strangers),
        *_alike(told),
        *_copies(told, names, across=False),
        *_outliers(told, names),
        *_uneven(told),
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


def percent(share: float) -> str:
    """A share as text: two digits below a tenth, and 100 % only where it is all.

    >>> percent(0.0456), percent(0.5), percent(0.9999), percent(1)
    ('4.6 %', '50 %', '99.9 %', '100 %')
    """
    of = 100 * share
    return (
        f"{of:.2g} %"
        if share < 0.1
        else f"{min(of, 99.9):.1f} %"
        if 0.99 < share < 1
        else f"{of:.0f} %"
    )


def _numbered(told: Findings) -> tuple[str, ...]:
    place = np.zeros(len(told.names), np.int64)
    out = []
    for c in told.labels.tolist():
        place[c] += 1
        out.append(f"example {place[c]} of {told.names[c]}")
    return tuple(out)


def _labels(told: Findings, names: Sequence[str]) -> list[Advice]:
    return [
        Advice(
            "label",
            f"Check the label of {names[i]}. It is filed under {told.names[told.labels[i]]}, but "
            f"looks like {told.names[c]}: without it the classifier gives it "
            f"{shown(told.scores[i, c])} for {told.names[c]} and {shown(told.own[i])} for "
            f"{told.names[told.labels[i]]}.",
            (i, told.nearest_in(i, c)),
        )
        for i, c in told.suspects
    ]


def _copies(told: Findings, names: Sequence[str], *, across: bool) -> list[Advice]:
    out = []
    for group in told.copies:
        classes = sorted({int(told.labels[i]) for i in group})
        if across and len(classes) > 1:
            of = " and ".join(told.names[c] for c in classes)
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
                f"{told.names[classes[0]]} holds the same example {len(group)} times: "
                f"{listed([names[i] for i in group])}. A copy teaches nothing and makes the "
                "class look better than it is. Replace it by another one."
            )
            out.append(Advice("copy", text, group[:4]))
    return out


def _single(told: Findings) -> list[Advice]:
    of = [told.names[c] for c in np.flatnonzero(told.counts == 1)]
    if not of:
        return []
    text = (
        f"{len(of)} of {len(told.counts)} classes have one example ({listed(of)}): how well "
        "they are recognised cannot be said. Give a second."
    )
    return [Advice("single", text)]


def _is_overlap(told: Findings, pair: tuple[int, int, int]) -> bool:
    a, b, n = pair
    return n > 1 and n >= _OVERLAP * int(told.counts[a] + told.counts[b])


def _overlaps(told: Findings) -> list[Advice]:
    out = []
    for pair in told.confused(without=[i for i, _ in told.suspects]):
        a, b, n = pair
        if _is_overlap(told, pair):
            text = (
                f"{told.names[a]} and {told.names[b]} overlap: {n} of their "
                f"{told.counts[a] + told.counts[b]} examples are taken for the other's. Give more "
                "examples "
                "of both, or join them."
            )
            i = next(
                i
                for i in told.wrong.tolist()
                if {int(told.labels[i]), int(told.found[i])} == {a, b}
            )
            out.append(Advice("overlap", text, (i, told.nearest_in(i, int(told.found[i])))))
    return out


def _scattered(told: Findings, explained: set[int]) -> list[Advice]:
    out = []
    for c in np.flatnonzero((told.tried > 2) & (2 * told.right <= told.tried)).tolist():
        if c in explained:
            continue
        found = told.found[(told.labels == c) & told.judged]
        taken = [told.names[k] for k in dict.fromkeys(found[found != c].tolist())]
        text = (
            f"{told.names[c]} is recognised in {told.right[c]} of {told.tried[c]} examples; the "
            f"others are taken for {listed(taken)}. Its examples differ too much for so "
            "few: give more, and split the class if it holds several kinds of thing."
        )
        out.append(Advice("scattered", text, tuple(np.flatnonzero(told.labels == c)[:4].tolist())))
    return out


def _few(told: Findings, explained: set[int]) -> list[Advice]:
    few = [
        c
        for c in np.flatnonzero((told.counts == 2) & (told.right < told.tried)).tolist()
        if c not in explained
    ]
    if not few:
        return []
    of = listed([told.names[c] for c in sorted(few, key=lambda c: told.right[c])])
    what = "class of two examples has" if len(few) == 1 else "classes of two examples have"
    text = (
        f"{len(few)} {what} a mistake among them ({of}). Of two that differ nobody can say "
        "which is the odd one. Give a third and a fourth."
    )
    return [Advice("few", text)]


def _strangers(s: Strangers | None) -> list[Advice]:
    if s is None:
        return []
    out = []
    if s.members is not None and len(s.members):
        accepted = int((s.members > s.threshold).sum())
        if accepted < _ACCEPTED * len(s.members):
            text = (
                f"Only {accepted} of {len(s.members)} examples would be accepted if they came as "
                "new ones; the others would be called unknown. Give more examples of each "
                "class, take an encoder that was made for such things, or let in more strangers "
                f"than {percent(s.rate)}."
            )
            out.append(Advice("refused", text))
    if s.n < s.wanted:
        low, high = s.interval
        if s.rule == "cohort":
            more = f"Bring the cohort to {s.wanted} things that belong to no class."
        else:
            more = (
                f"Give a cohort of {s.wanted} things that belong to no class; at present each "
                "class plays the stranger to the others."
            )
        text = (
            f"The line to strangers rests on {s.n} of them. {percent(s.rate)} of strangers were to "
            f"be let in, but the real share may be anything from {percent(low)} "
            f"to {percent(high)}. {more}"
        )
        out.append(Advice("strangers", text))
    return out


def _alike(told: Findings) -> list[Advice]:
    known = np.flatnonzero(told.counts > 1)
    usual = float(np.median(told.spread[known])) if len(known) >= 4 else 0.0
    out = []
    for c in known.tolist():
        spread = float(told.spread[c])
        # Where they are the same, it is not for lack of variety but a copy.
        if 0 < spread * (_ALIKE if told.counts[c] > 2 else _TWO_ALIKE) < usual:
            times = usual / spread
            text = (
                f"The {told.counts[c]} examples of {told.names[c]} are {times:.0f} times closer "
                "together than is usual here, as if they were taken in one go. Add one from "
                "another time and setting: other light, background, distance or device."
            )
            out.append(Advice("alike", text, tuple(np.flatnonzero(told.labels == c)[:4].tolist())))
    return out


def _outliers(told: Findings, names: Sequence[str]) -> list[Advice]:
    return [
        Advice(
            "outlier",
            f"{names[i]} looks unlike the other examples of {told.names[told.labels[i]]} (its "
            f"score for the class is {shown(told.own[i])}). If it is spoilt, replace "
            "it; if things do look like this at times, add more like it.",
            (i,),
        )
        for i in told.outliers
    ]


def _uneven(told: Findings) -> list[Advice]:
    usual = float(np.median(told.counts))
    few = np.flatnonzero((told.counts > 1) & (told.counts * _FEW <= usual))
    if not len(few):
        return []
    of = listed([f"{told.names[c]} {told.counts[c]}" for c in few])
    return [
        Advice(
            "uneven",
            f"Half of the classes have {usual:g} examples or more, but {len(few)} far fewer "
            f"({of}). Bring them up.",
        )
    ]
