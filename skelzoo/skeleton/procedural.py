"""Motions made by formula on a rig of a person's size: something to run, draw and test with when no recording is at hand.

Trunk, arms and the kicking leg follow curves over time. Legs that must reach a place, such as a planted foot, get their
joint angles from two-link inverse kinematics; all joints then come from forward kinematics, so bones keep their length.
Axes: y up, the person faces +z, the person's left is +x; metres.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skelzoo.errors import ClipError
from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.kinematics import euler
from skelzoo.skeleton.layouts import get_layout

Number = Float64s | float

LAYOUT = "kinect20"

_ONE_SIDE: Mapping[str, tuple[float, float, float]] = {
    "Shoulder": (0.18, -0.03, 0.0), "Elbow": (0.0, -0.30, 0.0), "Wrist": (0.0, -0.25, 0.0), "Hand": (0.0, -0.08, 0.0),
    "Hip": (0.09, -0.07, 0.0), "Knee": (0.0, -0.43, 0.0), "Ankle": (0.0, -0.43, 0.0), "Foot": (0.0, -0.055, 0.14),
}  # fmt: skip

RIG: Mapping[str, tuple[float, float, float]] = {
    "HipCenter": (0.0, 1.005, 0.0), "Spine": (0.0, 0.08, 0.0), "ShoulderCenter": (0.0, 0.36, 0.0), "Head": (0.0, 0.19, 0.0),
    **{f"Left{joint}": offset for joint, offset in _ONE_SIDE.items()},
    **{f"Right{joint}": (-x, y, z) for joint, (x, y, z) in _ONE_SIDE.items()},
}  # fmt: skip
"""Offset of each joint from its parent, standing with hanging arms; of HipCenter from the floor. The head joint is the
middle of the head, at 1.635 m; its top would be at 1.75 m. Lengths follow the usual shares of body height (thigh and shank
0.245 each, foot 0.04 high)."""

THIGH, SHANK, ANKLE_HEIGHT = 0.43, 0.43, 0.075
HEEL: tuple[float, float, float] = (0.0, -0.075, -0.045)
"""Heel below and behind the ankle: the foot rolls over it when it lands; no joint of the layout."""


@dataclass(frozen=True)
class Style:
    """How one performance differs from another.

    Attributes:
        speed: 1 is the usual pace.
        amplitude: 1 is the usual extent: stride, depth of the squat, height of the kick, swing of the forearm.
        phase: where in a step a walk begins, 0 to 1.
    """

    speed: float = 1.0
    amplitude: float = 1.0
    phase: float = 0.0


@dataclass(frozen=True)
class _Pose:
    """Places and turns over time T: the root, and per joint the turn of the bone that ends in it (T, 3, 3).

    Joints without a turn go on straight. ``ankles`` are where each foot must be and ``feet`` how it lies in the world.
    """

    root: Float64s
    turns: Mapping[str, Float64s]
    ankles: Mapping[str, Float64s]
    feet: Mapping[str, Float64s]
    toe_out: float = 0.0


def make(name: str, frames: int = 90, fps: float = 30.0, seed: int = 0, noise: float = 0.002) -> Clip:
    """One performance of a motion.

    Args:
        name: a key of ``motions()``: walk, squat, wave, kick.
        frames: T.
        fps: frames per second.
        seed: chooses pace, extent and noise; the same seed gives the same clip.
        noise: standard deviation of the noise on every coordinate, metres; 0 for none.

    Returns:
        Clip in layout ``kinect20``, one person, 3-D in metres, labelled ``name`` and named ``name-seed``.

    Raises:
        ClipError: an unknown motion, fewer than one frame, or fps that is not positive.
    """
    if name not in motions():
        near = difflib.get_close_matches(name, motions(), 1, 0.4)
        raise ClipError(f"no motion {name!r}. {'Did you mean ' + near[0] + '? ' if near else ''}Known: {', '.join(motions())}.")
    if frames < 1 or not fps > 0:
        raise ClipError(f"{name}: {frames} frames at {fps} fps cannot be made. Give at least 1 frame and a positive rate.")
    rng = np.random.default_rng(seed)
    style = Style(speed=rng.uniform(0.88, 1.12), amplitude=rng.uniform(0.88, 1.06), phase=rng.uniform())
    joints = motions()[name](np.arange(frames) / fps, style)
    return Clip(joints + noise * rng.standard_normal(joints.shape), LAYOUT, fps=fps, label=name, name=f"{name}-{seed}")


def motions() -> dict[str, Callable[[Float64s, Style], Float64s]]:
    """Motions by name: functions of time (T,) in seconds and a Style, giving joints (T, 20, 3) in metres."""
    return {"walk": walk, "squat": squat, "wave": wave, "kick": kick}


def walk(t: Float64s, style: Style) -> Float64s:
    """Walking along +z at about 1.15 m/s, arms against legs, knees bent in swing, the foot rolling from heel to toe."""
    stride, p = 1.25 * style.amplitude, t * style.speed / 1.1 + style.phase
    wide = np.zeros_like(t)
    right, left = _foot_cycle(p, stride), _foot_cycle(p + 0.5, stride)
    beat, rise = np.cos(2 * np.pi * p), np.cos(4 * np.pi * (p - 0.31))  # +1 at the right heel's landing; +1 in mid stance
    root = np.stack([-0.02 * np.cos(2 * np.pi * (p - 0.31)), 0.968 - 0.03 * (stride - 1.25) + 0.02 * rise, stride * p], -1)
    swing = 22 * style.amplitude
    turns = {
        "HipCenter": _turn("y", 5 * beat) @ _turn("x", wide + 2), "Spine": _turn("x", wide + 2), "ShoulderCenter": _turn("y", -11 * beat), "Head": _turn("y", 6 * beat),
        "RightElbow": _arm("Right", -swing * beat - 4, wide + 7), "RightWrist": _turn("x", -20 + 10 * beat),
        "LeftElbow": _arm("Left", swing * beat - 4, wide + 7), "LeftWrist": _turn("x", -20 - 10 * beat),
    }  # fmt: skip
    ankles = {"Right": np.stack([wide - 0.065, right[1], right[0]], -1), "Left": np.stack([wide + 0.065, left[1], left[0] - 0.5 * stride], -1)}
    return _forward(_Pose(root, turns, ankles, {"Right": _turn("x", right[2]), "Left": _turn("x", left[2])}, toe_out=6))


def squat(t: Float64s, style: Style) -> Float64s:
    """Squats with planted feet: hips down and back, trunk leaning forward, arms raised to the front, about 2.6 s each."""
    down = 0.5 - 0.5 * np.cos(2 * np.pi * t * style.speed / 2.6)
    depth = style.amplitude * down
    root = np.stack([0 * t, 0.995 - 0.40 * depth, -0.23 * depth], -1)
    lean = 38 * depth  # two thirds in the pelvis; arms and head make up for it
    arm = 88 * down + lean
    turns = {
        "HipCenter": _turn("x", 0.64 * lean), "Spine": _turn("x", 0.18 * lean), "ShoulderCenter": _turn("x", 0.18 * lean), "Head": _turn("x", -0.7 * lean),
        **{f"{side}Elbow": _arm(side, arm, 8 - 6 * down) for side in ("Left", "Right")}, **{f"{side}Wrist": _turn("x", -12 + 4 * down) for side in ("Left", "Right")},
    }  # fmt: skip
    return _forward(_Pose(root, turns, _stand(t, 0.15), _flat(t), toe_out=18))


def wave(t: Float64s, style: Style) -> Float64s:
    """Standing, the right hand raised above the shoulder within a second and the forearm swung from side to side."""
    up = _keyed(t * style.speed, (0.15, 0.95), (0.0, 1.0))
    swing = 26 * style.amplitude * up**2 * np.sin(2 * np.pi * 1.9 * style.speed * t)
    sway = np.sin(2 * np.pi * 0.3 * t)
    root = np.stack([0.012 * sway + 0.01 * up, 0.998 + 0 * t, 0.004 * sway], -1)
    raised = _turn("y", 22 * up) @ _turn("z", -8 - 64 * up) @ _turn("y", -78 * up)
    turns = {
        "HipCenter": _turn("z", -0.6 * sway), "ShoulderCenter": _turn("z", 0.6 * sway - 3 * up), "Head": _turn("z", 4 * up) @ _turn("y", -5 * up),
        "RightElbow": raised, "RightWrist": _turn("x", -14 - 86 * up - swing), "RightHand": _turn("x", -0.4 * swing),
        "LeftElbow": _arm("Left", 2 * sway, 8 + 0 * t), "LeftWrist": _turn("x", -14 + 2 * sway),
    }  # fmt: skip
    return _forward(_Pose(root, turns, _stand(t, 0.11), _flat(t), toe_out=8))


def kick(t: Float64s, style: Style) -> Float64s:
    """From standing a kick to the front with the right leg: wind up, strike, back to the floor, about 2.2 s each; the arms balance."""
    u = (t * style.speed) % 2.2
    lift = _keyed(u, (0.25, 0.55, 1.5, 1.85), (0, 1, 1, 0))
    wind = _keyed(u, (0.15, 0.6, 1.0, 1.85), (0, -1, style.amplitude, 0))  # -1 leg drawn back, +1 leg thrown out
    # The leg from its hip: angle forward of straight down in degrees, and distance from hip to ankle.
    angle = _keyed(u, (0.25, 0.6, 0.82, 1.0, 1.25, 1.85), (0, -38, 18, 78 * style.amplitude, 48, 0))
    reach = _keyed(u, (0.25, 0.6, 0.82, 1.0, 1.25, 1.85), (0.85, 0.66, 0.66, 0.85, 0.66, 0.85))
    pitch = _keyed(u, (0.2, 0.6, 1.0, 1.3, 1.85), (0, 75, -25, 10, 0))
    root = np.stack([0.085 * lift, 0.992 - 0.02 * lift, 0.03 * wind * lift], -1)
    hip = root + np.array(RIG["RightHip"])
    radians = np.radians(angle)
    thrown = hip + np.stack([-0.02 + 0 * t, -reach * np.cos(radians), reach * np.sin(radians)], -1)
    ankles, feet = _stand(t, 0.10), _flat(t)
    ankles["Right"] = ankles["Right"] * (1 - lift[:, None]) + thrown * lift[:, None]
    feet["Right"] = _turn("x", pitch * lift)
    turns = {
        "HipCenter": _turn("y", 8 * wind) @ _turn("x", -5 * wind), "Spine": _turn("x", -4 * wind + 3 * lift), "ShoulderCenter": _turn("y", -18 * wind), "Head": _turn("y", 9 * wind) @ _turn("x", 6 * wind),
        "LeftElbow": _arm("Left", 42 * wind, 8 + 32 * lift), "LeftWrist": _turn("x", -14 - 20 * lift),
        "RightElbow": _arm("Right", -34 * wind, 8 + 34 * lift), "RightWrist": _turn("x", -14 - 22 * lift),
    }  # fmt: skip
    return _forward(_Pose(root, turns, ankles, feet, toe_out=6))


def _foot_cycle(p: Float64s, stride: float) -> tuple[Float64s, Float64s, Float64s]:
    """One foot in walking, p counting its landings: ankle z and y, and pitch in degrees (heel up is positive)."""
    landing = np.floor(p)
    u, lift_off = p - landing, 0.62
    pitch = _foot_pitch(u)
    z, y = _rolling(pitch)
    # The swing joins take-off and next landing with their speeds, so that the ankle does not jerk.
    step = 1e-3
    (z0, y0), (z1, y1) = _rolling(_foot_pitch(np.array([lift_off - step, lift_off]))), _rolling(_foot_pitch(np.array([0.0, step])))
    s, width = np.clip((u - lift_off) / (1 - lift_off), 0, 1), 1 - lift_off
    swing_z = _hermite(s, z0[1], stride + z1[0], (z0[1] - z0[0]) / step * width, (z1[1] - z1[0]) / step * width)
    swing_y = _hermite(s, y0[1], y1[0], (y0[1] - y0[0]) / step * width, (y1[1] - y1[0]) / step * width) + 0.035 * np.sin(np.pi * s) ** 2
    stance = u < lift_off
    return (landing + 0.26) * stride + np.where(stance, z, swing_z), np.where(stance, y, swing_y), pitch


def _foot_pitch(u: Float64s) -> Float64s:
    return _keyed(u, (0.0, 0.12, 0.36, 0.66, 0.86, 1.0), (-16, 0, 0, 56, -4, -16))


def _rolling(pitch: Float64s) -> tuple[Float64s, Float64s]:
    """Ankle z and y of a foot that rolls over its planted heel (pitch below 0) or its planted ball, from where it lies flat."""
    z, y = np.zeros_like(pitch), np.full_like(pitch, ANKLE_HEIGHT)
    for (_, py, pz), touching in ((HEEL, pitch < 0), (RIG["LeftFoot"], pitch > 0)):
        c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
        z, y = np.where(touching, pz - (s * py + c * pz), z), np.where(touching, ANKLE_HEIGHT + py - (c * py - s * pz), y)
    return z, y


def _stand(t: Float64s, half_width: float) -> dict[str, Float64s]:
    """Ankles of planted feet."""
    return {side: np.tile([x, ANKLE_HEIGHT, 0.0], (len(t), 1)) for side, x in (("Left", half_width), ("Right", -half_width))}


def _flat(t: Float64s) -> dict[str, Float64s]:
    return {side: _turn("x", 0 * t) for side in ("Left", "Right")}


def _arm(side: str, forward: Number, out: Number) -> Float64s:
    """Turn of the upper arm: raised to the front and held away from the body, degrees."""
    return _turn("z", out if side == "Left" else -np.asarray(out)) @ _turn("x", -np.asarray(forward))


def _forward(pose: _Pose) -> Float64s:
    """Forward kinematics: (T, 20, 3). Legs are bent so that the ankles are where the pose wants them."""
    layout = get_layout(LAYOUT)
    turns = dict(pose.turns)
    pelvis = turns["HipCenter"]
    for side, out in (("Left", pose.toe_out), ("Right", -pose.toe_out)):
        hip = pose.root + pelvis @ np.array(RIG[f"{side}Hip"])
        way = np.einsum("tji,tj->ti", pelvis, pose.ankles[side] - hip)
        turns[f"{side}Knee"], turns[f"{side}Ankle"] = _bend_leg(way, out)
        leg = pelvis @ turns[f"{side}Knee"] @ turns[f"{side}Ankle"]
        turns[f"{side}Foot"] = leg.transpose(0, 2, 1) @ _turn("y", np.full(len(pose.root), out)) @ pose.feet[side]
    places, turned = [pose.root], [pelvis]
    for joint, parent in zip(layout.joints[1:], layout.parents[1:], strict=True):
        turned.append(turned[parent] @ turns[joint] if joint in turns else turned[parent])
        places.append(places[parent] + turned[-1] @ np.array(RIG[joint]))
    return np.stack(places, 1)


def _bend_leg(way: Float64s, toe_out: float) -> tuple[Float64s, Float64s]:
    """Turns of thigh and shank that bring the ankle ``way`` (T, 3) from the hip, both in the pelvis' frame, knee to the front."""
    outward = _turn("y", np.full(len(way), toe_out))
    x, y, z = np.einsum("tji,tj->ti", outward, way).T
    distance = np.clip(np.linalg.norm(way, axis=1), 0.3, 0.9995 * (THIGH + SHANK))
    at_hip = np.degrees(np.arccos((THIGH**2 + distance**2 - SHANK**2) / (2 * THIGH * distance)))
    at_knee = np.degrees(np.arccos((THIGH**2 + SHANK**2 - distance**2) / (2 * THIGH * SHANK)))
    aside = np.degrees(np.arctan2(x, -y))
    ahead = np.degrees(np.arctan2(z, np.hypot(x, y)))
    return outward @ _turn("z", aside) @ _turn("x", -(ahead + at_hip)), _turn("x", 180 - at_knee)


