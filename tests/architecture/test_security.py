"""SECURITY.md says what holds, and the tests that it names are there."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from quickstudy.anomaly import PatchMemory
from quickstudy.core.errors import QuickstudyError
from quickstudy.core.saving import save_folder
from quickstudy.estimators import FewShotClassifier, FittedModel
from quickstudy.estimators.encoding import Encoding
from quickstudy.gallery import Gallery

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/\S+?\.py)::(test_\w+)`", TEXT)
    assert len(named) > 25
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"\ndef {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert not missing
    rows = [
        line
        for line in TEXT.splitlines()
        if line.startswith("| ") and not line.endswith("| held by |")
    ]
    assert rows
    assert all("::test_" in row for row in rows)


def test_its_links_lead_somewhere_and_the_readme_leads_to_it() -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT):
        assert link.startswith("https://") or (ROOT / link).exists()
    assert "](SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client where nothing lies on this machine, and nothing else may be asked for."""

    def download(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        assert local_files_only, f"{name} would be fetched"
        raise FileNotFoundError(name)

    def ask() -> None:
        raise AssertionError("the hub would be asked")

    client: Any = ModuleType("huggingface_hub")
    client.snapshot_download = download
    client.HfApi = ask
    client.LocalEntryNotFoundError = FileNotFoundError
    client.HF_HUB_CACHE = "no folder of that name"
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", client)
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    monkeypatch.setitem(sys.modules, "timm", None)


def fitted(folder: Path, source: str, kind: str) -> Any:
    model = FewShotClassifier().fit(np.eye(2), ["a", "b"])
    encoding = Encoding(kind, source, key="0" * 16)
    return lambda: FittedModel.load(FittedModel(model, encoding).save(folder))


def memory(folder: Path, source: str, kind: str) -> Any:
    about = {
        "encoder": source,
        "key": "0" * 16,
        "options": {"keep": 0.5},
        "threshold": None,
    }
    tensors = {"memory": torch.eye(2).numpy(), "good_scores": np.ones(2)}
    save_folder(
        folder, kind="patch memory", about=about, files={"memory.safetensors": save(tensors)}
    )
    return lambda: PatchMemory.load(folder)


def gallery(folder: Path, source: str, kind: str) -> Any:
    folder.mkdir()
    made = Gallery.create(folder / "g.db", encoder="0" * 16, dim=2, kind=kind, source=source)
    return made.pretrained


@pytest.mark.parametrize(
    ("saved", "kind"),
    [
        (fitted, "images"),
        (fitted, "text"),
        (fitted, "audio"),
        (memory, "images"),
        (gallery, "images"),
        (gallery, "audio"),
    ],
)
@pytest.mark.parametrize("source", ["stranger/model", "timm:resnet18", "os:getcwd"])
def test_what_a_file_names_is_not_fetched(
    saved: Any, kind: str, source: str, no_network: None, tmp_path: Path
) -> None:
    with pytest.raises(QuickstudyError, match=r"encoder|hf download|no folder"):
        saved(tmp_path / "m", source, kind)()
