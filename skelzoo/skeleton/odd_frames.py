"""What is odd about the frames of clips that are taken all the same: each centred by itself, held, repeated, missing or none of the motion, of somebody else, too few or too many of them, or with persons in another order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.doubts import Doubt
from skelzoo.skeleton.odd_joints import odd_joints
from skelzoo.skeleton.odd_notes import LATER, T_POSE, WINDOW, odd_notes
from skelzoo.skeleton.odd_order import never_tracked, of_recording
from skelzoo.skeleton.points import body_sizes, is_found, is_present, mixes

LONG = 60
"""Seconds from which on a clip is rather a recording of several actions."""

STRETCH = 30
"""The same in frames for each one of an encoder's, where the frame rate is unknown."""

SHORT = 8
"""Frames below which a clip hardly tells an action; of 7909 clips of the corpora and benchmarks 4 are as short."""

SAME = 8
"""Fewest frames of which it is said that they repeat others."""

PADDING = 0.25
"""Share of the frames from which on those that repeat others are padding."""

GAP = 0.05
"""Share of the frames in which nobody is there, between others, from which on they are missed."""

FIXED = 1e-4
"""Sizes of the body within which a point that has been taken off in every frame stays, as float32 rounds."""

MOVES = 0.01
"""The same of how far other joints go at least."""

SWAPS = 3
"""Times from which on two persons who stand where the other stood are no crossing that a tracker got wrong once; 14 couples of CMU who dance salsa do not, even at one frame a second."""

NEARER = 1 / 3
"""Share of the way from their own places within which they are then to each other's."""

FAR = 2
"""Times the longest other step of a pose from which on the first is a jump: so are those of 5 of the 7909 clips of the corpora and benchmarks, all of NW-UCLA, and of 19 in 20 before which a T-pose is put."""

JUMP = 1.5
"""Sizes of a body (root mean square from its middle, about half a metre) by which its steps from frame to frame differ at most: at 5 fps those of filmed runs, leaps and dances by 1.2.
Of the 1484 filmed clips of NW-UCLA 29 differ by more, whose tracker jumps by 0.4 to 3.7 m; of every third clip of the other corpora and benchmarks none.
In space 38 of NW-UCLA's do, whose tracker jumps by 0.6 to 3.7 m, and of the other 6425 clips one of UI-PRMD, whose tracker tangles the body; taken at 5 fps no other of these do, but for 4 in 2583 of UTD-MHAD."""

SHARED = 3
"""Fewest joints found in two frames that tell how far the body went."""

CENTRES = ("hip_center", "spine_low", "spine_mid", "shoulder_center")
"""Points that others take off in every frame."""


def odd_recording(clip: Clip) -> tuple[Doubt, ...]:
    """What is odd about a clip whatever reads it, but for its length."""
    found = (first_apart(clip) or jumped(clip), swapped(clip.keypoints))
    return (*odd_joints(clip, clip.keypoints, clip.layout, False, clip.channels == 2), *(doubt for doubt in found if doubt), *odd_notes(clip))


def odd_frames(clip: Clip, contract: Contract) -> tuple[Doubt, ...]:
    """What is odd about the frames of a clip as it is given, for the steps of a contract."""
    there = np.flatnonzero(is_present(clip.keypoints).any(axis=0))
    repeated, apart = _repeated(clip, there), first_apart(clip)
    found = (
        _short(there, contract),
        _too_long(clip, contract.frames),
        _gap(clip, there),
        repeated,
        _centred(clip, contract),
        apart,
        None if repeated or apart else jumped(clip),  # out of a T-pose, or back to where a copy begins
        swapped(clip.keypoints),
    )
    return (*(doubt for doubt in found if doubt), *odd_notes(clip))


def _short(there: NDArray[np.intp], contract: Contract) -> Doubt | None:
    """Whether there are too few frames; contracts for a single frame, as of benchmarks, which count every clip, are not told."""
    if len(there) >= SHORT or contract.min_frames == 1:
        return None
    return Doubt(f"fewer than {SHORT} frames have a person, which hardly tell an action. Give more of the recording, or leave the clip out.")


