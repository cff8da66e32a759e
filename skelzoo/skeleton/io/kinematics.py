"""Joint angles to joint positions, and the unit of length of a skeleton; for the readers of BVH, ASF/AMC and UI-PRMD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skelzoo.skeleton.arrays import Float64s

CMU_INCHES = 0.0254 / 0.45
"""Metres per unit of CMU and HDM05 files: inches, divided by the `length 0.45` of their ASF headers."""

UNITS = {0.01: "cm", 1.0: "m", 0.001: "mm", 0.0254: "inches", CMU_INCHES: "CMU units"}
"""Metres per unit -> its name, likeliest first."""

STANDING = (1.0, 2.5)
"""How tall a person is, metres. Narrow enough that only inches and CMU units overlap; inches then win."""

CHILD = 0.85
"""The same of the smallest in metric units, and in the usual one of a format: 85 units are as well a person of 2.16 m in inches."""

USUAL = (1.4, 2.1)
"""How tall bodies are whose files have inches or CMU units, metres; those of others are rather in decimetres, or of children in other units."""


def euler(degrees: Float64s, axes: str) -> Float64s:
    """Rotation matrices of intrinsic Euler angles.

    Args:
        degrees: (..., K) angles in the order of ``axes``.
        axes: K letters out of xyz; "zxy" is R = Rz Rx Ry. Extrinsic xyz is intrinsic zyx of the reversed angles.

    Returns:
        (..., 3, 3); the identity when K is 0.
    """
    result = np.broadcast_to(np.eye(3), (*degrees.shape[:-1], 3, 3))
    cosines, sines = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for k, axis in enumerate(axes):
        i, j = ("xyz".index(axis) + 1) % 3, ("xyz".index(axis) + 2) % 3
        one = np.zeros((*degrees.shape[:-1], 3, 3))
        one[..., 3 - i - j, 3 - i - j] = 1.0
        one[..., i, i] = one[..., j, j] = cosines[..., k]
        one[..., i, j], one[..., j, i] = -sines[..., k], sines[..., k]
        result = one if k == 0 else result @ one
    return result


def forward(parents: Sequence[int], rotations: Float64s, offsets: Float64s) -> Float64s:
    """Positions of the joints of a tree.

    Args:
        parents: per joint the index of its parent, which comes before it; -1 for the root.
        rotations: (T, V, 3, 3) rotation of each joint in its parent's frame.
        offsets: (T, V, 3) or (V, 3) place of each joint in its parent's frame.

    Returns:
        (T, V, 3) positions in the unit of ``offsets``.
    """
    frames, joints = rotations.shape[:2]
    offsets = np.broadcast_to(offsets, (frames, joints, 3))
    world, positions = np.empty_like(rotations), np.empty((frames, joints, 3))
    for v, parent in enumerate(parents):
        if parent < 0:
            world[:, v], positions[:, v] = rotations[:, v], offsets[:, v]
        else:
            world[:, v] = world[:, parent] @ rotations[:, v]
            positions[:, v] = positions[:, parent] + (world[:, parent] @ offsets[:, v, :, None])[..., 0]
    return positions


def path_to_root(parents: Sequence[int], joint: int) -> list[int]:
    """The joint, its parent, and so on up to the root."""
    path = [joint]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return path


def distance_along(parents: Sequence[int], lengths: Sequence[float], a: int, b: int) -> float:
    """Way from joint a to joint b along the bones; ``lengths[v]`` is the bone from v to its parent."""
    up, down = path_to_root(parents, a), path_to_root(parents, b)
    shared = set(up) & set(down)
    return float(sum(lengths[v] for v in up + down if v not in shared))


def longest_path(parents: Sequence[int], lengths: Sequence[float]) -> float:
    """The longest way between two joints along the bones; parents come before their children."""
    below, longest = [0.0] * len(parents), 0.0
    for v in range(len(parents) - 1, 0, -1):
        if parents[v] >= 0:
            reach = below[v] + lengths[v]
            longest = max(longest, below[parents[v]] + reach)
            below[parents[v]] = max(below[parents[v]], reach)
    return longest


def find_unit(height: float, first: float | None = None) -> float | None:
    """Metres per unit of a skeleton ``height`` units tall.

    The rule: a standing body is 1.0 to 2.5 m tall, and in metric units from 0.85 m on. ``first`` (the unit that is usual for
    the format) is taken if the body is 0.85 to 2.5 m tall with it, else the first of UNITS with which it is so tall.

    Returns:
        The unit, or None when there is none.
    """
    candidates = (*UNITS,) if first is None else (first, *UNITS)
    return next((unit for unit in candidates if (STANDING[0] if _is_imperial(unit) and unit != first else CHILD) <= height * unit <= STANDING[1]), None)


def is_usual(height: float, unit: float) -> bool:
    """Whether a skeleton ``height`` units tall is so tall that its unit is no doubt the one that was found."""
    return not _is_imperial(unit) or USUAL[0] <= height * unit <= USUAL[1]


def _is_imperial(unit: float) -> bool:
    return UNITS.get(unit) in ("inches", "CMU units")
