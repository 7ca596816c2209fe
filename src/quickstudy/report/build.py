"""The page: what it says, put together from findings, advice and pictures, and written to a
file.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.disk import write_file
from quickstudy.core.errors import ConfigError
from quickstudy.core.words import counted
from quickstudy.estimators.advice import advise
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.fitted import FittedModel
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.rejection import rejection_of
from quickstudy.estimators.summary import findings_of
from quickstudy.evaluation import versions
from quickstudy.report import marks, sections
from quickstudy.report.thumbnails import Items

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
    "gaussian": (
        "one Gaussian per class, with one covariance",
        "The score is the logarithm of how likely the example is in the class.",
    ),
    "in-context": (
        "a network that reads the table",
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
    items: Sequence[Any],
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
        items: the examples in the order of the classifier's ``support_`` (sorted by class,
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
        >>> fit_page(model, Path(tempfile.mkdtemp()) / "report.html", items=[2, 3, 0, 1]).name
        'report.html'
    """
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    check_is_fitted(known)
    if len(items) != len(known.labels_):
        raise ConfigError(
            f"The classifier has {counted(len(known.labels_), 'example')} but there are "
            f"{counted(len(items), 'item')}. "
            "Give one each, in the order of its support_."
        )
    text = template("page.html.jinja").render(
        _content(model, known, Items(items), title, notes, encoder)
    )
    return write_page(text, file)


def write_page(text: str, file: str | Path) -> Path:
    """Write a page, whole or not at all; folders on the way are made.

    Raises:
        ConfigError: when it cannot be written; an older one stays then.
    """
    # A file name may hold bytes that are no text.
    return write_file(file, text.encode("utf-8", errors="replace"))


def model_page(model: FittedModel, file: str | Path, *, title: str = "") -> Path:
    """As `fit_page`, of a model that was just fitted.

    Args:
        model: as `quickstudy.estimators.fit_folder` and `fit_table` return it.
        file, title: as of `fit_page`.

    Raises:
        ConfigError: for a model that was loaded, which does not know the items of its examples any
            more; or when the file cannot be written.
    """
    if model.summary is None:
        raise ConfigError(
            "The page shows the examples, which only the fit knows: a model that was loaded has "
            "their vectors and no summary. Write the page after the fit."
        )
    return fit_page(
        model.classifier,
        file,
        items=model.summary.items,
        title=title,
        notes=model.notes,
        encoder=model.encoding.source,
    )


def _content(
    model: FewShotClassifier | OpenSetClassifier,
    known: FewShotClassifier,
    items: Items,
    title: str,
    notes: Sequence[str],
    encoder: str,
) -> dict[str, Any]:
    """What the template fills in. There is room for so many pictures, so those that matter most are
    asked for first.
    """
    names = [marks.plain(str(name)) for name in known.classes_.tolist()]
    findings = findings_of(known, names=names)
    rejection = rejection_of(model, findings) if isinstance(model, OpenSetClassifier) else None
    advice = advise(
        replace(findings, names=tuple(map(marks.as_class, findings.names))),
        rejection=rejection,
        called=[marks.as_other(name) for name in items.names],
        of_table=items.of_table,
    )
    comparison = known.head_comparison_
    name = known.head if comparison is None else comparison.choice.head
    head, score = HEADS[name]
    if comparison is not None:
        head = f"{head}; chosen by the examples ({comparison})"
    is_euclidean = known.head_.options().get("metric") == "euclidean"
    score = _EUCLIDEAN if name == "prototype" and is_euclidean else score
    return {
        "title": title or "How well the classes are told apart",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "css": Markup(part_of_page("page.css")),
        "verdict": sections.verdict(findings),
        "facts": sections.facts(findings, head, encoder, rejection),
        "notes": list(notes),
        "versions": list(versions().items()),
        "todo": sections.todo(advice, items),
        "mistakes": sections.mistakes(findings, items),
        "pairs": sections.pairs(findings, items),
        "pairs_said": sections.pairs_said(findings),
        "few": int(findings.counts.min()) < 5,
        "closest": [findings.names[c] for c in findings.pairs[0][:2]] if findings.pairs else [],
        "matrix": sections.matrix(findings),
        "confusions": sections.confusions(findings),
        "scores": sections.scores(findings),
        "scores_said": f"{score} The further an example's score for its own class lies right of "
        "its best score for another, the surer the answer.",
        "sets": sections.prediction_sets(findings, known.temperature),
        "unknowns": sections.unknowns(rejection),
        "classes": sections.classes(findings, items),
        "has_marks": bool(len(findings.wrong) or findings.outliers),
        "about": sections.about(findings, score, is_exact=name == "prototype"),
        "thumbnails": items.thumbnails,  # last: those that the sections have asked for
    }


def part_of_page(name: str) -> str:
    """The text of a template or a style sheet of this room."""
    return (resources.files("quickstudy.report") / name).read_text(encoding="utf-8")


@cache
def template(name: str) -> "Template":
    """A template of this room."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=FunctionLoader(part_of_page),
    )
    environment.filters["sentence"] = marks.sentence
    return environment.get_template(name)
