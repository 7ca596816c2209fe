"""The encoder that the examples prefer."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from quickstudy.core.errors import DataError
from quickstudy.data import Glyphs
from quickstudy.pretrained import choose_encoder
from quickstudy.pretrained.choose import left_out
from quickstudy.pretrained.drawings import is_drawn


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Four drawings each of ten characters, dark on light."""
    folder, test = tmp_path_factory.mktemp("characters"), Glyphs().split("test")
    rows = [[int(r) for r in test.index.rows_of(c)[:4]] for c in range(0, 100, 10)]
    paths = [[folder / f"{c}-{k}.png" for k in range(4)] for c in range(10)]
    for of, names in zip(rows, paths, strict=True):
        for row, name in zip(of, names, strict=True):
            Image.fromarray(255 - test.x[row, 0].numpy()).resize((84, 84)).save(name)
    return paths


def photographs(folder: Path, n: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(n)]
    for path in paths:
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((80, 60), Image.Resampling.BICUBIC).save(path)
    return paths


def test_drawings_get_the_encoder_of_drawings(characters: list[list[Path]]) -> None:
    paths = [path for of in characters for path in of]
    choice = choose_encoder(paths, [str(i // 4) for i in range(40)])
    general, symbols = choice.scores
    assert choice.encoder.source == "symbols" == symbols.name
    assert symbols.tried == general.tried == 40
    assert symbols.right >= general.right
    assert f"symbols {symbols.right} of 40" in choice.reason


def test_one_example_each_is_told_by_its_look(characters: list[list[Path]], tmp_path: Path) -> None:
    drawn = choose_encoder([of[0] for of in characters], list("abcdefghij"))
    assert drawn.encoder.source == "symbols"
    assert drawn.scores[0].tried == 0
    seen = choose_encoder(photographs(tmp_path, 4), list("abcd"))
    assert seen.encoder.source != "symbols"
    assert "symbols was not tried" in seen.reason
    asked = choose_encoder(photographs(tmp_path, 4), list("abcd"), candidates=("auto", "symbols"))
    assert asked.encoder.source == seen.encoder.source
    assert asked.scores[1].ahead < 0.5
    for choice in (seen, asked):  # nothing was compared, so nothing is likely
        assert choice.reason.startswith("the general one (no class has two examples")
        assert "0 of 0" not in choice.reason


def test_it_is_said_why_the_one_with_more_right_answers_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of images that are no drawings, `symbols` has to be ahead by more than five."""
    hits = iter([np.arange(12) < 6, np.arange(12) < 9])
    monkeypatch.setattr("quickstudy.pretrained.choose.left_out", lambda *_: next(hits))
    choice = choose_encoder(photographs(tmp_path, 12), list("aabbccddeeff"))
    assert [score.right for score in choice.scores] == [6, 9]
    assert choice.encoder.source == choice.scores[0].name
    assert "symbols would have to be ahead by more than 5" in choice.reason


def test_files_that_cannot_be_read_are_left_out(
    characters: list[list[Path]], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    paths = [*characters[0], *characters[1], tmp_path / "bad.png"]
    choice = choose_encoder(paths, [*"aaaabbbb", "a"])
    assert choice.scores[0].tried == 8
    with pytest.raises(DataError, match="None of 1 files can be encoded"):
        choose_encoder([tmp_path / "bad.png"], ["a"])


def test_left_out_by_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(13, 5)).astype(np.float32), np.array([0] * 5 + [1] * 4 + [2] * 3 + [3])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = []
    turn = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, -1])  # the last one is alone in its class
    for i in range(12):
        rest = turn != turn[i]  # one of each class is left out with it
        prototypes = [unit[rest & (y == c)].mean(0) for c in range(4)]
        similarity = [p @ unit[i] / np.linalg.norm(p) for p in prototypes]
        expected.append(int(np.argmax(similarity)) == y[i])
    assert left_out(x, y).tolist() == expected


def test_what_is_said_of_two_examples_each_is_what_one_of_each_reaches() -> None:
    """One left out alone would be compared with one example of its class and two of the other."""
    said, came = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        centres = 3 + rng.normal(size=(2, 16))
        x = centres[[0, 0, 1, 1]] + 1.5 * rng.normal(size=(4, 16))
        said.append(left_out(x.astype(np.float32), np.array([0, 0, 1, 1])).mean())
        known, asked = (centres + 1.5 * rng.normal(size=(2, 16)) for _ in range(2))
        known, asked = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (known, asked))
        came.append(((asked @ known.T).argmax(1) == [0, 1]).mean())
    assert abs(np.mean(said) - np.mean(came)) < 0.04


def test_ink_on_paper_is_told_from_photographs(
    characters: list[list[Path]], tmp_path: Path
) -> None:
    drawing = Image.open(characters[0][0])
    assert is_drawn(drawing)
    assert is_drawn(Image.fromarray(255 - np.asarray(drawing)))
    assert not any(is_drawn(Image.open(path)) for path in photographs(tmp_path, 8))
    red = Image.new("RGB", (60, 60), "white")
    ImageDraw.Draw(red).rectangle((10, 10, 50, 50), fill="red")
    assert not is_drawn(red)
