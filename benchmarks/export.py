"""Exported models: whether they answer as the models do, and what one answer costs.

python benchmarks/export.py                 writes benchmarks/export.json
python benchmarks/table.py                  writes its table into docs/applications/export.md

For the encoder symbols with every head, photographs with two, patch memories, and every inductive
learner of classes in the registry whose traits say exportable: the largest difference between the
exported graph and the model, in units of the larger of 1 and the value. For the encoders:
milliseconds to answer one picture that lies in memory as an array, by the exported file, by the
model, and by the encoder alone; and seconds, and seconds of the processor, until a fresh process
has imported `quickstudy.runtime` and answered. Pictures and vectors of classes are drawn at random.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from quickstudy import Classes, runtime
from quickstudy.algorithms import ALGORITHMS
from quickstudy.anomaly import PatchMemory
from quickstudy.bench.machine import about
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel, OpenSetClassifier
from quickstudy.export import export_model, export_patch_memory
from quickstudy.pretrained import open_encoder
from quickstudy.testing import toy_learner

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "export.json"
# Every head takes the vectors of any encoder, so the large one goes with two of them.
HEADS = {
    "symbols": ("prototype", "cosine", "ridge", "logistic", "gaussian"),
    "photographs": ("ridge", "gaussian"),
}
CLASSES, SHOTS, UNKNOWNS, ASKED = 5, 4, 40, 6
REPEATS = 50
_FRESH = (
    "import time; start = time.perf_counter(); from quickstudy import runtime;"
    "model = runtime.load(sys.argv[1]); model.predict_files([sys.argv[2]]);"
    "print(time.perf_counter() - start, time.process_time())"
)


def pictures(n: int, seed: int) -> list[Image.Image]:
    """Soft patches of colour of one kind, no two alike."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (6, 6, 3))
    out = []
    for _ in range(n):
        noise = rng.integers(-40, 41, base.shape)
        small = Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))
        out.append(small.resize((240, 200), Image.Resampling.BICUBIC))
    return out


def gap(actual: Any, expected: Any) -> float:
    """The largest difference, in units of the larger of 1 and the value."""
    expected = np.asarray(expected)
    return float((np.abs(np.asarray(actual) - expected) / np.maximum(1, np.abs(expected))).max())


def fitted(name: str, head: str) -> FittedModel:
    """A model of classes of pictures, with a cohort."""
    encoder = open_encoder(name)
    x = [encoder.encode(pictures(SHOTS, seed)) for seed in range(CLASSES)]
    cohort = encoder.encode([pictures(1, 1000 + seed)[0] for seed in range(UNKNOWNS)])
    labels = np.repeat([f"class {c}" for c in range(CLASSES)], SHOTS)
    model = OpenSetClassifier(FewShotClassifier(head))
    model.fit(np.concatenate(x).astype(float), labels, cohort=cohort.astype(float))
    return FittedModel(model, Encoding("images", source=name, key=encoder.key), encoder)


def difference(model: FittedModel, exported: runtime.ExportedClassifier) -> dict[str, Any]:
    """Between what both say of pictures."""
    asked = [pictures(1, seed)[0] for seed in range(ASKED)]
    assert model.encoder is not None
    vectors = model.encoder.encode(asked).astype(float)
    out = exported.outputs(asked)
    answers = zip(exported.predict(asked), model.answer_vectors(asked, vectors), strict=True)
    return {
        "vectors": gap(out["vectors"], vectors),
        "scores": gap(out["scores"], model.known.class_scores(vectors)),
        "same answers": all(one.label == other.label for one, other in answers),
    }


def milliseconds(ask: Callable[[], object]) -> float:
    """The median of one call."""
    ask()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def latency(model: FittedModel, file: Path, folder: Path) -> dict[str, float]:
    """Of one answer."""
    picture = pictures(1, 0)[0]
    encoder = model.encoder
    assert encoder is not None
    exported = runtime.ExportedClassifier(file)
    path = folder / "one.png"
    picture.save(path)
    command = [sys.executable, "-c", f"import sys; {_FRESH}", str(file), str(path)]
    fresh = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    seconds, processor = (min(map(float, values)) for values in zip(*fresh, strict=True))

    def ours() -> NDArray[Any]:
        return model.classifier.predict(encoder.encode([picture]).astype(float))

    return {
        "exported": milliseconds(lambda: exported.predict([picture])),
        "model": milliseconds(ours),
        "encoder": milliseconds(lambda: encoder.encode([picture])),
        "import and first answer, seconds": seconds,
        "import and first answer, processor seconds": processor,
    }


