"""Acclaim motion capture: a skeleton (``.asf``) and a motion (``.amc``), as in the CMU and HDM05 databases.

The rotation of a bone is R_parent C L C^-1: C from the bone's ``axis`` line, L from the angles of the frame, both extrinsic
in the order stated, in degrees unless the file says radians. A joint is the END of its bone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skelzoo.errors import DoubtWarning, ReadError, warn
from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, build_clip, numbers, read_text, whole_number
from skelzoo.skeleton.io.kinematics import UNITS, euler, find_unit
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.layouts import get_layout

FPS = 120.0
"""Of nearly all motions of the CMU and HDM05 databases; the format has no rate."""

_AGAIN = "The file is cut off or damaged; copy or download it again."
_ACTOR = re.compile(r"(HDM_[a-z]{2}|\d+)(?:_|$)", re.IGNORECASE)
_HDM_NAME = re.compile(r"HDM_[a-z]{2}_(?P<motion>\w+)_\d{3}_(?P<fps>\d{2,3})")


@dataclass
class Bone:
    """One bone: a unit ``direction``, ``length`` in file units, its ``axis`` angles with their order, and what can turn."""

    name: str
    direction: Float64s = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: Float64s = field(default_factory=lambda: np.zeros(3))
    axis_order: str = "xyz"
    dof: tuple[str, ...] = ()


@dataclass
class Asf:
    """A parsed skeleton. ``bones`` come parents first, the root (with six degrees of freedom) at the front."""

    bones: dict[str, Bone]
    parent: dict[str, str]
    length_unit: float
    radians: bool
    root_position: Float64s


def sniff_asf(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like a skeleton."""
    return re.search(rb"(?im)^[ \t]*:(bonedata|hierarchy|units|root|version)\b", head) is not None


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like a motion."""
    return head.startswith(b"#!OML:ASF") or (not sniff_asf(head) and re.search(rb"(?im)^[ \t]*:(fully-specified|degrees|radians)\b", head) is not None)


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read a motion; its skeleton is looked for beside it.

    Looked for, in this order: the same name with ``.asf``; the name shortened at its underscores (02_03.amc: 02.asf;
    HDM_mm_squat_001_120.amc: HDM_mm.asf); the only ``.asf`` whose name tells the same actor (2_03.amc: 02.asf); the only ``.asf`` in the
    folder, unless both names tell an actor, and not the same. Where they do not tell, that is warned of, since the bones of another actor put joints about 10 cm off.

    Args:
        reading: its frame rate is that of a motion whose name tells none.

    Returns:
        One clip (1, T, 29, 3), layout cmu29, metres, y up, at the frame rate that an HDM05 name or ``reading`` tells, else 120 fps; labelled for
        HDM05 names.

    Raises:
        ReadError: no skeleton, an ``.asf`` given alone, a frame without some bone, wrong number of angles, numbers that
            are none, a bone the skeleton lacks, a skeleton without the CMU bones or of no human size.
    """
    path = Path(path)
    text = read_text(path)
    if path.suffix.lower() == ".asf" or sniff_asf(text[:65536].encode("utf-8", "replace")):
        raise ReadError(path, "is an ASF skeleton without motion", "Give the .amc file; its .asf is found beside it.")
    asf_path = find_asf(path)
    if asf_path.stem.lower() not in _stems(path.stem.lower()) and None in (_actor(path), _actor(asf_path)):
        # The same words for every motion, so that a folder of them warns once.
        warn(
            f"{asf_path}: is taken for motions whose names do not fit its own, as the only .asf in their folder. If it is of another actor, joints are about 10 cm off: "
            "put the right one there; names such as 02.asf for 02_03.amc say which.",
            DoubtWarning,
        )
    asf = parse_asf(asf_path)
    layout = get_layout("cmu29")
    missing = [j for j in layout.joints if j not in asf.bones]
    if missing:
        problem = f"its skeleton lacks the bones {', '.join(missing[:6])}"
        raise ReadError(asf_path, problem, "Only the skeleton of the CMU and HDM05 databases is known; convert others to BVH.")
    positions = _positions(asf, _motion(text, asf, path))
    # Head to ankle along the bones, plus what is over the head's end and under the ankle; the pose does not matter.
    height = 1.15 * sum(asf.bones[b].length for b in ("head", "upperneck", "lowerneck", "thorax", "upperback", "lowerback", "lhipjoint", "lfemur", "ltibia"))
    unit = find_unit(height, 0.0254 / asf.length_unit)
    if unit is None:
        raise ReadError(asf_path, f"the skeleton is about {height:.4g} units tall, which is no human size", "Check the bone lengths and `length` under :units.")
    keypoints = np.stack([positions[j] for j in layout.joints], axis=1) * unit
    match = _HDM_NAME.fullmatch(path.stem)
    fps = float(match["fps"]) if match and int(match["fps"]) > 0 else reading.fps
    assumed = [f"{FPS:g} fps assumed"] if fps is None else []
    notes = (f"from {UNITS.get(unit, f'units of {unit:.4g} m')}", f"bones of {asf_path.name}", *assumed)
    return [build_clip(keypoints[None], layout, fps=fps or FPS, label=match["motion"] if match else None, name=path.stem, notes=notes)]


