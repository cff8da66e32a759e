"""What is odd about the joints of clips that are taken all the same: axes or an order that are not skelzoo's, joints lost at zero or far away; what odd_pictures finds is among it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.axes import TURNED, UPS
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.doubts import Doubt
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.odd_order import exchanged, folded, length, mirrored, never_tracked, of_recording, other_order, unit
from skelzoo.skeleton.odd_pictures import SHARES, cut_off, guessed, minus_ones, outside, shares, shares_and_depth
from skelzoo.skeleton.points import body_sizes, is_found, is_present, mixes, most

UPRIGHT = 0.8
"""Cosine to an axis from which on a spine points along it."""

LEAN = 40
"""Degrees from y beyond which a spine that points along no other axis is warned of: of the 7909 clips of the corpora and benchmarks 26, in which people bend; beyond 35 it were 81."""

TURNING = 0.3
"""Length of the mean of a clip's spines, each as long as 1, up to which it is of people who turn over and tells no axis: of all that turn over once or more, in a plane, it is 0.22 at most, of the cartwheels
of CMU 0.22, told wrongly, 0.42 and 0.48, which tell the axis rightly however it is turned, and of the other 7906 clips of the corpora and benchmarks at least 0.51."""

THIN = 0.01
"""Share of a body's height up to which it is flat: of the 7909 clips of the corpora and benchmarks the thinnest has 0.078 of it."""

USUAL, CENTI = (0.5, 3, 0.5), 316
"""Length of a body along x, y and z by the geometric mean of the two others, and times from which on an axis is in millimetres among metres rather than in centimetres: of 1383 clips whose x, y or z was given so, where that was told, 99 % get the right factor."""

ROUNDED = 0.005
"""The same of the step between neighbouring float32 numbers where the body is, which in these clips is 0.0000008 at most."""

PICTURE = 2000
"""Pixels that depth cameras' pictures are wide at most."""

NEAREST = 400
"""Millimetres before which depth cameras see nothing; in metres nobody is as far."""

DEPTH = 12
"""Trunk lengths from the camera to people, in the same unit at most: 6 metres. In pixels a trunk is 60 to 160 at depths of 1500 to 4000 millimetres."""

FAR = 20
"""Times as far from the middle of a body as half of its joints are, from which on a joint is none of it; in the 7909 clips of the corpora and benchmarks none is 10 times as far."""

SOME = 16
"""Frames, evenly apart, that tell how far from its middle half of a body's joints are."""


def odd_joints(clip: Clip, keypoints: FloatArray, layout: Layout, any_axis: bool, filled: bool) -> tuple[Doubt, ...]:
    """What is odd about a clip.

    Args:
        clip: as it is given.
        keypoints: (M, T, V, C) of a contract's layout, before a picture is made of 3-D ones.
        any_axis: whether the steps turn bodies upright.
        filled: whether the steps fill joints at zero.
    """
    present = is_present(clip.keypoints)
    bodies = clip.keypoints[present]
    screen = _screen(bodies, clip.layout)
    never = None if filled else never_tracked(clip)
    order = None if screen or never else other_order(bodies, clip.layout)
    if not (order and clip.layout.dimensions == 3):  # sensors' and motion capture's joints in another order may look like shares
        screen = screen or shares_and_depth(bodies, clip.layout)
    if no_body := _rounded(bodies) or (None if screen else _thin(bodies)):
        return (Doubt(no_body),)
    turning = None
    found = [("" if screen else order, ""), (screen, ""), (None if filled else _lost(clip), ""), (shares(clip), ""), (minus_ones(clip), "")]
    if not (order or screen or never):  # joints in another order or space are no spine and no feet: what these tell would mislead
        turning = exchanged(clip)
        spine = None if any_axis else _spine(bodies if keypoints is clip.keypoints else keypoints[is_present(keypoints)], layout, clip)
        found += [(spine and (folded(bodies, clip.layout) or spine), "spine"), (None if turning else mirrored(bodies, clip.layout), "feet")]
    told = (*filter(None, (never, turning)), *(Doubt(text, topic=topic) for text, topic in found if text))
    beyond = None if told else outside(clip)  # joints of other axes or units are outside for that reason
    return (*told, *filter(None, (None if screen else _far(clip), beyond, cut_off(clip) or guessed(clip))))


