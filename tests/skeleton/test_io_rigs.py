"""BVH rigs that are not among the known ones: joints by name, units, the up axis, channel orders."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from skeleton_samples import PERSON, write_bvh

from skelzoo.errors import CoverageError, ReadError
from skelzoo.skeleton import io
from skelzoo.skeleton.io import asf_amc, rig_names
from skelzoo.skeleton.io.joint_names import layout_from_names
from skelzoo.skeleton.io.kinematics import longest_path
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.remap import coverage, remap

RAW = Path(__file__).parents[3] / "shared/data/raw"

NAMES = ("hips", "spine", "chest", "neck", "head", "collar", "shoulder", "elbow", "wrist", "mid1", "hip", "knee", "ankle", "toe")
MIXAMO = ["Hips", "Spine", "Spine1", "Neck", "Head", "Shoulder", "Arm", "ForeArm", "Hand", "HandMiddle1", "UpLeg", "Leg", "Foot", "ToeBase"]
UNITY = ["Hips", "Spine", "Chest", "Neck", "Head", "Shoulder", "UpperArm", "LowerArm", "Hand", "MiddleProximal", "UpperLeg", "LowerLeg", "Foot", "Toes"]
BLENDER = ["hips", "spine", "chest", "neck", "head", "shoulder", "upper_arm", "forearm", "hand", "f_middle.01", "thigh", "shin", "foot", "toe"]
UNREAL = ["pelvis", "spine_01", "spine_02", "neck_01", "head", "clavicle", "upperarm", "lowerarm", "hand", "middle_01", "thigh", "calf", "foot", "ball"]
BIPED = ["Pelvis", "Spine", "Spine1", "Neck", "Head", "Clavicle", "UpperArm", "Forearm", "Hand", "Finger2", "Thigh", "Calf", "Foot", "Toe0"]
POSER = ["Hips", "Chest", "Chest2", "Neck", "Head", "Collar", "Shoulder", "Elbow", "Wrist", "Hand", "Hip", "Knee", "Ankle", "Toe"]
MMD = ["Hips", "Spine", "Chest", "Neck", "Head", "shoulder", "arm", "elbow", "wrist", "middle finger1", "leg", "knee", "ankle", "toe"]
SMPL = ["Pelvis", "Spine1", "Spine3", "Neck", "Head", "Collar", "Shoulder", "Elbow", "Wrist", "Hand", "Hip", "Knee", "Ankle", "Foot"]
RIGIFY = ["spine", "spine.001", "spine.002", "spine.004", "spine.006", *BLENDER[5:]]
RIGS = {
    "mixamo": (MIXAMO, "mixamorig:{}", "mixamorig:Left{}", "mixamorig:Right{}"),
    "mixamo glued": (MIXAMO, "mixamorig{}", "mixamorigLeft{}", "mixamorigRight{}"),
    "plain": (MIXAMO, "{}", "Left{}", "Right{}"),
    "capitals": ([n.upper() for n in MIXAMO], "{}", "LEFT_{}", "RIGHT_{}"),
    "namespace": (MIXAMO, "Armature|{}", "Armature|Left{}", "Armature|Right{}"),
    "unity": (UNITY, "{}", "Left{}", "Right{}"),
    "vrm": (UNITY, "J_Bip_C_{}", "J_Bip_L_{}", "J_Bip_R_{}"),
    "blender": (BLENDER, "{}", "{}.L", "{}.R"),
    "rigify": (RIGIFY, "DEF-{}", "DEF-{}.L", "DEF-{}.R"),
    "unreal": (UNREAL, "{}", "{}_l", "{}_r"),
    "biped": (BIPED, "Bip01 {}", "Bip01 L {}", "Bip01 R {}"),
    "poser": (POSER, "{}", "Left{}", "Right{}"),
    "mmd": (MMD, "{}", "Left {}", "Right {}"),
    "smpl": (SMPL, "{}", "L_{}", "R_{}"),
}


def rig(words: list[str], middle: str, left: str, right: str) -> dict[str, str]:
    core = dict(zip(NAMES, words, strict=True))
    pattern = {"l_": left, "r_": right}
    return {j: pattern[j[:2]].format(core[j[2:]]) if j[:2] in pattern else middle.format(core[j]) for j in PERSON}


@pytest.mark.parametrize("kind", RIGS)
def test_usual_rigs_become_kinect20_by_name(tmp_path: Path, kind: str) -> None:
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", rig(*RIGS[kind])))
    kinect = remap(clip, "kinect20")
    assert coverage(clip.layout, "kinect20").share == 1
    joints = {
        "Head": "head", "ShoulderCenter": "neck", "LeftShoulder": "l_shoulder", "LeftElbow": "l_elbow", "LeftWrist": "l_wrist", "LeftHand": "l_mid1",
        "RightHip": "r_hip", "RightKnee": "r_knee", "RightAnkle": "r_ankle", "RightFoot": "r_toe",
    }  # fmt: skip
    for joint, ours in joints.items():
        np.testing.assert_allclose(kinect.keypoints[0, 0, kinect.layout.index(joint)], np.array(PERSON[ours][1]) / 100, atol=1e-4, err_msg=joint)
    spine = kinect.keypoints[0, 0, kinect.layout.index("Spine")]
    assert 0.97 < spine[1] < 1.15 and abs(spine[0]) < 1e-5
    assert len(clip.layout.mirror) == 9 and {k: len(v) for k, v in clip.layout.parts.items() if k != "trunk"} == dict.fromkeys(
        ("left_arm", "right_arm", "left_leg", "right_leg"), 4
    )


@pytest.mark.parametrize("pattern", ["Character1_{}", "Skeleton_001_{}", "m_avg_{}", "{}_JNT", "Root_{}", "Hip_{}"])
def test_what_all_names_begin_or_end_with_is_no_part_of_them(tmp_path: Path, pattern: str) -> None:
    names = {joint: pattern.format(name) for joint, name in rig(*RIGS["plain"]).items()}
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", names))
    assert coverage(clip.layout, "kinect20").share == 1 and len(clip.layout.mirror) == 9


@pytest.mark.parametrize(("words", "target", "direct"), [
    (["HipCenter", "Spine", "ShoulderCenter", "Throat"], "kinect20", {"HipCenter": "hips", "Spine": "spine", "ShoulderCenter": "chest"}),
    (["SpineBase", "SpineMid", "SpineShoulder", "Neck"], "ntu25", {"SpineBase": "hips", "SpineMid": "spine", "SpineShoulder": "chest", "Neck": "neck"}),
], ids=["v1", "v2"])  # fmt: skip
def test_the_trunk_of_a_kinect_is_taken_as_it_is(tmp_path: Path, words: list[str], target: str, direct: dict[str, str]) -> None:
    limbs = ["Head", "Collar", "Shoulder", "Elbow", "Wrist", "Hand", "Hip", "Knee", "Ankle", "Foot"]
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", rig([*words, *limbs], "{}", "{}Left", "{}Right")))
    kinect = remap(clip, target)
    for joint, ours in {**direct, "Head": "head"}.items():
        np.testing.assert_allclose(kinect.keypoints[0, 0, kinect.layout.index(joint)], np.array(PERSON[ours][1]) / 100, atol=1e-4, err_msg=joint)


@pytest.mark.parametrize("names", [
    "Hip Ab Chest Neck Head LShoulder LUArm LFArm LHand RShoulder RUArm RFArm RHand LThigh LShin LFoot LToe RThigh RShin RFoot RToe",
    "pelvis chest neck head lShldrBend lForearmBend lHand rShldrBend rForearmBend rHand lThighBend lShin lFoot lToe rThighBend rShin rFoot rToe",
    "root neck head upperarm01.L lowerarm01.L wrist.L upperarm01.R lowerarm01.R wrist.R upperleg01.L lowerleg01.L foot.L upperleg01.R lowerleg01.R foot.R",
], ids=["motive", "daz 8", "makehuman"])  # fmt: skip
def test_limbs_are_found_under_their_names(names: str) -> None:
    limbs = {f"{side}_{point}" for side in ("left", "right") for point in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}
    found = rig_names.body_points(names.split())
    assert limbs | {"hip_center", "head"} <= set(found)
    assert "LShoulder" not in found.values()


def test_a_root_on_the_floor_is_no_pelvis(tmp_path: Path) -> None:
    plain = rig(*RIGS["rigify"])
    (expected,) = io.read(write_bvh(tmp_path / "a.bvh", plain))
    text = (tmp_path / "a.bvh").read_text()
    head, motion = text.split("MOTION")
    body = head.removeprefix("HIERARCHY\nROOT").replace("\n", "\n  ")
    place = " ".join(motion.split("\n")[3].split()[:3])
    floor = "HIERARCHY\nROOT root\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n  JOINT"
    rows = ["0 0 0 " + row for row in motion.split("\n")[3:] if row]
    (tmp_path / "b.bvh").write_text("\n".join([f"{floor}{body.rstrip()}", "}", "MOTION", *motion.split("\n")[1:3], *rows, ""]))
    (clip,) = io.read(tmp_path / "b.bvh")
    assert clip.layout.joints[0] == "root" and place
    a, b = (remap(c, "kinect20").keypoints for c in (expected, clip))
    centre = [get_layout("kinect20").index(j) for j in ("HipCenter", "Spine")]
    np.testing.assert_allclose(np.delete(b, centre, 2), np.delete(a, centre, 2), atol=1e-4)
    assert np.abs(b - a)[:, :, centre].max() < 0.1


def test_a_root_above_hip_bones_is_one_and_its_name_may_be_longer() -> None:
    def layout(text: str) -> Layout:
        pairs = [pair.split("<") for pair in text.split()]
        names = [name for name, _ in pairs]
        return rig_names.guess_layout(tuple(names), tuple(names.index(up) if up else -1 for _, up in pairs), (0.1,) * len(names))

    cmu = "root< lhipjoint<root lfemur<lhipjoint ltibia<lfemur rhipjoint<root rfemur<rhipjoint rtibia<rfemur lowerback<root lowerneck<lowerback head<lowerneck"
    assert layout(cmu).point("hip_center") == {0: 1.0}
    for name in ("{}", "Character1_{}", "{}_JNT"):
        rigify = "Root< Body<Root LeftUpLeg<Body LeftLeg<LeftUpLeg RightUpLeg<Body RightLeg<RightUpLeg Neck<Body Head<Neck"
        floor = layout(" ".join("<".join(name.format(j) if j else "" for j in pair.split("<")) for pair in rigify.split()))
        assert floor.point("hip_center") == {2: 0.5, 4: 0.5}, name
    fingers = [f"hand_{f}_0{i}_{s}" for f in ("index", "ring", "pinky", "thumb") for i in (1, 2, 3) for s in "lr"]
    assert rig_names.body_points(["pelvis", "hand_l", "hand_r", *fingers])["left_wrist"] == "hand_l"


def test_asf_names_in_bvh_are_starts_of_their_bones(tmp_path: Path) -> None:
    trunk = ["root", "lowerback", "thorax", "lowerneck", "head"]
    names = rig([*trunk, "clavicle", "humerus", "radius", "hand", "fingers", "femur", "tibia", "foot", "toes"], "{}", "l{}", "r{}")
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", names | {"l_collar": "lhipjoint"}))
    assert clip.layout.own["lfemur"] == "left_hip" and clip.layout.own["lhumerus"] == "left_shoulder"


@pytest.mark.skipif(not RAW.is_dir(), reason="no shared data here")
def test_the_31_bones_of_an_asf_become_what_its_29_points_are() -> None:
    for folder, name in (("cmu_asf", "02_03"), ("hdm05", "HDM_mm_rotateArmsBothBackward1Reps_011_120")):
        path = RAW / folder / f"{name}.amc"
        (expected,) = io.read(path)
        asf = asf_amc.parse_asf(asf_amc.find_asf(path))
        ends = asf_amc._positions(asf, asf_amc._motion(path.read_text(), asf, path))
        clip = expected.replace(keypoints=np.stack([*ends.values()], 1) * 0.0254 / 0.45, layout=layout_from_names([*ends]))
        assert len(ends) == 31
        for target in ("kinect20", "ntu25"):
            np.testing.assert_allclose(remap(clip, target).keypoints, remap(expected, target).keypoints, atol=1e-6)
        forearm, hand = ends["lwrist"] - ends["lradius"], ends["lhand"] - ends["lwrist"]
        bends = [np.ptp(np.degrees(_angle(a, b))) for a, b in ((ends["lradius"] - ends["lhumerus"], forearm), (forearm, hand))]
        assert bends[0] < 3 < 8 < bends[1]  # the hand bends at the end of lwrist, which is where cmu29 has the wrist


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1), -1, 1))


@pytest.mark.skipif(not RAW.is_dir(), reason="no shared data here")
@pytest.mark.parametrize("file", ["cmu_bvh/02_03.bvh", "cmu_bvh/006_09.bvh", "bandai_bvh/dataset-1_bye_happy_001.bvh"])
@pytest.mark.parametrize("space", ["Actor1:", "Scene:Actor 1:"])
def test_known_rigs_are_known_in_a_namespace(tmp_path: Path, file: str, space: str) -> None:
    (expected,) = io.read(RAW / file)
    (tmp_path / "a.bvh").write_text(re.sub(r"(ROOT|JOINT) ", rf"\1 {space}", (RAW / file).read_text()))
    (clip,) = io.read(tmp_path / "a.bvh")
    assert clip.layout == expected.layout and np.array_equal(clip.keypoints, expected.keypoints)


def test_a_namespace_of_some_joints_is_theirs(tmp_path: Path) -> None:
    names = {joint: name if joint == "hips" else f"Actor1:{name}" for joint, name in rig(*RIGS["plain"]).items()}
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", names))
    assert clip.layout.joints[:2] == ("Hips", "Actor1:Spine") and coverage(clip.layout, "kinect20").share == 1


@pytest.mark.skipif(not RAW.is_dir(), reason="no shared data here")
@pytest.mark.parametrize("file", ["02_03.bvh", "35_17.bvh"])
def test_known_rigs_with_z_up_are_turned_too(tmp_path: Path, file: str) -> None:
    """Those whose rest pose stands; Bandai-Namco's lies along x, whatever is up."""
    path = RAW / "cmu_bvh" / file
    (expected,) = io.read(path)
    (clip,) = io.read(z_up(path, tmp_path / path.name))
    assert clip.layout is expected.layout
    np.testing.assert_allclose(clip.keypoints, expected.keypoints, atol=1e-4)


