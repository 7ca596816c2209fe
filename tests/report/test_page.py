"""The report of a fit: a page that always comes out, is whole, small and safe, and says what is
so.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import Identity
from quickstudy.estimators import FewShotClassifier, OpenSetClassifier, rejection
from quickstudy.estimators.advice import shown
from quickstudy.estimators.findings import examine
from quickstudy.estimators.rejection import membership_left_out
from quickstudy.estimators.summary import findings_of
from quickstudy.metrics.open_set import SCORES
from quickstudy.report import build, fit_page
from quickstudy.report.charts import chart
from quickstudy.report.sections import prediction_sets
from quickstudy.report.thumbnails import MOST

DIM = 16
VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})
NAMES = ("<script>alert(1)</script>", "字", "שלום", "ä & ö \u2069 \"q\" 'r'")


def groups(n: int, k: int, *, spread: float = 0.6, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n, DIM)), k, axis=0) + spread * rng.normal(size=(n * k, DIM))
    return x, [f"class {i:03}" for i in range(n) for _ in range(k)]


class Page(HTMLParser):
    """A page that is checked while it is read: tags close, pictures have texts and are there,
    headers have a scope, nothing is fetched.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.html = file.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.shown: list[str] = []
        self.feed(self.html)
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)
        assert set(self.links) <= set(self.ids)
        self.text = " ".join(" ".join(self.texts).replace("\u00a0", " ").split())
        self.said = re.sub(r"\s+([,.:;)])", r"\1", self.text).replace("( ", "(")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "iframe", "link", "img", "object")
        assert not any(name.startswith("on") for name in given)
        assert all(
            v is None or "//" not in v or v.startswith("data:image/jpeg;base64,")
            for v in given.values()
        )
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag in ("a", "use"):
            assert str(given["href"]).startswith("#")
            self.links.append(str(given["href"])[1:])
        if tag == "use":
            self.shown.append(str(given["href"])[1:])
        if given.get("role") == "img":
            assert given.get("aria-label")
        if tag == "th":
            assert given.get("scope") in ("col", "row")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)


def page_of(model: Any, folder: Path, things: list[Any], **options: Any) -> Page:
    return Page(fit_page(model, folder / "report.html", items=things, **options))


def pictures(folder: Path, n: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i:03}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        Image.fromarray(
            np.random.default_rng(i).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        ).resize((160, 120)).save(path)
    return paths


@pytest.fixture
def fifty(tmp_path: Path) -> tuple[FewShotClassifier, list[Path]]:
    x, y = groups(50, 5, spread=1.2)
    return FewShotClassifier().fit(x, y), pictures(tmp_path / "images", 250)


def test_a_page_with_pictures(fifty: tuple[FewShotClassifier, list[Path]], tmp_path: Path) -> None:
    model, paths = fifty
    paths[int(worst(model))].write_bytes(b"not an image")
    page = page_of(
        model,
        tmp_path / "a" / "b",
        paths,
        title="Fifty <kinds>",
        notes=["a & b"],
        encoder="dinov2-small",
    )
    assert {"Fifty <kinds>", "a & b", "no image"} <= set(page.texts)
    assert "dinov2-small; 16 numbers per example" in page.said
    stored = re.findall(r'href="(data:image/jpeg;base64,[^"]+)"', page.html)
    assert len(stored) == len(set(stored))  # each once
    assert MOST - 10 < len(stored) < MOST
    assert len(page.shown) > len(set(page.shown))
    assert len(page.html) < 3_000_000
    assert "250; 5 each" in page.said


def worst(model: FewShotClassifier) -> int:
    findings = examine(model.support_, model.labels_, list(model.classes_), model.left_out_scores())
    return int(findings.wrong[0])


