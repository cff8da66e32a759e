"""The files that skeleton data sets pass around in, made of motions that are read otherwise too."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skelzoo
from skelzoo.errors import ClipError, ReadError
from skelzoo.inference.files import Refusal, read_files
from skelzoo.skeleton.io.one_by_one import open_reader
from skelzoo.skeleton.io.read_options import ReadOptions


@pytest.fixture(scope="module")
def bodies() -> np.ndarray:
    """Two clips of two bodies (N, T, M, 25, 3): the second of the first clip is never there, and the second clip ends early."""
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(25, 3)) + 0.1 * rng.normal(size=(2, 20, 2, 25, 3)) + [0, 0, 3]
    walk[0, :, 1], walk[1, 15:] = 0, 0
    return walk.astype(np.float32)


def check(clips: list[skelzoo.Clip], bodies: np.ndarray) -> None:
    assert [(c.persons, c.frames, c.layout.name, c.fps) for c in clips] == [(1, 20, "ntu25", 30), (2, 15, "ntu25", 30)]
    np.testing.assert_array_equal(clips[0].keypoints[0], bodies[0, :, 0])
    np.testing.assert_array_equal(clips[1].keypoints, bodies[1, :15].transpose(1, 0, 2, 3))


@pytest.mark.parametrize(("classes", "labels"), [(60, ["A004", "A060"]), (10, ["3", "9"])])
def test_ctrgcn(tmp_path: Path, bodies: np.ndarray, classes: int, labels: list[str]) -> None:
    rows, hot = bodies.reshape(2, 20, 150), np.eye(classes)
    np.savez(tmp_path / "NTU60_CS.npz", x_train=rows[:1], y_train=hot[[3]], x_test=rows[1:], y_test=hot[[classes - 1]])
    clips = skelzoo.read(tmp_path / "NTU60_CS.npz")
    check(clips, bodies)
    assert [(c.name, c.label) for c in clips] == list(zip(["NTU60_CS[train 0]", "NTU60_CS[test 0]"], labels, strict=True))


@pytest.mark.parametrize(("x", "y"), [(np.ones((2, 5, 60)), np.eye(2)), (np.ones((2, 5, 150)), np.ones((2, 2))), (np.ones((2, 5, 150)), np.arange(2))])
def test_what_is_not_ctrgcns(tmp_path: Path, x: Any, y: Any) -> None:
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    with pytest.raises(ReadError, match=r"not \(N, T, 150\) and one-hot .*axes='n t v c'"):
        skelzoo.read(tmp_path / "a.npz")


def test_stgcn(tmp_path: Path, bodies: np.ndarray) -> None:
    bodies = bodies.copy()
    np.save(tmp_path / "train_data.npy", bodies.transpose(0, 4, 1, 3, 2))
    clips = skelzoo.read(tmp_path / "train_data.npy")
    check(clips, bodies)
    assert [(c.name, c.label) for c in clips] == [("train_data[0]", None), ("train_data[1]", None)]
    bodies[1] *= 100
    np.save(tmp_path / "pixels.npy", bodies.transpose(0, 4, 1, 3, 2))
    with pytest.raises(ReadError, match=r"not their coordinates in metres.*axes='n c t v m'"):
        skelzoo.read(tmp_path / "pixels.npy")


def save(path: Path, bodies: np.ndarray) -> Path:
    """Clips in CTR-GCN's file, the last for testing, or in ST-GCN's."""
    if path.suffix == ".npy":
        np.save(path, bodies.transpose(0, 4, 1, 3, 2))
    else:
        rows, hot = bodies.reshape(*bodies.shape[:2], 150), np.eye(60)[range(len(bodies))]
        np.savez(path, x_train=rows[:-1], y_train=hot[:-1], x_test=rows[-1:], y_test=hot[-1:])
    return path


@pytest.mark.parametrize("name", ["NTU60_CS.npz", "train_data.npy"])
def test_a_lost_joint_costs_its_clip_alone_and_is_filled_if_wanted(tmp_path: Path, bodies: np.ndarray, name: str) -> None:
    four = np.concatenate([bodies, bodies + 0.1 * (bodies != 0)])
    whole = skelzoo.read(save(tmp_path / name, four))
    four[2, 3, 0, 4, 1] = np.nan
    path = save(tmp_path / name, four)
    with pytest.raises(ClipError, match=rf"{re.escape(whole[2].name)}: 1 joint positions are NaN.*--fill-missing"):
        skelzoo.read(path)
    found = list(read_files([str(path)]))
    assert [(one.clip if isinstance(one, Refusal) else one.clip.name) for one in found] == [clip.name for clip in whole]
    assert [isinstance(one, Refusal) for one in found] == [False, False, True, False]
    filled = skelzoo.read(path, fill_missing=True)
    reader = open_reader(path, ReadOptions(fill_missing=True))
    assert reader is not None and [reader.count, len(filled)] == [4, 4]
    with contextlib.closing(reader):
        for clip, one, other in zip(whole[1:], filled[1:], reader.clips(1, 4), strict=True):
            assert isinstance(other, skelzoo.Clip) and (one.name, one.label) == (other.name, other.label) == (clip.name, clip.label)
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            np.testing.assert_allclose(one.keypoints, clip.keypoints, atol=0.5)
    np.testing.assert_allclose(filled[2].keypoints[0, 3, 4], four[2, [2, 4], 0, 4].mean(0), rtol=1e-5)


def test_an_array_of_no_clips_is_refused(tmp_path: Path, bodies: np.ndarray) -> None:
    np.save(tmp_path / "train_data.npy", np.zeros((0, 3, 20, 25, 2)))
    with pytest.raises(ReadError, match=r"train_data\.npy: holds no clips"):
        skelzoo.read(tmp_path / "train_data.npy")


def kinetics(frames: int = 6) -> dict[str, Any]:
    """A video in whose frame 3 nobody is found, and two people who change places in the list."""
    rng = np.random.default_rng(0)
    left, right = 0.2 + 0.1 * rng.random((18, 2)), 0.7 + 0.1 * rng.random((18, 2))
    rows = []
    for i in range(frames):
        people = [] if i == 3 else [left + 0.002 * i, right][:: 1 if i % 2 else -1]
        rows.append({"frame_index": i + 1, "skeleton": [{"pose": p.ravel().round(3).tolist(), "score": [0.1 * (i + 1)] * 18} for p in people]})
    return {"data": rows, "label": "juggling balls", "label_index": 167}


def test_kinetics(tmp_path: Path) -> None:
    (tmp_path / "abc.json").write_text(json.dumps(kinetics()))
    (clip,) = skelzoo.read(tmp_path / "abc.json")
    assert (clip.persons, clip.frames, clip.layout.name, clip.fps, clip.label, clip.name) == (2, 6, "openpose18", 30, "juggling balls", "abc")
    assert clip.image_size == (256, 340) and clip.scores is not None and not clip.keypoints[:, 3].any()
    np.testing.assert_allclose(clip.scores, np.broadcast_to(np.float32([0.1, 0.2, 0.3, 0, 0.5, 0.6])[None, :, None], (2, 6, 18)), atol=1e-6)
    there = clip.keypoints[:, [0, 1, 2, 4, 5]]
    assert sorted(there[..., 0].mean((1, 2)) // 80) == [1, 3] and (np.ptp(there[..., 0], axis=1) < 5).all()
    assert [p.name for p in skelzoo.find_files([tmp_path])] == ["abc.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["data"][5].update(frame_index=10**12), r"a\.json: its 6 pictures have numbers from 1 to 1000000000000, and are no video"),
        (lambda d: d["data"][5].update(frame_index=2), r"a\.json: has frame 2 twice"),
        (lambda d: [row.update(skeleton=[]) for row in d["data"]], r"nobody was found in it \(6 frames\)"),
        (lambda d: d["data"][0]["skeleton"][0].update(pose=[0.1] * 34), "not as Kinetics-skeleton's files are"),
        (lambda d: d["data"][0]["skeleton"][0].update(pose=[170.0] * 36), "no shares of the picture"),
        (lambda d: d["data"][0]["skeleton"][0].pop("score"), "KeyError: 'score'"),
    ],
)
def test_what_is_not_kinetics(tmp_path: Path, change: Any, message: str) -> None:
    data = kinetics()
    change(data)
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ReadError, match=message):
        skelzoo.read(tmp_path / "a.json")


def test_pyskl_is_not_loaded_and_its_line_converts_it(tmp_path: Path, bodies: np.ndarray) -> None:
    """All annotations of a data set, a list of them, or the one that mmaction2's ``ntu_pose_extraction.py`` writes."""
    three = {"frame_dir": "S001C001P001R001A004", "total_frames": 15, "label": 3, "keypoint": bodies[1, :15].transpose(1, 0, 2, 3).astype(np.float16)}
    flat = {**three, "keypoint": 100 * three["keypoint"][..., :2][:, :, :17], "keypoint_score": np.ones((2, 15, 17), np.float16), "img_shape": (1080, 1920)}
    rows = [{**three, "keypoint": 0 * three["keypoint"]}, {**three, "keypoint": three["keypoint"][:0]}, three]
    kinds: dict[str, Any] = {"ntu60_3danno": {"split": {"xsub_train": [three["frame_dir"]]}, "annotations": rows}, "list": rows, "one": flat}
    codes = []
    for name, data in kinds.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(data))
        with pytest.raises(ReadError, match="PYSKL or mmaction2, which is not loaded for safety") as caught:
            skelzoo.read(tmp_path / f"{name}.pkl")
        codes += re.findall(r'python -c "(.*)"', str(caught.value))
    subprocess.run([sys.executable, "-c", "\n".join(codes)], cwd=tmp_path, check=True)
    for name in kinds:
        (clip,) = skelzoo.read(tmp_path / f"{name}.npz")
        row = flat if name == "one" else three
        assert (clip.layout.name, clip.label, clip.name, clip.persons, clip.frames) == (
            "coco17" if row is flat else "ntu25",
            "3",
            "S001C001P001R001A004",
            2,
            15,
        )
        np.testing.assert_array_equal(clip.keypoints, np.float32(row["keypoint"]))