def _too_long(clip: Clip, frames: int) -> Doubt | None:
    """Whether so much becomes one vector that hardly a motion is left in it; ``frames`` are those that an encoder takes."""
    if clip.frames <= (STRETCH * frames if clip.fps is None else LONG * clip.fps):
        return None
    size = f"has more than {STRETCH * frames} frames" if clip.fps is None else f"is longer than {LONG} seconds"
    return Doubt(
        f"the clip {size}, and all of it becomes one vector of {frames} frames. Cut long recordings with --window FRAMES, "
        "in Python with skelzoo.windows(clip, frames); if it is a single action, all is well."
    )


def _gap(clip: Clip, there: NDArray[np.intp]) -> Doubt | None:
    """Whether nobody is there in frames between others."""
    frames = there[-1] - there[0] + 1
    if frames - len(there) <= GAP * frames:
        return None
    known = ", keypoints.any(-1)" if clip.channels == 2 else ""
    return Doubt(
        "in some frames between others all joints are zero, which is nobody there, and most models cut such frames out, so that the motion jumps. "
        f"If the person was only lost, set all joints of those frames to NaN and give skelzoo.fill_missing(keypoints{known})."
    )


def _repeated(clip: Clip, there: NDArray[np.intp]) -> Doubt | None:
    """Whether frames in which somebody is there are copies of others: all of them, those at the end or at the start, or those after some first ones."""
    joint = clip.keypoints[:, there, -1]  # one of them first, since all take long
    if not ((joint[:, 1:] == joint[:, :1]).all(axis=(0, 2)).any() or (joint[:, -2:-1] == joint[:, -1:]).all()):
        return None
    seen: dict[bytes, int] = {}
    frames = np.array([seen.setdefault(clip.keypoints[:, t].tobytes(), len(seen)) for t in there])
    others = np.flatnonzero(frames != frames[-1])
    if not len(others) and len(frames) >= SAME:
        return Doubt(
            "all frames are exactly the same, as where a tracker hangs, and no motion can be told of them. Give the recording from before the tracker's fault, "
            "or leave the clip out; if it is a single pose, all is well."
        )
    if not len(others) or WINDOW in clip.notes:
        return None
    least = max(SAME, PADDING * len(frames))
    if len(frames) - (held := int(others[-1]) + 2) >= least:
        return _padding(clip, "many frames at the end are exactly the same, as where a clip is padded by its last frame", "{}", there[held - 1] + 1)
    if (start := int(np.argmax(frames != frames[0])) - 1) >= least:
        return _padding(clip, "many frames at the start are exactly the same, as where a clip is padded by its first frame", "{}, None", there[start])
    starts = np.flatnonzero(frames == frames[0])
    starts = starts[(starts > 0) & (starts <= len(frames) - least)]
    for start in starts[frames[-1 - starts] == frames[-1]]:  # few of a long clip, and then all of it is compared
        if (frames[start:] == frames[:-start]).all():
            return _padding(clip, "the frames repeat themselves exactly from first to last, as where a clip is padded by itself", "{}", there[start])
    return None


def _padding(clip: Clip, found: str, kept: str, frame: np.intp) -> Doubt:
    cut = f"clip.take(frames=slice({kept}))"
    text = f"{found}, and of a longer clip the motion is slower or done twice. Cut it off, {cut.format('N')}; if it was recorded so, all is well."
    return Doubt(text, f"Here it is {cut.format(frame)}.{of_recording(clip, int(frame))}")


def _centred(clip: Clip, contract: Contract) -> Doubt | None:
    """Whether a point of a person's trunk stays while other joints move, though the contract's steps keep travel."""
    centring = [step for step in contract.steps if step["step"] in ("center", "center_opening")]
    if not centring or any(step.get("reference") == "every_frame" for step in centring):
        return None
    names = tuple(name for name in CENTRES if clip.layout.point(name))
    weights = mixes(clip.layout, names)
    fixed = [names[i] for person in clip.keypoints for i in (() if weights is None else _fixed(person, weights))]
    if not fixed or never_tracked(clip):
        return None
    return Doubt(
        f"the point {fixed[0]} is in the same place in every frame while other joints move, as where it has been taken off in each, and what tells walking from "
        "lifting legs is lost. Take one position off for the whole clip, or none; where a lifter gives no path, give its 2-D joints to a model for these "
        "(names that end in -2d). If the person stays in place, all is well."
    )


