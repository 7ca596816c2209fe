"""Symbols: Omniglot's handwritten and Glyphs' printed characters together."""

from quickstudy.core.describe import Described
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.class_index import ClassDataset
from quickstudy.data.episodes import Episodes
from quickstudy.data.glyphs import Glyphs
from quickstudy.data.omniglot import Omniglot


class Symbols(Described, AbstractData):
    """Handwritten and printed characters in one set of classes, 28×28, ink = 1: what an encoder of
    drawings and symbols should have seen.

    Each split is Omniglot's (by the Vinyals lists, with rotations as classes) and Glyphs' of the
    same name, so no class of one split is in another. A script may be handwritten in one split and
    printed in another (Tifinagh is); to score on what is new in every way, use the parts by
    themselves.

    Args:
        drawings: of each printed character.

    Raises:
        DownloadError: when Omniglot's archives are neither at hand nor to be fetched.
    """

    name, shape = "symbols", Omniglot.shape
    image_format = Omniglot.image_format

    def __init__(self, *, drawings: int = 20) -> None:
        self.drawings = drawings
        self._parts = (Omniglot(), Glyphs(drawings=drawings, rotations=True))

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val`` or ``test``, the handwritten ones first; their names
        begin with that of their data set.
        """
        hand, print_ = (part.split(name) for part in self._parts)
        return hand.joined(print_, name=self.name, split=name)

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)
