"""What the columns of a table of joints are, told from its header: wide, long, or DeepLabCut's rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skelzoo.errors import ReadError

AXES = "xyz"
HOW = "Give columns such as Head_x, Head_y, Head_z, or frame, joint, x, y, z; `skelzoo docs files` shows them."
_SCORES = ("score", "likelihood", "confidence", "conf", "visibility", "probability", "c", "v", "p")
_PLACE = r"(?:[\s_.:\-/]*(?i:position|pos|coord|coordinate|translation))?"
_BETWEEN = r"[\s_.:\-/()\[\]]+"
_UNIT = re.compile(r"\s*[(\[](?:mm|cm|m|px|pixels?|s|ms|sec|seconds?)[)\]]\s*$", re.IGNORECASE)
_LAST = re.compile(rf"(?P<joint>.+?){_PLACE}{_BETWEEN}(?P<what>[xyz]|{'|'.join(_SCORES)})[)\]]?", re.IGNORECASE)
_FIRST = re.compile(rf"(?P<what>[xyz]|score|likelihood|confidence|visibility){_BETWEEN}(?P<joint>.+)", re.IGNORECASE)
_GLUED = re.compile(rf"(?P<joint>.*?[A-Za-z0-9]){_PLACE}(?P<what>[XYZ])")
_NUMBERED = re.compile(r"(?P<what>[xyzvc])_?(?P<joint>\d+)", re.IGNORECASE)
_WORD = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
_NO_PLACE = re.compile(
    rf"{_WORD}(?i:rot|rotation|ori|orient|orientation|q|quat|quaternion|euler|angles?|vel|velocity|acc|acceleration)(?:[WXYZwxyz]?(?![A-Za-z]))"
)
_PICTURE = re.compile(rf".+{_WORD}(?i:colou?r|depth|image|pixels?|px|rgb|ir)(?i:[\W_]*space)?(?i:[\W_]*point)?")

WORDS = {
    "frame": ("frame", "frames", "frameid", "framenumber", "frameno", "frameindex", "frameidx", "framenum"),
    "person": (
        "person",
        "personid",
        "subject",
        "subjectid",
        "individual",
        "individuals",
        "trackid",
        "bodyid",
        "player",
        "playerid",
        "actor",
        "actorid",
        "skeletonid",
        "athlete",
        "performer",
        "pid",
    ),
    "joint": ("joint", "jointname", "bodypart", "bodyparts", "keypoint", "keypointname", "landmark", "landmarkname", "marker", "markername"),
    "number": (
        "jointtype",
        *(f"{what}{number}" for what in ("joint", "keypoint", "landmark", "bodypart", "marker") for number in ("id", "index", "idx", "no", "number")),
    ),
    "score": _SCORES,
    **{axis: (axis, f"pos{axis}", f"position{axis}", f"{axis}pos", f"coord{axis}") for axis in AXES},
}
"""What a column of its own may be called, in small letters alone; of times see ``time_unit``."""

LONGEST = 200
"""Letters of a cell beyond which it is no name of a column; the patterns above take long for those."""

FEW = 10
"""Fewer points with numbers for names than this are no body, but the corners of boxes (x1, y1, x2, y2) and their like; nor are fewer points beside x and y of a joint."""

VIDEOS = re.compile(r"(video|file|clip|recording|session|sequence|seq|take|trial)(id|name|number|no|num|index|idx)?")
"""What a column may be called that names the video of a row, in small letters alone."""

TIME_UNITS = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    1e-3: ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
    1e-6: ("us", "\u03bcs", "usec", "usecs", "micros", "microsecond", "microseconds"),
    1e-7: ("ticks", "100ns"),
    1e-9: ("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"),
}
"""Seconds per unit of time, likeliest first, and what it is called; ticks are .NET's, in which a Kinect counts."""

