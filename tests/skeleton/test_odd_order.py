"""Joints that are not those that their layout says: in another order, with sides exchanged, never tracked, or in other units."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import skelzoo
from skelzoo import Clip, Contract, get_layout, prepare
from skelzoo.learn.cameras import film
from skelzoo.skeleton.procedural import make

RESAMPLE = {"step": "resample", "frames": 16}
SPACE = Contract("kinect20", 3, 1, 16, ({"step": "center"}, RESAMPLE))
PICTURE = Contract("coco17", 2, 1, 16, ({"step": "fill_gaps"}, RESAMPLE))
SEATED = ("HipCenter", "Spine", *(f"{side}{joint}" for side in ("Left", "Right") for joint in ("Hip", "Knee", "Ankle", "Foot")))


FOOTLESS = skelzoo.layout_from_names([joint for joint in get_layout("kinect20").joints if "Foot" not in joint])


def told(clip: Clip, contract: Contract = SPACE) -> list[str]:
    """What is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare(clip, contract)
    return [str(w.message) for w in caught]


def at(clip: Clip, *points: str) -> list[int]:
    """Which joints of a clip are these body points."""
    return [clip.layout.index(joint) for joint, point in clip.layout.own.items() if point in points]


@pytest.mark.parametrize(
    "lost", [("RightElbow", "RightWrist", "RightHand"), ("Head",), ("LeftHand", "RightHand"), SEATED], ids=["arm", "head", "hands", "seated"]
)
@pytest.mark.parametrize("persons", [1, 2])
def test_joints_that_are_never_tracked_are_warned_of_and_not_their_axes(lost: tuple[str, ...], persons: int) -> None:
    clip = make("walk", frames=40)
    keypoints = np.concatenate([clip.keypoints + np.float32([m, 0.1, 3]) for m in range(persons)])
    keypoints[-1][:, [clip.layout.index(joint) for joint in lost]] = 0
    (text,) = told(clip.replace(keypoints=keypoints), SPACE.replace(persons=persons))
    assert "exactly (0, 0, 0) in every frame" in text
    assert text.endswith(f"Here they are {', '.join(j for j in clip.layout.joints if j in lost)}{' of person 1' * (persons > 1)}.")


def test_hands_that_are_never_tracked_are_taken_out_as_advised() -> None:
    clip = make("walk", frames=40)
    names = [joint for joint in clip.layout.joints if not joint.endswith("Hand")]
    keypoints = clip.keypoints[:, :, [clip.layout.index(joint) for joint in names]]
    assert not told(Clip(keypoints, skelzoo.layout_from_names(names)))


@pytest.mark.parametrize("joint", ["HipCenter", "Spine", "ShoulderCenter"])
@pytest.mark.parametrize("height", [0.03, 3])
def test_a_joint_of_the_trunk_that_is_never_tracked_is_not_what_the_clip_is_centred_on(joint: str, height: float) -> None:
    """Be it on the floor below the person."""
    clip = make("wave", frames=40)
    low, high = clip.keypoints.min(axis=(0, 1, 2)), clip.keypoints.max(axis=(0, 1, 2))
    keypoints = clip.keypoints - np.float32([(low[0] + high[0]) / 2, low[1] - height, (low[2] + high[2]) / 2])
    keypoints[:, :, clip.layout.index(joint)] = 0
    (text,) = told(clip.replace(keypoints=keypoints))
    assert "exactly (0, 0, 0) in every frame" in text and text.endswith(f"Here they are {joint}.")


