"""The model card of a saved model: what it is for, how it was measured, what it promises, and where
it ends. Written from the model and its reports, never by hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from quickstudy.core.saving import KINDS
from quickstudy.core.words import counted, percent, percent_range, rounded
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.encoding import NOUNS, TABLE, Encoding
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.rejection import rejection_of
from quickstudy.estimators.summary import accepted_share, findings_of
from quickstudy.evaluation import Report
from quickstudy.pretrained.registry import entry_of

_TASKS = {
    "images": "image-classification",
    "audio": "audio-classification",
    "text": "text-classification",
    TABLE: "tabular-classification",
}
_MOST_CLASSES = 50

Classifier: TypeAlias = FewShotClassifier | OpenSetClassifier


def model_card(
    name: str,
    classifier: Classifier,
    encoding: Encoding,
    *,
    counts: Mapping[Any, int],
    notes: Sequence[str] = (),
    license_name: str = "",
) -> str:
    """The card of a fitted model, in Markdown.

    Args:
        name: of the model, such as "owner/birds".
        classifier: of the model.
        encoding: how items become vectors.
        counts: examples of each class.
        notes: what was said when it was fitted.
        license_name: of what is published, as the hub abbreviates it; empty = not said.
    """
    nouns = NOUNS[encoding.kind]
    lines = [
        *_header(_TASKS[encoding.kind], license_name),
        f"# {name}",
        "",
        f"Tells {counted(len(counts), 'class', 'classes')} of {nouns} apart, from "
        f"{counted(sum(counts.values()), 'example')}"
        + (", and says when something is none of them." if _is_open(classifier) else "."),
        "",
        "```python",
        "from quickstudy import FittedModel",
        "",
        f'model = FittedModel.from_pretrained("{name}")',
        _asking(encoding),
        "```",
        "",
        "## Data",
        "",
        *_classes(counts),
        "",
        _encoder(encoding),
        "",
        "## Protocol and results",
        "",
        *_measured(classifier),
        "",
        "## Promise",
        "",
        *_promise(classifier),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _limits(classifier, encoding, notes)),
    ]
    return "\n".join(lines) + "\n"


def learner_card(
    name: str,
    kind: str,
    reports: Sequence[Report],
    *,
    license_name: str = "",
) -> str:
    """The card of a run, a learner or a predictor, in Markdown.

    Args:
        name: of the model, such as "owner/protonet".
        kind: what the folder holds, as `quickstudy.core.saving.what_is` says it.
        reports: its scores.
        license_name: of what is published, as the hub abbreviates it; empty = not said.
    """
    trained = [report for report in reports if report.train_tasks is not None]
    lines = [
        *_header("", license_name),
        f"# {name}",
        "",
        f"Holds {KINDS[kind]}"
        + (f", {reports[0].name}." if reports else ".")
        + " It learns new classes from a few examples each.",
        "",
        "```python",
        "from quickstudy.estimators import from_pretrained",
        "",
        f'model = from_pretrained("{name}")',
        "```",
        "",
        "## Data",
        "",
        (
            f"Trained on {counted(trained[0].train_tasks or 0, 'task')} of {trained[0].data} in "
            f"{trained[0].train_seconds or 0:.0f} s; seed {trained[0].train_seed}."
            if trained
            else "It does not say what it was trained on."
        ),
        "",
        "## Protocol and results",
        "",
        *_scores(reports),
        "",
        "## Promise",
        "",
        "The half-width is that of a 95 % interval over tasks drawn as the protocol says; tasks of "
        "other data are not promised anything.",
        "",
        "## Limits",
        "",
        "- It was measured on the data above. On other data it may do worse; measure it there "
        "before you rely on it.",
        *(
            ["- It decides on all queries of a task at once (transductive)."]
            if any(report.transductive for report in reports)
            else []
        ),
    ]
    return "\n".join(lines) + "\n"


def reports_in(folder: Path) -> list[Report]:
    """The reports of a run's folder.

    Raises:
        LoadError: when one is damaged.
    """
    return [Report.load(file) for file in sorted((folder / "reports").glob("*.json"))]


def _header(task: str, license_name: str) -> Iterator[str]:
    yield "---"
    yield "library_name: quickstudy"
    if task:
        yield f"pipeline_tag: {task}"
    if license_name:
        yield f"license: {license_name}"
    yield "tags:"
    yield "- few-shot-learning"
    yield "- meta-learning"
    yield "---"
    yield ""


def _is_open(classifier: Classifier) -> bool:
    return isinstance(classifier, OpenSetClassifier)


def _asking(encoding: Encoding) -> str:
    if encoding.kind == TABLE or (encoding.kind == "text" and encoding.columns):
        return 'answers = model.predict_table("new.csv")'
    if encoding.kind == "text":
        return 'answers = model.predict_texts(["a text"])'
    return 'answers = model.predict_files(["new/"])'


def _classes(counts: Mapping[Any, int]) -> Iterator[str]:
    yield "| class | examples |"
    yield "|---|---|"
    for label, n in list(counts.items())[:_MOST_CLASSES]:
        yield f"| {str(label).replace('|', '&#124;')} | {n} |"
    others = list(counts.values())[_MOST_CLASSES:]
    if others:
        yield f"| {len(others)} more | {sum(others)} |"


def _encoder(encoding: Encoding) -> str:
    if encoding.kind == TABLE:
        return f"The columns are {', '.join(encoding.columns)}."
    if encoding.image is not None:
        return "The network that reads the images is part of the model."
    return f"The encoder is `{encoding.source}` (key `{encoding.key}`), opened beside the model."


def _measured(classifier: Classifier) -> Iterator[str]:
    from scipy.stats import binomtest

    known = classifier.estimator_ if isinstance(classifier, OpenSetClassifier) else classifier
    findings = findings_of(known)
    tried = int(findings.judged.sum())
    yield "Each example was left out once, and asked for with the model of the others."
    yield ""
    if not tried:
        yield "No class has two examples, so nothing was measured."
        return
    right = int(findings.right.sum())
    low, high = binomtest(right, tried).proportion_ci(method="wilson")
    yield "| measured | value |"
    yield "|---|---|"
    compared = known.head_comparison_
    yield f"| head | {known.head if compared is None else compared.choice.head} |"
    yield f"| accuracy by leave-one-out | {right} of {tried}: {percent(right / tried, 1)} |"
    yield f"| 95 % interval (Wilson) | {percent_range(low, high, 1)} |"
    if isinstance(classifier, OpenSetClassifier):
        accepted = accepted_share(rejection_of(classifier, findings))
        if accepted is not None:
            yield f"| examples that would be accepted | {percent(accepted, 1)} |"


def _promise(classifier: Classifier) -> Iterator[str]:
    if not isinstance(classifier, OpenSetClassifier):
        yield "None: the model never says unknown, so whatever is shown to it gets a class."
        return
    yield (
        f"At most {percent(classifier.rate_)} of unknowns are taken for a class, by "
        f"{classifier.n_unknowns_} unknowns that it was calibrated with (rule: "
        f"{classifier.rule_}); the threshold is {classifier.threshold_:.6g}."
    )
    yield "It holds for unknowns such as those, not for others."


def _limits(classifier: Classifier, encoding: Encoding, notes: Sequence[str]) -> Iterator[str]:
    yield "It knows the classes above and no other."
    if encoding.kind == TABLE:
        yield "The examples are in the files: whoever downloads the model has their numbers."
    else:
        yield (
            "The vectors of the examples are in the files; of people they are personal data, so "
            "publish them only with their consent."
        )
    if _is_elsewhere(encoding):
        yield (
            f"The encoder was a folder of another machine (`{Path(encoding.source).name}`): say "
            "where it is now, `from_pretrained(…, encoder=…)`."
        )
    if not _is_open(classifier):
        yield "What belongs to no class is given one all the same."
    yield from notes


def _is_elsewhere(encoding: Encoding) -> bool:
    has_encoder = encoding.kind != TABLE and encoding.image is None
    return has_encoder and entry_of(encoding.source) is None and Path(encoding.source).is_absolute()


def _scores(reports: Sequence[Report]) -> Iterator[str]:
    if not reports:
        yield "There is no report; write one with `quickstudy eval RUN --json FILE`."
        return
    yield "| tasks | score | 95 % | norm | published |"
    yield "|---|---|---|---|---|"
    for report in reports:
        mean, half = f"{report.mean:.2f} ({report.metric})", f"{report.ci95:.2f}"
        if report.metric == "accuracy":
            mean, half = percent(report.mean, 2), rounded(100 * report.ci95, 2)
        yield (
            f"| {report.task} | {mean} | ± {half} | {report.norm} | "
            f"{report.published_value or '–'} |"
        )
