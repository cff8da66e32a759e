"""The shipped layouts are consistent; layouts of one's own are checked."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from skelzoo import Layout, coverage, get_layout, list_layouts, make_layout
from skelzoo.errors import LayoutError
from skelzoo.skeleton.layouts import KNOWN_AS, find_layout

LIMBS = {"left_arm", "right_arm", "left_leg", "right_leg"}
POINTS = {"hip_center", "shoulder_center", *(f"{side}_{p}" for side in ("left", "right") for p in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"))}
"""Every layout tells where they are, so that it can be turned into every other."""


@pytest.fixture(params=list_layouts())
def layout(request: pytest.FixtureRequest) -> Layout:
    layout, row = get_layout(request.param), f"the row {request.param} of layouts.json"
    assert set(layout.parts) == {"trunk", *LIMBS}, f"{row} gives the joints of the parts trunk, {', '.join(sorted(LIMBS))}"
    assert layout.mirror, f"{row} gives the pairs of joints that mirror swaps"
    assert layout.points.keys() >= POINTS, f"{row} has joints, or points mixed of them, that are {', '.join(sorted(POINTS - layout.points.keys()))}"
    return layout


def test_the_usual_layouts_are_there_with_their_joint_counts() -> None:
    assert {"kinect20": 20, "ntu25": 25, "coco17": 17, "utdmhad20": 20}.items() <= {n: len(get_layout(n)) for n in list_layouts()}.items()


def test_joint_seven_and_its_neighbours() -> None:
    """Against the papers' tables, zero-based."""
    assert get_layout("kinect20").joints[7] == "LeftHand"
    ntu = get_layout("ntu25")
    assert (ntu.joints[7], ntu.joints[20], ntu.joints[ntu.parents[7]]) == ("HandLeft", "SpineShoulder", "WristLeft")
    pairs = "1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19 22-23 23-8 24-25 25-12"
    assert {(int(c) - 1, int(p) - 1) for c, p in (x.split("-") for x in pairs.split())} == {(c, p) for c, p in enumerate(ntu.parents) if p >= 0}
    assert get_layout("coco17").joints[:5] == ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def test_the_joints_are_one_tree(layout: Layout) -> None:
    assert len(layout.parents) == len(layout) == len(set(layout.joints)) and layout.parents.count(-1) == 1
    for joint in range(len(layout)):
        steps = 0
        while joint >= 0:
            joint, steps = layout.parents[joint], steps + 1
            assert steps <= len(layout)


def test_parts_hold_every_joint_once(layout: Layout) -> None:
    assert sorted(i for part in layout.part_indices for i in part) == list(range(len(layout)))


def test_subparts_and_regions_hold_every_joint_once(layout: Layout) -> None:
    for groups in (layout.subpart_indices, tuple(layout.region_indices.values())):
        assert sorted(i for group in groups for i in group) == list(range(len(layout)))
    for half in layout.subpart_indices:
        assert sum(set(half) <= set(part) for part in layout.part_indices) == 1
    assert LIMBS | {"torso"} <= set(layout.region_indices) <= LIMBS | {"torso", "head"}


def test_subparts_are_psp_learnings() -> None:
    """Its tables for NTU, and this project's grouping for Kinect v1; the order of the groups is ours."""
    ntu = [{0, 1, 20}, {2, 3}, {4, 5, 6}, {7, 21, 22}, {8, 9, 10}, {11, 23, 24}, {12, 13}, {14, 15}, {16, 17}, {18, 19}]
    assert [set(g) for g in get_layout("ntu25").subpart_indices] == ntu
    assert [set(g) for g in get_layout("kinect20").subpart_indices] == [{2 * i, 2 * i + 1} for i in range(10)]
    assert get_layout("uiprmd22").subpart_indices == (
        (0, 1, 2, 3), (4, 5, 6, 10), (7, 8), (9,), (11, 12), (13,), (14, 15), (16, 17), (18, 19), (20, 21),
    ), "of neck and collars, equally far from the hips, the first"  # fmt: skip


