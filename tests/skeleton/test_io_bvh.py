"""BVH files as other programs write them anew: places of all joints, a T-pose before the motion, no legs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from skeleton_samples import PERSON, write_bvh

import skelzoo
from skelzoo import Contract, prepare
from skelzoo.errors import DoubtWarning
from skelzoo.skeleton import io
from skelzoo.skeleton.procedural import make


def with_places(path: Path, to: Path) -> Path:
    """A BVH file with position channels on every joint, equal to its OFFSET."""
    header, motion = path.read_text().split("MOTION")
    offsets, counts = [], []
    for words in (line.split() for line in header.splitlines()):
        if words[:1] == ["OFFSET"]:
            offset = words[1:]
        elif words[:1] == ["CHANNELS"]:
            offsets.append(offset), counts.append(int(words[1]))
    header = re.sub(r"CHANNELS 3 ", "CHANNELS 6 Xposition Yposition Zposition ", header)
    head, rows = motion.splitlines()[:3], [row.split() for row in motion.splitlines()[3:] if row.strip()]
    starts = np.cumsum([0, *counts])
    for row in rows:
        for start, count, offset in reversed([*zip(starts, counts, offsets, strict=False)]):
            row[start:start] = offset if count == 3 else []
    to.write_text("\n".join([header + "MOTION" + head[0], *head[1:], *(" ".join(row) for row in rows)]) + "\n")
    return to


@pytest.mark.needs_shared
def test_lost_bones_of_cmu_are_put_back_where_all_joints_have_places(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/raw/cmu_bvh/02_03.bvh"
    (expected,), (clip,) = io.read(path), io.read(with_places(path, tmp_path / "02_03.bvh"))
    np.testing.assert_allclose(clip.keypoints, expected.keypoints, atol=1e-5)


def other_rig(path: Path, to: Path, first: int = 0, facing: str = "", held: int = 1, every: int = 1) -> Path:
    """A CMU file under other names, from frame ``first`` on, its first frame held and turned in degrees about y, with every n-th of the others."""
    header, motion = re.sub("LowerBack", "Abdomen", path.read_text()).split("MOTION")
    rate, rows = motion.splitlines()[2], [row.split() for row in motion.splitlines()[3:] if row.strip()][first:]
    rows = [[*rows[0][:4], facing or rows[0][4], *rows[0][5:]]] * held + rows[every::every]
    to.write_text("\n".join([f"{header}MOTION", f"Frames: {len(rows)}", rate, *map(" ".join, rows)]) + "\n")
    return to


@pytest.mark.needs_shared
@pytest.mark.parametrize(("facing", "held", "every"), [("0", 1, 1), ("90", 1, 1), ("0", 5, 1), ("0", 1, 4)], ids=["", "facing x", "held", "30 fps"])
def test_a_t_pose_before_the_motion_is_left_out_of_any_rig(shared: Path, tmp_path: Path, facing: str, held: int, every: int) -> None:
    path = shared / "data/raw/cmu_bvh/35_17.bvh"
    (clip,) = io.read(other_rig(path, tmp_path / "a.bvh", facing=facing, held=held, every=every))
    (expected,) = io.read(other_rig(path, tmp_path / "b.bvh", first=1))
    assert clip.layout == expected.layout and clip.layout.name != "cmu29"
    assert np.array_equal(clip.keypoints, expected.keypoints[:, every - 1 :: every])
    assert clip.notes == ("from CMU units", f"{held} frame{'s' * (held > 1)} of a T-pose left out") and expected.notes == ("from CMU units",)
    assert (clip.first, expected.first) == (held, 0) and skelzoo.windows(clip, 10)[1].first == held + 10


@pytest.mark.needs_shared
def test_a_t_pose_that_faces_elsewhere_is_left_out_of_cmu_files_too(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/raw/cmu_bvh/35_17.bvh"
    other_rig(path, tmp_path / "a.bvh", facing="10").write_text((tmp_path / "a.bvh").read_text().replace("Abdomen", "LowerBack"))
    assert np.array_equal(io.read(tmp_path / "a.bvh")[0].keypoints, io.read(path)[0].keypoints)


@pytest.mark.parametrize("last", [0, 37.3, 91.7], ids=["still", "slow", "fast"])
def test_a_motion_that_starts_at_rest_keeps_its_frames(tmp_path: Path, last: float) -> None:
    """An arm that goes down steadily, or nothing that moves."""
    assert io.read(keyed(tmp_path / "a.bvh", [-last * min(t / 10, 1) for t in range(30)]))[0].frames == 30


def at_rest_in(path: Path, to: Path, rows: list[int], every: int = 1, angle: str = "") -> Path:
    """A CMU file under other names, every n-th frame, with the angles of its first, a T-pose, in some of those, or one angle for all."""
    other_rig(path, to, every=every)
    head, motion = to.read_text().split("MOTION")
    start, lines = motion.splitlines()[:3], motion.splitlines()[3:]
    for row in rows:
        lines[row] = " ".join([*lines[row].split()[:6], *([angle] * len(lines[0].split()[6:]) if angle else lines[0].split()[6:])])
    to.write_text(head + "\n".join(["MOTION", *start[1:], *lines]) + "\n")
    return to


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("rows", "angle"), [([-1], ""), ([100], ""), ([60, 61, 100, -2, -1], ""), ([100], "45.5")], ids=["at the end", "a lost frame", "all", "another pose"]
)
def test_a_t_pose_that_comes_back_or_another_jump_hides_none_before_the_motion(shared: Path, tmp_path: Path, rows: list[int], angle: str) -> None:
    (clip,) = io.read(at_rest_in(shared / "data/raw/cmu_bvh/35_17.bvh", tmp_path / "a.bvh", rows, angle=angle))
    assert clip.notes == ("from CMU units", "1 frame of a T-pose left out") and clip.frames == 167


@pytest.mark.needs_shared
@pytest.mark.parametrize(("every", "frames"), [(20, None), (1, 7)], ids=["6 fps", "6 frames after it"])
def test_a_t_pose_that_is_kept_is_warned_of(shared: Path, tmp_path: Path, every: int, frames: int | None) -> None:
    path = at_rest_in(shared / "data/raw/cmu_bvh/35_17.bvh", tmp_path / "a.bvh", [], every)
    if frames:
        head, motion = path.read_text().split("MOTION")
        lines = motion.splitlines()[2 : 3 + frames]
        path.write_text("\n".join([f"{head}MOTION", f"Frames: {frames}", *lines]) + "\n")
    (clip,) = io.read(path)
    assert clip.notes == ("from CMU units", "starts in a T-pose") and clip.frames == (frames or 9)
    contract = Contract("kinect20", 3, 1, 16, ({"step": "resample", "frames": 16},))
    with pytest.warns(DoubtWarning, match=r"a T-pose stands before the motion.* Here it is clip.take\(frames=slice\(1, None\)\)"):
        prepare(clip, contract)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare(clip.take(frames=slice(1, None)), contract)
    assert not any("T-pose" in str(w.message) for w in caught)


def keyed(path: Path, angles: list[float]) -> Path:
    """PERSON with an arm at so many degrees in each frame."""
    write_bvh(path, {joint: joint for joint in PERSON}, frames=len(angles))
    head, rows = path.read_text().split("0.0333333\n")
    at = 6 + 3 * (re.findall(r"(?:ROOT|JOINT) (\w+)", head).index("l_shoulder") - 1)
    moved = [row.split() for row in rows.splitlines()]
    for row, angle in zip(moved, angles, strict=True):
        row[at] = f"{angle}"
    path.write_text(head + "0.0333333\n" + "\n".join(map(" ".join, moved)) + "\n")
    return path


@pytest.mark.parametrize("angles", [
    [-90.0] * 15 + [0.0] * 25, [0.0] * 15 + [22.5] * 25, [0, 0, 60, 50, 55, 45, 60, 50, 55, 45, 40, 50],
], ids=["two poses", "of half degrees", "whole degrees"])  # fmt: skip
def test_a_keyed_motion_keeps_its_first_pose(tmp_path: Path, angles: list[float]) -> None:
    (clip,) = io.read(keyed(tmp_path / "a.bvh", angles))
    assert clip.frames == len(angles) and not any("left out" in note for note in clip.notes)


@pytest.mark.parametrize("height", [95.0, 40.0, 10.0], ids=["stands", "sits", "lies"])
@pytest.mark.parametrize("added", [False, True])
def test_hips_below_a_root_on_the_floor_are_where_their_places_say(tmp_path: Path, height: float, added: bool) -> None:
    names = {joint: joint for joint in PERSON}
    head, motion = write_bvh(tmp_path / "a.bvh", names).read_text().split("MOTION")
    body = head.removeprefix("HIERARCHY\nROOT").replace("OFFSET 0.0000 0.0000 0.0000", "OFFSET 0 95 0", 1)
    rows = [" ".join(["0 0 0", *row.replace("95.0000", f"{height - 95 * added}", 1).split()]) for row in motion.splitlines()[3:]]
    top = "HIERARCHY\nROOT Reference\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nJOINT"
    (tmp_path / "b.bvh").write_text("\n".join([top + body.rstrip(), "}", "MOTION", *motion.splitlines()[1:3], *rows]) + "\n")
    (clip,) = io.read(tmp_path / "b.bvh")
    np.testing.assert_allclose(clip.keypoints[0, 0, clip.layout.index("hips")], [0, height / 100, 0], atol=1e-4)


@pytest.mark.parametrize(("scale", "unit", "unsure"), [
    (0.53, "cm", False), (0.0053, "m", False), (5.3, "mm", False), (0.6, "cm", False), (1.12 / 2.54, "inches", False), (0.72 / 2.54, "inches", True), (0.1, "CMU units", True),
], ids=["0.9 m", "0.9 m in m", "0.9 m in mm", "1 m", "2 m in inches", "1.2 m in inches", "decimetres"])  # fmt: skip
def test_small_bodies_are_in_metric_units_and_unusual_ones_are_warned_of(tmp_path: Path, scale: float, unit: str, unsure: bool) -> None:
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", {joint: joint for joint in PERSON}, scale=scale))
    assert clip.notes == (f"from {unit}", *["of unusual height"] * unsure)


def test_a_wrong_unit_leaves_the_vectors_of_shipped_models_as_they_are() -> None:
    """As preparation.md says."""
    clip = make("walk", frames=30)
    for name in skelzoo.list_models(pretrained=True):
        contract = Contract.from_dict(skelzoo.info(name)["config"]["contract"])
        one, other = (prepare(clip.replace(keypoints=clip.keypoints * unit), contract) for unit in (1, 2.54))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("unit", [1, 0.01, 10], ids=["cm", "m", "mm"])
def test_a_small_body_without_legs_comes_in_metres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: float) -> None:
    above = {joint: row for joint, row in PERSON.items() if joint[2:] not in ("hip", "knee", "ankle", "toe")}
    monkeypatch.setattr("skeleton_samples.PERSON", above)
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", {joint: joint for joint in above}, scale=0.7 * unit))
    np.testing.assert_allclose(clip.keypoints[0, 0], 0.007 * np.array([at for _, at in above.values()]), atol=1e-4)
