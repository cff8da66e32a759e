"""Layouts from joint names: those of skelzoo in any order, the names of trackers and rigs, and names that are refused."""

from __future__ import annotations

import numpy as np
import pytest

import skelzoo
from skelzoo import Clip, coverage, get_layout, layout_from_names, list_layouts, remap
from skelzoo.errors import CoverageError, LayoutError

LIMBS = "shoulder elbow wrist hip knee ankle"
TRACKERS = {
    "azure": (
        "PELVIS SPINE_NAVAL SPINE_CHEST NECK HEAD NOSE",
        "CLAVICLE SHOULDER ELBOW WRIST HAND HANDTIP THUMB HIP KNEE ANKLE FOOT EYE EAR",
        "{1}_{0}",
        "LEFT RIGHT",
    ),
    "zed": ("PELVIS NAVAL_SPINE NECK HEAD NOSE", "CLAVICLE SHOULDER ELBOW WRIST HAND HANDTIP THUMB HIP KNEE ANKLE FOOT HEEL EYE EAR", "{0}_{1}", "LEFT RIGHT"),
    "theia": ("pelvis torso head", "thigh shank foot toes uarm larm hand", "{0}_{1}", "l r"),
    "opensim": ("pelvis torso head", "hip knee ankle mtp acromial elbow radius_hand", "{1}_{0}", "l r"),
    "spoken": ("Hips Neck Head", "Shoulder Elbow Wrist Hip Knee Ankle", "{0} {1}", "left right"),
}


def names(kind: str) -> list[str]:
    middle, sided, pattern, sides = TRACKERS[kind]
    return [*middle.split(), *(pattern.format(side, word) for side in sides.split() for word in sided.split())]


@pytest.mark.parametrize("kind", TRACKERS)
def test_names_of_trackers_become_kinect20_without_parents(kind: str) -> None:
    joints = names(kind)
    layout = layout_from_names(joints)
    report = coverage(layout, "kinect20")
    assert report.share >= 0.8 and not report.missing and layout.joints == tuple(joints)
    sides = {s: {layout.point(f"{s}_{point}") is not None for point in LIMBS.split()} for s in ("left", "right")}
    assert sides == {"left": {True}, "right": {True}} and len(layout.mirror) == len(TRACKERS[kind][1].split())
    x = np.random.default_rng(0).normal(size=(9, len(joints), 3))
    assert remap(Clip(x, layout), "kinect20").keypoints.shape == (1, 9, 20, 3)


def test_azures_face_gives_coco_and_parents_the_spine() -> None:
    joints = names("azure")
    assert coverage(layout_from_names(joints), "coco17").share == 1
    chain = {"SPINE_NAVAL": "PELVIS", "SPINE_CHEST": "SPINE_NAVAL", "NECK": "SPINE_CHEST"}
    up = {j: chain.get(j, layout_from_names(joints).joints[p] if p >= 0 else None) for j, p in zip(joints, layout_from_names(joints).parents, strict=True)}
    layout = layout_from_names(joints, [up[j] for j in joints], name="azure32")
    assert layout.name == "azure32" and set(dict(layout.points["spine_mid"])) == {"SPINE_NAVAL", "SPINE_CHEST"}
    assert up["HAND_LEFT"] == "WRIST_LEFT" and up["SHOULDER_LEFT"] == "NECK" and up["CLAVICLE_LEFT"] == "PELVIS"


def test_azures_layout_is_what_its_names_are_taken_for() -> None:
    """Its manual's spelling of the navel, which is not its programs', is a name like others."""
    azure = get_layout("azurekinect32")
    told = layout_from_names([joint.replace("NAVEL", "NAVAL") for joint in azure.joints])
    assert told is not azure and told.mirror_permutation == azure.mirror_permutation and set(told.points) == set(azure.points)
    assert all(told.point(point) == pytest.approx(azure.point(point)) for point in azure.points)
    assert (azure.joints[26], azure.joints[azure.parents[4]], azure.joints[azure.parents[10]]) == ("HEAD", "SPINE_CHEST", "WRIST_LEFT")