def test_regions_are_skeleton_maes() -> None:
    """The parts V0 to V5 of the paper (COCO), and the split for NTU that keeps shoulders and hips in the torso."""
    assert list(get_layout("coco17").region_indices.values()) == [(0, 1, 2, 3, 4), (5, 6, 11, 12), (7, 9), (8, 10), (13, 15), (14, 16)]
    ntu = [(2, 3), (0, 1, 4, 8, 12, 16, 20), (5, 6, 7, 21, 22), (9, 10, 11, 23, 24), (13, 14, 15), (17, 18, 19)]
    assert list(get_layout("ntu25").region_indices.values()) == ntu


def test_links_join_shoulders_and_hips_of_coco() -> None:
    assert get_layout("coco17").links == (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"))
    with pytest.raises(LayoutError, match="has no joint 'tail'"):
        make_layout("cat", ["head", "back"], [None, "head"], links=[("head", "tail")])


def test_what_a_joint_was_said_to_be_counts_more_than_its_name() -> None:
    joints = {"left_shoulder": None, "left_arm": "left_shoulder", "left_hand": "left_wrist", "neck": "shoulder_center"}
    mine = make_layout("mine", joints, [None, 0, 1, 0])
    assert [mine.point(p) for p in ("left_shoulder", "left_wrist", "shoulder_center", "left_hand", "neck")] == [{1: 1.0}, {2: 1.0}, {3: 1.0}, None, None]
    assert mine.mix("left_hand") == {2: 1.0} and mine.mix("left_shoulder") == {1: 1.0}
    assert coverage(mine, "kinect20").direct == {"LeftShoulder": "left_arm", "LeftWrist": "left_hand", "ShoulderCenter": "neck"}
    # Names alone are taken at their word.
    assert make_layout("names", list(joints), [None, 0, 1, 0]).own == {"left_shoulder": "left_shoulder", "left_hand": "left_hand", "neck": "neck"}


def test_mirror_swaps_left_and_right_and_keeps_parents(layout: Layout) -> None:
    mirror = layout.mirror_permutation
    assert [mirror[i] for i in mirror] == list(range(len(layout)))
    for i, j in enumerate(mirror):
        assert layout.parents[j] == (mirror[layout.parents[i]] if layout.parents[i] >= 0 else -1)
    for left, right in (("left_arm", "right_arm"), ("left_leg", "right_leg")):
        assert {layout.joints[mirror[layout.index(j)]] for j in layout.parts[left]} == set(layout.parts[right])
    assert all(mirror[layout.index(j)] == layout.index(j) or j in sum(layout.mirror, ()) for j in layout.parts["trunk"])


def test_points_are_mixes_of_joints(layout: Layout) -> None:
    for point in layout.points:
        mix = layout.mix(point)
        assert mix is not None and sum(mix.values()) == pytest.approx(1, abs=1e-3) and set(mix) <= set(range(len(layout)))
    assert set(layout.own) <= set(layout.joints) and layout.mix("no such point") is None


def test_mirrored_points_are_mirrored_mixes(layout: Layout) -> None:
    mirror = layout.mirror_permutation
    for point in layout.points:
        other = point.replace("left_", "?").replace("right_", "left_").replace("?", "right_")
        mix, image = layout.mix(point), layout.mix(other)
        assert mix is not None and image is not None
        assert {mirror[j]: w for j, w in mix.items()} == pytest.approx(image), (layout.name, point)


def test_left_is_left_in_every_layout(layout: Layout) -> None:
    for joint, point in layout.own.items():
        for side, part in (("left_", ("left_arm", "left_leg")), ("right_", ("right_arm", "right_leg"))):
            if point.startswith(side) and any(joint in layout.parts[p] for p in LIMBS):
                assert any(joint in layout.parts[p] for p in part), (layout.name, joint, point)


def test_layouts_are_made_once_and_found_by_their_joints(layout: Layout) -> None:
    assert get_layout(layout.name) is layout and get_layout(layout) is layout and find_layout(layout.joints) is layout
    assert find_layout(layout.joints[::-1]) is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("COCO17", "coco17"), ("body_25", "body25"), ("openpose25", "body25"), ("OpenPose", "body25 or openpose18"), ("coco18", "openpose18"), ("BlazePose", "mediapipe33"),
        ("kinectv2", "ntu25"), ("Kinect 2", "ntu25"), ("NTU-RGB+D", "ntu25"), ("kinectv1", "kinect20"), ("kinect360", "kinect20"), ("kinect", "kinect20 or ntu25 or azurekinect32"),
        ("azure", "azurekinect32"), ("movenet", "coco17"), ("smpl", "smpl24 or smpl22"), ("smplx", "smpl22"), ("Human3.6M", "h36m17"), ("uiprmd", "uiprmd22"),
        ("KinectForXboxOne", "ntu25"), ("kinectxboxone", "ntu25"), ("kinect_for_windows_v2", "ntu25"), ("Kinect v4", "azurekinect32"), ("detectron2", "coco17"),
        ("halpe136", "halpe26"), ("utd_mhad", "utdmhad20"), ("vicon", None),
    ],
)  # fmt: skip
def test_other_names_of_layouts_come_with_what_they_mean(name: str, near: str | None) -> None:
    with pytest.raises(LayoutError, match=rf"no layout '{re.escape(name)}'\. {f'Did you mean {near}[?]' if near else 'Known'}"):
        get_layout(name)


