"""The best encoder of images that is within reach."""

from quickstudy.core.errors import ConfigError, DownloadError, LoadError
from quickstudy.pretrained.encoder import AbstractImagePretrained
from quickstudy.pretrained.hub import HubEncoder
from quickstudy.pretrained.symbols import SymbolEncoder

DEFAULT = "facebook/dinov2-small"


def auto_encoder(*, invert: bool | None = None, device: str = "auto") -> AbstractImagePretrained:
    """DINOv2 small, if the hub or its cache is within reach, else the encoder that comes with the
    package; `notes` says which, and what that means.

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
    try:
        encoder = HubEncoder(DEFAULT, device=device)
        encoder.notes = (
            f"'{DEFAULT}' was taken, for pictures of all kinds. For drawings and characters "
            "'symbols' is smaller and faster.",
            *encoder.notes,
        )
        return encoder
    except (ConfigError, DownloadError, LoadError) as error:
        encoder = SymbolEncoder()
        encoder.notes = (
            f"The encoder 'symbols' that comes with quickstudy was taken, as '{DEFAULT}' is not "
            f"within reach: {str(error).split(chr(10))[0]}",
            *encoder.notes,
        )
        return encoder
