"""NTU RGB+D ``.skeleton`` files: text, Kinect v2, 25 joints, metres, y up, any number of bodies in a frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skelzoo.errors import ReadError
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, build_clip, numbers, read_text, whole_number
from skelzoo.skeleton.io.tracks import with_room

FPS = 30.0
JOINTS = 25
_BODY, _JOINT = 10, 12  # numbers on the line of a body and on the line of a joint
_AGAIN = "The file is cut off or damaged; copy or download it again."
_NAME = re.compile(r"S\d{3}C\d{3}P\d{3}R\d{3}(?P<action>A\d{3})")


@dataclass
class _Body:
    """One tracked person: the frames it is in, and the texts of its joint lines."""

    frames: list[int]
    rows: list[str]


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like NTU skeletons: frame count, body count, a line of 10 numbers."""
    lines = [line.split() for line in head[:4096].split(b"\n", 4)[:4]]
    if len(lines) < 3 or any(len(line) != 1 or not line[0].isdigit() for line in lines[:2]):
        return False
    return len(lines[2]) == _BODY or (lines[1] == [b"0"] and len(lines[2]) <= 1)


def read(path: PathLike) -> list[Clip]:
    """Read one recording.

    Bodies are told apart by body id. The persons are ordered by the number of frames they are in, most first, then by
    who came first; of more than there is room for the first are kept, with a warning. A person is all zero in the frames it is not in; frames without anyone are all zero.

    Returns:
        One clip (M, T, 25, 3), layout ntu25, metres, y up, 30 fps. Scores (M, T, 25) are 0 for joints not tracked, 0.5
        for inferred, 1 for tracked. The label is the action code of the name, such as "A001".

    Raises:
        ReadError: cut off, damaged, not 25 joints, more or fewer frames than promised, no body in the whole file.
        ClipError: NaN, or all zero.
    """
    path = Path(path)
    bodies, frames = _parse(read_text(path).splitlines(), path)
    if not bodies:
        raise ReadError(path, f"nobody was tracked in any of its {frames} frames", "Leave this recording out.")
    ids = sorted(bodies, key=lambda i: (-len(bodies[i].frames), bodies[i].frames[0]))
    ids = [ids[i] for i in with_room([bodies[i].frames for i in ids], frames, path)]
    ranked = [bodies[i] for i in ids]
    keypoints = np.zeros((len(ranked), frames, JOINTS, 3), np.float32)
    scores = np.zeros((len(ranked), frames, JOINTS), np.float32)
    for m, body in enumerate(ranked):
        tokens = [row.split() for row in body.rows]
        places = numbers([t for row in tokens for t in row[:3]], path, "joint positions")
        states = numbers([row[_JOINT - 1] for row in tokens], path, "tracking states")
        if not np.isin(states, (0, 1, 2)).all():
            raise ReadError(path, "a joint's tracking state is none of 0, 1, 2", _AGAIN)
        keypoints[m, body.frames] = places.reshape(-1, JOINTS, 3)
        scores[m, body.frames] = 0.5 * states.reshape(-1, JOINTS)
    match = _NAME.match(path.stem)
    return [build_clip(keypoints, "ntu25", fps=FPS, scores=scores, label=match["action"] if match else None, name=path.stem, person_ids=ids)]


def _parse(lines: list[str], path: Path) -> tuple[dict[str, _Body], int]:
    """Body id -> body in the order of coming, and the number of frames."""
    frames = whole_number(lines[0], path, "line 1, the frame count,")
    if frames == 0:
        raise ReadError(path, "the frame count is 0", "Leave this recording out.")
    bodies: dict[str, _Body] = {}
    at = 1
    for frame in range(frames):
        if at >= len(lines) or not lines[at].strip():
            raise ReadError(path, f"the first line promises {frames} frames, but {frame} were found", _AGAIN)
        count = whole_number(lines[at], path, f"line {at + 1}, the body count of frame {frame + 1},")
        at += 1
        for _ in range(count):
            at = _body(lines, at, frame, bodies, path)
    if any(line.strip() for line in lines[at:]):
        raise ReadError(path, f"the first line promises {frames} frames, but the file goes on after them at line {at + 1}", _AGAIN)
    return bodies, frames


def _body(lines: list[str], at: int, frame: int, bodies: dict[str, _Body], path: Path) -> int:
    """Read one body from line ``at``; the number of the line after it."""
    rows = lines[at + 2 : at + 2 + JOINTS]
    if len(rows) < JOINTS:
        raise ReadError(path, f"ends inside frame {frame + 1}", _AGAIN)
    info = lines[at].split()
    if len(info) != _BODY:
        raise ReadError(path, f"line {at + 1} has {len(info)} values; the line of a body has {_BODY}", _AGAIN)
    if whole_number(lines[at + 1], path, f"line {at + 2}, the joint count,") != JOINTS:
        raise ReadError(path, f"line {at + 2} promises {lines[at + 1].strip()[:20]} joints; NTU bodies have {JOINTS}", _AGAIN)
    odd = next((i for i, row in enumerate(rows) if len(row.split()) != _JOINT), None)
    if odd is not None:
        raise ReadError(path, f"line {at + 3 + odd} has {len(rows[odd].split())} values; the line of a joint has {_JOINT}", _AGAIN)
    body = bodies.setdefault(info[0], _Body([], []))
    if body.frames and body.frames[-1] == frame:
        raise ReadError(path, f"frame {frame + 1} has two bodies with the id {info[0]}", _AGAIN)
    body.frames.append(frame)
    body.rows += rows
    return at + 2 + JOINTS
