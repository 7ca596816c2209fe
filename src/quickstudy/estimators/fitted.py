"""A fitted classifier with the encoder it needs: asked, changed class by class, kept on disk."""

import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Modules
from quickstudy.core.disk import as_path, write_file
from quickstudy.core.errors import (
    ConfigError,
    DataError,
    PassedOverWarning,
    QuickstudyWarning,
)
from quickstudy.core.lock import locked
from quickstudy.core.words import counted
from quickstudy.data.image_files import check_list
from quickstudy.estimators import hub, model_files
from quickstudy.estimators.answers import Classifier, decisions, predictions
from quickstudy.estimators.card import model_card
from quickstudy.estimators.class_names import UNKNOWN, check_names, label_named
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.copies import said_of_copies
from quickstudy.estimators.encoding import NOUNS, TABLE, Encoding, encode_texts
from quickstudy.estimators.feedback import Feedback, apply_feedback, withdraw_feedback
from quickstudy.estimators.history import Change
from quickstudy.estimators.model_header import damage_is_a_load_error
from quickstudy.estimators.open_set import OpenSetClassifier, OpenSetPrediction
from quickstudy.estimators.prediction import Prediction
from quickstudy.estimators.summary import FitSummary
from quickstudy.estimators.support import Cache, item_name, paths_of_rows
from quickstudy.estimators.tables import ENDINGS, read_table, row_numbers, texts
from quickstudy.pretrained import AbstractPretrained, FeatureCache, encode_files
from quickstudy.pretrained.files import Source, cache_for, find_sources, names_of

_AT_ONCE = 256


