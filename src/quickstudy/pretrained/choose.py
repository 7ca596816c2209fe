"""Which encoder suits a user's own labelled files: the one that leave-one-out prefers."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import beta

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.data import read_picture
from quickstudy.data.open_files import OpenFile
from quickstudy.metrics.left_out import left_out_rounds
from quickstudy.pretrained.auto import general_encoder
from quickstudy.pretrained.drawings import has_light_paper, is_drawn
from quickstudy.pretrained.encoder import AbstractPretrained
from quickstudy.pretrained.files import Source, as_content, encode_files, names_of
from quickstudy.pretrained.open import open_encoder
from quickstudy.pretrained.registry import entry_of

# What the general encoder is ahead of others before anything was seen, in examples; and of
# `symbols` where the images are no drawings.
_PRIOR = 1.0
_PRIOR_WITHOUT_DRAWINGS = 5.0
_SAMPLE = 50  # images that are looked at to tell drawings from photographs
_READ_AT = 128
_NOUNS = {"images": "images", "audio": "recordings"}
_CANDIDATES = {"images": ("auto", "symbols"), "audio": ("voices", "spectrum")}


@dataclass(frozen=True)
class EncoderScore:
    """How one encoder fares on the examples.

    Args:
        name: of the encoder.
        right: how many examples the prototypes of the others recognise.
        tried: of how many; those that are alone in their class cannot be left out.
        ahead: the probability that it is better than the general encoder on new files like these;
            of the general one 0.5.
    """

    name: str
    right: int
    tried: int
    ahead: float


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder that was taken, and why.

    Args:
        encoder: the one.
        scores: of every candidate, the general one first.
        reason: in a few words that follow its name.
    """

    encoder: AbstractPretrained
    scores: tuple[EncoderScore, ...]
    reason: str


def choose_encoder(
    paths: Sequence[Source],
    labels: Sequence[str],
    *,
    kind: str = "images",
    candidates: Sequence[str] = (),
    cache: str | Path | bool | None = None,
    device: str = "auto",
) -> EncoderChoice:
    """The encoder that leave-one-out on labelled images or recordings prefers.

    Each example is recognised by the prototypes of the others. Another encoder is taken instead of
    the first, general one when the examples that only it gets right outnumber those that it alone
    gets wrong by more than one; of images that are no drawings by more than five. Where too few
    examples say anything, drawings in ink on paper get the encoder for drawings, and everything
    else the general one.

    Args:
        paths: the examples, as of `encode_files`; those that cannot be read are left out.
        labels: their classes.
        kind: "images" or "audio".
        candidates: what `open_encoder` takes, the general one first; of images "auto" is
            `general_encoder`. Empty = those that come along: of images "auto" and "symbols", of
            recordings "voices" (where it is installed) and "spectrum".
        cache: as in `encode_files`, but no open one, as each encoder needs its own.
        device: "auto", "cpu" or "cuda".

    Raises:
        DataError: when none of the files can be read.
        ConfigError: when a candidate cannot be opened, or nothing is to be chosen from.
    """
    if kind not in _CANDIDATES:
        raise ConfigError(
            f"Encoders are chosen for {' and '.join(_CANDIDATES)}, not for '{kind}'. Name one."
        )
    entries = {name: entry_of(name) for name in _CANDIDATES[kind]}
    at_hand = [name for name, e in entries.items() if e is None or e.is_installed]
    paths = [as_content(one) if isinstance(one, OpenFile) else one for one in paths]
    classes = dict(zip(names_of(paths), labels, strict=True))
    encoders: list[AbstractPretrained] = []
    hits: list[Bool[NDArray[np.bool_], " n"]] = []
    are_drawings = kind == "images" and _mostly_drawn(paths)
    is_hopeless = False
    for name in candidates or at_hand:
        if hits and not candidates and name == "symbols" and not are_drawings:
            # It needs so many more right answers than the first that it cannot be taken.
            is_hopeless = int((~hits[0]).sum()) < _PRIOR_WITHOUT_DRAWINGS
            if is_hopeless:
                continue
        is_general = name == "auto" and kind == "images"
        encoder = (
            general_encoder(device=device)
            if is_general
            else open_encoder(name, kind=kind, device=device)
        )
        encoded = encode_files(encoder, paths, cache=cache, on_bad="skip")
        if not encoded.paths:
            raise DataError(
                f"None of {len(paths)} files can be encoded. The first: {encoded.skipped[0][1]}"
            )
        y = np.unique([classes[path] for path in encoded.paths], return_inverse=True)[1]
        encoders.append(encoder)
        hits.append(left_out(encoded.vectors, y))
    scores = [EncoderScore(encoders[0].source, int(hits[0].sum()), len(hits[0]), 0.5)]
    for encoder, hit in zip(encoders[1:], hits[1:], strict=True):
        gained = lost = 0
        if len(hit) == len(hits[0]):
            gained, lost = int((hit & ~hits[0]).sum()), int((hits[0] & ~hit).sum())
        is_misplaced = encoder.source == "symbols" and not are_drawings
        prior = _PRIOR_WITHOUT_DRAWINGS if is_misplaced else _PRIOR
        ahead = float(beta.sf(0.5, 1 + gained, 1 + prior + lost))
        scores.append(EncoderScore(encoder.source, int(hit.sum()), len(hit), ahead))
    best = max(range(len(scores)), key=lambda i: scores[i].ahead)
    names = [encoder.source for encoder in encoders]
    compared = ", ".join(f"{s.name} {s.right} of {s.tried}" for s in scores)
    has_tried = len(hits[0]) > 0
    of = f"each example recognised by the others: {compared}"
    if not has_tried:
        of = "no class has two examples to compare encoders by"
    if is_hopeless:
        of += "; symbols was not tried, as the images are no drawings"
    says_little = max((abs(score.ahead - 0.5) for score in scores[1:]), default=0.0) < 0.4
    if are_drawings and says_little and "symbols" in names:
        best = names.index("symbols")
        reason = f"taken as the images are drawings and the examples too few to say more ({of})"
        return EncoderChoice(encoders[best], tuple(scores), reason)
    if not scores[1:] or not has_tried:
        return EncoderChoice(encoders[0], tuple(scores), f"the general one ({of})")
    for score in scores:
        if score.right > scores[best].right:
            is_misplaced = score.name == "symbols" and not are_drawings
            lead = _PRIOR_WITHOUT_DRAWINGS if is_misplaced else _PRIOR
            of += f"; {score.name} would have to be ahead by more than {lead:.0f}"
            of += ", as the images are no drawings" if is_misplaced else ""
    sure = scores[best].ahead if best else 1 - max(s.ahead for s in scores[1:])
    reason = f"the better one for {_NOUNS[kind]} like these with a probability of {sure:.2f} ({of})"
    return EncoderChoice(encoders[best], tuple(scores), reason)


