"""Which axis of a BVH file points up, y or z: told from its rest pose, from how the body stands in the motion, and from the floor.

A rig that rests along z has z up, or was only drawn so and has y up. Where the motion stands along the one, and hardly ever along the
other, it is that one. Else somebody lies, crawls, bends or falls, and it is the one along which the lowest joint of each frame stays near
one height, as above a floor; where that does not tell either, the one along which more frames stand, or that of the rest pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.io.kinematics import forward
from skelzoo.skeleton.io.rig_names import body_points

RARE = 0.05
"""Share of the frames from which on it is odd to stand along the other axis too: of the 7905 clips of the corpora and benchmarks that tell it, 2 that mostly stand along y do so along z."""

STEADIER = 2
"""Times the lowest joint moves less along the floor's axis: so 95 of 96 takes come right, the 24 of HDM05 in which people mostly do not stand, turned to four sides."""

MOVES = 0.05
"""Body heights that it moves along the other axis at least, and the highest joint along the floor's, to tell anything."""

LEAVES = 0.3
"""Body heights that it moves along the other axis to tell it alone; of the 288 clips of HDM05 2, hops, do so along y while it is steadier along x or z."""


def up_axis(names: Sequence[str], parents: Sequence[int], offsets: Float64s, positions: Float64s) -> tuple[str, bool] | None:
    """The axis that points up, ``"y"`` or ``"z"``, and whether that is sure; None where the rest pose does not stand along z, or is no body's.

    Args:
        names: joint names.
        parents: per joint the index of its parent, -1 for the root.
        offsets: (V, 3) of the rest pose.
        positions: (T, V, 3) of the motion.
    """
    found = {point: names.index(joint) for point, joint in body_points(names).items()}
    if not {"head", "left_ankle", "right_ankle"} <= set(found):
        return None
    rest = forward(parents, np.broadcast_to(np.eye(3), (1, len(names), 3, 3)), offsets)
    drawn, spines = _spines(rest, found), _spines(positions, found)
    if not _along("z", drawn) or _arms_up(rest[0], found):
        return None
    lowest, highest = _moves(positions, found, float(np.linalg.norm(drawn)))
    floor = _floor(lowest, highest)
    middle, stands = np.median(spines, axis=0, keepdims=True), {axis: _along(axis, spines) for axis in "yz"}
    if _along("z", middle) and stands["y"] < RARE:
        return "z", floor != "y" or lowest["z"] < LEAVES
    if _along("y", middle) and stands["z"] < RARE:
        return "y", floor == "y"
    return floor or ("y" if stands["y"] > stands["z"] else "z"), False


def _spines(places: Float64s, found: Mapping[str, int]) -> Float64s:
    """(T, 3) from the ankles to the head."""
    return np.asarray(places[:, found["head"]] - 0.5 * (places[:, found["left_ankle"]] + places[:, found["right_ankle"]]))


def _along(axis: str, spines: Float64s) -> float:
    """The share of spines (T, 3) that stand along an axis."""
    k = "xyz".index(axis)
    return float((spines[:, k] > 2 * np.abs(np.delete(spines, k, axis=1)).max(axis=1)).mean())


def _arms_up(rest: Float64s, found: Mapping[str, int]) -> bool:
    """Whether a wrist rests above its shoulder by half an arm, as where each bone is drawn along an axis of its own, and no body is."""
    sides = [(found.get(f"{side}_shoulder"), found.get(f"{side}_wrist")) for side in ("left", "right")]
    arms = [rest[wrist] - rest[shoulder] for shoulder, wrist in sides if shoulder is not None and wrist is not None]
    return any(arm[2] > 0.5 * np.linalg.norm(arm) for arm in arms)


def _moves(positions: Float64s, found: Mapping[str, int], size: float) -> list[dict[str, float]]:
    """How far the lowest joint of each frame goes along y and along z, but for a few frames, and how far the highest; in body heights."""
    body = positions[:, [v for point, v in found.items() if point != "hip_center"]] / size  # a root on the floor may be called so
    spans = [np.subtract(*np.quantile(ends, (0.95, 0.05), axis=0)) for ends in (body.min(axis=1), body.max(axis=1))]
    return [{"y": float(y), "z": float(z)} for _, y, z in spans]


def _floor(lowest: Mapping[str, float], highest: Mapping[str, float]) -> str:
    """The axis along which the lowest joint stays near one height, but not the highest, unless the body goes far along the other; "" when there is none."""
    for axis, other in ("yz", "zy"):
        if lowest[other] > max(MOVES, STEADIER * lowest[axis]) and (highest[axis] > MOVES or lowest[other] > LEAVES):
            return axis
    return ""
