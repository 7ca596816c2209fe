"""Trials of whether a training is faster with its step recorded."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from quickstudy.core.errors import TrainingError
from quickstudy.training.pieces import LossAndGradient, Piece, PieceGradient, same

# Recording takes seconds, and a trial a dozen gradients.
SECONDS_WORTH_A_TRIAL = 60.0
GRADIENTS_WORTH_A_TRIAL = 500
TRIALS = 5
WORTH_RECORDING = 1.03


@dataclass(frozen=True)
class Faster:
    """A recording that is worth it.

    Args:
        gradient: the recorded one.
        ratio: the plain one's processor time divided by this one's, in the median of the trials.
    """

    gradient: PieceGradient
    ratio: float

    def __str__(self) -> str:
        return (
            f"Steps are recorded and played back: {self.ratio:.2f} times as fast in {TRIALS} "
            "trials."
        )


def try_recording(
    gradient: PieceGradient,
    step: nn.Module,
    draw: Callable[[int], Sequence[Piece]],
    *,
    steps: range,
    gradients_per_step: float,
) -> Faster | None:
    """Try on a CPU whether ``gradient`` is faster recorded. Both forms are timed, on the first
    pieces of the first steps, with the threads that an operation may use now.

    Args:
        gradient: the plain one, which is called first.
        step: the module.
        draw: the pieces of a step by its number.
        steps: the numbers of those to come, at least one.
        gradients_per_step: how many each worker computes.

    Returns:
        The recording, if it gave the same losses and gradients to the bit and the median of the
        ratios is `WORTH_RECORDING` or more. None otherwise, and where the trial itself would not
        pay, the step cannot be recorded, or one in lower precision would be recorded otherwise.
    """
    if gradient.precision != "32":
        return None
    try:
        recorded = gradient.recorded(step, "trace")
    except TrainingError:  # among them steps that change by being taken
        return None
    first = draw(steps[0])[0]
    gradient(step, first)  # a first call compiles kernels
    seconds, _ = _timed(gradient, step, first)
    left = gradients_per_step * len(steps)
    if left < GRADIENTS_WORTH_A_TRIAL or left * seconds < SECONDS_WORTH_A_TRIAL:
        return None
    try:
        recorded(step, first)
    except TrainingError:  # steps that cannot be recorded
        return None
    ratios = []
    for number in range(TRIALS):
        piece = draw(steps[min(number, len(steps) - 1)])[0]
        plain, wanted = _timed(gradient, step, piece)
        played, found = _timed(recorded, step, piece)
        if not same(wanted, found):
            return None
        ratios.append(plain / played)
    ratio = statistics.median(ratios)
    return Faster(recorded, ratio) if ratio >= WORTH_RECORDING else None


def _timed(gradient: PieceGradient, step: nn.Module, piece: Piece) -> tuple[float, LossAndGradient]:
    """The processor time of this thread in seconds, and the answer."""
    began = time.thread_time()
    answer = gradient(step, piece)
    return time.thread_time() - began, answer
