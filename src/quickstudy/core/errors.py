"""Every error that quickstudy raises on purpose. A message says what was expected, what came,
where, and what to do.
"""

import difflib
from collections.abc import Iterable


class QuickstudyError(Exception):
    """Base of all errors raised on purpose: catch this one to catch them all."""


class ConfigError(QuickstudyError, ValueError):
    """An option, a recipe field or an argument that cannot be used as given."""


class DataError(QuickstudyError, ValueError):
    """Data that is missing, damaged or not in the form that was promised."""


class DownloadError(DataError):
    """A file that could not be fetched, or whose checksum is wrong."""


class ImageError(DataError):
    """One picture that cannot be read; the message names its file."""


class EpisodeError(QuickstudyError, ValueError):
    """A task that cannot be drawn from the data, or whose tensors do not fit together."""


class TaskKindError(EpisodeError):
    """Tasks with classes were asked for of data for regression, or the reverse."""


class TargetError(QuickstudyError, TypeError):
    """A learner was given a kind or width of target that it cannot serve."""


class TransductiveError(QuickstudyError, TypeError):
    """A learner that needs all queries at once was asked to work without them."""


class LoadError(QuickstudyError, ValueError):
    """A saved run, learner or predictor that cannot be read back."""


class GalleryError(QuickstudyError, ValueError):
    """A gallery that cannot be used, or a change of it that was refused; nothing was changed
    then.
    """


class TrainingError(QuickstudyError, RuntimeError):
    """Training cannot go on, or would not mean what was asked for."""


class EvaluationError(QuickstudyError, ValueError):
    """A learner whose answers have no score."""


class ContractError(QuickstudyError, AssertionError):
    """A learner breaks the contract of ``quickstudy.testing``."""


class QuickstudyWarning(UserWarning):
    """What a user should know and a program may pass over; the command line prints it as a note."""


class PassedOverWarning(QuickstudyWarning):
    """Files in a folder that are not read, with their endings."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest spelling, if one is near, and all that is known.

    >>> did_you_mean("inner_step", ["inner_lr", "inner_steps"])
    "Did you mean 'inner_steps'? Known: inner_lr, inner_steps."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    return f"{guess}Known: {', '.join(names) or 'none'}."
