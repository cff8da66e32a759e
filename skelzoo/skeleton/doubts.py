"""What is odd about clips that are taken all the same: axes or an order of joints that are not skelzoo's, lost joints at zero, pictures' shares in place of pixels."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import is_present, point_track

UPRIGHT = 0.8
"""Cosine to an axis from which on a spine points along it."""

BACKWARDS = -0.4
"""Median cosine of feet to the front below which left and right are exchanged: the clips of the corpora and benchmarks have more, nearly all of them when mirrored less."""

APART = 0.9
"""Trunk lengths from hip centre to the middle of the hips from which on joints are in another order: clips of the corpora have at most 0.66, of others' orders at least 1.09."""

SHARES = 2
"""2-D coordinates up to this are no pixels: shares of a picture, of joints outside it too."""

LONG = 60
"""Seconds from which on a clip is rather a recording of several actions."""

STRETCH = 30
"""The same in frames for each one of an encoder's, where the frame rate is unknown."""

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


def doubts_of(clip: Clip, keypoints: FloatArray, layout: Layout, any_axis: bool, filled: bool) -> tuple[Doubt, ...]:
    """What is odd about a clip.

    Args:
        clip: as it is given.
        keypoints: (M, T, V, C) of a contract's layout, as its steps get them.
        any_axis: whether the steps turn bodies upright.
        filled: whether the steps fill joints at zero.
    """
    # Joints in another order are no spine and no feet: what these tell would mislead.
    order = _order(clip)
    found: list[Doubt | None] = [order] if order else [None if any_axis else _spine(keypoints, layout, clip.channels), _mirrored(clip)]
    found.append(None if filled else _lost(clip))
    if clip.channels == 2 and max(-clip.keypoints.min(), clip.keypoints.max()) <= SHARES:
        found.append(
            f"the 2-D coordinates are all within -{SHARES} to {SHARES}, as shares of a picture are. Give pixels, keypoints * (width, height), "
            "so that x and y have one unit; if they have, all is well."
        )
    return tuple(doubt for doubt in found if doubt)


def _order(clip: Clip) -> Doubt | None:
    """Whether the middle of the hips is far from a hip centre of its own."""
    layout, points = clip.layout, ("left_hip", "right_hip", "hip_center", "shoulder_center")
    mixes = [layout.mix(point) or {} for point in points]
    if not set(points[:3]) <= set(layout.own.values()) or not all(mixes):
        return None
    weights = np.zeros((len(points), len(layout)), np.float32)
    for row, mix in zip(weights, mixes, strict=True):
        row[list(mix)] = list(mix.values())
    at = weights @ clip.keypoints
    whole = np.asarray(at.any(axis=3)).all(axis=2) if clip.channels == 2 else is_present(at)
    left, right, hips, shoulders = at[whole].transpose(1, 0, 2)
    if not len(hips) or np.median(np.linalg.norm((left + right) / 2 - hips, axis=1) / np.maximum(np.linalg.norm(shoulders - hips, axis=1), 1e-12)) <= APART:
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


def too_long(clip: Clip, frames: int) -> tuple[Doubt, ...]:
    """Whether so much becomes one vector that hardly a motion is left in it; ``frames`` are those that an encoder takes."""
    if clip.frames <= (STRETCH * frames if clip.fps is None else LONG * clip.fps):
        return ()
    size = f"has more than {STRETCH * frames} frames" if clip.fps is None else f"is longer than {LONG} seconds"
    return (
        f"the clip {size}, and all of it becomes one vector of {frames} frames. Cut long recordings with --window FRAMES, "
        "in Python with skelzoo.windows(clip, frames); if it is a single action, all is well.",
    )


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), np.float32)
