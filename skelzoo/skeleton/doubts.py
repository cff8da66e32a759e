"""Doubts about clips that are taken all the same, gathered and warned of. What they may be stands in the files odd_*.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from skelzoo.errors import DoubtWarning, warn

MANY = 20
"""Clips from which on those that say something of the axes are too few to be believed, or one warning tells it of all."""

MINORITY = 0.2
"""Share of many clips below which people rather lie or bend than that the axes are others: of HDM05's 288 clips 11 % say so, of no other file of the corpora and benchmarks more than 1 %."""

ALIKE = 0.15
"""Share of many clips from which on they are believed all the same if they say one thing, since people lie and bend every way: of HDM05's 9 % lean, and 3 % lie along one axis."""

NEARLY_ALL = 0.75
"""Share of the clips of one file from which on they are believed, whatever other files say: of recordings of 20 windows of 30 frames or more, those of climbing and bending reach 0.71."""

ENOUGH = 256
"""Recordings that stand for those still to come: of the first 80 of HDM05's, which are in the order of the motions, more than a fifth say so."""

WINDOW = re.compile(r"\[\d+:\d+\]$")
"""What the name of a window has after that of its recording."""


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


@dataclass
class _Tally:
    """How many clips there were, and which doubts were noted of how many, with the name of the first."""

    clips: int = 0
    noted: dict[Doubt, tuple[str, int]] = field(default_factory=dict)

    def add(self, found: Iterable[Doubt], name: str, clips: int = 1) -> None:
        for doubt in dict.fromkeys(found):
            first, count = self.noted.get(doubt, (name, 0))
            self.noted[doubt] = first, count + clips

    def take(self, other: _Tally) -> None:
        self.clips += other.clips
        for doubt, (name, count) in other.noted.items():
            self.add((doubt,), name, count)

    def about(self, doubt: Doubt, what: str) -> str:
        """Which it is about."""
        first, count = self.noted[doubt]
        return f"{first} and {count - 1} more {what}{'s' if count > 2 else ''}" if count > 1 else first

    def believed(self, doubt: Doubt) -> bool:
        """Whether enough of the clips say so, and none of its topic is said of more."""
        counts = {other: count for other, (_, count) in self.noted.items() if other.topic == doubt.topic}
        enough = sum(counts.values()) >= MINORITY * self.clips or counts[doubt] >= ALIKE * self.clips
        return enough and doubt == max(counts, key=lambda other: counts[other])

    def share(self, doubt: Doubt) -> float:
        """Of the clips that say so."""
        return self.noted[doubt][1] / self.clips if doubt in self.noted else 0


class Doubts:
    """What is odd about many clips, so that thousands of them warn once: each doubt with the first clip it is about, and their number."""

    def __init__(self) -> None:
        self._all, self._recordings = _Tally(), _Tally()
        self._uncut, self._windows, self._whose = _Tally(), _Tally(), ""
        self._files: dict[str, _Tally] = {}
        self._told: set[Doubt] = set()
        self._last, self._file, self._recording = -1, "", ""
        self._rates: list[float] = []
        self._window = 0

    def add(self, found: tuple[Doubt, ...], number: int, name: str, file: str = "") -> None:
        """Note what was found of a clip, be it nothing; numbers rise, and a clip prepared once more has the one it had. Those of a file come together."""
        if number <= self._last:
            return
        self._last = number
        for tally in (self._all, *([self._of_file(file)] if file else [])):
            tally.clips += 1
            tally.add(found, name)
        whose = WINDOW.sub("", name)
        if whose == name or whose != self._whose:
            self._end_recording()
        self._whose = whose
        self._windows.clips += 1
        self._windows.add((doubt for doubt in found if doubt.topic), whose)

    def add_recording(self, found: tuple[Doubt, ...], name: str) -> None:
        """Note what was found of a recording, once, however many clips are made of it, which come together."""
        if found and name != self._recording:
            self._recording = name
            self._recordings.add(found, name)

    def take(self, other: Doubts) -> None:
        """Note what was noted of other clips of the same run, as by another process."""
        self._end_recording()
        other._end_recording()
        self._all.take(other._all)
        self._uncut.take(other._uncut)
        self._recordings.take(other._recordings)
        for file, tally in other._files.items():
            self._of_file(file).take(tally)
        for rate in other._rates:
            self.cut(rate, other._window)

    def warn(self, going_on: bool = False) -> None:
        """Warn of what was noted, but of nothing twice. The numbers of clips noted from here on begin anew.

        Args:
            going_on: whether more of these clips come, without which too few may tell no share.
        """
        if not going_on:
            self._end_recording()
        for tally, what in ((self._recordings, "recording"), (self._all, "clip")):
            for doubt in [doubt for doubt in tally.noted if doubt not in self._told]:
                about = self._many_about(doubt, going_on) if doubt.topic and (going_on or tally.clips >= MANY) else tally.about(doubt, what)
                if about:
                    self._told.add(doubt)
                    warn(f"{about}: {doubt}", DoubtWarning)
        self._last, self._recording = -1, ""
        if len(self._rates) == 2:
            lasting = " and ".join(f"{self._window / rate:.3g} s at {rate:.5g} fps" for rate in self._rates)
            text = f"recordings of different frame rates are cut into windows of {self._window} frames, which last {lasting}. Give seconds instead, such as --window 3s (window='3s' in Python)."
            self.warn_of(text)

    def warn_of(self, text: str) -> None:
        """Warn of what is odd about the clips as a whole, but not twice."""
        if Doubt(text) not in self._told:
            self._told.add(Doubt(text))
            warn(text, DoubtWarning)

    def cut(self, fps: float | None, frames: int) -> None:
        """Note a recording that is cut into windows of so many frames; the first whose frame rate is another is warned of; 29.97 is 30."""
        self._window = frames
        if fps is not None and len(self._rates) < 2 and round(fps) not in map(round, self._rates):
            self._rates.append(fps)

    def _many_about(self, doubt: Doubt, going_on: bool) -> str:
        """Which clips it is about, where enough of all, or of a file's, say so; else ""."""
        least = ENOUGH if going_on else MANY
        for tally in (self._all, *self._files.values()):
            if tally.clips >= least and (self._believed(doubt, going_on) if tally is self._all else tally.share(doubt) >= NEARLY_ALL):
                first, count = tally.noted[doubt]
                return f"{first} and {count - 1} more of {tally.clips} clips{'' if tally is self._all else ' of this file'}"
        return ""

    def _believed(self, doubt: Doubt, going_on: bool) -> bool:
        """Whether enough clips say so, and enough recordings, since of long ones, of people who lie or bend, there are many windows."""
        if self._uncut.clips < (ENOUGH if going_on else MANY):
            return not going_on and self._all.believed(doubt)
        return self._all.believed(doubt) and doubt in self._uncut.noted and self._uncut.believed(doubt)

    def _end_recording(self) -> None:
        """Count the last recording, which says what most of its windows do."""
        if self._windows.clips:
            self._uncut.clips += 1
            self._uncut.add((doubt for doubt, (_, count) in self._windows.noted.items() if 2 * count > self._windows.clips), self._whose)
        self._windows = _Tally()

    def _of_file(self, file: str) -> _Tally:
        """The clips of a file; the last file's are forgotten where they are too few to tell a share."""
        if file != self._file and self._file and self._files[self._file].clips < MANY:
            del self._files[self._file]
        self._file = file
        return self._files.setdefault(file, _Tally())


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