def test_pkummd_is_named_and_its_line_reads_it(tmp_path: Path, bodies: np.ndarray) -> None:
    path = tmp_path / "0002-L.txt"
    np.savetxt(path, bodies[1].reshape(20, 150), fmt="%.6f")
    with pytest.raises(ReadError, match=r"looks like a PKU-MMD skeleton file \(150 numbers a row\)") as caught:
        skelzoo.read(path)
    names: dict[str, Any] = {"skelzoo": skelzoo, "numpy": np}
    exec(str(caught.value).split("lists: ")[1].strip(), names)
    np.testing.assert_allclose(names["clip"].keypoints, bodies[1].transpose(1, 0, 2, 3), atol=1e-5)
    assert skelzoo.find_files([tmp_path]) == [path.resolve()]


def test_msr_action3d_is_named_and_its_lines_read_it(tmp_path: Path) -> None:
    """Left limbs at x = 1, right ones at -1; the trunk's order is that of y."""
    path, x = tmp_path / "a01_s01_e01_skeleton.txt", np.zeros((6, 20, 4))
    x[:, :6, 0] = [1, -1, 0, 0, 1, -1]
    x[:, 7:19, 0] = [1, -1] * 6
    x[:, [19, 2, 3, 6], 1] = [4, 3, 2, 1]
    np.savetxt(path, x.reshape(-1, 4), fmt="%.6f")
    with pytest.raises(ReadError, match=r"looks like an MSR-Action3D text file .* which is not read") as caught:
        skelzoo.read(path)
    names: dict[str, Any] = {"skelzoo": skelzoo, "numpy": np}
    text = str(caught.value)
    for line in (text.split("with ")[1], text.split("3): ")[1].split(";")[0], text.split("real world, ")[1].split(", and")[0]):
        exec(line.strip(), names)
    clip = skelzoo.remap(names["clip"], "kinect20")
    got = {joint: clip.keypoints[0, 0, v] for v, joint in enumerate(clip.layout.joints)}
    assert {joint: float(at[0]) for joint, at in got.items()} == {joint: {"L": 1, "R": -1}.get(joint[0], 0) for joint in got}
    assert [got[joint][1] for joint in ("Head", "ShoulderCenter", "Spine", "HipCenter")] == [4, 3, 2, 1]
    exec(text.split("320 x 240, ")[1].split(", with")[0], names)
    assert (names["clip"].channels, names["clip"].image_size) == (2, (240, 320))


