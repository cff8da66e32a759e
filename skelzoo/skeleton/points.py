"""Where a body point is, who is there, and where a joint was while it was lost: what preparation asks of keypoints (M, T, V, C)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ContractError
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.layouts import Layout


def point_track(keypoints: FloatArray, layout: Layout, name: str) -> FloatArray:
    """A joint or body point over time: (M, T, C).

    Raises:
        ContractError: the layout cannot tell where it is.
    """
    mix = layout.mix(name)
    if mix is None:
        raise ContractError(f"layout {layout.name!r} has no point {name!r}, which a preparation step needs. Use another layout or drop the step.")
    return np.asarray(sum(w * keypoints[:, :, j] for j, w in mix.items()), dtype=np.float32)


@lru_cache(maxsize=64)
def mixes(layout: Layout, points: tuple[str, ...]) -> FloatArray | None:
    """How joints are mixed to body points: (points, V); None where the layout cannot tell one of them."""
    weights = np.zeros((len(points), len(layout)), np.float32)
    for row, mix in zip(weights, map(layout.point, points), strict=True):
        if mix is None:
            return None
        row[list(mix)] = list(mix.values())
    return weights


def interpolate(joint: FloatArray, lost: NDArray[np.bool_], known: NDArray[np.bool_]) -> None:
    """Fill the lost frames (T,) of one joint (T, C) in place, linearly between the known ones (T,), of which there is at least one.

    Before the first and after the last known frame the nearest value is held.
    """
    frames = np.arange(len(joint))
    for track in joint.T:
        track[lost] = np.interp(frames[lost], frames[known], track[known])


def body_sizes(bodies: FloatArray, found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T,) how far the joints of bodies (T, V, C) that were found (T, V) are from their middle, root mean square; those that were not are zero."""
    count = found.sum(axis=1)
    middles = bodies.sum(axis=1, keepdims=True) / count[:, None, None]
    return np.asarray(np.sqrt((((bodies - middles) ** 2).sum(axis=2) * found).sum(axis=1) / count))


def is_found(joints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(..., V): which joints (..., V, C) are not all zero; ``any`` over the short last axis takes several times as long."""
    found: NDArray[np.bool_] = joints[..., 0] != 0
    for c in range(1, joints.shape[-1]):
        found |= joints[..., c] != 0
    return found


def is_present(keypoints: FloatArray) -> NDArray[np.bool_]:
    """(M, T): whether the person is there in the frame (not all zero)."""
    return np.asarray(keypoints.any(axis=(2, 3)))
