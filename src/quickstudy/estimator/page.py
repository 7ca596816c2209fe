"""One page about a fitted classifier: how well its examples know each other, what is confused with what, and what to photograph next."""

import base64
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from quickstudy.analysis.figures import new_figure
from quickstudy.core.errors import ConfigError, ImageError
from quickstudy.data import read_picture
from quickstudy.estimator.advice import Findings, findings, next_photographs
from quickstudy.estimator.classifier import FewShotClassifier
from quickstudy.estimator.heads import unit
from quickstudy.estimator.open_set import OpenSetClassifier
from quickstudy.version import __version__

_SIDE, _PICTURES, _MATRIX, _ROWS = 96, 120, 30, 200
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --soft: #59636e; --line: #d1d9e0; --fill: #f6f8fa; --bad: 207, 34, 46; --good: 26, 127, 55; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9198a1; --line: #3d444d; --fill: #151b23; --bad: 248, 81, 73; --good: 63, 185, 80; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } .soft { color: var(--soft); }
.lead { font-size: 1.25rem; } table { border-collapse: collapse; } th, td { padding: .25rem .5rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid var(--line); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } .matrix td, .matrix th { padding: .1rem .4rem; text-align: center; font-variant-numeric: tabular-nums; }
.matrix tbody th { text-align: right; font-weight: normal; } .matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: normal; border: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: .75rem; }
figure { display: flex; gap: .75rem; align-items: flex-start; margin: 0; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; }
figure img, .none { width: 96px; height: 96px; object-fit: contain; background: var(--fill); display: block; } .none { display: flex; align-items: center; justify-content: center; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; } caption { text-align: left; padding-bottom: .5rem; } svg { max-width: 100%; height: auto; } .chart { background: #fff; border-radius: .5rem; padding: .5rem; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""


def fit_page(
    model: FewShotClassifier | OpenSetClassifier, file: str | Path, *, things: Sequence[Any], title: str = "", notes: Sequence[str] = ()
) -> Path:
    """Write the page: one HTML file that needs nothing else.

    Args:
        model: fitted.
        file: where to write.
        things: what the examples are, in the order of the classifier's ``support_`` (sorted by class): paths of pictures, which are shown small; or
            anything else, whose text is.
        title: above it.
        notes: what is known of the encoder.

    Raises:
        ConfigError: when there is not one thing per example, or the file cannot be written.
    """
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    if len(things) != len(known.labels_):
        raise ConfigError(
            f"The classifier has {len(known.labels_)} examples but {len(things)} things came. Give one each, in the order of its support_."
        )
    told, names = findings(known), [Path(t).name if isinstance(t, Path) else str(t) for t in things]
    shown = _Thumbnails(things)
    parts = [
        f"<h1>{escape(title or 'A fitted classifier')}</h1>",
        f"<p class=soft>{len(known.classes_)} classes, {len(names)} examples, head {escape(known.head)}, quickstudy {__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}.</p>",
        f"<p class=lead>{_verdict(told)}</p>",
        *(f"<p class=soft>{escape(note)}</p>" for note in notes),
        "<h2>What to do next</h2>",
        _list(next_photographs(model, told, names)),
        "<h2>How sure it is</h2>",
        _chart(model, told),
        "<h2>Mistaken examples</h2>",
        _mistakes(known, told, names, shown),
        "<h2>Classes that look alike</h2>",
        _pairs(known, told, names, shown),
        "<h2>Confusions</h2>",
        _matrix(known, told),
        "<h2>The classes one by one</h2>",
        _classes(known, told),
    ]
    page = (
        f'<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title or 'A fitted classifier')}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    out = Path(file)
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8", errors="replace")
        part.replace(out)
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written to {out}: {error.strerror}. Choose another folder, or leave it out (--no-report)."
        ) from error
    return out


class _Thumbnails:
    """Small pictures as data URIs, up to so many on a page; each is read when it is first shown."""

    def __init__(self, things: Sequence[Any]) -> None:
        self._things, self._made = things, dict[int, str]()

    def __call__(self, i: int, alt: str) -> str:
        if not isinstance(self._things[i], Path):
            return ""
        if i not in self._made and len(self._made) < _PICTURES:
            self._made[i] = self._encoded(self._things[i])
        if not self._made.get(i):
            return "<span class=none>no picture</span>"
        return f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{self._made[i]}">'

    @staticmethod
    def _encoded(path: Path) -> str:
        try:
            image = read_picture(path, at_least=2 * _SIDE)
        except ImageError:
            return ""  # of a recording, or a picture that is gone by now
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=80)
        return base64.b64encode(stream.getvalue()).decode()


