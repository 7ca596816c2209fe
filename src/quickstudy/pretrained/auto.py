"""The best encoder of pictures that is within reach."""

from quickstudy.core.errors import ConfigError, DownloadError, LoadError
from quickstudy.pretrained.encoder import AbstractImagePretrained
from quickstudy.pretrained.hub import HubEncoder
from quickstudy.pretrained.shipped import ShippedEncoder

DEFAULT = "facebook/dinov2-small"


def auto_embedder(*, invert: bool | None = None, device: str = "auto") -> AbstractImagePretrained:
    """DINOv2 small, if the hub or its cache is within reach, else the encoder that comes with the
    package; `notes` says which, and what that means.

    Args:
        invert: as of `ShippedEncoder`; said at all, it means drawings, and the shipped encoder is
            taken.
        device: "auto", "cpu" or "cuda".
    """
    if invert is not None:
        made = ShippedEncoder(invert=invert, device="cpu")
        made.notes = (
            "Since drawings are meant (invert was given), the encoder 'symbols' was taken.",
            *made.notes,
        )
        return made
    try:
        found = HubEncoder(DEFAULT, device=device)
        found.notes = (
            f"'{DEFAULT}' was taken, for pictures of all kinds. For drawings and characters "
            "'symbols' is smaller and faster.",
            *found.notes,
        )
        return found
    except (ConfigError, DownloadError, LoadError) as error:
        made = ShippedEncoder(device="cpu")
        made.notes = (
            f"The encoder 'symbols' that comes with quickstudy was taken, as '{DEFAULT}' is not "
            f"within reach: {str(error).split(chr(10))[0]}",
            *made.notes,
        )
        return made