_TIME = re.compile(
    rf"(?P<time>time[\W_]*stamps?|times?|t(?![^\W_]))?[\W_]*(?P<unit>{'|'.join(word for words in TIME_UNITS.values() for word in words)})?[\W_]*"
)


@dataclass
class Columns:
    """Which column holds what.

    Attributes:
        named: what the columns of WORDS are, of those that are there.
        joints: (person, joint) -> x, y, z and score -> the column; empty in a long table. The person is "" where the header names none.
        unit: seconds per unit of the column of times, 0 where its name does not say.
        header: number of rows of the header.
        glued: columns whose names are told by a capital X, Y or Z at their end alone.
        twice: a joint's coordinate that two columns are, "" for none.
        videos: columns that may name the video of a row.
        beside: what a long table has a second x, y and z of, ``world`` of world_x; left out.
    """

    named: dict[str, int] = field(default_factory=dict)
    joints: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    unit: float = 0
    header: int = 1
    glued: set[int] = field(default_factory=set)
    twice: str = ""
    videos: list[int] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    @property
    def long(self) -> bool:
        """Whether each row is one joint."""
        return not self.joints and {"joint", "x", "y"} <= set(self.named)

    def add(self, person: str, joint: str, what: str, column: int) -> None:
        """Note that a column is a coordinate or the score of a joint."""
        row = self.joints.setdefault((person, joint), {})
        if what in AXES and what in row:
            self.twice = f"{what} of {joint}"
        row.setdefault(what, column)

    def without_strays(self) -> Columns:
        """Those of joints that have coordinates at all: a column may end in _c and be something else, or in X alone, as INDEX does. Beside places in space also without those in pictures."""
        self.joints = {key: row for key, row in self.joints.items() if set(row) & set(AXES) and not (len(row) == 1 and self.glued & set(row.values()))}
        if sum(joint.isdecimal() for _, joint in self.joints) < FEW:
            self.joints = {key: row for key, row in self.joints.items() if not key[1].isdecimal()}
        if any("z" in row for row in self.joints.values()):
            self.joints = {(person, joint): row for (person, joint), row in self.joints.items() if "z" in row or not _PICTURE.fullmatch(joint)}
        if len(self.joints) < FEW and {"joint", "x", "y"} <= set(self.named):
            self.beside, self.joints, self.twice = joints_of(self), {}, ""
        return self

    def with_persons(self) -> None:
        """Take what stands before the same joints, ``A:Head`` and ``B:Head``, for persons."""
        parts = [joint.rpartition(":")[::2] for _, joint in self.joints]
        joints_of = {person: {joint for whose, joint in parts if whose == person} for person, _ in parts}
        if len(joints_of) > 1 and "" not in joints_of and all(joints == joints_of[parts[0][0]] for joints in joints_of.values()):
            self.joints = dict(zip(parts, self.joints.values(), strict=True))


def columns_of(rows: Sequence[Sequence[str]]) -> Columns | None:
    """The columns of a table by its first rows; None if they are no header of joints."""
    above = int(bool(rows) and [cell.casefold() for cell in rows[0]] == ["sep=", ""])  # Excel's line that names the separator
    columns = _columns_of(rows[above:]) if rows[above:] else None
    if columns is not None:
        columns.header += above
    return columns


def _columns_of(rows: Sequence[Sequence[str]]) -> Columns | None:
    first = [row[0].strip().casefold() if row else "" for row in rows[:4]]
    if first[0] == "scorer" and "bodyparts" in first and "coords" in first:
        return _deeplabcut(rows[: max(i for i, cell in enumerate(first) if cell in ("individuals", "bodyparts", "coords")) + 1])
    columns = Columns()
    for i, cell in enumerate(rows[0]):
        if len(cell) > LONGEST:
            continue
        word = re.sub(r"[\W_]+", "", _UNIT.sub("", cell)).casefold()
        kind = next((kind for kind, words in WORDS.items() if word in words), None)
        if VIDEOS.fullmatch(word):
            columns.videos.append(i)
        elif kind is not None:
            columns.named.setdefault(kind, i)
        elif (unit := time_unit(cell)) is not None:
            if columns.named.setdefault("time", i) == i:
                columns.unit = unit
        elif (found := _coordinate(cell)) is not None:
            columns.add("", *found, i)
            if not any(pattern.fullmatch(_UNIT.sub("", cell.strip())) for pattern in (_LAST, _FIRST, _NUMBERED)):
                columns.glued.add(i)
    if "joint" not in columns.named and "number" in columns.named:
        columns.named["joint"] = columns.named["number"]
    columns.without_strays().with_persons()
    told = columns.long or any({"x", "y"} <= set(row) for row in columns.joints.values())
    return columns if told else None


