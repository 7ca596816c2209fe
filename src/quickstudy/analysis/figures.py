"""Figures that need no screen."""

from pathlib import Path
from typing import TYPE_CHECKING

from quickstudy.core.disk import write_file
from quickstudy.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Write it, whole or not at all, and the folders on the way.

    Raises:
        ConfigError: when it cannot be written, or there is no such kind of picture.
    """
    form = Path(path).suffix.lstrip(".").lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if form not in known:
        raise ConfigError(
            f"A figure cannot be written as '.{form}' ({path}). Choose one of {', '.join(known)}."
        )
    return write_file(path, lambda stream: figure.savefig(stream, format=form, dpi=110))
