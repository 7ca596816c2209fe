"""Is anything raw? Mutated files and weird arrays go through the public doors.

python benchmarks/fuzz.py                3,000 files and 3,000 arrays
python benchmarks/fuzz.py --n 60         a try

A file is one that quickstudy or another program wrote, with bytes changed, cut out, put in or
repeated; descriptions are also changed value by value and signed anew, as whoever means harm would.
An array has any dtype, shape and content. Right is an answer of finite numbers, or an error in
words; wrong are other errors, answers that are no numbers, and more than ten seconds.

Writes benchmarks/fuzz.json: how many were answered and refused at each door, and what was wrong.
"""

import argparse
import contextlib
import copy
import io
import json
import random
import shutil
import signal
import tempfile
import time
import warnings
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import quickstudy as qs
from quickstudy.anomaly import PatchMemory
from quickstudy.core import saving
from quickstudy.core.errors import QuickstudyError
from quickstudy.data.image_files import read_picture
from quickstudy.data.sounds import read_recording
from quickstudy.estimators import (
    Encoding,
    FewShotClassifier,
    FittedModel,
    OpenSetClassifier,
    OSLOClassifier,
)
from quickstudy.evaluation import Report, commit, versions
from quickstudy.gallery import Gallery
from quickstudy.pretrained import FunctionEncoder
from quickstudy.recipes import save_learner
from quickstudy.testing import toy_learner
from quickstudy.training import load_checkpoint
from quickstudy.training.checkpoint import save_checkpoint

ROOT = Path(__file__).parent.parent
DIM, SECONDS = 6, 10
X = np.random.default_rng(0).normal(size=(9, DIM))
Y = np.repeat(["a", "b", "c"], 3)
WEIRD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        7,
        10**9,
        10**400,
        0.5,
        -0.0,
        1e308,
        1e-320,
        float("inf"),
        float("nan"),
    ),
    *("", "x", "../../x", "\ud800", "a" * 10_000, [], {}, [[]], [0] * 1000, {"": None}),
)


