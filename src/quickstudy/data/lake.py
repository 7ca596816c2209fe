"""The one-shot classification of Lake et al.: 20 characters of one alphabet, one drawing of each by
one person, to be found again among the drawings of another person.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError
from quickstudy.core.rng import words
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.data.class_index import ClassDataset
from quickstudy.data.images import ImageFormat

RUNS = 20
"""Runs that the authors published and scored."""

_WAY = 20
_ALPHABETS = 10
_LABELS = "class_labels.txt"


class LakeRuns(AbstractTasks):
    """Runs that are drawn as the official ones are: two runs from each of ten alphabets, twenty
    characters of it, and two of its twenty drawers.

    The support holds the drawings of one drawer, the queries those of the other one, each character
    once. The alphabets are drawn from those with at least 20 characters; a third run of an alphabet
    has drawers that its first two did not have.

    Args:
        data: characters named ``alphabet/character`` without rotations, each with the drawings of
            the same people in the same order.
        seed: of the runs.

    Raises:
        DataError: for too few alphabets of 20 characters.

    Source: Lake, Salakhutdinov, Tenenbaum 2015, doi:10.1126/science.aab3050; 20 runs.
    """

    uniform = True

    def __init__(self, data: ClassDataset, *, seed: int = 0) -> None:
        alphabets: dict[str, list[int]] = {}
        for c, name in enumerate(data.index.names):
            alphabets.setdefault(name.partition("/")[0], []).append(c)
        large = {name: classes for name, classes in alphabets.items() if len(classes) >= _WAY}
        if len(large) < _ALPHABETS:
            raise DataError(
                f"The runs take {_ALPHABETS} alphabets of at least {_WAY} characters, but "
                f"{data.name} {data.split} has {len(large)}. Use the evaluation alphabets of "
                "Omniglot, without rotations."
            )
        self.dataset = data
        self.data = data.name
        self.split = "lake20/generated"
        self.split_hash = data.split_hash
        self.setting = Setting(_WAY, 1, 1)
        self.seed = seed
        order = np.argsort([words(1, "lake20", seed, name)[0] for name in large], kind="stable")
        names = list(large)
        self._alphabets = [(names[i], large[names[i]]) for i in order[:_ALPHABETS]]

    def characters(self, number: int) -> list[str]:
        """The characters of a run, in the order of its labels."""
        return [self.dataset.index.names[c] for c in self._classes(number)]

    def batch(self, numbers: Sequence[int]) -> Episode:
        classes = np.stack([self._classes(i) for i in numbers])
        drawers = np.stack([self._drawers(i) for i in numbers])
        x = [
            torch.stack(
                [
                    self.dataset.gather(self.dataset.index.rows(c, np.full((_WAY, 1), d))[:, 0])
                    for c, d in zip(classes, drawers[:, part], strict=True)
                ]
            )
            for part in (0, 1)
        ]
        y = torch.arange(_WAY, device=x[0].device).expand(len(classes), _WAY)
        return Episode(Examples(x[0], y), Examples(x[1], y), Classes(_WAY))

    def _classes(self, number: int) -> NDArray[np.int64]:
        _, classes = self._alphabets[number // 2 % _ALPHABETS]
        draws = words(len(classes), "lake20", self.seed, number, "characters")
        return np.asarray(classes)[np.argsort(draws, kind="stable")[:_WAY]]

    def _drawers(self, number: int) -> NDArray[np.int64]:
        name, classes = self._alphabets[number // 2 % _ALPHABETS]
        n = int(self.dataset.index.counts[classes].min())
        order = np.argsort(words(n, "lake20", self.seed, name, "drawers"), kind="stable")
        pair = number // (2 * _ALPHABETS) * 2 + number % 2
        return np.take(order, [2 * pair, 2 * pair + 1], mode="wrap")


class LakeArchive(AbstractTasks):
    """The official runs in a folder: ``runNN/training/…``, ``runNN/test/…`` and
    ``runNN/class_labels.txt``, whose lines name a test file and the training file of its class.

    Args:
        folder: ``all_runs``, or the folder above it.
        image_format: how a file becomes an example.
        shape: of an example.

    Raises:
        DataError: for a folder without runs, and for labels that do not fit the files.

    Source: ``one-shot-classification/all_runs.zip`` of github.com/brendenlake/omniglot.
    """

    uniform = True

    def __init__(self, folder: str | Path, image_format: ImageFormat) -> None:
        root = Path(folder)
        root = root / "all_runs" if (root / "all_runs").is_dir() else root
        self.runs = [_Run(root, path) for path in sorted(root.glob("run*")) if path.is_dir()]
        if not self.runs:
            raise DataError(
                f"There is no run in {root}: folders run01, run02, … with training, test and "
                f"{_LABELS} were expected. Unpack all_runs.zip there."
            )
        sizes = {(len(run.training), len(run.test)) for run in self.runs}
        if len(sizes) > 1:
            raise DataError(
                f"The runs in {root} have different numbers of training and test files: "
                f"{sorted(sizes)}. Unpack all_runs.zip again."
            )
        (n_way, n_test) = sizes.pop()
        if n_test != n_way:
            raise DataError(
                f"A run asks for each of its {n_way} characters once, but those in {root} have "
                f"{n_test} test files. Unpack all_runs.zip again."
            )
        self.image_format = image_format
        self.data = "omniglot"
        self.split = "lake20/official"
        self.setting = Setting(n_way, 1, 1)
        self.seed = 0
        labels = "\n".join(f"{run.name} {run.y}" for run in self.runs)
        self.split_hash = hashlib.sha256(labels.encode()).hexdigest()[:12]

    def batch(self, numbers: Sequence[int]) -> Episode:
        runs = [self.runs[i] for i in numbers]
        support, queries = (
            torch.stack([self._read(run.training if part == 0 else run.test) for run in runs])
            for part in (0, 1)
        )
        n = self.setting.n_way
        return Episode(
            Examples(support, torch.arange(n).expand(len(runs), n)),
            Examples(queries, torch.tensor([run.y for run in runs])),
            Classes(n),
        )

    def _read(self, files: Sequence[Path]) -> Tensor:
        fmt = self.image_format
        return fmt.normalise(torch.stack([fmt.read(file) for file in files]))


class _Run:
    """One official run: its training files, its test files, and the number of the training file
    that each test file is of.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.name = folder.name
        self.file = folder / _LABELS
        pairs = list(self._pairs(root).items())
        self.test = [test for test, _ in pairs]
        self.training = sorted({training for _, training in pairs})
        self.y = [self.training.index(training) for _, training in pairs]

    @cached_property
    def _lines(self) -> list[str]:
        try:
            return self.file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.file} cannot be read: {error}. Unpack all_runs.zip again."
            ) from error

    def _pairs(self, root: Path) -> Mapping[Path, Path]:
        pairs: dict[Path, Path] = {}
        for number, line in enumerate(self._lines, 1):
            if not line.strip():
                continue
            names = line.split()
            inside = all(len(Path(n).parts) == 3 and ".." not in Path(n).parts for n in names)
            if len(names) != 2 or not inside:
                raise DataError(
                    f"{self.file}, line {number}: expected 'run01/test/item01.png "
                    f"run01/training/class01.png', got '{line}'."
                )
            test, training = (root / name for name in names)
            for path in (test, training):
                if not path.is_file():
                    raise DataError(
                        f"{self.file}, line {number}: {path} is not there. Unpack all_runs.zip "
                        "again."
                    )
            pairs[test] = training
        return pairs
