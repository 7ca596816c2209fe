"""A fitted classifier with the encoder it needs, on disk and back."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import describe, rebuild
from quickstudy.core.errors import ConfigError, LoadError, QuickstudyError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.saving import holds
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.comparison import HeadComparison
from quickstudy.estimators.open_set import OpenSetClassifier, OpenSetPrediction
from quickstudy.pretrained import AbstractPretrained, FeatureCache, encode_files, open_encoder
from quickstudy.pretrained.registry import KINDS

FORMAT = 2
FILE = "classifier.json"
ROWS = "rows"
_AT_ONCE = 64
_LEARNER = "learner."  # before the names of its weights

Classifier: TypeAlias = FewShotClassifier | OpenSetClassifier
Cache: TypeAlias = FeatureCache | str | Path | bool | None


@dataclass(frozen=True)
class Encoding:
    """What turns things into the vectors that a classifier was fitted to.

    Args:
        kind: "images", "text", "audio", or "rows" of a table, which are vectors
            already.
        source: the encoder, as `quickstudy.pretrained.open_encoder` takes it; of rows nothing.
        key: the encoder's key.
        invert: as given to the encoder.
        columns: of a table: the columns, in order; of sentences: the one that holds them, where
            they came from a table.
        mean, std: what rows are standardised by, column by column.
    """

    kind: str
    source: str = ""
    key: str = ""
    invert: bool | None = None
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def open(self, source: str | AbstractPretrained = "") -> AbstractPretrained:
        """The encoder.

        Args:
            source: where it lies now, or itself; empty = where it lay.

        Raises:
            ConfigError, DownloadError, LoadError: when what is given as ``source`` cannot be
                opened, as `quickstudy.pretrained.open_encoder`.
            LoadError: when it is not where it lay, or is another one now.
        """
        try:
            found = open_encoder(source or self.source, kind=self.kind, invert=self.invert)
        except QuickstudyError as error:
            if source:
                raise
            raise LoadError(
                f"The encoder '{self.source}', which the classifier was fitted with, cannot be "
                f"opened: {error} "
                "Say where it is now (encoder, on the command line --encoder)."
            ) from error
        if found.key != self.key:
            raise LoadError(
                f"The classifier was fitted to vectors of the encoder {self.key} "
                f"('{self.source}'), but '{found.source}' is {found.key} now: its weights, or "
                "its way of preparing things, have changed. Say where the old one is (encoder, on "
                "the command line --encoder), or fit again."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, for `from_json`. The path of an encoder is made absolute,
        so that it holds in every working folder.
        """
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        is_path = self.source not in ("", "symbols") and Path(self.source).exists()
        return {**values, "source": str(Path(self.source).absolute())} if is_path else values

    @classmethod
    def from_json(cls, values: dict[str, Any], *, dim: int) -> Self:
        """The encoding that `to_json` wrote, for a classifier of vectors of length ``dim``.

        Raises:
            ValueError, TypeError: when it cannot be.
        """
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        made = cls(**given)
        if made.kind not in (*KINDS, ROWS) or not all(
            isinstance(text, str) for text in (made.source, made.key, *made.columns)
        ):
            raise ValueError(f"nothing encodes {made.kind!r} by {made.source!r}")
        if made.kind == "text" and len(made.columns) > 1:
            raise ValueError(f"sentences stand in one column, not in {len(made.columns)}")
        if (
            len(made.mean) != len(made.std)
            or not all(map(math.isfinite, (*made.mean, *made.std)))
            or not all(made.std)
        ):
            raise ValueError("the rows have no usable mean and deviation")
        if made.kind == ROWS and not {len(made.columns), len(made.mean)} <= {0, dim}:
            raise ValueError(
                f"{len(made.columns)} columns and {len(made.mean)} means do not go with vectors of "
                f"length {dim}"
            )
        return made


