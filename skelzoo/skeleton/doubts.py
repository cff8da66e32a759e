"""What is odd about clips that are taken all the same: axes that are not skelzoo's, pictures' shares in place of pixels."""

from __future__ import annotations

import warnings

import numpy as np

from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import is_present, point_track

UPRIGHT = 0.8
"""Cosine to an axis from which on a spine points along it."""

BACKWARDS = -0.4
"""Median cosine of feet to the front below which left and right are exchanged: the clips of the corpora and benchmarks have more, nearly all of them when mirrored less."""

Doubt = str


class Doubts:
    """What is odd about many clips, so that thousands of them warn once: each doubt with the first clip it is about, and their number."""

    def __init__(self) -> None:
        self._clips: dict[Doubt, dict[int, str]] = {}
        self._told: set[Doubt] = set()

    def add(self, found: tuple[Doubt, ...], number: int, name: str) -> None:
        """Note what was found of a clip; number tells it from the others."""
        for doubt in found:
            self._clips.setdefault(doubt, {})[number] = name

    def warn(self, stacklevel: int = 2) -> None:
        """Warn of what was noted since, but of nothing twice."""
        for doubt, clips in self._clips.items():
            if doubt in self._told:
                continue
            first, *others = clips.values()
            more = f" and {len(others)} more clip{'s' if len(others) > 1 else ''}" if others else ""
            warnings.warn(f"{first}{more}: {doubt}", stacklevel=stacklevel + 1)
        self._told |= self._clips.keys()
        self._clips.clear()


def doubts_of(clip: Clip, keypoints: FloatArray, layout: Layout, any_axis: bool) -> tuple[Doubt, ...]:
    """What is odd about a clip.

    Args:
        clip: as it is given.
        keypoints: (M, T, V, C) of a contract's layout, as its steps get them.
        any_axis: whether the steps turn bodies upright.
    """
    found = [None if any_axis else _spine(keypoints, layout, clip.channels), _mirrored(clip)]
    if clip.channels == 2 and clip.keypoints.min() >= 0 and clip.keypoints.max() <= 1:
        found.append(
            "the 2-D coordinates are from 0 to 1, as shares of a picture are. Give pixels, keypoints * (width, height), "
            "so that x and y have one unit; if they have, all is well."
        )
    return tuple(doubt for doubt in found if doubt)


def _spine(keypoints: FloatArray, layout: Layout, given: int) -> Doubt | None:
    """Bodies that stand along another axis than y, or, in 2-D, upside down; ``given`` is the number of the clip's own coordinates."""
    ends = [layout.point(point) for point in ("hip_center", "shoulder_center")]
    if None in ends:
        return None
    whole = np.asarray(keypoints[:, :, [joint for end in ends for joint in end or ()]].any(axis=3)).all(axis=2)
    hips, shoulders = (point_track(keypoints, layout, point) for point in ("hip_center", "shoulder_center"))
    # In 3-D a joint may well be the origin.
    spine = _unit((shoulders - hips)[whole if keypoints.shape[-1] == 2 else is_present(keypoints)]).sum(axis=0)
    spine /= max(float(np.linalg.norm(spine)), 1e-12)
    if len(spine) == 2:
        if spine[1] <= UPRIGHT:
            return None
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
    return None


def _of_spine(found: str, axis: str, advice: str) -> Doubt:
    return f"the spine points {found}; skelzoo's {axis}. {advice}; if the person lies or hangs, all is well."


def _mirrored(clip: Clip) -> Doubt | None:
    """Whether a 3-D body has its feet at the back, as in the mirror; None too where its own joints do not tell."""
    feet = {f"{side}_{point}" for side in ("left", "right") for point in ("ankle", "foot")}
    trunk = [f"{side}_{point}" for side in ("left", "right") for point in ("hip", "shoulder")]
    if clip.channels == 2 or not feet <= set(clip.layout.own.values()) or any(clip.layout.point(point) is None for point in trunk):
        return None
    body = clip.keypoints[is_present(clip.keypoints)][None]
    at = {point: point_track(body, clip.layout, point)[0] for point in (*feet, *trunk)}
    across = at["left_hip"] - at["right_hip"] + at["left_shoulder"] - at["right_shoulder"]
    up = at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
    toes = at["left_foot"] - at["left_ankle"] + at["right_foot"] - at["right_ankle"]
    if np.median((_unit(toes) * _unit(np.cross(_unit(across), _unit(up)))).sum(axis=1)) >= BACKWARDS:
        return None
    return (
        "the feet point backwards, as if left and right were exchanged; skelzoo's axes are right-handed. If an axis of your data points the other way, turn it, "
        "e.g. keypoints * [1, 1, -1]; if you have exchanged two axes, turn one of them too, e.g. keypoints[..., [0, 2, 1]] * [1, 1, -1]; "
        "or left and right are exchanged among the joints."
    )


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), np.float32)