def learners(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Each learner that is exported, with the difference of its scores from the model's."""
    rng = np.random.default_rng(0)
    x = np.repeat(3 * np.eye(6)[:4], SHOTS, axis=0) + rng.normal(size=(4 * SHOTS, 6))
    y = np.repeat([f"class {c}" for c in range(4)], SHOTS)
    asked = rng.normal(size=(ASKED, 6))
    encoding = Encoding("table", columns=tuple("abcdef"))
    for name in ALGORITHMS:
        learner = toy_learner(name)
        traits = learner.traits
        if not traits.exportable or traits.transductive or Classes not in traits.targets:
            continue
        model = FittedModel(FewShotClassifier("learner", learner=learner).fit(x, y), encoding)
        exported = runtime.ExportedClassifier(export_model(model, folder / f"{name}.onnx"))
        scores = exported.outputs(list(asked))["scores"]
        yield name, {"scores": gap(scores, model.known.class_scores(asked))}


def measured(folder: Path) -> dict[str, Any]:
    """Everything."""
    out: dict[str, Any] = {"equal": {}, "milliseconds": {}, "megabytes": {}}
    for name, heads in HEADS.items():
        for head in heads:
            model = fitted(name, head)
            file = export_model(model, folder / f"{name}.onnx")
            out["equal"][f"{name}, {head}"] = difference(model, runtime.ExportedClassifier(file))
            print(name, head, out["equal"][f"{name}, {head}"], flush=True)
            if head == "ridge":
                out["milliseconds"][name] = latency(model, file, folder)
                out["megabytes"][name] = file.stat().st_size / 1e6
                print(name, out["milliseconds"][name], flush=True)
        memory = PatchMemory(name, keep=0.05).fit(pictures(4, 0))
        exported = runtime.ExportedPatchMemory(
            export_patch_memory(memory, folder / f"{name}-places.onnx")
        )
        asked = pictures(3, 7)
        anomaly = gap(exported.anomaly(asked), memory.anomaly(asked))
        out["equal"][f"{name}, patch memory"] = {"anomaly": anomaly}
        print(name, "patch memory", anomaly, flush=True)
    for name, row in learners(folder):
        out["equal"][f"learner {name}"] = row
        print(name, row, flush=True)
    try:
        open_encoder("faces").graph()
    except ConfigError as error:
        out["refused"] = {"faces": str(error)}
    return out


def rows() -> list[str]:
    """The table, from the file."""
    saved = json.loads(FILE.read_text(encoding="utf-8"))
    lines = [
        "| encoder | exported | model | encoder alone | first answer | processor | file |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, ms in saved["milliseconds"].items():
        cells = [f"{ms[key]:.1f} ms" for key in ("exported", "model", "encoder")]
        cells += [
            f"{ms[f'import and first answer, {what}']:.2f} s"
            for what in ("seconds", "processor seconds")
        ]
        size = f"{saved['megabytes'][name]:.1f} MB"
        lines.append(f"| {' | '.join([name, *cells, size])} |")
    gaps = [v for entry in saved["equal"].values() for v in entry.values() if type(v) is float]
    machine = saved["about"]
    return [
        *lines,
        "",
        f"Medians of {REPEATS} answers to one picture, {machine['threads']} threads for torch, "
        f"{machine['cores']} cores of {machine['processor']}, shared with other work; the largest "
        f"difference between file and model, over {len(saved['equal'])} exported models, is "
        f"{max(gaps):.1e}; commit {machine['commit']}.",
    ]


def main() -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as name:
        result = measured(Path(name))
    result["about"] = about(torch.device("cpu"), ())
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
