"""Doubts about clips that are taken all the same, gathered and warned of. What they may be stands in the files odd_*.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from skelzoo.errors import DoubtWarning, warn

MANY = 20
"""Clips from which on those that say something of the axes are too few to be believed, or one warning tells it of all."""

MINORITY = 0.2
"""Share of many clips below which people rather lie or bend than that the axes are others: of HDM05's 288 clips 11 % say so, of no other file of the corpora and benchmarks more than 1 %."""


@dataclass(frozen=True)
class Doubt:
    """What is odd about a clip.

    Attributes:
        text: what it is and what to give instead, the same for all such clips.
        numbers: what else to say of the one clip.
        topic: doubts of one topic are judged by the share of the clips that have any of them; "" for those that one clip proves.
    """

    text: str
    numbers: str = field(default="", compare=False)
    topic: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.numbers}".rstrip()


class Doubts:
    """What is odd about many clips, so that thousands of them warn once: each doubt with the first clip it is about, and their number."""

    def __init__(self) -> None:
        self._clips: dict[Doubt, tuple[str, int, int]] = {}  # name of the first, how many, number of the last
        self._told: set[Doubt] = set()
        self._count, self._last = 0, -1
        self._rates: list[float] = []

    def add(self, found: tuple[Doubt, ...], number: int, name: str) -> None:
        """Note what was found of a clip, be it nothing; numbers rise, and a clip prepared once more has the one it had."""
        if number > self._last:
            self._count, self._last = self._count + 1, number
        for doubt in found:
            first, count, last = self._clips.get(doubt, (name, 0, -1))
            if number > last:
                self._clips[doubt] = first, count + 1, number

    def warn(self) -> None:
        """Warn of what was noted, but of nothing twice. The numbers of clips noted from here on begin anew."""
        for doubt, (first, count, _) in self._clips.items():
            if doubt in self._told or not self._believed(doubt):
                continue
            more = f" and {count - 1} more clip{'s' if count > 2 else ''}" if count > 1 else ""
            if doubt.topic and self._count >= MANY:
                more = f" and {count - 1} more of {self._count} clips"
            self._told.add(doubt)
            warn(f"{first}{more}: {doubt}", DoubtWarning)
        self._clips, self._last = {doubt: (first, count, -1) for doubt, (first, count, _) in self._clips.items()}, -1

    def warn_of(self, text: str) -> None:
        """Warn of what is odd about the clips as a whole, but not twice."""
        if Doubt(text) not in self._told:
            self._told.add(Doubt(text))
            warn(text, DoubtWarning)

    def cut(self, fps: float | None, frames: int) -> None:
        """Note a recording that is cut into windows of so many frames, and warn of the first whose frame rate is another; 29.97 is 30."""
        if fps is None or len(self._rates) == 2 or round(fps) in map(round, self._rates):
            return
        self._rates.append(fps)
        if len(self._rates) == 2:
            lasting = " and ".join(f"{frames / rate:.3g} s at {rate:.5g} fps" for rate in self._rates)
            text = f"recordings of different frame rates are cut into windows of {frames} frames, which last {lasting}. Give seconds instead, such as --window 3s (window='3s' in Python)."
            self.warn_of(text)

    def _believed(self, doubt: Doubt) -> bool:
        """Whether enough clips say so, and none of its topic is said of more."""
        if not doubt.topic or self._count < MANY:
            return True
        counts = {other: count for other, (_, count, _) in self._clips.items() if other.topic == doubt.topic}
        return sum(counts.values()) >= MINORITY * self._count and doubt == max(counts, key=lambda other: counts[other])


_SHARED: ContextVar[Doubts | None] = ContextVar("doubts", default=None)


@contextmanager
def warned_once() -> Iterator[None]:
    """Within, every doubt is warned of once, however often clips are prepared, as those of cross-validation are for every fold."""
    token = _SHARED.set(noted_doubts())
    try:
        yield
    finally:
        _SHARED.reset(token)


def noted_doubts() -> Doubts:
    """Those of ``warned_once`` around; else new ones."""
    return _SHARED.get() or Doubts()


def warn_of_clip(found: tuple[Doubt, ...], name: str) -> None:
    """Warn of what was found odd about one clip."""
    doubts = noted_doubts()
    doubts.add(found, 0, name)
    doubts.warn()
