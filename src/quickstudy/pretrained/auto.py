"""The best encoder of images or recordings that is within reach."""

from collections.abc import Iterable, Sequence
from itertools import islice

from quickstudy.core.errors import ConfigError, DataError, DownloadError, LoadError
from quickstudy.data import read_picture
from quickstudy.data.image_files import Picture
from quickstudy.pretrained.encoder import AbstractImagePretrained, AbstractPretrained
from quickstudy.pretrained.hub import HubEncoder
from quickstudy.pretrained.photographs import PhotographEncoder
from quickstudy.pretrained.registry import entry_of
from quickstudy.pretrained.spectrum import SpectrumEncoder
from quickstudy.pretrained.symbols import SymbolEncoder
from quickstudy.pretrained.voices import VoiceEncoder

DEFAULT = "facebook/dinov2-small"
_LOOKED_AT = 8  # photographs, to see whether they are of people


def auto_encoder(*, invert: bool | None = None, device: str = "auto") -> AbstractImagePretrained:
    """DINOv2 small where it was fetched before, else `PhotographEncoder`, which comes along;
    `notes` says which, and what that means. Nothing is downloaded.

    Args:
        invert: as of `SymbolEncoder`; said at all, it means drawings, and that encoder is taken.
        device: "auto", "cpu" or "cuda".
    """
    if invert is not None:
        encoder = SymbolEncoder(invert=invert)
        encoder.notes = (
            "Since drawings are meant (invert was given), the encoder 'symbols' was taken.",
            *encoder.notes,
        )
        return encoder
    encoder = general_encoder(device=device)
    encoder.notes = (
        f"The encoder '{encoder.source}' was taken, for images of all kinds. For drawings and "
        "characters 'symbols' is smaller and faster.",
        *encoder.notes,
    )
    return encoder


def general_encoder(*, device: str = "auto") -> AbstractImagePretrained:
    """DINOv2 small where it was fetched before, else `PhotographEncoder`."""
    try:
        return HubEncoder(DEFAULT, device=device, local_only=True)
    except (ConfigError, DownloadError, LoadError):
        return PhotographEncoder(device=device)


def people_encoder(
    photographs: Iterable[Picture], *, device: str = "auto"
) -> AbstractImagePretrained | None:
    """`FaceEncoder` where most of the first eight photographs show a face, and the packages that it
    takes are installed; else None.

    Args:
        photographs: like those that will be compared, files or in memory; what cannot be read shows
            no face.
        device: "auto" or "cpu"; None is returned for others.
    """
    entry = entry_of("faces")
    assert entry is not None
    if not entry.is_installed or device not in ("auto", "cpu"):
        return None
    from quickstudy.pretrained.faces import SIDE, FaceEncoder

    files = list(islice(photographs, _LOOKED_AT))
    if not files:
        return None
    try:
        encoder = FaceEncoder(device=device)
    except (ConfigError, LoadError):  # dlib is missing, or the weights are damaged
        return None
    n = 0
    for file in files:
        try:
            n += encoder.shows_face(read_picture(file, at_least=SIDE))
        except DataError:
            continue
    if 2 * n <= len(files):
        return None
    encoder.notes = (
        f"Of the first {len(files)} photographs {n} show a face, so the encoder 'faces' was taken. "
        "For other things name one.",
        *encoder.notes,
    )
    return encoder


def show_people(photographs: Sequence[Picture]) -> bool:
    """Whether most of a few photographs, taken from all over, show a face, as far as can be seen:
    without the packages of the encoder of faces nothing is seen.
    """
    few = photographs[:: max(1, -(-len(photographs) // _LOOKED_AT))]
    return people_encoder(few) is not None


def audio_encoder(*, device: str = "auto") -> AbstractPretrained:
    """`VoiceEncoder` where the package with its weights is installed, else `SpectrumEncoder`."""
    entry = entry_of("voices")
    assert entry is not None
    if entry.is_installed:
        encoder: AbstractPretrained = VoiceEncoder(device=device)
        said = "The encoder 'voices' was taken, for speech. For other sounds take 'spectrum'."
    else:
        encoder = SpectrumEncoder(device=device)
        said = (
            "The encoder 'spectrum' was taken. For voices there is a better one: pip install "
            f"{entry.install}"
        )
    encoder.notes = (said, *encoder.notes)
    return encoder
