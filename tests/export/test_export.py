"""What is exported answers as the model does, without torch."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from quickstudy import runtime
from quickstudy.algorithms import ProtoNet
from quickstudy.anomaly import PatchMemory
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.data import ImageFormat
from quickstudy.data.square_pixels import SquarePixels
from quickstudy.encoders import MLP, Conv4
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel, OpenSetClassifier
from quickstudy.estimators.encoding import PixelEncoder, PixelLearner
from quickstudy.estimators.heads import AbstractHead
from quickstudy.export import export_model, export_patch_memory
from quickstudy.export.graphs import PatchGraph
from quickstudy.export.heads import head_graph
from quickstudy.export.membership import membership_graph
from quickstudy.metrics.open_set import SCORES
from quickstudy.pretrained import FunctionEncoder, open_encoder
from quickstudy.testing import toy_learner

DIM = 6
HEADS = ("prototype", "cosine", "ridge", "logistic", "gaussian")


def examples(
    n_classes: int = 3, *, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, their labels, a cohort, and vectors to ask about."""
    rng = np.random.default_rng(0)
    x = np.repeat(3 * np.eye(DIM)[:n_classes], 4, axis=0) + rng.normal(size=(4 * n_classes, DIM))
    y = np.repeat([f"class {c}" for c in range(n_classes)], 4)
    cohort = rng.normal(size=(40, DIM)) - 3 * np.eye(DIM)[5]
    return x + shift, y, cohort + shift, rng.normal(size=(9, DIM)) + shift


