"""The best encoder of images that is within reach."""

from quickstudy.core.errors import ConfigError, DownloadError, LoadError
from quickstudy.pretrained.encoder import AbstractImagePretrained
from quickstudy.pretrained.hub import HubEncoder
from quickstudy.pretrained.photographs import PhotographEncoder
from quickstudy.pretrained.symbols import SymbolEncoder

DEFAULT = "facebook/dinov2-small"


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
    try:
        encoder = HubEncoder(DEFAULT, device=device, local_only=True)
        reason = f"'{DEFAULT}' was taken, for images of all kinds."
    except (ConfigError, DownloadError, LoadError):
        encoder = PhotographEncoder(device=device)
        reason = "The encoder 'photographs' was taken, for images of all kinds."
    encoder.notes = (
        f"{reason} For drawings and characters 'symbols' is smaller and faster.",
        *encoder.notes,
    )
    return encoder
