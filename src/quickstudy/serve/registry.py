"""What is served: models and galleries by name, each in step with what lies on disk."""

import io
import re
import tempfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.lock import LOCK, locked
from quickstudy.core.saving import MANIFEST, holds
from quickstudy.estimators import BlankModel, FittedModel, OpenSetClassifier
from quickstudy.estimators.encoding import TABLE
from quickstudy.export import export_model
from quickstudy.gallery import Gallery
from quickstudy.pretrained import AbstractPretrained
from quickstudy.serve.problems import ProblemError

T = TypeVar("T")
_DATABASES = (".db", ".sqlite", ".sqlite3")
_KEPT = 5_000
_SECONDS = 900.0


class ServedModel:
    """A fitted model in a folder; changes by other processes are seen at the next request.

    Args:
        name: in addresses.
        folder: where it lies, or will.
        blank: what its first class is fitted with, where it may be without classes.
    """

    def __init__(self, name: str, folder: Path, *, blank: BlankModel | None = None) -> None:
        self.name, self.folder, self.blank = name, folder, blank
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._model: FittedModel | None = None
        self._exporting = threading.Lock()
        self._export = "", b""
        self.encoder: AbstractPretrained | None = None if blank is None else blank.encoder
        if blank is None:
            self.current()

    def current(self) -> FittedModel | None:
        """The model as it lies on disk now; None while it has no class."""
        with self._lock:
            stamp = self._on_disk()
            if stamp is None:
                if self.blank is None:
                    FittedModel.load(self.folder)  # which says what is missing
                self._model = None
            elif stamp != self._stamp or self._model is None:
                self._model = FittedModel.load(self.folder, encoder=self._given())
                self.encoder = self._model.encoder
            self._stamp = stamp
            return self._model

    def fitted(self) -> FittedModel:
        """As `current`.

        Raises:
            ProblemError: 409 while it has no class.
        """
        model = self.current()
        if model is None:
            raise ProblemError(
                409, f"The model {self.name} has no class yet. Add one before asking it."
            )
        return model

    @property
    def kind(self) -> str:
        """What it takes: "images", "audio", "text" or "table"."""
        if self.blank is not None:
            return self.blank.encoder.kind
        return self.fitted().encoding.kind

    def change(self, alter: Callable[[FittedModel], T]) -> tuple[T, FittedModel]:
        """Alter it and write it down, while other writers wait."""
        self.fitted()
        with FittedModel.editing(self.folder, encoder=self._given()) as model:
            result = alter(model)
        return result, model

    def begin(self, name: str, vectors: NDArray[np.float64]) -> FittedModel:
        """Give a model without classes its first one."""
        assert self.blank is not None
        model = self.blank.with_class(name, vectors)
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save(self.folder)
        return model

    def packed(self) -> bytes:
        """Its folder as a zip file."""
        self.fitted()
        out = io.BytesIO()
        with locked(self.folder), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self.folder.iterdir()):
                if path.is_file() and path.name != LOCK:
                    archive.write(path, f"{self.name}/{path.name}")
        return out.getvalue()

    def exported(self) -> bytes:
        """It as an ``.onnx`` file; kept until the model changes.

        Raises:
            ConfigError: when it cannot be exported, or packages are missing.
        """
        with self._exporting:
            model = self.fitted()
            version, content = self._export
            if version != version_of(model):
                with tempfile.TemporaryDirectory() as folder:
                    content = export_model(model, Path(folder) / "model.onnx").read_bytes()
                self._export = version_of(model), content
            return content

    def empty(self) -> None:
        """Forget all classes.

        Raises:
            ProblemError: 409 of a model that was not served to be taught from nothing.
        """
        if self.blank is None:
            raise ProblemError(
                409,
                f"The model {self.name} was fitted elsewhere, so it is not emptied here. Remove "
                "its classes one by one, or its folder.",
            )
        for path in self.folder.glob("*"):
            path.unlink()

    def _given(self) -> Any:
        """The encoder that is open already, where the model takes one."""
        model = self._model
        if model is not None and (model.encoding.kind == TABLE or model.encoding.image is not None):
            return ""
        return self.encoder or ""

    def _on_disk(self) -> tuple[int, int] | None:
        try:
            status = (self.folder / MANIFEST).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


@dataclass
class ServedGallery:
    """A gallery that is open.

    Args:
        name: in addresses.
        gallery: itself.
    """

    name: str
    gallery: Gallery


@dataclass(frozen=True, eq=False)
class Asked:
    """An answer that can still be commented on: its vector, never its item."""

    name: str
    vector: NDArray[np.float64]
    label: Any
    uncertain: bool
    time: float
    about: dict[str, Any]


