"""Models on a hub: a small server of files speaks its protocol here."""

import base64
import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError, DownloadError
from quickstudy.core.setting import Setting
from quickstudy.core.words import percent
from quickstudy.data import Glyphs
from quickstudy.encoders import Conv4
from quickstudy.estimators import (
    Encoding,
    FewShotClassifier,
    FittedModel,
    OpenSetClassifier,
    from_pretrained,
    push_to_hub,
)
from quickstudy.evaluation import evaluate
from quickstudy.recipes.runs import save_learner

hub = pytest.importorskip("huggingface_hub")


class Hub(ThreadingHTTPServer):
    """The repositories by name, each with its files by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits = 0


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        """No lines on the screen."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts[:3] == ["api", "repos", "create"]:
            about = json.loads(body)
            name = "/".join(filter(None, (about.get("organization"), about["name"])))
            self.server.repositories.setdefault(name, {})
            self._json({"url": f"https://huggingface.co/{name}"})
        elif parts[1] == "validate-yaml":  # the head of the card
            self._json({"errors": [], "warnings": []})
        elif parts[4] == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self._json({"files": modes})
        else:
            files = self.server.repositories["/".join(parts[2:4])]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            self.server.commits += 1
            where = f"https://huggingface.co/{'/'.join(parts[2:4])}/commit/{self._commit()}"
            self._json({"commitUrl": where, "commitOid": self._commit()})

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        is_api = parts[0] == "api"
        name = "/".join(parts[2:4] if is_api else parts[:2])
        files = self.server.repositories.get(name)
        if files is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif is_api and "tree" in parts:
            self._json(
                [
                    {"type": "file", "path": p, "size": len(c), "oid": self._commit()}
                    for p, c in files.items()
                ]
            )
        elif is_api:
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": name, "sha": self._commit(), "siblings": siblings, "private": False})
        else:
            content = files["/".join(parts[4:])]
            self.send_response(200)
            self.send_header("X-Repo-Commit", self._commit())
            self.send_header("ETag", f'"{hash(content):x}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    def _commit(self) -> str:
        return f"{self.server.commits:040x}"

    def _json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine, with a cache of its own."""
    one = Hub()
    address = f"http://127.0.0.1:{one.server_port}"
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    bars = importlib.import_module("huggingface_hub.utils")
    bars.disable_progress_bars()
    original = hub.HfApi.__init__

    def init(self: Any, endpoint: str | None = None, **options: Any) -> None:
        original(self, endpoint=endpoint or address, **options)

    monkeypatch.setattr(hub.HfApi, "__init__", init)
    thread = threading.Thread(target=one.serve_forever, daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    bars.enable_progress_bars()


@pytest.fixture
def model() -> FittedModel:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(3 * c, 0.3, (4, 2)) for c in range(3)])
    names = np.repeat(["ash", "elm", "fir"], 4)
    known = FewShotClassifier("prototype", metric="euclidean")
    cohort = rng.normal(20, 5, (40, 2))
    classifier = OpenSetClassifier(known, reject_label="unknown").fit(x, names, cohort=cohort)
    return FittedModel(classifier, Encoding("table", columns=("a", "b")))


def test_a_model_goes_to_the_hub_and_comes_back(server: Hub, model: FittedModel) -> None:
    address = model.push_to_hub("me/trees", token="t", license_name="mit")
    assert address.startswith("https://huggingface.co/me/trees/commit/")
    files = server.repositories["me/trees"]
    assert sorted(Path(name).suffix for name in files) == [".json", ".md", ".safetensors"]
    card = files["README.md"].decode()
    assert "license: mit" in card
    back = FittedModel.from_pretrained("me/trees")
    x = [[0.1, 0.2], [6.1, 5.8], [50.0, 50.0]]
    assert back.predict(x).tolist() == model.predict(x).tolist() == ["ash", "fir", "unknown"]
    back.remove_class("elm")
    back.push_to_hub("me/trees", token="t")
    assert len(files) == 3  # no file of the earlier state is left
    again = from_pretrained("me/trees")
    assert isinstance(again, FittedModel)
    assert sorted(again.counts) == ["ash", "fir"]


def test_what_is_not_there_is_said(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="me/nothing"):
        FittedModel.from_pretrained("me/nothing")
    server.shutdown()
    server.server_close()
    with pytest.raises(ConfigError, match="me/trees"):
        push_to_hub(_learner(tmp_path), "me/trees", token="t")


def test_a_card_says_data_protocol_promise_and_limits(model: FittedModel, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "trees", license_name="cc0-1.0")
    card = (folder / "README.md").read_text()
    for title in ("Data", "Protocol and results", "Promise", "Limits"):
        assert f"\n## {title}\n" in card
    assert "| fir | 4 |" in card
    assert "12 of 12: 100.0 %" in card
    assert "5 % of unknowns" in card
    assert "by 40 unknowns" in card
    assert FittedModel.from_pretrained(folder).counts == model.counts
    never = FittedModel(model.known, model.encoding)
    assert (
        "never says unknown"
        in never.save_pretrained(tmp_path / "n").joinpath("README.md").read_text()
    )


def test_a_learner_goes_with_its_reports(server: Hub, tmp_path: Path) -> None:
    folder = _learner(tmp_path)
    (folder / "last.pt").write_bytes(b"a checkpoint, which is pickled")
    learner = from_pretrained(folder)
    report = evaluate(learner, Glyphs().tasks("test", Setting(3, 1, 2)), n_tasks=3)
    report.save(folder / "reports" / "3-way.json")
    push_to_hub(folder, "me/proto", token="t")
    files = server.repositories["me/proto"]
    assert sorted(Path(name).suffix for name in files) == [".json", ".md", ".safetensors"]
    card = files["README.md"].decode()
    assert report.task in card
    assert percent(report.mean, 2) in card
    again = from_pretrained("me/proto")
    for name, value in learner.state_dict().items():
        assert np.array_equal(value.numpy(), again.state_dict()[name].numpy())


def _learner(tmp_path: Path) -> Path:
    return save_learner(ProtoNet(Conv4(size=28, in_channels=1, width=4)), tmp_path / "proto")
