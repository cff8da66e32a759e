"""Layout to layout by name: where each joint comes from, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import make_clip

from skelzoo import Clip, Layout, coverage, get_layout, layout_from_names, list_layouts, make_layout, remap
from skelzoo.errors import CoverageError, LayoutError
from skelzoo.skeleton.procedural import make

PAIRS = [(a, b) for a in list_layouts() for b in ("kinect20", "ntu25", "coco17") if coverage(a, b).share >= 0.75]


def at_point(clip: Clip, point: str) -> np.ndarray:
    """A body point by the definition in the layout: the weighted sum of its joints."""
    mix = clip.layout.mix(point)
    assert mix is not None
    return sum(w * clip.keypoints[:, :, j].astype(float) for j, w in mix.items())


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_joint_is_where_its_body_point_is(source: str, target: str) -> None:
    clip, report, layout = make_clip(persons=2, layout=source), coverage(source, target), get_layout(target)
    out = remap(clip, target)
    assert out.layout is layout and out.keypoints.shape == (2, 20, len(layout), 3) and (out.fps, out.name) == (clip.fps, clip.name)
    places = {j: out.keypoints[:, :, i] for i, j in enumerate(layout.joints)}
    for joint, place in places.items():
        if joint in report.direct:
            assert np.array_equal(place, clip.keypoints[:, :, clip.layout.index(report.direct[joint])])
        elif joint in report.estimated:
            np.testing.assert_allclose(place, sum(w * places[j] for j, w in report.estimated[joint].items()), atol=1e-5)
        elif joint in report.nearby:
            assert any(np.allclose(place, at_point(clip, point), atol=1e-5) for point in ("nose", "head") if clip.layout.point(point))
        else:
            assert joint in report.blended
        if joint in report.blended or (joint in report.direct and source != target):
            np.testing.assert_allclose(place, at_point(clip, layout.own[joint]), atol=1e-5)
    assert {*report.direct, *report.blended, *report.estimated, *report.nearby} == set(layout.joints)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_moved_and_turned_body_stays_one_body(source: str, target: str) -> None:
    clip = make_clip(layout=source)
    turn, shift = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], np.array([3.0, -2.0, 1.0])
    moved = remap(clip.replace(keypoints=clip.keypoints @ turn + shift), target)
    np.testing.assert_allclose(moved.keypoints, remap(clip, target).keypoints @ turn + shift, atol=1e-4)


@pytest.mark.parametrize("motion", ["walk", "squat", "kick"])
def test_a_head_that_is_lacking_is_put_above_the_neck(motion: str) -> None:
    """As of OpenCap's markers, here of a body whose head is known."""
    names = [
        "Neck",
        "midHip",
        *(f"{side}{part}" for side in "RL" for part in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "BigToe", "SmallToe", "Heel")),
    ]
    report = coverage(layout_from_names(names), "kinect20")
    assert report.share == 0.85 and set(report.estimated) == {"Head", "LeftHand", "RightHand"} and not report.missing
    clip = remap(make(motion, frames=20), "kinect20")
    bare = {"Hat" if point == "head" else joint: None if point == "head" else point for joint, point in clip.layout.own.items()}
    headless = make_layout("headless", bare, list(clip.layout.parents))
    hips, neck, head = (clip.keypoints[:, :, clip.layout.index(j)] for j in ("HipCenter", "ShoulderCenter", "Head"))
    found = remap(clip.replace(layout=headless), "kinect20").keypoints[:, :, clip.layout.index("Head")]
    off, trunk = np.linalg.norm(found - head, axis=-1), np.linalg.norm(neck - hips, axis=-1)
    assert 0 < off.max() < 0.25 * trunk.min()


def test_the_same_joints_are_left_alone() -> None:
    clip = make_clip()
    assert remap(clip, "kinect20") is clip
    for name in list_layouts():
        report = coverage(name, name)
        assert report.share == 1 and not report.missing and list(report.direct) == list(get_layout(name).joints)


def test_the_two_kinect_orders_are_a_permutation_by_name() -> None:
    clip = make_clip(layout="utdmhad20")
    out, names = remap(clip, "kinect20"), {"HipCenter": "HipCenter", "Head": "Head", "LeftHand": "LeftHand", "RightFoot": "RightFoot"}
    for ours, theirs in names.items():
        assert np.array_equal(out.keypoints[:, :, out.layout.index(ours)], clip.keypoints[:, :, clip.layout.index(theirs)])
    assert np.array_equal(remap(out, "utdmhad20").keypoints, clip.keypoints)
    assert not np.array_equal(out.keypoints, clip.keypoints)


def test_the_report_in_numbers_and_words() -> None:
    report = coverage("kinect20", "ntu25")
    assert len(report.direct) + len(report.blended) == 21 and set(report.estimated) == {"HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"}
    assert report.share == pytest.approx(21 / 25) and report.missing == ()
    assert str(report).startswith("kinect20 -> ntu25: 84% of the joints measured") and "  estimated ThumbLeft: 1.3 WristLeft + -0.3 ElbowLeft" in str(report)


def test_too_few_joints_are_refused_with_the_report() -> None:
    with pytest.raises(CoverageError) as caught:
        remap(make_clip(layout="coco17", channels=2), "ntu25")
    assert str(coverage("coco17", "ntu25")) in str(caught.value) and "clip0" in str(caught.value) and ": 68% measured of the 75% needed.\n" in str(caught.value)
    assert remap(make_clip(layout="coco17", channels=2), "ntu25", min_coverage=0.6).keypoints.shape[2] == 25


