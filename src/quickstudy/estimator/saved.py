"""A fitted classifier with the encoder it needs, on disk and back."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.embedders import AbstractEmbedder, FeatureCache, embed_files, open_embedder
from quickstudy.estimator.classifier import FewShotClassifier
from quickstudy.estimator.open_set import Decision, OpenSetClassifier
from quickstudy.recipes import load, save_learner

FORMAT = 1
FILE = "classifier.json"
ROWS = "rows"
_TENSORS, _LEARNER = "classifier.safetensors", "learner"

Classifier: TypeAlias = FewShotClassifier | OpenSetClassifier
Cache: TypeAlias = FeatureCache | str | Path | bool | None


@dataclass(frozen=True)
class Encoding:
    """What turns things into the vectors that a classifier was fitted to.

    Args:
        kind: "pictures", "sentences", "recordings", or "rows" of a table, which are vectors already.
        source: the encoder, as `quickstudy.embedders.open_embedder` takes it; of rows nothing.
        key: the encoder's key.
        invert: as given to the encoder.
        columns: of a table: the columns, in order; of sentences: the one that holds them, where they came from a table.
        mean, std: what rows are standardised by, column by column.
    """

    kind: str
    source: str = ""
    key: str = ""
    invert: bool | None = None
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def open(self, source: str | AbstractEmbedder = "") -> AbstractEmbedder:
        """The encoder.

        Args:
            source: where it lies now, or itself; empty = where it lay.

        Raises:
            LoadError: when it is another one now.
        """
        found = open_embedder(source or self.source, kind=self.kind, invert=self.invert)
        if found.key != self.key:
            raise LoadError(
                f"The classifier was fitted to vectors of the encoder {self.key} ('{self.source}'), but '{found.source}' is {found.key} now: its weights, or "
                "its way of preparing things, have changed. Say where the old one is (encoder, on the command line --encoder), or fit again."
            )
        return found


@dataclass(frozen=True)
class FittedModel:
    """A classifier and how its things become vectors: what ``quickstudy fit`` writes.

    Args:
        classifier: a fitted `FewShotClassifier` or `OpenSetClassifier`.
        encoding: how things become vectors.
        encoder: the open encoder; None for rows of a table.
        notes: what was said when it was fitted.

    Example:
        >>> import tempfile
        >>> fitted = FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["oak", "elm"])
        >>> folder = FittedModel(fitted, Encoding("rows", columns=("a", "b"))).save(Path(tempfile.mkdtemp()) / "trees")
        >>> FittedModel.load(folder).predict([[0.9, 0.2]]).tolist()
        ['oak']
    """

    classifier: Classifier
    encoding: Encoding
    encoder: AbstractEmbedder | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> FewShotClassifier:
        """The classifier of the known classes."""
        return self.classifier.estimator_ if isinstance(self.classifier, OpenSetClassifier) else self.classifier

    def vectors(self, things: Sequence[Any] | NDArray[Any], *, cache: Cache = None) -> NDArray[np.float64]:
        """The vectors of things: paths (of sentences: the sentences), or rows of numbers.

        Raises:
            DataError: when one cannot be read.
        """
        if self.encoding.kind == ROWS:
            return self.standardised(np.asarray(things, dtype=np.float64))
        assert self.encoder is not None
        if self.encoding.kind == "sentences":
            return np.asarray(self.encoder.embed(list(things)), dtype=np.float64)
        return embed_files(self.encoder, [Path(t) for t in things], cache=cache).vectors.astype(np.float64)

    def standardised(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows as the classifier sees them."""
        return (rows - np.asarray(self.encoding.mean)) / np.asarray(self.encoding.std) if self.encoding.mean else rows

    def predict(self, things: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
        """The label of each thing, or the label for strangers."""
        return self.classifier.predict(self.vectors(things))

    def decide(self, things: Sequence[Any] | NDArray[Any]) -> list[Decision]:
        """A decision for each thing; of a classifier that knows no strangers, the class is always certain and the threshold −∞."""
        return decide(self.classifier, self.vectors(things))

    def changed(self, change: str, name: Any, things: Sequence[Any] | NDArray[Any] = ()) -> "FittedModel":
        """With a class added ("add"), with other examples ("update") or without it ("remove"); this one is changed too.

        Raises:
            ValueError: as `FewShotClassifier.add_class` and its like.
        """
        if change == "remove":
            self.classifier.remove_class(name)
        else:
            getattr(self.classifier, f"{change}_class")(name, self.vectors(things))
        return self

    def save(self, folder: str | Path) -> Path:
        """Write ``classifier.json`` and ``classifier.safetensors``, whole or not at all; nothing is pickled.

        Raises:
            ConfigError: when a label or the learner has no form on disk, or the folder cannot be written.
        """
        out, model, known = Path(folder), self.classifier, self.known
        options: dict[str, Any] = {"head": known.head, "metric": known.metric, "alpha": known.alpha, "C": known.C}
        about: dict[str, Any] = {
            "format": FORMAT,
            "kind": "classifier",
            "classes": [_plain(c) for c in known.classes_.tolist()],
            "known": options,
            "open_set": None,
            "encoding": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.encoding).items()},
            "notes": list(self.notes),
        }
        tensors = {"support": known.support_, "labels": known.labels_, "weights": known.weights_}
        if isinstance(model, OpenSetClassifier):
            about["open_set"] = {
                "known_by": model.known_by, "rate": model.rate_, "review_rate": model.review_rate, "reject_label": _plain(model.reject_label),
            }  # fmt: skip
            if model.cohort_ is not None:
                tensors["cohort"] = model.cohort_
                if model.cohort_groups_ is not None:
                    tensors["cohort_groups"] = np.unique(model.cohort_groups_, return_inverse=True)[1].astype(np.int64)
        parts = out / f"{_TENSORS}.part", out / f"{FILE}.part"
        try:
            out.mkdir(parents=True, exist_ok=True)
            if known.head == "learner":
                assert isinstance(known.learner, AbstractLearner)
                save_learner(known.learner, out / _LEARNER)
            save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, parts[0])
            parts[1].write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            # Only when both are whole on disk does an older model give way.
            for part, name in zip(parts, (_TENSORS, FILE), strict=True):
                os.replace(part, out / name)
        except (OSError, SafetensorError) as error:
            for part in parts:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
            raise ConfigError(
                f"The model cannot be written to {out}: {error}. An older one there is as it was; make room, or choose another folder."
            ) from error
        return out

    @classmethod
    def load(cls, folder: str | Path, *, encoder: str | AbstractEmbedder = "") -> "FittedModel":
        """Read back what `save` wrote, and open the encoder. The classifier is fitted anew to the examples in it, which gives the very same one.

        Args:
            folder: where it lies.
            encoder: where the encoder lies now, or itself; empty = where it lay.

        Raises:
            LoadError: when files are missing, damaged or of another format, or the encoder is another one now.
        """
        place = Path(folder)
        try:
            about = json.loads((place / FILE).read_text(encoding="utf-8"))
            tensors = load_file(place / _TENSORS)
        except FileNotFoundError as error:
            raise LoadError(
                f"{place} holds no fitted model ({Path(error.filename or FILE).name} is missing). Fit one: quickstudy fit FOLDER -o MODEL"
            ) from error
        except (OSError, ValueError, SafetensorError) as error:
            raise LoadError(f"The model in {place} is damaged: {error}. Fit it again.") from error
        if not isinstance(about, dict) or about.get("format") != FORMAT or about.get("kind") != "classifier":
            raise LoadError(
                f"{place / FILE} is not of format {FORMAT}, the one this version reads. Install the version that wrote it, or fit again."
            )
        try:
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["encoding"].items()}
            encoding, classifier = Encoding(**given), _classifier(about, tensors, place)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise LoadError(f"The model in {place} is damaged: {error}. Fit it again.") from error
        opened = None if encoding.kind == ROWS else encoding.open(encoder)
        if opened is not None and encoder:
            encoding = replace(encoding, source=opened.source)
        return cls(classifier, encoding, opened, tuple(about["notes"]))


