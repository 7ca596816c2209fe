"""The one door to everything that was saved."""

from pathlib import Path
from typing import Any

from quickstudy.core.describe import Modules
from quickstudy.core.disk import as_path
from quickstudy.core.errors import LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import KINDS, MANIFEST, what_is
from quickstudy.estimators.fitted import FittedModel
from quickstudy.estimators.hub import fetched, push_folder
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
        ConfigError: when ``path`` is no path.
        LoadError: when the folder holds something else, which is named, or is damaged.
    """
    folder = as_path(path, "path").expanduser()
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


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    encoder: str | AbstractPretrained | None = "",
    modules: Modules | None = None,
) -> AbstractLearner[Any] | Predictor | FittedModel:
    """What the Hugging Face hub (extra ``hub``) holds under a name, as `load` opens it.

    Args:
        name: "owner/name", or a folder.
        revision: a branch, a tag or a commit.
        token: of the hub; None = the one that ``hf auth login`` keeps.
        encoder, modules: as of `load`.

    Raises:
        ConfigError: without huggingface_hub.
        DownloadError: when the hub does not give it.
        LoadError: as `load`.
    """
    if what_is(folder := fetched(name, revision=revision, token=token)) == "model":
        return FittedModel.from_pretrained(
            name, revision=revision, token=token, encoder=encoder, modules=modules
        )
    return load(folder, modules=modules)


def push_to_hub(
    folder: str | Path, name: str, *, private: bool = False, token: str | None = None
) -> str:
    """Publish what a folder holds (a fitted model, a run, a learner or a predictor) on the Hugging
    Face hub, with a card written from its reports.

    Args:
        folder: where it lies.
        name: "owner/name"; it is made where it is not there.
        private: whether only its owner sees a new one.
        token: of the hub; None = the one that ``hf auth login`` keeps.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: without huggingface_hub, for a folder of something else, or when the hub
            refuses.
        LoadError: when the folder is damaged.
    """
    if what_is(folder) == "model":
        model = FittedModel.load(folder, encoder=None)
        return model.push_to_hub(name, private=private, token=token)
    return push_folder(folder, name, private=private, token=token)


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
