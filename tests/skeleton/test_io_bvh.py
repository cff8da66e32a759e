"""BVH files as other programs write them anew: places of all joints, a T-pose before the motion, no legs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from skeleton_samples import PERSON, write_bvh

import skelzoo
from skelzoo.skeleton import io


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
    path = write_bvh(tmp_path / "a.bvh", {joint: joint for joint in PERSON}, frames=30)
    head, rows = path.read_text().split("0.0333333\n")
    at = 6 + 3 * (re.findall(r"(?:ROOT|JOINT) (\w+)", head).index("l_shoulder") - 1)
    moved = [row.split() for row in rows.splitlines()]
    for t, row in enumerate(moved):
        row[at] = f"{-last * min(t / 10, 1)}"
    path.write_text(head + "0.0333333\n" + "\n".join(map(" ".join, moved)))
    assert io.read(path)[0].frames == 30


@pytest.mark.parametrize("unit", [1, 0.01, 10], ids=["cm", "m", "mm"])
def test_a_small_body_without_legs_comes_in_metres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: float) -> None:
    above = {joint: row for joint, row in PERSON.items() if joint[2:] not in ("hip", "knee", "ankle", "toe")}
    monkeypatch.setattr("skeleton_samples.PERSON", above)
    (clip,) = io.read(write_bvh(tmp_path / "a.bvh", {joint: joint for joint in above}, scale=0.7 * unit))
    np.testing.assert_allclose(clip.keypoints[0, 0], 0.007 * np.array([at for _, at in above.values()]), atol=1e-4)
