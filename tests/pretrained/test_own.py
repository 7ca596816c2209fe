"""Encoders of one's own, named as module:function."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.estimators import FittedModel, fit_folder
from quickstudy.pretrained import open_encoder

TEXT = """
import numpy as np

from quickstudy.pretrained import FunctionEncoder


def mean_colour(pictures):
    return [np.asarray(p.convert("RGB")).mean((0, 1)) for p in pictures]


def flat(pictures):
    return [1.0 for p in pictures]


ready = FunctionEncoder(mean_colour, key="mine 1", dim=3, read=print)
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, another for each test."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_function_and_an_encoder(module: str) -> None:
    encoder = open_encoder(f"{module}:mean_colour")
    image = Image.new("RGB", (5, 5), (10, 20, 30))
    np.testing.assert_allclose(encoder.encode([image]), [[10, 20, 30]])
    assert encoder.dim == 3
    assert encoder.key == open_encoder(f"{module}:mean_colour").key
    ready = open_encoder(f"{module}:ready")
    assert (ready.key, ready.source) == ("mine 1", f"{module}:ready")


def test_what_is_none(module: str) -> None:
    with pytest.raises(ConfigError, match=r"no 'mean_color'.*mean_colour"):
        open_encoder(f"{module}:mean_color")
    with pytest.raises(ConfigError, match="cannot be imported"):
        open_encoder("no_such_module_here:f")
    with pytest.raises(ConfigError, match="is a int"):
        open_encoder(f"{module}:number")
    with pytest.raises(ConfigError, match=r"shape \(1,\)"):
        open_encoder(f"{module}:flat")
    with pytest.raises(ConfigError, match="No encoder is called 'faces:smallest'"):
        open_encoder("faces:smallest")


def test_a_saved_model_runs_no_code_by_itself(module: str, tmp_path: Path) -> None:
    for name, colour in {"red": (200, 0, 0), "blue": (0, 0, 200)}.items():
        (tmp_path / "known" / name).mkdir(parents=True)
        for k in range(2):
            shade = tuple(min(255, c + 9 * k) for c in colour)
            Image.new("RGB", (8, 8), shade).save(tmp_path / "known" / name / f"{k}.png")
    source = f"{module}:mean_colour"
    fit_folder(tmp_path / "known", encoder=source).save(tmp_path / "m")
    asked = [tmp_path / "known" / "red" / "0.png"]
    with pytest.raises(LoadError, match="is run only where you name it"):
        FittedModel.load(tmp_path / "m").predict_files(asked)
    again = FittedModel.load(tmp_path / "m", encoder=source)
    assert again.predict_files(asked)[0].label == "red"
