"""The one door to everything that was saved."""

from pathlib import Path
from typing import Any

from quickstudy.core.describe import Modules
from quickstudy.core.errors import LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import KINDS, MANIFEST, what_is
from quickstudy.estimators.fitted import FittedModel
from quickstudy.estimators.support import kind_of_folder
from quickstudy.pretrained import AbstractPretrained
from quickstudy.recipes import load as load_learner

_DOORS = {
    "patch memory": "quickstudy.anomaly.PatchMemory.load",
    "gallery export": "quickstudy.gallery.Gallery.import_from",
    "encoded": "numpy.load on its vectors.npy",
}


# What older versions wrote; it is said that they did.
_OLDER = ("learner.json", "predictor.json", "classifier.json", "patch_memory.json")


def load(
    path: str | Path,
    *,
    norm: str = "",
    encoder: str | AbstractPretrained | None = "",
    modules: Modules | None = None,
) -> AbstractLearner[Any] | Predictor | FittedModel:
    """What a folder holds: the learner of a run, a predictor, or a fitted model. Never runs code
    from it.

    Args:
        path: a folder that `quickstudy.train_recipe`, `Predictor.save` or `FittedModel.save` wrote.
        norm: of a run: give its encoders another normalisation policy ("support" makes batch
            statistics inductive).
        encoder: of a fitted model, as of `FittedModel.load`.
        modules: the networks that its encoder wraps (`quickstudy.encoders.Wrapped`), by name: each
            one of the same form, which is copied, or a function that makes one.

    Raises:
        LoadError: when the folder holds something else, which is named, or is damaged.
    """
    folder = Path(path).expanduser()
    kind = what_is(folder) if (folder / MANIFEST).exists() else ""
    if kind == "model":
        return FittedModel.load(folder, encoder=encoder, modules=modules)
    if kind in _DOORS:
        raise LoadError(f"{folder} holds {KINDS[kind]}. Open it with {_DOORS[kind]}.")
    if folder.is_file():
        raise LoadError(f"{folder} is {_file_said(folder)}")
    if not kind and folder.is_dir() and not any((folder / old).exists() for old in _OLDER):
        raise LoadError(_folder_said(folder))
    return load_learner(folder, norm=norm, modules=modules)


def _file_said(file: Path) -> str:
    with file.open("rb") as stream:
        is_database = stream.read(15) == b"SQLite format 3"
    if is_database:
        return "a database. If it is a gallery, open it with quickstudy.gallery.Gallery.open."
    return "a file; the folder that quickstudy wrote is expected."


def _folder_said(folder: Path) -> str:
    files = [path for path in folder.glob("*/*") if not path.name.startswith(".")]
    if files:
        return (
            f"{folder} holds sub-folders with files and nothing that quickstudy saved. If they are "
            f"{kind_of_folder(folder)} of classes to be learned: quickstudy.fit_folder."
        )
    return f"{folder} holds nothing that quickstudy saved: it has no {MANIFEST}."