@dataclass(frozen=True)
class FittedModel:
    """A classifier and how its things become vectors: what ``quickstudy fit`` writes.

    Args:
        classifier: a fitted `FewShotClassifier` or `OpenSetClassifier`.
        encoding: how things become vectors.
        encoder: the open encoder; None for rows of a table, or where nothing has to be encoded.
        notes: what was said when it was fitted.

    Example:
        >>> import tempfile
        >>> fitted = FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["oak", "elm"])
        >>> folder = FittedModel(fitted, Encoding("rows", columns=("a", "b"))).save(
        ...     Path(tempfile.mkdtemp()) / "trees"
        ... )
        >>> FittedModel.load(folder).predict([[0.9, 0.2]]).tolist()
        ['oak']
    """

    classifier: Classifier
    encoding: Encoding
    encoder: AbstractPretrained | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> FewShotClassifier:
        """The classifier of the known classes."""
        return (
            self.classifier.estimator_
            if isinstance(self.classifier, OpenSetClassifier)
            else self.classifier
        )

    def vectors(
        self, things: Sequence[Any] | NDArray[Any], *, cache: Cache = None
    ) -> Float[NDArray[np.float64], "n D"]:
        """The vectors of things: paths (of sentences: the sentences), or rows of numbers.

        Raises:
            ConfigError: for one thing where a list was expected, or without an encoder.
            DataError: when one cannot be read.
        """
        if isinstance(things, str | Path):
            raise ConfigError(
                f"A list was expected, but one thing came: {str(things)!r}. Put it in brackets: "
                f"[{str(things)!r}]."
            )
        if self.encoding.kind == ROWS:
            return self.standardised(np.asarray(things, dtype=np.float64))
        if self.encoder is None:
            raise ConfigError(
                "The model was loaded without its encoder, so it cannot encode "
                f'{self.encoding.kind}. Load it with encoder="".'
            )
        if self.encoding.kind != "text":
            return encode_files(
                self.encoder, [Path(t) for t in things], cache=cache
            ).vectors.astype(np.float64)
        parts = [
            self.encoder.encode(list(things[at : at + _AT_ONCE]))
            for at in range(0, len(things), _AT_ONCE)
        ]
        return np.concatenate(parts or [np.empty((0, self.encoder.dim))]).astype(np.float64)

    def standardised(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows as the classifier sees them."""
        return (
            (rows - np.asarray(self.encoding.mean)) / np.asarray(self.encoding.std)
            if self.encoding.mean
            else rows
        )

    def predict(self, things: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
        """The label of each thing, or the label for strangers."""
        return self.classifier.predict(self.vectors(things))

    def decide(self, things: Sequence[Any] | NDArray[Any]) -> list[OpenSetPrediction]:
        """A decision for each thing; of a classifier that knows no strangers, the class is always
        certain and the threshold −∞.
        """
        return decide(self.classifier, self.vectors(things))

    def add_class(self, name: Any, things: Sequence[Any] | NDArray[Any]) -> Self:
        """Learn one more class from its things; `save` keeps it.

        Raises:
            ValueError: as `FewShotClassifier.add_class`.
        """
        self.classifier.add_class(name, self.vectors(things))
        return self

    def update_class(self, name: Any, things: Sequence[Any] | NDArray[Any]) -> Self:
        """Give a class other examples."""
        self.classifier.update_class(name, self.vectors(things))
        return self

    def remove_class(self, name: Any) -> Self:
        """Forget a class and its examples."""
        self.classifier.remove_class(name)
        return self

    def save(self, folder: str | Path) -> Path:
        """Write ``classifier.json`` and the ``classifier-….safetensors`` that it names, whole or
        not at all; nothing is pickled.

        An older model in the folder holds until ``classifier.json`` is replaced, in one step.

        Raises:
            ConfigError: when a label or the learner has no form on disk, or the folder cannot be
                written.
        """
        out, is_new = Path(folder), not Path(folder).exists()
        about, tensors = _taken_apart(self.classifier)
        content = save(tensors)
        name = f"classifier-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        whole = {
            "format": FORMAT,
            "kind": "classifier",
            "tensors": name,
            **about,
            "encoding": self.encoding.to_json(),
            "notes": list(self.notes),
        }
        files = {
            name: content,
            FILE: (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode(
                errors="surrogatepass"
            ),
        }
        parts = {out / f"{file}.part": out / file for file in files}
        try:
            out.mkdir(parents=True, exist_ok=True)
            for part, written in zip(parts, files.values(), strict=True):
                with part.open("wb") as stream:
                    stream.write(written)
                    stream.flush()
                    os.fsync(stream.fileno())
            for part, file in parts.items():
                os.replace(part, file)
        except OSError as error:
            with suppress(OSError):
                for part in parts:
                    part.unlink(missing_ok=True)
                if is_new:
                    out.rmdir()
            raise ConfigError(
                f"The model cannot be written to {out}: {error.strerror or error}. An older one "
                "there is as it was; make room, or choose another folder."
            ) from error
        for older in out.glob("classifier-*.safetensors"):
            if older.name != name:
                with suppress(OSError):
                    older.unlink()
        return out

    @classmethod
    def load(
        cls, folder: str | Path, *, encoder: str | AbstractPretrained | None = ""
    ) -> "FittedModel":
        """Read back what `save` wrote, and open the encoder. The classifier is fitted anew to the
        examples in it, which gives the very same one.

        Args:
            folder: where it lies.
            encoder: where the encoder lies now, or itself; empty = where it lay; None = do not open
                it, as where classes are only listed or removed.

        Raises:
            LoadError: when files are missing, damaged or of another format, or the encoder is
                another one now.
        """
        place = Path(folder)
        try:
            about, tensors = _read(place)
            classifier = _put_together(about, tensors)
            encoding = Encoding.from_json(about["encoding"], dim=classifier.n_features_in_)
            notes = tuple(map(str, about["notes"]))
        except LoadError:
            raise
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise LoadError(
                f"The model in {place} is damaged or cannot be read: {error}. Copy it again, or "
                "fit it again."
            ) from error
        opened = None if encoding.kind == ROWS or encoder is None else encoding.open(encoder)
        if opened is not None and encoder:
            encoding = replace(encoding, source=opened.source)
        return cls(classifier, encoding, opened, notes)


def decide(classifier: Classifier, x: NDArray[np.float64]) -> list[OpenSetPrediction]:
    """A decision for each vector ``[n D]``, by either kind of classifier."""
    if isinstance(classifier, OpenSetClassifier):
        return classifier.decide(x)
    scores = classifier.class_scores(x)
    best = classifier.classes_[scores.argmax(1)].tolist()
    return [
        OpenSetPrediction(b, b, float(s), -np.inf, True)
        for b, s in zip(best, scores.max(1), strict=True)
    ]


def _taken_apart(model: Classifier) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What JSON says of a classifier, and its tensors."""
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    about: dict[str, Any] = {
        "classes": [_plain(c) for c in known.classes_.tolist()],
        "known": {
            "head": known.head,
            "scaling": known.scaling,
            "metric": known.metric,
            "alpha": known.alpha,
            "C": known.C,
        },
        "comparison": known.head_comparison_ and known.head_comparison_.to_json(),
        "learner": describe(known.learner) if known.head == "learner" else None,
        "temperature": known.temperature,
        "open_set": None,
    }
    arrays: dict[str, NDArray[Any]] = {
        "support": known.support_,
        "labels": known.labels_,
        "weights": known.weights_,
    }
    if isinstance(model, OpenSetClassifier):
        about["open_set"] = {
            "unknown_score": model.unknown_score,
            "rate": model.rate_,
            "review_rate": model.review_rate,
            "reject_label": _plain(model.reject_label),
        }
        arrays["calibration_scores"] = model.calibration_scores_
        if model.cohort_ is not None:
            arrays["cohort"] = model.cohort_
            if model.cohort_groups_ is not None:
                arrays["cohort_groups"] = np.unique(model.cohort_groups_, return_inverse=True)[
                    1
                ].astype(np.int64)
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()
    }
    if known.head == "learner":
        assert isinstance(known.learner, AbstractLearner)
        tensors |= {
            f"{_LEARNER}{name}": t.detach().cpu().contiguous().clone()
            for name, t in known.learner.state_dict().items()
        }
    return about, tensors


