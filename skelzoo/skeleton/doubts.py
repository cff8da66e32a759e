"""What is odd about clips that are taken all the same: axes or an order of joints that are not skelzoo's, lost joints at zero, pictures' shares in place of pixels."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import is_present

UPRIGHT = 0.8
"""Cosine to an axis from which on a spine points along it."""

LEAN = 40
"""Degrees from y beyond which a spine that points along no other axis is warned of: of the 7909 clips of the corpora and benchmarks 26, in which people bend; beyond 35 it were 81."""

BACKWARDS = -0.4
"""Cosine of feet to the front below which, in most frames, left and right are exchanged: the clips of the corpora and benchmarks have more, nearly all of them when mirrored less."""

APART = 0.9
"""Trunk lengths from hip centre to the middle of the hips from which on, in most frames, joints are in another order: clips of the corpora have at most 0.66, of others' orders at least 1.09."""

SHARES = 2
"""2-D coordinates up to this are no pixels: shares of a picture, of joints outside it too."""

LONG = 60
"""Seconds from which on a clip is rather a recording of several actions."""

STRETCH = 30
"""The same in frames for each one of an encoder's, where the frame rate is unknown."""

HIPS = ("left_hip", "right_hip", "hip_center", "shoulder_center")
FEET = ("left_ankle", "left_foot", "right_ankle", "right_foot")
TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")

Doubt = str


class Doubts:
    """What is odd about many clips, so that thousands of them warn once: each doubt with the first clip it is about, and their number."""

    def __init__(self) -> None:
        self._clips: dict[Doubt, tuple[str, int, int]] = {}  # name of the first, how many, number of the last
        self._told: set[Doubt] = set()

    def add(self, found: tuple[Doubt, ...], number: int, name: str) -> None:
        """Note what was found of a clip; numbers rise, and a clip prepared once more has the one it had."""
        for doubt in found:
            first, count, last = self._clips.get(doubt, (name, 0, -1))
            if number > last:
                self._clips[doubt] = first, count + 1, number

    def warn(self, stacklevel: int = 2) -> None:
        """Warn of what was noted since, but of nothing twice."""
        for doubt, (first, count, _) in self._clips.items():
            if doubt in self._told:
                continue
            more = f" and {count - 1} more clip{'s' if count > 2 else ''}" if count > 1 else ""
            warnings.warn(f"{first}{more}: {doubt}", stacklevel=stacklevel + 1)
        self._told |= self._clips.keys()
        self._clips.clear()


def doubts_of(clip: Clip, keypoints: FloatArray, layout: Layout, any_axis: bool, filled: bool) -> tuple[Doubt, ...]:
    """What is odd about a clip.

    Args:
        clip: as it is given.
        keypoints: (M, T, V, C) of a contract's layout, as its steps get them.
        any_axis: whether the steps turn bodies upright.
        filled: whether the steps fill joints at zero.
    """
    bodies = clip.keypoints[is_present(clip.keypoints)]
    # Joints in another order are no spine and no feet: what these tell would mislead.
    order = _order(bodies, clip.layout)
    axes = () if order else (None if any_axis else _spine(keypoints[is_present(keypoints)], layout, clip.channels), _mirrored(bodies, clip.layout))
    found: list[Doubt | None] = [order, *axes, None if filled else _lost(clip)]
    if clip.channels == 2 and max(-clip.keypoints.min(), clip.keypoints.max()) <= SHARES:
        found.append(
            f"the 2-D coordinates are all within -{SHARES} to {SHARES}, as shares of a picture are. Give pixels, keypoints * (width, height), "
            "so that x and y have one unit; if they have, all is well."
        )
    return tuple(doubt for doubt in found if doubt)


