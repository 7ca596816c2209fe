"""The encoder of faces: find, align, encode, by networks of dlib."""

import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, ImageError, did_you_mean
from quickstudy.core.words import counted
from quickstudy.data import read_picture
from quickstudy.data.image_files import upright
from quickstudy.pretrained.encoder import AbstractImagePretrained, hash_of
from quickstudy.pretrained.measured import MeasuredThresholds
from quickstudy.pretrained.photographs import check_weights
from quickstudy.pretrained.registry import entry_of, package_folder

# The file with 68 landmarks lies beside these; its licence forbids commercial use, so it is never
# opened.
RECOGNITION = "dlib_face_recognition_resnet_model_v1.dat"
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
DETECTOR = "mmod_human_face_detector.dat"
_CHECKSUMS = {
    LANDMARKS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    DETECTOR: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
}
CHOICES = ("only", "largest")
SIDE = 640  # of the image's shorter side: larger ones are made smaller before a face is looked for
_SMALL = 200  # images smaller than this are enlarged, as the detector finds faces from 80 pixels on
_MIN_FACE = 40  # pixels in the image as it came
_CUT = 3  # a face may reach beyond the border by a third of its side
_CHIP, _PADDING, _OUT = 150, 0.25, 128
# By benchmarks/encoders.py, which also checks them.
MEASURED = MeasuredThresholds(
    "the ORL faces: 40 people, 10 photographs each, by their cosine",
    78_000,
    (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003),
    (0.893, 0.9078, 0.9183, 0.9275, 0.934, 0.9403),
)


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Args:
        left, top, right, bottom: the box, in pixels of the image.
        chip: the face upright and cut out, as the network takes it.
        score: the detector's; higher is surer.
    """

    left: int
    top: int
    right: int
    bottom: int
    chip: UInt8[NDArray[np.uint8], "150 150 3"]
    score: float

    @property
    def side(self) -> int:
        """The shorter side of the box."""
        return min(self.right - self.left, self.bottom - self.top)


class FaceEncoder(AbstractImagePretrained):
    """Photographs of people to vectors ``[n 128]`` of their faces: the face is found, turned
    upright, cut out and encoded.

    dlib's recognition network (King 2017, "High quality face recognition with deep metric
    learning"), with its detector and its five landmarks; the weights are in the public domain
    (CC0-1.0) and come with the package face-recognition-models. Vectors are compared by their
    cosine.

    Args:
        choose: where an image shows several faces: "only" refuses it, "largest" takes the largest.
        device: "auto" or "cpu"; it works on the CPU.

    Raises:
        ConfigError: when dlib or the package with the weights is not installed.
        LoadError: when a file of weights is not the one that is expected.
    """

    no_graph = (
        "its networks belong to dlib, which finds, turns and encodes faces in its own code and "
        "gives them in no other format."
    )

    def __init__(self, *, choose: str = "only", device: str = "auto") -> None:
        if choose not in CHOICES:
            raise ConfigError(f"choose cannot be '{choose}'. {did_you_mean(choose, CHOICES)}")
        if device not in ("auto", "cpu"):
            raise ConfigError(f"The encoder of faces works on the CPU, not on '{device}'.")
        entry = entry_of("faces")
        assert entry is not None
        folder = package_folder(entry) / "models"
        try:
            dlib: Any = importlib.import_module("dlib")
        except ImportError as error:
            raise ConfigError(
                f"Faces need the package dlib, which is not installed: pip install {entry.install}"
            ) from error
        for name, checksum in {RECOGNITION: entry.checksum, **_CHECKSUMS}.items():
            check_weights(folder / name, checksum)
        self._dlib, self.choose = dlib, choose
        # dlib's networks keep what they compute, so they take one image at a time.
        self._lock = threading.Lock()
        self._detector = dlib.get_frontal_face_detector()
        self._thorough = dlib.cnn_face_detection_model_v1(str(folder / DETECTOR))
        self._landmarks = dlib.shape_predictor(str(folder / LANDMARKS))
        self._network = dlib.face_recognition_model_v1(str(folder / RECOGNITION))
        self.source = "faces" if choose == "only" else f"faces:{choose}"
        self.dim = _OUT
        self.key = hash_of(
            "faces", SIDE, _SMALL, _CHIP, _PADDING, entry.checksum, sorted(_CHECKSUMS.items())
        )
        self.measured = MEASURED
        self.notes = (
            "faces knows people by their faces; whether a living person or an image is in front "
            "of the camera it does not tell.",
            "It errs more often on children and on groups of people that were rare in its "
            "training: measure it on people like yours.",
        )

    def read(self, path: Path | bytes) -> UInt8[NDArray[np.uint8], "150 150 3"]:
        """The face in a file, upright and cut out."""
        name = "The image" if isinstance(path, bytes) else f"'{path}'"
        return self._chip(read_picture(path, at_least=SIDE), name)

    def encode(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n 128"]:
        """The vectors of images, or of what `read` gave.

        Raises:
            ImageError: for an image without a face, with several, or with one that is too small or
                cut off, by its number.
        """
        chips = [
            self._chip(item, f"Image {i + 1}") if isinstance(item, Image.Image) else item
            for i, item in enumerate(items)
        ]
        with self._lock:
            vectors = self._network.compute_face_descriptor(chips)
        return np.asarray([list(v) for v in vectors], dtype=np.float32)

    def faces(self, image: Image.Image) -> list[Face]:
        """All faces in an image, the largest first; those that the border cuts off too."""
        pixels, scale = self._seen(image)
        faces = []
        for box, score in self._boxes(pixels):
            shape = self._landmarks(pixels, box)
            chip = self._dlib.get_face_chip(pixels, shape, size=_CHIP, padding=_PADDING)
            left, top, right, bottom = (
                round(side / scale) for side in (box.left(), box.top(), box.right(), box.bottom())
            )
            faces.append(Face(left, top, right, bottom, chip, float(score)))
        return sorted(faces, key=lambda face: -face.side)

    def shows_face(self, image: Image.Image) -> bool:
        """Whether the quick detector finds a face that is large enough."""
        pixels, scale = self._seen(image)
        with self._lock:
            boxes = self._detector(pixels, 0)
        return any(min(box.width(), box.height()) >= _MIN_FACE * scale for box in boxes)

    def _boxes(self, pixels: UInt8[NDArray[np.uint8], "H W 3"]) -> list[tuple[Any, float]]:
        """Boxes and scores; by the slower detector, which also finds turned faces, where the quick
        one finds none.
        """
        with self._lock:
            boxes, scores, _ = self._detector.run(pixels, 0, 0.0)
            if len(boxes) > 0:
                return list(zip(boxes, scores, strict=True))
            return [(found.rect, found.confidence) for found in self._thorough(pixels, 0)]

    def _seen(self, image: Image.Image) -> tuple[UInt8[NDArray[np.uint8], "H W 3"], float]:
        """The image in the size in which faces are looked for, and how much it was enlarged."""
        rgb = upright(image)
        side = min(rgb.size)
        scale = SIDE / side if side > SIDE else 2.0 if side < _SMALL else 1.0
        if scale != 1.0:
            size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
            rgb = rgb.resize(size, Image.Resampling.BICUBIC)
        return np.ascontiguousarray(rgb), scale

    def _chip(self, image: Image.Image, name: str) -> UInt8[NDArray[np.uint8], "150 150 3"]:
        faces = self.faces(image)
        if not faces:
            raise ImageError(
                f"{name} shows no face that was found. Take a photograph of the face from the "
                "front, at least 80 pixels wide and not in the dark."
            )
        if len(faces) > 1 and self.choose == "only":
            raise ImageError(
                f"{name} shows {counted(len(faces), 'face')}, but one was expected. Cut out the "
                f"one that is "
                "meant, or take the largest (FaceEncoder(choose='largest'), on the command line "
                "--encoder faces:largest)."
            )
        face = faces[0]
        if face.side < _MIN_FACE:
            raise ImageError(
                f"{name} shows a face of {face.side} pixels, but at least {_MIN_FACE} are needed. "
                "Take a photograph from nearer."
            )
        width, height = upright(image).size
        overhang = max(-face.left, -face.top, face.right - width, face.bottom - height)
        if overhang > face.side / _CUT:
            raise ImageError(
                f"{name} shows a face that the border cuts off. Take a photograph with the whole "
                "face on it."
            )
        return face.chip
