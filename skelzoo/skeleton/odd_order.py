"""Whether joints are those that a layout says: in another order, with left and right exchanged, or never tracked."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.doubts import Doubt
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import is_found, mixes

BACKWARDS = -0.4
"""Cosine of feet to the front below which, in most frames, left and right are exchanged: the clips of the corpora and benchmarks have more, nearly all of them when mirrored less."""

BESIDE = 0.05
"""Share of a body's longest side that a point which has been taken off may be outside of the box around the other joints, but not along that side, since the origin may be on the floor.
Of the 7909 clips, centred on any of these points, 6 of NW-UCLA on the shoulder centre are told so, and with one of them at zero all but 11 of HDM05."""

STANDS = -0.5
"""Cosine of shanks to trunk below which feet tell where the front is; those of people who kneel point to the back."""

APART = 0.9
"""Trunk lengths from hip centre to the middle of the hips from which on, in most frames, joints are in another order: clips of the corpora have at most 0.66, of others' orders at least 1.09."""

UNEVEN = 1.7
"""Times as long as the other side's from which on, in most frames, an upper or lower arm or leg is none: in the 7909 clips of the corpora and benchmarks it is 1.6 at most, and in 8 of their 29678 windows of 30 frames more than this.
Of the joints of Kinect's 20 that are all shifted by one, which leaves the hip centre between other joints, it tells 42 of 43 clips tried."""

UPPER_ARM, THIGH = (0.62, 1.8), (0.58, 2.2)
"""Lower arms and lower legs as long as which upper ones are, in most frames, at least and at most: in the 7909 clips 0.76 to 1.49 and, but for 2 of NW-UCLA, 0.72 to 2.2."""

SHORT_THIGH = 0.46
"""Trunk lengths that thighs are long at least: in the 7909 clips 0.52."""

ACROSS = -0.4
"""Cosine of hips to shoulders, from right to left, below which, in most frames, left and right are exchanged in one of them: in the 7909 clips, but for 2 of NW-UCLA, it is at least -0.2, and but for NW-UCLA's 0.67."""

FOLDED = 0
"""Cosine of trunk to thighs in pictures above which, in most frames, joints that seem to hang are in another order: of 44 clips of UTD-MHAD, filmed, it is -0.79 at most, of all in COCO's order given as Human3.6M's at least 0.47, and of 42 the other way round above 0."""

TURN, TURNS = -0.5, 3
"""Cosine of both hips and shoulders to those of the frame before below which they have turned round, and times from which on that is no spin: no clip of the corpora and benchmarks does it twice, at 5 fps none three times."""