@dataclass(repr=False)
class FittedModel:
    """A classifier and how items become vectors: what `fit_folder`, `fit_table` and ``quickstudy
    fit`` make.

    Several threads may ask it while one changes it: each answer is wholly of the classes before a
    change or of those after it, and changes wait for one another.

    Args:
        classifier: a fitted `FewShotClassifier` or `OpenSetClassifier`.
        encoding: how items become vectors.
        encoder: the open encoder; None of a table, or where nothing has to be encoded.
        notes: what was said when it was fitted.
        summary: what the fit found out; None of a model that was loaded.
        origin: the folder that it was loaded from or saved to last, and which state of it.
        feedback: what people said of its answers, the oldest first; see `give_feedback`.
        history: when it was fitted and which classes were changed since, the oldest first.
        set_alpha: the share of misses of the prediction sets that its answers carry; None = none.
            See `with_sets`.

    Example:
        >>> import tempfile
        >>> fitted = FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["oak", "elm"])
        >>> folder = FittedModel(fitted, Encoding("table", columns=("a", "b"))).save(
        ...     Path(tempfile.mkdtemp()) / "trees"
        ... )
        >>> FittedModel.load(folder).predict([[0.9, 0.2]]).tolist()
        ['oak']
    """

    classifier: Classifier
    encoding: Encoding
    encoder: AbstractPretrained | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    summary: FitSummary | None = field(default=None, compare=False)
    origin: tuple[Path | None, str] = field(default=(None, ""), compare=False)
    feedback: tuple[Feedback, ...] = ()
    history: tuple[Change, ...] = field(default=(), compare=False)
    set_alpha: float | None = field(default=None, compare=False)
    _changes: Any = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        classes = counted(len(self.counts), "class", "classes")
        examples = counted(sum(self.counts.values()), "example")
        return (
            f"FittedModel({self.encoding.kind}, {classes} from {examples}, head {self.known.head})"
        )

    @property
    def known(self) -> FewShotClassifier:
        """The classifier of the known classes."""
        classifier = self.classifier
        if isinstance(classifier, OpenSetClassifier):
            return classifier.estimator_
        return classifier

    @property
    def counts(self) -> dict[Any, int]:
        """How many examples each class has."""
        known = self.known
        n = np.bincount(known.labels_).tolist()
        return dict(zip(known.classes_.tolist(), n, strict=True))

    @property
    def is_calibrated(self) -> bool:
        """Whether it says unknown, at a false-accept rate that was asked for."""
        return isinstance(self.classifier, OpenSetClassifier)

    def vectors(
        self, items: Sequence[Any] | NDArray[Any], *, cache: Cache = None
    ) -> Float[NDArray[np.float64], "n D"]:
        """The vectors of items: paths or pictures in memory, texts, or rows of numbers.

        Raises:
            ConfigError: for one item where a list was expected, or without an encoder.
            DataError: when one cannot be read.
        """
        check_list(items, of="items")
        if self.encoding.kind == TABLE:
            return self.encoding.standardised(np.asarray(items, dtype=np.float64))
        encoder = self._opened_encoder()
        files = [item for item in items if self._is_file(item)]
        if len(files) == len(items):
            return encode_files(encoder, files, cache=self._cache(cache)).vectors.astype(np.float64)
        if files:
            raise ConfigError(
                f"Of {len(items)} items {len(files)} are files and the others texts. Give files "
                "as pathlib.Path, texts as str, and one kind at a time."
            )
        vectors, notes = encode_texts(encoder, list(items))
        for note in notes:
            warnings.warn(note, QuickstudyWarning, stacklevel=2)
        return vectors.astype(np.float64)

    def predict(self, items: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
        """The label of each item, or the label for unknowns."""
        return self.classifier.predict(self.vectors(items))

    def decide(self, items: Sequence[Any] | NDArray[Any]) -> list[OpenSetPrediction]:
        """A decision for each item. One of a model that is not calibrated is never certain, and its
        threshold is −∞.
        """
        return decisions(self.classifier, self.vectors(items))

    def predict_files(
        self, files: Sequence[Source] | Source, *, cache: Cache = None
    ) -> list[Prediction]:
        """What the model says of each file; one that cannot be read has an error in place of an
        answer.

        Args:
            files: paths of files, or of folders with files of the model's kind; the content of a
                file or an open one, and of images Pillow images and arrays, which are called
                "<item 1>" and so on in the answers. One of these may come alone.
            cache: where vectors are kept, as in `quickstudy.pretrained.encode_files`.

        Raises:
            ConfigError: of a model of a table.
            DataError: when a path does not exist, or there is no file.
        """
        return list(self.stream_files(files, cache=cache))

    def stream_files(
        self, files: Sequence[Source] | Source, *, cache: Cache = None
    ) -> Iterator[Prediction]:
        """As `predict_files`, one by one, so that any number of files fits into memory."""
        yield from self._stream(self.find_files(files), cache)

    def predict_texts(self, items: Sequence[str]) -> list[Prediction]:
        """What the model says of each text; an empty one has an error in place of an answer.

        Raises:
            ConfigError: of a model that was not fitted to texts.
        """
        if self.encoding.kind != "text":
            raise ConfigError(
                f"The model was fitted to {NOUNS[self.encoding.kind]}, not to texts. Give it "
                f"{NOUNS[self.encoding.kind]}."
            )
        check_list(items, of="items")
        good = [i for i, text in enumerate(items) if text.strip()]
        x = self.vectors([items[i] for i in good])
        answers = dict(zip(good, self.answer_vectors([items[i] for i in good], x), strict=True))
        return [
            answers.get(i, Prediction(text, error="the text is empty."))
            for i, text in enumerate(items)
        ]

    def predict_table(
        self, table: str | Path | Sequence[dict[str, Any]], *, cache: Cache = None
    ) -> list[Prediction]:
        """What the model says of each row of a table; a row that lacks a value has an error in
        place of an answer.

        Args:
            table: a file (.csv, .tsv, .jsonl), or its rows as dictionaries. Of a model of files it
                has a column with their paths, relative to the table's folder.
            cache: of files: as of `predict_files`.

        Raises:
            ConfigError: for another file, and for rows that are no dictionaries.
            DataError: when the table cannot be read, or has not the columns of the model.
        """
        kind = self.encoding.kind
        if isinstance(table, str | Path) and Path(table).suffix.lower() not in ENDINGS:
            raise ConfigError(
                f"The model was fitted to {NOUNS[kind]} of a table, so it takes tables "
                f"({', '.join(ENDINGS)}), not '{table}'."
            )
        file: Path | str = "the table given"
        if isinstance(table, str | Path):
            file = Path(table)
            rows = read_table(file)
        else:
            rows = _rows_given(table)
        if not rows:
            return []
        if not self.encoding.columns:
            return list(self._stream(paths_of_rows(rows, file), cache))
        if kind == TABLE:
            x, wrong = row_numbers(rows, self.encoding.table_columns, file)
            items: list[Any] = list(range(1, len(rows) + 1))
        else:
            items = texts(rows, self.encoding.columns[0], file)
            wrong = ["" if text else f"row {i + 1} has no text" for i, text in enumerate(items)]
            x = np.empty((0, 0))
        good = [i for i, why in enumerate(wrong) if not why]
        given = x[good] if kind == TABLE else [items[i] for i in good]
        vectors = self.vectors(given) if good else np.empty((0, self.known.n_features_in_))
        answers = dict(
            zip(good, self.answer_vectors([items[i] for i in good], vectors), strict=True)
        )
        return [
            answers.get(i, Prediction(items[i], error=f"{wrong[i]}.")) for i in range(len(items))
        ]

    def predict_batch(self, table: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """What the model says of a table of items, column by column. The method itself can be
        pickled, so pools of processes, Dask and Ray Data take it as it is; each process opens the
        encoder once. An item that cannot be read is a row with its error.

        Args:
            table: the column "path" of files; for texts "text", or the column that the model was
                fitted to; for a model of a table its columns. Other columns are ignored.

        Returns:
            The columns item, label, probability, score, threshold, certain, nearest and error, and
            classes of a model with sets, in the order of the items; see `Prediction`.

        Raises:
            DataError: when the column is missing, or columns differ in length.
        """
        answers = self._of_batch({name: list(column) for name, column in table.items()})
        return {
            name: [getattr(answer, name) for answer in answers]
            for name in Prediction.__dataclass_fields__
            if name != "table" and (name != "classes" or self.set_alpha is not None)
        }

    def _of_batch(self, columns: dict[str, list[Any]]) -> list[Prediction]:
        kind = self.encoding.kind
        if kind == TABLE:
            names = tuple(columns)
        elif kind == "text":
            names = (self.encoding.columns or ("text",))[:1]
        else:
            names = ("path",)
        if missing := [name for name in names if name not in columns]:
            raise DataError(
                f"The batch has no column '{missing[0]}', which the model asks about "
                f"({NOUNS[kind]}). It has {', '.join(columns) or 'none'}."
            )
        lengths = {name: len(columns[name]) for name in names}
        if len(set(lengths.values())) > 1:
            raise DataError(f"The columns of the batch differ in length: {lengths}.")
        if kind == TABLE:
            rows = [
                dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            return self.predict_table(rows)
        if kind == "text":
            return self.predict_texts(columns[names[0]])
        paths = [Path(path) for path in columns["path"]]
        return self._of_files(self._opened_encoder(), paths, None, names=paths)

    def __getstate__(self) -> dict[str, Any]:
        """All but the encoder, which is opened again where the model arrives."""
        state = {**vars(self), "encoder": self.encoder is not None}
        del state["_changes"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._changes = threading.RLock()
        self.encoder = _opened_here(self.encoding) if state["encoder"] else None

    def find_files(self, paths: Iterable[Source] | Source) -> list[Source]:
        """The files of the model's kind in files and folders; what is in memory stays as it is, and
        open files are read.

        Raises:
            ConfigError: of a model of a table.
            DataError: when a path does not exist, or there is no file.
        """
        if self.encoding.kind == TABLE:
            raise ConfigError(
                "The model was fitted to rows of a table, so it takes no files of items. Change "
                "the table and fit again, or ask with predict_table."
            )
        return find_sources(paths, kind=self.encoding.kind)

    def with_rate(self, false_accept_rate: float) -> "FittedModel":
        """The model with another false-accept rate; where it has no cohort, each class plays the
        unknown to the others.

        Raises:
            ConfigError: when it takes more unknowns than there are.
            DataError: when a class has the name of unknowns.
        """
        model = self.classifier
        if isinstance(model, OpenSetClassifier):
            with self._changing() as changed:
                assert isinstance(changed, OpenSetClassifier)
                changed.set_rate(false_accept_rate)
            return self
        check_names(model.classes_.tolist())
        calibrated = OpenSetClassifier(
            model, false_accept_rate=false_accept_rate, reject_label=UNKNOWN
        )
        calibrated.fit(model.support_, model.classes_[model.labels_], model.weights_)
        return replace(self, classifier=calibrated)

    def with_sets(self, alpha: float) -> "FittedModel":
        """The model, whose answers also carry a prediction set: so many classes that the right one
        is missing in a share ``alpha`` of cases at most; see `FewShotClassifier.predict_sets`.

        Raises:
            ConfigError: for a share outside of (0, 1), or too few examples for it.
        """
        self.classifier.predict_sets(self.known.support_[:1], alpha)
        return replace(self, set_alpha=alpha)

    def add_class(
        self, name: Any, items: Sequence[Any] | NDArray[Any], *, on_bad: str = "refuse"
    ) -> Self:
        """Learn one more class from its items; `save` keeps it. Items that equal examples of other
        classes are warned of.

        Args:
            name: of the class; a text is brought to the kind of the model's labels.
            items: paths of files or folders, texts, or rows of numbers.
            on_bad: what happens when a file cannot be read: "refuse" them all, or "skip" the file,
                with a warning that names it.

        Raises:
            ConfigError: when there is a class of this name, or it cannot be one.
            DataError: when an item cannot be read.
        """
        x, called = self._examples(items, on_bad)
        with self._changing() as classifier:
            classifier.add_class(self.label_of(name), x)
            self._remember("added", self.label_of(name))
        self._warn_of_copies(name, x, called)
        return self

    def update_class(
        self, name: Any, items: Sequence[Any] | NDArray[Any], *, on_bad: str = "refuse"
    ) -> Self:
        """Give a class other examples; for what is told see `add_class`.

        Raises:
            ConfigError: when there is no such class.
            DataError: when an item cannot be read.
        """
        x, called = self._examples(items, on_bad)
        with self._changing() as classifier:
            label = self.label_of(name)
            classifier.update_class(label, x)
            self.feedback = tuple(one for one in self.feedback if one.label != label)
            self._remember("replaced", label)
        self._warn_of_copies(name, x, called)
        return self

    def remove_class(self, name: Any) -> Self:
        """Forget a class and its examples.

        Raises:
            ConfigError: when there is no such class, or only one would be left to a model that
                never says unknown.
        """
        with self._changing() as classifier:
            label = self.label_of(name)
            if label in self.counts and len(self.counts) == 2 and not self.is_calibrated:
                raise ConfigError(
                    f"Without {label!r} the model would have one class and call everything that. "
                    "It needs at least two classes, or a false-accept rate. Add another class "
                    "first."
                )
            classifier.remove_class(label)
            self.feedback = tuple(one for one in self.feedback if one.label != label)
            self._remember("removed", label)
        return self

    def add_vectors(self, name: Any, vectors: Float[NDArray[np.float64], "n D"]) -> Self:
        """Give a class further examples, or learn it anew, from vectors as `vectors` gives them.

        Raises:
            ConfigError: when it cannot be a class.
        """
        with self._changing() as classifier:
            label, known = self.label_of(name), self.known
            is_new = label not in self.counts
            if not is_new:
                has = known.support_[known.labels_ == known.classes_.tolist().index(label)]
                classifier.update_class(label, np.concatenate((has, vectors)))
            else:
                classifier.add_class(label, vectors)
            self._remember("added" if is_new else "extended", label)
        return self

    def rename_class(self, name: Any, new: Any) -> Self:
        """Give a class another name.

        Raises:
            ConfigError: when there is no such class, or one of the new name.
        """
        with self._changing() as classifier:
            before, after = self.label_of(name), self.label_of(new)
            classifier.rename_class(before, after)
            self.feedback = tuple(
                replace(one, label=after) if one.label == before else one for one in self.feedback
            )
            self._remember("renamed", after)
        return self

    def give_feedback(
        self, vector: Float[NDArray[np.float64], " D"], verdict: str, label: Any = None
    ) -> Feedback:
        """Learn from what a person says of an answer; `save` keeps it, as the vector alone.

        Args:
            vector: of the item, as `vectors` gave it.
            verdict: "right": the item becomes a further example of the class ``label``. "wrong": it
                becomes an example of ``label`` where that is given, which may be a new class, and
                otherwise a negative: it and what resembles it more than any example is unknown from
                now on, and it counts as one unknown more where the threshold is drawn.
            label: the true class.

        Raises:
            ConfigError: when a model that never says unknown is told that something belongs to no
                class, or a right answer has no class.
        """
        with self._changing() as classifier:
            named = None if label is None else self.label_of(label)
            one = apply_feedback(classifier, vector, verdict, named)
            self.feedback = (*self.feedback, one)
            self._remember("corrected by feedback", one.label)
        return one

    def take_back(self, feedback: str) -> Feedback:
        """Undo feedback by its id.

        Raises:
            ConfigError: when there is none of that id, or its class cannot lose its only example.
        """
        one = next((one for one in self.feedback if one.id == feedback), None)
        if one is None:
            raise ConfigError(
                f"There is no feedback '{feedback}' among the {len(self.feedback)} of this model. "
                "It may have been taken back already."
            )
        if one.label is not None and self.counts.get(one.label) == 1:
            self.remove_class(one.label)
        else:
            with self._changing() as classifier:
                withdraw_feedback(classifier, one)
        self.feedback = tuple(other for other in self.feedback if other.id != feedback)
        return one

    def label_of(self, name: Any) -> Any:
        """A name as the model has it: without spaces around, composed (NFC), and of a model whose
        labels are numbers the number.

        Raises:
            ConfigError: when it cannot be one.
        """
        return label_named(name, self.known.classes_.tolist())

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder, whole or not at all; nothing is pickled.

        A model that was loaded from the same folder replaces what it was loaded from, and nothing
        newer: see `editing` for changes by several processes.

        Raises:
            ConfigError: when a label or the learner has no form on disk, the folder holds
                something else, was changed by another process since the model was loaded, or cannot
                be written.
        """
        out = as_path(folder, "folder")
        about = self.encoding.to_json()
        with locked(out) if out.is_dir() else nullcontext():
            read_from, version = self.origin
            if read_from == out.absolute() and version != model_files.version_of(out):
                raise ConfigError(
                    f"{out} was changed by another process since this model was loaded from it, "
                    "and saving would undo that. Load it again and repeat the change, or use "
                    "FittedModel.editing, which keeps others waiting meanwhile."
                )
            try:
                model_files.write(
                    out,
                    self.classifier,
                    about,
                    notes=self.notes,
                    feedback=self.feedback,
                    history=self.history,
                )
                self.origin = out.absolute(), model_files.version_of(out)
            except ConfigError:
                if read_from == out.absolute():
                    # The disk may have failed after the new state was there; no other process
                    # wrote meanwhile.
                    self.origin = read_from, model_files.version_of(out)
                raise
        return out

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        encoder: str | AbstractPretrained | None = "",
        modules: Modules | None = None,
    ) -> "FittedModel":
        """Read back what `save` wrote, and open the encoder. The classifier is fitted anew to the
        examples in it, which gives the very same one.

        Args:
            folder: where it lies.
            encoder: where the encoder lies now, or itself; empty = where it lay; None = do not open
                it, as where classes are only listed or removed.
            modules: the networks that its learner's encoder wraps, by name
                (`quickstudy.encoders.Wrapped`).

        Raises:
            ConfigError: for an encoder of a model that needs none.
            LoadError: when files are missing, damaged or of another format, or the encoder is
                another one now.
        """
        path = as_path(folder, "folder")
        version = model_files.version_of(path)
        classifier, values, notes, feedback, history = model_files.read(path, modules=modules)
        with damage_is_a_load_error(path):
            encoding = Encoding.from_json(values, dim=classifier.n_features_in_)
        if encoding.kind == TABLE and encoder:
            raise ConfigError(
                f"{folder} was fitted to rows of numbers, which need no encoder. Leave it out (on "
                "the command line --encoder)."
            )
        is_open = encoding.kind != TABLE and encoder is not None
        opened = encoding.open(encoder or "") if is_open else None
        if opened is not None and encoder:
            encoding = replace(encoding, source=opened.source)
        origin = (path.absolute(), version)
        return cls(
            classifier, encoding, opened, notes, origin=origin, feedback=feedback, history=history
        )

    def save_pretrained(self, folder: str | Path, *, license_name: str = "") -> Path:
        """As `save`, with a model card (README.md) as the hub shows it: data, protocol, results,
        promise and limits.

        Args:
            folder: where to.
            license_name: for the card, as the hub abbreviates it, such as "cc-by-4.0".

        Raises:
            ConfigError: as `save`.
        """
        path = self.save(folder)
        write_file(path / hub.CARD, self._card(path.name, license_name).encode())
        return path

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        encoder: str | AbstractPretrained | None = "",
        modules: Modules | None = None,
    ) -> "FittedModel":
        """A model of the Hugging Face hub (extra ``hub``), or of a folder. Nothing in it is run.

        Args:
            name: "owner/name", or a folder.
            revision: a branch, a tag or a commit.
            token: of the hub; None = the one that ``hf auth login`` keeps.
            encoder, modules: as of `load`.

        Raises:
            DownloadError: when the hub does not give it.
            ConfigError, LoadError: as `load`.
        """
        folder = hub.fetched(name, revision=revision, token=token)
        model = cls.load(folder, encoder=encoder, modules=modules)
        if not Path(name).is_dir():
            # What lies in the hub's cache is not to be written over.
            model.origin = None, model.origin[1]
        return model

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool = False,
        token: str | None = None,
        license_name: str = "",
        message: str = "",
    ) -> str:
        """Publish the model on the Hugging Face hub, with its card. The vectors of its examples go
        with it.

        Args:
            name: "owner/name"; it is made where it is not there.
            private: whether only its owner sees a new one.
            token: of the hub; None = the one that ``hf auth login`` keeps.
            license_name: for the card, as the hub abbreviates it.
            message: of the commit.

        Returns:
            The address of the commit.

        Raises:
            ConfigError: without huggingface_hub, or when the hub refuses.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = replace(self, origin=(None, "")).save(Path(temporary) / "model")
            return hub.push_folder(
                folder,
                name,
                card=self._card(name, license_name),
                private=private,
                token=token,
                message=message,
            )

    def _card(self, name: str, license_name: str) -> str:
        return model_card(
            name,
            self.classifier,
            self.encoding,
            counts=self.counts,
            notes=self.notes,
            license_name=license_name,
        )

    @classmethod
    @contextmanager
    def editing(
        cls,
        folder: str | Path,
        *,
        encoder: str | AbstractPretrained | None = "",
        modules: Modules | None = None,
    ) -> Iterator["FittedModel"]:
        """The model in a folder, to be changed and saved again at the end; where the block raises,
        nothing is saved.

        Other processes that change it wait meanwhile, so no change is lost.

        Args:
            folder, encoder, modules: as of `load`.

        Example:
            >>> import tempfile
            >>> fitted = FewShotClassifier().fit([[1.0, 0.0], [0.0, 1.0]], ["oak", "elm"])
            >>> folder = FittedModel(fitted, Encoding("table", columns=("a", "b"))).save(
            ...     Path(tempfile.mkdtemp()) / "trees"
            ... )
            >>> with FittedModel.editing(folder) as model:
            ...     _ = model.add_class("fir", [[-1.0, 0.0]])
            >>> FittedModel.load(folder).counts
            {'elm': 1, 'fir': 1, 'oak': 1}
        """
        if not as_path(folder, "folder").is_dir():
            cls.load(folder, encoder=encoder, modules=modules)  # which says what is missing
        with locked(folder):
            model = cls.load(folder, encoder=encoder, modules=modules)
            yield model
            model.save(folder)

    @contextmanager
    def _changing(self) -> Iterator[Classifier]:
        """A copy of the classifier to be changed, which takes its place in one step at the end;
        where the block raises, nothing is changed.
        """
        with self._changes:
            changed = self.classifier.copied()
            with _as_config_error():
                yield changed
            self.classifier = changed

    def _remember(self, what: str, label: Any) -> Self:
        self.history = (*self.history, Change.now(what, label))
        return self

    def _opened_encoder(self) -> AbstractPretrained:
        if self.encoder is None:
            raise ConfigError(
                "The model was loaded without its encoder, so it cannot encode "
                f'{NOUNS[self.encoding.kind]}. Load it with encoder="".'
            )
        return self.encoder

    def _cache(self, cache: Cache) -> Cache:
        """Pixels are read as quickly as a cache is."""
        return None if self.encoding.image is not None else cache

    def _is_file(self, item: Any) -> bool:
        return isinstance(item, Path) or self.encoding.kind in ("images", "audio")

    def _examples(
        self, items: Sequence[Any] | NDArray[Any], on_bad: str
    ) -> tuple[NDArray[np.float64], list[str]]:
        """The vectors of a class's items, and what each is called."""
        check_list(items, of="items")
        if self.encoding.kind == TABLE and any(isinstance(item, str | Path) for item in items):
            raise ConfigError(
                "The model was fitted to rows of a table, so a class is given by rows of numbers. "
                "Change the table and fit again."
            )
        if self.encoding.kind == TABLE or not all(self._is_file(item) for item in items):
            x = self.vectors(items)
            texts = self.encoding.kind != TABLE
            return x, [item_name(item if texts else i) for i, item in enumerate(items)]
        files = self.find_files(list(items))
        encoded = encode_files(self._opened_encoder(), files, on_bad=on_bad)
        if not encoded.paths:
            raise DataError(
                f"None of {counted(len(files), 'file')} can be read. The first: "
                f"{encoded.skipped[0][1]}"
            )
        for path, reason in encoded.skipped:
            warnings.warn(f"skipped {path}: {reason}", PassedOverWarning, stacklevel=3)
        return encoded.vectors.astype(np.float64), [item_name(path) for path in encoded.paths]

    def _warn_of_copies(self, name: Any, x: NDArray[np.float64], called: Sequence[str]) -> None:
        said = said_of_copies(self.known, self.label_of(name), x, called)
        if said:
            warnings.warn(said, QuickstudyWarning, stacklevel=3)

    def _stream(self, sources: Sequence[Source], cache: Cache) -> Iterator[Prediction]:
        encoder = self._opened_encoder()
        names = names_of(sources)
        with cache_for(encoder, self._cache(cache)) as opened:
            for start in range(0, len(sources), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                yield from self._of_files(encoder, sources[part], opened, names=names[part])

    def _of_files(
        self,
        encoder: AbstractPretrained,
        sources: Sequence[Source],
        cache: FeatureCache | None,
        *,
        names: Sequence[Path],
    ) -> list[Prediction]:
        """The answers to files, which are called ``names``."""
        encoded = encode_files(encoder, sources, cache=cache, on_bad="skip")
        answers = dict(
            zip(encoded.paths, self.answer_vectors(encoded.paths, encoded.vectors), strict=True)
        )
        errors = dict(encoded.skipped)
        return [
            replace(answers[path], item=name)
            if path in answers
            else Prediction(name, error=errors[path])
            for path, name in zip(names_of(sources), names, strict=True)
        ]

    def answer_vectors(self, items: Sequence[Any], vectors: NDArray[Any]) -> list[Prediction]:
        """What the model says of items that are vectors ``[n D]`` already, as `vectors` gives
        them.
        """
        return predictions(self.classifier, items, vectors.astype(np.float64), self.set_alpha)


def _rows_given(table: Any) -> list[dict[str, Any]]:
    rows = list(table) if isinstance(table, Iterable) else [table]
    wrong = [row for row in rows if not isinstance(row, Mapping)]
    if wrong:
        raise ConfigError(
            "A table is the path of a file, or a list of rows, each a dictionary of values by "
            f"column, got {type(table).__qualname__} of {type(wrong[0]).__qualname__}. A "
            'DataFrame\'s rows are frame.to_dict("records").'
        )
    return rows


_OPENED: dict[tuple[str, str, str], AbstractPretrained] = {}


def _opened_here(encoding: Encoding) -> AbstractPretrained:
    """The encoder of a model that was pickled: opened once in each process."""
    if encoding.image is not None:
        return encoding.open()
    key = encoding.kind, encoding.source, encoding.key
    if key not in _OPENED:
        _OPENED[key] = encoding.open()
    return _OPENED[key]


@contextmanager
def _as_config_error() -> Iterator[None]:
    """The estimators speak scikit-learn's language, with plain ValueErrors."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
