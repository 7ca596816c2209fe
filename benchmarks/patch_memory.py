"""Defects with only good parts: synthetic textures with planted defects, and kinds of steel surface
that play "good" in turn.

quickstudy train mini-imagenet-protonet
python benchmarks/patch_memory.py --photos runs/mini-imagenet-protonet

Writes benchmarks/patch_memory.json and docs/images/patch_memory.png (of the synthetic textures).
"""

import argparse
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.anomaly import PatchMemory
from quickstudy.core.arrays import NDArray
from quickstudy.data.locations import data_root
from quickstudy.estimators import ImageEncoder
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95

ROOT = Path(__file__).parent.parent
SIDE, DRAWS = 128, 20
TEXTURES, DEFECTS = ("brushed", "woven", "cast"), ("scratch", "stain", "hole")


def texture(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """A good part: grey values of SIDE × SIDE."""
    noise, at = rng.normal(size=(SIDE, SIDE)), np.arange(SIDE)
    if kind == "brushed":
        return (
            130
            + 60 * gaussian_filter(noise, (0.6, 12)) / gaussian_filter(noise, (0.6, 12)).std() / 4
        )
    if kind == "woven":
        phase = rng.uniform(0, 6, 2)
        return (
            120
            + 40 * np.sin(at / 2.5 + phase[0])[:, None] * np.sin(at / 2.5 + phase[1])
            + 6 * noise
        )
    smooth = gaussian_filter(noise, 2.5)
    return 125 + 18 * smooth / smooth.std()


def spoil(
    x: NDArray[np.float64], kind: str, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The part with a defect, and where it is."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    y0, x0 = rng.uniform(25, SIDE - 25, 2)
    if kind == "scratch":
        turn, length = rng.uniform(0, np.pi), rng.uniform(25, 45)
        along = (columns - x0) * np.cos(turn) + (rows - y0) * np.sin(turn)
        across = -(columns - x0) * np.sin(turn) + (rows - y0) * np.cos(turn)
        mask = (np.abs(along) < length / 2) & (np.abs(across) < 1.2)
        return np.where(mask, x + 70, x), mask
    radius = rng.uniform(7, 12)
    mask = (columns - x0) ** 2 + (rows - y0) ** 2 < radius**2
    if kind == "hole":
        return np.where(mask, 25 + 3 * rng.normal(size=x.shape), x), mask
    return x - 35 * gaussian_filter(mask.astype(float), 2), mask


def picture(x: NDArray[np.float64]) -> Image.Image:
    """Grey values as a picture."""
    return Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).convert("RGB")


def synthetic(memory: Callable[[], PatchMemory], whole: ImageEncoder) -> dict[str, object]:
    """AUROC of pictures and of pixels, by texture and number of good parts, over draws; beside the
    nearest whole picture and grey-value statistics.
    """
    out: dict[str, object] = {}
    for kind in TEXTURES:
        for n in (1, 5, 20):
            rows: dict[str, list[float]] = {
                "patches": [],
                "pixels of patches": [],
                "whole pictures": [],
                "grey values": [],
            }
            for draw in range(DRAWS):
                rng = np.random.default_rng(draw)
                good = [picture(texture(kind, rng)) for _ in range(n)]
                fine = [picture(texture(kind, rng)) for _ in range(12)]
                spoiled = [spoil(texture(kind, rng), DEFECTS[i % 3], rng) for i in range(12)]
                bad, masks = [picture(x) for x, _ in spoiled], np.stack([m for _, m in spoiled])
                truth, every = np.r_[np.zeros(12), np.ones(12)], fine + bad
                made = memory().fit(good)
                rows["patches"].append(float(roc_auc_score(truth, made.anomaly(every))))
                rows["pixels of patches"].append(
                    float(roc_auc_score(masks.ravel(), np.stack(made.maps(bad)).ravel()))
                )
                known, new = (whole.transform(p).astype(np.float64) for p in (good, every))
                rows["whole pictures"].append(
                    float(roc_auc_score(truth, ((new[:, None] - known) ** 2).sum(2).min(1)))
                )
                known, new = (np.stack([_statistics(p) for p in ps]) for ps in (good, every))
                rows["grey values"].append(
                    float(roc_auc_score(truth, np.abs(new[:, None] - known).sum(2).min(1)))
                )
            out[f"{kind}, {n} good"] = {name: mean_ci95(values) for name, values in rows.items()}
            print(kind, n, out[f"{kind}, {n} good"], flush=True)
    return out


def _statistics(image: Image.Image) -> NDArray[np.float64]:
    x = np.asarray(image.convert("L"), dtype=np.float64)
    return np.r_[x.mean(), x.std(), np.quantile(x, (0.001, 0.01, 0.99, 0.999))]


def steel(memory: Callable[[], PatchMemory]) -> dict[str, object]:
    """AUROC of each kind of surface as "good" against all others, with 10 good parts."""
    found: dict[str, list[Image.Image]] = {}
    with zipfile.ZipFile(data_root() / "neu-steel-defects.zip") as z:
        for entry in sorted(n for n in z.namelist() if n.endswith(".jpg")):
            found.setdefault(entry.split("/")[-2], []).append(
                Image.open(io.BytesIO(z.read(entry))).convert("RGB")
            )
    out: dict[str, object] = {}
    for kind, pictures in found.items():
        scores = []
        for draw in range(10):
            rng = np.random.default_rng(draw)
            order = rng.permutation(len(pictures))
            fine = [pictures[i] for i in order[10:30]]
            bad = [
                ps[i]
                for name, ps in found.items()
                if name != kind
                for i in rng.permutation(len(ps))[:4]
            ]
            made = memory().fit([pictures[i] for i in order[:10]])
            scores.append(
                float(
                    roc_auc_score(
                        np.r_[np.zeros(len(fine)), np.ones(len(bad))], made.anomaly(fine + bad)
                    )
                )
            )
        out[kind] = mean_ci95(scores)
        print(kind, out[kind], flush=True)
    return out


def draw_picture(memory: PatchMemory) -> None:
    """Good, spoiled, and where: one row per texture."""
    figure = new_figure(7.2, 6.2)
    for row, kind in zip(figure.subplots(3, 4), TEXTURES, strict=True):
        rng = np.random.default_rng(100)
        memory.fit([picture(texture(kind, rng)) for _ in range(20)])
        spoiled = [spoil(texture(kind, rng), d, rng)[0] for d in DEFECTS]
        row[0].imshow(picture(texture(kind, rng)))
        row[0].set_title(f"{kind}, good", fontsize=9)
        for axes, x, heat, defect in zip(
            row[1:], spoiled, memory.maps([picture(x) for x in spoiled]), DEFECTS, strict=True
        ):
            axes.imshow(picture(x))
            axes.imshow(heat, cmap="inferno", alpha=0.5, vmin=0)
            axes.set_title(defect, fontsize=9)
        for axes in row:
            axes.set_axis_off()
    save_figure(figure, ROOT / "docs" / "images" / "patch_memory.png")


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description="Defects with only good parts.")
    parser.add_argument("--photos", required=True, help="a run trained on photographs")
    asked, began = parser.parse_args(), time.perf_counter()
    whole = ImageEncoder(asked.photos).fit()
    encoder = whole.encoder_

    def memory() -> PatchMemory:
        return PatchMemory(encoder, keep=0.25)

    out = {"commit": commit(), "versions": versions(), "encoder": whole.key_, "draws": DRAWS}
    out |= {
        "synthetic": synthetic(memory, whole),
        "steel": steel(memory),
        "seconds": time.perf_counter() - began,
    }
    (ROOT / "benchmarks" / "patch_memory.json").write_text(
        json.dumps(out, indent=1) + "\n", encoding="utf-8"
    )
    draw_picture(memory())


if __name__ == "__main__":
    main()
