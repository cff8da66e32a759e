"""Which numbers options may have, and what is raised for texts that are no regular expressions."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skelzoo.errors import TrainingError

NO_PATTERN = (re.error, ValueError, OverflowError, RecursionError)
"""What ``re.compile`` raises; the last three of numbers of repetitions, and of groups in each other."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    Attributes:
        above, below: ``low`` and ``high`` themselves are left out.
        whole: only whole numbers.
        none: what None, then taken too, is for; empty where it is not taken.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    none: str = ""

    def __contains__(self, value: Any) -> bool:
        if value is None:
            return bool(self.none)
        # A whole number may be larger than any float.
        if type(value) not in ((int,) if self.whole else (int, float)) or not self.low <= value <= self.high or value > sys.float_info.max:
            return False
        return not (self.above and value == self.low) and not (self.below and value == self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        high = "" if self.high == math.inf else f" and {'below' if self.below else 'at most'} {self.high:.15g}"
        return f"a {'whole ' if self.whole else ''}number {low}{high}{f', or null {self.none}' if self.none else ''}"


SHARE = Range(0, 1)
POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1, whole=True)


def check_numbers(options: object, ranges: Mapping[str, Range], where: str = "") -> None:
    """Check numbers among the attributes of ``options``.

    Args:
        ranges: option -> numbers that it takes.
        where: stands before their names in the message.

    Raises:
        TrainingError: one is no number, or out of its range.
    """
    for name, wanted in ranges.items():
        if getattr(options, name) not in wanted:
            raise TrainingError(f"{where}{name} is {getattr(options, name)!r}. Give {wanted}.")


def check_options(options: object, ranges: Mapping[str, Range], switches: Sequence[str] = (), pairs: Sequence[str] = ()) -> None:
    """Check a method's options, the attributes of ``options``.

    Args:
        ranges: option -> numbers that it takes.
        switches: options that are true or false.
        pairs: options that are the fewest and the most of something.

    Raises:
        TrainingError: one is of another kind, or out of its range.
    """
    check_numbers(options, ranges, "method_options.")
    for name in switches:
        if not isinstance(getattr(options, name), bool):
            raise TrainingError(f"method_options.{name} is {getattr(options, name)!r}. Give true or false.")
    for name in pairs:
        pair = getattr(options, name)
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(value in COUNT for value in pair) or pair[0] > pair[1]:
            raise TrainingError(f"method_options.{name} is {pair!r}. Give two whole numbers of at least 1, the fewest and the most.")