class TooSlowError(Exception):
    """An answer took longer than it may."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Meanwhile, what takes longer than it may is an error."""

    def stop(*_: Any) -> None:
        raise TooSlowError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(door: Callable[[], Any], allowed: tuple[type[Exception], ...]) -> str:
    """ "answered", "refused", or what went wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with in_time():
                answer = door()
        except allowed as error:
            return "refused" if str(error).strip() else f"no words: {type(error).__name__}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
    if isinstance(answer, np.ndarray | torch.Tensor):
        numbers = answer.detach().numpy() if isinstance(answer, torch.Tensor) else answer
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            return "an answer that is no number"
    return "answered"


# --- files


def forged(content: bytes, rng: random.Random) -> bytes:
    """A description with one value changed, and signed anew."""
    manifest = json.loads(content.decode(errors="surrogatepass"))
    manifest.pop("sha256")
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = node if isinstance(node, dict) else range(len(node))
        for key in keys:
            spots.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(manifest["about"] if isinstance(manifest["about"], dict | list) else [manifest["about"]])
    if spots:
        node, key = rng.choice(spots)
        node[key] = copy.deepcopy(rng.choice(WEIRD))
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]
    with contextlib.suppress(QuickstudyError):
        return saving._manifest_bytes(manifest)
    return content


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, put in or repeated."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        at = rng.randrange(len(out) + 1)
        n = rng.choice((1, 1, 2, 4, 16, 256))
        how = rng.randrange(5)
        if how == 0 and at < len(out):
            out[at] ^= rng.randrange(1, 256)
        elif how == 1:
            out[at : at + n] = rng.randbytes(n)
        elif how == 2:
            del out[at : at + n]
        elif how == 3:
            out[at:at] = out[at : at + n] * rng.randrange(1, 4)
        else:
            out[at : at + 4] = rng.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"))
        if rng.random() < 0.1:
            del out[rng.randrange(len(out) + 1) :]
    return bytes(out)


def blocks(items: Any) -> np.ndarray:
    """Pictures to vectors, for the memory of patches."""
    return np.stack([np.asarray(i.convert("L"), np.float32)[:4, :4].ravel() for i in items])


def answer_of(path: Path) -> Any:
    """What a saved thing says to a question."""
    thing = qs.load(path)
    if isinstance(thing, qs.Predictor):
        return thing(torch.from_numpy(X).float())
    if isinstance(thing, FittedModel):
        return thing.known.class_scores(X)
    return next(iter(thing.parameters())).detach()


def ask_gallery(path: Path) -> Any:
    """The similarities of the best candidates."""
    with Gallery.open(path) as gallery:
        decisions = gallery.identify(X[:2])
        return np.asarray([s for d in decisions for _, s in d.candidates])


def import_gallery(path: Path) -> Any:
    """The same of a gallery that is imported."""
    place = path.with_name("imported.db")
    try:
        with Gallery.import_from(path, place) as gallery:
            return np.asarray([s for d in gallery.identify(X[:2]) for _, s in d.candidates])
    finally:
        for file in path.parent.glob("imported.db*"):
            file.unlink()


def written(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """One file or folder of each kind, and the door that reads it."""
    torch.manual_seed(0)
    made: dict[str, tuple[Path, Callable[[Path], Any]]] = {}
    learner = toy_learner("protonet")
    support = qs.Examples.single(X.astype(np.float32), np.repeat([0, 1, 2], 3))
    made["predictor"] = learner.fit(support, qs.Classes(3)).save(folder / "predictor"), answer_of
    made["learner"] = save_learner(toy_learner("maml"), folder / "learner"), answer_of
    classifier = OpenSetClassifier(false_accept_rate=0.3).fit(X, Y, cohort=-X)
    model = FittedModel(classifier, Encoding("table", columns=tuple("abcdef")))
    made["fitted model"] = model.save(folder / "model"), answer_of
    save_checkpoint(folder / "last.pt", {"weights": torch.ones(50), "step": 3})
    made["checkpoint"] = folder / "last.pt", load_checkpoint
    with Gallery.create(folder / "g.db", encoder="e", dim=DIM) as gallery:
        for i, name in enumerate("abc"):
            gallery.enrol(name, X[3 * i : 3 * i + 3], force=True)
        made["gallery export"] = Path(gallery.export(folder / "export")), import_gallery
    made["gallery"] = folder / "g.db", ask_gallery
    report = qs.evaluate(
        toy_learner("protonet"),
        qs.data.Vectors(np.repeat(X, 10, 0), np.repeat(np.arange(9), 10), val=0.3, test=0.3).tasks(
            "test", qs.Setting(2, 1, 1)
        ),
        n_tasks=3,
    )
    report.save(folder / "report.json")
    made["report"] = folder / "report.json", lambda p: np.asarray(Report.load(p).scores)
    rows = ["a,b,label", *(f"{u:.3f},{v:.3f},{y}" for (u, v, *_), y in zip(X, Y, strict=True))]
    (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    made["table"] = folder / "table.csv", lambda p: qs.fit_table(p).known.class_scores(X[:, :2])
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8))
    for ending in ("png", "jpg", "gif", "tif", "webp", "bmp"):
        picture.save(folder / f"picture.{ending}")
        made[ending] = folder / f"picture.{ending}", lambda p: np.asarray(read_picture(p))
    plates = [picture.convert("L").rotate(a) for a in (0, 90, 180)]
    encoder = _Blocks()
    memory = PatchMemory(encoder, pool=1).fit(plates)
    made["patch memory"] = (
        memory.save(folder / "memory"),
        lambda p: PatchMemory.load(p, encoder=encoder).anomaly(plates),
    )
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(4000) / 5) * 9999).astype("<i2").tobytes())
    made["recording"] = folder / "tone.wav", lambda p: read_recording(p).samples
    with contextlib.suppress(ImportError):
        made["onnx"] = _onnx(folder / "model.onnx"), _ask_onnx
    return made


class _Blocks(qs.pretrained.AbstractImagePretrained):
    """A place is a block of 4×4 pixels: its mean grey, and how much it varies."""

    source = key = "blocks"
    dim = 2

    def read(self, path: Path) -> Any:
        return Image.open(path)

    def encode(self, items: Any) -> np.ndarray:
        return self.patches(items).mean((1, 2))

    def patches(self, items: Any) -> np.ndarray:
        x = np.stack([np.asarray(i.resize((16, 16)), np.float32) / 255 for i in items])
        parts = x.reshape(len(x), 4, 4, 4, 4)
        return np.stack((parts.mean((2, 4)), parts.std((2, 4))), -1)


def _onnx(path: Path) -> Path:
    from onnx import TensorProto, helper, save_model

    node = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0, axes=[2, 3])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([node], "mean", [x], [y])
    save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path
    )
    return path


def _ask_onnx(path: Path) -> Any:
    return qs.open_encoder(path, device="cpu").encode([Image.new("RGB", (8, 8), "red")])


def fuzz_files(n: int, folder: Path) -> dict[str, Counter[str]]:
    """Mutated files of every kind in turn, each through its door."""
    made = written(folder)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in made}
    scratch = folder / "scratch"
    for i in range(n):
        kind = list(made)[i % len(made)]
        path, door = made[kind]
        rng = random.Random(i)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        target = scratch / path.name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
        files = sorted(f for f in (target.rglob("*") if target.is_dir() else [target]))
        file = rng.choice([f for f in files if f.is_file() and f.stat().st_size])
        content = file.read_bytes()
        if file.name == saving.MANIFEST and rng.random() < 0.8:
            file.write_bytes(forged(content, rng))
        elif target.is_dir() and rng.random() < 0.5:
            manifest = target / saving.MANIFEST
            manifest.write_bytes(forged(manifest.read_bytes(), rng))
        else:
            file.write_bytes(mutated(content, rng))
        said = outcome(lambda d=door, t=target: d(t), (QuickstudyError,))
        counts[kind][said if said in ("answered", "refused") else f"file {i}: {said}"] += 1
    return counts


# --- arrays


def weird_array(rng: np.random.Generator) -> Any:
    """Any dtype, shape and content."""
    shapes = ((9, DIM), (9, DIM), (9, DIM), (DIM,), (9, 5), (0, DIM), (9, 0), (), (3, 3, DIM))
    shape = shapes[rng.integers(len(shapes))]
    dtype = rng.choice(["f2", "f4", "f8", ">f8", "i1", "i8", "u2", "?", "c8", "U3", "O", "M8[D]"])
    scale = 10.0 ** rng.integers(-320, 308) if rng.random() < 0.3 else 1.0
    numbers = np.asarray(rng.normal(size=shape) * scale)
    if rng.random() < 0.3 and numbers.size:
        numbers.flat[rng.integers(numbers.size)] = rng.choice([np.nan, np.inf, -np.inf, 0, 1e308])
    if rng.random() < 0.2:
        numbers = np.zeros(shape)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dtype == "M8[D]":
            return np.zeros(shape, "i8").astype(dtype)
        array = numbers.astype(dtype)
    views = (array, array.T if array.ndim == 2 else array, array[::-1] if array.ndim else array)
    return views[rng.integers(3)]


def fuzz_arrays(n: int, folder: Path) -> dict[str, Counter[str]]:
    """Weird arrays through estimators, a predictor, a gallery and the reader of pictures."""
    learner = toy_learner("protonet")
    support = qs.Examples.single(X.astype(np.float32), np.repeat([0, 1, 2], 3))
    predictor = learner.fit(support, qs.Classes(3))
    gallery = Gallery.create(folder / "arrays.db", encoder="e", dim=DIM)
    gallery.enrol("a", X[:1], force=True)
    fitted = FewShotClassifier().fit(X, Y)
    own, plain = (QuickstudyError,), (QuickstudyError, ValueError, TypeError)
    encoder = FunctionEncoder(blocks, dim=16, key="blocks", read=Image.open)
    heads = ("prototype", "ridge", "logistic", "gaussian")

    def cohort(x: Any) -> Any:
        return OpenSetClassifier(false_accept_rate=0.3).fit(X, Y, cohort=x).membership(X)

    doors: dict[str, tuple[Callable[[Any], Any], tuple[type[Exception], ...]]] = {
        "predictor": (predictor, own),
        "learner.fit": (
            lambda x: learner.fit(qs.Examples.single(x, [0, 1, 2] * 3), qs.Classes(3))(X),
            own,
        ),
        "labels": (
            lambda y: learner.fit(qs.Examples.single(X[: len(y)], y), qs.Classes(3))(X),
            (*own, TypeError),  # len() of an array without axes
        ),
        **{
            f"{head}.fit": (lambda x, h=head: FewShotClassifier(h).fit(x, Y).class_scores(X), plain)
            for head in heads
        },
        "classifier.predict_proba": (fitted.predict_proba, plain),
        "classifier.add_class": (
            lambda x: copy.deepcopy(fitted).add_class("d", x).class_scores(X),
            plain,
        ),
        "sample_weight": (lambda w: FewShotClassifier().fit(X, Y, w).class_scores(X), plain),
        "open set": (cohort, plain),
        "OSLO": (lambda x: OSLOClassifier(threshold=0.5).fit(X, Y).inlierness(x), plain),
        "gallery.enrol": (lambda x: gallery.enrol("b", x, force=True), own),
        "gallery.identify": (
            lambda x: np.asarray([s for d in gallery.identify(x) for _, s in d.candidates]),
            own,
        ),
        "picture": (lambda x: np.asarray(read_picture(x)), own),
        "ImageEncoder": (lambda x: qs.ImageEncoder(encoder).fit().transform([x]), plain),
    }
    counts: dict[str, Counter[str]] = {name: Counter() for name in doors}
    for i in range(n):
        name = list(doors)[i % len(doors)]
        door, allowed = doors[name]
        x = weird_array(np.random.default_rng(i))
        said = outcome(lambda d=door, x=x: d(x), allowed)
        shown = f"array {i} {x.dtype} {x.shape}: {said}"
        counts[name][said if said in ("answered", "refused") else shown] += 1
    gallery.close()
    return counts


def main() -> None:
    """Arrays, then files; the status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Mutated files and weird arrays.")
    parser.add_argument("--n", type=int, default=3000, help="of each")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "fuzz.json")
    asked, began = parser.parse_args(), time.perf_counter()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        arrays = fuzz_arrays(asked.n, Path(folder))
        files = fuzz_files(asked.n, Path(folder))
    wrong = 0
    for counts in (*files.values(), *arrays.values()):
        wrong += sum(n for said, n in counts.items() if said not in ("answered", "refused"))
    result = {
        "files": {kind: dict(counts) for kind, counts in files.items()},
        "arrays": {kind: dict(counts) for kind, counts in arrays.items()},
        "n": asked.n,
        "wrong": wrong,
        "commit": commit(),
        "versions": versions(),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(result, indent=1, ensure_ascii=False))
    asked.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
