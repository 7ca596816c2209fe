"""Which parameters the inner loop may change."""

import fnmatch

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError


class Selection(Described):
    """Parameters by name, with shell patterns (``*`` matches any part).

    A gradient learner's names begin with ``encoder.`` or ``head.``.

    Args:
        include: patterns of the names to adapt.
        exclude: patterns of the names to leave alone, even if included.

    Example:
        >>> Selection(("*",), ("*.norm.*",)).of(
        ...     ["encoder.blocks.0.conv.weight", "encoder.blocks.0.norm.bias", "head.weight"]
        ... )
        ('encoder.blocks.0.conv.weight', 'head.weight')
    """

    def __init__(self, include: tuple[str, ...] = ("*",), exclude: tuple[str, ...] = ()) -> None:
        self.include, self.exclude = tuple(include), tuple(exclude)

    def of(self, names: list[str]) -> tuple[str, ...]:
        """Those of ``names`` that are adapted, in their order.

        Raises:
            ConfigError: when none is left.
        """
        chosen = self.among(names)
        if not chosen:
            raise ConfigError(
                f"The inner loop would adapt nothing: include={self.include}, "
                f"exclude={self.exclude} among {', '.join(names)}."
            )
        return chosen

    def among(self, names: list[str]) -> tuple[str, ...]:
        """Those of ``names`` that fit the patterns, in their order; perhaps none."""

        def match(name: str, patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatchcase(name, p) for p in patterns)

        return tuple(n for n in names if match(n, self.include) and not match(n, self.exclude))


def everything() -> Selection:
    """All parameters but the normalisation's own, which only the outer loop learns (as in the
    published MAML code).
    """
    return Selection(("*",), ("*.norm.*",))


def head_only() -> Selection:
    """The last layer alone."""
    return Selection(("head.*",))
