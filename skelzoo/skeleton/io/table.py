"""Tables of joints, ``.csv`` and ``.tsv``, gzip or not: what spreadsheets, motion capture and DeepLabCut export.

=============  ==================================================================================================
wide           a row per frame, columns ``Head_x, Head_y, Head_z``; also ``Head.X``, ``Head:X``, ``HeadX``, ``Head_position_x``, ``x_Head``,
               and a confidence such as ``Head_score``, ``Head_likelihood``, ``Head_c``
long           a row per joint, columns ``frame``, ``joint``, ``x``, ``y``, and if wanted ``z`` and ``score``
DeepLabCut     three rows of header (``scorer``, ``bodyparts``, ``coords``), four with ``individuals``
=============  ==================================================================================================

Columns ``frame``, ``time`` or ``timestamp``, and ``person`` may stand beside them; others are passed over, but a table whose column ``video``, ``file`` or
``trial`` tells several is refused. Frames stand where their numbers or times put them,
with empty ones between; the first is frame 0, whatever its number. Joints that are those of a layout of skelzoo, in any order, are brought into its order, and what stands beside
them and for nothing more of the body is left out; others are understood as ``skelzoo.layout_from_names`` does; numbers are joints of the layout that is given.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import LayoutError, ReadError
from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.io.files import LARGEST, PathLike, build_clip, is_plain, read_text
from skelzoo.skeleton.io.joint_names import known_layout, known_part, layout_from_names, numbered
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.io.table_columns import AXES, HOW, Columns, axes_of, columns_of, joints_of, kinds_of, unique
from skelzoo.skeleton.io.table_times import by_coming, by_number, by_time, clocks, rate, warn_of_order
from skelzoo.skeleton.io.tracks import with_room
from skelzoo.skeleton.layouts import Layout, get_layout, layouts_with

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:[.,]\d{3})+")

EMPTY = frozenset(("", "nan", "na", "n/a", "none", "null", "-"))
"""What stands in a cell without a number, in small letters."""


@dataclass(frozen=True, eq=False)
class _Table:
    """What a table of joints holds.

    Attributes:
        keypoints: (M, T, V, C), NaN where a cell is empty, as all are where a person is not there.
        layout: its joints are the V axis.
        fps: frames per second by the column of times; None without one.
        scores: (M, T, V), or None.
        lost: the first empty cell of a person who is there, as text; "" for none.
        notes: what was decided of it, for people.
        person_ids: who the persons are by its header or a column; none where it does not say.
    """

    keypoints: FloatArray
    layout: Layout
    fps: float | None
    scores: FloatArray | None
    lost: str
    notes: tuple[str, ...]
    person_ids: Sequence[str]


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like a table of joints, by the names of its columns."""
    if b"\0" in head[:4] or head[:1] in (b"{", b"["):
        return False
    lines = head.decode("utf-8-sig", "replace").splitlines()[:4]
    try:
        return columns_of(cells_of(lines)) is not None
    except csv.Error:
        return False


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read a table of joints.

    Args:
        reading: of it ``fill_missing``: fill empty cells, which are refused in 3-D otherwise, and those of frames without anyone where the table is of one person;
            and ``layout``, where joints have numbers for names.

    Returns:
        One clip (M, T, V, C), 3-D in the table's unit with its axes, 2-D in its pixels; fps where a column of times tells it. 2-D joints with empty cells are
        (0, 0), not found, with score 0, unless they are filled.

    Raises:
        ReadError: no columns of joints, joints whose names are not understood or are numbers of no layout that is given, rows of several videos, a coordinate without its column, cells that are no numbers or may be thousands, times of which
            some are none, a frame twice, frames too far apart for a video, rows of other lengths than the header, and empty cells of 3-D joints; the message
            names line and column.
        ClipError: all zero.
    """
    path = Path(path)
    table = _read_table(path, reading.layout)
    keypoints, scores = table.keypoints, table.scores
    unknown, absent = (np.asarray(found) for found in (np.isnan(keypoints).any(-1), np.isnan(keypoints).all((-1, -2))))
    lost = unknown & ~absent[..., None]
    if lost.any() and keypoints.shape[-1] == 3 and not reading.fill_missing:
        more = f", as are {int(lost.sum()) - 1} more joint positions" if lost.sum() > 1 else ""
        raise ReadError(
            path,
            f"{table.lost} is empty{more}",
            "Fill the gaps when exporting, or have them filled by interpolation over time: --fill-missing (skelzoo.read(path, fill_missing=True)).",
        )
    if len(keypoints) > 1 or not reading.fill_missing:
        keypoints[absent] = 0
    if keypoints.shape[-1] == 2:
        keypoints[np.broadcast_to(unknown.all(1, keepdims=True), lost.shape) if reading.fill_missing else lost] = 0
    scores = None if scores is None else np.where(unknown, 0.0, np.nan_to_num(scores))
    name = re.sub(r"(?i)\.(csv|tsv)(\.gz)?$", "", path.name)
    return [
        build_clip(keypoints, table.layout, fps=table.fps, scores=scores, name=name, fill=reading.fill_missing, notes=table.notes, person_ids=table.person_ids)
    ]


def _read_table(path: Path, given: str | None) -> _Table:
    """A table of joints with its empty cells; ``given`` is the layout of joints that have numbers for names."""
    try:
        rows = cells_of(read_text(path).splitlines())
    except csv.Error as error:
        raise ReadError(path, f"is no table ({error})", "Copy or export it again.") from None
    columns = columns_of(rows)
    if columns is None:
        raise ReadError(path, f"the columns {', '.join(cell[:40] for cell in rows[0][:6]) if rows else ''} are no joints", HOW)
    if columns.twice:
        raise ReadError(path, f"two columns are {columns.twice}", "Give every column a name of its own.")
    body = _Body(path, columns, rows)
    joints = joints_of(columns) if not columns.long else unique(body.texts("joint"))
    layout, kept = _layout(joints, given, path)
    left = [joint for joint in joints if joint not in kept]
    if left:
        body.leave_out(left)
        body.notes.append(f"left out beside the joints of {layout.name}: {', '.join(left[:8])}{f' and {len(left) - 8} more' if len(left) > 8 else ''}")
    axes = axes_of(columns, path)
    places = body.long(kept, axes) if columns.long else body.wide(kept, axes)
    keypoints, scores = places[..., : len(axes)], places[..., len(axes)]
    lost = body.lost(keypoints, kept, axes)
    ids = next(([who or "?1" for who in ids] for ids in (body.named(), body.people) if any(ids) and len(ids) == len(keypoints)), [])
    return _Table(keypoints, layout, body.fps(), None if np.isnan(scores).all() else scores, lost, tuple(body.notes), ids)


def cells_of(lines: Sequence[str]) -> list[list[str]]:
    """Rows of cells, split at what the first line has most of: tab, semicolon or comma; empty lines stay, as empty rows."""
    first = next((line for line in lines if line.strip()), "")
    return list(csv.reader(lines, delimiter=max("\t;,", key=first.count)))


def _id(cell: str) -> str:
    """Who a cell says, 1 also where it says 1.0; "" where it says nobody."""
    return "" if cell.casefold() in EMPTY else re.sub(r"^(-?\d+)\.0+$", r"\1", cell)


def _layout(joints: Sequence[str], given: str | None, path: Path) -> tuple[Layout, Sequence[str]]:
    """The layout of joints of these names, and those that are its joints, in its order."""
    known = known_layout(part := joints) or known_layout(part := known_part(joints))
    if known is not None:
        layout, meant = known
        return layout, [part[meant.index(joint)] for joint in layout.joints]
    places = numbered(joints)
    if places is not None:
        return _layout_of_numbers(joints, places, given, path)
    try:
        return layout_from_names(joints), joints
    except LayoutError as error:
        kinds = kinds_of(joints)
        if known_layout([kind.rstrip("_ .-/") for kind in kinds]):
            joint, (person, *_) = next(iter(kinds.items()))
            how = f"Put what tells them apart before the joints: {person}:{joint.rstrip('_ .-/')}_x for {joint}{person}_x."
            raise ReadError(path, f"has persons behind the names of its joints, as {person} in {joint}{person}", how) from None
        if any(known_layout(names) or numbered(names) for names in kinds.values()):
            raise ReadError(
                path,
                f"has every joint {len(kinds)} times, as {' and '.join(kinds)}",
                "Keep the columns of one of them alone; if they are persons, name them PERSON:JOINT_x.",
            ) from None
        raise ReadError(
            path, f"its joints are not understood: {str(error)[:-1]}", "With that layout skelzoo.Clip(keypoints, layout) takes them as an array."
        ) from None


def _layout_of_numbers(joints: Sequence[str], places: Sequence[int], given: str | None, path: Path) -> tuple[Layout, Sequence[str]]:
    fits = layouts_with(len(joints))
    if given in fits:
        return get_layout(given), [joints[places.index(v)] for v in range(len(joints))]
    other = f", and layout {given!r} has {len(get_layout(given))}" if given else ""
    problem = f"its {len(joints)} joints have numbers for names, such as {joints[0]!r}{other}"
    how = f"Say which layout they are of, {' or '.join(fits)}: --layout {fits[0]} (skelzoo.read(path, layout={fits[0]!r}))." if fits else ""
    raise ReadError(path, problem, how or "No layout of skelzoo has as many; write their names instead, such as left_shoulder.")


class _Body:
    """The rows below the header, by person and frame."""

    def __init__(self, path: Path, columns: Columns, rows: Sequence[Sequence[str]]) -> None:
        self.path, self.columns = path, columns
        self.notes = [f"left out beside x and y of each joint: those of {', '.join(columns.beside)}"] if columns.beside else []
        named = rows[1 : columns.header] or rows[:1]
        self.header = [" ".join(cell.strip() for cell in cells) for cells in zip(*named, strict=False)]
        below = [(i, row) for i, row in enumerate(rows, 1) if i > columns.header]
        filled = [n for n, (_, row) in enumerate(below) if any(cell.strip() for cell in row)]
        if not filled:
            raise ReadError(path, "holds no rows below its header", "Leave this recording out, or export it again.")
        self.rows = [below[n] for n in filled]
        odd = next(((i, row) for i, row in self.rows if len(row) != len(self.header)), None)
        if odd is not None:
            problem = f"line {odd[0]} has {len(odd[1])} cells, the header {len(self.header)}"
            raise ReadError(path, problem, "The file is cut off or damaged there; copy or export it again.")
        # A comma for the decimal point goes with semicolons between the cells; a point in another column may be that of a file's name.
        places = [i for row in columns.joints.values() for i in row.values()] or [columns.named[axis] for axis in AXES if axis in columns.named]
        self.comma = not any("." in row[i] for _, row in self.rows[:50] for i in places)
        self._check_thousands([i for row in columns.joints.values() for axis, i in row.items() if axis in AXES] or places)
        has_times = "time" in columns.named and any(text.casefold() not in EMPTY for text in self.texts("time"))
        self.key = "frame" if "frame" in columns.named else "time" if has_times else None
        if self.key is None and columns.long:
            raise ReadError(path, "has a row per joint, but no column frame or time", HOW)
        if self.key is None and "person" in columns.named:
            raise ReadError(path, "has a column person, but no column frame or time", HOW)
        if self.key is None:
            # Lines without cells are no rows: line ends written twice leave one after every row.
            between = below[filled[0] : filled[-1] + 1]
            self.rows = [(i, row if len(row) == len(self.header) else [""] * len(self.header)) for i, row in between if len(row) > 1]
        self._check_one_video()
        self.unit = columns.unit
        self.times = self._times() if has_times else None
        self.frame = self._places()
        self.frames = int(self.frame.max()) + 1
        people = [_id(text) for text in self.texts("person")] if "person" in columns.named else [""] * len(self.rows)
        self.people = unique(people)
        at = {person: i for i, person in enumerate(self.people)}
        self.person = [at[person] for person in people]
        self._keep_with_room()

    def leave_out(self, joints: Sequence[str]) -> None:
        """Forget these joints, and in a long table their rows."""
        self.columns.joints = {key: row for key, row in self.columns.joints.items() if key[1] not in joints}
        if self.columns.long:
            self._keep([n for n, joint in enumerate(self.texts("joint")) if joint not in joints])

    def _keep(self, rows: Sequence[int]) -> None:
        self.rows, self.person, self.frame = [self.rows[n] for n in rows], [self.person[n] for n in rows], self.frame[rows]
        self.times = None if self.times is None else self.times[rows]

    def _keep_with_room(self) -> None:
        """Leave out the rows of persons of whom there is no room."""
        frames: list[set[int]] = [set() for _ in self.people]
        for person, frame in zip(self.person, self.frame.tolist(), strict=True):
            frames[person].add(frame)
        places = {i: place for place, i in enumerate(with_room(frames, self.frames, self.path))}
        if len(places) < len(frames):
            self._keep([n for n, person in enumerate(self.person) if person in places])
            self.people, self.person = [self.people[i] for i in places], [places[i] for i in self.person]

    def named(self) -> list[str]:
        """The persons of the header, "" where it names none."""
        return unique(person for person, _ in self.columns.joints)

    def texts(self, kind: str) -> list[str]:
        """The cells of a column as text."""
        return [row[self.columns.named[kind]].strip() for _, row in self.rows]

    def _check_thousands(self, places: Sequence[int]) -> None:
        """Refuse decimals that may be thousands: where 2,907 is 2907, 104 has no comma. Decimals give themselves away by 0,104 or 2,91, or by 1040 beside them."""
        mark, first, most = "," if self.comma else ".", None, 0
        for line, i, cell in ((line, i, row[i].strip()) for line, row in self.rows for i in places):
            if mark in cell:
                first = first or (line, i, cell)
                if not _THOUSANDS.fullmatch(cell):
                    return
            elif cell.casefold() not in EMPTY and cell != "0":
                most = max(most, len(cell.lstrip("+-")))
        if first is not None and 0 < most <= 3:
            line, column, cell = first
            problem = f"line {line}, column {self.header[column]!r}: {cell!r} may be {cell.replace(mark, '')} or {cell.replace(mark, '.', 1)}"
            raise ReadError(self.path, problem, "Export it without separators of thousands, or with four digits behind the point.")

    def _check_one_video(self) -> None:
        frames = self.texts(self.key) if self.key else list(map(str, range(len(self.rows))))
        for column in self.columns.videos:
            of = [(row[column].strip(), frame) for (_, row), frame in zip(self.rows, frames, strict=True) if row[column].strip().casefold() not in EMPTY]
            videos = unique(video for video, _ in of)
            # As many as frames are pictures, or numbers of rows.
            if 1 < len(videos) < len(set(of)):
                problem = f"its column {self.header[column]!r} tells {len(videos)} recordings, such as {videos[0][:40]!r} and {videos[1][:40]!r}"
                raise ReadError(self.path, problem, "Save each of them to a file of its own.")

    def _times(self) -> Float64s | None:
        """The time of each row in the table's unit, NaN where empty; None where they are neither numbers nor times of day or dates."""
        texts = self.texts("time")
        if any(math.isfinite(self._number(text)) for text in texts):
            return self.numbers(self.columns.named["time"], largest=1e20, empty=self.key != "time")
        times = clocks(texts)
        if np.isnan(times).all():
            if self.key == "time":
                warn_of_order(self.header[self.columns.named["time"]], texts[0], self.path)
            return None
        bad = next((n for n, text in enumerate(texts) if math.isnan(times[n]) and (self.key == "time" or text.casefold() not in EMPTY)), None)
        if bad is not None:
            raise self._unusable(bad, self.columns.named["time"], "time of day", "Correct it.")
        self.unit = 1.0
        return times

    def _places(self) -> NDArray[np.intp]:
        """The frame of each row, counted from 0."""
        if self.key is None:
            return np.arange(len(self.rows))
        if self.key == "frame":
            return by_number(self.numbers(self.columns.named["frame"], largest=1e20, empty=False), self.path)
        return np.asarray(by_coming(self.texts("time")), np.intp) if self.times is None else by_time(self.times, "times", self.path)

    def _number(self, cell: str) -> float:
        if not is_plain(cell):
            return math.nan
        try:
            return float(cell.replace(",", ".") if self.comma else cell)
        except ValueError:
            return math.nan

    def _unusable(self, row: int, column: int, what: str, how: str) -> ReadError:
        line, cells = self.rows[row]
        return ReadError(self.path, f"line {line}, column {self.header[column] or column + 1!r}: {cells[column].strip()[:40]!r} is not a usable {what}", how)

    def numbers(self, column: int, largest: float = LARGEST, empty: bool = True) -> Float64s:
        """The cells of a column as numbers, NaN where empty."""
        values = np.full(len(self.rows), np.nan)
        for n, (_, row) in enumerate(self.rows):
            cell = row[column].strip()
            if cell.casefold() in EMPTY and empty:
                continue
            values[n] = self._number(cell)
            if not abs(values[n]) < largest:
                raise self._unusable(n, column, "number", "Correct it, or leave the cell empty where a joint was not found." if empty else "Correct it.")
        return values

    def wide(self, joints: Sequence[str], axes: str) -> FloatArray:
        """(persons, frames, joints, axes and score), NaN where empty."""
        named = self.named()
        if len(named) > 1 and len(self.people) > 1:
            raise ReadError(self.path, "names persons in its header and in a column", "Leave one of them out.")
        places = np.full((max(len(named), len(self.people)), self.frames, len(joints), len(axes) + 1), np.nan, np.float32)
        self._check_once([(p, int(t)) for p, t in zip(self.person, self.frame, strict=True)], [i for row in self.columns.joints.values() for i in row.values()])
        at = {joint: v for v, joint in enumerate(joints)}
        for (person, joint), row in self.columns.joints.items():
            who = [named.index(person)] * len(self.rows) if len(named) > 1 else self.person
            for k, what in enumerate((*axes, "score")):
                if what in row:
                    places[who, self.frame, at[joint], k] = self.numbers(row[what])
        return places

    def long(self, joints: Sequence[str], axes: str) -> FloatArray:
        """Likewise of a table with a row per joint."""
        at = {joint: v for v, joint in enumerate(joints)}
        joint = [at[name] for name in self.texts("joint")]
        places = np.full((len(self.people), self.frames, len(joints), len(axes) + 1), np.nan, np.float32)
        kinds = {k: self.columns.named[what] for k, what in enumerate((*axes, "score")) if what in self.columns.named}
        self._check_once(list(zip(self.person, map(int, self.frame), joint, strict=True)), list(kinds.values()))
        for k, column in kinds.items():
            places[self.person, self.frame, joint, k] = self.numbers(column)
        return places

    def _check_once(self, keys: Sequence[tuple[int, ...]], places: Sequence[int]) -> None:
        """Refuse a frame of a person that is there twice, but for rows that are the same in these columns."""
        first: dict[tuple[int, ...], tuple[int, Sequence[str]]] = {}
        for (line, row), key in zip(self.rows, keys, strict=True):
            before, other = first.setdefault(key, (line, row))
            if row is not other and any(row[i].strip() != other[i].strip() for i in places):
                problem = f"lines {before} and {line} are both {self._frame(key[1])}" + (" of the same joint" if len(key) > 2 else "")
                how = "Give each person an id of its own" if "person" in self.columns.named else "Of several persons give a column person"
                raise ReadError(self.path, problem, f"{how}, of several videos a file each; if the recorder wrote it twice, leave one row.")
        if len(first) < len(self.rows):
            self.notes.append(f"left out rows that repeat the joints of another of their {self.key}: {len(self.rows) - len(first)}")

    def lost(self, keypoints: FloatArray, joints: Sequence[str], axes: str) -> str:
        """The first empty cell of somebody who is there, for messages."""
        empty = np.isnan(keypoints)
        found = np.argwhere(empty & ~empty.all((-1, -2), keepdims=True))
        if not len(found):
            return ""
        m, t, v, k = found[np.argmin(found[:, 1])]
        lines = [line for (line, _), p, f in zip(self.rows, self.person, self.frame, strict=True) if f == t and (p == m or len(self.people) == 1)]
        if self.columns.long:
            return f"{axes[k]} of joint {joints[v]!r} in {self._frame(t)}, from line {lines[0]} on,"
        column = next(row[axes[k]] for (_, joint), row in self.columns.joints.items() if joint == joints[v])
        return f"line {lines[0]}, column {self.header[column]!r}"

    def _frame(self, place: int) -> str:
        """What a table calls the frame at a place, for messages."""
        kind = self.key or "row"
        return f"{kind} {place if self.key is None else self.texts(kind)[int(np.argmax(self.frame == place))]}".removesuffix(".0")

    def fps(self) -> float | None:
        """Frames per second by the column of times; None without one, or where it does not tell."""
        if self.times is None:
            return None
        places, first = np.unique(self.frame, return_index=True)
        times = self.times[first]
        return rate(times[np.isfinite(times)], places[np.isfinite(times)], self.unit)