def test_a_missing_joint_is_refused_whatever_the_coverage() -> None:
    with pytest.raises(CoverageError, match=r"(?s)of 'body25': 4 missing, .*missing LSmallToe"):
        remap(make_clip(layout="kinect20"), "body25", min_coverage=0)


def test_the_face_stands_at_the_nose_or_else_at_the_head() -> None:
    for source, eyes, nose in (("h36m17", {"neck_nose": 1.0}, None), ("smpl24", {"head": 1.0}, {"head": 1.0})):
        report = coverage(source, "coco17")
        assert report.nearby["left_eye"] == report.nearby["right_ear"] == eyes and report.nearby.get("nose") == nose and report.share == 1
    assert "but for 4 of the face" in str(coverage("h36m17", "coco17")) and not coverage("openpose18", "coco17").nearby
    headless = make_layout("headless", {j: j for j in get_layout("coco17").joints[5:]}, [None] * 12)
    assert coverage(headless, "coco17").missing == get_layout("coco17").joints[:5]


def layouts_of_two_points() -> tuple[Layout, Layout]:
    source = make_layout("source", {"a": "left_hip", "b": "right_hip", "c": "head"}, [None, "a", "a"], points={"hip_center": {"a": 0.5, "b": 0.5}})
    target = make_layout("target", {"hip": "hip_center", "top": "head", "tip": None}, [None, "hip", "top"], estimates={"tip": {"top": 1.5, "hip": -0.5}})
    return source, target


def test_layouts_of_ones_own() -> None:
    source, target = layouts_of_two_points()
    out = remap(Clip([[[0, 0, 0], [2, 0, 0], [1, 4, 0]]], source), target, min_coverage=0.6)
    assert np.array_equal(out.keypoints[0, 0], [[1, 0, 0], [1, 4, 0], [1, 6, 0]])


def test_scores_are_mixed_with_the_weights() -> None:
    source, target = layouts_of_two_points()
    clip = Clip([[[0, 0, 0], [2, 0, 0], [1, 4, 0]]], source, scores=[[0.2, 0.4, 1.0]])
    scores = remap(clip, target, min_coverage=0.6).scores
    assert scores is not None
    # tip = 1.5 top - 0.5 hip = 1.5 c - 0.25 a - 0.25 b: the mean of the scores weighted by |1.5|, |0.25|, |0.25|.
    np.testing.assert_allclose(scores[0, 0], [0.3, 1.0, (1.5 * 1.0 + 0.25 * 0.2 + 0.25 * 0.4) / 2], atol=1e-6)


def test_absent_persons_stay_absent() -> None:
    clip = make_clip(persons=2, layout="ntu25")
    keypoints = clip.keypoints.copy()
    keypoints[1] = 0
    assert not remap(clip.replace(keypoints=keypoints), "kinect20").keypoints[1].any()


def test_joints_of_the_same_names_that_are_other_points_are_matched_by_point() -> None:
    """A Kinect that filmed a mirror: names are those of the layout, left and right are not."""
    layout = get_layout("kinect20")
    swapped = {joint: layout.own[layout.joints[i]] for joint, i in zip(layout.joints, layout.mirror_permutation, strict=True)}
    parents = [None if p < 0 else layout.joints[p] for p in layout.parents]
    clip = make_clip()
    mirrored = Clip(clip.keypoints, make_layout("mirror", swapped, parents))
    assert np.array_equal(remap(mirrored, "kinect20").keypoints, clip.keypoints[:, :, list(layout.mirror_permutation)])
    assert coverage(mirrored.layout, "kinect20").direct["LeftHand"] == "RightHand"
    plain = Clip(clip.keypoints, make_layout("plain", layout.joints, np.array(layout.parents)))
    assert np.array_equal(remap(plain, "kinect20").keypoints, clip.keypoints), "names alone say the same"


def test_missing_joints_are_named_with_the_body_point_that_makes_them() -> None:
    points = {f"{side}_{part}": f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}
    joints = {"pelvis": "hip_center", "neck": "shoulder_center", "head": "head", **points}
    assert "missing Spine, body point spine_low" in str(coverage(make_layout("mine", joints, [None] * 15), "kinect20"))
    mended = coverage(make_layout("mine", joints, [None] * 15, points={"spine_low": {"pelvis": 0.75, "neck": 0.25}}), "kinect20")
    assert not mended.missing
    with pytest.raises(LayoutError, match=r"'LeftKnee'\. Did you mean left_knee"):
        make_layout("mine", {"a": "LeftKnee"}, [None])


def test_what_is_mixed_from_a_joint_that_was_not_found_is_not_found() -> None:
    coco = get_layout("coco17")
    no_nose = make_layout("no nose", {j: j for j in coco.joints[1:]}, [None, 0, 0, 0, *([0] * 12)])
    clip = make_clip(0, frames=3, layout="coco17", channels=2)
    keypoints = clip.keypoints[:, :, 1:].copy()
    keypoints[:, 1, no_nose.index("left_eye")] = 0
    found = remap(Clip(keypoints, no_nose, scores=np.ones(keypoints.shape[:3])), "coco17")
    assert found.scores is not None
    for values in (found.keypoints.any(3), found.scores):
        assert values[0, :, coco.index("nose")].tolist() == [True, False, True]
    kinect = make_clip(frames=2, channels=2)
    keypoints = kinect.keypoints.copy()
    keypoints[:, 1, kinect.layout.index("LeftElbow")] = 0
    tips = remap(kinect.replace(keypoints=keypoints), "ntu25")
    assert tips.keypoints[0, :, tips.layout.index("HandTipLeft")].any(1).tolist() == [True, False], "a hand's tip is the forearm extended, less the elbow"