def picture(shape: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("L", (60, 50), 250)
    pen = ImageDraw.Draw(image)
    a, b, c = rng.integers(4, 14, 3).tolist()
    if shape == "circle":
        pen.ellipse((a, b, 50 - c, 45), outline=0, width=4)
    else:
        pen.line((a, b, 50, 45), fill=0, width=4)
        pen.line((a, 45, 50, c), fill=0, width=4)
    return image


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_as_a_graph(head: str, n_classes: int, metric: str) -> None:
    for scaling in ("none", "centre", "standardise"):
        x, y, _, asked = examples(n_classes, shift=0.5)
        model = FewShotClassifier(head, metric=metric, scaling=scaling).fit(x, y)
        graph = head_graph(model.head_)
        actual = graph(torch.from_numpy(asked)).numpy()
        np.testing.assert_allclose(actual, model.class_scores(asked), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("has_negatives", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_every_membership_score_as_a_graph(score: str, has_negatives: bool) -> None:
    x, y, cohort, asked = examples()
    model = OpenSetClassifier(unknown_score=score, false_accept_rate=0.1).fit(x, y, cohort=cohort)
    before = model.membership(asked)
    if has_negatives:
        model.add_negative(asked[:2])
    scores = torch.from_numpy(model.estimator_.class_scores(asked))
    actual = membership_graph(model)(torch.from_numpy(asked), scores).numpy()
    np.testing.assert_allclose(actual, model.membership(asked), rtol=1e-6, atol=1e-9)
    assert np.array_equal(before, model.membership(asked)) != has_negatives


@pytest.fixture(scope="module")
def drawings() -> FittedModel:
    encoder = open_encoder("symbols")
    shapes = ("circle", "cross")
    x = np.concatenate([encoder.encode([picture(s, i) for i in range(3)]) for s in shapes])
    noise = np.random.default_rng(0).integers(0, 255, (40, 20, 20), np.uint8)
    cohort = encoder.encode([Image.fromarray(one) for one in noise])
    classifier = OpenSetClassifier(FewShotClassifier("ridge"), review_rate=0.5)
    classifier.fit(x.astype(float), np.repeat(shapes, 3), cohort=cohort.astype(float))
    return FittedModel(classifier, Encoding("images", source="symbols", key=encoder.key), encoder)


@pytest.fixture(scope="module")
def exported(drawings: FittedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(drawings, tmp_path_factory.mktemp("exported") / "drawings.onnx")


def test_files_get_the_answers_of_the_model(
    drawings: FittedModel, exported: Path, tmp_path: Path
) -> None:
    transparent = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    ImageDraw.Draw(transparent).ellipse((4, 4, 34, 34), outline=(10, 20, 200, 255), width=4)
    kinds = {
        "a.png": picture("circle", 7),
        "b.jpg": picture("cross", 7).resize((900, 700)),
        "c.png": Image.eval(picture("cross", 8), lambda v: 255 - v),
        "d.png": transparent,
        "e.png": Image.fromarray(np.random.default_rng(9).integers(0, 255, (9, 9), np.uint8)),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
    (tmp_path / "f.png").write_bytes(b"no image")
    files = [tmp_path / name for name in (*kinds, "f.png")]
    model = runtime.ExportedClassifier(exported)
    expected = drawings.predict_files(files)
    for actual, one in zip(model.predict_files(files), expected, strict=True):
        assert actual.error == one.error
        assert actual.label == one.label
        assert actual.certain == one.certain
        assert actual.nearest == one.nearest
        assert actual.threshold == one.threshold
        if not one.error:
            assert actual.score == pytest.approx(one.score, abs=1e-4)
            assert actual.probability == pytest.approx(one.probability, abs=1e-4)
    labels = {one.label for one in expected}
    assert {"circle", "cross", "unknown"} <= labels
    content = files[0].read_bytes()
    in_memory = model.predict_files([content, io.BytesIO(content), picture("circle", 7), b""])
    assert [one.item for one in in_memory] == [f"<item {n}>" for n in (1, 2, 3, 4)]
    assert [one.score for one in in_memory[:3]] == pytest.approx([expected[0].score] * 3, abs=1e-4)
    assert "is empty" in in_memory[3].error
    assert [one.label for one in model.predict_files(io.BytesIO(content))] == [expected[0].label]
    with pytest.raises(ConfigError, match="brackets"):
        model.predict(content)
    again = model.predict([picture("circle", 7)])[0]
    assert again.score == pytest.approx(expected[0].score, abs=1e-4)
    vectors = model.outputs([picture("circle", 7)])["vectors"]
    np.testing.assert_allclose(
        vectors, drawings.vectors([tmp_path / "a.png"]), rtol=1e-4, atol=1e-4
    )


def test_the_runtime_imports_no_torch(exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "circle.png"
    picture("circle", 7).save(file)
    code = (
        "import json, sys; from quickstudy import runtime; runtime.main(sys.argv[1:]);"
        "print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(exported), str(file), str(tmp_path / "none.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    answer, missing, modules = map(json.loads, run.stdout.splitlines())
    assert answer["label"] == "circle"
    assert "does not exist" in missing["error"]
    heavy = {"torch", "scipy", "sklearn", "jaxtyping", "safetensors", "typer", "beartype"}
    # A format of every day does not wait for the readers of rare ones.
    heavy |= {"PIL.FpxImagePlugin", "pillow_heif"}
    assert not heavy & set(modules)


def test_the_file_says_what_it_is(drawings: FittedModel, exported: Path) -> None:
    about = runtime.load(exported).about
    assert about["classes"] == ["circle", "cross"]
    assert about["input"] == {"name": "pixels", "type": "uint8", "shape": ["n", 1, 28, 28]}
    assert about["preprocessing"]["polarity"] == "border"
    assert about["false_accept_rate"] == 0.05
    assert about["encoder"] == drawings.encoding.key
    with pytest.raises(LoadError, match="classifier, not a patch memory"):
        runtime.ExportedPatchMemory(exported)
    changed = exported.read_bytes().replace(b"quickstudy\x12", b"otherstudy\x12")
    other = exported.with_name("other.onnx")
    other.write_bytes(changed)
    with pytest.raises(LoadError, match="does not say what it is"):
        runtime.load(other)


def test_rows_of_a_table_with_holes(tmp_path: Path) -> None:
    x, y, _, asked = examples()
    names = tuple("abcdef")
    encoding = Encoding(
        "table", columns=names, optional=("a",), mean=(0.5,) * DIM, std=(2.0,) * DIM
    )
    model = FittedModel(FewShotClassifier("gaussian").fit(encoding.standardised(x), y), encoding)
    asked[0, 0] = np.nan
    rows = export_model(model, tmp_path / "rows.onnx")
    answers = runtime.ExportedClassifier(rows).predict(list(asked))
    expected = model.answer_vectors(range(len(asked)), model.vectors(asked))
    assert [one.label for one in answers] == [one.label for one in expected]
    assert answers[0].score == pytest.approx(expected[0].score, abs=1e-4)
    assert answers[0].threshold is None


def pixel_model(learner: Any) -> FittedModel:
    format_ = ImageFormat(16, 1)
    encoder = PixelEncoder(format_, source="run")
    shapes = ("circle", "cross")
    x = np.concatenate([encoder.encode([picture(s, i) for i in range(3)]) for s in shapes])
    pixels = PixelLearner(learner, shape=(1, 16, 16), mean=(0.0,), std=(1.0,))
    head = FewShotClassifier("learner", learner=pixels).fit(x.astype(float), np.repeat(shapes, 3))
    encoding = Encoding("images", source="run", key=encoder.key, image=format_.to_json())
    return FittedModel(head, encoding, encoder)


def test_a_runs_own_learner_as_torch_export(tmp_path: Path) -> None:
    model = pixel_model(ProtoNet(Conv4(width=4, size=16)))
    extra = {"quickstudy.json": ""}
    program = torch.export.load(export_model(model, tmp_path / "run.pt2"), extra_files=extra)
    assert json.loads(extra["quickstudy.json"])["classes"] == ["circle", "cross"]
    for n in (1, 4):
        pixels = torch.randint(0, 256, (n, 1, 16, 16), dtype=torch.uint8)
        actual = program.module()(pixels)[0].detach().numpy()
        expected = model.known.class_scores(pixels.flatten(1).double().numpy())
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


# A stable sort and an equation to be solved, which ONNX has not, were in the way of these.
@pytest.mark.parametrize("name", ["mann", "simple_cnaps"])
def test_learners_that_sort_and_solve(name: str, tmp_path: Path) -> None:
    x, y, _, asked = examples(4)
    classifier = FewShotClassifier("learner", learner=toy_learner(name)).fit(x, y)
    model = FittedModel(classifier, Encoding("table", columns=tuple("abcdef")))
    exported = runtime.ExportedClassifier(export_model(model, tmp_path / "model.onnx"))
    actual = exported.outputs(list(asked))["scores"]
    np.testing.assert_allclose(actual, classifier.class_scores(asked), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_a_graph_is_refused_in_words(
    drawings: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match=r"\.onnx or \.pt2"):
        export_model(drawings, tmp_path / "model.h5")
    with pytest.raises(ConfigError, match="without its encoder"):
        export_model(replace(drawings, encoder=None), file)
    own = FunctionEncoder(lambda items: np.zeros((len(items), 2)), key="own", dim=2, read=open)
    with pytest.raises(ConfigError, match="'own' of images cannot be exported"):
        export_model(replace(drawings, encoder=own), file)
    x, y, _, _ = examples()
    table = Encoding("table", columns=tuple("abcdef"))
    words = Encoding("table", columns=("a",), categories=(("x", "y"),))
    learner = ProtoNet(MLP(DIM, widths=(4,)))
    learner.traits = replace(learner.traits, exportable=False)
    for classifier, encoding, reason in (
        (FewShotClassifier("in-context"), table, "reads all its examples"),
        (FewShotClassifier("learner", learner=learner), table, "ProtoNet cannot be exported"),
        (FewShotClassifier(), words, "columns of words"),
    ):
        with pytest.raises(ConfigError, match=reason):
            export_model(FittedModel(classifier.fit(x, y), encoding), file)

    class Other(AbstractHead):
        fit = scores = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="Other cannot be exported"):
        head_graph(Other.__new__(Other))
    assert not file.exists()


def test_a_graph_that_answers_otherwise_is_not_written(
    drawings: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, _, _ = examples()
    model = FittedModel(FewShotClassifier().fit(x, y), Encoding("table", columns=tuple("abcdef")))
    monkeypatch.setattr(
        FewShotClassifier, "predict_proba", lambda self, x: np.full((len(x), 3), 0.3)
    )
    with pytest.raises(ConfigError, match="probabilities differs by"):
        export_model(model, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"neighbours": 3}, {"score": "top1", "pool": 1}])
def test_a_patch_memory_as_a_graph(options: dict[str, Any]) -> None:
    memory = PatchMemory("symbols", keep=0.3, **options).fit(
        [picture("circle", i) for i in range(3)]
    )
    encoder = memory.encoder_.graph()
    assert encoder.patches is not None
    asked = [picture("circle", 20), picture("cross", 20), picture("circle", 0)]
    square = SquarePixels(28, 1, invert=True)
    pixels = torch.stack([torch.from_numpy(square.read(one)) for one in asked])
    with torch.no_grad():
        anomaly = PatchGraph(memory, encoder.patches)(pixels)[0].numpy()
    np.testing.assert_allclose(anomaly, memory.anomaly(asked), atol=1e-4)


def test_a_patch_memory_with_its_bank(tmp_path: Path) -> None:
    good = [picture("circle", i) for i in range(8)]
    memory = PatchMemory("symbols", keep=0.3, false_reject_rate=0.2).fit(good)
    asked = [picture("circle", 20), picture("cross", 20), good[0]]
    exported = runtime.load(export_patch_memory(memory, tmp_path / "memory.onnx"))
    assert isinstance(exported, runtime.ExportedPatchMemory)
    np.testing.assert_allclose(exported.anomaly(asked), memory.anomaly(asked), atol=1e-4)
    assert exported.predict(asked).tolist() == memory.predict(asked).tolist()
    assert exported.outputs(asked)["places"].shape == (3, 7, 7)
