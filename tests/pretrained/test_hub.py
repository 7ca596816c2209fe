"""Vision models of the hub, with random weights."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.pretrained.hub import HubEncoder

Made = Callable[..., tuple[Path, Any]]


def pictures(n: int = 3) -> list[Image.Image]:
    return [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (70 + i, 90, 3), dtype=np.uint8))
        for i in range(n)
    ]


def answers(encoder: HubEncoder, model: Any) -> Any:
    with torch.no_grad():
        return model(pixel_values=torch.from_numpy(np.stack([encoder._see(p) for p in pictures()])))


VECTORS: dict[str, Callable[[Any], torch.Tensor]] = {
    "dinov2": lambda out: out.last_hidden_state[:, 0],
    "dinov2_with_registers": lambda out: out.last_hidden_state[:, 0],
    "vit": lambda out: out.last_hidden_state[:, 0],
    "clip": lambda out: out.image_embeds,
    "siglip": lambda out: out.pooler_output,
    "convnextv2": lambda out: out.last_hidden_state.mean(
        (2, 3)
    ),  # before the norm of its pooled output
    "resnet": lambda out: out.last_hidden_state.mean((2, 3)),
    "dinov3_vit": lambda out: out.last_hidden_state[:, 0],
    "swin": lambda out: out.last_hidden_state.mean(1),
}


@pytest.mark.parametrize("family", VECTORS)
def test_the_vector_is_the_one_that_the_documentation_names(
    family: str, vision_model: Made
) -> None:
    folder, model = vision_model(family)
    encoder = HubEncoder(folder, device="cpu")
    vectors, out = encoder.encode(pictures()), answers(encoder, model)
    expected = VECTORS[family](out)
    if family == "convnextv2":
        expected = model.layernorm(expected)
    np.testing.assert_allclose(vectors, expected.detach().numpy(), atol=1e-5)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, encoder.dim)
    for i, picture in enumerate(pictures()):
        np.testing.assert_allclose(encoder.encode([picture])[0], vectors[i], atol=1e-5)
    assert any("not who" in note for note in encoder.notes)
    assert any("not known here" in note for note in encoder.notes) == (family == "swin")
    assert any("licence" in note for note in encoder.notes) == (family == "dinov3_vit")


@pytest.mark.parametrize(
    ("family", "before", "grid"),
    [
        ("dinov2", 1, 4),
        ("dinov2_with_registers", 5, 4),
        ("vit", 1, 4),
        ("siglip", 0, 4),
        ("dinov3_vit", 5, 4),
        ("swin", 0, 8),
    ],
)
def test_patches_are_the_tokens_of_the_places_row_by_row(
    family: str, before: int, grid: int, vision_model: Made
) -> None:
    folder, model = vision_model(family)
    encoder = HubEncoder(folder, device="cpu")
    tokens = answers(encoder, model).last_hidden_state[:, before:]
    np.testing.assert_allclose(
        encoder.patches(pictures()), tokens.unflatten(1, (grid, grid)).detach().numpy(), atol=1e-5
    )


def test_patches_of_convolutions_are_the_last_map(vision_model: Made) -> None:
    folder, model = vision_model("resnet")
    encoder = HubEncoder(folder, device="cpu")
    np.testing.assert_allclose(
        encoder.patches(pictures()),
        answers(encoder, model).last_hidden_state.permute(0, 2, 3, 1).detach().numpy(),
        atol=1e-5,
    )


def test_the_key_belongs_to_weights_and_preprocessing(vision_model: Made) -> None:
    folder, _ = vision_model("vit")
    key = HubEncoder(folder, device="cpu").key
    assert HubEncoder(folder, device="cpu").key == key
    assert HubEncoder(vision_model("vit", seed=1)[0], device="cpu").key != key
    about = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**about, "image_mean": [0.1, 0.2, 0.3]})
    )
    assert HubEncoder(folder, device="cpu").key != key


def test_damaged_and_foreign_folders(vision_model: Made, tmp_path: Path) -> None:
    folder, model = vision_model("vit")
    (folder / "preprocessor_config.json").rename(tmp_path / "kept.json")
    with pytest.raises(LoadError, match="so it is no vision model"):
        HubEncoder(folder, device="cpu")
    shutil.copy(tmp_path / "kept.json", folder / "preprocessor_config.json")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(LoadError, match="cannot be read"):
        HubEncoder(folder, device="cpu")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match="Only the safetensors format"):
        HubEncoder(folder, device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadError, match=r"config\.json is missing|no vision model"):
        HubEncoder(tmp_path / "empty", device="cpu")
    with pytest.raises(ConfigError, match="it is not the name of a model of the hub"):
        HubEncoder("no/such/folder", device="cpu")


# What huggingface_hub reads of its environment, it reads when it is imported: so in a process of
# its own.
_OPEN = """
import sys
from quickstudy.core.errors import QuickstudyError
from quickstudy.pretrained import open_encoder
for source in sys.argv[1:]:
    try:
        encoder = open_encoder(source, device="cpu")
        print("opened", encoder.source, encoder.dim, encoder.key, *encoder.notes)
    except QuickstudyError as error:
        print(type(error).__name__, error)
