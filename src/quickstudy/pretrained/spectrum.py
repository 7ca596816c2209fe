"""The encoder of sounds that needs no weights: how loud each band is, and how that varies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.data.sounds import LogMel, Recording, read_recording
from quickstudy.pretrained.encoder import AbstractPretrained, hash_of
from quickstudy.training import pick_device

_FORMAT = LogMel()


class SpectrumEncoder(AbstractPretrained):
    """Recordings to vectors ``[n 128]``: of each of 64 mel bands the mean over time and the
    standard deviation, of decibels with mean 0 and deviation 1 over the whole recording.

    Nothing was trained for it.

    Args:
        device: "auto", "cpu" or "cuda"; it works on the CPU whatever is given.
    """

    kind = "audio"

    def __init__(self, *, device: str = "auto") -> None:
        pick_device(device)
        self.source, self.dim = "spectrum", 2 * _FORMAT.n_mels
        self.key = hash_of("spectrum", sorted(_FORMAT.to_json().items()))
        self.notes = (
            "spectrum hears how loud the high and the low is, not what comes after what: for hums, "
            "machines and instruments. For voices take the encoder 'voices'.",
        )

    def read(self, path: Path | bytes) -> Recording:
        return read_recording(path)

    def encode(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n 128"]:
        """The vectors of recordings (`quickstudy.data.Recording`)."""
        out = []
        for recording in items:
            bands = _FORMAT.spectrogram(recording).numpy()
            out.append(np.concatenate((bands.mean(1), bands.std(1))))
        return np.stack(out).astype(np.float32)
