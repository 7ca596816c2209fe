"""Files copied into a folder per label."""

import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from quickstudy.core.errors import ConfigError
from quickstudy.estimators.fitted import FittedModel, Prediction

REVIEW = "review"
_NOT_IN_NAMES = '/\\:*?"<>|'


class SortedFiles:
    """Copies files into sub-folders that are called as the labels are. What a person should look at
    goes below ``review``, and what cannot be read is left where it is. No file is replaced.

    Args:
        folder: where to; made if needed.
        model: whose answers are followed.

    Attributes:
        counts: how many files came into each sub-folder.
        left: how many could not be read.

    Raises:
        ConfigError: for a model whose items are no files, or a place that is a file.
    """

    def __init__(self, folder: Path, model: FittedModel) -> None:
        if model.encoding.kind not in ("images", "audio", "text") or model.encoding.columns:
            raise ConfigError(
                "Only files can be sorted into folders, but the model was fitted to rows of a "
                "table. Write its answers into a file with -o."
            )
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file, so nothing can be sorted into it.")
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.left = 0

    def copying(self, answers: Iterable[Prediction]) -> Iterator[Prediction]:
        """The answers as they come, each file copied before its answer is passed on.

        Raises:
            ConfigError: when a file cannot be copied.
        """
        for answer in answers:
            if answer.error or not isinstance(answer.item, Path):
                self.left += 1
            else:
                self._copy(answer.item, answer)
            yield answer

    def said(self) -> str:
        """What became of the files, in words."""
        parts = [f"{name} {n}" for name, n in sorted(self.counts.items())]
        more = [f"and {len(parts) - 10} more folders"] if len(parts) > 10 else []
        left = [f"{self.left} left out, as no file that could be read"] if self.left else []
        return f"{', '.join([*parts[:10], *more, *left])}."

    def _copy(self, file: Path, answer: Prediction) -> None:
        name = folder_name(str(answer.label))
        sub = f"{REVIEW}/{name}" if answer.certain is False else name
        target = self.folder / sub
        try:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, _free(target / file.name))
        except OSError as error:
            raise ConfigError(
                f"'{file}' cannot be copied into {target}: {error.strerror or error}. Make room, "
                "or choose another folder."
            ) from error
        self.counts[sub] += 1


def folder_name(label: str) -> str:
    """A label as the name of a folder on every system.

    >>> folder_name("a/b: c"), folder_name("..")
    ('a_b_ c', '_')
    """
    plain = "".join(
        "_" if c in _NOT_IN_NAMES or unicodedata.category(c) == "Cc" else c for c in label
    )
    return plain.strip(" .") or "_"


def _free(path: Path) -> Path:
    """The path, or one with a number where a file is there already."""
    candidate = path
    n = 2
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{n}{path.suffix}")
        n += 1
    return candidate
