"""Which numbers the options of a recipe may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    Attributes:
        above, below: ``low`` and ``high`` themselves are left out.
        whole: only whole numbers.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        if type(value) not in ((int,) if self.whole else (int, float)) or not self.low <= value <= self.high or value == math.inf:
            return False
        return not (self.above and value == self.low) and not (self.below and value == self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        high = "" if self.high == math.inf else f" and {'below' if self.below else 'at most'} {self.high:g}"
        return f"a {'whole ' if self.whole else ''}number {low}{high}"


SHARE = Range(0, 1)
POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1, whole=True)