def test_the_report_says_what_each_name_became() -> None:
    report = layout_from_names(names("zed"), name="zed34").report().splitlines()
    assert report[0] == "zed34: 28 of 33 joints stand for a body point"
    assert {"  LEFT_ELBOW -> left_elbow", "  NECK -> shoulder_center, spine_shoulder", "  LEFT_HEEL -> none"} <= set(report)
    assert any(line.startswith("  spine_low: mixed of 0.8 PELVIS + 0.2 NECK") for line in report)


@pytest.mark.parametrize("known", list_layouts())
def test_names_of_a_known_layout_mean_what_they_mean_there(known: str) -> None:
    layout = get_layout(known)
    assert layout_from_names(layout.joints) is layout
    assert layout_from_names([f"P07:{joint}" for joint in layout.joints]).points == {
        p: {f"P07:{j}": w for j, w in mix.items()} for p, mix in layout.points.items()
    }
    spelt = [joint.upper().replace("_", " ") for joint in layout.joints[::-1]]
    other = layout_from_names(spelt)
    assert other.joints == tuple(spelt) and {frozenset(m) for m in other.mirror} == {frozenset(j.upper().replace("_", " ") for j in m) for m in layout.mirror}
    for point in layout.points:
        assert {len(layout) - 1 - v: w for v, w in (layout.mix(point) or {}).items()} == other.mix(point), point
    assert [len(layout) - 1 - p if p >= 0 else -1 for p in layout.parents[::-1]] == list(other.parents)


@pytest.mark.parametrize("spelt", ["{}", "Skel:{}"])
def test_asf_bones_are_their_ends_whatever_else_is_there(spelt: str) -> None:
    cmu = get_layout("cmu29")
    bones = [spelt.format(bone) for bone in (*cmu.joints, "lradius", "rradius", "prop")][::-1]
    layout = layout_from_names(bones)
    up = {bone: layout.joints[p] if p >= 0 else None for bone, p in zip(bones, layout.parents, strict=True)}
    expected = {spelt.format(j): spelt.format(cmu.joints[p]) if p >= 0 else None for j, p in zip(cmu.joints, cmu.parents, strict=True)}
    changes = {"lradius": "lhumerus", "rradius": "rhumerus", "lwrist": "lradius", "rwrist": "rradius", "prop": "root"}
    assert up == expected | {spelt.format(j): spelt.format(p) for j, p in changes.items()}
    assert layout.points == {point: {spelt.format(j): weight for j, weight in mix.items()} for point, mix in cmu.points.items()}
    assert {part: len(joints) - len(cmu.parts[part]) for part, joints in layout.parts.items()} == {
        "trunk": 1, "left_arm": 1, "left_leg": 0, "right_arm": 1, "right_leg": 0}  # fmt: skip


def test_asf_bones_without_a_wrist_end_their_forearms_there() -> None:
    cut = [bone for bone in get_layout("cmu29").joints if not bone.endswith(("wrist", "hand", "fingers", "thumb", "neck"))]
    layout = layout_from_names([*cut, "lradius", "rradius"])
    assert layout.points["left_wrist"] == {"lradius": 1.0} and coverage(layout, "kinect20").share >= 0.8
    assert layout.points["shoulder_center"] == {"lclavicle": 0.5, "rclavicle": 0.5} and layout.joints[layout.parents[layout.index("lclavicle")]] == "thorax"


@pytest.mark.parametrize(("given", "parents", "says"), [
    ("nose left_ear right_ear withers tailbase", None, "5 joint names none is understood as left_shoulder, .*not understood are withers, tailbase.*make_layout"),
    ("knee hip knee hip toe", None, r"joint names repeat: 'knee', 'hip'\. "),
    ("", None, "it has no joints"),
    ("hips neck", [None], "2 joints but 1 parents"),
], ids=["animal", "twice", "none", "parents"])  # fmt: skip
def test_names_that_are_no_persons_are_refused(given: str, parents: list[None] | None, says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        layout_from_names(given.split(), parents)


def test_messages_for_joints_of_ones_own_name_it() -> None:
    joints = names("spoken")
    own = skelzoo.make_layout("mine", joints, [None] * len(joints))
    with pytest.raises(CoverageError, match=r"skelzoo\.layout_from_names\(names"):
        remap(Clip(np.ones((3, len(joints), 3)), own), "kinect20")
    for layout in ("mine", "kinect20"):
        with pytest.raises(LayoutError, match=r"skelzoo\.layout_from_names\(names"):
            Clip(np.ones((3, 19, 3)), layout)
