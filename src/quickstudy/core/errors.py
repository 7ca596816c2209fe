"""Every error that quickstudy raises on purpose. A message says what was expected, what came,
where, and what to do.
"""

import difflib
from collections.abc import Iterable

# of names that a message lists, and of the nearest where there are more
_MANY, _NEAR = 20, 5


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


def did_you_mean(name: str, known: Iterable[str], *, listed_by: str = "") -> str:
    """The end of an error message: the nearest spelling, if one is near, and all that is known. Of
    more than 20 names only the nearest five, and how all are listed.

    Args:
        name: what was given.
        known: what there is.
        listed_by: a command or an expression that lists them, where there may be many.

    >>> did_you_mean("inner_step", ["inner_lr", "inner_steps"])
    "Did you mean 'inner_steps'? Known: inner_lr, inner_steps."
    >>> did_you_mean("7", map(str, range(60, 99)), listed_by="`list numbers`")
    "Did you mean '97', '87', '79', '78' or '77'? All 39: `list numbers`."
    """
    names = sorted(known)
    is_long = len(names) > _MANY
    near = difflib.get_close_matches(name, names, n=_NEAR if is_long else 1)
    quoted = [f"'{one}'" for one in near]
    listed = f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else "".join(quoted)
    guess = f"Did you mean {listed}? " if near else ""
    if not is_long:
        return f"{guess}Known: {', '.join(names) or 'none'}."
    return guess + (f"All {len(names)}: {listed_by}." if listed_by else f"{len(names)} are known.")
