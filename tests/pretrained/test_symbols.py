"""The encoder that comes with the package: there, small, licensed, and as good as it is said to
be.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.errors import ConfigError
from quickstudy.core.saving import load_folder
from quickstudy.data import Glyphs
from quickstudy.estimators import FewShotClassifier
from quickstudy.evaluation import Report
from quickstudy.pretrained import (
    AbstractImagePretrained,
    RunEncoder,
    SymbolEncoder,
    open_encoder,
)
from quickstudy.pretrained.symbols import SYMBOLS
from quickstudy.recipes import learner_extra, recipe_named


@pytest.fixture(scope="module")
def drawings() -> list[list[Image.Image]]:
    """Of every tenth character of the test split three drawings, dark on light."""
    test = Glyphs().split("test")
    return [
        [Image.fromarray(255 - test.x[int(r), 0].numpy()) for r in test.index.rows_of(c)[:3]]
        for c in range(0, len(test.index), 10)
    ]


def test_it_is_the_encoder_of_the_recipe() -> None:
    shipped, run = SymbolEncoder(), RunEncoder(SYMBOLS)
    assert (shipped.source, shipped.kind, shipped.dim) == ("symbols", "images", 64)
    assert SymbolEncoder(invert=True).key == run.key
    assert len({SymbolEncoder(invert=i).key for i in (None, True, False)}) == 3
    recipe = recipe_named("symbols-protonet")
    assert learner_extra(SYMBOLS) == {"image": dict(recipe.build_data().image_format or {})}
    assert {p.shape for p in run.encoder.parameters()} == {
        p.shape for p in recipe.build_learner().parameters()
    }
    assert open_encoder("symbols").key == shipped.key


def test_it_says_what_it_is_for() -> None:
    notes = " ".join(SymbolEncoder().notes)
    for word in ("drawings", "symbols", "photographs", "faces", "dark ink on light paper"):
        assert word in notes
    assert "light ink on dark" in " ".join(SymbolEncoder(invert=False).notes)


def test_the_files_are_small_and_say_whose_they_are() -> None:
    files = {f.name: f.stat().st_size for f in SYMBOLS.iterdir()}
    assert sum(files.values()) < 1_000_000
    licence = (SYMBOLS / "LICENCE.md").read_text(encoding="utf-8")
    for word in ("Apache-2.0", "Omniglot", "MIT", "matplotlib"):
        assert word in licence
    assert {"quickstudy.json", "LICENCE.md"} < set(files)
    # Nothing of the machine it was trained on.
    assert load_folder(SYMBOLS).about.keys() == {"learner", "extra"}


@pytest.mark.parametrize(
    ("data", "lowest"), [("symbols", 0.95), ("omniglot", 0.95), ("glyphs", 0.92)]
)
def test_its_reports_come_with_it(data: str, lowest: float) -> None:
    for evaluation in recipe_named("symbols-protonet").evaluations:
        report = Report.load(SYMBOLS / f"report-{data}-{evaluation.title}.json")
        assert (report.recipe, report.data, report.split.split("/")[-1]) == (
            "symbols-protonet",
            data,
            "test",
        )
        assert (report.n_way, report.n_shot, report.n_tasks) == (
            evaluation.setting.n_way,
            evaluation.setting.n_shot,
            600,
        )
        assert report.mean > lowest


def test_characters_it_never_saw_are_known_again_from_one_drawing(
    drawings: list[list[Image.Image]], tmp_path: Path
) -> None:
    encoder, n = SymbolEncoder(), len(drawings)
    first, *rest = (encoder.encode([of[k] for of in drawings]) for k in range(3))
    model = FewShotClassifier().fit(first, range(n))
    assert n == 20
    assert np.mean([model.score(x, range(n)) for x in rest]) > 0.85
    drawings[0][0].save(tmp_path / "x.png")
    np.testing.assert_allclose(
        encoder.encode([encoder.read(tmp_path / "x.png")])[0], first[0], rtol=1e-4, atol=1e-5
    )


def test_light_ink_on_dark(drawings: list[list[Image.Image]]) -> None:
    dark = [of[0] for of in drawings[:4]]
    light = [Image.fromarray(255 - np.asarray(i)) for i in dark]
    assert np.array_equal(SymbolEncoder(invert=False).encode(light), SymbolEncoder().encode(dark))
    # Picture by picture, from the border, so that both may be mixed.
    mixed = [dark[0], light[1], dark[2], light[3]]
    assert np.array_equal(SymbolEncoder().encode(mixed), SymbolEncoder(invert=True).encode(dark))


def test_photographs_are_never_turned() -> None:
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 1, 64)[:, None]
    columns = np.linspace(0, 1, 64)
    photographs = []
    for _ in range(20):  # a lit surface, lighter here and darker there, some of it a dark border
        light = rng.uniform(-1, 1) * rows + rng.uniform(-1, 1) * columns + rng.uniform(0, 1)
        blob = np.exp(-10 * ((rows - rng.uniform()) ** 2 + (columns - rng.uniform()) ** 2))
        grey = 90 * light + rng.uniform(-90, 90) * blob + rng.normal(0, 6, (64, 64)) + 90
        photographs.append(Image.fromarray(grey.clip(0, 255).astype(np.uint8)))
    as_trained = SymbolEncoder(invert=True).encode(photographs)
    assert np.array_equal(SymbolEncoder().encode(photographs), as_trained)


def test_its_places_are_those_of_the_run(drawings: list[list[Image.Image]]) -> None:
    def places(encoder: AbstractImagePretrained) -> object:
        try:
            return encoder.patches(drawings[0]).tolist()
        except ConfigError as error:
            return str(error).replace(str(SYMBOLS), "symbols")

    assert places(SymbolEncoder()) == places(RunEncoder(SYMBOLS))
