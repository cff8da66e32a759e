"""Where a body point is, who is there, and where a joint was while it was lost: what preparation asks of keypoints (M, T, V, C)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ContractError
from skelzoo.skeleton.clip import FloatArray, numbers
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


def body_sizes(bodies: FloatArray, found: NDArray[np.bool_]) -> FloatArray:
    """(T,) how far the joints of bodies (T, V, C) that were found (T, V) are from their middle, root mean square; those that were not are zero."""
    count = found.sum(axis=1, dtype=np.float32)
    off = bodies - (np.einsum("tvc->tc", bodies) / count[:, None])[:, None]
    return np.asarray(np.sqrt(np.einsum("tvc,tvc,tv->t", off, off, found) / count))


def most(ways: FloatArray) -> float:
    """What no way (..., C) is longer than; in a tenth of the time that the longest takes."""
    return float(max(ways.max(initial=0), -ways.min(initial=0)) * ways.shape[-1] ** 0.5)


def is_found(joints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(..., V): which joints (..., V, C) are not all zero; ``any`` over the short last axis takes several times as long."""
    found: NDArray[np.bool_] = joints[..., 0] != 0
    for c in range(1, joints.shape[-1]):
        found |= joints[..., c] != 0
    return found


def is_present(keypoints: FloatArray) -> NDArray[np.bool_]:
    """(M, T): whether the person is there in the frame (not all zero)."""
    return np.asarray(keypoints.any(axis=(2, 3)))


def fill_missing(keypoints: Any, scores: Any = None, threshold: float = 0.0) -> FloatArray:
    """Fill NaN joints (and joints scored at or below ``threshold``) by linear interpolation over time.

    Args:
        keypoints: (M, T, V, C) or (T, V, C), NaN or infinite where unknown.
        scores: confidence (M, T, V) or (T, V); with it low-scored joints are filled too.

    Returns:
        The same shape, finite. Before the first and after the last known frame the nearest known value is held. Frames in which a person is
        absent, all zero, stay so.

    Raises:
        ClipError: a joint that is never known, or what is no array of such shapes.
    """
    x = np.array(numbers(keypoints, "fill_missing"))
    scores = scores if scores is None or isinstance(scores, np.ndarray) else numbers(scores, "fill_missing", "scores")
    if x.ndim not in (3, 4) or not x.size or (scores is not None and np.shape(scores) != x.shape[:-1]):
        raise ClipError(
            f"keypoints of shape {x.shape} and scores of shape {np.shape(scores)}: give (M, T, V, C) or (T, V, C), and scores without the last axis."
        )
    known: NDArray[np.bool_] = np.asarray(np.isfinite(x).all(-1))
    if scores is not None:
        known &= np.asarray(scores) > threshold
    present = x.any((-1, -2))
    people, seen, there = x.reshape(-1, *x.shape[-3:]), known.reshape(-1, *known.shape[-2:]), present.reshape(-1, x.shape[-3])
    for person, joint in np.ndindex(len(people), x.shape[-2]):
        ok, lost = (there[person] & found for found in (seen[person, :, joint], ~seen[person, :, joint]))
        if x.shape[-1] == 2 and lost.any() and not ok.any() and np.isfinite(people[person, :, joint]).all() and not people[person, :, joint].any():
            continue  # not found
        if lost.any() and not ok.any():
            never = np.flatnonzero(~(seen[person] & there[person, :, None]).any(axis=0)).tolist()
            where = f"keypoints[{f'{person}, ' if x.ndim == 4 else ''}:, {never}] = 0"
            step = f"2-D joints that were not found are (0, 0) for the models: {where}" if x.shape[-1] == 2 else "Use a layout without it"
            raise ClipError(f"joint {joint} of person {person} is known in no frame, so it cannot be filled. {step}.")
        if lost.any():
            interpolate(people[person, :, joint], lost, ok)
    return x