def z_up(path: Path, to: Path) -> Path:
    """A BVH file turned so that z is up: (x, y, z) becomes (x, -z, y), and a turn about an axis one about what it became."""
    head, motion = path.read_text().split("MOTION")
    signs: list[int] = []
    lines = []
    for line in head.splitlines():
        words = line.split()
        if words[:1] == ["OFFSET"]:
            x, y, z = map(float, words[1:])
            line = f"OFFSET {x} {-z} {y}"
        elif words[:1] == ["CHANNELS"]:
            signs += [-1 if c[0] == "Z" else 1 for c in words[2:]]
            line = " ".join([*words[:2], *({"Y": "Z", "Z": "Y"}.get(c[0], c[0]) + c[1:] for c in words[2:])])
        lines.append(line)
    rows = [row.split() for row in motion.splitlines()[3:] if row.strip()]
    values = [" ".join(f"{sign * float(v):.6f}" for sign, v in zip(signs, row, strict=True)) for row in rows]
    to.write_text("\n".join([*lines, "MOTION", *motion.splitlines()[1:3], *values]) + "\n")
    return to


@pytest.mark.parametrize("unit", [1.0, 0.01, 10.0, 1 / 2.54, 0.45 / 2.54], ids=["cm", "m", "mm", "inch", "cmu"])
@pytest.mark.parametrize("z_up", [False, True])
def test_unknown_rig_comes_in_metres_with_y_up(tmp_path: Path, unit: float, z_up: bool) -> None:
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", rig(*RIGS["plain"]), scale=unit, z_up=z_up))
    expected = np.array([PERSON[j][1] for j in ("hips", "l_hip")]) / 100
    got = clip.keypoints[0, 0, [clip.layout.index(j) for j in ("Hips", "LeftUpLeg")]]
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_rig_of_unknown_names_reads_but_does_not_convert(tmp_path: Path) -> None:
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", {j: f"bone{i}" for i, j in enumerate(PERSON)}))
    assert clip.layout.joints[:2] == ("bone0", "bone1")
    with pytest.raises(CoverageError, match="missing"):
        remap(clip, "kinect20")
    with pytest.raises(ReadError, match="no human size"):
        io.read(write_bvh(tmp_path / "b.bvh", rig(*RIGS["plain"]), scale=0.05))


