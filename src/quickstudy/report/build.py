"""The page: what it says, put together from findings, advice and pictures, and written to a
file.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.errors import ConfigError
from quickstudy.estimators.advice import advise
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.findings import examine
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.evaluation import versions
from quickstudy.report import marks, sections
from quickstudy.report.thumbnails import Things
from quickstudy.report.unknowns import strangers_of

if TYPE_CHECKING:
    from jinja2 import Template

HEADS = {
    "prototype": (
        "prototypes: the nearest class mean",
        "The score is the cosine to the mean of a class: 1 is the same, 0 has nothing in common.",
    ),
    "cosine": (
        "cosine: class directions fine-tuned from the means",
        "The score is ten times the cosine to the direction of a class.",
    ),
    "ridge": (
        "ridge regression",
        "The score is that of a ridge regression: about +1 for the class, about −1 for others.",
    ),
    "logistic": (
        "logistic regression",
        "The score is the logarithm of the class's probability: 0 is certainty.",
    ),
    "learner": (
        "a meta-trained learner",
        "The score is the output of the learner: higher is likelier.",
    ),
}
_EUCLIDEAN = "The score is minus the squared distance to the mean of a class: 0 is the same."


def fit_page(
    model: FewShotClassifier | OpenSetClassifier,
    file: str | Path,
    *,
    things: Sequence[Any],
    title: str = "",
    notes: Sequence[str] = (),
    encoder: str = "",
) -> Path:
    """Write a page about a fitted classifier: how well its examples recognise each other, what is
    taken for what, and what to do next.

    It is one HTML file that needs no network and no script, whatever the number of classes at most
    a few MB. Pictures that cannot be read are replaced by a note.

    Args:
        model: a fitted classifier.
        file: where to write; folders on the way are made.
        things: the examples in the order of the classifier's ``support_`` (sorted by class,
            otherwise as they were given): paths of pictures, which are shown small; paths of other
            files, by name; sentences; or the numbers of rows.
        title: above it; empty = "How well the classes are told apart".
        notes: what is known of the encoder, and whatever else is worth a note.
        encoder: what made the vectors.

    Raises:
        ConfigError: when there is not one thing for each example, or the file cannot be written; an
            older one stays then.

    Example:
        >>> import tempfile
        >>> rows = [[1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.1, 0.9]]
        >>> model = FewShotClassifier().fit(rows, ["oak", "oak", "elm", "elm"])
        >>> fit_page(model, Path(tempfile.mkdtemp()) / "report.html", things=[2, 3, 0, 1]).name
        'report.html'
    """
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    check_is_fitted(known)
    if len(things) != len(known.labels_):
        raise ConfigError(
            f"The classifier has {len(known.labels_)} examples but there are {len(things)} things. "
            "Give one each, in the order of its support_."
        )
    text = _page().render(_content(model, known, Things(things), title, notes, encoder))
    out = Path(file)
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # A file name may hold bytes that are no text.
        part.write_text(text, encoding="utf-8", errors="replace")
        os.replace(part, out)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigError(
            f"The report cannot be written to {out}: {error}. Make room, or choose another place."
        ) from error
    return out


def _content(
    model: FewShotClassifier | OpenSetClassifier,
    known: FewShotClassifier,
    things: Things,
    title: str,
    notes: Sequence[str],
    encoder: str,
) -> dict[str, Any]:
    """What the template fills in. There is room for so many pictures, so those that matter most are
    asked for first.
    """
    names = [marks.plain(str(name)) for name in known.classes_.tolist()]
    told = examine(
        known.support_,
        known.labels_,
        names,
        known.left_out_scores(),
        metric=known.metric if known.head == "prototype" else "cosine",
    )
    strangers = strangers_of(model, told) if isinstance(model, OpenSetClassifier) else None
    advice = advise(
        replace(told, names=tuple(map(marks.as_class, told.names))),
        strangers=strangers,
        called=[marks.as_other(name) for name in things.names],
    )
    head, score = HEADS[known.head]
    score = _EUCLIDEAN if known.head == "prototype" and known.metric == "euclidean" else score
    return {
        "title": title or "How well the classes are told apart",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "css": Markup(_part("page.css")),
        "verdict": sections.verdict(told),
        "facts": sections.facts(told, head, encoder, strangers),
        "notes": list(notes),
        "versions": list(versions().items()),
        "todo": sections.todo(advice, things),
        "mistakes": sections.mistakes(told, things),
        "pairs": sections.pairs(told, things),
        "pairs_said": sections.pairs_said(told),
        "few": int(told.counts.min()) < 5,
        "closest": [told.names[c] for c in told.pairs[0][:2]] if told.pairs else [],
        "matrix": sections.matrix(told),
        "confusions": sections.confusions(told),
        "scores": sections.scores(told),
        "scores_said": f"{score} The further an example's score for its own class lies right of "
        "its best score for another, the surer the answer.",
        "strangers": sections.strangers(strangers),
        "classes": sections.classes(told, things),
        "has_marks": bool(len(told.wrong) or told.outliers),
        "about": sections.about(told, score, is_exact=known.head == "prototype"),
        "thumbnails": things.thumbnails,  # last: those that the sections have asked for
    }


def _part(name: str) -> str:
    return (resources.files("quickstudy.report") / name).read_text(encoding="utf-8")


@cache
def _page() -> "Template":
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters["sentence"] = marks.sentence
    return made.from_string(_part("page.html.jinja"))