@pytest.mark.parametrize("point", ["hip_center", "shoulder_center"])
def test_a_joint_that_a_clip_is_centred_on_was_tracked(point: str) -> None:
    clip = make("walk", frames=40)
    (text,) = told(clip.replace(keypoints=clip.keypoints - clip.keypoints[:, :, at(clip, point)]))
    assert f"the point {point} is in the same place" in text


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("file", ["hdm05/HDM_mm_rotateArmsBothBackward1Reps_011_120.amc", "uiprmd/m01_s01_e01_positions.txt.gz", "cmu_bvh/02_03.bvh"])
@pytest.mark.needs_shared
def test_recorded_joints_that_are_all_shifted_by_one_are_warned_of(file: str, by: int, shared: Path) -> None:
    clip = skelzoo.read(shared / "data" / "raw" / file)[0].take(frames=slice(0, 60))
    assert not [text for text in told(clip) if "do not fit" in text]
    (text,) = [text for text in told(clip.replace(keypoints=np.roll(clip.keypoints, by, 2))) if "axis" not in text]
    assert f"the joints do not fit layout {clip.layout.name!r}" in text


SIDED = {"legs": ("hip", "knee", "ankle", "foot"), "arms": ("shoulder", "elbow", "wrist", "hand")}


@pytest.mark.parametrize("limbs", SIDED)
@pytest.mark.parametrize("motion", ["walk", "squat", "wave", "kick"])
def test_sides_exchanged_in_legs_or_arms_alone_are_warned_of(limbs: str, motion: str) -> None:
    clip = make(motion, frames=40)
    order = np.arange(len(clip.layout))
    for point in SIDED[limbs]:
        left, right = at(clip, f"left_{point}"), at(clip, f"right_{point}")
        order[left + right] = right + left
    (text,) = told(clip.replace(keypoints=clip.keypoints[:, :, order]))
    assert "do not fit layout" in text and "left hip is below the left shoulder" in text


@pytest.mark.parametrize("feet", [True, False])
@pytest.mark.parametrize(
    "frames", [[10, 20, 30, 39], [0, 1, 2, 20, 21, 39], [12, 13, 14, 15, 33, 34], [*range(1, 14), *range(20, 39)]], ids=["apart", "first", "stretches", "most"]
)
def test_sides_exchanged_in_some_frames_are_warned_of_and_exchanged_back_as_advised(frames: list[int], feet: bool) -> None:
    """Without feet nobody knows which frames are right, if not most."""
    clip = make("walk", frames=40)
    clip = clip if feet else clip.replace(keypoints=np.delete(clip.keypoints, at(clip, "left_foot", "right_foot"), 2), layout=FOOTLESS)
    mirror = list(clip.layout.mirror_permutation)
    keypoints = np.stack([clip.keypoints[0]] * 2)
    keypoints[1, frames] = keypoints[1, frames][:, mirror]
    contract = SPACE.replace(persons=2)
    (text,) = [text for text in told(clip.replace(keypoints=keypoints, first=300), contract) if "time and again turn round" in text]
    advice, told_frame = text[text.index("t = np.r_") :].split(". ")
    assert re.fullmatch(r"Frame (\d+) of the clip is frame 3\d\d of the recording\.", told_frame)
    exec(advice, {"np": np, "keypoints": keypoints, "clip": clip})
    right = clip.keypoints[0] if feet or len(frames) < 20 else clip.keypoints[0][:, mirror]
    assert np.array_equal(keypoints, [clip.keypoints[0], right])


@pytest.mark.parametrize("motion", ["wave", "walk"])
def test_people_who_kneel_with_their_insteps_on_the_floor_have_no_feet_that_point_backwards(motion: str) -> None:
    clip = make(motion, frames=40)
    keypoints = clip.keypoints.copy()
    for side in ("left", "right"):
        (hip,), (knee,), (ankle,), (foot,) = (at(clip, f"{side}_{point}") for point in ("hip", "knee", "ankle", "foot"))
        for joint, start, way in ((knee, hip, [0, -0.4, 0]), (ankle, knee, [0, 0, -0.4]), (foot, ankle, [0, -0.02, -0.12])):
            keypoints[:, :, joint] = keypoints[:, :, start] + np.float32(way)
    assert not told(clip.replace(keypoints=keypoints))


