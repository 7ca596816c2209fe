"""Vision models with random weights, saved as the hub has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from quickstudy.pretrained.fetch import quiet

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 56,
    "patch_size": 14,
}
_DINO = {k: v for k, v in _SMALL.items() if k != "intermediate_size"}
_CROPPED = {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}
_FAMILIES: dict[str, tuple[str, str, dict[str, Any], str, dict[str, Any]]] = {
    "dinov2": ("Dinov2Model", "Dinov2Config", _DINO, "BitImageProcessorPil", _CROPPED),
    "dinov2_with_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        _DINO,
        "BitImageProcessorPil",
        _CROPPED,
    ),
    "vit": (
        "ViTModel",
        "ViTConfig",
        _SMALL,
        "ViTImageProcessorPil",
        {"size": {"height": 56, "width": 56}},
    ),
    "clip": (
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        {**_SMALL, "projection_dim": 24},
        "CLIPImageProcessorPil",
        _CROPPED,
    ),
    "siglip": (
        "SiglipVisionModel",
        "SiglipVisionConfig",
        _SMALL,
        "SiglipImageProcessorPil",
        {"size": {"height": 56, "width": 56}},
    ),
    "convnextv2": (
        "ConvNextV2Model",
        "ConvNextV2Config",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 64}},
    ),
    "resnet": (
        "ResNetModel",
        "ResNetConfig",
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "embedding_size": 8,
            "layer_type": "basic",
        },
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 64}},
    ),
    "dinov3_vit": (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {**_SMALL, "image_size": 64, "patch_size": 16, "num_register_tokens": 4},
        "",
        {},
    ),
    "swin": (
        "SwinModel",
        "SwinConfig",
        {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4},
        "ViTImageProcessorPil",
        {"size": {"height": 64, "width": 64}},
    ),
}
_DINOV3 = (
    '{"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": 64, "width": 64}, '
    '"resample": 2, '
    '"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
)


@pytest.fixture
def vision_model(tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """The folder of a small model of a family, and the model."""

    def made(family: str, *, seed: int = 0) -> tuple[Path, Any]:
        model_class, config_class, options, processor, settings = _FAMILIES[family]
        folder = tmp_path / f"{family}-{seed}"
        torch.manual_seed(seed)
        with quiet():
            model = getattr(transformers, model_class)(
                getattr(transformers, config_class)(**options)
            ).eval()
            model.save_pretrained(folder)
        if processor:
            getattr(transformers, processor)(**settings).save_pretrained(folder)
        else:
            (folder / "preprocessor_config.json").write_text(_DINOV3)
        return folder, model

    return made
