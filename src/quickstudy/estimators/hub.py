"""Saved models on the Hugging Face hub: as safetensors and JSON, with a card; no code is fetched or
run.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from quickstudy.core.disk import as_path, write_file
from quickstudy.core.errors import ConfigError, DownloadError
from quickstudy.core.saving import load_folder, what_is
from quickstudy.estimators.card import learner_card, reports_in
from quickstudy.evaluation import Report
from quickstudy.pretrained.fetch import require

CARD = "README.md"
# Names of saved files carry their checksum, so those of an earlier state stay behind.
_SAVED = ("quickstudy.json", "*.qs-*")
_PUBLISHED = ("model", "run", "learner", "predictor")


def fetched(name: str | Path, *, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of a model: as given, or of the hub, into whose own cache it is fetched. Without a
    network the state that was fetched last is taken.

    Args:
        name: a folder, or "owner/name".
        revision: a branch, a tag or a commit.
        token: of the hub; None = the one that ``hf auth login`` keeps.

    Raises:
        ConfigError: without huggingface_hub.
        DownloadError: when the hub does not give it.
    """
    folder = as_path(name, "name")
    if folder.is_dir():
        return folder
    hub = require("huggingface_hub")
    try:
        return Path(
            hub.snapshot_download(
                str(name), revision=revision, token=token, allow_patterns=list(_SAVED)
            )
        )
    # The hub's client passes on whatever its HTTP library raises, which has changed before.
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadError(
            f"There is no folder '{name}', and the hub does not give a model of that name "
            f"({type(error).__name__}: {said}). Check the spelling, and whether you may read it "
            "(hf auth login)."
        ) from error


def push_folder(
    folder: str | Path,
    name: str,
    *,
    card: str = "",
    reports: Sequence[Report] = (),
    private: bool = False,
    token: str | None = None,
    message: str = "",
) -> str:
    """Publish a saved folder: a fitted model, a run, a learner or a predictor. Of a run its weights
    and description go, no checkpoint.

    Args:
        folder: where it lies.
        name: "owner/name" on the hub; it is made where it is not there.
        card: in Markdown; empty = written from the reports.
        reports: its scores; empty = those in the folder.
        private: whether only its owner sees a new one.
        token: of the hub; None = the one that ``hf auth login`` keeps.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: without huggingface_hub, for a folder that holds something else, or when the
            hub refuses.
        LoadError: when the folder or a report in it is damaged.
    """
    path = as_path(folder, "folder")
    kind = what_is(path)
    if kind not in _PUBLISHED:
        raise ConfigError(
            f"{path} holds a {kind}, which is not published: {', '.join(_PUBLISHED)} are."
        )
    hub = require("huggingface_hub")
    text = card or learner_card(name, kind, reports or reports_in(path))
    load_folder(path)  # damaged files are not published
    try:
        api = hub.HfApi(token=token)
        api.create_repo(name, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            staged = Path(temporary)
            for pattern in _SAVED:
                for file in path.glob(pattern):
                    (staged / file.name).write_bytes(file.read_bytes())
            write_file(staged / CARD, text.encode())
            commit = api.upload_folder(
                repo_id=name,
                folder_path=staged,
                delete_patterns=list(_SAVED[1:]),
                commit_message=message or "Upload with quickstudy",
            )
    # As of `fetched`.
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"The hub does not take '{name}' ({type(error).__name__}: {said}). Check the name "
            "(owner/name) and whether you may write there (hf auth login)."
        ) from error
    return str(commit.commit_url)