"""


def opened(*sources: str, **environment: str) -> list[str]:
    """What came of each source, a line each."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGINGFACE"))}
    command = [sys.executable, "-c", _OPEN, *sources]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**clean, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_cache_laid_out_as_the_hub_lays_it_out_serves_without_a_network(
    vision_model: Made, tmp_path: Path
) -> None:
    folder, _ = vision_model("dinov2")
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--facebook--dinov2-small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "blobs").mkdir()
    for i, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, repository / "blobs" / f"blob{i}")
        (repository / "snapshots" / commit / file.name).symlink_to(f"../../blobs/blob{i}")
    there = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    key = HubEncoder(folder, device="cpu").key
    plain, pinned, auto, missing = opened(
        "facebook/dinov2-small",
        f"hub:facebook/dinov2-small@{commit}",
        "auto",
        "facebook/dinov2-base",
        **there,
    )
    assert plain.startswith(f"opened facebook/dinov2-small 32 {key}")
    assert pinned.startswith(f"opened hub:facebook/dinov2-small@{commit} 32 {key}")
    assert auto.startswith(f"opened facebook/dinov2-small 32 {key}")
    assert "'facebook/dinov2-small' was taken" in auto
    assert missing.startswith(
        "DownloadError There is no folder 'facebook/dinov2-base', it was not fetched before"
    )
    assert "hf download facebook/dinov2-base --local-dir FOLDER" in missing
    (alone,) = opened("auto", HF_HUB_CACHE=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    assert alone.startswith("opened photographs 1280 ")
    assert "'photographs' was taken" in alone


class _Hub(http.server.BaseHTTPRequestHandler):
    """The hub's two pages that a download asks for: what a repository holds, and its files."""

    folder: Path
    commit = "89abcdef0123456789abcdef0123456789abcdef"

    def do_GET(self) -> None:
        if "gated" in self.path:
            self._say(
                403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            )
        elif self.path.startswith("/api/models/org/tiny/tree"):
            tree = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                for f in sorted(self.folder.iterdir())
            ]
            self._say(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        elif self.path.startswith("/api/models/org/tiny"):
            files = [{"rfilename": f.name} for f in sorted(self.folder.iterdir())]
            self._say(
                200,
                json.dumps({"id": "org/tiny", "sha": self.commit, "siblings": files}).encode(),
                {"Content-Type": "application/json"},
            )
        elif "/org/tiny/resolve/" in self.path:
            body = (self.folder / self.path.rpartition("/")[2]).read_bytes()
            self._say(
                200,
                body,
                {
                    "X-Repo-Commit": self.commit,
                    "ETag": f'"{len(body)}-{hash(body) & 0xFFFF:x}"',
                    "Content-Length": str(len(body)),
                },
            )
        else:
            self._say(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(vision_model: Made) -> Iterator[str]:
    handler = type("Handler", (_Hub,), {"folder": vision_model("vit")[0]})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_and_what_cannot_be_says_why(hub: str, tmp_path: Path) -> None:
    there = {"HF_ENDPOINT": hub, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    fetched, gated, none = opened("org/tiny", "org/gated", "org/none", **there)
    assert fetched.startswith("opened org/tiny 32 ")
    assert opened("org/tiny", **{**there, "HF_HUB_OFFLINE": "1"}) == [fetched]
    assert gated.startswith(
        "DownloadError 'org/gated' may be fetched only by those who agreed to its terms"
    )
    assert "hf auth login" in gated
    assert none.startswith(
        "DownloadError There is no folder and no model of the hub called 'org/none'"
    )


def test_without_transformers_the_extra_is_named(
    vision_model: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = vision_model("vit")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[hub\]'"):
        HubEncoder(folder, device="cpu")
