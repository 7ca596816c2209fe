"""Numbers in sentences."""

import math
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from operator import index
from typing import SupportsIndex


def counted(n: SupportsIndex, one: str, many: str = "") -> str:
    """A number with its noun, in the singular where it is one.

    Args:
        n: how many.
        one: what one of them is called.
        many: what several are called; empty = with an s.

    >>> counted(1, "identity", "identities"), counted(1200, "file"), counted(0, "class", "classes")
    ('1 identity', '1,200 files', '0 classes')
    """
    count = index(n)
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def rounded(number: float, decimals: int = 0, *, up: bool = False) -> str:
    """A number with so many decimals, halves away from zero as people round them.

    Args:
        number: what to round.
        decimals: how many; negative rounds to tens, hundreds.
        up: to the next larger one instead, as of the least that suffices.

    >>> rounded(12.5), rounded(6.25, 1), rounded(100 * 0.145), rounded(3.11, 1, up=True)
    ('13', '6.3', '15', '3.2')
    """
    if not math.isfinite(number):
        return str(number)
    exact = Decimal(repr(round(float(number), 9)))  # without what binary numbers add
    step = Decimal(1).scaleb(-decimals)
    return f"{exact.quantize(step, ROUND_CEILING if up else ROUND_HALF_UP):f}"


def percent(share: float, decimals: int | None = None, *, up: bool = False) -> str:
    """A share as text.

    Args:
        share: between 0 and 1.
        decimals: how many; None = two digits below a tenth, else whole numbers, and 100 % only
            where it is all.
        up: see `rounded`.

    >>> percent(0.0456), percent(0.125), percent(0.9999), percent(1), percent(0.0625, 1)
    ('4.6 %', '13 %', '99.9 %', '100 %', '6.3 %')
    """
    of = 100 * share
    if decimals is not None:
        return f"{rounded(of, decimals, up=up)} %"
    if 0.99 < share < 1:
        return f"{min(float(rounded(of, 1, up=up)), 99.9):.1f} %"
    if 0 < share < 0.1:
        return f"{float(rounded(of, 1 - math.floor(math.log10(of)), up=up)):g} %"
    return f"{rounded(of, up=up)} %"


def percent_about(mean: float, half: float, decimals: int = 2) -> str:
    """A mean share and the half width of its interval, as text.

    >>> percent_about(0.71125, 0.00845), percent_about(0.96125, 0.03, 1)
    ('71.13 ± 0.85 %', '96.1 ± 3.0 %')
    """
    return f"{rounded(100 * mean, decimals)} ± {percent(half, decimals)}"


def percent_range(low: float, high: float, decimals: int | None = None, *, to: str = "to") -> str:
    """Two shares between which something lies, as text.

    Args:
        low, high: each between 0 and 1.
        decimals: as of `percent`.
        to: the word between them.

    >>> percent_range(0.4557, 0.881), percent_range(0.005, 0.0165, to="and")
    ('46 to 88 %', '0.5 and 1.7 %')
    """
    return f"{percent(low, decimals).removesuffix(' %')} {to} {percent(high, decimals)}"
