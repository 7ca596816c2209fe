"""What may be written for an encoder."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError, DownloadError, LoadError
from quickstudy.data import ImageFormat
from quickstudy.encoders import Conv4
from quickstudy.pretrained import (
    FunctionEncoder,
    RunEncoder,
    SentenceEncoder,
    SymbolEncoder,
    open_encoder,
)
from quickstudy.pretrained.timm import TimmEncoder
from quickstudy.recipes import save_learner


def test_a_run_the_shipped_one_and_an_encoder_itself(tmp_path: Path) -> None:
    save_learner(
        ProtoNet(Conv4(size=28, width=8)),
        tmp_path / "run",
        extra={"image": ImageFormat(28, 1, invert=True).to_json()},
    )
    run = open_encoder(tmp_path / "run")
    assert isinstance(run, RunEncoder)
    assert open_encoder(str(tmp_path / "run"), invert=False).key != run.key
    assert isinstance(open_encoder("symbols"), SymbolEncoder)
    assert open_encoder("auto", invert=True).source == "symbols"
    assert open_encoder(run) is run
    assert isinstance(open_encoder("auto", kind="text"), SentenceEncoder)
    with pytest.raises(ConfigError, match="encodes images, not text"):
        open_encoder(run, kind="text")


def test_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"No encoder is called 'dino'. An encoder is auto, symbols, .* the "
        r"folder of a trained run",
    ):
        open_encoder("dino")
    with pytest.raises(ConfigError, match="holds neither a trained run"):
        open_encoder(tmp_path)
    with pytest.raises(ConfigError, match="Nothing encodes 'smells'"):
        open_encoder("auto", kind="smells")
    with pytest.raises(LoadError, match=r"There is no file 'face\.onnx'"):
        open_encoder("face.onnx")


def test_a_function_of_ones_own() -> None:
    grey = FunctionEncoder(
        lambda ps: [[np.asarray(p.convert("L")).mean(), 1.0] for p in ps],
        key="mean grey 1",
        dim=2,
        read=Image.open,
    )
    assert grey.encode([Image.new("RGB", (3, 3), "white")]).tolist() == [[255.0, 1.0]]
    assert open_encoder(grey).key == "mean grey 1"
    wrong = FunctionEncoder(lambda ps: np.zeros((len(ps), 3)), key="x", dim=2, read=Image.open)
    with pytest.raises(ConfigError, match=r"gave shape \(1, 3\) for 1 images, not \(1, 2\)"):
        wrong.encode([Image.new("RGB", (3, 3))])


def timm_of(monkeypatch: pytest.MonkeyPatch, *, reachable: bool = True) -> None:
    """What of timm is asked for, as it needs torchvision, which is not here."""

    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    def create(name: str, **options: Any) -> torch.nn.Module:
        if not reachable:
            raise OSError("no network")
        assert options == {"pretrained": True, "num_classes": 0}
        return Mean()

    config = {
        "input_size": (3, 16, 16),
        "crop_pct": 0.8,
        "interpolation": "bicubic",
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
    }
    fake = types.SimpleNamespace(
        list_models=lambda: ["resnet18"],
        create_model=create,
        data=types.SimpleNamespace(resolve_model_data_config=lambda model: config),
    )
    monkeypatch.setitem(sys.modules, "timm", fake)


def test_timm_with_and_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    timm_of(monkeypatch)
    encoder = open_encoder("timm:resnet18.a1_in1k", device="cpu")
    assert isinstance(encoder, TimmEncoder)
    np.testing.assert_allclose(
        encoder.encode([Image.new("RGB", (40, 20), "white")]), [[2.0, 2.0, 2.0]], atol=1e-5
    )
    with pytest.raises(ConfigError, match="timm has no model 'resnet19'"):
        open_encoder("timm:resnet19")
    timm_of(monkeypatch, reachable=False)
    with pytest.raises(DownloadError, match="cannot fetch the weights"):
        open_encoder("timm:resnet18")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[timm\]'"):
        open_encoder("timm:resnet18")
