import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.setting import Setting
from quickstudy.data import glyphs
from quickstudy.data.class_index import check_disjoint
from quickstudy.data.glyph_drawing import FONTS, characters, draw, fonts_of, plain
from quickstudy.data.glyph_split import ALIKE, SCRIPTS, choose, look_alikes, write
from quickstudy.data.glyphs import SPLITS, Glyphs, Listed, listed

# Of the shipped list with 20 drawings of each character: numbers measured on another split cannot
# be compared.
HASHES = {"train": "afc53fc86737", "val": "7057f2663c93", "test": "98dd09a4d93c"}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glyphs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUICKSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = Glyphs()
        for name in SPLITS:
            data.split(name)
        yield data


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator:
    """Two characters in each split, and a cache folder of their own."""
    short = [c for name in SPLITS for c in [c for c in listed() if c.split == name][:2]]
    monkeypatch.setattr(glyphs, "listed", lambda: tuple(short))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    return tmp_path


def test_there_are_over_a_thousand_characters_of_twenty_drawings(everything: Glyphs) -> None:
    splits = {name: everything.split(name) for name in SPLITS}
    counts = {name: len(data.index) for name, data in splits.items()}
    assert sum(counts.values()) > 1000
    assert counts["val"] >= 80
    assert counts["test"] >= 150
    for name, data in splits.items():
        assert data.split == f"scripts/{name}"
        assert data.x.shape == (20 * counts[name], 1, 28, 28)
        assert data.x.dtype == torch.uint8
        assert (data.index.counts == 20).all()
    check_disjoint(splits)


def test_the_shipped_split_stays_as_it_is(everything: Glyphs) -> None:
    assert {name: everything.split(name).split_hash for name in SPLITS} == HASHES


def test_classes_are_called_by_their_unicode_names(everything: Glyphs) -> None:
    assert "GREEK SMALL LETTER LAMDA" in everything.split("train").index.names
    assert all(unicodedata.lookup(name) for name in everything.split("test").index.names)


def test_no_script_is_in_two_splits() -> None:
    scripts = {name: {c.script for c in listed() if c.split == name} for name in SPLITS}
    assert not scripts["train"] & scripts["val"]
    assert not (scripts["train"] | scripts["val"]) & scripts["test"]
    assert len(scripts["val"]) >= 2
    assert len(scripts["test"]) >= 3
    assert all(SCRIPTS[c.script][0] == c.split for c in listed())


# Some slack, as other versions of the fonts or of Pillow move borderline cases.
SLACK = 0.9 * ALIKE


def test_no_character_for_test_or_validation_looks_like_another() -> None:
    rest = [c.character for c in listed() if c.split != "train"]
    every = [c.character for c in listed()]
    alike = look_alikes(rest, every, limit=SLACK)
    assert all(alike[i, every.index(c)] for i, c in enumerate(rest))
    assert alike.sum() == len(rest), [rest[a] + every[b] for a, b in np.argwhere(alike)]


def test_no_character_for_training_looks_like_another_nor_like_one_for_test_when_turned() -> None:
    train, test = ([c.character for c in listed() if c.split == name] for name in ("train", "test"))
    some = train[::4]
    assert look_alikes(some, train, limit=SLACK).sum() == len(some)
    assert not look_alikes(test, some, turns=(1, 2, 3), limit=SLACK).any()


def test_the_shipped_list_for_test_and_validation_is_the_chosen_one() -> None:
    chosen = set(choose([script for script, (split, _) in SCRIPTS.items() if split != "train"]))
    shipped = {c for c in listed() if c.split != "train"}
    # Borderline cases again.
    assert len(chosen & shipped) >= 0.97 * len(chosen | shipped), chosen ^ shipped


def test_look_alikes_are_found() -> None:
    # Latin with Cyrillic and Greek, upper with lower case
    assert look_alikes("AaOO", "АаΟо").diagonal().all()
    assert not look_alikes("AEWc", "ЖΩOb").any()
    assert not look_alikes("∩", "∪").any()
    assert look_alikes("∩", "∪", turns=(2,)).all()


def test_of_look_alikes_the_one_further_up_is_chosen() -> None:
    chosen = choose(["Tifinagh", "Greek"])
    assert Listed("ⴹ", "test", "Tifinagh") in chosen
    assert {"ⵉ", "Σ"} & {c.character for c in chosen} != {"ⵉ", "Σ"}
    assert "Λ" not in {c.character for c in chosen}
    assert "ά" not in {c.character for c in chosen}
    assert [c.split for c in chosen] == sorted((c.split for c in chosen), reverse=True)


def test_the_list_is_written_as_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(
        "quickstudy.data.glyph_split.choose",
        lambda: [Listed("A", "train", "Latin"), Listed("𝔸", "test", "Odd")],
    )
    write(tmp_path / "list.csv")
    assert (
        tmp_path / "list.csv"
    ).read_bytes() == b"character,split,script\nU+0041,train,Latin\nU+1D538,test,Odd\n"