@pytest.mark.parametrize("scale", [0.75, 1.0, 1.3])
def test_rig_of_unknown_names_comes_in_metres(tmp_path: Path, scale: float) -> None:
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", {j: f"bone{i}" for i, j in enumerate(PERSON)}, scale=scale))
    np.testing.assert_allclose(clip.keypoints[0, 0], scale * np.array([at for _, at in PERSON.values()]) / 100, atol=1e-4)


def test_the_longest_way_goes_down_two_branches() -> None:
    assert longest_path([-1, 0, 1, 0, 3], [0, 1, 1, 2, 2]) == 6 and longest_path([-1, 0, 0, 0], [0, 3, 1, 2]) == 5


def test_same_rig_gets_the_same_layout(tmp_path: Path) -> None:
    one, two = (io.read(write_bvh(tmp_path / f"{n}.bvh", rig(*RIGS["plain"])))[0] for n in "ab")
    assert one.layout == two.layout
    assert rig_names.body_points(["LHipJoint", "LeftUpLeg", "lThumb2", "RightToeBase"]) == {
        "left_hip": "LeftUpLeg", "left_thumb": "lThumb2", "right_foot": "RightToeBase"}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_text_in_other_encodings_is_the_same_motion(tmp_path: Path, encoding: str) -> None:
    path = write_bvh(tmp_path / "a.bvh", rig(*RIGS["plain"]))
    (expected,) = io.read(path)
    path.write_text(path.read_text(), encoding=encoding)
    assert np.array_equal(io.read(path)[0].keypoints, expected.keypoints)