@pytest.mark.needs_shared
def test_real_motions_in_these_files(shared: Path, tmp_path: Path) -> None:
    clips = skelzoo.read(shared / "data/nw_ucla.npz")[:40:4]
    clips = [skelzoo.remap(c, "ntu25") for c in clips]
    longest = max(c.frames for c in clips)
    bodies = np.zeros((len(clips), longest, 2, 25, 3), np.float32)
    for row, clip in zip(bodies, clips, strict=True):
        row[: clip.frames, 0] = clip.keypoints[0]
    np.save(tmp_path / "val_data.npy", bodies.transpose(0, 4, 1, 3, 2))
    np.savez_compressed(tmp_path / "NTU60_CS.npz", x_train=bodies.reshape(len(bodies), longest, 150), y_train=np.eye(60)[range(len(bodies))])
    for name in ("val_data.npy", "NTU60_CS.npz"):
        for back, clip in zip(skelzoo.read(tmp_path / name), clips, strict=True):
            np.testing.assert_array_equal(back.keypoints, clip.keypoints)


@pytest.mark.parametrize(
    ("name", "head", "what"),
    [
        ("take.c3d", b"\x02P\0\0abcd", "a C3D file"),
        ("take.fbx", b"Kaydara FBX Binary", "an FBX file"),
        ("take.trc", b"PathFileType\t4\t(X/Y/Z)\ttake.trc\nDataRate\tCameraRate\n", "a TRC file of markers"),
        ("take.csv", b"Format Version,1.23,Take Name,Take 1,Capture Frame Rate,120\n\n,,Bone,Bone\n", "a CSV file of Motive"),
        ("take.csv", b"Trajectories\r\n100\r\n,,P07:LFHD,,,P07:RFHD,,\r\nFrame,Sub Frame,X,Y,Z,X,Y,Z\r\n", "a CSV file of Vicon Nexus"),
    ],
)
def test_exports_of_motion_capture_are_named_with_what_to_export(tmp_path: Path, name: str, head: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(head)
    with pytest.raises(ReadError, match=rf"looks like {what}, which is not read.*BVH, or its joint centres as a table"):
        skelzoo.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "head", "what"),
    [
        ("a.mp4", b"\0\0\0\x20ftypisom", "a video"),
        ("a", b"RIFF\n\0\0\0AVI LIST", "a video"),
        ("a.csv", b"\x89PNG\r\n", "a picture"),
        ("a.MKV", b"text", "a video"),
    ],
)
def test_videos_and_pictures_are_sent_to_a_pose_estimator(tmp_path: Path, name: str, head: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(head)
    with pytest.raises(ReadError, match=rf"looks like {what}, which is not read\. A pose estimator finds the joints in it first.*docs cameras"):
        skelzoo.read(tmp_path / name)
