"""Any .onnx encoder."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from quickstudy.anomaly import PatchMemory
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.pretrained.onnx import OnnxEncoder

WEIGHT = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
FACES = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 12, "width": 10},
    "resample": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def saved(
    file: Path,
    *,
    batch: int | str = "n",
    inputs: tuple[int | str, ...] = (3, 12, 10),
    outputs: tuple[str, ...] = ("pooled", "vector"),
) -> Path:
    """The mean over the places of each channel, times a matrix."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["vector"]),
        helper.make_node("AveragePool", ["images"], ["map"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    shapes = {
        "pooled": [batch, 3, 1, 1],
        "flat": [batch, 3],
        "vector": [batch, 5],
        "map": [batch, 3, 6, 5],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, *inputs])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, shapes[o]) for o in outputs],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file
    )
    return file


def pictures(n: int = 5) -> list[Image.Image]:
    return [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (20 + i, 30, 3), dtype=np.uint8))
        for i in range(n)
    ]


@pytest.mark.parametrize("batch", ["n", 2])
def test_pictures_are_prepared_as_the_json_beside_it_says(batch: int | str, tmp_path: Path) -> None:
    file = saved(tmp_path / "face.onnx", batch=batch)
    (tmp_path / "face.json").write_text(json.dumps(FACES))
    encoder = OnnxEncoder(file)
    expected = [
        np.mean((np.asarray(p.resize((10, 12), 2), dtype=float) / 255 - 0.5) / 0.5, axis=(0, 1))
        @ WEIGHT
        for p in pictures()
    ]
    np.testing.assert_allclose(encoder.encode(pictures()), expected, atol=1e-4)
    assert (encoder.dim, encoder.notes) == (5, ())
    pictures()[0].save(tmp_path / "x.png")
    np.testing.assert_allclose(
        encoder.encode([encoder.read(tmp_path / "x.png")])[0], expected[0], atol=1e-4
    )
    with pytest.raises(ConfigError, match="none of its places"):
        encoder.patches(pictures())


def test_without_a_json_it_says_what_it_assumes(tmp_path: Path) -> None:
    encoder = OnnxEncoder(saved(tmp_path / "m.onnx"))
    assert "normalised by ImageNet's mean and deviation. Put a m.json beside it" in encoder.notes[0]
    key = encoder.key
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(FACES))
    assert OnnxEncoder(tmp_path / "m.onnx").key != key


def test_other_forms_are_refused_with_what_came(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"takes images \['n', 12, 10, 3\].*\[n, 3, height, width\]"
    ):
        OnnxEncoder(saved(tmp_path / "last.onnx", inputs=(12, 10, 3)))
    with pytest.raises(
        ConfigError, match=r"gives pooled \['n', 3, 1, 1\], but vectors were expected"
    ):
        OnnxEncoder(saved(tmp_path / "map.onnx", outputs=("pooled",)))
    with pytest.raises(ConfigError, match="called vectors"):
        OnnxEncoder(saved(tmp_path / "two.onnx", outputs=("flat", "vector")), output="vectors")
    assert OnnxEncoder(tmp_path / "two.onnx", output="vector").dim == 5
    assert OnnxEncoder(tmp_path / "two.onnx").dim == 3
    (tmp_path / "two.json").write_text(json.dumps({**FACES, "size": {"height": 8, "width": 8}}))
    with pytest.raises(
        ConfigError, match="takes images of 12×10, but its preprocessing makes them"
    ):
        OnnxEncoder(tmp_path / "two.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(LoadError, match="not a model that onnxruntime can read"):
        OnnxEncoder(tmp_path / "bad.onnx")
    with pytest.raises(LoadError, match="There is no file"):
        OnnxEncoder(tmp_path / "none.onnx")


def test_without_onnxruntime_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[onnx\]'"):
        OnnxEncoder(saved(tmp_path / "m.onnx"))


@pytest.mark.parametrize("batch", ["n", 2])
def test_an_output_that_is_a_map_gives_the_places(batch: int | str, tmp_path: Path) -> None:
    file = saved(tmp_path / "net.onnx", batch=batch, outputs=("pooled", "map", "vector"))
    (tmp_path / "net.json").write_text(json.dumps(FACES))
    encoder = OnnxEncoder(file)
    patches = encoder.patches(pictures())
    assert patches.shape == (5, 6, 5, 3)
    np.testing.assert_allclose(patches.mean((1, 2)) @ WEIGHT, encoder.encode(pictures()), atol=1e-4)
    memory = PatchMemory(str(file)).fit(pictures())
    assert memory.maps(pictures()[:1])[0].shape == (20, 30)
    without = OnnxEncoder(saved(tmp_path / "flat.onnx"))
    with pytest.raises(ConfigError, match=r"feature map \[n, D, height, width\]"):
        without.patches(pictures())