def skeletons_in(folder: Path) -> list[Path]:
    """The .asf files of a folder, sorted. Raises OSError: it cannot be listed."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".asf")


def find_asf(amc: Path, beside: Sequence[Path] | None = None) -> Path:
    """The skeleton of a motion; see ``read`` for where it is looked for.

    Args:
        beside: the .asf files of its folder, where they are known.

    Raises:
        ReadError: none, or several and none with a fitting name.
    """
    try:
        beside = skeletons_in(amc.parent) if beside is None else beside
    except OSError as error:
        raise ReadError(amc, f"its folder cannot be listed ({error})", "Check your permissions; the .asf skeleton must be found there.") from None
    by_stem = {p.stem.lower(): p for p in beside}
    stems = _stems(amc.stem)
    actor = _actor(amc)
    left = [p for p in beside if actor and _actor(p) == actor] or beside
    found = next((by_stem[s.lower()] for s in stems if s.lower() in by_stem), left[0] if len(left) == 1 else None)
    if found is None or len({actor, _actor(found)} - {None}) > 1:
        there = f"; there are {', '.join(p.name for p in beside[:5])}, none with a fitting name" if beside else ""
        problem = f"no .asf skeleton for it was found in {amc.parent or '.'}{there}"
        raise ReadError(amc, problem, f"Put it there as one of: {', '.join(s + '.asf' for s in stems)}.")
    return found


def _stems(name: str) -> list[str]:
    """Names that the skeleton of a motion may have: its own and those shortened at its underscores."""
    words = name.split("_")
    return ["_".join(words[:k]) for k in range(len(words), 0, -1)]


def _actor(path: Path) -> str | None:
    """The actor that a name tells, a number as in the CMU database or two letters as in HDM05."""
    match = _ACTOR.match(path.stem)
    return match[1].lower().lstrip("0") if match else None


def parse_asf(path: PathLike) -> Asf:
    """Parse a skeleton.

    Raises:
        ReadError: no bones or no hierarchy, numbers that are none, bones named in the hierarchy alone.
    """
    sections: dict[str, list[list[str]]] = {}
    now: list[list[str]] = []
    for line in read_text(path).splitlines():
        words = line.split("#", 1)[0].split()
        if words and words[0].startswith(":"):
            now = sections.setdefault(words[0][1:].lower(), [])
        elif words:
            now.append(words)
    bones = _bones(sections.get("bonedata", []), path)
    root = {words[0].lower(): words[1:] for words in sections.get("root", [])}
    order = tuple(w.lower() for w in root.get("order", ["TX", "TY", "TZ", "RX", "RY", "RZ"]))
    if sorted(order) != ["rx", "ry", "rz", "tx", "ty", "tz"]:
        raise ReadError(path, f"the root's order is {' '.join(order)!r}", "It must name TX TY TZ RX RY RZ, each once.")
    position = numbers(root.get("position", ["0"] * 3), path, "root position")
    axis = numbers(root.get("orientation", ["0"] * 3), path, "root orientation")
    if len(position) != 3 or len(axis) != 3:
        raise ReadError(path, "the root's position or orientation has not three numbers", _AGAIN)
    units = {words[0].lower(): words[1] for words in sections.get("units", []) if len(words) > 1}
    length = float(numbers([units.get("length", "1")], path, "length under :units")[0])
    if length <= 0:
        raise ReadError(path, f"the length unit is {units['length']}", "Correct `length` under :units; CMU files have 0.45.")
    radians = units.get("angle", "deg").lower().startswith("rad")
    parent = _hierarchy(sections.get("hierarchy", []), bones, path)
    ordered = {"root": Bone("root", axis=axis, dof=order), **{name: bones[name] for name in parent}}
    if radians:
        for bone in ordered.values():
            bone.axis = np.degrees(bone.axis)
    return Asf(ordered, parent, length, radians, position)


def _bones(rows: list[list[str]], path: PathLike) -> dict[str, Bone]:
    bones: dict[str, Bone] = {}
    bone = Bone("")
    for words in rows:
        key, values = words[0].lower(), words[1:]
        if key == "begin":
            bone = Bone("")
        elif key == "name" and values:
            bone.name = values[0]
            bones[bone.name] = bone
        elif key in ("direction", "axis"):
            triple = numbers(values[:3], path, f"{key} of bone {bone.name!r}")
            if len(triple) != 3:
                raise ReadError(path, f"the {key} of bone {bone.name!r} has not three numbers", _AGAIN)
            if key == "direction":
                bone.direction = triple
            else:
                bone.axis, bone.axis_order = triple, values[3].lower() if len(values) > 3 else "xyz"
                if sorted(bone.axis_order) != ["x", "y", "z"]:
                    raise ReadError(path, f"the axis order of bone {bone.name!r} is {bone.axis_order!r}", "It must be an order of X, Y and Z.")
        elif key == "length":
            if len(values) != 1:
                raise ReadError(path, f"the length of bone {bone.name!r} is missing", _AGAIN)
            bone.length = float(numbers(values, path, f"length of bone {bone.name!r}")[0])
        elif key == "dof":
            bone.dof = tuple(v.lower() for v in values)
            if len(set(bone.dof)) != len(bone.dof) or not set(bone.dof) <= {"rx", "ry", "rz"}:
                raise ReadError(path, f"bone {bone.name!r} has the degrees of freedom {' '.join(values)}", "Only rx, ry, rz, each at most once, are supported.")
    if not bones:
        raise ReadError(path, "has no :bonedata section, so it is no ASF skeleton or cut off", "Check that this is the right file.")
    return bones


def _hierarchy(rows: list[list[str]], bones: dict[str, Bone], path: PathLike) -> dict[str, str]:
    """Bone -> parent, parents first."""
    parent: dict[str, str] = {}
    for words in rows:
        if words[0] in ("begin", "end"):
            continue
        for name in words[1:]:
            if name not in bones or name in parent or (words[0] != "root" and words[0] not in parent):
                raise ReadError(path, f"the :hierarchy line {' '.join(words)[:60]!r} does not fit the bones before it", _AGAIN)
            parent[name] = words[0]
    if not parent:
        raise ReadError(path, "has no :hierarchy section, so it is cut off", _AGAIN)
    return parent


def _motion(text: str, asf: Asf, path: Path) -> dict[str, Float64s]:
    """Bone -> (T, degrees of freedom), angles in degrees."""
    expected = {name: len(bone.dof) for name, bone in asf.bones.items() if bone.dof}
    tokens: dict[str, list[str]] = {name: [] for name in expected}
    radians, frames, first = asf.radians, 0, 0
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] == "#":
            continue
        if words[0][0] == ":":
            radians = {":degrees": False, ":radians": True}.get(words[0].lower(), radians)
        elif len(words) == 1:
            number = whole_number(words[0], path, "a frame number")
            _check_frame(tokens, expected, frames, path)
            first = number if frames == 0 else first
            if number != first + frames:
                raise ReadError(path, f"frame {number} follows frame {first + frames - 1}", f"Frames are missing. {_AGAIN}")
            frames += 1
        elif frames == 0:
            raise ReadError(path, f"{words[0][:40]!r} stands before the first frame number, so it is no AMC motion", "Check that this is the right file.")
        else:
            name = words[0]
            if len(words) - 1 != expected.get(name, -1):
                skeleton = f"has {expected[name]} degrees of freedom" if name in expected else "is not there or does not move"
                raise ReadError(path, f"frame {first + frames - 1} gives bone {name[:40]!r} {len(words) - 1} numbers, but in the skeleton it {skeleton}",
                                "The file is damaged there, or the .asf is of another person or rig.")  # fmt: skip
            tokens[name] += words[1:]
    if frames == 0:
        raise ReadError(path, "holds no frames, so it is no AMC motion or cut off", "Check that this is the right file.")
    _check_frame(tokens, expected, frames, path)
    motion: dict[str, Float64s] = {name: numbers(values, path, f"motion of {name!r}").reshape(frames, -1) for name, values in tokens.items()}
    if radians:
        for name, values in motion.items():
            turns = [k for k, d in enumerate(asf.bones[name].dof) if d[0] == "r"]
            values[:, turns] = np.degrees(values[:, turns])
    return motion


def _check_frame(tokens: dict[str, list[str]], expected: dict[str, int], frames: int, path: Path) -> None:
    wrong = next((name for name, count in expected.items() if len(tokens[name]) != frames * count), None)
    if wrong is not None:
        raise ReadError(path, f"the {frames}. frame does not give bone {wrong!r} exactly once", _AGAIN)


def _positions(asf: Asf, motion: dict[str, Float64s]) -> dict[str, Float64s]:
    """Bone -> (T, 3) place of its end, in file units."""
    root = dict(zip(asf.bones["root"].dof, motion["root"].T, strict=True))
    ends = {"root": asf.root_position + np.stack([root["tx"], root["ty"], root["tz"]], axis=1)}
    world: dict[str, Float64s] = {}
    still = np.zeros((len(ends["root"]), 0))
    for name, bone in asf.bones.items():
        turns = [k for k, d in enumerate(bone.dof) if d[0] == "r"]
        letters = "".join(bone.dof[k][1] for k in turns)
        local = euler(motion.get(name, still)[:, turns[::-1]], letters[::-1])
        frame = euler(bone.axis[::-1], bone.axis_order[::-1])
        turned = frame @ local @ frame.T
        if name == "root":
            world[name] = turned
        else:
            world[name] = world[asf.parent[name]] @ turned
            ends[name] = ends[asf.parent[name]] + world[name] @ (bone.direction * bone.length)
    return ends
