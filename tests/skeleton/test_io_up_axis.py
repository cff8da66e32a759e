"""Which axis of a BVH file is taken to point up, of people who stand, lie, fall and bend, and what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from skeleton_samples import PERSON, write_bvh

from skelzoo.cli import main
from skelzoo.skeleton import io
from skelzoo.skeleton.io.kinematics import euler

TURNED, LEFT = "turned from z up", "rests along z, left y up"
UNSURE = ", unsure"
NAMES = {joint: joint.title() for joint in PERSON}
"""Hips, L_Wrist and so on, which tell the body points."""
FACING = pytest.mark.parametrize("facing", [0, 90, 180, 270])


def turn(axis: str, degrees: float | np.ndarray) -> np.ndarray:
    """(T, 3, 3)."""
    return euler(np.atleast_1d(np.asarray(degrees, float))[:, None], axis)


def motion(kind: str, facing: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) and places (T, 3) in cm of the hips of somebody who stands and moves where y is up."""
    t = np.linspace(0, 1, 60)
    down = np.clip((t - 0.3) / 0.2, 0, 1)
    lean = {"walk": 0 * t, "bend": 50 * np.sin(np.pi * t), "fall": 90 * down, "crawl": 0 * t + 80, "lie": 0 * t + 90}[kind]
    height = {"walk": 95 + np.sin(20 * t), "bend": 95 - 30 * np.sin(np.pi * t), "fall": 95 - 83 * down, "crawl": 40 + np.sin(20 * t), "lie": 0 * t + 12}[kind]
    along = {"walk": 200 * t, "bend": 0 * t, "fall": -20 * down, "crawl": 150 * t, "lie": 0 * t}[kind]
    heading = turn("y", facing)
    places = np.stack([0 * t, height, along], 1)
    return heading @ turn("x", lean), (heading @ places[:, :, None])[..., 0]


def recording(path: Path, kind: str, facing: float = 0, z_up: bool = True, arms: bool = False) -> Path:
    """A rig that rests along z, of a motion in a world with z up, or with y up: such a rig was drawn so. ``arms``: these are drawn along z too, as no body's are."""
    write_bvh(path, NAMES, z_up=True)
    header = path.read_text().split("MOTION")[0]
    rotations, places = motion(kind, facing)
    standing = turn("x", 90)  # y to z
    rotations, places = (standing @ rotations @ standing.swapaxes(1, 2), places @ standing[0].T) if z_up else (rotations @ turn("x", -90), places)
    x = np.arcsin(np.clip(rotations[:, 2, 1], -1, 1))
    z, y = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1]), np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    joints = re.findall(r"(?:ROOT|JOINT) (\w+)", header)
    others = np.zeros((len(x), len(joints), 3))
    if arms:
        for side, sign in (("L", 1), ("R", -1)):
            header = re.sub(rf"(JOINT {side}_(?:Elbow|Wrist|Mid1)\n{{\nOFFSET) ([-\d.]+) \S+ \S+", lambda m: f"{m[1]} 0 0 {abs(float(m[2]))}", header)
            others[:, joints.index(f"{side}_Shoulder"), 2] = 90 * sign
    rows = np.concatenate([places, np.degrees(np.stack([z, x, y], 1)), others[:, 1:].reshape(len(x), -1)], 1)
    lines = [" ".join(f"{value:.5f}" for value in row) for row in rows]
    path.write_text("\n".join([f"{header}MOTION", f"Frames: {len(lines)}", "Frame Time: 0.0333333", *lines]) + "\n")
    return path


@FACING
@pytest.mark.parametrize(("kind", "sure"), [("walk", True), ("bend", False), ("fall", False)])
@pytest.mark.parametrize("z_up", [True, False], ids=["z up", "drawn along z"])
def test_the_axis_of_the_floor_is_up_wherever_people_fall_or_bend_to(tmp_path: Path, kind: str, sure: bool, z_up: bool, facing: float) -> None:
    (clip,) = io.read(recording(tmp_path / "a.bvh", kind, facing, z_up))
    rotations, places = motion(kind, facing)
    np.testing.assert_allclose(clip.keypoints[0, :, 0], places / 100, atol=1e-4)
    spine = clip.keypoints[0, :, clip.layout.index("Neck")] - clip.keypoints[0, :, 0]
    np.testing.assert_allclose(spine, rotations @ [0, 0.53, 0], atol=1e-4)
    assert clip.notes[1] in (TURNED if z_up else LEFT, *[(TURNED if z_up else LEFT) + UNSURE] * (not sure or (not z_up and facing % 180 == 90)))


@FACING
@pytest.mark.parametrize("kind", ["walk", "bend", "fall", "crawl", "lie"])
def test_a_rest_pose_that_is_no_body_tells_nothing(tmp_path: Path, kind: str, facing: float) -> None:
    """As where each bone rests along an axis of its own."""
    path = recording(tmp_path / "a.bvh", kind, facing, z_up=False, arms=True)
    (clip,) = io.read(path)
    np.testing.assert_allclose(clip.keypoints[0, :, 0], motion(kind, facing)[1] / 100, atol=1e-4)
    assert clip.notes == ("from cm",)


@pytest.mark.parametrize(("kind", "facing", "note"), [
    ("lie", 0, TURNED), ("lie", 90, TURNED), ("lie", 180, LEFT), ("crawl", 90, TURNED), ("crawl", 0, TURNED),
])  # fmt: skip
def test_who_lies_all_the_time_on_a_rig_that_rests_along_z_is_turned_with_it(tmp_path: Path, kind: str, facing: float, note: str) -> None:
    """But with the head to y, where a rig that was drawn along z stands."""
    assert io.read(recording(tmp_path / "a.bvh", kind, facing))[0].notes[1:] == (note + UNSURE,)


def test_where_nothing_tells_the_axis_one_warning_names_the_first_file(tmp_path: Path) -> None:
    for i, kind in enumerate(["walk", "bend", "fall"]):
        recording(tmp_path / f"{i}.bvh", kind, facing=90)
    result = CliRunner().invoke(main, ["read", str(tmp_path)])
    (text,) = [line for line in result.stderr.splitlines() if "rests along z" in line]
    assert f"{tmp_path / '1.bvh'} 1 and 1 more clip: a BVH skeleton rests along z" in text and "say so with --up y" in text
    assert result.stdout.count(TURNED) == 3 and result.stdout.count(TURNED + UNSURE) == 2