def test_somebody_who_turns_round_once_or_another_person_does_not() -> None:
    clip = make("walk", frames=40)
    keypoints = np.concatenate([clip.keypoints, clip.keypoints * np.float32([-1, 1, -1]) + np.float32([2, 0, 0])] * 2)
    keypoints[0, 20:] *= np.float32([-1, 1, -1])
    assert not [text for text in told(clip.replace(keypoints=keypoints), SPACE.replace(persons=4)) if "turn round" in text]


def human36m(clip: Clip) -> Clip:
    """COCO's joints in the order of Human3.6M."""
    own = {point: clip.keypoints[:, :, clip.layout.index(joint)] for joint, point in clip.layout.own.items()}
    own |= {"hip_center": (own["left_hip"] + own["right_hip"]) / 2, "shoulder_center": (own["left_shoulder"] + own["right_shoulder"]) / 2}
    places = {**own, "spine_mid": (own["hip_center"] + own["shoulder_center"]) / 2, "neck": own["nose"], "head_top": own["nose"] + [0, -90]}
    layout = get_layout("h36m17")
    keypoints = np.stack([places.get(layout.own.get(joint, ""), own["nose"]) for joint in layout.joints], axis=2)
    return clip.replace(keypoints=keypoints, layout=layout, scores=None)


@pytest.mark.parametrize("motion", ["walk", "squat", "wave", "kick"])
def test_orders_of_pictures_that_are_exchanged_are_no_axis(motion: str) -> None:
    """A picture upside down is."""
    coco = film(make(motion, frames=40), 0)
    h36m = human36m(coco)
    for right, given in ((coco, "h36m17"), (h36m, "coco17")):
        assert not told(right, PICTURE)
        (text,) = told(right.replace(layout=given, scores=None), PICTURE)
        assert f"the joints do not fit layout {given!r}" in text and "* [1, -1]" not in text
        (text,) = told(right.replace(keypoints=right.keypoints * np.float32([1, -1]), image_size=None), PICTURE)
        assert "* [1, -1]" in text


@pytest.mark.parametrize(("axis", "factor"), [(2, 1000), (2, 0.001), (1, 0.001), (0, 1000), (1, 100), (0, 0.01), (2, 0.01)])
def test_an_axis_in_another_unit_is_warned_of_and_brought_to_that_of_the_others_as_advised(axis: int, factor: float) -> None:
    clip = make("walk", frames=40)
    keypoints = clip.keypoints.copy()
    keypoints[..., axis] *= factor
    (text,) = told(clip.replace(keypoints=keypoints))
    assert f"as where {'xyz'[axis]} is in another unit" in text and "number appended" not in text
    assert np.allclose(eval(text[text.index("keypoints *") :].rstrip("."), {"keypoints": keypoints}), clip.keypoints, atol=1e-5)


def test_shares_beside_a_depth_in_millimetres_are_no_pixels() -> None:
    x, y, z = np.moveaxis(make("wave", frames=40).keypoints + np.float32([0, -0.9, -2.8]), -1, 0)
    shares = np.stack([0.5 - 366 * x / z / 512, 0.5 + 366 * y / z / 424, -1000 * z], -1)
    (text,) = told(Clip(shares, "kinect20"))
    assert "x and y look like shares of a depth camera's picture" in text and "width and height" in text


@pytest.mark.parametrize("file", ["hdm05/HDM_mm_rotateArmsBothBackward1Reps_011_120.amc", "cmu_asf/02_03.amc"])
@pytest.mark.needs_shared
def test_motion_capture_in_another_order_is_no_share_of_a_picture(file: str, shared: Path) -> None:
    clip = skelzoo.read(shared / "data" / "raw" / file)[0].take(frames=slice(0, 60))
    (text,) = told(clip.replace(layout="daz29"))
    assert "do not fit layout 'daz29'" in text
