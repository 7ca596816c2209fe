"""The encoder of a run of ours that was trained on sound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner, single_encoder
from quickstudy.data import LogMel, Recording, read_recording
from quickstudy.pretrained.encoder import AbstractPretrained, hash_of
from quickstudy.recipes import learner_extra, load

_AT_ONCE = 64  # pictures; ten minutes of sound are some four hundred


class SpectrogramEncoder(AbstractPretrained):
    """Recordings to vectors by the encoder of a run that was trained on log-mel spectrograms, such
    as the recipe voices-protonet.

    A recording becomes pictures of its sound that cover all of it (`quickstudy.data.LogMel`); its
    vector is the mean of theirs.

    Args:
        run: the folder that `quickstudy train` wrote.
        device: where it works.

    Raises:
        LoadError: when the run was not trained on sound.
        ConfigError: when its encoder needs several examples at once (normalisation by the batch or
            the support).
    """

    kind = "audio"

    def __init__(self, run: str | Path, *, device: str | torch.device = "cpu") -> None:
        folder = Path(run)
        learner = load(folder)
        sound = learner_extra(folder).get("sound") if isinstance(learner, AbstractLearner) else None
        encoder = single_encoder(learner)
        if not sound or encoder is None:
            raise LoadError(
                f"{folder} has no encoder of recordings of its own. Use a run of a metric learner "
                "on sound, e.g. voices-protonet."
            )
        if not encoder.is_independent:
            raise ConfigError(
                f"The encoder of {folder} normalises by the {encoder.norm}, so one recording "
                "has no vector of its own. Train with "
                "encoder.norm=running or group."
            )
        self.device = torch.device(device)
        self.encoder, self.format = encoder.eval().to(self.device), LogMel.from_json(sound)
        weights = [
            part
            for name, tensor in self.encoder.state_dict().items()
            for part in (name, tensor.cpu().numpy())
        ]
        self.source, self.dim = str(run), self.encoder.out_dim
        self.key = hash_of(self.format, *weights)

    def read(self, path: Path | bytes) -> Recording:
        return read_recording(path)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """The vectors of recordings (`quickstudy.data.Recording`)."""
        return np.stack([self._vector(recording) for recording in items])

    def _vector(self, recording: Recording) -> NDArray[np.float32]:
        with torch.no_grad():
            encoded = [
                self.encoder(some[None].to(self.device))[0]
                for some in self.format.pictures(recording).split(_AT_ONCE)
            ]
        return torch.cat(encoded).mean(0).cpu().numpy()
