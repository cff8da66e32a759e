"""What is odd about joints that were found in pictures: shares of it in place of pixels, places outside of it, at (-1, -1) or guessed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.doubts import Doubt
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import is_found, is_present, mixes

SHARES = 2
"""2-D coordinates up to this are no pixels: shares of a picture, of joints outside it too."""

UNSURE = 0.01
"""Score up to which a joint has not been found, but for a guess."""

UNLIKE = 0.1
"""Median score of the joints that were found below which scores are on a scale of their own, where UNSURE tells nothing; so are those below 0."""

CUT_OFF = 0.3
"""Share of the shoulders' median score below which a joint is rather outside of the picture; of filmed clips both sides' have at least 0.49."""

GUESSED = 0.02
"""Share of the joints from which on guesses are too many."""

LINE = 1e-5
"""Of the largest coordinate: joints that have been filled are as near to the middle of the frames around, as float32 rounds; guesses are not."""

OUTSIDE = 0.2
"""Share of the bodies that may have most of their joints outside of the picture, as of people who walk in; of filmed clips of the corpora and benchmarks none has."""

SHOULDERS = ("left_shoulder", "right_shoulder")
LEGS = (("left_hip", "right_hip"), ("left_knee", "right_knee"), ("left_ankle", "right_ankle"))

_PIXELS = "Read the file with --image-size 1280x720, the picture's width and height in pixels (image_size='1280x720' in skelzoo.read)"


def in_shares(joints: FloatArray) -> bool:
    """Whether 2-D joints (..., 2) are shares of a picture: all are near to it, or most of those that were found in it."""
    if max(-joints.min(), joints.max()) <= SHARES:
        return True
    found = joints[np.asarray(joints.any(axis=-1))]
    return bool(2 * ((found >= 0) & (found <= 1)).all(axis=1).sum() > len(found))


def shares(clip: Clip) -> str | None:
    """Whether 2-D joints are shares of a picture."""
    if clip.channels == 3 or not in_shares(clip.keypoints):
        return None
    return (
        f"the 2-D coordinates are all within -{SHARES} to {SHARES}, or most within 0 to 1, as shares of a picture are. {_PIXELS}, or give keypoints * (width, height), "
        "so that x and y have one unit; if they have, all is well."
    )


def outside(clip: Clip) -> Doubt | None:
    """Whether the joints of many bodies lie mostly beyond the right or lower edge of the picture of the clip's size."""
    if clip.image_size is None:
        return None
    (height, width), found = clip.image_size, is_found(clip.keypoints)
    out = (clip.keypoints > (width, height)).any(axis=3)
    if (2 * out.sum(axis=2) > found.sum(axis=2)).sum() <= OUTSIDE * found.any(axis=2).sum():
        return None
    x, y = clip.keypoints.max(axis=(0, 1, 2))
    return Doubt(
        "joints lie mostly outside of the picture, as where its width and height are exchanged, or the joints were found in a picture of another size. Give the size of that picture: "
        "image_size=(height, width) in skelzoo.Clip, --image-size WIDTHxHEIGHT for files that do not say it; in COCO annotations that do, correct width and height under images. If people are outside of the picture, all is well.",
        f"Here it is {width} wide and {height} high, and joints reach to x = {x:.0f} and y = {y:.0f}.",
    )


def minus_ones(clip: Clip) -> str | None:
    """Whether 2-D joints are at (-1, -1) more than once, where pixels hardly are."""
    if clip.channels == 3 or (clip.keypoints == -1).all(axis=3).sum() < 2:
        return None
    return (
        "joints are at exactly (-1, -1), where some put those that were not found, and would be taken to be there. Those that were not found are (0, 0) here: "
        "keypoints[(keypoints == -1).all(-1)] = 0."
    )