def test_the_numbers_on_it(tmp_path: Path) -> None:
    x, y = groups(4, 6, spread=1.1, seed=4)
    model = FewShotClassifier().fit(x, y)
    page = page_of(model, tmp_path, list(range(24)))
    scores = model.left_out_scores()
    found, labels = scores.argmax(1), model.labels_
    wrong = np.flatnonzero(found != labels)
    n = 24 - len(wrong)
    share, z = n / 24, 1.959964
    middle = (share + z * z / 48) / (1 + z * z / 24)
    half = z * (share * (1 - share) / 24 + (z / 48) ** 2) ** 0.5 / (1 + z * z / 24)
    assert f"{n} of 24 examples are recognised" in page.said
    assert (
        f"({100 * share:.0f} %; 95 % interval {100 * (middle - half):.0f} to "
        f"{100 * (middle + half):.0f} %)" in page.said
    )
    assert (
        len(
            re.findall(
                r'class="card"><div class="trio texts"><div><bdi class="quote">row '
                r"\d+</bdi><span>this one",
                page.html,
            )
        )
        == len(wrong)
        > 0
    )
    for i in wrong:
        assert f"row {i} " in page.text
        assert shown(scores[i, labels[i]]) in page.text
        assert shown(scores[i, found[i]]) in page.text
    cells = re.findall(r'title="class (\d+) taken for class (\d+): (\d+) of 6"', page.html)
    matrix = np.zeros((4, 4), int)
    for a, b, k in cells:
        matrix[int(a), int(b)] = int(k)
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels, found), 1)
    np.testing.assert_array_equal(matrix, expected)
    for c in range(4):
        assert f"{expected[c, c]} of 6" in page.text


@pytest.mark.parametrize("head", ["prototype", "cosine", "ridge", "logistic", "learner"])
def test_every_head_and_names_from_anywhere(head: str, tmp_path: Path) -> None:
    x, _ = groups(4, 3)
    learner = ProtoNet(Identity(DIM)).double() if head == "learner" else None
    model = FewShotClassifier(head, learner=learner).fit(x, np.repeat(NAMES, 3))
    page = page_of(model, tmp_path, [f"<b>sentence</b> {i} " + "word " * 50 for i in range(12)])
    assert build.HEADS[head][0] in page.said
    assert "<script>alert" not in page.html
    assert "<b>" not in page.html
    for name in NAMES:
        assert name.replace("\u2069", "") in page.texts
    assert any(t.startswith("<b>sentence</b>") and t.endswith("…") for t in page.texts)


