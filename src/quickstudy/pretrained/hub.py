"""Pictures to vectors, by a vision model of the Hugging Face hub."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.data import read_picture
from quickstudy.pretrained.encoder import AbstractImagePretrained, hash_of
from quickstudy.pretrained.fetch import load_model, model_folder, read_json, require, weight_files
from quickstudy.pretrained.graph import EncoderGraph, graph_of_preprocessed
from quickstudy.pretrained.preprocessing import Preprocessing
from quickstudy.training import pick_device

# How a model becomes a vector: by which class of transformers, from which of its outputs.
_TYPES: dict[str, tuple[str, str]] = {
    "clip": ("CLIPVisionModelWithProjection", "projection"),
    "clip_vision_model": ("CLIPVisionModelWithProjection", "projection"),
    "siglip": ("SiglipVisionModel", "pooled"),
    "siglip_vision_model": ("SiglipVisionModel", "pooled"),
    "dinov2": ("AutoModel", "first token"),
    "dinov2_with_registers": ("AutoModel", "first token"),
    "dinov3_vit": ("AutoModel", "first token"),
    "vit": ("AutoModel", "first token"),
    "deit": ("AutoModel", "first token"),
    "convnext": ("AutoModel", "pooled"),
    "convnextv2": ("AutoModel", "pooled"),
    "dinov3_convnext": ("AutoModel", "pooled"),
    "resnet": ("AutoModel", "pooled"),
}
_REMARKS = {
    "dinov3_vit": "DINOv3 comes under a licence of its own, with terms for use and redistribution: "
    "read it before you build on it.",
    "dinov3_convnext": "DINOv3 comes under a licence of its own, with terms for use and "
    "redistribution: read it before you build on it.",
}


class HubEncoder(AbstractImagePretrained):
    """Pictures to vectors by a vision model in the form of the hub, prepared as its
    ``preprocessor_config.json`` says.

    The vector is, by type of model: the first token of the last layer (DINOv2, DINOv3, ViT, DeiT),
        the pooled output (SigLIP, ConvNeXt, ResNet), or
    the projection into the space shared with text (CLIP). Of other types it is the mean over all
    places, and `notes` says so.

    Args:
        source: a folder, or a model of the hub ("owner/name", perhaps "@revision").
        device: "auto", "cpu" or "cuda".
        local_only: take what lies on this machine, and ask nobody else.

    Raises:
        ConfigError: when nothing is called so, or transformers is missing or does not know the
            type.
        DownloadError: when the hub does not give it.
        LoadError: when it is no vision model, or its files are missing or damaged.
    """

    def __init__(
        self, source: str | Path, *, device: str = "auto", local_only: bool = False
    ) -> None:
        if not local_only:
            require("transformers")  # before anything is fetched
        folder = model_folder(source, local_only=local_only)
        require("transformers")
        self.device = pick_device(device)
        self._see, about = _preprocessing(folder), read_json(folder / "config.json")
        self._type = str(about.get("model_type"))
        maker, self._takes = _TYPES.get(self._type, ("AutoModel", "mean"))
        self.model: Any = load_model(folder, maker, device=self.device)
        settings = sorted(self._see.to_json().items())
        self.source = str(source)
        self.key = hash_of(self._type, self._takes, settings, files=weight_files(folder))
        # Tokens that stand before those of the places: one for the whole picture, and DINO's
        # registers.
        self._extra = 1 + int(self.model.config.to_dict().get("num_register_tokens") or 0)
        self._side = max(self._see.size)
        self.dim = self._tried()
        notes = [_REMARKS[self._type]] if self._type in _REMARKS else []
        if self._type not in _TYPES:
            notes.append(
                f"Models of type {self._type} are not known here; their vector is the mean over "
                "all places of the image."
            )
        self.notes = (
            *notes,
            "General vision models see what is on an image, not who: do not tell people apart by "
            "them.",
        )

    def _tried(self) -> int:
        """The length of a vector, of a picture that is encoded twice."""
        grey = Image.new("RGB", (self._side, self._side), (90, 120, 150))
        try:
            first, again = self.encode([grey]), self.encode([grey])
        except Exception as error:  # a model of another kind may fail in any way
            raise ConfigError(
                f"The model '{self.source}' ({self._type}) does not encode images as it is asked "
                f"to: {str(error).splitlines()[0] if str(error) else error!r} "
                "Use a vision model of one of the known types, e.g. DINOv2."
            ) from error
        if not np.array_equal(first, again):
            raise ConfigError(
                f"The model '{self.source}' ({self._type}) gives the same image another vector "
                "each time. Use another one, e.g. DINOv2."
            )
        return first.shape[1]

    def read(self, path: Path | bytes) -> NDArray[np.float32]:
        return self._see(read_picture(path, at_least=2 * self._side))

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        out = self._run(items)
        return _VECTORS[self._takes](out).flatten(1).float().cpu().numpy()

    def graph(self) -> EncoderGraph:
        return graph_of_preprocessed(
            self._see,
            self.model,
            source=self.source,
            at_least=2 * self._side,
            vectors=lambda x: _VECTORS[self._takes](self.model(pixel_values=x)).flatten(1),
        )

    def patches(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n H W D"]:
        hidden = self._run(items).last_hidden_state
        if hidden.ndim == 4:  # a map, channels first
            return hidden.permute(0, 2, 3, 1).float().cpu().numpy()
        height, width = self._see.size
        patch = self.model.config.to_dict().get("patch_size")
        if isinstance(patch, int) and hidden.shape[1] >= (height // patch) * (
            width // patch
        ):  # whatever stands before the places
            rows, columns = height // patch, width // patch
            return hidden[:, -rows * columns :].unflatten(1, (rows, columns)).float().cpu().numpy()
        for extra in (0, self._extra):
            n = hidden.shape[1] - extra
            rows = round((n * height / width) ** 0.5)
            if rows and n % rows == 0 and rows * width == n // rows * height:
                return hidden[:, extra:].unflatten(1, (rows, -1)).float().cpu().numpy()
        raise ConfigError(
            f"'{self.source}' ({self._type}) gives {hidden.shape[1]} tokens, which form no grid on "
            f"an image of {height}×{width}. Use a model with patches of "
            "equal size, e.g. DINOv2."
        )

    def _run(self, items: Sequence[Any]) -> Any:
        pixels = torch.from_numpy(
            np.stack([self._see(t) if isinstance(t, Image.Image) else t for t in items])
        ).to(self.device)
        with torch.no_grad():
            return self.model(pixel_values=pixels)


def _mean(out: Any) -> Tensor:
    hidden = out.last_hidden_state
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


_VECTORS: dict[str, Callable[[Any], Tensor]] = {
    "projection": lambda out: out.image_embeds,
    "pooled": lambda out: out.pooler_output,
    "first token": lambda out: out.last_hidden_state[:, 0],
    "mean": _mean,
}


def _preprocessing(folder: Path) -> Preprocessing:
    about = read_json(folder / "preprocessor_config.json", default={}) or read_json(
        folder / "processor_config.json", default={}
    ).get("image_processor")
    if not about:
        raise LoadError(
            f"{folder} does not say how images are prepared (preprocessor_config.json), so it is "
            "no vision model. Give one that is."
        )
    return Preprocessing.from_json(about, where=str(folder / "preprocessor_config.json"))