@lru_cache(maxsize=64)
def _mixes(layout: Layout, points: tuple[str, ...]) -> FloatArray | None:
    """How joints are mixed to body points: (points, V); None where the layout cannot tell one of them."""
    weights = np.zeros((len(points), len(layout)), np.float32)
    for row, mix in zip(weights, map(layout.point, points), strict=True):
        if mix is None:
            return None
        row[list(mix)] = list(mix.values())
    return weights


def _order(bodies: FloatArray, layout: Layout) -> Doubt | None:
    """Whether the middle of the hips of bodies (B, V, C) is far from a hip centre of its own."""
    weights = _mixes(layout, HIPS)
    if weights is None or not set(HIPS[:3]) <= set(layout.own.values()):
        return None
    at = weights @ bodies
    found: NDArray[np.bool_] = np.asarray(at.any(axis=2))
    left, right, hips, shoulders = at[found.all(axis=1) if at.shape[2] == 2 else found.any(axis=1)].transpose(1, 0, 2)
    off = _length((left + right) / 2 - hips) > APART * _length(shoulders - hips)
    if 2 * off.sum() <= len(off):
        return None
    return (
        f"the joints do not fit layout {layout.name!r}, whose hip centre is between the hips; they may be in another order. "
        f"Compare yours with skelzoo.get_layout({layout.name!r}).joints; if they are the same, all is well."
    )


def _lost(clip: Clip) -> Doubt | None:
    """Whether 3-D joints jump to exactly the origin; a joint that stays there, or passes, is what the clip is centred on."""
    found: NDArray[np.bool_] = np.asarray(clip.keypoints.any(axis=3))
    there: NDArray[np.bool_] = np.asarray(found.any(axis=2))
    if clip.channels == 2 or (found | ~there[..., None]).all():
        return None
    for person, seen, here in zip(clip.keypoints, found, there, strict=True):
        body, known = person[here], seen[here]
        count = known.sum(axis=1, keepdims=True)
        size = np.sqrt((((body - body.sum(axis=1, keepdims=True) / count[..., None]) ** 2).sum(axis=2) * known).sum(axis=1) / count[:, 0])
        jumps = (known[1:] != known[:-1]) & (np.linalg.norm(np.diff(body, axis=0), axis=2) > size[1:, None])
        if jumps.any():
            centred = (~seen[here]).all(axis=0).any()
            known_how = "keypoints.any(-1)" + (" | ~keypoints.any((-3, -1), keepdims=True)[..., 0]" if centred else "")
            return (
                "joints jump to exactly (0, 0, 0), where trackers put those that they lose, and would be taken to be there. "
                f"Fill them: skelzoo.fill_missing(keypoints, {known_how}); if they are there, all is well."
            )
    return None


def _spine(bodies: FloatArray, layout: Layout, given: int) -> Doubt | None:
    """Bodies that stand along another axis than y, or, in 2-D, upside down; ``given`` is the number of the clip's own coordinates."""
    weights = _mixes(layout, ("hip_center", "shoulder_center"))
    if weights is None:
        return None
    if bodies.shape[2] == 2:  # in 3-D a joint may well be the origin
        bodies = bodies[np.asarray(bodies[:, weights.any(axis=0)].any(axis=2)).all(axis=1)]
    hips, shoulders = (weights @ bodies).transpose(1, 0, 2)
    spine = _unit(shoulders - hips).sum(axis=0)
    spine /= max(float(np.linalg.norm(spine)), 1e-12)
    if len(spine) == 2:
        if spine[1] <= UPRIGHT:
            return _sideways(spine) if given == 2 else None
        if given == 3:
            return _of_spine("down", "y axis points up", "If y points down in your data, give keypoints * [1, -1, -1], and shares of a picture without z")
        return _of_spine("down", "y axis of 2-D joints points down, as pixels do", "If y points up in your data, give keypoints * [1, -1]")
    x, y, z = spine
    if y < -UPRIGHT:
        return _of_spine("down", "y axis points up", "If y points down in your data, give keypoints * [1, -1, -1]")
    if abs(z) > UPRIGHT:
        advice = f"If z is the vertical axis of your data, give keypoints[..., [0, 2, 1]] * [1, {np.sign(z):.0f}, {-np.sign(z):.0f}]"
        return _of_spine("along z", "y axis points up", advice)
    if abs(x) > UPRIGHT:
        advice = f"If x is the vertical axis of your data, give keypoints[..., [1, 0, 2]] * [{-np.sign(x):.0f}, {np.sign(x):.0f}, 1]"
        return _of_spine("along x", "y axis points up", advice)
    if y < np.cos(np.radians(LEAN)):
        return (
            f"the spine leans more than {LEAN} degrees from the y axis, which in skelzoo's data points up, as it does before a tilted camera. Turn the joints by the sensor's "
            "floor plane or gravity vector; if the person bends, all is well."
        )
    return None