def cut_off(clip: Clip) -> Doubt | None:
    """Whether hips, knees or ankles of a person in pictures have places in most frames, and low scores on both sides; those of one side may be hidden by the other."""
    at = {point: clip.layout.index(joint) for joint, point in clip.layout.own.items()}
    if clip.channels == 3 or clip.scores is None or clip.frames < 3 or not set(SHOULDERS) <= set(at):
        return None
    shoulders = [at[point] for point in SHOULDERS]
    guessable, placed = _unfilled(clip.keypoints), is_found(clip.keypoints[:, 1:-1])
    for m, scores in enumerate(clip.scores[:, 1:-1]):
        sure = scores[:, shoulders][placed[m][:, shoulders]]
        if not len(sure) or np.median(sure) <= 0:
            continue
        often = 2 * (guessable[m] & (scores < CUT_OFF * np.median(sure))).sum(axis=0) > placed[m].any(axis=1).sum()
        cut = [at[point] for pair in LEGS if set(pair) <= set(at) and often[[at[point] for point in pair]].all() for point in pair]
        if cut:
            return Doubt(
                f"hips, knees or ankles of both sides have places and, in most frames, scores below {CUT_OFF:g} of the shoulders', as where they are outside of the picture and an estimator "
                "guesses; the models read places and not scores. Set them to (0, 0), not found; if they are there, all is well.",
                f"Here it is keypoints[{m}, :, {cut}] = 0, {', '.join(clip.layout.joints[joint] for joint in cut)}.",
            )
    return None


def guessed(clip: Clip) -> Doubt | None:
    """Whether many 2-D joints with a score of nearly 0 have a place, which is no mean of those in the frames around."""
    if clip.channels == 3 or clip.scores is None or clip.frames < 3:
        return None
    scores = clip.scores[is_found(clip.keypoints)]
    sure = scores[scores > UNSURE]
    if not len(sure) or np.median(sure) < UNLIKE or scores.min() < 0:
        return None
    guesses = (clip.scores[:, 1:-1] <= UNSURE) & _unfilled(clip.keypoints)
    joints = is_present(clip.keypoints)[:, 1:-1].sum() * len(clip.layout)
    if guesses.sum() <= GUESSED * joints:
        return None
    return Doubt(
        f"more than {GUESSED:.0%} of the joints have a score of nearly 0 and a place all the same, as where an estimator guesses; the models read places and not scores. "
        "Fill them: skelzoo.fill_missing(clip.keypoints, clip.scores, 0.1); if they are there, all is well."
    )


def _unfilled(places: FloatArray) -> NDArray[np.bool_]:
    """(M, T - 2, V) which 2-D joints, but in the first and last frame, have places that are no mean of those in the frames around."""
    bend = np.abs(places[:, 2:] + places[:, :-2] - 2 * places[:, 1:-1]).max(axis=3)
    return np.asarray(is_found(places[:, 1:-1]) & (bend > LINE * np.abs(places).max()))


def are_shares(bodies: FloatArray, layout: Layout) -> bool:
    """Whether x and y of 3-D bodies (B, V, 3) are rather shares of a picture, y down, or turned upright with z: hips and shoulders are in it, as nobody's in metres are."""
    weights = mixes(layout, ("hip_center", "shoulder_center"))
    if weights is None or not len(bodies) or (layout.dimensions == 3 and "hip_center" in layout.own.values()):
        return False
    hips, shoulders = np.median(weights @ bodies, axis=0) * (1, np.sign(bodies[..., 1].mean()), 1)
    x, y, z = hips - shoulders
    inside = min(*hips[:2], *shoulders[:2]) > 0 and max(hips[0], *shoulders[:2]) < 1 and max(hips[1], abs(hips[2]), abs(shoulders[2])) < SHARES
    return bool(inside and y > -abs(x) and abs(z) < 2 * np.hypot(x, y))


def shares_and_depth(bodies: FloatArray, layout: Layout) -> str | None:
    """Whether x and y of 3-D bodies are shares of a picture."""
    if bodies.shape[2] == 2 or not are_shares(bodies, layout):
        return None
    return (
        f"x and y look like shares of a picture, as MediaPipe's landmarks are, which with its z are no body in space. {_PIXELS}, without --up, or give "
        "keypoints[..., :2] * (width, height), to a model whose name ends in -2d; 3-D models take its world landmarks. If these are of space, all is well."
    )
