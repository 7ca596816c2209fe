"""Pictures to vectors, by any encoder in the ONNX format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.data import read_picture
from quickstudy.pretrained.encoder import AbstractImagePretrained, hash_of
from quickstudy.pretrained.fetch import read_json
from quickstudy.pretrained.preprocessing import Preprocessing
from quickstudy.pretrained.session import open_session

_SIDE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class OnnxEncoder(AbstractImagePretrained):
    """Pictures to vectors by an ``.onnx`` file with one input, pictures ``[n 3 H W]``, and an
    output ``[n D]``: a face model, for instance. An output ``[n D h w]`` beside it is a map of
    places, which `patches` gives.

    How pictures are prepared is read from ``NAME.json`` beside ``NAME.onnx``, or from
    ``preprocessor_config.json`` in its folder, in the form of the hub. Without either, pictures are
    brought to the input's size and normalised by ImageNet's mean and deviation, and `notes` says
    so: a model that was trained otherwise gives poor vectors then. Face models of the ArcFace kind
        want ``{"image_processor_type": "ViTImageProcessor", "size": {"height": 112, "width": 112},
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}``, and faces that are cut out
        and upright.

    Args:
        path: the file.
        output: the output's name; empty = the first one of the form ``[n D]``.

    Raises:
        ConfigError: when onnxruntime is missing, or inputs or outputs are of another form.
        LoadError: when the file is missing or damaged.
    """

    no_graph = "it is an ONNX file already, whose operations are not known here."

    def __init__(self, path: str | Path, *, output: str = "") -> None:
        file = Path(path)
        self._session = open_session(file, package="quickstudy[onnx]")
        self._input, shape = _picture_input(self._session, file)
        self._output = _vector_output(self._session, file, output)
        self._map = _map_output(self._session)
        about = read_json(file.with_suffix(".json"), default={}) or read_json(
            file.parent / "preprocessor_config.json", default={}
        )
        height, width = (s if isinstance(s, int) else _SIDE for s in shape[2:])
        self._see = (
            Preprocessing.from_json(about, where=str(file.with_suffix(".json")))
            if about
            else Preprocessing(
                resize=(height, width), crop=(), resample=3, scale=1 / 255, mean=_MEAN, std=_STD
            )
        )
        if any(
            isinstance(s, int) and s != t for s, t in zip(shape[2:], self._see.size, strict=True)
        ):
            raise ConfigError(
                f"{file} takes images of {height}×{width}, but its preprocessing makes them "
                f"{self._see.size}. Correct the JSON beside it."
            )
        # One model file may be many at once: a batch of a fixed size is filled up.
        self._batch = shape[0] if isinstance(shape[0], int) else 0
        # Large models keep their weights in files beside, NAME.onnx.data or NAME.onnx_data.
        self.source = str(path)
        self.key = hash_of(
            self._output,
            sorted(self._see.to_json().items()),
            files=sorted(p for p in file.parent.iterdir() if p.name.startswith(file.name)),
        )
        self.dim = self.encode([Image.new("RGB", (8, 8))]).shape[1]
        self.notes = (
            ()
            if about
            else (
                f"Nothing says how {file.name} wants its images, so they are normalised by "
                f"ImageNet's mean and deviation. Put a {file.stem}.json beside it if that "
                "is wrong.",
            )
        )

    def read(self, path: Path | bytes) -> NDArray[np.float32]:
        return self._see(read_picture(path, at_least=2 * max(self._see.size)))

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        return self._run(items, self._output)

    def patches(self, items: Sequence[Any]) -> NDArray[np.float32]:
        if not self._map:
            raise ConfigError(
                f"'{self.source}' gives one vector per image and none of its places. Export the "
                "model with a second output, a feature map [n, D, height, width]; or take "
                "photographs, a trained run with a Conv4 or a vision model of the hub."
            )
        return np.ascontiguousarray(self._run(items, self._map).transpose(0, 2, 3, 1))

    def _run(self, items: Sequence[Any], output: str) -> NDArray[np.float32]:
        pixels = np.stack([self._see(t) if isinstance(t, Image.Image) else t for t in items])
        step = self._batch or len(pixels)
        out = []
        for at in range(0, len(pixels), step):
            some = pixels[at : at + step]
            full = np.concatenate((some, np.zeros((step - len(some), *some.shape[1:]), np.float32)))
            out.append(self._session.run([output], {self._input: full})[0][: len(some)])
        return np.concatenate(out).astype(np.float32)


def _picture_input(session: Any, file: Path) -> tuple[str, list[Any]]:
    inputs = session.get_inputs()
    if (
        len(inputs) != 1
        or len(inputs[0].shape) != 4
        or inputs[0].shape[1] != 3
        or inputs[0].type != "tensor(float)"
    ):
        inputs_text = ", ".join(f"{i.name} {i.shape} {i.type}" for i in inputs)
        raise ConfigError(
            f"{file} takes {inputs_text}, but one input of images was expected: "
            "float, [n, 3, height, width]. Export the model in that form."
        )
    return inputs[0].name, inputs[0].shape


def _map_output(session: Any) -> str:
    """The last output of the form [n, D, height, width] with more than one place; else empty."""
    maps = [o.name for o in session.get_outputs() if len(o.shape) == 4 and o.shape[2:] != [1, 1]]
    return maps[-1] if maps else ""


def _vector_output(session: Any, file: Path, wanted: str) -> str:
    outputs = {o.name: o.shape for o in session.get_outputs()}
    flat = [name for name, shape in outputs.items() if len(shape) == 2]
    if (wanted and wanted not in flat) or not flat:
        outputs_text = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
        raise ConfigError(
            f"{file} gives {outputs_text}, but vectors were expected, [n, "
            f"D]{f', called {wanted}' if wanted else ''}. Export the model in that form."
        )
    return wanted or flat[0]