def _sideways(spine: FloatArray) -> Doubt | None:
    """2-D bodies that stand along x."""
    if abs(spine[0]) <= UPRIGHT:
        return None
    turn = "keypoints[..., ::-1] * [1, -1]" if spine[0] > 0 else "keypoints[..., ::-1] * [-1, 1]"
    advice = f"If the picture is turned on its side, give {turn}"
    if spine[0] < 0:
        advice = f"If your data have y before x, give keypoints[..., ::-1]; if the picture is turned on its side, {turn}"
    return _of_spine("along x", "y axis of 2-D joints points down, as pixels do", advice)


def _of_spine(found: str, axis: str, advice: str) -> Doubt:
    return f"the spine points {found}; skelzoo's {axis}. {advice}; if the person lies or hangs, all is well."


def _mirrored(bodies: FloatArray, layout: Layout) -> Doubt | None:
    """Whether a 3-D body has its feet at the back, as in the mirror; None too where its own joints do not tell."""
    weights = _mixes(layout, (*FEET, *TRUNK))
    if bodies.shape[2] == 2 or weights is None or not set(FEET) <= set(layout.own.values()):
        return None
    left_ankle, left_foot, right_ankle, right_foot, left_hip, right_hip, left_shoulder, right_shoulder = (weights @ bodies).transpose(1, 0, 2)
    x, y, z = _unit(left_hip - right_hip + left_shoulder - right_shoulder).T
    up_x, up_y, up_z = _unit(left_shoulder + right_shoulder - left_hip - right_hip).T
    front = np.stack([y * up_z - z * up_y, z * up_x - x * up_z, x * up_y - y * up_x], axis=1)  # np.cross takes several times as long
    back = (_unit(left_foot - left_ankle + right_foot - right_ankle) * _unit(front)).sum(axis=1) < BACKWARDS
    if 2 * back.sum() <= len(back):
        return None
    return (
        "the feet point backwards, as if left and right were exchanged; skelzoo's axes are right-handed. If an axis of your data points the other way, turn it, "
        "e.g. keypoints * [1, 1, -1]; if you have exchanged two axes, turn one of them too, e.g. keypoints[..., [0, 2, 1]] * [1, 1, -1]; "
        "or left and right are exchanged among the joints."
    )


def too_long(clip: Clip, frames: int) -> tuple[Doubt, ...]:
    """Whether so much becomes one vector that hardly a motion is left in it; ``frames`` are those that an encoder takes."""
    if clip.frames <= (STRETCH * frames if clip.fps is None else LONG * clip.fps):
        return ()
    size = f"has more than {STRETCH * frames} frames" if clip.fps is None else f"is longer than {LONG} seconds"
    return (
        f"the clip {size}, and all of it becomes one vector of {frames} frames. Cut long recordings with --window FRAMES, "
        "in Python with skelzoo.windows(clip, frames); if it is a single action, all is well.",
    )


def _length(vectors: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt((vectors * vectors).sum(axis=-1)))


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(_length(vectors)[..., None], 1e-12), np.float32)
