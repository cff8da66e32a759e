"""The preparation steps of PSP Learning's and DSTA-Net's data: bodies chosen by motion, the clip laid out by its opening pose.

The opening pose is the first person's in the very first frame, tracked there or not: where they enter later, their zeros
neither move nor turn the clip. The authors' data are like this; ``center`` and ``yaw`` wait for the person.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ContractError
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import is_present, point_track

LIKELY_ENERGY, LIKELY_WIDTH = 0.85, 0.8
"""The authors': least share of the highest energy, and largest width over height of a body that has less."""


def likely_persons(keypoints: FloatArray, layout: Layout, count: int = 2) -> FloatArray:
    """Keep those of several tracked bodies that may be people, at most ``count``, most moving first.

    Motion energy is the sum over x, y, z of the standard deviation of all joints in all frames in which the body is
    there, relative to the hip centre. A body below 85 % of the highest energy must be slim: in its first frame 0.8
    times its height above its width.
    """
    there = is_present(keypoints)
    if not there.any():
        return keypoints
    persons = np.flatnonzero(there.any(axis=1))
    bodies = [keypoints[m, there[m]] for m in persons]
    energies = np.array([(b - point_track(b[None], layout, "hip_center")[0][:, None]).std(axis=(0, 1)).sum() for b in bodies])
    sizes = np.array([np.ptp(b[0], axis=0) for b in bodies])
    likely = (energies >= LIKELY_ENERGY * energies.max()) | (LIKELY_WIDTH * sizes[:, 1] > sizes[:, 0])
    order = np.argsort(-energies, kind="stable")
    chosen: FloatArray = keypoints[persons[order[likely[order]][:count]]]
    return chosen


def center_opening(keypoints: FloatArray, layout: Layout, point: str = "hip_center") -> FloatArray:
    """Move a point of the opening pose to the origin; joints that are all zero stay so."""
    return np.where(keypoints.any(axis=-1, keepdims=True), keypoints - point_track(keypoints, layout, point)[0, 0], 0).astype(np.float32)


def scale_spine(keypoints: FloatArray, layout: Layout, top: str = "shoulder_center") -> FloatArray:
    """Divide by the first person's distance from hip centre to ``top`` in the first frame in which it is not zero.

    Raises:
        ClipError: it is zero in every frame.
    """
    lengths = np.linalg.norm(_line(keypoints, layout, "hip_center", top)[0], axis=-1)
    if not lengths.any():
        raise ClipError("the first person's spine has no length in any frame, so the clip cannot be scaled by it. Check the joint order of the recording.")
    return np.asarray(keypoints / lengths[lengths > 0][0], dtype=np.float32)


def stand_upright(keypoints: FloatArray, layout: Layout, top: str = "shoulder_center") -> FloatArray:
    """Turn the clip so that in the opening pose hip centre to ``top`` points along +z, then ``top`` to left elbow, seen from above, along +x.

    Raises:
        ContractError: joints that are not 3-D.
    """
    if keypoints.shape[-1] != 3:
        raise ContractError("stand_upright needs 3-D joints. Drop the step from a 2-D contract.")
    upright = np.asarray(keypoints @ _rotation(_line(keypoints, layout, "hip_center", top)[0, 0], np.array([0, 0, 1])).T, dtype=np.float32)
    arm = _line(upright, layout, top, "left_elbow")[0, 0] * [1, 1, 0]
    return np.asarray(upright @ _rotation(arm, np.array([1, 0, 0])).T, dtype=np.float32)


def _line(keypoints: FloatArray, layout: Layout, start: str, end: str) -> FloatArray:
    """From one point to another over time: (M, T, C)."""
    return point_track(keypoints, layout, end) - point_track(keypoints, layout, start)


def _rotation(line: NDArray[np.floating], axis: NDArray[np.int_]) -> NDArray[np.float64]:
    """The smallest turn (3, 3) that lays a line along an axis; none for a line of no length, or along or exactly against the axis."""
    unit = line.astype(np.float64) / max(float(np.linalg.norm(line)), 1e-12)
    x, y, z = normal = np.cross(unit, axis)
    if np.abs(normal).sum() < 1e-6:
        return np.eye(3)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + float(unit @ axis)))
