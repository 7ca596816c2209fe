"""Defects, with only good parts."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from quickstudy.algorithms import ProtoNet
from quickstudy.anomaly import PatchMemory
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.saving import load_folder, save_folder
from quickstudy.data import ImageFormat, read_picture
from quickstudy.encoders import MLP, Conv4
from quickstudy.pretrained import AbstractImagePretrained, open_encoder
from quickstudy.recipes import save_learner
from quickstudy.testing.faults import check_damage, check_faults


class Blocks(AbstractImagePretrained):
    """A place is a block of 4×4 pixels: its mean grey, and how much it varies."""

    def __init__(self, key: str = "blocks") -> None:
        self.source = self.key = key
        self.dim = 2

    def read(self, path: Path | bytes) -> Any:
        return read_picture(path)

    def encode(self, things: Sequence[Any]) -> np.ndarray:
        return self.patches(things).mean((1, 2))

    def patches(self, things: Sequence[Any]) -> np.ndarray:
        x = np.stack([np.asarray(t.convert("L"), dtype=np.float32) / 255 for t in things])
        blocks = x.reshape(len(x), x.shape[1] // 4, 4, x.shape[2] // 4, 4)
        return np.stack((blocks.mean((2, 4)), blocks.std((2, 4))), -1)


def plates(
    n: int, *, scratched: bool = False, seed: int = 0
) -> tuple[list[Image.Image], np.ndarray]:
    """Brushed plates; a scratch is a bright line of six pixels at a random place."""
    rng, pictures, masks = np.random.default_rng(seed), [], np.zeros((n, 32, 48), bool)
    for i in range(n):
        x = 120 + 10 * np.sin(np.arange(32) / 2)[:, None] + rng.normal(scale=4, size=(32, 48))
        if scratched:
            row, at = rng.integers(2, 30), rng.integers(2, 40)
            x[row, at : at + 6] += 90
            masks[i, row, at : at + 6] = True
        pictures.append(Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)))
    return pictures, masks


@pytest.mark.parametrize("score", ["max", "top1"])
def test_scratches_are_found_and_where_they_are(score: str) -> None:
    good, _ = plates(20)
    memory = PatchMemory(Blocks(), keep=0.5, score=score, pool=1).fit(good)
    fine, _ = plates(20, seed=1)
    bad, masks = plates(20, scratched=True, seed=2)
    truth = np.r_[np.zeros(20), np.ones(20)]
    assert roc_auc_score(truth, memory.anomaly(fine + bad)) > 0.95
    assert np.array_equal(memory.score_samples(fine), -memory.anomaly(fine))
    maps = np.stack(memory.maps(bad))
    assert maps.shape == masks.shape
    assert roc_auc_score(masks.ravel(), maps.ravel()) > 0.9


def test_scores_by_a_loop() -> None:
    good, _ = plates(3)
    bad, _ = plates(2, scratched=True, seed=5)
    memory = PatchMemory(Blocks(), keep=1.0, pool=1, neighbours=3).fit(good)
    places = Blocks().patches(good).reshape(-1, 2)
    for picture, came in zip(bad, memory.anomaly(bad), strict=True):
        own = Blocks().patches([picture]).reshape(-1, 2)
        gaps = np.linalg.norm(own[:, None] - places[None], axis=-1)
        worst = gaps.min(1).argmax()
        nearest = gaps[worst].argmin()
        around = np.linalg.norm(places - places[nearest], axis=1).argsort(kind="stable")[:3]
        to_them = np.linalg.norm(own[worst] - places[around], axis=1)
        expected = gaps[worst, nearest] * (1 - np.exp(gaps[worst, nearest]) / np.exp(to_them).sum())
        assert came == pytest.approx(expected, rel=1e-4)


def test_the_threshold_is_of_parts_that_were_left_out() -> None:
    good, _ = plates(6)
    memory = PatchMemory(Blocks(), keep=1.0, pool=1, false_reject_rate=0.2).fit(good)
    for i in range(6):
        without = PatchMemory(Blocks(), keep=1.0, pool=1, false_reject_rate=0.2).fit(
            good[:i] + good[i + 1 :]
        )
        assert memory.good_scores_[i] == pytest.approx(without.anomaly([good[i]])[0], rel=1e-5)
    assert memory.threshold_ == pytest.approx(sorted(memory.good_scores_)[5])
    fine, _ = plates(200, seed=3)
    assert (memory.predict(fine) == -1).mean() < 0.4
    few = PatchMemory(Blocks(), false_reject_rate=0.05).fit(good)
    assert few.threshold_ is None
    with pytest.raises(ConfigError, match="at least 19"):
        few.predict(good)
    assert len(few.anomaly(good)) == 6


def test_neighbourhoods_are_averaged() -> None:
    good, _ = plates(2)
    plain, pooled = (
        PatchMemory(Blocks(), keep=1.0, pool=p).fit(good).memory_.view(2, 8, 12, 2) for p in (1, 3)
    )
    torch.testing.assert_close(pooled[0, 3, 4], plain[0, 2:5, 3:6].reshape(-1, 2).mean(0))
    torch.testing.assert_close(pooled[1, 0, 0], plain[1, :2, :2].reshape(-1, 2).mean(0))


def test_kept_on_disk(tmp_path: Path) -> None:
    good, _ = plates(20)
    memory = PatchMemory(Blocks(), score="top1", false_reject_rate=0.2).fit(good)
    loaded = PatchMemory.load(memory.save(tmp_path / "m"), encoder=Blocks())
    bad, _ = plates(5, scratched=True, seed=4)
    assert np.array_equal(loaded.anomaly(bad), memory.anomaly(bad))
    assert loaded.threshold_ == memory.threshold_
    with pytest.raises(LoadError, match="features of the encoder blocks, but 'other' is other now"):
        PatchMemory.load(tmp_path / "m", encoder=Blocks("other"))
    with pytest.raises(LoadError, match="holds nothing that quickstudy saved"):
        PatchMemory.load(tmp_path)
    about = load_folder(tmp_path / "m").about
    files = load_folder(tmp_path / "m").files
    for wrong in (
        {**about, "options": {"keeps": 1}},
        {**about, "options": {"keep": "1"}},
        {**about, "options": {"keep": 10**400}},
        {**about, "options": {"score": ["max"]}},
        [],
        {},
    ):
        save_folder(tmp_path / "m", kind="patch memory", about=wrong, files=files)
        with pytest.raises(LoadError, match="is damaged"):
            PatchMemory.load(tmp_path / "m", encoder=Blocks())
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        memory.save(tmp_path / "file")


def test_every_fault_and_every_damaged_byte(tmp_path: Path) -> None:
    good, _ = plates(3)
    old, new = (PatchMemory(Blocks(), keep=keep).fit(good) for keep in (0.1, 0.3))

    def read(path: Path) -> Any:
        memory = PatchMemory.load(path, encoder=Blocks())
        return memory.memory_.tolist(), memory.good_scores_.tolist(), memory.get_params()["keep"]

    counts = check_faults(read, new.save, old.save, scratch=tmp_path)
    assert min(counts.values()) > 8
    (tmp_path / "scratch").mkdir()
    counts = check_damage(
        read, old.save(tmp_path / "kept"), scratch=tmp_path / "scratch", changes=40, truncations=10
    )
    assert counts["noticed"] > 40


def test_the_places_of_a_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_learner(
        ProtoNet(Conv4(size=32, width=8)).eval(),
        tmp_path / "run",
        extra={"image": ImageFormat(32, 1).to_json()},
    )
    encoder = open_encoder(tmp_path / "run")
    pictures = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32), dtype=np.uint8))
        for i in range(3)
    ]
    patches = encoder.patches(pictures)
    assert patches.shape == (3, 8, 8, 16)
    np.testing.assert_allclose(encoder.patches(pictures[1:2])[0], patches[1], atol=1e-5)
    with torch.no_grad():
        x = encoder.encoder.blocks[0](encoder._batch(pictures), None)
        second = encoder.encoder.blocks[1](x, None)
    np.testing.assert_allclose(patches[..., :8], second[0].permute(0, 2, 3, 1).numpy(), atol=1e-5)
    assert PatchMemory(str(tmp_path / "run")).fit(pictures).anomaly(pictures).shape == (3,)
    save_learner(
        ProtoNet(MLP(32 * 32)), tmp_path / "flat", extra={"image": ImageFormat(32, 1).to_json()}
    )
    assert open_encoder("symbols").patches(pictures).shape == (3, 7, 7, 128)


def test_mistakes() -> None:
    good, _ = plates(2)
    for wrong in ({"keep": 0.0}, {"pool": 2}, {"neighbours": -1}, {"false_reject_rate": 1.0}):
        with pytest.raises(ConfigError, match="keep lies in"):
            PatchMemory(Blocks(), **wrong).fit(good)
    with pytest.raises(ConfigError, match=r"no score 'mean'.*max"):
        PatchMemory(Blocks(), score="mean").fit(good)
    with pytest.raises(ConfigError, match="There is no image"):
        PatchMemory(Blocks()).fit([])
    assert clone(PatchMemory("symbols", keep=0.3)).keep == 0.3
    assert PatchMemory(Blocks()).fit(good[:1]).threshold_ is None


def test_an_identical_part_is_no_defect_whatever_else_is_in_the_batch() -> None:
    rng = np.random.default_rng(0)
    part, *others = (
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)) for _ in range(4)
    )
    memory = PatchMemory("symbols", false_reject_rate=0.05, keep=1.0, pool=1).fit([part] * 20)
    assert memory.threshold_ == 0
    assert memory.predict([part]).tolist() == [1]
    assert memory.predict([part, *others]).tolist() == [1, -1, -1, -1]
    assert memory.anomaly([part, part]).tolist() == [0, 0]
    assert memory.anomaly([others[0]])[0] == memory.anomaly([part, *others])[1]
    np.testing.assert_array_equal(memory.maps([others[0]])[0], memory.maps([part, *others])[1])


def test_pictures_in_memory_are_as_good_as_files(tmp_path: Path) -> None:
    images, paths = plates(21)[0], []
    for n, image in enumerate(images):
        paths.append(tmp_path / f"{n}.png")
        image.save(paths[-1])
    memory = PatchMemory(Blocks()).fit(paths)
    assert memory.template_ is not None
    content = paths[3].read_bytes()
    forms = [str(paths[3]), content, io.BytesIO(content), images[3], np.asarray(images[3])]
    expected, heat = memory.anomaly([paths[3]]), memory.maps([paths[3]])[0]
    by_template = memory.template_.anomaly([paths[3]])
    for form in forms:
        assert memory.anomaly([form]) == expected
        np.testing.assert_array_equal(memory.maps([form])[0], heat)
        assert memory.template_.anomaly([form]) == by_template
    again = PatchMemory(Blocks()).fit([io.BytesIO(path.read_bytes()) for path in paths])
    assert again.anomaly(forms).tolist() == memory.anomaly(forms).tolist()
    assert again.template_ is not None
    for one in (str(paths[3]), io.BytesIO(content)):
        for asked in (memory, memory.template_):
            with pytest.raises(ConfigError, match="brackets"):
                asked.anomaly(one)


def test_a_photo_that_lies_on_its_side_is_mapped_upright(tmp_path: Path) -> None:
    good, _ = plates(3)
    memory = PatchMemory(Blocks()).fit(good)
    marked = np.asarray(good[0]).copy()
    marked[4:12, 36:44] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: it has to be turned by a quarter, clockwise
    Image.fromarray(marked).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "photo.png", exif=exif
    )
    heat = memory.maps([tmp_path / "photo.png"])[0]
    assert heat.shape == (32, 48)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 2 <= row <= 14
    assert 34 <= column <= 46
