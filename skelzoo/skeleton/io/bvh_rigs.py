"""The BVH rigs that skelzoo knows by their joint names, and the repair of the CMU conversion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skelzoo.skeleton.arrays import Bools, Float64s
from skelzoo.skeleton.io.kinematics import CMU_INCHES
from skelzoo.skeleton.layouts import get_layout

WHOLE = 1e-3
"""Degrees that an angle may be off zero or another whole number, as programs write it anew."""


@dataclass(frozen=True)
class KnownRig:
    """A rig of the known layouts.

    Attributes:
        layout: name of the layout.
        unit: metres per unit of its files.
        joints: the BVH joint that gives each joint of the layout, in the layout's order; ``X_end`` is the End Site of X.
        marks: further joint names that tell the rig.
    """

    layout: str
    unit: float
    joints: tuple[str, ...]
    marks: tuple[str, ...] = ()


def _same_names(layout: str) -> KnownRig:
    return KnownRig(layout, 0.01, get_layout(layout).joints)


def _cmu(side: str, letter: str) -> dict[str, str]:
    """CMU layout joint -> BVH joint of one side. A BVH joint is the start of its bone, a CMU point the end of the one before."""
    bvh = {
        "hipjoint": "UpLeg", "femur": "Leg", "tibia": "Foot", "foot": "ToeBase", "toes": "ToeBase_end", "clavicle": "Arm", "humerus": "ForeArm",
        "wrist": "FingerBase", "hand": "HandIndex1", "fingers": "HandIndex1_end",
    }  # fmt: skip
    return {f"{letter}{ours}": f"{side}{theirs}" for ours, theirs in bvh.items()} | {f"{letter}thumb": f"{letter.upper()}Thumb_end"}


_CMU_JOINTS = {
    "root": "Hips", "lowerback": "Spine", "upperback": "Spine1", "thorax": "Neck", "lowerneck": "Neck1", "upperneck": "Head", "head": "Head_end",
    **_cmu("Left", "l"), **_cmu("Right", "r"),
}  # fmt: skip


def known_rigs() -> list[KnownRig]:
    """All known rigs."""
    cmu = KnownRig(
        "cmu29",
        CMU_INCHES,
        tuple(_CMU_JOINTS[j] for j in get_layout("cmu29").joints),
        ("LHipJoint", "RHipJoint", "LowerBack", "LeftShoulder", "LeftHand", "RightHand"),
    )
    return [_same_names("bandai22"), _same_names("iclone30"), _same_names("daz29"), cmu]


def find_rig(names: Sequence[str]) -> KnownRig | None:
    """The known rig whose joints are all among ``names``, or None."""
    have = set(names)
    return next((rig for rig in known_rigs() if have.issuperset(rig.joints) and have.issuperset(rig.marks)), None)


def repair_cmu(names: Sequence[str], offsets: Float64s) -> Float64s:
    """Put back the bones that the BVH conversion of the CMU data lost.

    That conversion writes a zero OFFSET for every child of a branching bone, and so loses the thorax and the wrist
    bones. By rule the thorax is as long as the bone below it, along the axis that this one is nearest to (y), and the wrist half of the radius.
    Measured against the AMC of the same trial the points are then at most a few millimetres off. Offsets that are not
    zero are left as they are.

    Args:
        names: joint names.
        offsets: (V, 3).

    Returns:
        (V, 3), a copy.
    """
    order, fixed = {name: i for i, name in enumerate(names)}, offsets.copy()
    below = offsets[order["Spine1"]]
    axis = int(np.abs(below).argmax())
    thorax = np.zeros(3)
    thorax[axis] = np.copysign(np.linalg.norm(below), below[axis])
    lost = {name: thorax for name in ("Neck", "LeftShoulder", "RightShoulder")}
    for side in ("Left", "Right"):
        wrist = 0.5 * offsets[order[f"{side}Hand"]]
        lost |= {f"{side}FingerBase": wrist, f"{side[0]}Thumb": wrist}
    for name, offset in lost.items():
        if name in order and not fixed[order[name]].any():
            fixed[order[name]] = offset
    return fixed


def are_apart(angles: Float64s, pose: Float64s) -> Bools:
    """Per frame of angles (T, K) in degrees whether any is another than in a pose (K,) or poses (T, K)."""
    return np.asarray((np.abs(angles - pose) >= WHOLE).any(axis=1))


def frames_at_rest(rotations: Float64s) -> int:
    """How many frames stand in a T-pose before the motion, as the CMU conversion and many exports put one there.

    Args:
        rotations: (T, K) rotation channels in degrees, but for the root's, which may face anywhere.

    Returns:
        Frames like the first, if that has at least 80 % zeros and all whole degrees, up to one that is not; 0 when there is none, or when
        most of the frames after them are whole degrees too, as where a motion is keyed, and none that is captured.
    """
    apart = are_apart(rotations, rotations[0])
    frames, broken = int(apart.argmax()), are_apart(rotations, np.round(rotations))
    if not rotations.size or (np.abs(rotations[0]) < WHOLE).mean() < 0.8 or broken[0] or 2 * broken[frames:].sum() <= len(broken) - frames:
        return 0
    return frames


_BANDAI_NAME = re.compile(r"dataset-\d+_(?P<content>[a-z-]+)_(?P<style>[a-z-]+)_\d+")


def label_from_name(layout: str, stem: str) -> str | None:
    """The class a file name of that data set tells: the content of a Bandai-Namco file; None for the others."""
    match = _BANDAI_NAME.fullmatch(stem)
    return match["content"] if match and layout == "bandai22" else None