def test_bvh_channels_as_written(tmp_path: Path) -> None:
    text = """HIERARCHY
ROOT a { OFFSET 0 0 0
  CHANNELS 6 Yposition Xposition Zposition Yrotation Xrotation Zrotation
  JOINT b
  {
    OFFSET 0 1.7 0
    CHANNELS 1 Xrotation
    End Site { OFFSET 0 0 1 }
  }
}
MOTION
Frames: 2
Frame Time: 0.01
2 1 3 90 0 90 0
2 1 3 0 90 0 0
"""
    path = tmp_path / "a.bvh"
    path.write_text(text.replace("1.7", "2.0"))
    (clip,) = io.read(path)  # 0.75 x 3 units from joint to joint: metres
    assert clip.fps == 100
    np.testing.assert_allclose(clip.keypoints[0, :, 0], [[1, 2, 3]] * 2, atol=1e-6)
    # Frame 1: Rz(90) takes +y to -x, then Ry(90) takes -x to +z. Frame 2: Rx(90) takes +y to +z.
    np.testing.assert_allclose(clip.keypoints[0, :, 1] - clip.keypoints[0, :, 0], [[0, 0, 2], [0, 0, 2]], atol=1e-6)


@pytest.mark.parametrize(("time", "fps"), [("0.0166833", 59.94), ("0.0083333", 120), ("0.0333333", 30)])
def test_frame_times_are_rounded_as_they_were_written_and_no_further(tmp_path: Path, time: str, fps: float) -> None:
    path = write_bvh(tmp_path / "a.bvh", rig(*RIGS["plain"]))
    path.write_text(path.read_text().replace("0.0333333", time))
    assert io.read(path)[0].fps == (fps if fps == round(fps) else pytest.approx(fps, abs=0.01))


def test_one_frame_with_a_bone_out_of_place_changes_no_unit(tmp_path: Path) -> None:
    """Where joints have places of their own in every frame, bones are as long as in most frames."""
    path = write_bvh(tmp_path / "a.bvh", rig(*RIGS["plain"]))
    (expected,) = io.read(path)
    text = path.read_text()
    joints = list(re.findall(r"(?:ROOT|JOINT) (\w+)", text))
    first = 6 + 3 * (joints.index("LeftLeg") - 1)
    text = re.sub(r"(JOINT LeftLeg\n.*\n.*\nCHANNELS) 3", r"\1 6 Xposition Yposition Zposition", text)
    head, rows = text.split("0.0333333\n")
    values = [row.split() for row in rows.splitlines()]
    for t, row in enumerate(values):
        row[first:first] = ["0", "-400" if t == 0 else "-40", "0"]
    path.write_text(head + "0.0333333\n" + "\n".join(" ".join(row) for row in values))
    (clip,) = io.read(path)
    np.testing.assert_allclose(clip.keypoints[:, 1:], expected.keypoints[:, 1:], atol=1e-5)
    assert clip.layout == expected.layout