def left_out(x: Float[NDArray[np.float32], "n D"], y: NDArray[np.int64]) -> Bool[NDArray, " m"]:
    """Whether each example is recognised by the prototypes of the others, by cosine, one of each
    class being left out at a time; those alone in their class are passed over.
    """
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    n = int(y.max()) + 1
    sums = np.zeros((n, x.shape[1]))
    np.add.at(sums, y, unit)
    is_right, was_tried = np.zeros((2, len(y)), bool)
    for left in left_out_rounds(y, n):
        rest = sums.copy()
        np.subtract.at(rest, y[left], unit[left])
        rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-12)
        is_right[left] = (unit[left] @ rest.T).argmax(1) == y[left]
        was_tried |= left
    return is_right[was_tried]


def against_borders(paths: Sequence[Path], *, invert: bool) -> tuple[str, ...]:
    """A note where ``invert`` says that drawings are dark on light (True) or light on dark (False),
    and the borders of most of them say the opposite.
    """
    looked, against = 0, 0
    for path in _sample_of(paths):
        with suppress(DataError):
            grey = read_picture(path, at_least=_READ_AT).convert("L").resize((28, 28))
            looked += 1
            against += has_light_paper(np.asarray(grey)) is (not invert)
    if 2 * against <= looked:
        return ()
    ink, paper = ("light", "dark") if invert else ("dark", "light")
    return (
        f"{against} of {looked} images look like {ink} ink on {paper} paper, but invert says the "
        "opposite of each. Leave it out (on the command line --invert, --no-invert), and the "
        "border of each image tells.",
    )


def _sample_of(paths: Sequence[Source]) -> Sequence[Source]:
    return paths[:: max(1, len(paths) // _SAMPLE)]


def _mostly_drawn(paths: Sequence[Source]) -> bool:
    answers = []
    for path in _sample_of(paths):
        try:
            answers.append(is_drawn(read_picture(path, at_least=_READ_AT)))
        except DataError:
            continue
    return bool(answers) and float(np.mean(answers)) > 0.8
