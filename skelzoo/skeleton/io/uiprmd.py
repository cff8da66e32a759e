"""UI-PRMD Kinect recordings: pairs of text files, one with positions, one with angles, gzip or not.

The positions are not positions but offsets of each joint from its parent in centimetres, in the parent's frame; the angles
are x, y, z in degrees, and a local rotation is intrinsic Z, X, Y. In this order planted feet stand still.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from skelzoo.errors import ReadError
from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, build_clip, numbers, read_text
from skelzoo.skeleton.io.kinematics import euler, forward
from skelzoo.skeleton.layouts import get_layout

COLUMNS = 66
VICON_COLUMNS = 117
FPS = 30.0
EXERCISES = (
    "deep squat", "hurdle step", "inline lunge", "side lunge", "sit to stand", "standing active straight leg raise", "standing shoulder abduction",
    "standing shoulder extension", "standing shoulder internal-external rotation", "standing shoulder scaption",
)  # fmt: skip
"""Class names of m01 to m10."""

_NAME = re.compile(r"(?P<before>.*)_(?P<kind>angles|positions)(?P<after>.*?)(?P<suffix>\.txt(\.gz)?)", re.IGNORECASE)
_OTHER = {"angles": "positions", "positions": "angles"}


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like one of a pair: a first line of 66 numbers with commas."""
    line = head.split(b"\n", 1)[0]
    return line.count(b",") == COLUMNS - 1 and re.fullmatch(rb"[-+0-9.eE, \t\r]+", line) is not None


def is_wide(head: bytes) -> bool:
    """Whether the first line has as many words as a recording of the data set has numbers, those of Vicon too, which are not read."""
    return len(head.split(b"\n", 1)[0].replace(b",", b" ").split()) in (COLUMNS, VICON_COLUMNS)


def is_pair_name(path: Path) -> bool:
    """Whether the name is that of one of a pair: ``..._angles....txt`` or ``..._positions....txt``, with or without ``.gz``."""
    return _NAME.fullmatch(path.name) is not None


def partner_places(path: Path) -> list[Path]:
    """Where the other file of the pair may lie: beside the file, or in the sibling folder Angles or Positions."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return []
    other = _OTHER[match["kind"].lower()]
    other = other.capitalize() if match["kind"][0].isupper() else other
    folders = [path.parent]
    if path.parent.name.lower() in _OTHER:
        folders.append(path.parent.with_name(_OTHER[path.parent.name.lower()].capitalize()))
        folders.append(path.parent.with_name(_OTHER[path.parent.name.lower()]))
    suffixes = [match["suffix"], *(s for s in (".txt.gz", ".txt") if s != match["suffix"])]
    return [folder / f"{match['before']}_{other}{match['after']}{suffix}" for folder in folders for suffix in suffixes]


def find_partner(path: Path) -> Path | None:
    """The other file of the pair, or None."""
    return next((p for p in partner_places(path) if os.path.isfile(p)), None)


def read(path: PathLike) -> list[Clip]:
    """Read a recording; give either file of the pair.

    Returns:
        One clip (1, T, 22, 3), layout uiprmd22, metres, y up, 30 fps, labelled after m01 to m10 in the name.

    Raises:
        ReadError: no partner file, not 66 numbers a line, not equally many lines, numbers that are none, damaged gzip.
    """
    path = Path(path)
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ReadError(path, "looks like a UI-PRMD file, but its name has neither _angles nor _positions",
                        "Keep the names of the data set, m01_s01_e01_angles.txt and m01_s01_e01_positions.txt; both are needed.")  # fmt: skip
    own = _table(path)
    partner = find_partner(path)
    if partner is None:
        looked = ", ".join(str(p) for p in partner_places(path))
        raise ReadError(path, f"its {_OTHER[match['kind'].lower()]} file is missing", f"A recording is a pair of files; put the other one at one of: {looked}.")
    other = _table(partner)
    if len(own) != len(other):
        raise ReadError(path, f"has {len(own)} frames, but its partner {partner.name} has {len(other)}", "One of the two is cut off or of another recording.")
    angles, offsets = (own, other) if match["kind"].lower() == "angles" else (other, own)
    layout = get_layout("uiprmd22")
    frames = len(angles)
    turns = angles.reshape(frames, len(layout), 3)[..., [2, 0, 1]]
    positions = forward(layout.parents, euler(turns, "zxy"), offsets.reshape(frames, len(layout), 3)) * 0.01
    name = match["before"] + match["after"]
    movement = re.match(r"m(\d\d)(?!\d)", name)
    label = EXERCISES[int(movement[1]) - 1] if movement and 1 <= int(movement[1]) <= len(EXERCISES) else None
    return [build_clip(positions[None], layout, fps=FPS, label=label, name=name)]


def _table(path: Path) -> Float64s:
    rows = [line.replace(",", " ").split() for line in read_text(path).splitlines() if line.strip(" \t,\r")]
    if not rows:
        raise ReadError(path, "holds no frames", "Copy or download the file again.")
    odd = next((i for i, row in enumerate(rows) if len(row) != COLUMNS), None)
    if odd is not None:
        vicon = len(rows[odd]) == VICON_COLUMNS
        fix = (
            f"Those of the Vicon folders have {VICON_COLUMNS}; take the Kinect ones." if vicon else "The file is cut off or damaged; copy or download it again."
        )
        raise ReadError(path, f"line {odd + 1} has {len(rows[odd])} numbers; UI-PRMD Kinect files have {COLUMNS}", fix)
    return np.reshape(numbers([t for row in rows for t in row], path, "table"), (len(rows), COLUMNS))
