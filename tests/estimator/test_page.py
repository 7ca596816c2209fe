"""The report of a fit: advice by hand-made cases, and a page that always comes out."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.errors import ConfigError
from quickstudy.estimator import FewShotClassifier, OpenSetClassifier, fit_page
from quickstudy.estimator.advice import findings, next_photographs

DIM = 16


def groups(n: int, k: int, *, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n, DIM)), k, axis=0) + spread * rng.normal(size=(n * k, DIM))
    return x, [f"class {i:03}" for i in range(n) for _ in range(k)]


def told(model: FewShotClassifier | OpenSetClassifier) -> tuple[str, ...]:
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    return next_photographs(model, findings(known), [f"photo {i}" for i in range(len(known.labels_))])


def test_a_wrong_label_is_suspected() -> None:
    x, y = groups(4, 5)
    y[2] = "class 003"  # looks like class 000
    model = FewShotClassifier().fit(x, y)
    found = findings(model)
    (suspect,) = found.suspects
    assert model.classes_[found.labels[suspect]] == "class 003"
    assert model.classes_[found.found[suspect]] == "class 000"
    assert re.match(r"Look at photo \d+: it is called class 003 but looks like class 000", told(model)[0])


def test_photos_that_are_all_alike_and_classes_of_one() -> None:
    x, y = groups(5, 4, spread=0.3)
    x[:4] = x[0] + 0.001 * np.random.default_rng(1).normal(size=(4, DIM))
    advice = told(FewShotClassifier().fit(x, y))
    assert any("The 4 examples of class 000 are very much alike" in a for a in advice)
    alone = told(FewShotClassifier().fit(x[3:], y[3:]))
    assert "1 of 5 classes have one example (class 000)" in alone[0]
    few = told(FewShotClassifier().fit(*groups(3, 3, spread=0.3)))
    assert few == (
        "3 of 3 classes have fewer than five examples (class 000, class 001, class 002). More of them would make the numbers here surer.",
    )
    assert told(FewShotClassifier().fit(*groups(3, 6, spread=0.3))) == ()


def test_what_can_be_promised_of_strangers() -> None:
    x, y = groups(12, 3)
    advice = told(OpenSetClassifier(false_accept_rate=0.1).fit(x, y))
    assert "comes from 12 classes that played the stranger in turn, so no false-accept rate below 7.7 %" in advice[-1]
    assert "For 1 % give a cohort of 99" in advice[-1]
    cohort = np.random.default_rng(3).normal(size=(99, DIM))
    assert not any("played the stranger" in a for a in told(OpenSetClassifier(false_accept_rate=0.1).fit(x, y, cohort=cohort)))


def test_findings_by_a_loop() -> None:
    x, y = groups(3, 3, spread=0.8)
    model = FewShotClassifier().fit(x, y)
    found = findings(model)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i in range(9):
        scores = model.left_out_scores()[i]
        assert found.found[i] == scores.argmax()
        rival = scores.argmax() if scores.argmax() != found.labels[i] else np.argsort(-scores)[1]
        assert found.nearest[i] == max((j for j in range(9) if model.labels_[j] == rival), key=lambda j: unit[i] @ unit[j])
    for c in range(3):
        own = [unit[i] @ unit[j] for i in range(9) for j in range(9) if i != j and model.labels_[i] == model.labels_[j] == c]
        assert found.spread[c] == pytest.approx(1 - np.mean(own))


class _Checked(HTMLParser):
    """Tags that are opened are closed, and pictures have a text."""

    void = frozenset({"meta", "img", "br", "path", "use", "rect", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures = 0
        self.feed(page)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures += 1
            assert dict(attrs).get("alt")
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def pictures(folder: Path, n: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(path)
    return paths


def test_a_page_with_pictures_is_whole_small_and_needs_nothing_else(tmp_path: Path) -> None:
    x, y = groups(6, 5, spread=0.9)
    paths = pictures(tmp_path / "p", 30)
    paths[3].write_bytes(b"gone")
    model = FewShotClassifier().fit(x, y)
    page = fit_page(model, tmp_path / "deep" / "r.html", things=paths, title="Six <kinds>", notes=["a & b"]).read_text(encoding="utf-8")
    assert _Checked(page).pictures > 5
    assert "Six &lt;kinds&gt;" in page
    assert "a &amp; b" in page
    assert not re.search(r'(src|href)="?http', page)
    assert "<metadata" not in page
    assert "<script" not in page
    assert len(page) < 1_000_000
    wrong = findings(model).found != findings(model).labels
    assert page.count("the most similar one there") == min(int(wrong.sum()), 24) > 0


@pytest.mark.parametrize("head", ["prototype", "cosine", "ridge", "logistic"])
def test_every_head_and_names_from_anywhere(head: str, tmp_path: Path) -> None:
    x, _ = groups(4, 3, spread=0.7)
    y = [n for n in ("<script>alert(1)</script>", "字", "שלום", "ä & ö") for _ in range(3)]
    page = fit_page(FewShotClassifier(head).fit(x, y), tmp_path / "r.html", things=[f"sentence {i}" for i in range(12)]).read_text(
        encoding="utf-8"
    )
    _Checked(page)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "字" in page


def test_few_many_and_strangers(tmp_path: Path) -> None:
    x, y = groups(2, 1)
    page = fit_page(FewShotClassifier().fit(x, y), tmp_path / "two.html", things=["a", "b"]).read_text(encoding="utf-8")
    _Checked(page)
    assert "Every class has one example" in page
    x, y = groups(1000, 2, spread=0.6)
    page = fit_page(
        FewShotClassifier(metric="euclidean").fit(x, y), tmp_path / "many.html", things=[f"p{i}" for i in range(2000)]
    ).read_text(encoding="utf-8")
    _Checked(page)
    assert "and 800 more" in page
    assert len(page) < 1_000_000
    x, y = groups(51, 2, spread=0.5)
    model = OpenSetClassifier(false_accept_rate=0.05, review_rate=0.5).fit(x, y)
    page = fit_page(model, tmp_path / "open.html", things=[f"p{i}" for i in range(102)]).read_text(encoding="utf-8")
    assert "strangers to their best class" in page
    assert f"accepted above {model.threshold_:.3g}" in page


def test_mistakes(tmp_path: Path) -> None:
    model = FewShotClassifier().fit(*groups(2, 2))
    with pytest.raises(ConfigError, match="has 4 examples but 3 things came"):
        fit_page(model, tmp_path / "r.html", things=["a", "b", "c"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="The report cannot be written"):
        fit_page(model, tmp_path / "file" / "r.html", things=list("abcd"))
