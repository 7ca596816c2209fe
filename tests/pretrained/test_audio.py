"""Recordings to vectors by audio models of the hub, here tiny ones with random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.data import Recording
from quickstudy.pretrained import HubAudioEncoder

transformers = pytest.importorskip("transformers")

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_stride": (10, 8),
    "conv_kernel": (10, 8),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 10,
}
HEAD = {
    "tdnn_dim": (8, 8, 8, 8, 16),
    "xvector_output_dim": 12,
    "num_buckets": 8,
    "max_bucket_distance": 16,
    "initializer_range": 0.3,
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_source_positions": 50,
    "num_mel_bins": 20,
    "vocab_size": 30,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
AST = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_length": 64,
    "num_mel_bins": 32,
}
RATE = 16_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    t, root = transformers, tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    made = {
        "wav2vec2": (t.Wav2Vec2Model(t.Wav2Vec2Config(**TINY)), t.Wav2Vec2FeatureExtractor()),
        "hubert": (
            t.HubertModel(t.HubertConfig(**TINY)),
            t.Wav2Vec2FeatureExtractor(return_attention_mask=True),
        ),
        "xvector": (t.WavLMForXVector(t.WavLMConfig(**TINY, **HEAD)), t.Wav2Vec2FeatureExtractor()),
        "ast": (
            t.ASTForAudioClassification(t.ASTConfig(**AST)),
            t.ASTFeatureExtractor(max_length=64, num_mel_bins=32),
        ),
        "whisper": (
            t.WhisperModel(t.WhisperConfig(**WHISPER)),
            t.WhisperFeatureExtractor(feature_size=20, chunk_length=1),
        ),
    }
    for name, (model, extractor) in made.items():
        model.save_pretrained(root / name)
        extractor.save_pretrained(root / name)
    return {name: root / name for name in made}


@pytest.fixture(scope="module")
def opened(models: dict[str, Path]) -> dict[str, HubAudioEncoder]:
    return {name: HubAudioEncoder(folder, device="cpu") for name, folder in models.items()}


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> Recording:
    return Recording(
        np.random.default_rng(seed).normal(size=round(seconds * rate)).astype(np.float32) / 10, rate
    )


def run(encoder: HubAudioEncoder, samples: np.ndarray) -> Any:
    """The model as transformers runs it."""
    with torch.no_grad():
        return encoder.model(**encoder.extractor(samples, sampling_rate=RATE, return_tensors="pt"))


def test_frames_are_averaged(opened: dict[str, HubAudioEncoder]) -> None:
    for name in ("wav2vec2", "hubert"):
        x = opened[name].encode([noise(0.7)])[0]
        np.testing.assert_allclose(
            x, run(opened[name], noise(0.7).samples).last_hidden_state[0].mean(0).numpy(), atol=1e-6
        )
        assert (opened[name].dim, x.dtype) == (16, np.float32)


def test_a_head_for_speakers_gives_their_vectors(opened: dict[str, HubAudioEncoder]) -> None:
    encoder = opened["xvector"]
    np.testing.assert_allclose(
        encoder.encode([noise(0.7)])[0],
        run(encoder, noise(0.7).samples).embeddings[0].numpy(),
        atol=1e-6,
    )
    assert encoder.dim == 12
    assert encoder.notes == ("Made to tell speakers apart.",)
    short = noise(0.2)  # the head sees nothing shorter than its filters
    np.testing.assert_array_equal(
        encoder.encode([short]),
        encoder.encode([Recording(np.tile(short.samples, 3)[: RATE // 2], RATE)]),
    )


def test_the_spectrogram_transformer_gives_what_its_classifier_sees(
    opened: dict[str, HubAudioEncoder],
) -> None:
    encoder = opened["ast"]
    np.testing.assert_allclose(
        encoder.encode([noise(0.5)])[0],
        run(encoder, noise(0.5).samples).pooler_output[0].numpy(),
        atol=1e-6,
    )
    assert "who speaks" in encoder.notes[0]


def test_only_frames_that_the_recording_fills_count(opened: dict[str, HubAudioEncoder]) -> None:
    """Whisper's encoder sees silence up to the length of its pieces: here a second, fifty
    frames.
    """
    frames = run_encoder(opened["whisper"], noise(0.5).samples)
    assert frames.shape == (50, 16)
    np.testing.assert_allclose(
        opened["whisper"].encode([noise(0.5)])[0], frames[:25].mean(0), atol=1e-6
    )
    np.testing.assert_allclose(
        opened["whisper"].encode([noise(1.0)])[0],
        run_encoder(opened["whisper"], noise(1.0).samples).mean(0),
        atol=1e-6,
    )


def run_encoder(encoder: HubAudioEncoder, samples: np.ndarray) -> np.ndarray:
    return run(encoder, samples).last_hidden_state[0].numpy()


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "xvector", "ast", "whisper"])
def test_a_vector_does_not_depend_on_what_is_beside_it(
    opened: dict[str, HubAudioEncoder], name: str
) -> None:
    things = [noise(seconds, seed) for seed, seconds in enumerate((0.1, 1.3, 0.6))]
    together = opened[name].encode(things)
    assert np.isfinite(together).all()
    assert np.abs(together[0] - together[1]).max() > 1e-4
    for thing, x in zip(things, together, strict=True):
        np.testing.assert_array_equal(opened[name].encode([thing])[0], x)


def test_long_recordings_go_in_equal_pieces(opened: dict[str, HubAudioEncoder]) -> None:
    long = noise(2.5)  # whisper's here are of one second
    thirds = [
        opened["whisper"].encode([Recording(piece, RATE)])[0]
        for piece in np.array_split(long.samples, 3)
    ]
    np.testing.assert_allclose(opened["whisper"].encode([long])[0], np.mean(thirds, 0), atol=1e-6)
    longer = noise(31)
    halves = [
        opened["wav2vec2"].encode([Recording(piece, RATE)])[0]
        for piece in np.array_split(longer.samples, 2)
    ]
    np.testing.assert_allclose(
        opened["wav2vec2"].encode([longer])[0], np.mean(halves, 0), atol=1e-6
    )
    most = 160 * 63 + 400  # what gives 64 frames to the spectrogram transformer
    full = noise(most / RATE)
    prepared = (
        opened["ast"]
        .extractor(full.samples, sampling_rate=RATE, return_tensors="pt")
        .input_values[0]
    )
    assert not torch.equal(prepared[-1], prepared[-2])  # nothing was padded
    np.testing.assert_allclose(
        opened["ast"].encode([full])[0],
        run(opened["ast"], full.samples).pooler_output[0].numpy(),
        atol=1e-6,
    )
    over = noise((most + 1) / RATE)
    assert (
        np.abs(
            opened["ast"].encode([over])[0]
            - run(opened["ast"], over.samples).pooler_output[0].numpy()
        ).max()
        > 1e-6
    )


def test_other_rates_are_brought_to_the_models(
    opened: dict[str, HubAudioEncoder], tmp_path: Path
) -> None:
    soundfile = pytest.importorskip("soundfile")
    t = np.arange(22_050) / 22_050
    hum = Recording(np.sin(2 * np.pi * 200 * t).astype(np.float32) / 2, 22_050)
    same = Recording(np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32) / 2, RATE)
    x = opened["wav2vec2"].encode([hum, same, noise(1.0)])
    assert np.abs(x[0] - x[1]).max() < 0.05 * np.abs(x[0] - x[2]).max()
    soundfile.write(tmp_path / "hum.wav", np.stack([hum.samples] * 2, 1), 22_050, subtype="FLOAT")
    np.testing.assert_allclose(
        opened["wav2vec2"].encode([opened["wav2vec2"].read(tmp_path / "hum.wav")])[0],
        x[0],
        atol=1e-5,
    )
    with pytest.raises(DataError, match=r"gone\.wav' is not there"):
        opened["wav2vec2"].read(tmp_path / "gone.wav")


def test_the_key_tells_models_apart(
    models: dict[str, Path], opened: dict[str, HubAudioEncoder], tmp_path: Path
) -> None:
    assert len({e.key for e in opened.values()}) == len(opened)
    assert HubAudioEncoder(str(models["wav2vec2"]), device="cpu").key == opened["wav2vec2"].key
    shutil.copytree(models["wav2vec2"], tmp_path / "other")
    change(tmp_path / "other" / "preprocessor_config.json", do_normalize=False)
    assert HubAudioEncoder(tmp_path / "other", device="cpu").key != opened["wav2vec2"].key


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_mistakes(models: dict[str, Path], tmp_path: Path) -> None:
    t = transformers
    with pytest.raises(LoadError, match=r"holds no model: config\.json is missing"):
        HubAudioEncoder(tmp_path)
    t.BertModel(
        t.BertConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            vocab_size=9,
        )
    ).save_pretrained(tmp_path / "text")
    with pytest.raises(LoadError, match=r"preprocessor_config\.json is missing"):
        HubAudioEncoder(tmp_path / "text")
    (tmp_path / "text" / "preprocessor_config.json").write_text('{"do_resize": true}')
    with pytest.raises(ConfigError, match=r"holds a model \(bert\) that takes no sound"):
        HubAudioEncoder(tmp_path / "text")
    t.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "text")
    with pytest.raises(
        ConfigError,
        match=r"\(BertModel\) does not turn sound into frames of vectors .* Use Wav2Vec2, WavLM",
    ):
        HubAudioEncoder(tmp_path / "text", device="cpu")
    shutil.copytree(models["wav2vec2"], tmp_path / "damaged")
    (tmp_path / "damaged" / "preprocessor_config.json").write_text("{")
    with pytest.raises(LoadError, match=r"preprocessor_config\.json cannot be read"):
        HubAudioEncoder(tmp_path / "damaged")