def _fixed(person: FloatArray, weights: FloatArray) -> NDArray[np.intp]:
    """Which mixes of joints (points, V) of a person (T, V, C) stay where they are while other joints move."""
    found = person.any(axis=(1, 2))
    if person.shape[2] == 2:
        found = is_found(person[:, weights.any(axis=0)]).all(axis=1)
    body = person[found]
    if len(body) < SAME:
        return np.zeros(0, np.intp)
    size = np.linalg.norm(np.ptp(body[0], axis=0))
    if (np.abs(weights @ (body[0] - body[-1])).max(axis=1) > FIXED * size).all():  # all of it takes long
        return np.zeros(0, np.intp)
    points = weights @ body
    stays = np.flatnonzero((points.max(axis=0) - points.min(axis=0)).max(axis=1) <= FIXED * size)
    return stays if len(stays) and np.ptp(body, axis=0).max() > MOVES * size else stays[:0]


def first_apart(clip: Clip) -> Doubt | None:
    """Whether a 3-D person's pose in the first frame is far from that in the second; a window begins where it was cut."""
    if LATER in clip.notes or (clip.first and WINDOW in clip.notes):
        return None
    for person, there in zip(clip.keypoints, is_present(clip.keypoints), strict=True):
        body = person[there]
        if not body.all():
            body = body[:, is_found(body).all(axis=0)]
        if clip.channels == 3 and _starts_apart(body, T_POSE in clip.notes):
            text = (
                "the first frame is far from the second, as where a T-pose stands before the motion, and most models take from it where the person faces. Cut it off, "
                "clip.take(frames=slice(1, None)), and for the command line save that with skelzoo.save_clips(path, clips); if it is part of the motion, all is well."
            )
            frame = int(np.flatnonzero(there)[0]) + 1
            return Doubt(text, f"Here it is clip.take(frames=slice({frame}, None)).{of_recording(clip, frame)}")
    return None


def _starts_apart(bodies: NDArray[np.floating], t_pose: bool) -> bool:
    """Whether from the first to the second of bodies (T, V, C) the pose goes farther than between any others, wherever they stand; much farther, where that is not known to be a T-pose."""
    if len(bodies) < (3 if t_pose else SHORT) or not bodies.shape[1]:
        return False
    for some in (bodies[:SHORT], bodies):  # the first ones first, since all take long
        steps = pose_steps(some)
        if steps[0] <= (1 if t_pose else FAR) * steps[1:].max():
            return False
    return True


def pose_steps(bodies: NDArray[np.floating]) -> NDArray[np.floating]:
    """(T - 1,) how far the joints of bodies (T, V, C) go on average from one to the next, wherever these stand."""
    return np.asarray(np.linalg.norm(np.diff(bodies - bodies.mean(axis=1, keepdims=True), axis=0), axis=2).mean(axis=1))


def jumped(clip: Clip) -> Doubt | None:
    """Whether a person is, for a frame or from one on, farther away than anybody gets; over frames without the person the way is shared out."""
    known = ", keypoints.any(-1)" if clip.channels == 2 else ""
    for person in clip.keypoints:
        there = np.flatnonzero(person.any(axis=(1, 2)))
        if len(there) < 3:
            continue
        if (way := _way(person[there], there)) is None:
            continue
        speeds, turns = way
        if turns.max() > JUMP:
            first = np.argmax(turns > JUMP)
            first += speeds[first] < speeds[first + 1] / 2  # the step after it is the jump
            text = (
                "the whole body jumps by more than its size from one frame to the next, as where an estimator or a tracker finds a poster or a bystander for a moment, or at a cut of the film, and the models "
                f"take it for one motion. Set the frames that show somebody else to NaN and give skelzoo.fill_missing(keypoints{known}), or cut the clip there with "
                "clip.take(frames=slice(N)); if the person moves so, as at a few frames a second, all is well."
            )
            frame = int(there[first + 1])
            return Doubt(text, f"Here it is in frame {frame}.{of_recording(clip, frame)}")
    return None