def _verdict(told: Findings) -> str:
    judged = told.found >= 0
    alone = int((~judged).sum())
    rest = f" {alone} examples are alone in their class and could not be judged." if alone else ""
    if not judged.any():
        return "Every class has one example, so nothing can be said about how well they are recognised. Give each a second."
    right, n = int((told.found == told.labels)[judged].sum()), int(judged.sum())
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    return (
        f"{right} of {n} examples ({100 * right / n:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %) are recognised by the classifier that was fitted "
        f"without them.{rest}"
    )


def _list(sentences: Sequence[str]) -> str:
    if not sentences:
        return "<p>Nothing stands out. To know more, try it on new things.</p>"
    more = f"<li class=soft>and {len(sentences) - 20} more</li>" if len(sentences) > 20 else ""
    return f"<ol>{''.join(f'<li>{escape(s)}</li>' for s in sentences[:20])}{more}</ol>"


def _chart(model: FewShotClassifier | OpenSetClassifier, told: Findings) -> str:
    judged = told.found >= 0
    if not judged.any():
        return "<p>There is nothing to show before a class has two examples.</p>"
    scores, labels = told.scores[judged], told.labels[judged]
    own = scores[np.arange(len(scores)), labels]
    other = scores.copy()
    other[np.arange(len(scores)), labels] = -np.inf
    groups = [(own, "its own class, without it", "#0969da", ""), (other.max(1), "the best other class", "#bf8700", "//")]
    lines: list[tuple[float, str]] = []
    if isinstance(model, OpenSetClassifier) and model.known_by == "similarity":
        groups.append((np.asarray(model.stranger_scores_), "strangers to their best class", "#cf222e", "\\\\"))
        lines.append((model.threshold_, f"accepted above {model.threshold_:.3g}"))
        if model.review_threshold_ != model.threshold_:
            lines.append((model.review_threshold_, f"certain above {model.review_threshold_:.3g}"))
    figure = new_figure(7.5, 3.2)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate([g[0] for g in groups]), bins=30).tolist()
    for values, label, colour, hatch in groups:
        axes.hist(
            values,
            bins=edges,
            weights=np.full(len(values), 100 / len(values)),
            histtype="stepfilled",
            alpha=0.45,
            color=colour,
            hatch=hatch,
            label=label,
        )
    for i, (at, label) in enumerate(lines):
        axes.axvline(at, color="#1f2328", linestyle="-" if i == 0 else ":", label=label)
    axes.set_xlabel("score of an example for …")
    axes.set_ylabel("% of them")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    said = "Scores of the examples for their own class and for the best other class" + (", and of strangers" if len(groups) > 2 else "")
    return (
        f'<div class=chart role=img aria-label="{said}">{svg[svg.index("<svg") :]}</div>'
        "<p class=soft>The less the colours overlap, the surer the answers.</p>"
    )


def _mistakes(known: FewShotClassifier, told: Findings, names: Sequence[str], shown: _Thumbnails) -> str:
    wrong = np.flatnonzero((told.found >= 0) & (told.found != told.labels))
    if not len(wrong):
        return "<p>None.</p>"
    rows = np.arange(len(wrong))
    margin = told.scores[wrong, told.found[wrong]] - told.scores[wrong, told.labels[wrong]]
    out = []
    for i in wrong[np.argsort(-margin[rows], kind="stable")][:24].tolist():
        out.append(_both(known, told, names, shown, i))
    more = f"<p class=soft>and {len(wrong) - 24} more.</p>" if len(wrong) > 24 else ""
    return f"<div class=grid>{''.join(out)}</div>{more}"


def _both(known: FewShotClassifier, told: Findings, names: Sequence[str], shown: _Thumbnails, i: int) -> str:
    """An example beside the most similar one of the class that it was taken for."""
    j = int(told.nearest[i])
    true, taken = (escape(str(known.classes_[c])) for c in (told.labels[i], told.labels[j]))
    a, b = escape(str(names[i])), escape(str(names[j]))
    return (
        f"<figure>{shown(i, f'{names[i]}')}{shown(j, f'{names[j]}')}<figcaption><b>{true}</b> ({a})<br>scores {told.scores[i, told.labels[i]]:.3g} for its class, "
        f"{told.scores[i, told.labels[j]]:.3g} for <b>{taken}</b>; the most similar one there: {b}</figcaption></figure>"
    )