def time_unit(cell: str) -> float | None:
    """Seconds per unit of a column of times by its name, such as ``Time (ms)`` or ``timestamp_us``; 0 where it does not say, None if it is another column."""
    match = _TIME.fullmatch(cell.strip().casefold())
    # Of units alone only those that are words, and ticks only beside a time: those of games are others.
    if match is None or not (match["time"] or (match["unit"] or "").endswith("seconds")):
        return None
    return next((unit for unit, words in TIME_UNITS.items() if match["unit"] in words), 0.0)


def _deeplabcut(rows: Sequence[Sequence[str]]) -> Columns | None:
    """The rows scorer, individuals (where there are several), bodyparts and coords; the first column counts frames."""
    by_name = {row[0].strip().casefold(): row for row in rows if row}
    parts, coords = by_name["bodyparts"], by_name["coords"]
    people = by_name.get("individuals", [""] * len(parts))
    columns = Columns(named={"frame": 0}, header=len(rows))
    for i, (person, joint, what) in enumerate(zip(people, parts, coords, strict=False)):
        what = what.strip().casefold()
        if i and (what in AXES or what in _SCORES):
            columns.add(person.strip(), joint.strip(), what if what in AXES else "score", i)
    return columns.without_strays() if columns.joints else None


def _coordinate(cell: str) -> tuple[str, str] | None:
    """A column's name as (joint, x, y, z or score); None if it is another one."""
    text = _UNIT.sub("", cell.strip())
    if _NO_PLACE.search(text):
        return None
    match = next((m for pattern in (_LAST, _FIRST, _GLUED, _NUMBERED) if (m := pattern.fullmatch(text))), None)
    if match is None:
        return None
    what = match["what"].casefold()
    return match["joint"].strip(), what if what in AXES else "score"


def joints_of(columns: Columns) -> list[str]:
    """The joints of a wide table, each once, in its order."""
    return unique(joint for _, joint in columns.joints)


def kinds_of(joints: Sequence[str]) -> dict[str, list[str]]:
    """Joints that are there more than once, ``norm_NOSE`` and ``world_NOSE``: what they begin with -> their names without it; empty for others."""
    kinds: dict[str, list[str]] = {}
    for joint in joints:
        *kind, name = re.split(r"(?<=[\W_])(?=[^\W_])", joint, maxsplit=1)
        kinds.setdefault("".join(kind), []).append(name)
    return kinds if len(kinds) > 1 and len({frozenset(names) for names in kinds.values()}) == 1 else {}


def axes_of(columns: Columns, path: Path) -> str:
    """The axes of a table's joints; a ReadError where one of them lacks a column."""
    if columns.long:
        return AXES if "z" in columns.named else "xy"
    has_z = any("z" in row for row in columns.joints.values())
    axes = AXES if has_z else "xy"
    for (_, joint), row in columns.joints.items():
        lacking = next((axis for axis in axes if axis not in row), None)
        if lacking is not None:
            raise ReadError(path, f"no column is {lacking} of {joint!r}, which has {', '.join(a for a in AXES if a in row)}", HOW)
    return axes


def unique(values: Iterable[str]) -> list[str]:
    """Each once, in the order of coming."""
    return list(dict.fromkeys(values))
