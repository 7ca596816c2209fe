"""What `quickstudy export` wrote, asked without torch: needs numpy, Pillow and onnxruntime only.

From the command line::

    python -m quickstudy.runtime birds.onnx photo.jpg other.jpg

In Python::

    from quickstudy import runtime

    model = runtime.load("birds.onnx")
    model.predict_files(["photo.jpg"])[0].label
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.data.image_files import Picture, check_list, is_one_picture, read_picture
from quickstudy.data.square_pixels import SquarePixels
from quickstudy.estimators.prediction import Prediction
from quickstudy.pretrained.drawings import has_light_paper
from quickstudy.pretrained.preprocessing import Preprocessing
from quickstudy.pretrained.session import open_session

METADATA = "quickstudy"
"""The entry of the file's metadata that says what it is, as JSON."""
FORMAT = 1
CLASSIFIER = "classifier"
PATCH_MEMORY = "patch memory"
ROWS = "rows"
"""The way of preparing rows of a table: none."""
_AT_ONCE = 32


class ExportedGraph:
    """An exported file, opened.

    Args:
        path: the ``.onnx`` file.
        session: of onnxruntime, where the file is open already.

    Attributes:
        about: what the file says of itself: classes, thresholds, preprocessing, hash of the model.

    Raises:
        ConfigError: when onnxruntime is not installed.
        LoadError: when there is no such file, or it was not written by `quickstudy export`.
    """

    kind = ""

    def __init__(self, path: str | Path, *, session: Any = None) -> None:
        self.path = Path(path)
        self._session = open_session(self.path) if session is None else session
        self.about = _about(self._session, self.path)
        if self.kind and self.about["kind"] != self.kind:
            raise LoadError(
                f"{path} holds a {self.about['kind']}, not a {self.kind}. Open it with "
                "quickstudy.runtime.load."
            )
        self._prepare = _preparation(self.about["preprocessing"], self.path)

    def read(self, item: Any) -> NDArray[Any]:
        """One item as the graph takes it: of an image (a path, bytes, a Pillow image or an array)
        the resized pixels ``[C H W]``, of a row its numbers.

        Raises:
            ImageError: when an image cannot be read.
        """
        return self._prepare(item)

    def outputs(self, items: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """What the graph gives for items, by name, one row each.

        Raises:
            ConfigError: for no item, or one item where a list was expected.
            ImageError: when an image cannot be read.
        """
        check_list(items, of="items")
        if not len(items):
            raise ConfigError("There is no item. Give at least one.")
        return self._run([self.read(item) for item in items])

    def _run(self, rows: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [output.name for output in self._session.get_outputs()]
        (given,) = self._session.get_inputs()
        parts = [
            self._session.run(names, {given.name: np.stack(rows[at : at + _AT_ONCE])})
            for at in range(0, len(rows), _AT_ONCE)
        ]
        return {name: np.concatenate(values) for name, *values in zip(names, *parts, strict=True)}


class ExportedClassifier(ExportedGraph):
    """An exported `quickstudy.estimators.FittedModel`: it says what the model says.

    Attributes:
        classes: their labels.
        threshold: what the membership must exceed; None where the model never says unknown.
    """

    kind = CLASSIFIER

    def __init__(self, path: str | Path, *, session: Any = None) -> None:
        super().__init__(path, session=session)
        self.classes: list[Any] = self.about["classes"]
        self.threshold: float | None = self.about["threshold"]

    def predict(self, items: Sequence[Any]) -> list[Prediction]:
        """What the model says of items: images, or rows of numbers.

        Raises:
            ConfigError, ImageError: as `outputs`.
        """
        return self._answers(items, self.outputs(items))

    def predict_files(self, files: Sequence[Picture] | Picture) -> list[Prediction]:
        """What the model says of files of images, or of images in memory, which are called
        "<item 1>" and so on; one that cannot be read has an error in place of an answer.
        """
        if self.about["preprocessing"]["way"] == ROWS:
            raise ConfigError("The model takes rows of numbers, so it takes no files. Use predict.")
        rows: dict[int, NDArray[Any]] = {}
        answers: dict[int, Prediction] = {}
        given: Any = [files] if is_one_picture(files) else files
        names: list[Any] = []
        for i, file in enumerate(given):
            names.append(file if isinstance(file, str | Path) else f"<item {i + 1}>")
            try:
                rows[i] = self.read(file)
            except DataError as error:
                answers[i] = Prediction(names[i], error=str(error))
        if rows:
            good = self._answers([names[i] for i in rows], self._run(list(rows.values())))
            answers |= dict(zip(rows, good, strict=True))
        return [answers[i] for i in range(len(names))]

    def _answers(self, items: Sequence[Any], out: dict[str, NDArray[Any]]) -> list[Prediction]:
        best = out["scores"].argmax(1)
        likely = out["probabilities"].max(1)
        return [
            self._answer(item, self.classes[best[i]], float(likely[i]), float(score))
            for i, (item, score) in enumerate(zip(items, out["membership"], strict=True))
        ]

    def _answer(self, item: Any, nearest: Any, likely: float, score: float) -> Prediction:
        if self.threshold is None:
            return Prediction(item, nearest, likely, score)
        low, high = sorted((self.threshold, self.about["review_threshold"]))
        is_known = score > self.threshold
        return Prediction(
            item,
            nearest if is_known else self.about["reject_label"],
            likely,
            score,
            threshold=self.threshold,
            certain=not low < score <= high,
            nearest=None if is_known else nearest,
        )


class ExportedPatchMemory(ExportedGraph):
    """An exported `quickstudy.anomaly.PatchMemory`.

    Attributes:
        threshold: above which an image is a defect; None where there is none.
    """

    kind = PATCH_MEMORY

    def __init__(self, path: str | Path, *, session: Any = None) -> None:
        super().__init__(path, session=session)
        self.threshold: float | None = self.about["threshold"]

    def anomaly(self, pictures: Sequence[Picture]) -> NDArray[np.float64]:
        """How much each image differs from good parts, ``[n]``, higher = more.

        Raises:
            ConfigError, ImageError: as `outputs`.
        """
        return self.outputs(pictures)["anomaly"]

    def predict(self, pictures: Sequence[Picture]) -> NDArray[np.int64]:
        """1 for a good part, −1 for a defect.

        Raises:
            ConfigError: when the memory has no threshold, and as `outputs`.
        """
        if self.threshold is None:
            raise ConfigError(
                "The memory was made of too few good parts to draw a line, so it gives no verdict. "
                "Use anomaly, or fit with more good parts."
            )
        return np.where(self.anomaly(pictures) > self.threshold, -1, 1)


def load(path: str | Path) -> ExportedClassifier | ExportedPatchMemory:
    """Open what `quickstudy export` wrote.

    Raises:
        ConfigError, LoadError: as `ExportedGraph`.
    """
    file = Path(path)
    session = open_session(file)
    kind = _about(session, file)["kind"]
    form = ExportedPatchMemory if kind == PATCH_MEMORY else ExportedClassifier
    return form(file, session=session)


def main(arguments: Sequence[str]) -> None:
    """Print one line of JSON for each image."""
    if len(arguments) < 2:
        print("usage: python -m quickstudy.runtime FILE.onnx IMAGE...", file=sys.stderr)
        sys.exit(2)
    model = load(arguments[0])
    if isinstance(model, ExportedPatchMemory):
        for file, anomaly in zip(arguments[1:], model.anomaly(arguments[1:]), strict=True):
            row = {"image": file, "anomaly": float(anomaly), "threshold": model.threshold}
            print(json.dumps(row, ensure_ascii=False))
        return
    for answer in model.predict_files(arguments[1:]):
        values = {name: value for name, value in asdict(answer).items() if value not in (None, "")}
        print(json.dumps({"image": str(values.pop("item")), **values}, ensure_ascii=False))


def _about(session: Any, path: Path) -> dict[str, Any]:
    written = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if written is None:
        raise LoadError(
            f"{path} does not say what it is (no entry '{METADATA}' in its metadata). Give a file "
            "that `quickstudy export` wrote."
        )
    try:
        about = json.loads(written)
        if about["format"] != FORMAT or about["kind"] not in (CLASSIFIER, PATCH_MEMORY):
            raise ValueError(f"format {about['format']} of a {about['kind']}")
    except (ValueError, LookupError, TypeError) as error:
        raise LoadError(
            f"{path} is of a form that is not known here ({error}); format {FORMAT} was expected. "
            "Export it with this version of quickstudy."
        ) from error
    return about


def _preparation(about: dict[str, Any], path: Path) -> Any:
    """What brings one item into the form that the graph takes."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
    way = values.pop("way", "")
    if way == ROWS:
        return lambda row: np.asarray(row, dtype=np.float64)
    try:
        if way == "square":
            square = SquarePixels(*(values[k] for k in ("size", "channels", "invert", "fit")))
            square.check()
            if values["polarity"] == "border":
                return lambda picture: _light_on_dark(square.read(picture))
            return square.read
        if way == "resize":
            at_least = values.pop("at_least")
            see = Preprocessing(**values)
            return lambda picture: see.pixels(read_picture(picture, at_least=at_least))
    except (LookupError, TypeError, ConfigError) as error:
        raise LoadError(f"{path} says wrongly how images are prepared: {error}.") from error
    raise LoadError(f"{path} asks for a preparation '{way}' that is not known here.")


def _light_on_dark(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return 255 - pixels if has_light_paper(pixels[0]) else pixels


if __name__ == "__main__":
    main(sys.argv[1:])