def _way(body: FloatArray, there: NDArray[np.intp]) -> tuple[FloatArray, FloatArray] | None:
    """How far a body (T, V, C), found in frames (T,), goes in a frame (T - 1,), and how much that differs from one to the next (T - 2,), in its sizes; None where that is no jump. A step is the median of the joints'."""
    found = is_found(body)
    size = body_sizes(body, found)
    usual = max(float(np.sort(size)[len(size) // 2]), 1e-12)
    shared, ways = found[1:] & found[:-1], body[1:] - body[:-1]
    count = shared.sum(axis=1)
    longest = np.sqrt(2 * np.einsum("tvc,tvc->t", ways, ways) / np.maximum(count, 1))  # half of them go no less far than the median
    if (longest[1:] + longest[:-1]).max() <= JUMP * usual:
        return None
    steps = np.sort(np.where(shared[..., None], ways, np.inf), axis=1)[np.arange(len(count)), count // 2]
    steps[count < SHARED] = 0
    size = np.maximum(size, usual)  # those of whom little was found
    steps /= np.diff(there)[:, None]
    return np.linalg.norm(steps, axis=1), np.linalg.norm(np.diff(steps, axis=0), axis=1) / np.maximum(np.maximum(size[:-2], size[1:-1]), size[2:])


def swapped(keypoints: FloatArray) -> Doubt | None:
    """Whether two persons (M, T, V, C) time and again stand where the other stood in the frame before."""
    if len(keypoints) < 2:
        return None
    present = is_present(keypoints)
    both = present[:, 1:] & present[:, :-1]
    counts = both.astype(np.float32)  # a product of floats is far faster than one of integers
    meet = counts @ counts.T >= SWAPS
    if not any(meet[i, :i].any() for i in range(len(meet))):
        return None
    bodies, middles = keypoints[present], np.zeros((*present.shape, keypoints.shape[3]))
    middles[present] = np.einsum("bvc->bc", bodies) / is_found(bodies).sum(axis=1)[:, None]  # bodies.sum takes several times as long
    own = np.linalg.norm(np.diff(middles, axis=1), axis=2)
    for i in range(len(meet)):
        others = np.flatnonzero(meet[i, :i])
        if not len(others):
            continue
        first, last = np.flatnonzero(both[i])[[0, -1]]
        here, steps = slice(first, last + 2), slice(first, last + 1)
        one, theirs = middles[i, here], middles[others, here]
        to, of = (np.linalg.norm(a - b, axis=2) for a, b in ((theirs[:, 1:], one[:-1]), (one[1:], theirs[:, :-1])))
        near = both[i, steps] & both[others, steps] & (np.maximum(to, of) < np.minimum(own[i, steps], own[others, steps]))
        near[near.sum(axis=1) < SWAPS] = False
        j, t = np.nonzero(near)
        if len(j) and np.bincount(j, _exchanged(keypoints, i, others[j], first + t)).max() >= SWAPS:
            return Doubt(
                "two persons time and again stand where the other stood in the frame before, as where persons are numbered as they are detected in each frame, and their "
                "motions are mixed. Have them tracked, so that a person keeps one number; the JSON of pose estimators is tracked when it is read. If they only dance so, all is well."
            )
    return None


def _exchanged(keypoints: FloatArray, i: int, j: NDArray[np.intp], t: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether the joints of persons i and j go, from frame t to the next, much less far when taken for each other's."""
    poses = keypoints[i, t], keypoints[i, t + 1], keypoints[j, t], keypoints[j, t + 1]
    shared = np.all([is_found(pose) for pose in poses], axis=0)
    straight, turned = (
        [(np.linalg.norm(poses[a] - poses[b], axis=2) * shared).sum(axis=1) for a, b in pairs] for pairs in (((0, 1), (2, 3)), ((0, 3), (2, 1)))
    )
    return np.asarray(np.maximum(*turned) < NEARER * np.minimum(*straight))