def _rounded(bodies: FloatArray) -> str | None:
    """Whether bodies (B, V, C) are so far from the origin that float32 moves their joints."""
    body = bodies[len(bodies) // 2]
    size = np.ptp(body, axis=0).max()
    if size == 0 or np.spacing(np.abs(body).max()) <= ROUNDED * size:  # one without any size is told by _far
        return None
    return (
        f"the joints are so far from the origin that float32, in which clips are kept, rounds them by more than {ROUNDED:.1%} of the body, and motion is lost. "
        "Take their mean off in float64 before the clip or its file is made, and leave at zero who or what was not found: there = keypoints.any(-1); keypoints[there] -= keypoints[there].mean(0)."
    )


def _lost(clip: Clip) -> str | None:
    """Whether 3-D joints jump to exactly the origin; a joint that stays there, or passes, is what the clip is centred on."""
    if clip.channels == 2 or clip.keypoints.all():
        return None
    found = is_found(clip.keypoints)
    there: NDArray[np.bool_] = np.asarray(found.any(axis=2))
    if (found | ~there[..., None]).all():
        return None
    for person, seen, here in zip(clip.keypoints, found, there, strict=True):
        body, known = person[here], seen[here]
        jumps = (known[1:] != known[:-1]) & (np.linalg.norm(np.diff(body, axis=0), axis=2) > body_sizes(body, known)[1:, None])
        if jumps.any():
            centred = (~seen[here]).all(axis=0).any()
            known_how = "keypoints.any(-1)" + (" | ~keypoints.any((-3, -1), keepdims=True)[..., 0]" if centred else "")
            return (
                "joints jump to exactly (0, 0, 0), where trackers put those that they lose, and would be taken to be there. "
                f"Fill them: skelzoo.fill_missing(keypoints, {known_how}); if they are there, all is well."
            )
    return None


def _far(clip: Clip) -> Doubt | None:
    """Whether joints that stand for the body are far from the others, or all are in one place, where no body is; those that are lost at zero count for nothing."""
    if clip.channels == 2:
        return None
    joints = _of_body(clip.layout)
    for person in clip.keypoints if len(joints) == len(clip.layout) else clip.keypoints[:, :, joints]:
        there, known, body = np.arange(len(person)), joints, person
        if not person.all():
            seen = is_found(person)
            there = np.flatnonzero(seen.any(axis=1))
            always = seen[there].all(axis=0)
            known, body = joints[always], person[there][:, always]
        if not len(there) or len(known) < 3:
            continue
        usual = np.sort(_off(body[:: len(body) // SOME + 1]), axis=None)
        usual = usual[len(usual) // 2]
        across = body - body[:, :1]
        if 2 * most(across) <= FAR * usual and across.any(axis=(1, 2)).all():  # nobody is farther off than that
            continue
        off = _off(body)
        far = (off > FAR * usual) | ~off.any(axis=1, keepdims=True)
        if far.any():
            t, v = np.unravel_index(np.argmax(far * length(body - np.median(body, axis=(0, 1)))), far.shape)
            frame = int(there[t])
            return Doubt(
                "joints are far from all others, or all in one place, as where a number such as -9999 stands for those that were not found, and would be taken to be there. Leave their cells of a "
                "table empty and read it with --fill-missing, or set them to NaN and give skelzoo.fill_missing(keypoints); if they are there, all is well.",
                f"Here it is joint {clip.layout.joints[known[v]]!r} in frame {frame}, at {tuple(body[t, v].tolist())}.{of_recording(clip, frame)}",
            )
    return None


def _off(bodies: FloatArray) -> FloatArray:
    """(T, V) how far the joints of bodies (T, V, C) are from their middle."""
    return length(bodies - np.sort(bodies, axis=1)[:, [bodies.shape[1] // 2]])  # np.median takes several times as long


@lru_cache(maxsize=64)
def _of_body(layout: Layout) -> NDArray[np.intp]:
    """The joints that points of the body are made of."""
    return np.array(sorted({layout.index(joint) for mix in layout.points.values() for joint in mix}), np.intp)


def _screen(bodies: FloatArray, layout: Layout) -> str | None:
    """Whether x and y of 3-D bodies (B, V, 3) are pixels, down the picture, beside a depth in another unit."""
    weights = mixes(layout, ("hip_center", "shoulder_center"))
    bodies = bodies[bodies.all(axis=(1, 2))] if bodies.shape[2] == 3 else bodies[:0]
    if weights is None or not len(bodies) or bodies[..., :2].min() < 0 or bodies[..., 0].max() > PICTURE or bodies[..., 2].min() < NEAREST:
        return None
    spine = weights[1] @ bodies - weights[0] @ bodies
    upright = spine[:, 1] < -UPRIGHT * length(spine[:, :2])
    if 2 * (upright & (bodies[..., 2].mean(axis=1) > DEPTH * length(spine[:, :2]))).sum() <= len(bodies):
        return None
    if bodies[..., :2].max() <= SHARES:
        return (
            "x and y look like shares of a depth camera's picture, and z like its depth in another unit, which give no body in space. Multiply x and y by the picture's width and height, "
            "and unproject them as `skelzoo docs files` says under Pixels and depth."
        )
    return (
        "x and y look like pixels of a depth camera, and z like its depth in millimetres, which give no body in space. Unproject them: "
        "X = (x - cx) * z / f, Y = -(y - cy) * z / f, Z = -z (z in a mirrored picture), with the camera's centre and focal length in pixels; `skelzoo docs files` has those of Kinect."
    )


def _thin(bodies: FloatArray) -> str | None:
    """Whether 3-D bodies have no depth, along z or another axis."""
    if bodies.shape[2] == 2:
        return None
    for some in (bodies[len(bodies) // 2][None], bodies):  # one of them first, since all take long
        depths = np.ptp(some, axis=1)
        thin = (depths <= THIN * depths.max(axis=1, keepdims=True)).all(axis=0)
        if not (thin.any() and depths.any()):
            return None
    flat = np.flatnonzero(thin)
    if max(len(np.unique(body)) for body in bodies[len(bodies) // 2, :, flat]) > 2:
        least, middle, largest = np.argsort(lengths := np.median(np.ptp(bodies, axis=1), axis=0))
        small = lengths[middle] ** 2 > lengths[least] * lengths[largest]  # else the two others are
        odd = least if small else largest
        usual = USUAL[odd] * np.sqrt(np.delete(lengths, odd).prod())
        factor = 100 if usual < CENTI * lengths[odd] and lengths[odd] < CENTI * usual else 1000
        return (
            f"along {'xyz'[odd]} a body is {'less than a hundredth' if small else 'more than a hundred times'} as long as along the other axes, as where {'xyz'[odd]} is in another unit, or is none of "
            f"space, such as a confidence. Give all three in one unit, e.g. keypoints * {[(factor if small else 1 / factor) if c == odd else 1 for c in range(3)]}."
        )
    kept = ":2" if thin[2] else np.flatnonzero(~thin).tolist()
    return (
        f"all joints of a body have the same {'xyz'[flat[-1]]}, as where 2-D joints have a number appended, which are no body in space. "
        f"Give keypoints[..., {kept}], with y down, in pixels, to a model whose name ends in -2d."
    )


def _spine(bodies: FloatArray, layout: Layout, clip: Clip) -> str | None:
    """Bodies that stand along another axis than y, or, in 2-D, upside down, as a contract's steps get them of a clip; None where they turn over."""
    weights = mixes(layout, ("hip_center", "shoulder_center"))
    if weights is None:
        return None
    if bodies.shape[2] == 2:  # in 3-D a joint may well be the origin
        bodies = bodies[is_found(bodies[:, weights.any(axis=0)]).all(axis=1)]
    hips, shoulders = (weights @ bodies).transpose(1, 0, 2)
    spine = unit(shoulders - hips).sum(axis=0)
    length = float(np.linalg.norm(spine))
    if length <= TURNING * len(bodies):
        return None
    spine /= length
    if len(spine) == 2:
        if spine[1] <= UPRIGHT:
            return _sideways(spine)
        return _of_spine("down", "y axis of 2-D joints points down, as pixels do", "If y points up in your data, give keypoints * [1, -1]")
    x, y, z = spine
    if y < -UPRIGHT:
        return _of_spine("down", "y axis points up", _up(clip, "-y", "keypoints * [1, -1, -1]"))
    if abs(z) > UPRIGHT:
        turn = f"keypoints[..., [0, 2, 1]] * [1, {np.sign(z):.0f}, {-np.sign(z):.0f}]"
        return _of_spine("along z", "y axis points up", _up(clip, "z" if z > 0 else "-z", turn))
    if abs(x) > UPRIGHT:
        turn = f"keypoints[..., [1, 0, 2]] * [{-np.sign(x):.0f}, {np.sign(x):.0f}, 1]"
        return _of_spine("along x", "y axis points up", _up(clip, "x" if x > 0 else "-x", turn))
    if y < np.cos(np.radians(LEAN)):
        return (
            f"the spine leans more than {LEAN} degrees from the y axis, which in skelzoo's data points up, as it does before a tilted camera. Turn the joints by the sensor's "
            "floor plane or gravity vector; if the person bends, all is well."
        )
    return None


def _sideways(spine: FloatArray) -> str | None:
    """2-D bodies that stand along x."""
    if abs(spine[0]) <= UPRIGHT:
        return None
    turn = "keypoints[..., ::-1] * [1, -1]" if spine[0] > 0 else "keypoints[..., ::-1] * [-1, 1]"
    advice = f"If the picture is turned on its side, give {turn}"
    if spine[0] < 0:
        advice = f"If your data have y before x, give keypoints[..., ::-1]; if the picture is turned on its side, {turn}"
    return _of_spine("along x", "y axis of 2-D joints points down, as pixels do", advice)


def _up(clip: Clip, axis: str, turn: str) -> str:
    """The next step where another axis of a 3-D clip points up; ``--up`` is of the file's axes, from which it may have been turned."""
    for order, signs in (way for up, way in UPS.items() if TURNED.format(up) in clip.notes):
        k = "xyz".index(axis[-1])
        axis = "-" * ((signs[k] < 0) != axis.startswith("-")) + "xyz"[order[k]]
    return f"If {axis} points up in your data, read the file with --up {axis} (up={axis!r} in skelzoo.read), or give {turn}"


def _of_spine(found: str, axis: str, advice: str) -> str:
    return f"the spine points {found}; skelzoo's {axis}. {advice}; if the person lies or hangs, all is well."