def _turn(axis: str, degrees: Number) -> Float64s:
    """Rotation matrices (T, 3, 3) about a world axis, right-handed."""
    return euler(np.atleast_1d(np.asarray(degrees, float))[:, None], axis)


def _hermite(s: Float64s, start: Number, end: Number, start_speed: Number, end_speed: Number) -> Float64s:
    """Cubic from start to end for s in 0 to 1."""
    return np.asarray(
        (2 * s**3 - 3 * s**2 + 1) * start + (s**3 - 2 * s**2 + s) * start_speed + (3 * s**2 - 2 * s**3) * end + (s**3 - s**2) * end_speed, dtype=float
    )


def _keyed(t: Float64s, times: Sequence[float], values: Sequence[float]) -> Float64s:
    """Smooth curve through values at times: cubic, without overshoot, level before the first and after the last."""
    x, v = np.asarray(times, float), np.asarray(values, float)
    slope = np.diff(v) / np.diff(x)
    speed = np.zeros_like(v)
    same = slope[1:] * slope[:-1] > 0
    speed[1:-1][same] = (2 * slope[1:] * slope[:-1])[same] / (slope[1:] + slope[:-1])[same]
    k = np.clip(np.searchsorted(x, t, side="right") - 1, 0, len(x) - 2)
    width = x[k + 1] - x[k]
    return _hermite(np.clip((t - x[k]) / width, 0, 1), v[k], v[k + 1], speed[k] * width, speed[k + 1] * width)