class Memory:
    """The last answers by id, for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Asked] = OrderedDict()

    def keep(self, answer: str, asked: Asked) -> None:
        """Keep an answer."""
        with self._lock:
            self._answers[answer] = asked
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)

    def get(self, answer: str, name: str) -> Asked:
        """An answer of a model or gallery.

        Raises:
            ProblemError: 410 when it is no longer kept.
        """
        with self._lock:
            asked = self._answers.get(answer)
        if asked is None or asked.name != name or time.monotonic() - asked.time > _SECONDS:
            raise ProblemError(
                410,
                f"The answer '{answer}' of {name} is not kept, or no longer: answers are for "
                f"{_SECONDS / 60:.0f} minutes. Ask again, and comment on the new answer.",
            )
        return asked

    def drop(self, answer: str) -> None:
        """Forget an answer."""
        with self._lock:
            self._answers.pop(answer, None)

    def uncertain(self, name: str) -> list[tuple[str, Asked]]:
        """The answers that a person should look at, the newest first."""
        now = time.monotonic()
        with self._lock:
            kept = list(self._answers.items())
        return [
            (answer, asked)
            for answer, asked in reversed(kept)
            if asked.name == name and asked.uncertain and now - asked.time <= _SECONDS
        ]


class Registry:
    """Models and galleries by name.

    Args:
        models, galleries: what is served.

    Raises:
        ConfigError: when two have one name, or there is nothing.
    """

    def __init__(
        self, models: Sequence[ServedModel] = (), galleries: Sequence[ServedGallery] = ()
    ) -> None:
        self.models = {model.name: model for model in models}
        self.galleries = {gallery.name: gallery for gallery in galleries}
        self.memory = Memory()
        n = len(models) + len(galleries)
        if not n:
            raise ConfigError(
                "There is nothing to serve: no fitted model and no gallery. Make one with "
                "quickstudy fit or quickstudy gallery create."
            )
        if len({*self.models, *self.galleries}) < n:
            names = [*(m.name for m in models), *(g.name for g in galleries)]
            double = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"Two are called '{double}' in addresses. Rename one of them.")

    def model(self, name: str) -> ServedModel:
        """The model of a name.

        Raises:
            ProblemError: 404 when there is none.
        """
        if name not in self.models:
            raise ProblemError(
                404, f"No model is called '{name}' here. {did_you_mean(name, self.models)}"
            )
        return self.models[name]

    def gallery(self, name: str) -> ServedGallery:
        """The gallery of a name.

        Raises:
            ProblemError: 404 when there is none.
        """
        if name not in self.galleries:
            raise ProblemError(
                404, f"No gallery is called '{name}' here. {did_you_mean(name, self.galleries)}"
            )
        return self.galleries[name]

    def close(self) -> None:
        """Write what waits, and give connections back."""
        for served in self.galleries.values():
            served.gallery.close()


def open_registry(place: str, *, index: str = "exact") -> Registry:
    """What a path or an address names: a model, a gallery, or a folder of them.

    Args:
        place: the path or address.
        index: how galleries are searched, as of `Gallery.open`.

    Raises:
        ConfigError: when it names nothing that can be served.
        GalleryError, LoadError: when what it names cannot be opened.
    """
    if "://" in place:
        gallery = Gallery.open(place, index=index)
        return Registry(galleries=[ServedGallery(slug(gallery.location.name), gallery)])
    path = Path(place).expanduser()
    if path.is_file():
        gallery = Gallery.open(path, index=index)
        return Registry(galleries=[ServedGallery(slug(path.stem), gallery)])
    if not path.is_dir():
        raise ConfigError(
            f"There is no {path}. Give a fitted model, a gallery, or a folder of them."
        )
    if (path / MANIFEST).exists():
        return Registry([ServedModel(slug(path.resolve().name), path)])
    inside = sorted(path.iterdir())
    models = [p for p in inside if p.is_dir() and (p / MANIFEST).exists() and holds(p, "model")]
    files = [p for p in inside if p.is_file() and p.suffix.lower() in _DATABASES]
    return Registry(
        [ServedModel(slug(p.name), p) for p in models],
        [ServedGallery(slug(p.stem), Gallery.open(p, index=index)) for p in files],
    )


def slug(name: str) -> str:
    """A name as it stands in addresses.

    >>> slug("My birds (2)"), slug("ქართ")
    ('My-birds-2', 'model')
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:80] or "model"


def promise_of(model: FittedModel) -> dict[str, Any] | None:
    """The false-accept rate that a model was calibrated for, and by what; None where it never says
    unknown.
    """
    classifier = model.classifier
    if not isinstance(classifier, OpenSetClassifier):
        return None
    return {
        "false_accept_rate": classifier.rate_,
        "unknowns": classifier.n_unknowns_,
        "rule": classifier.rule_,
        "threshold": float(classifier.threshold_),
    }


def version_of(model: FittedModel) -> str:
    """The hash of a model as it lies on disk."""
    return model.origin[1]