def test_a_drawing_depends_on_character_number_and_seed_alone(everything: Glyphs) -> None:
    longer = draw("ა", 5)
    draw("ბ", 3)
    np.testing.assert_array_equal(draw("ა", 3), longer[:3])
    assert (draw("ა", 3, seed=1) != longer[:3]).any()
    test = everything.split("test")
    c = test.index.names.index("GEORGIAN LETTER AN")
    np.testing.assert_array_equal(test.x[test.index.rows_of(c)[:5], 0].numpy(), longer)


def test_drawings_are_white_ink_on_black_that_differs(everything: Glyphs) -> None:
    for name in SPLITS:
        x = everything.split(name).x.view(-1, 20, 28, 28)
        ink = (x > 127).float().mean((2, 3))
        assert ink.min() > 0.01
        assert ink.max() < 0.55
        assert 0.1 < ink.mean() < 0.2
        assert x.amax((2, 3)).min() > 127
        edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], -1)
        assert (edge > 127).float().mean() < 0.02
        assert all(len(torch.unique(of_one, dim=0)) == 20 for of_one in x)


def test_pixels_alone_neither_solve_the_tasks_nor_are_useless(everything: Glyphs) -> None:
    task = everything.tasks("test", Setting(n_way=5, n_shot=1, n_query=5)).batch(range(100))
    nearest = torch.cdist(task.query.x.flatten(2), task.support.x.flatten(2)).argmin(-1)  # [T Q]
    accuracy = (task.support.y.gather(1, nearest) == task.query.y).float().mean()
    assert 0.45 < accuracy < 0.65


def test_tasks_are_drawn_and_repeated(everything: Glyphs) -> None:
    tasks = everything.tasks("val", Setting(n_way=5, n_shot=2, n_query=3), seed=1)
    first = tasks.batch([7, 8])
    again = everything.tasks("val", Setting(n_way=5, n_shot=2, n_query=3), seed=1).batch([8])
    assert first.support.x.shape == (2, 10, 1, 28, 28)
    assert first.query.x.shape == (2, 15, 1, 28, 28)
    assert float(first.support.x.min()) == 0
    assert float(first.support.x.max()) == 1
    assert torch.equal(first.query.x[1:], again.query.x)
    assert (tasks.data, tasks.split) == ("glyphs", "scripts/val")


def test_rotations_are_new_classes_of_training_only(few) -> None:
    turned, straight = Glyphs(drawings=3, rotations=True), Glyphs(drawings=3)
    assert len(turned.split("train").index) == 4 * len(straight.split("train").index)
    assert turned.split("train").split_hash != straight.split("train").split_hash
    assert turned.split("test").split_hash == straight.split("test").split_hash


def test_the_cache_gives_what_was_drawn(few, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Glyphs(drawings=2).split("test").x
    (file,) = few.iterdir()
    assert file.name.startswith("glyphs-")
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "draw", None)
        assert torch.equal(Glyphs(drawings=2).split("test").x, fresh)
    Glyphs(drawings=2, seed=1).split("test")
    Glyphs(drawings=3).split("test")
    assert len(list(few.iterdir())) == 3


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_cache_file_is_made_anew(few, keep: int) -> None:
    fresh = Glyphs(drawings=2).split("train").x.clone()
    (file,) = few.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    assert torch.equal(Glyphs(drawings=2).split("train").x, fresh)
    assert file.read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written_only_means_no_caching(
    few, monkeypatch: pytest.MonkeyPatch
) -> None:
    (few / "file").write_text("not a folder")
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(few / "file" / "cache"))
    assert len(Glyphs(drawings=2).split("val").x) == 4


def test_a_character_that_no_font_has_is_named(few, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "listed", lambda: (Listed("一", "train", "Han"),))
    with pytest.raises(
        DataError,
        match=r"No font has the character 一 \(U\+4E00\).*DejaVuSans, .*Install another version of "
        r"matplotlib",
    ):
        Glyphs().split("train")


def test_wrong_arguments_are_refused(few) -> None:
    with pytest.raises(
        DataError,
        match=r"Glyphs has no split 'tset'\. Did you mean 'test'\? Known: test, train, val\.",
    ):
        Glyphs().split("tset")
    with pytest.raises(DataError, match="no split 'validation'"):
        Glyphs().tasks("validation", Setting(5, 1, 1))
    with pytest.raises(ConfigError, match="at least 1 drawing of each character, got drawings=0"):
        Glyphs(drawings=0)


def test_it_is_described_by_its_arguments() -> None:
    again = rebuild(describe(Glyphs(drawings=3, rotations=True, seed=4)))
    assert (again.drawings, again.rotations, again.seed) == (3, True, 4)


def test_every_font_is_there_and_used() -> None:
    shipped = {c.character for c in listed()}
    assert shipped < set(characters())
    assert all(fonts_of(c) for c in shipped)
    assert {font for c in shipped for font in fonts_of(c)} == set(FONTS)


def test_a_missing_font_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"should carry the font .*NoSuchFont\.ttf, but does not"):
        plain("A", "NoSuchFont", pen=1.0)


def test_a_blank_has_no_ink() -> None:
    assert (plain(" ", "DejaVuSans", pen=1.0) < -1).all()


def test_matplotlib_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys, quickstudy.data.glyphs as g; g.Glyphs(); sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
