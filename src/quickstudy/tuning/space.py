"""What is searched: ranges and choices of a recipe's fields."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quickstudy.core.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, both included: whole ones if both are, evenly spread
    over their logarithm if ``log``.
    """

    low: int | float
    high: int | float
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """The outermost values, as ``--set`` takes them."""
        return str(self.low), str(self.high)

    def suggest(self, trial: Any, field: str) -> str:
        """The value that Optuna's trial takes, as ``--set`` takes it."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(field, self.low, self.high, log=self.log))
        return str(trial.suggest_float(field, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Choice:
    """One of several values, each as ``--set`` takes it."""

    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """All values: none is between others."""
        return self.values

    def suggest(self, trial: Any, field: str) -> str:
        """The value that Optuna's trial takes."""
        return trial.suggest_categorical(field, self.values)


def parse_space(space: Mapping[str, str]) -> dict[str, Range | Choice]:
    """What each text means: ``LOW..HIGH``, ``LOW..HIGH:log``, or values with commas between them.

    >>> parse_space(
    ...     {
    ...         "optimiser.lr": "1e-4..1e-2:log",
    ...         "learner.inner_steps": "1..5",
    ...         "encoder.width": "32,64",
    ...     }
    ... )
    {'optimiser.lr': Range(low=0.0001, high=0.01, log=True),
     'learner.inner_steps': Range(low=1, high=5, log=False),
     'encoder.width': Choice(values=('32', '64'))}

    Raises:
        ConfigError: for a text that is neither, saying what to write instead.
    """
    return {field: _dimension(field, text.strip()) for field, text in space.items()}


def short(text: str) -> str:
    """A value for people to read: fractions with four digits.

    >>> short("0.0031622776601683794"), short("5"), short("cosine")
    ('0.003162', '5', 'cosine')
    """
    return (
        f"{float(text):.4g}" if re.fullmatch(r"-?\d+(\.\d+(e[+-]?\d+)?|e[+-]?\d+)", text) else text
    )


def _dimension(field: str, text: str) -> Range | Choice:
    instead = (
        f"Write {field}=1e-4..1e-2 (add :log for even steps of the logarithm), {field}=1..5 "
        f"(whole numbers) or {field}=a,b,c."
    )
    # a comma inside [ ] belongs to the value
    values = tuple(value.strip() for value in re.split(r",(?![^\[]*\])", text))
    if len(values) > 1:
        if "" in values or len(set(values)) < len(values):
            raise ConfigError(
                f"--tune {field}={text}: each value must be there once and none may be empty. "
                f"{instead}"
            )
        return Choice(values)
    low, dots, rest = text.partition("..")
    if not dots:
        raise ConfigError(
            f"--tune {field}={text}: a search needs a range or several values. {instead} For one "
            f"value use --set {field}={text}."
        )
    high, colon, scale = rest.partition(":")
    if colon and scale != "log":
        raise ConfigError(
            f"--tune {field}={text}: after the range there may be ':log', got ':{scale}'. {instead}"
        )
    try:
        ends = [int(n) if re.fullmatch(r"[+-]?\d+", n.strip()) else float(n) for n in (low, high)]
    except ValueError as error:
        raise ConfigError(
            f"--tune {field}={text}: both ends of a range must be numbers, got '{low}' and "
            f"'{high}'. {instead}"
        ) from error
    if not all(map(math.isfinite, ends)):
        raise ConfigError(
            f"--tune {field}={text}: both ends of a range must be finite, got {ends[0]} and "
            f"{ends[1]}. {instead}"
        )
    if ends[0] >= ends[1]:
        raise ConfigError(
            f"--tune {field}={text}: the first number must be below the second, got {ends[0]} and "
            f"{ends[1]}. {instead}"
        )
    if colon and ends[0] <= 0:
        raise ConfigError(
            f"--tune {field}={text}: a logarithmic range must begin above 0, got {ends[0]}. Raise "
            "it, or leave ':log' out."
        )
    return Range(
        *(ends if all(isinstance(n, int) for n in ends) else map(float, ends)), log=bool(colon)
    )