def decide(classifier: Classifier, x: NDArray[np.float64]) -> list[Decision]:
    """A decision for each vector ``[n D]``, by either kind of classifier."""
    if isinstance(classifier, OpenSetClassifier):
        return classifier.decide(x)
    scores = classifier.class_scores(x)
    best = classifier.classes_[scores.argmax(1)].tolist()
    return [Decision(b, b, float(s), -np.inf, True) for b, s in zip(best, scores.max(1), strict=True)]


def _classifier(about: dict[str, Any], tensors: dict[str, NDArray[Any]], place: Path) -> Classifier:
    options = dict(about["known"])
    if options["head"] == "learner":
        options["learner"] = load(place / _LEARNER)
    known = FewShotClassifier(options.pop("head"), **options)
    labels = np.asarray(about["classes"])[tensors["labels"]]
    if about["open_set"] is None:
        return known.fit(tensors["support"], labels, tensors["weights"])
    given = about["open_set"]
    model = OpenSetClassifier(known, known_by=given["known_by"], false_accept_rate=given["rate"], review_rate=given["review_rate"], reject_label=given["reject_label"])  # fmt: skip
    return model.fit(
        tensors["support"], labels, tensors["weights"], cohort=tensors.get("cohort"), cohort_groups=tensors.get("cohort_groups")
    )


def _plain(label: Any) -> Any:
    if not isinstance(label, str | int | float | bool):
        raise ConfigError(f"A label of type {type(label).__name__} cannot be written to JSON. Use texts or numbers.")
    return label
