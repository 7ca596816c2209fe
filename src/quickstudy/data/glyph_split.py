"""Which characters Glyphs has, and in which split: ``python -m quickstudy.data.glyph_split``
chooses them and writes the list.

Run it again only to make another data set: what Glyphs reads is the list, so that new fonts cannot
change a split.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from quickstudy.core.arrays import NDArray
from quickstudy.data.glyph_drawing import SIDE, UPRIGHT, characters, fonts_of, plain
from quickstudy.data.glyphs import LIST, SPLITS, Listed

# Script: its split, and its characters as a pattern of "character NAME". What looks like a
# character chosen further up is left out: the
# scripts for testing stay as whole as they can be, and training, which has plenty, gives way. Test
# holds four scripts of unrelated
# shapes; train has what most readers know, so that the letters of the test are as new to a learner
# as to them.
SCRIPTS: dict[str, tuple[str, str]] = {
    "Georgian": ("test", ". GEORGIAN"),
    "Armenian": ("test", ". ARMENIAN"),
    "Lao": ("test", ". LAO"),
    "Tifinagh": ("test", ". TIFINAGH"),
    "Arabic": ("val", ". (EXTENDED )?ARABIC"),
    "Hebrew": ("val", ". HEBREW"),
    "N'Ko": ("val", ". NKO"),
    "Old Italic": ("val", ". OLD ITALIC"),
    "Latin": ("train", ". (LATIN|DIGIT)"),
    "Greek": ("train", ". GREEK"),
    "Coptic": ("train", ". COPTIC"),
    "Cyrillic": ("train", ". CYRILLIC"),
    "Ogham": ("train", ". OGHAM"),
    "Canadian Aboriginal": ("train", ". CANADIAN SYLLABICS"),
    "Mathematical letters": (
        "train",
        ". (MATHEMATICAL )?(SCRIPT|FRAKTUR|BLACK-LETTER|DOUBLE-STRUCK) (CAPITAL|SMALL|DIGIT)",
    ),
    "Currency": ("train", "[₠-⃀]"),
    "APL": ("train", ". APL FUNCTIONAL SYMBOL"),
    "Operators": ("train", "[∀-⋿]"),
    "Signs": ("train", "[☉-☍☥-☯☼-♯⚀-⚆⚒-⚜⚢-⚩⚲-⚼]"),
}
# Letters, digits and symbols; no marks, modifiers, punctuation.
_CATEGORIES = {"Ll", "Lu", "Lo", "Nd", "Sc", "Sm", "So"}

ALIKE = 0.03
"""Two characters look alike when less than this part of the ink of each is away from the other's
ink.
"""

_PEN, _AWAY = 1.0, 1.5  # half the width of a stroke, and how far is away, in pixels
# A drawing is stretched by 0.83 … 1.2, so narrow and wide forms are no two characters.
_STRETCHES = ((1.0, 1.0), (0.8, 1.0), (1.0, 0.8))
# A dot or a bar that fills the picture is no shape to learn. In pixels.
_BOLDEST, _NARROWEST = 3.5, 3


def choose(scripts: Sequence[str] = tuple(SCRIPTS)) -> list[Listed]:
    """The characters of these scripts that do not look like one chosen before, nor, for training,
    like one for test or validation turned.

    The list that comes with the package is what this gives for all scripts.
    """
    candidates = [
        Listed(c, SCRIPTS[script][0], script) for script in scripts for c in _candidates(script)
    ]
    signs, splits = [c.character for c in candidates], np.array([c.split for c in candidates])
    alike = look_alikes(signs, signs)
    rest, train = np.flatnonzero(splits != "train"), np.flatnonzero(splits == "train")
    turned = look_alikes([signs[i] for i in rest], [signs[i] for i in train], turns=(1, 2, 3))
    alike[np.ix_(rest, train)] |= turned
    alike[np.ix_(train, rest)] |= turned.T
    chosen: list[int] = []
    for i in range(len(candidates)):
        if not alike[i, chosen].any():
            chosen.append(i)
    return sorted(
        (candidates[i] for i in chosen),
        key=lambda c: (SPLITS.index(c.split), list(SCRIPTS).index(c.script), c.character),
    )


def look_alikes(
    a: Sequence[str], b: Sequence[str], *, turns: Sequence[int] = (0,), limit: float = ALIKE
) -> Bool[np.ndarray, "A B"]:
    """Which of the characters ``a`` look like which of ``b``, compared undeformed in every upright
    font that both are in.

    Args:
        a, b: the characters.
        turns: quarter turns of ``b`` to compare with.
        limit: the part of the ink below which they do.

    >>> look_alikes("AB", "ΑΩ").tolist()
    [[True, False], [False, False]]
    """
    least = _strange(a, b, [fonts_of(c)[0] for c in a], [fonts_of(c)[0] for c in b], turns)
    for font in UPRIGHT[1:]:
        rows, columns = ([i for i, c in enumerate(some) if font in fonts_of(c)] for some in (a, b))
        if rows and columns:
            there = _strange(
                [a[i] for i in rows],
                [b[i] for i in columns],
                [font] * len(rows),
                [font] * len(columns),
                turns,
            )
            least[np.ix_(rows, columns)] = np.minimum(least[np.ix_(rows, columns)], there)
    return least < limit


def _strange(
    a: Sequence[str],
    b: Sequence[str],
    fonts_a: Sequence[str],
    fonts_b: Sequence[str],
    turns: Sequence[int],
) -> NDArray[np.float32]:
    """The part of one's ink that is more than ``_AWAY`` pixels from the other's, the worse of both
    ways, as they fit best: [A B].
    """
    least = np.ones((len(a), len(b)), dtype=np.float32)
    layers_a = _layers(a, fonts_a)
    layers_b = layers_a if a == b else _layers(b, fonts_b)
    # Stretching both of them would be to compare them as they are.
    for stretch_a, stretch_b in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0)):
        ink_a, far_a = layers_a[stretch_a].reshape(2, len(a), SIDE * SIDE)
        for turn in turns:
            turned = np.rot90(layers_b[stretch_b], turn, (2, 3))
            for shift in ((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)):
                ink_b, far_b = np.roll(turned, shift, (2, 3)).reshape(2, len(b), SIDE * SIDE)
                np.minimum(least, np.maximum(ink_a @ far_b.T, far_a @ ink_b.T), out=least)
    return least


def _layers(characters: Sequence[str], fonts: Sequence[str]) -> NDArray[np.float32]:
    """For each stretch where each character has its ink, as shares of it, and which places are far
    from it: [3 2 A 28 28].
    """
    layers = np.empty((len(_STRETCHES), 2, len(characters), SIDE, SIDE), dtype=np.float32)
    for i, (character, font) in enumerate(zip(characters, fonts, strict=True)):
        distance = plain(character, font, pen=_PEN, stretches=_STRETCHES)
        ink = np.clip(0.5 + distance, 0, 1)
        layers[:, 0, i] = ink / ink.sum((1, 2), keepdims=True)
        layers[:, 1, i] = np.clip(0.5 - distance - _AWAY, 0, 1)
    return layers


def _candidates(script: str) -> list[str]:
    pattern = re.compile(SCRIPTS[script][1])
    return [
        c
        for c in characters()
        if pattern.match(f"{c} {unicodedata.name(c, '')}") and _is_plain(c, script) and _is_drawn(c)
    ]


def _is_plain(character: str, script: str) -> bool:
    """Whether it is a character of its own: not one with an accent, nor a form of another.
    Mathematical letters are forms of Latin ones.
    """
    form = "NFD" if script == "Mathematical letters" else "NFKD"
    return (
        unicodedata.category(character) in _CATEGORIES
        and unicodedata.normalize(form, character) == character
    )


def _is_drawn(character: str) -> bool:
    """Whether it is made of strokes and has some height and width."""
    distance = plain(character, fonts_of(character)[0], pen=_PEN)
    ink = distance > 0
    return bool(distance.max() < _BOLDEST and min(ink.any(0).sum(), ink.any(1).sum()) >= _NARROWEST)


def write(file: Path) -> None:
    """Choose from all scripts and write the list."""
    lines = (f"U+{ord(c.character):04X},{c.split},{c.script}\n" for c in choose())
    file.write_text("character,split,script\n" + "".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(str(LIST)))
