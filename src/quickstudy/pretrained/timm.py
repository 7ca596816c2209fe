"""Pictures to vectors, by a model of timm."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DownloadError
from quickstudy.data import read_picture
from quickstudy.pretrained.encoder import AbstractImagePretrained, hash_of
from quickstudy.pretrained.graph import EncoderGraph, graph_of_preprocessed
from quickstudy.pretrained.preprocessing import Preprocessing
from quickstudy.training import pick_device

_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


class TimmEncoder(AbstractImagePretrained):
    """Pictures to vectors by a pre-trained model of timm, without its classifier, prepared as timm
    says.

    Args:
        name: as timm calls it, e.g. "resnet18.a1_in1k".
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: when timm is not installed (it brings torchvision along), or knows no such
            model.
        DownloadError: when its weights cannot be fetched.
    """

    def __init__(self, name: str, *, device: str = "auto") -> None:
        try:
            timm: Any = importlib.import_module("timm")
        except ImportError as error:
            raise ConfigError(
                "Models of timm need the package timm, which brings torchvision along: pip install "
                "'quickstudy[timm]'."
            ) from error
        if name.split(".")[0] not in timm.list_models():
            raise ConfigError(
                f"timm has no model '{name}'. `timm.list_models(pretrained=True)` lists them."
            )
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0)
        except (OSError, RuntimeError) as error:
            raise DownloadError(
                f"timm cannot fetch the weights of '{name}': {error}. Fetch them where there is a "
                "network."
            ) from error
        about = timm.data.resolve_model_data_config(model)
        height, side = about["input_size"][-2:]
        if height != side or about.get("crop_mode", "center") != "center":
            raise ConfigError(
                f"'{name}' takes images of {height}×{side} cut in the mode "
                f"{about.get('crop_mode', 'center')}, which is not done here. Use another model, "
                "or wrap it."
            )
        whole = int(side / about.get("crop_pct", 1.0))
        self._see = Preprocessing(
            (whole,),
            (side, side),
            _FILTERS[about["interpolation"]],
            1 / 255,
            tuple(about["mean"]),
            tuple(about["std"]),
        )
        self.device = pick_device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        weights = [
            part for n, t in self.model.state_dict().items() for part in (n, t.cpu().numpy())
        ]
        self.source = f"timm:{name}"
        self.key = hash_of(sorted(self._see.to_json().items()), *weights)
        self.dim = self.encode([Image.new("RGB", (side, side))]).shape[1]

    def read(self, path: Path | bytes) -> NDArray[np.float32]:
        return self._see(read_picture(path, at_least=2 * max(self._see.size)))

    def graph(self) -> EncoderGraph:
        return graph_of_preprocessed(
            self._see,
            self.model,
            source=self.source,
            at_least=2 * max(self._see.size),
            vectors=lambda x: self.model(x).flatten(1),
        )

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(
            np.stack([self._see(t) if isinstance(t, Image.Image) else t for t in items])
        ).to(self.device)
        with torch.no_grad():
            return self.model(pixels).flatten(1).float().cpu().numpy()