def _read(place: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What the two files hold."""
    if not (place / FILE).is_file():
        other = (
            "a model that was fitted with --run; quickstudy.load reads it"
            if holds(place, "predictor")
            else ""
        )
        raise LoadError(
            f"{place} holds {other}."
            if other
            else f"{place} holds no fitted model ({FILE} is missing). Fit one: quickstudy fit "
            "FOLDER -o MODEL"
        )
    about = _about(place)
    name = Path(about["tensors"]).name
    if not (place / name).is_file():  # another process may have replaced the model in between
        about = _about(place)
        name = Path(about["tensors"]).name
    content = (place / name).read_bytes()
    if name != f"classifier-{hashlib.sha256(content).hexdigest()[:16]}.safetensors":
        raise ValueError(f"{name} does not have the checksum that its name says")
    return about, load(content)


def _about(place: Path) -> dict[str, Any]:
    about = json.loads((place / FILE).read_bytes())
    if (
        not isinstance(about, dict)
        or about.get("format") != FORMAT
        or about.get("kind") != "classifier"
    ):
        raise LoadError(
            f"{place / FILE} is not of format {FORMAT}, the one this version reads. Install the "
            "version that wrote it, or fit again."
        )
    return about


def _put_together(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Classifier:
    learner = None if about["learner"] is None else _learner(about["learner"], tensors)
    arrays = {name: t.numpy() for name, t in tensors.items() if not name.startswith(_LEARNER)}
    labels = arrays["labels"]
    if np.unique(labels).tolist() != list(range(len(about["classes"]))):
        raise ValueError(
            f"there are {len(about['classes'])} classes, but examples of {len(np.unique(labels))}"
        )
    options = about["known"]
    known = FewShotClassifier(
        options["head"],
        scaling=options["scaling"],
        metric=options["metric"],
        alpha=options["alpha"],
        C=options["C"],
        learner=learner,
    )
    compared = about["comparison"]
    known.fit(
        arrays["support"],
        np.asarray(about["classes"])[labels],
        arrays["weights"],
        comparison=None if compared is None else HeadComparison.from_json(compared),
    )
    known.temperature = float(about["temperature"])
    given = about["open_set"]
    if given is None:
        return known
    model = OpenSetClassifier(
        known,
        unknown_score=given["unknown_score"],
        false_accept_rate=given["rate"],
        review_rate=given["review_rate"],
        reject_label=given["reject_label"],
    )
    return model.restore(
        known,
        arrays["calibration_scores"],
        cohort=arrays.get("cohort"),
        cohort_groups=arrays.get("cohort_groups"),
    )


def _learner(description: Any, tensors: dict[str, torch.Tensor]) -> AbstractLearner[Any]:
    learner = rebuild(description)
    if not isinstance(learner, AbstractLearner):
        raise ValueError(f"a {type(learner).__name__} is no learner")
    weights = {
        name.removeprefix(_LEARNER): t for name, t in tensors.items() if name.startswith(_LEARNER)
    }
    for name, fresh in learner.state_dict(keep_vars=True).items():
        fresh.data = fresh.data.to(
            weights[name].dtype
        )  # fresh weights are float32, the kept ones need not be
    learner.load_state_dict(weights)
    return learner.eval()


def _plain(label: Any) -> Any:
    if not isinstance(label, str | int | float | bool):
        raise ConfigError(
            f"A label of type {type(label).__name__} cannot be written to JSON. Use texts or "
            "numbers."
        )
    return label