SIDES = (("right_hip", "left_hip"), ("right_shoulder", "left_shoulder"))
MIDDLE = (("hip_center", "left_hip"), ("hip_center", "right_hip"))
TRUNK = ("hip_center", "shoulder_center")
LIMBS = tuple((f"{side}_{start}", f"{side}_{end}") for side in ("left", "right") for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")))  # fmt: skip
TOES = (("left_ankle", "left_foot"), ("right_ankle", "right_foot"))
SHANKS = (("left_knee", "left_ankle"), ("right_knee", "right_ankle"))
THIGHS = (("hip_center", "left_knee"), ("hip_center", "right_knee"))
CENTRED = frozenset({"hip_center", "spine_low", "spine_mid", "spine_shoulder", "shoulder_center", "neck"})
"""Points that may be at the origin in every frame, since they have been taken off, where the others are around it."""


def other_order(bodies: FloatArray, layout: Layout) -> str | None:
    """What bodies (B, V, C) mostly lack that those of the layout have."""
    ways = _ways(layout, (*SIDES, TRUNK, *MIDDLE))
    if ways is not None:
        hips, shoulders, trunk, left, right = (ways @ (bodies if bodies.shape[2] == 3 else _with(bodies, ways))).transpose(1, 0, 2)
        own = {"hip_center", "left_hip", "right_hip"} <= set(layout.own.values())
        if own and _mostly(length(left + right) > 2 * APART * length(trunk)):
            return _unlike(layout, "whose hip centre is between the hips")
        if bodies.shape[2] == 3 and _mostly(_apart(hips, shoulders, ACROSS)):
            return _unlike(layout, "whose left hip is below the left shoulder, as it is not where left and right are exchanged in the legs or the arms alone")
    return _limbs(bodies, layout)


def folded(bodies: FloatArray, layout: Layout) -> str | None:
    """Whether in pictures the shoulders are mostly below the hips, and the knees on their side, where those of people upside down are not."""
    ways = _ways(layout, (TRUNK, *THIGHS))
    if bodies.shape[2] == 3 or ways is None:
        return None
    trunk, left, right = (ways @ _with(bodies, ways)).transpose(1, 0, 2)
    down = 2 * trunk[:, 1] > np.abs(trunk[:, 0])  # else people lie
    return _unlike(layout, "whose hips are between knees and shoulders") if _mostly(down & _apart(-trunk, left + right, -FOLDED)) else None


def _unlike(layout: Layout, why: str) -> str:
    return (
        f"the joints do not fit layout {layout.name!r}, {why}; they may be in another order. "
        "Compare yours with print(clip.layout.report()); if they are the same, all is well."
    )


def _limbs(bodies: FloatArray, layout: Layout) -> str | None:
    """Whether arms and legs in space are of other lengths left and right, or their parts of other lengths than people's."""
    ways = _ways(layout, (*LIMBS, TRUNK))
    if ways is None or bodies.shape[2] == 2:  # in pictures limbs are as long as they are seen
        return None
    bodies = _with(bodies, ways[:-1])
    lengths = length(ways @ bodies)
    trunk, (left, right) = lengths[:, 8:], lengths[:, :8].reshape(-1, 2, 4).swapaxes(0, 1)
    if _mostly(np.maximum(left, right) > UNEVEN * np.minimum(left, right)):
        return _unlike(layout, "whose arms and legs are as long left as right")
    both = left + right
    upper, lower = both[:, ::2], both[:, 1::2]
    least, most = np.array((UPPER_ARM, THIGH)).T
    if _mostly((upper < least * lower) | (upper > most * lower)) or _mostly(both[:, 2:3] < 2 * SHORT_THIGH * trunk):
        return _unlike(layout, "whose upper arms and thighs are about as long as forearms and lower legs, and the trunk less than twice as long")
    return None


def mirrored(bodies: FloatArray, layout: Layout) -> str | None:
    """Whether 3-D bodies (B, V, 3) have their feet at the back, as in the mirror; None too where their own joints do not tell."""
    ways = _ways(layout, (*SIDES, ("left_hip", "left_shoulder"), ("right_hip", "right_shoulder"), *TOES, *SHANKS))
    if bodies.shape[2] == 2 or ways is None or not {point for toe in TOES for point in toe} <= set(layout.own.values()):
        return None
    hips, shoulders, left, right, left_toes, right_toes, left_shank, right_shank = (ways @ bodies).transpose(1, 0, 2)
    x, y, z = (hips + shoulders).T
    up_x, up_y, up_z = (left + right).T
    front = np.stack([y * up_z - z * up_y, z * up_x - x * up_z, x * up_y - y * up_x], axis=1)  # np.cross takes several times as long
    back = _apart(left_toes + right_toes, front, BACKWARDS)
    if not back.any() or not _mostly(back[_apart(left_shank + right_shank, left + right, STANDS)]):
        return None
    return (
        "the feet point backwards, as if left and right were exchanged; skelzoo's axes are right-handed. If an axis of your data points the other way, turn it, "
        "e.g. keypoints * [1, 1, -1]; if you have exchanged two axes, turn one of them too, e.g. keypoints[..., [0, 2, 1]] * [1, 1, -1]; "
        "or left and right are exchanged among the joints. If the person kneels, all is well."
    )


def exchanged(clip: Clip) -> Doubt | None:
    """Whether a 3-D person time and again turns round from one frame to the next, as where left and right are."""
    ways = _ways(clip.layout, SIDES)
    if clip.channels == 2 or ways is None:
        return None
    for m, person in enumerate(clip.keypoints):
        sides = ways @ person
        back = np.einsum("tsc,tsc->ts", sides[1:], sides[:-1]) < 0
        if np.count_nonzero(back[:, 0] & back[:, 1]) < TURNS:  # the rest takes long
            continue
        turned = np.logical_and(*_apart(sides[1:], sides[:-1], TURN).T)
        if turned.sum() >= TURNS:
            frames = _exchanged_frames(person, turned, clip.layout)
            return Doubt(
                "hips and shoulders time and again turn round from one frame to the next, as where a tracker exchanges left and right in some frames. Exchange them back in those of each such clip; "
                "if the person spins so, as at a few frames a second, all is well.",
                f"Here that is t = np.r_[{_stretches(frames)}]; keypoints[{m}, t] = keypoints[{m}, t][:, list(clip.layout.mirror_permutation)].{of_recording(clip, int(np.argmax(frames)))}",
            )
    return None


def _exchanged_frames(person: FloatArray, turned: NDArray[np.bool_], layout: Layout) -> NDArray[np.bool_]:
    """(T,) every second stretch between those frames (T - 1,) in which a person (T, V, C) has turned round: that with the feet backwards, else the rarer."""
    odd = np.append(False, np.cumsum(turned) % 2 == 1)
    there = person.any(axis=(1, 2))
    backwards, others = (mirrored(person[some & there], layout) is not None for some in (odd, ~odd))
    rarer = 2 * np.count_nonzero(odd & there) <= np.count_nonzero(there)
    return odd if (backwards if backwards != others else rarer) else ~odd


def _stretches(frames: NDArray[np.bool_]) -> str:
    """Which frames (T,) are said, as np.r_ takes them."""
    ends = np.flatnonzero(np.diff(frames, prepend=False, append=False))
    return ", ".join(f"{a}:{b}" if b - a > 1 else f"{a}" for a, b in ends.reshape(-1, 2))


def of_recording(clip: Clip, frame: int) -> str:
    """Which frame of the recording a clip's is, to say after it; "" where they have one number."""
    return f" Frame {frame} of the clip is frame {clip.first + frame} of the recording." if clip.first else ""


def never_tracked(clip: Clip) -> Doubt | None:
    """Whether 3-D joints are at the origin in all frames of a person, but for one of the trunk with the others around it, on which the clip may be centred."""
    if clip.channels == 2 or clip.keypoints.all():
        return None
    found = is_found(clip.keypoints)
    ever: NDArray[np.bool_] = np.asarray(found.any(axis=1))
    for m in np.flatnonzero(ever.any(axis=1) & ~ever.all(axis=1)):
        never = [clip.layout.joints[j] for j in np.flatnonzero(~ever[m])]
        points = {clip.layout.own.get(joint) for joint in never} - {None}
        if points - CENTRED or len(points) > 1 or (points and not _around_origin(clip.keypoints[m], found[m])):
            return Doubt(
                "joints are at exactly (0, 0, 0) in every frame, as those that a sensor does not track, and would be taken to be there. Take them out of keypoints and give the rest with "
                "skelzoo.layout_from_names(names): hands, feet and head are then estimated; without elbows, wrists, hips, knees or ankles leave the clip out. If the clip is centred on them, all is well.",
                f"Here they are {', '.join(never)}" + (f" of person {m}." if clip.persons > 1 else "."),
            )
    return None


def _around_origin(person: FloatArray, found: NDArray[np.bool_]) -> bool:
    """Whether in most frames the origin is among a person's joints (T, V, C) that were found (T, V)."""
    there = found.any(axis=1)
    person, known = person[there], found[there, :, None]
    low, high = person.min(axis=1, where=known, initial=np.inf), person.max(axis=1, where=known, initial=-np.inf)
    size = high - low
    longest = size.max(axis=1, keepdims=True)
    beside = BESIDE * longest * (size < longest)
    return _mostly(((low <= beside) & (high >= -beside)).all(axis=1))


@lru_cache(maxsize=256)
def _ways(layout: Layout, points: tuple[tuple[str, str], ...]) -> FloatArray | None:
    """How joints are mixed to the ways from one body point to another: (ways, V); None where the layout cannot tell one of them."""
    ends = [mixes(layout, names) for names in zip(*points, strict=True)]
    return None if ends[0] is None or ends[1] is None else ends[1] - ends[0]


def _with(bodies: FloatArray, ways: FloatArray) -> FloatArray:
    """Those of bodies (B, V, C) in which all joints that such ways go by were found."""
    return bodies if bodies.all() else bodies[is_found(bodies[:, ways.any(axis=0)]).all(axis=1)]


def _mostly(said: NDArray[np.bool_]) -> bool:
    """Whether more than half of the bodies (B, ...) say so, each column apart."""
    return bool((2 * said.sum(axis=0) > len(said)).any())


def _apart(a: FloatArray, b: FloatArray, cosine: float) -> NDArray[np.bool_]:
    """Where the cosine of vectors (..., C) is below one that is no more than 0."""
    return np.asarray(np.einsum("...c,...c", a, b) < cosine * length(a) * length(b))


def length(vectors: FloatArray) -> FloatArray:
    """(...) of vectors (..., C)."""
    return np.asarray(np.sqrt(np.einsum("...c,...c", vectors, vectors)))  # in a third of the time of a sum


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors (..., C) made as long as 1."""
    return np.asarray(vectors / np.maximum(length(vectors)[..., None], 1e-12), np.float32)