def test_the_smallest(tmp_path: Path) -> None:
    page = page_of(
        FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["a", "b"]),
        tmp_path,
        [tmp_path / "gone.png", tmp_path / "a.wav"],
    )
    assert "Every class has a single example, so nothing can be said yet" in page.said
    assert "2 of 2 classes have one example (a, b)" in page.said
    assert "a and b: 1.41 apart, not tried." in page.said
    assert "no image" in page.texts
    assert f"{tmp_path.name}/a.wav" in page.texts
    assert "matrix" not in page.ids
    page = page_of(FewShotClassifier().fit([[1.0, 0.0], [0.9, 0.1]], ["a", "a"]), tmp_path, [0, 1])
    assert "There is one class" in page.said
    assert "2 of 2" not in page.text
    page = page_of(
        FewShotClassifier().fit([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["a", "a", "b"]),
        tmp_path,
        [0, 1, 2],
    )
    assert "2 of 2 examples are recognised" in page.said
    assert "1 is alone in its class and could not be judged." in page.said


def test_many_classes_make_no_large_page(tmp_path: Path) -> None:
    x, y = groups(1000, 2)
    page = page_of(FewShotClassifier(metric="euclidean").fit(x, y), tmp_path, list(range(2000)))
    assert "minus the squared distance" in page.said
    assert "And 800 more classes" in page.said
    assert re.search(r"And \d+ more classes with mistakes", page.said)
    assert re.search(r"\d+ of 1000 classes have none", page.said)
    assert len(page.html) < 400_000


def test_above_forty_classes_only_the_rows_with_mistakes_are_shown(tmp_path: Path) -> None:
    x, y = groups(51, 2, spread=0.7)
    model = FewShotClassifier().fit(x, y)
    page = page_of(model, tmp_path, list(range(102)))
    found, labels = model.left_out_scores().argmax(1), model.labels_
    section = page.html.split('id="matrix"')[1].split("</section>")[0]
    rows = re.findall(
        r'<th scope="row"><bdi>class (\d+)</bdi></th><td class="n">(\d) of 2</td>', section
    )
    assert {int(c): int(n) for c, n in rows} == {
        c: int((found[labels == c] == c).sum()) for c in set(labels[found != labels].tolist())
    }
    no_mistakes = page_of(
        FewShotClassifier().fit(*groups(51, 2, spread=0.01)), tmp_path, list(range(102))
    )
    assert "matrix" not in no_mistakes.ids
    assert "Nothing stands out. If you add examples, add them to" in no_mistakes.said


def test_more_advice_and_mistakes_than_there_is_room_for(tmp_path: Path) -> None:
    x, y = groups(60, 5, spread=3)
    page = page_of(FewShotClassifier().fit(x, y), tmp_path, list(range(300)))
    first, later = page.html.split('id="next"')[1].split("</section>")[0].split("<details>")
    assert first.count('<span class="tag scattered">') == 4
    assert later.count('<span class="tag ') == 40
    assert re.search(r"And \d+ more of these kinds", page.said)
    assert re.search(r"\d+ more mistakes", page.said)


def test_unknowns(tmp_path: Path) -> None:
    x, y = groups(20, 3, spread=0.9)
    cohort = np.random.default_rng(5).normal(size=(40, DIM))
    model = OpenSetClassifier(false_accept_rate=0.1, review_rate=0.5).fit(x, y, cohort=cohort)
    page = page_of(model, tmp_path, list(range(60)))
    members = model.estimator_.left_out_scores().max(1)
    accepted = int((members > model.threshold_).sum())
    assert f"refused below {shown(model.threshold_)}, for a false-accept rate of 10 %" in page.said
    assert (
        f"Of 40 unknowns {100 * (model.calibration_scores_ > model.threshold_).mean():.2g} % "
        "are; 10 % were asked for" in page.said
    )
    assert f"{accepted} of 60 would be accepted" in page.said
    assert f"lie above {shown(model.review_threshold_)}, where the answer is certain" in page.said
    assert f"threshold {shown(model.threshold_)}" in page.texts
    assert 'class="band"' in page.html
    assert "Unknowns, for the class they look like most (40)" in page.texts
    plain = page_of(OpenSetClassifier(false_accept_rate=0.1).fit(x, y), tmp_path, list(range(60)))
    assert "Of 20 unknowns (60 scores)" in plain.said
    assert "each class in turn played the unknown" in plain.said
    assert 'class="band"' not in plain.html


@pytest.mark.filterwarnings("ignore:.*of the cohort resemble")
@pytest.mark.parametrize("unknown_score", SCORES)
def test_membership_without_the_example_is_that_of_a_classifier_without_it(
    unknown_score: str,
) -> None:
    x, y = groups(3, 3)
    x, y = np.r_[x, np.ones((1, DIM))], [*y, "only one"]
    model = OpenSetClassifier(unknown_score=unknown_score, false_accept_rate=0.3).fit(
        x, y, cohort=np.random.default_rng(0).normal(size=(9, DIM))
    )
    known = model.estimator_
    findings = examine(known.support_, known.labels_, list(known.classes_), known.left_out_scores())
    found = membership_left_out(model, findings)
    assert found is not None
    assert len(found) == 9
    for i in range(9):
        # Of scores of classes one of each is left out at a time.
        by_class = unknown_score not in ("nearest", "mahalanobis")
        rest = np.arange(10) % 3 != i % 3 if by_class else np.arange(10) != i
        rest[9] = True
        without = OpenSetClassifier(unknown_score=unknown_score, false_accept_rate=0.3)
        without.fit(
            x[rest], np.asarray(y)[rest], cohort=np.random.default_rng(0).normal(size=(9, DIM))
        )
        # The temperature is the one that all examples give.
        scores = without.estimator_.class_scores(x[i : i + 1]) / known.temperature
        if unknown_score == "energy":
            expected = np.logaddexp.reduce(scores, axis=1)
        elif unknown_score == "max_probability":
            others = np.delete(scores[0], scores[0].argmax())
            expected = [scores.max() - np.logaddexp.reduce(others)]
        else:
            expected = without.membership(x[i : i + 1])
        assert found[i] == pytest.approx(float(expected[0]))


def test_where_leaving_out_takes_too_many_fits_nothing_is_said_of_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = groups(6, 3)
    model = OpenSetClassifier(unknown_score="nearest", false_accept_rate=0.3).fit(x, y)
    assert "would be accepted" in page_of(model, tmp_path, list(range(18))).said
    monkeypatch.setattr(rejection, "MOST_FITS", 10)
    page = page_of(model, tmp_path, list(range(18)))
    assert "would be accepted" not in page.said
    assert "Unknowns, for the class they look like most (18)" in page.texts


def test_of_many_examples_several_are_left_out_at_a_time(tmp_path: Path) -> None:
    x, y = groups(21, 5)
    assert (
        "several are left out at a time"
        in page_of(FewShotClassifier("ridge").fit(x, y), tmp_path, list(range(105))).said
    )
    assert (
        "several are left out at a time"
        not in page_of(FewShotClassifier().fit(x, y), tmp_path, list(range(105))).said
    )


def test_bars_are_shares_of_the_highest() -> None:
    drawn = chart(
        [("one", "own", np.r_[np.zeros(4), np.ones(2)]), ("none", "other", np.array([np.nan]))],
        line=0.5,
        until=0.75,
    )
    (strip,) = drawn.strips
    assert [h for _, _, h in strip.bars] == [100, 50]
    assert strip.label == "one (6)"
    assert strip.middle == pytest.approx(100 * 0.03 / 1.06, abs=0.01)
    assert drawn.line == (50, "0.500")
    assert drawn.band == (50, pytest.approx(100 * 0.78 / 1.06, abs=0.01))
    assert [label for _, label in drawn.ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [at for at, _ in drawn.ticks] == pytest.approx(
        [100 * (v + 0.03) / 1.06 for v in (0, 0.2, 0.4, 0.6, 0.8, 1)], abs=0.01
    )
    same = chart([("one", "own", np.full(3, -2.0))])
    assert same.strips[0].bars[0][0] <= same.strips[0].middle < 100
    assert len(same.ticks) >= 3


@pytest.mark.parametrize("scale", [1e-4, 1.0, 37.0, 1e5])
def test_there_are_always_a_few_ticks_and_never_many(scale: float) -> None:
    for seed in range(20):
        values = scale * np.random.default_rng(seed).normal(size=9)
        assert 3 <= len(chart([("one", "own", values)]).ticks) <= 10


def test_mistakes(tmp_path: Path) -> None:
    model = FewShotClassifier().fit(*groups(2, 2))
    with pytest.raises(ConfigError, match=r"has 4 examples but there are 3 items\. Give one each"):
        fit_page(model, tmp_path / "r.html", items=["a", "b", "c"])
    with pytest.raises(NotFittedError):
        fit_page(FewShotClassifier(), tmp_path / "r.html", items=[])
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=r"file.r\.html cannot be written: .*Make room, or choose another place"
    ):
        fit_page(model, tmp_path / "file" / "r.html", items=list("abcd"))


def test_an_older_page_stays_where_a_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = FewShotClassifier().fit(*groups(2, 2)), tmp_path / "r.html"
    file.write_text("older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        fit_page(model, file, items=list("abcd"))
    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]


def test_things_of_every_kind_have_a_name(tmp_path: Path) -> None:
    odd = [Path("ant/bad\udcff.jpg"), "a\x00b", "x" * 5000, str(tmp_path), np.int64(3), ("a", 1)]
    (tmp_path / "word.txt").write_text("")
    odd += [str(tmp_path / "word.txt"), tmp_path / "rec.wav"]
    x = np.random.default_rng(0).normal(size=(8, DIM))
    page = page_of(FewShotClassifier().fit(x, np.repeat(list("abcd"), 2)), tmp_path, odd)
    assert f"{tmp_path.name}/rec.wav" in page.text
    assert f"{tmp_path.name}/word.txt" in page.text
    assert "row 3" in page.text
    assert str(tmp_path / "word.txt") not in page.html


def test_prediction_sets_are_those_of_heads_without_the_example() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6))
    y = np.repeat(np.arange(4), 8)
    x = centres[y] + 0.9 * rng.normal(size=(32, 6))
    model = FewShotClassifier().fit(x, y)
    found = prediction_sets(findings_of(model, names=list("abcd")), model.temperature)
    assert found is not None
    sizes, hits = [], 0
    scores = np.stack(
        [
            FewShotClassifier().fit(x[rest], y[rest]).class_scores(x[[i]])[0]
            for i in range(32)
            for rest in [np.arange(32) % 8 != i % 8]
        ]
    )
    p = np.exp(scores / model.temperature)
    p /= p.sum(1, keepdims=True)
    for i in range(32):
        others = [p[j, y[j]] for j in range(32) if j != i]
        inside = {
            c for c in range(4) if (1 + sum(o <= p[i, c] + 1e-12 for o in others)) / 32 > 0.1
        } | {int(p[i].argmax())}
        sizes.append(len(inside))
        hits += int(y[i]) in inside
    assert dict(found["sizes"]) == {k: sizes.count(k) for k in set(sizes)}
    assert f"{hits} of 32 sets hold its class" in found["said"]
    assert hits >= 28  # 90 % are promised


def test_a_page_says_how_large_prediction_sets_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y = np.repeat(["ash", "elm"], 8)
    x = rng.normal(size=(16, 3)) + (y == "elm")[:, None]
    page = fit_page(FewShotClassifier().fit(x, y), tmp_path / "p.html", items=range(1, 17))
    assert "--sets 0.1" in page.read_text()
    few = fit_page(FewShotClassifier().fit(x[4:12], y[4:12]), tmp_path / "f.html", items=range(8))
    assert "--sets" not in few.read_text()