def _pairs(known: FewShotClassifier, told: Findings, names: Sequence[str], shown: _Thumbnails) -> str:
    n = len(known.classes_)
    means = unit(np.stack([unit(known.support_[told.labels == c]).mean(0) for c in range(n)]))
    near = means @ means.T
    a, b = np.triu_indices(n, 1)
    most = np.argsort(-near[a, b], kind="stable")[:6]
    usual = float(np.median(near[a, b]))
    out = []
    for p in most.tolist():
        first, second = (np.flatnonzero(told.labels == c) for c in (a[p], b[p]))
        cosines = unit(known.support_[first]) @ unit(known.support_[second]).T
        i, j = np.unravel_index(int(cosines.argmax()), cosines.shape)
        x, y = int(first[i]), int(second[j])
        out.append(
            f"<figure>{shown(x, names[x])}{shown(y, names[y])}<figcaption><b>{escape(str(known.classes_[a[p]]))}</b> and "
            f"<b>{escape(str(known.classes_[b[p]]))}</b>: cosine {near[a[p], b[p]]:.2f}; their two nearest examples</figcaption></figure>"
        )
    told_first = f"<p class=soft>The cosine between the means of two classes is {usual:.2f} in the middle; these are the nearest.</p>"
    return f"{told_first}<div class=grid>{''.join(out)}</div>"


def _matrix(known: FewShotClassifier, told: Findings) -> str:
    judged, n = told.found >= 0, len(known.classes_)
    if not judged.any():
        return "<p>Nothing could be judged.</p>"
    counts = np.zeros((n, n), np.int64)
    np.add.at(counts, (told.labels[judged], told.found[judged]), 1)
    there = np.arange(n)
    if n > _MATRIX:
        wrong = counts - np.diag(np.diag(counts))
        there = np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:_MATRIX])
        there = there[(wrong.sum(0) + wrong.sum(1))[there] > 0]
        if not len(there):
            return "<p>No class is taken for another.</p>"
    head = "".join(f"<th scope=col>{escape(str(known.classes_[c]))}</th>" for c in there)
    body = []
    for r in there:
        total = max(int(counts[r].sum()), 1)
        cells = "".join(
            f'<td style="background: rgba(var(--{"good" if r == c else "bad"}), {0.75 * counts[r, c] / total:.2f})">{counts[r, c] or ""}</td>'
            for c in there
        )
        body.append(f"<tr><th scope=row>{escape(str(known.classes_[r]))}</th>{cells}</tr>")
    some = f"<p class=soft>The {len(there)} classes with the most mistakes, of {n}.</p>" if len(there) < n else ""
    return (
        f"{some}<div class=wide><table class=matrix><caption class=soft>Rows: what an example is. Columns: what it was taken for, by the classifier without it.</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _classes(known: FewShotClassifier, told: Findings) -> str:
    rows, n = [], len(known.classes_)
    for c in range(min(n, _ROWS)):
        mine = told.labels == c
        judged = mine & (told.found >= 0)
        right = int((told.found == c)[judged].sum())
        others = np.where(judged[:, None], told.scores, -np.inf)[mine]
        others[:, c] = -np.inf
        rival = escape(str(known.classes_[others.max(0).argmax()])) if judged.any() and n > 1 else ""
        own = f"{np.median(told.scores[judged, c]):.3g}" if judged.any() else "—"
        cells = (f"{int(mine.sum())}", f"{right} of {int(judged.sum())}" if judged.any() else "—", own)
        rows.append(
            f"<tr><th scope=row>{escape(str(known.classes_[c]))}</th>{''.join(f'<td class=n>{v}</td>' for v in cells)}<td>{rival}</td></tr>"
        )
    more = f"<p class=soft>and {n - _ROWS} more.</p>" if n > _ROWS else ""
    return (
        "<div class=wide><table><thead><tr><th>class</th><th class=n>examples</th><th class=n>recognised</th><th class=n>score for it, median</th>"
        f"<th>nearest other</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>{more}"
    )