def test_known_names_are_those_of_layouts() -> None:
    assert {name for names in KNOWN_AS.values() for name in names} <= set(list_layouts())


def test_unknown_names_come_with_near_ones() -> None:
    with pytest.raises(LayoutError, match="Did you mean ntu25"):
        get_layout("ntu-25")
    with pytest.raises(LayoutError, match=r"Near names: .*LeftWrist"):
        get_layout("kinect20").index("LeftWirst")
    with pytest.raises(LayoutError, match="Its joints: HipCenter"):
        get_layout("kinect20").index("?")


def own(**changes: Any) -> Layout:
    settings: dict[str, Any] = {"joints": {"a": "hip_center", "b": None, "c": "head"}, "parents": [None, "a", 1], **changes}
    return make_layout("mine", **settings)


def test_a_layout_of_ones_own() -> None:
    layout = own(
        points={"neck": {"b": 0.5, "c": 0.5}, "spine_low": "b"}, mirror=[["b", "c"]], parts={"trunk": ["a", "b", "c"]}, estimates={"c": {"b": 2.0, "a": -1.0}}
    )
    assert (layout.parents, layout.center, layout.own) == ((-1, 0, 1), "a", {"a": "hip_center", "c": "head"})
    assert (layout.mix("neck"), layout.mix("spine_low"), layout.mix("hip_center")) == ({1: 0.5, 2: 0.5}, {1: 1.0}, {0: 1.0})
    assert layout.mirror_permutation == (0, 2, 1) and np.array_equal(layout.part_indices, [[0, 1, 2]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"joints": ["a", "b", "a"]}, "repeat"),
        ({"parents": [None, "a"]}, "3 joints but 2 parents"),
        ({"parents": [None, "a", "x"]}, "parent 'x'"),
        ({"parents": [None, "a", 3]}, "parent 3"),
        ({"parents": [None, "a", -2]}, "parent -2"),
        ({"parents": ["b", "c", "a"]}, "its own ancestor"),
        ({"points": {"neck": {"b": 0.5, "c": 0.4}}}, "sum to 0.9"),
        ({"points": {"neck": "x"}}, "no joint 'x'"),
        ({"estimates": {"x": {"a": 1.0}}}, "no joint 'x'"),
        ({"estimates": {"c": {"a": 2.0}}}, "sum to 2"),
        ({"mirror": [["a", "x"]]}, "no joint 'x'"),
        ({"mirror": [["a", "b", "c"]]}, "is no pair"),
        ({"links": ["ab"]}, "'ab' among mirror and links is no pair"),
        ({"joints": [], "parents": []}, "no joints"),
        ({"joints": {"a": "left_hnd", "b": None, "c": None}}, "body point 'left_hnd'. Did you mean left_hand"),
        ({"joints": {"a": "left_hand", "b": "left_hand", "c": None}}, "two of its joints are the body point 'left_hand'"),
        ({"center": "x"}, "centre 'x'"),
        ({"parts": {"trunk": ["a", "b"]}}, "every joint exactly once"),
        ({"parts": {"trunk": ["a", "b", "c"], "head": ["c"]}}, "every joint exactly once"),
        ({"dimensions": 4}, "dimensions are 4. Give 2 or 3"),
    ],
)
def test_inconsistent_layouts_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        own(**changes)
