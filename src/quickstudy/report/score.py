"""The page of a score: how a fitted model does on labelled items that it has not seen."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from quickstudy.core.words import counted, percent, percent_range, rounded
from quickstudy.estimators.scoring import Score
from quickstudy.evaluation import versions
from quickstudy.report.build import part_of_page, template, write_page
from quickstudy.report.thumbnails import Items

_MISTAKES, _CLASSES, _ANSWERS = 150, 200, 6


def score_page(score: Score, file: str | Path, *, title: str = "") -> Path:
    """Write a page about a score: accuracy and its interval, every class with what its items were
    taken for, and the mistakes with their pictures.

    It is one HTML file that needs no network and no script. Pictures that cannot be read are
    replaced by a note.

    Args:
        score: as `quickstudy.estimators.score_model` returns it.
        file: where to write; folders on the way are made.
        title: above it; empty = "How the model does on new items".

    Raises:
        ConfigError: when the file cannot be written; an older one stays then.
    """
    wrong = [item for item in score.known if not item.is_right]
    accepted = [item for item in score.unknown if item.answer.label != score.reject_label]
    # The surest mistakes first: they tell most.
    shown = sorted([*wrong, *accepted], key=lambda item: -(item.answer.probability or 0.0))
    some = shown[:_MISTAKES]
    items = Items([item.answer.item for item in some])
    mistakes = [
        {
            "item": items[i],
            "true": item.folder,
            "taken": str(item.answer.label),
            "probability": f"{item.answer.probability or 0.0:.2f}",
            "is_known": item.label is not None,
        }
        for i, item in enumerate(some)
    ]
    low, high = score.interval
    text = template("score.html.jinja").render(
        title=title or "How the model does on new items",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        css=Markup(part_of_page("page.css")),
        share=_whole(score.accuracy),
        exact=round(100 * score.accuracy, 2),
        low=int(rounded(100 * low)),
        high=int(rounded(100 * high)),
        sentence=_sentence(score),
        unknown=_unknown(score),
        rows=_rows(score)[:_CLASSES],
        rest=max(0, len(score.by_class()) - _CLASSES),
        mistakes=mistakes,
        more=len(shown) - len(some),
        unread=[answer.error for answer in score.unread[:_MISTAKES]],
        n_unread=len(score.unread),
        thumbnails=items.thumbnails,
        versions=list(versions().items()),
    )
    return write_page(text, file)


def _sentence(score: Score) -> str:
    right = sum(item.is_right for item in score.known)
    low, high = score.interval
    text = (
        f"{right:,} of {len(score.known):,} new items got their class "
        f"({percent(score.accuracy)}; 95 % interval {percent_range(low, high)})."
    )
    if score.reject_label is not None:
        text += f" {percent(score.false_reject_rate)} of them were called unknown."
    return text


def _unknown(score: Score) -> str:
    if not score.unknown:
        return ""
    low, high = score.false_accept_interval
    return (
        f"Of {counted(len(score.unknown), 'item')} of classes that the model does not know, "
        f"{percent(score.false_accept_rate)} were taken for a class (95 % interval {percent(low)} "
        f"to {percent(high)})."
    )


def _rows(score: Score) -> list[dict[str, Any]]:
    """A row per class, those with the most mistakes first."""
    known = {str(label) for label in score.classes}
    rows = []
    for name, counts in score.by_class().items():
        total = sum(counts.values())
        # An item of a class that the model does not know is right when it is called unknown.
        right = counts.get(name if name in known else str(score.reject_label), 0)
        others = [(other, n) for other, n in counts.items() if other != name]
        rows.append(
            {
                "name": name,
                "is_known": name in known,
                "right": right,
                "total": total,
                "taken": others[:_ANSWERS],
                "cut": len(others) > _ANSWERS,
            }
        )
    return sorted(rows, key=lambda row: row["right"] / row["total"])


def _whole(share: float) -> int:
    """In percent, and 100 only where it is all."""
    return 100 if share == 1 else min(int(rounded(100 * share)), 99)
