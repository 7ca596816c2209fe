"""Recordings to vectors, by an audio model of the hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.data.sounds import Recording, read_recording
from quickstudy.pretrained.encoder import AbstractPretrained, hash_of
from quickstudy.pretrained.fetch import load_model, load_part, model_folder, read_json, weight_files
from quickstudy.training import pick_device

_PIECE = 30.0  # seconds: the memory of self-attention grows with the square of the length
_SPEAKER_PIECE = 0.5  # seconds that the filters of an x-vector head must at least see


class HubAudioEncoder(AbstractPretrained):
    """Recordings to vectors by an audio model of the hub: Wav2Vec2, WavLM, HuBERT and their kin,
    the encoder of Whisper, the Audio Spectrogram Transformer.

    The vector is

    - of a model with a head for speakers (``WavLMForXVector``, ``Wav2Vec2ForXVector``, …) the
    speaker's: voices are known again as faces are;
    - of an Audio Spectrogram Transformer what its classifier sees: of sounds, not of who makes
    them;
    - else the mean of the last layer over the frames that the recording fills.

    Recordings are brought to the model's rate and encoded one by one, so none is padded to the
    length of another. A model that takes pieces of a fixed length (Whisper 30 s, the Audio
    Spectrogram Transformer about 10 s) gets longer recordings in equal pieces, any other in pieces
    of at most 30 s; the vector is the mean of theirs.

    Args:
        source: a folder, or a model of the hub ("owner/name"), with safetensors weights.
        device: "auto", "cpu" or "cuda".
        local_only: take what lies on this machine, and ask nobody else.

    Attributes:
        rate: samples per second that the model takes.

    Raises:
        ConfigError: when nothing is called so, transformers is missing, or the model does not
            encode sound.
        DownloadError: when the hub does not give it.
        LoadError: when the folder's files are missing or damaged.
    """

    kind = "audio"

    def __init__(
        self, source: str | Path, *, device: str = "auto", local_only: bool = False
    ) -> None:
        folder = model_folder(source, local_only=local_only)
        self.device = pick_device(device)
        about = read_json(folder / "config.json")
        self.source = str(source)
        self._is_speaker = str((about.get("architectures") or [""])[0]).endswith("ForXVector")
        prepare = read_json(folder / "preprocessor_config.json")
        if "sampling_rate" not in prepare:
            raise ConfigError(
                f"{folder} holds a model ({about.get('model_type')}) that takes no sound. Use an "
                "audio model of the hub."
            )
        self.extractor: Any = load_part(folder, "AutoFeatureExtractor")
        self.model: Any = load_model(
            folder,
            "AutoModelForAudioXVector" if self._is_speaker else "AutoModel",
            device=self.device,
        )
        self.rate: int = self.extractor.sampling_rate
        self._is_ast = type(self.extractor).__name__ == "ASTFeatureExtractor"
        self._fixed = self._fixed_length()
        self.key = hash_of(
            self._is_speaker, files=[*weight_files(folder), folder / "preprocessor_config.json"]
        )
        self.notes = (
            ("Made to tell speakers apart.",)
            if self._is_speaker
            else (
                "Not made to tell speakers apart: its vectors say what sounds, more than who "
                "speaks. For voices take a model with an x-vector head.",
            )
        )
        self.dim = len(self._checked())

    def read(self, path: Path | bytes) -> Recording:
        return read_recording(path)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """The vectors of recordings (`quickstudy.data.Recording`)."""
        return np.stack([self._vector(recording.at_rate(self.rate)) for recording in items])

    def _vector(
        self, samples: Float[NDArray[np.float32], " n"]
    ) -> Float[NDArray[np.float32], " D"]:
        if self._is_speaker:
            # repeats what is too short
            samples = np.resize(samples, max(len(samples), round(_SPEAKER_PIECE * self.rate)))
        longest = self._fixed or round(_PIECE * self.rate)
        pieces = np.array_split(samples, -(-len(samples) // longest))
        return torch.stack([self._piece(piece) for piece in pieces]).mean(0).cpu().numpy()

    def _piece(self, samples: NDArray[np.float32]) -> Float[Tensor, " D"]:
        with torch.no_grad():
            prepared = self.extractor(samples, sampling_rate=self.rate, return_tensors="pt")
            out = self.model(**{name: values.to(self.device) for name, values in prepared.items()})
        if self._is_speaker:
            return out.embeddings[0]
        if self._is_ast:
            return out.pooler_output[0]
        frames = out.last_hidden_state[0]  # [n D]
        filled = -(-len(frames) * len(samples) // self._fixed) if self._fixed else len(frames)
        return frames[:filled].mean(0)

    def _fixed_length(self) -> int:
        """Samples that a model of fixed length takes at once; 0 for others."""
        settings = self.extractor.to_dict()
        if self._is_ast:
            # Kaldi's windows
            return round(0.010 * self.rate) * (settings["max_length"] - 1) + round(
                0.025 * self.rate
            )
        return settings.get("n_samples", 0)

    def _checked(self) -> Float[NDArray[np.float32], " D"]:
        """The vector of a second of noise."""
        noise = (np.random.default_rng(0).normal(size=self.rate) / 10).astype(np.float32)
        try:
            return self._vector(noise)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"The model in {self.source} ({type(self.model).__name__}) does not turn sound "
                f"into frames of vectors ({error}). Use Wav2Vec2, WavLM, HuBERT, Whisper, "
                "an Audio Spectrogram Transformer, or one with an x-vector head."
            ) from error
