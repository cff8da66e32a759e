"""BVH motion capture.

Channels are read in the order each joint states them. Where a joint has position channels, files differ in whether these
replace the joint's OFFSET (Bandai-Namco) or are added to it (iClone). The rule here: project a joint's positions on its
OFFSET; if the median over the frames lies nearer to OFFSET than to zero they replace it, else they are added. All joints
below the root vote, since the OFFSET of a travelling joint may be any place in the studio, and the whole file follows the
majority; a root that alone has position channels decides for itself, and a wrong decision there only shifts the body as
a whole. Hips that alone have them, below a root that stays on the floor, are as near to zero where somebody lies or sits:
theirs replace the OFFSET but where they come down to zero. With a zero OFFSET the two are the same.

Known rigs (by joint names) come back in their layouts, with their units; see ``bvh_rigs``. Every other rig gets a layout of
its own, whose body points are told from the joint names (``rig_names``), and the unit is told from its height
(``kinematics.find_unit``). Files with z up are turned to y up (``up_axis``). Frames of a T-pose before the motion are left out of
CMU's files, and of rigs that are not known where the pose then jumps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skelzoo.errors import LayoutError, ReadError
from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.axes import turned
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.bvh_rigs import KnownRig, are_apart, find_rig, frames_at_rest, label_from_name, repair_cmu
from skelzoo.skeleton.io.files import PathLike, build_clip, numbers, read_text, whole_number
from skelzoo.skeleton.io.kinematics import UNITS, distance_along, euler, find_unit, forward, is_usual, longest_path, path_to_root
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.io.rig_names import body_points, guess_layout
from skelzoo.skeleton.io.up_axis import up_axis
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.odd_frames import FAR, SHORT, pose_steps
from skelzoo.skeleton.odd_notes import T_POSE, UNSURE_UNIT, UNSURE_Y, UNSURE_Z

LOWEST_HIPS = 0.05
"""Share of their OFFSET at which hips lie on the floor, at least; those of somebody who stands are at their OFFSET, at 0 where it is to be added."""

CALM = 0.98
"""Share of the steps of a pose that tell how fast a motion is; others may be jumps, as where joints are lost."""

_AGAIN = "Export or copy the file again"
_UP = {None: "", ("z", True): "turned from z up", ("z", False): UNSURE_Z, ("y", True): "rests along z, left y up", ("y", False): UNSURE_Y}
_CHANNEL = re.compile(r"([XYZ])(position|rotation)", re.IGNORECASE)


@dataclass(frozen=True)
class Bvh:
    """A parsed BVH file in its own units.

    Attributes:
        names: joints in the order of the file, without a namespace that all have; the End Site of joint X is the joint ``X_end`` without channels.
        parents: per joint the index of its parent, -1 for the root.
        offsets: (V, 3).
        channels: per joint its channels, such as ``("xposition", ..., "zrotation")``.
        motion: (T, all channels).
        frame_time: seconds.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Float64s
    channels: tuple[tuple[str, ...], ...]
    motion: Float64s
    frame_time: float

    @property
    def ends(self) -> list[bool]:
        """Per joint whether it is an End Site."""
        return [not c and n.endswith("_end") and v not in self.parents for v, (n, c) in enumerate(zip(self.names, self.channels, strict=True))]

    @property
    def fps(self) -> float:
        """Frames per second; 1 / 0.0083333 is taken as 120."""
        fps = 1.0 / self.frame_time
        return float(round(fps)) if abs(fps - round(fps)) < 2e-4 * fps else fps


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like BVH."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].upper() == b"HIERARCHY"


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read a BVH file.

    Args:
        reading: where it says which axis is up, the joints stay on the file's own axes.

    Returns:
        One clip (1, T, V, 3) in metres, y up, at the file's own frame rate. Layout bandai22, cmu29 (the BVH conversion of
        the CMU data, lost bones put back), iclone30, daz29, or one made for the rig.

    Raises:
        ReadError: not BVH, cut off, numbers that are none, more or fewer frames than promised, a skeleton of no human size.
        ClipError: all coordinates zero.
    """
    path = Path(path)
    bvh = parse(path)
    rig = find_rig(bvh.names)
    offsets = repair_cmu(bvh.names, bvh.offsets) if rig is not None and rig.layout == "cmu29" else bvh.offsets
    local, rotations = _local(bvh, offsets)
    height, lengths = _height(bvh, local)
    unit = _unit(height, None if rig is None else rig.unit, path)
    positions = forward(bvh.parents, rotations, local)
    dropped, kept = _t_pose(bvh, positions, rig)
    positions = positions[dropped:]
    axis = None if reading.up is not None else up_axis(bvh.names, bvh.parents, bvh.offsets, positions)
    if axis is not None and axis[0] == "z":
        positions = turned(positions, "z")
    repaired = int((offsets != bvh.offsets).any(axis=1).sum())
    notes = (
        f"from {UNITS[unit]}",
        UNSURE_UNIT * (rig is None and not is_usual(height, unit)),
        _UP[axis],
        f"{dropped} frame{'s' * (dropped > 1)} of a T-pose left out" * bool(dropped),
        T_POSE * kept,
        f"{repaired} lost bones put back" * bool(repaired),
    )
    if rig is None:
        keep = [v for v, end in enumerate(bvh.ends) if not end]
        layout = _own_layout(bvh, keep, [round(length * unit, 2) for length in lengths], path)
    else:
        keep, layout = [bvh.names.index(j) for j in rig.joints], get_layout(rig.layout)
    label = label_from_name(layout.name, path.stem)
    return [build_clip(positions[None][:, :, keep] * unit, layout, fps=bvh.fps, label=label, name=path.stem, notes=[n for n in notes if n], first=dropped)]


def _own_layout(bvh: Bvh, keep: list[int], lengths: list[float], path: Path) -> Layout:
    """A layout of the joints ``keep`` of a rig that is not known; lengths of all its bones in metres."""
    new = {v: i for i, v in enumerate(keep)}
    parents = tuple(new[bvh.parents[v]] if bvh.parents[v] >= 0 else -1 for v in keep)
    try:
        return guess_layout(tuple(bvh.names[v] for v in keep), parents, tuple(lengths[v] for v in keep))
    except LayoutError as error:
        raise ReadError(path, f"its joints cannot be used: {error}", "Give every joint a name of its own.") from None


def _t_pose(bvh: Bvh, positions: Float64s, rig: KnownRig | None) -> tuple[int, bool]:
    """How many frames of a T-pose before the motion are left out, and whether such frames are kept from which the pose goes farther than between any others."""
    turns = [k for k, c in enumerate(c for channels in bvh.channels for c in channels) if c.endswith("rotation")]
    angles = bvh.motion[:, turns[sum(c.endswith("rotation") for c in bvh.channels[0]) :]]
    frames = frames_at_rest(angles)
    if rig is not None or not frames:  # the frames that corpora leave out of files of known rigs count on from here
        return min(frames, int(rig is not None and rig.layout == "cmu29")), False
    # The pose may come back, at the end or where joints were lost, and there may be a few other jumps.
    others = np.flatnonzero(are_apart(angles, angles[0]))
    steps = pose_steps(positions[[frames - 1, *others]])
    differing = 1 + (np.diff(angles[others], axis=0) != 0).any(axis=1).sum()
    if differing >= SHORT and steps[0] > FAR * np.quantile(steps[1:], CALM, method="higher"):
        return frames, False
    return 0, bool(steps[0] > steps[1:].max(initial=0))


def parse(path: PathLike) -> Bvh:
    """Parse a BVH file as it is, without units or known rigs.

    Raises:
        ReadError: as ``read``.
    """
    text = read_text(path)
    header, *motion = re.split(r"(?im)^[ \t]*MOTION[ \t]*\r?$", text, maxsplit=1)
    if not sniff(text[:100].encode()):
        raise ReadError(path, "does not start with HIERARCHY, so it is no BVH file", "Check that this is the right file.")
    if not motion:
        raise ReadError(path, "has no MOTION section: the file is cut off in its header", f"{_AGAIN}.")
    names, parents, offsets, channels = _Hierarchy(path).parse(header)
    count = sum(map(len, channels))
    frame_time, values = _motion(motion[0], count, path)
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), values, frame_time)


class _Hierarchy:
    """The HIERARCHY section, line by line; braces may stand on lines of their own or not."""

    def __init__(self, path: PathLike) -> None:
        self.path = path
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[Float64s | None] = []
        self.channels: list[tuple[str, ...]] = []
        self.stack: list[int] = []
        self.opened = 0  # joints whose { has been met

    def parse(self, header: str) -> tuple[list[str], list[int], list[Float64s], list[tuple[str, ...]]]:
        body = header.lstrip("\ufeff \t\r\n").removeprefix(header.split(maxsplit=1)[0].lstrip("\ufeff"))
        for line in body.replace("{", "\n{\n").replace("}", "\n}\n").splitlines():
            if words := line.split():
                self._line(words)
        if self.stack or not self.names:
            raise self._error("the HIERARCHY section " + (f"ends inside joint {self.names[self.stack[-1]]!r}" if self.stack else "holds no joint"))
        offsets = [o for o in self.offsets if o is not None]
        if len(offsets) < len(self.names):
            raise self._error(f"joint {self.names[[o is None for o in self.offsets].index(True)]!r} has no OFFSET")
        # A scene's name before those of its figure: Actor1:Hips.
        space = min(("".join(name.rpartition(":")[:2]) for name in self.names), key=len)
        names = [name.removeprefix(space).strip() for name in self.names]
        shared = all(names) and all(name.startswith(space) for name in self.names)
        return (names if shared else self.names), self.parents, offsets, self.channels

    def _line(self, words: list[str]) -> None:
        key = words[0].upper()
        if key in ("ROOT", "JOINT", "END"):
            self._joint(key, " ".join(words[1:]))
        elif key == "{":
            if self.opened != len(self.names) - 1:
                raise self._error("a { stands where no joint begins")
            self.opened += 1
            self.stack.append(len(self.names) - 1)
        elif not self.stack:
            raise self._error(f"{' '.join(words)[:40]!r} stands outside every joint")
        elif key == "}":
            self.stack.pop()
        elif key == "OFFSET":
            if len(words) != 4:
                raise self._error(f"OFFSET of joint {self.names[self.stack[-1]]!r} has {len(words) - 1} numbers, not 3")
            self.offsets[self.stack[-1]] = numbers(words[1:], self.path, f"OFFSET of joint {self.names[self.stack[-1]]!r}")
        elif key == "CHANNELS":
            self._channels(words)
        else:
            raise self._error(f"{words[0][:40]!r} is no BVH keyword")

    def _joint(self, key: str, name: str) -> None:
        if self.opened != len(self.names):
            raise self._error(f"joint {self.names[-1]!r} has no {{")
        if key == "ROOT" and self.names:
            raise ReadError(self.path, "has a second ROOT, that is several skeletons", "Save one file per skeleton.")
        if key != "ROOT" and not self.stack:
            raise self._error(f"joint {name!r} stands outside the ROOT")
        if key == "END":
            name = f"{self.names[self.stack[-1]]}_end"
            while name in self.names:
                name += "_end"
        elif name in self.names:
            raise ReadError(self.path, f"has two joints named {name!r}", "Give every joint a name of its own.")
        self.names.append(name)
        self.parents.append(self.stack[-1] if self.stack else -1)
        self.offsets.append(None)
        self.channels.append(())

    def _channels(self, words: list[str]) -> None:
        name = self.names[self.stack[-1]]
        found = words[2:]
        if len(words) < 2 or whole_number(words[1], self.path, f"the channel count of joint {name!r}") != len(found):
            raise self._error(f"joint {name!r} states {' '.join(words[1:2])} channels, but names {len(found)}")
        unknown = next((c for c in found if not _CHANNEL.fullmatch(c)), None)
        if unknown is not None:
            raise self._error(f"joint {name!r} has the unknown channel {unknown[:40]!r}")
        self.channels[self.stack[-1]] = tuple(c.lower() for c in found)

    def _error(self, problem: str) -> ReadError:
        return ReadError(self.path, problem, f"The header is damaged. {_AGAIN}.")


def _motion(text: str, count: int, path: PathLike) -> tuple[float, Float64s]:
    """Frame time in seconds and the (T, count) channel values of the MOTION section."""
    lines = [line for line in text.splitlines() if line.strip()]
    head = [re.fullmatch(r"\s*(Frames|Frame\s*Time)\s*:\s*(\S+)\s*", line, re.IGNORECASE) for line in lines[:2]]
    if len(head) < 2 or head[0] is None or head[1] is None or head[0][1].lower() != "frames" or head[1][1].lower() == "frames":
        raise ReadError(path, "MOTION is not followed by the lines 'Frames:' and 'Frame Time:'", f"The file is cut off or damaged. {_AGAIN}.")
    promised = whole_number(head[0][2], path, "the number after 'Frames:'")
    frame_time = float(numbers([head[1][2]], path, "frame time")[0])
    if not 1e-5 <= frame_time <= 1e3:
        raise ReadError(path, f"the frame time is {head[1][2]} seconds", "Correct the line 'Frame Time:'; it is seconds per frame, e.g. 0.0333333.")
    tokens = [line.split() for line in lines[2:]]
    total = sum(map(len, tokens))
    if count == 0 or promised == 0 or total == 0:
        raise ReadError(path, "holds no motion: no channels or no frames", "Export the animation, not only the skeleton.")
    odd = next((i for i, row in enumerate(tokens) if len(row) != count), None)
    # With another number of lines than of frames these may be wrapped, and only their sum is known.
    if odd is not None and odd < len(tokens) - 1 and len(tokens) == promised:
        problem = f"frame {odd + 1} has {len(tokens[odd])} numbers, but the joints have {count} channels"
        raise ReadError(path, problem, f"The file is damaged there. {_AGAIN}.")
    if total != promised * count:
        whole, rest = divmod(total, count)
        found = f"{whole} frames" + (f" and {rest} of {count} numbers of one more" if rest else "")
        raise ReadError(path, f"the header promises {promised} frames of {count} channels, but {found} were found",
                        f"The file is cut off or damaged. {_AGAIN}, or correct the line 'Frames:' if the frames there are what you want.")  # fmt: skip
    values = numbers([t for row in tokens for t in row], path, "motion data")
    return frame_time, values.reshape(promised, count)


def _local(bvh: Bvh, offsets: Float64s) -> tuple[Float64s, Float64s]:
    """(T, V, 3) places and (T, V, 3, 3) rotations of all joints in their parents' frames, with ``offsets`` (V, 3) for the file's own."""
    frames, joints = len(bvh.motion), len(bvh.names)
    local = np.broadcast_to(offsets, (frames, joints, 3)).copy()
    rotations = np.broadcast_to(np.eye(3), (frames, joints, 3, 3)).copy()
    starts = np.cumsum([0, *map(len, bvh.channels)])
    by_order: dict[str, list[tuple[int, list[int]]]] = {}
    moved: dict[int, dict[int, Float64s]] = {}
    for v, channels in enumerate(bvh.channels):
        turns = [starts[v] + k for k, c in enumerate(channels) if c.endswith("rotation")]
        by_order.setdefault("".join(c[0] for c in channels if c.endswith("rotation")), []).append((v, turns))
        places = {"xyz".index(c[0]): bvh.motion[:, starts[v] + k] for k, c in enumerate(channels) if c.endswith("position")}
        if places:
            moved[v] = places
    for order, group in by_order.items():
        if order:
            rotations[:, [v for v, _ in group]] = euler(bvh.motion[:, [turns for _, turns in group]], order)
    replaces = _positions_replace_offsets(moved, bvh)
    lost = offsets - bvh.offsets
    for v, places in moved.items():
        for axis, values in places.items():
            local[:, v, axis] = values + (lost if replaces[v] else offsets)[v, axis]
    return local, rotations


def _positions_replace_offsets(moved: dict[int, dict[int, Float64s]], bvh: Bvh) -> dict[int, bool]:
    """Per joint with position channels whether these replace its OFFSET; the rule is at the top of the file."""
    along = {v: float(np.median(sum(values * bvh.offsets[v, axis] for axis, values in places.items()))) for v, places in moved.items()}
    squared = {v: float(sum(bvh.offsets[v, axis] ** 2 for axis in places)) for v, places in moved.items()}
    voters = [v for v in moved if v != 0 and squared[v] > 0]
    carried = sum(voters[0] in path_to_root(bvh.parents, v) for v in range(len(bvh.names))) if len(voters) == 1 else 0
    least = LOWEST_HIPS if 2 * carried > len(bvh.names) else 0.5
    replaces = {v: along[v] > least * squared[v] for v in moved}
    return {v: 2 * sum(replaces[u] for u in voters) > len(voters) for v in moved} if voters else replaces


def _height(bvh: Bvh, local: Float64s) -> tuple[float, list[float]]:
    """Body height in the file's unit, whatever the pose, and the bone lengths.

    1.15 times the way along the bones from the head to the farther ankle when the names tell both; of a body without
    ankles 3.4 times that from shoulder to wrist, and else 0.75 times the longest way between two joints (about from
    fingertips to toes).
    """
    lengths = [float(x) for x in np.median(np.linalg.norm(local, axis=-1), axis=0)]
    lengths[0] = 0.0
    at = {point: bvh.names.index(joint) for point, joint in body_points(bvh.names).items()}

    def way(upper: str, lower: str) -> float:
        pairs = [(at.get(upper.format(side)), at.get(lower.format(side))) for side in ("left", "right")]
        return max((distance_along(bvh.parents, lengths, a, b) for a, b in pairs if a is not None and b is not None), default=0.0)

    if legs := way("head", "{}_ankle"):
        return 1.15 * legs, lengths
    if not {"left_ankle", "right_ankle"} & set(at) and (arm := way("{}_shoulder", "{}_wrist")):
        return 3.4 * arm, lengths
    return 0.75 * longest_path(bvh.parents, lengths), lengths


def _unit(height: float, first: float | None, path: Path) -> float:
    unit = find_unit(height, first)
    if unit is None:
        raise ReadError(path, f"the skeleton is about {height:.4g} units tall, which is no human size: 0.85 to 2.5 m in cm, m or mm, or 1 to 2.5 m in inches or CMU units",
                        "Scale its OFFSETs and position channels to such a size; only human bodies are supported.")  # fmt: skip
    return unit
