"""The encoder of a trained run of ours."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner, single_encoder
from quickstudy.data import ImageFormat
from quickstudy.pretrained.encoder import AbstractImagePretrained
from quickstudy.pretrained.graph import EncoderGraph, graph_of_square
from quickstudy.recipes import learner_extra, load


class RunEncoder(AbstractImagePretrained):
    """Pictures to vectors by the encoder of a run that `quickstudy train` made.

    Args:
        run: its folder.
        invert: turn dark ink on light paper to light on dark; None = as the run was trained.
        device: where it works.

    Raises:
        LoadError: when it was not trained on pictures.
        ConfigError: when its encoder needs several pictures at once (normalisation by the batch or
            the support).
    """

    def __init__(
        self, run: str | Path, *, invert: bool | None = None, device: str | torch.device = "cpu"
    ) -> None:
        folder = Path(run)
        learner = load(folder)
        if not isinstance(learner, AbstractLearner):
            raise LoadError(
                f"{folder} holds a fitted model, not a trained run. Give the folder that "
                "`quickstudy train` wrote."
            )
        image = learner_extra(folder).get("image")
        encoder = single_encoder(learner)
        if not image or encoder is None:
            raise LoadError(
                f"{folder} has no encoder of images of its own. Use a run of a metric learner on "
                "images, e.g. omniglot-protonet."
            )
        if not encoder.is_independent:
            raise ConfigError(
                f"The encoder of {folder} normalises by the {encoder.norm}, so one image has "
                "no vector of its own. Train with "
                "encoder.norm=running or group."
            )
        self.device = torch.device(device)
        self.encoder = encoder.eval().to(self.device)
        self.format = ImageFormat.from_json(
            image if invert is None else {**image, "invert": invert}
        )
        digest = hashlib.sha256(repr(sorted(self.format.to_json().items())).encode())
        for name, tensor in self.encoder.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        self.source, self.key, self.dim = str(run), digest.hexdigest()[:16], self.encoder.out_dim

    def read(self, path: Path | bytes) -> torch.Tensor:
        return self.format.read(path)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            return self.encoder(self._batch(items))[0].cpu().numpy()

    def patches(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """The features behind the encoder's second stage and those behind the third, brought to the
        second's grid, place by place: ``[n H W D]``.

        An 84×84 picture has 21×21 places. The last stage is left out: it sees the picture as a
        whole.

        Raises:
            ConfigError: when the encoder has no such stages.
        """
        with torch.no_grad():
            places = self._places(self._batch(items)[0])
        return super().patches(items) if places is None else places.cpu().numpy()

    def graph(self, *, polarity: str = "") -> EncoderGraph:
        """As of `AbstractPretrained.graph`.

        Args:
            polarity: as of `quickstudy.pretrained.graph.graph_of_square`.
        """
        return graph_of_square(
            self.format,
            self.encoder,
            vectors=lambda x: self.encoder(x[None])[0],
            patches=self._places_or_error,
            polarity=polarity,
        )

    def _places_or_error(self, x: torch.Tensor) -> torch.Tensor:
        places = self._places(x)
        if places is None:
            raise ConfigError(f"'{self.source}' gives one vector per image and no places.")
        return places

    def _places(self, x: torch.Tensor) -> torch.Tensor | None:
        """Of pictures ``[n C S S]`` the vectors of places ``[n H W D]``; None where the encoder has
        no such stages.
        """
        stages: dict[int, torch.Tensor] = {}

        def keep(stage: int, features: torch.Tensor) -> torch.Tensor:
            stages[stage] = features
            return features

        with self.encoder.between(keep):
            self.encoder(x[None])
        if not {2, 3} <= stages.keys() or stages[2].ndim != 5:
            return None
        fine, coarse = stages[2][0], stages[3][0]  # [n C H W]
        grown = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat((fine, grown), 1).permute(0, 2, 3, 1).float()

    def _batch(self, items: Sequence[Any]) -> torch.Tensor:
        """Pillow images, or what `read` gave, as ``[1 n C S S]``."""
        read = [self.format.convert(p) if isinstance(p, Image.Image) else p for p in items]
        return self.format.normalise(torch.stack(read))[None].to(self.device)
