"""The readers on whole files: against the corpus that was made from the same files, and on files written by the facts."""

from __future__ import annotations

import codecs
import copy
import functools
import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skeleton_samples import ntu_frames, write_ntu
from tiny import make_clip

import skelzoo
from skelzoo.errors import ClipError, DoubtWarning, ReadError, WriteError
from skelzoo.skeleton import io
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io import array, corpus
from skelzoo.skeleton.layouts import get_layout, make_layout

needs_shared = pytest.mark.needs_shared


@functools.cache
def table(path: Path) -> tuple[corpus.Corpus, dict[str, int]]:
    whole = corpus.read_corpus(path)
    return whole, {name: i for i, name in enumerate(whole.clip_names)}


# file, corpus, clip there, every how many frames, joints in front that the corpus lacks, largest difference in mm
REAL = [
    ("bandai_bvh/dataset-1_bye_happy_001.bvh", "bandai_namco", "dataset-1_bye_happy_001", 1, 1, 0.6),
    ("bandai_bvh/dataset-1_walk-back_normal_001.bvh", "bandai_namco", "dataset-1_walk-back_normal_001", 1, 1, 0.6),
    ("bandai_bvh/dataset-2_raise-up-left-hand_normal_001.bvh", "bandai_namco", "dataset-2_raise-up-left-hand_normal_001", 1, 1, 0.6),
    ("bandai_bvh/dataset-2_wave-right-hand_elderly_001.bvh", "bandai_namco", "dataset-2_wave-right-hand_elderly_001", 1, 1, 0.6),
    ("cmu_bvh/02_03.bvh", "cmu_subset", "02_03", 4, 0, 1.5),
    ("cmu_bvh/35_17.bvh", "cmu_subset", "35_17", 4, 0, 0.6),
    ("cmu_bvh/006_09.bvh", "cmu_iclone", "06_09", 2, 0, 0.6),
    ("cmu_asf/02_03.amc", "cmu_subset", "02_03", 4, 0, 0.6),
    ("hdm05/HDM_mm_rotateArmsBothBackward1Reps_011_120.amc", "hdm05_subset", "HDM_mm_rotateArmsBothBackward1Reps_011_120", 4, 0, 0.6),
    ("hdm05/HDM_mm_rotateArmsBothBackward1Reps_012_120.amc", "hdm05_subset", "HDM_mm_rotateArmsBothBackward1Reps_012_120", 4, 0, 0.6),
    ("hdm05/HDM_mm_rotateArmsBothBackward1Reps_013_120.amc", "hdm05_subset", "HDM_mm_rotateArmsBothBackward1Reps_013_120", 4, 0, 0.6),
    ("nw_ucla/a01_s01_e00_v01.json", "nw_ucla", "a01_s01_e00_v01", 1, 0, 0.6),
    ("nw_ucla/a01_s10_e00_v03.json", "nw_ucla", "a01_s10_e00_v03", 1, 0, 0.6),
    ("nw_ucla/a02_s09_e04_v02.json", "nw_ucla", "a02_s09_e04_v02", 1, 0, 0.6),
    ("nw_ucla/a04_s01_e00_v03.json", "nw_ucla", "a04_s01_e00_v03", 1, 0, 0.6),
    ("nw_ucla/a11_s01_e00_v02.json", "nw_ucla", "a11_s01_e00_v02", 1, 0, 0.6),
    ("nw_ucla/a12_s02_e01_v01.json", "nw_ucla", "a12_s02_e01_v01", 1, 0, 0.6),
    ("utd_mhad/a1_s1_t1_skeleton.mat", "utd_mhad", "a1_s1_t1", 1, 0, 0.6),
    ("utd_mhad/a9_s2_t1_skeleton.mat", "utd_mhad", "a9_s2_t1", 1, 0, 0.6),
    ("utd_mhad/a23_s3_t2_skeleton.mat", "utd_mhad", "a23_s3_t2", 1, 0, 0.6),
    ("utd_mhad/a27_s8_t3_skeleton.mat", "utd_mhad", "a27_s8_t3", 1, 0, 0.6),
    ("uiprmd/m01_s01_e01_angles.txt.gz", "uiprmd_kinect", "m01_s01_e01", 1, 0, 0.6),
    ("uiprmd/m07_s03_e02_positions.txt.gz", "uiprmd_kinect", "m07_s03_e02", 1, 0, 0.6),
    ("uiprmd/m03_s02_e04_angles_inc.txt.gz", "uiprmd_kinect", "m03_s02_e04_inc", 1, 0, 0.6),
    ("uiprmd/m05_s10_e10_positions_inc.txt.gz", "uiprmd_kinect", "m05_s10_e10_inc", 1, 0, 0.6),
]


@needs_shared
@pytest.mark.parametrize(("file", "source", "name", "step", "extra", "limit"), REAL, ids=[r[0] for r in REAL])
def test_real_file_is_the_clip_of_the_corpus(shared: Path, file: str, source: str, name: str, step: int, extra: int, limit: float) -> None:
    (clip,) = io.read(shared / "data/raw" / file)
    whole, index = table(shared / "data" / f"{source}.npz")
    reference = whole.clips[index[name]]
    assert clip.layout.joints[extra:] == reference.layout.joints
    assert clip.fps == step * reference.fps
    assert clip.label == (None if source.startswith("cmu") else reference.label)
    assert clip.name == Path(file).name.split(".")[0].replace("_angles", "").replace("_positions", "")
    assert 1000 * np.abs(clip.keypoints[:, ::step, extra:] - reference.keypoints).max() < limit


@needs_shared
def test_cmu_bvh_repaired_is_the_amc_of_the_same_trial(shared: Path) -> None:
    (bvh,), (amc,) = (io.read(shared / "data/raw" / f) for f in ("cmu_bvh/02_03.bvh", "cmu_asf/02_03.amc"))
    assert bvh.keypoints.shape == amc.keypoints.shape == (1, 173, 29, 3)
    assert np.abs(bvh.keypoints - amc.keypoints).max() < 0.001


@needs_shared
def test_daz_rest_pose_has_the_bones_of_the_daz_corpus(shared: Path) -> None:
    (clip,) = io.read(shared / "data/raw/broken/standard.bvh")
    whole, _ = table(shared / "data/cmu_daz.npz")
    assert clip.layout is whole.layout and clip.frames == 3

    def bones(points: np.ndarray) -> np.ndarray:
        return np.median(np.linalg.norm(points - points[:, list(clip.layout.parents)], axis=-1), axis=0)[1:]

    np.testing.assert_allclose(bones(clip.keypoints[0]), bones(whole.clips[0].keypoints[0]), atol=5e-4)


@needs_shared
def test_corpus_is_cut_as_its_schema_says(shared: Path) -> None:
    path = shared / "data/cmu_iclone.npz"
    whole = corpus.read_corpus(path)
    with np.load(path) as z:
        metres = np.cumsum(z["joints_delta"], axis=0, dtype=np.int16) * z["scale"]
        for i in (0, 12):
            np.testing.assert_array_equal(whole.clips[i].keypoints[0], metres[z["offsets"][i] : z["offsets"][i + 1]] + z["clip_origin"][i])
            assert whole.clips[i].label == z["label_names"][z["label"][i]]
        assert whole.licence == str(z["licence"])
    assert len(whole) == 13 and whole.clips[0].fps == 30
    assert (whole.split == -1).all() and (whole.view == -1).all() and (whole.flags == 0).all()
    assert set(whole.extra) == {"description", "zero_frames"}
    assert [c.name for c in io.read(path)] == list(whole.clip_names)


@needs_shared
def test_every_corpus_reads(shared: Path) -> None:
    counts = {p.stem: len(table(p)[0]) for p in sorted((shared / "data").glob("*.npz"))}
    assert counts == {"bandai_namco": 3076, "cmu_daz": 43, "cmu_iclone": 13, "cmu_subset": 144, "hdm05_subset": 288, "nw_ucla": 1484, "uiprmd_kinect": 2000,
                      "utd_mhad": 861}  # fmt: skip
    ucla = table(shared / "data/nw_ucla.npz")[0]
    assert (ucla.split == 0).sum() == 1020 and set(ucla.view) == {1, 2, 3} and ((ucla.flags & 64) > 0).sum() == 95


@needs_shared
def test_find_files_lists_each_recording_once(shared: Path) -> None:
    raw = shared / "data/raw"
    files = io.find_files(raw)
    assert files == sorted(files) and len(files) == 4 + 4 + 3 + 1 + 3 + 6 + 4 + 4  # README.md and .asf files are not listed
    assert not any(f.suffix in (".md", ".asf") for f in files)
    refused = [f for f in files if f.suffix == ".txt"]  # formats that are not supported are refused by name, not passed over
    assert len(refused) == 2
    for file in refused:
        with pytest.raises(ReadError, match=r"MSR.* which is not (supported|read)"):
            io.read(file)
    readme = raw / "README.md"
    assert io.find_files([readme]) == [readme]
    pair = [raw / "uiprmd/m01_s01_e01_positions.txt.gz", raw / "uiprmd/m01_s01_e01_angles.txt.gz"]
    assert io.find_files(pair) == pair[:1]
    assert len(io.find_files(str(raw / "uiprmd/*"))) == 4
    backwards = [raw / "nw_ucla/a12_s02_e01_v01.json", raw / "nw_ucla/a01_s01_e00_v01.json", raw / "nw_ucla"]
    assert io.find_files(backwards)[:2] == backwards[:2] and len(io.find_files(backwards)) == 6


def test_find_files_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / ".hidden.bvh").write_text("HIERARCHY")
    with pytest.raises(ReadError, match="no readable file"):
        io.find_files(tmp_path)
    with pytest.raises(ReadError, match="no such file"):
        io.find_files(tmp_path / "nothing")
    with pytest.raises(ReadError, match="pattern"):
        io.find_files(str(tmp_path / "*.bvh"))


@needs_shared
def test_uiprmd_unpacked_and_in_folders_of_the_data_set(shared: Path, tmp_path: Path) -> None:
    packed = shared / "data/raw/uiprmd"
    for kind in ("angles", "positions"):
        (tmp_path / kind.capitalize()).mkdir()
        name = f"m01_s01_e01_{kind}.txt"
        (tmp_path / kind.capitalize() / name).write_bytes(gzip.decompress((packed / f"{name}.gz").read_bytes()))
    (clip,) = io.read(tmp_path / "Angles/m01_s01_e01_angles.txt")
    (reference,) = io.read(packed / "m01_s01_e01_positions.txt.gz")
    np.testing.assert_array_equal(clip.keypoints, reference.keypoints)
    assert len(io.find_files(tmp_path)) == 1


def test_ntu_bodies_are_told_by_id(tmp_path: Path) -> None:
    frames = ntu_frames()
    (clip,) = io.read(write_ntu(tmp_path / "S001C002P003R002A013.skeleton", frames, states=1))
    assert clip.label == "A013" and clip.fps == 30 and clip.layout.name == "ntu25"
    assert clip.keypoints.shape == (3, 6, 25, 3)
    for person, body in enumerate(("72057594037931101", "72057594037931102", "72057594037931103")):  # in 4, 3 and 1 frames
        for t, bodies in enumerate(frames):
            np.testing.assert_allclose(clip.keypoints[person, t], bodies.get(body, np.zeros((25, 3))), atol=1e-6)
            assert clip.scores is not None and (clip.scores[person, t] == (0.5 if body in bodies else 0)).all()
    tie = [{"8": np.ones((25, 3)), "7": np.full((25, 3), 2.0)}]
    (clip,) = io.read(write_ntu(tmp_path / "tie.skeleton", tie))
    assert clip.label is None and clip.keypoints[0, 0, 0, 0] == 1


@pytest.mark.parametrize("kind", ["skeleton", "csv"])
def test_of_persons_who_are_always_others_those_in_most_frames_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("skelzoo.skeleton.io.tracks.MOST", 2)
    monkeypatch.setattr("skelzoo.skeleton.io.tracks.ROOM", 0)
    who, layout, path = (7, 7, 5, 5, 6, 5), get_layout("ntu25"), tmp_path / f"a.{kind}"
    if kind == "skeleton":
        write_ntu(path, [{str(i): np.full((25, 3), float(i))} for i in who])
    else:
        header = ["frame", "person", *(f"{joint}_{axis}" for joint in layout.joints for axis in "xyz")]
        path.write_text("\n".join(",".join(map(str, row)) for row in (header, *([t, i, *[i] * 75] for t, i in enumerate(who)))))
    with pytest.warns(DoubtWarning, match=rf"a\.{kind}: 3 persons in 6 frames .* The 2 in most frames are kept, who are in 5 of the 6 frames"):
        clip = io.read(path)[0]
    assert sorted(map(tuple, clip.keypoints[..., 0, 0].tolist())) == [(0, 0, 5, 5, 0, 5), (7, 7, 0, 0, 0, 0)]


def clips_of_all_kinds() -> list[Clip]:
    rng = np.random.default_rng(0)
    one = Clip(rng.normal(size=(2, 4, 25, 3)), "ntu25", fps=30, scores=rng.uniform(size=(2, 4, 25)), label="A001", name="one")
    return [one, Clip(rng.normal(size=(1, 7, 25, 3)), "ntu25", name="two")]


@pytest.mark.parametrize("take", [slice(0, 1), slice(1, 2), slice(0, 2)], ids=["scores", "plain", "unequal"])
def test_saved_clips_come_back(tmp_path: Path, take: slice) -> None:
    clips = clips_of_all_kinds()[take]
    array.save(tmp_path / "a.npz", clips)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    same(io.read(tmp_path / "a.npz"), clips)


@pytest.mark.parametrize("arrays", [{"keypoints": np.ones((5, 25, 3)), "layout": "ntu25"}, {"x_train": np.ones((1, 5, 150)), "y_train": np.eye(60)[:1]}])
def test_keys_that_are_not_used_are_not_loaded(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **arrays, junk=np.array([{}], object))
    assert io.read(tmp_path / "a.npz")[0].frames == 5


def same(got: list[Clip], clips: list[Clip]) -> None:
    for ours, theirs in zip(got, clips, strict=True):
        np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)
        assert (ours.fps, ours.label, ours.name, ours.image_size) == (theirs.fps, theirs.label, theirs.name, theirs.image_size)
        assert ours.layout is theirs.layout or ours.layout.joints == theirs.layout.joints
        assert (ours.scores is None) == (theirs.scores is None)
        if ours.scores is not None:
            np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_saved_pictures_come_back(tmp_path: Path) -> None:
    clips = [Clip(np.ones((1, t, 17, 2)), "coco17", image_size=size, name=str(t)) for t, size in ((2, (1080, 1920)), (3, None))]
    for take in (clips, clips[:1], clips[1:]):
        array.save(tmp_path / "a.npz", take)
        same(io.read(tmp_path / "a.npz"), take)
    np.savez(tmp_path / "b.npz", keypoints=np.ones((2, 1, 4, 17, 2)), image_size=(480, 640))
    assert [c.image_size for c in io.read(tmp_path / "b.npz")] == [(480, 640)] * 2


def test_saved_clips_of_an_own_layout_come_back(tmp_path: Path) -> None:
    layout = make_layout(
        "mine", {"hip": "hip_center", "head": "head"}, [None, "hip"], center="hip", links=[("head", "hip")], points={"neck": {"hip": 0.2, "head": 0.8}}
    )
    clips = [Clip(np.ones((1, t, 2, 3)), layout, name=str(t)) for t in (2, 3)]
    array.save(tmp_path / "a.npz", clips)
    got = io.read(tmp_path / "a.npz")
    same(got, clips)
    assert got[0].layout.links == layout.links and got[0].layout.points == layout.points and got[0].layout.own == layout.own and got[0].layout is got[1].layout


def test_save_refuses_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = clips_of_all_kinds()
    with pytest.raises(WriteError, match=r"a\.bvh: clips are saved as \.npz only"):
        array.save(tmp_path / "a.bvh", [one])
    with pytest.raises(ClipError, match=r"must hold skelzoo\.Clip objects, found str"):
        array.save(tmp_path / "a.npz", ["x"])
    with pytest.raises(ClipError, match="no clips"):
        array.save(tmp_path / "a.npz", [])
    with pytest.raises(ClipError, match="another layout"):
        array.save(tmp_path / "a.npz", [one, Clip(np.ones((1, 2, 17, 2)), "coco17")])
    array.save(tmp_path / "a.npz", [two])

    def full(file: object, **arrays: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="disk full"):
        array.save(tmp_path / "a.npz", [one])
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    same(io.read(tmp_path / "a.npz"), [two])


def test_users_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ntu, coco = rng.normal(size=(2, 6, 25, 3)), rng.normal(size=(6, 17, 2))
    np.save(tmp_path / "ntu.npy", ntu)
    np.save(tmp_path / "coco.npy", coco)
    for name, told, other in (("ntu", "ntu25", "body25"), ("coco", "coco17", "h36m17")):
        with pytest.warns(UserWarning, match=f"are read as '{told}', but '{other}' has"):
            assert io.read(tmp_path / f"{name}.npy")[0].layout.name == told
    np.savez(tmp_path / "many.npz", keypoints=rng.normal(size=(3, 1, 6, 20, 3)), layout="kinect20", fps=25, labels=["a", "", "c"])
    many = io.read(tmp_path / "many.npz")
    assert [c.label for c in many] == ["a", None, "c"] and [c.name for c in many] == [f"many[{i}]" for i in range(3)] and many[0].fps == 25
    x = rng.normal(size=(3, 3, 6, 20, 2))
    np.savez(tmp_path / "axes.npz", keypoints=x, layout="utdmhad20", axes="n c t v m")
    np.testing.assert_allclose(io.read(tmp_path / "axes.npz")[1].keypoints, x[1].transpose(3, 1, 2, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"keypoints": np.ones((5, 20, 3))}, "kinect20 or utdmhad20"),
        ({"keypoints": np.ones((5, 17, 3))}, "could be coco17"),
        ({"keypoints": np.ones((5, 21, 3))}, "could be bandai21"),
        ({"keypoints": np.ones((3, 40, 25))}, r"40 joints with 25 coordinates .*with axes 'c t v' .*could be ntu25 or body25"),
        ({"keypoints": np.ones((3, 40, 25)), "layout": "ntu25"}, r"\(3, 40, 25\) are not .*'c t v' would fit"),
        ({"keypoints": np.ones((5, 34, 3))}, "no known layout"),
        ({"keypoints": np.ones((64, 5, 25, 3))}, "64 persons"),
        ({"keypoints": np.ones((8, 3, 30, 25, 2)), "layout": "ntu25"}, r"could be axes='n c t v m'.*; say axes='n m t v c' if"),
        ({"keypoints": np.ones((8, 3, 30, 17, 2))}, r"could be axes='n c t v m'.*; say axes='n m t v c' if"),
        ({"keypoints": np.ones((3, 30, 25, 2)), "layout": "ntu25"}, r"could be axes='c t v m'.*; say axes='m t v c' if"),
        ({"keypoints": np.ones((5, 25, 3)), "layout": "ntu52"}, "ntu25"),
        ({"keypoints": np.ones((5, 25, 3)), "layout": "kinect20"}, "20 joints"),
        ({"keypoints": np.ones((3, 5, 25)), "layout": "ntu25", "axes": "t v c"}, "axes='c t v'"),
        ({"keypoints": np.ones((0, 25, 3))}, "empty"),
        ({"keypoints": np.ones((5, 25, 3)), "scores": np.ones(5)}, "scores"),
        ({"keypoints": np.ones((5, 25, 4)), "layout": "ntu25"}, r"4 coordinates .*scores=x\[\.\.\., 3\], layout='ntu25'"),
        ({"keypoints": np.full((5, 33, 4), 9.0)}, r"4 coordinates .*scores=x\[\.\.\., 3\], layout='mediapipe33'"),
        ({"keypoints": np.ones((5, 25, 3)), "fps": "fast"}, "fps"),
        ({"keypoints": np.ones((5, 25, 3)), "labels": ["a", "b"]}, "labels"),
        ({"keypoints": np.ones((5, 17, 2)), "image_size": 1080}, "image_size"),
        ({"keypoints": np.array(["a"])}, "not numbers"),
        ({"keypoints": np.array([{}, {}], dtype=object)}, "pickle"),
        ({"x_train": np.ones(3)}, "x_train"),
        ({"keypoints": np.ones((5, 25, 3)), "layout": "ntu25", "shapes": np.array([[1, 6]])}, "shapes"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_arrays_that_say_too_little(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ReadError, match=message):
        io.read(tmp_path / "a.npz")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i2"])
def test_mat_files_as_scipy_writes_them(tmp_path: Path, compressed: bool, kind: str) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    values = np.random.default_rng(0).uniform(-9, 9, size=(20, 3, 7)).astype(kind)
    others = {"note": "text", "s": {"a": 1}, "z": 1j, "empty": np.zeros((0, 3)), "small": np.array([1, 2], "u1")}
    scipy_io.savemat(tmp_path / "a2_s1_t1_skeleton.mat", {**others, "d_skel": values}, do_compression=compressed)
    (clip,) = io.read(tmp_path / "a2_s1_t1_skeleton.mat")
    np.testing.assert_allclose(clip.keypoints[0], values.transpose(2, 0, 1), rtol=1e-6)
    assert clip.label == "swipe right"


@needs_shared
def test_layout_map_is_not_taken_for_a_recording(shared: Path) -> None:
    assert json.loads((shared / "data/layout_map.json").read_text())
    assert shared / "data/layout_map.json" not in io.find_files(shared / "data")


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    for folder, there in (("real/walk", "a.npz"), ("recordings/wave", "b.npz")):
        (tmp_path / folder).mkdir(parents=True)
        skelzoo.save_clips(tmp_path / folder / there, make_clip())
    (tmp_path / "recordings/walk").symlink_to(tmp_path / "real/walk")
    (tmp_path / "real/walk/back").symlink_to(tmp_path / "recordings")
    (tmp_path / "recordings/best").symlink_to(tmp_path / "recordings/wave")  # and a folder keeps its own name
    os.mkfifo(tmp_path / "recordings/wave/pipe.json")
    assert [str(p.relative_to(tmp_path)) for p in skelzoo.find_files(tmp_path / "recordings")] == ["recordings/walk/a.npz", "recordings/wave/b.npz"]


@pytest.mark.parametrize("name", ["a" * 300, "folder/" + "a" * 300 + ".npz"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    for function in (skelzoo.read, skelzoo.find_files):
        with pytest.raises(ReadError, match=r"cannot be opened|no such file"):
            function(tmp_path / name)


def test_what_this_user_may_not_look_at_is_refused_and_the_rest_read(tmp_path: Path) -> None:
    """As another user, where this one may look at everything."""
    for name in ("good", "closed", "no_entry"):
        (tmp_path / name).mkdir()
        skelzoo.save_clips(tmp_path / name / "a.npz", make_clip())
    (tmp_path / "good/b.json").write_text("{}")
    (tmp_path / "good/b.json").chmod(0)
    (tmp_path / "closed").chmod(0o300)
    (tmp_path / "no_entry").chmod(0o744)
    tmp_path.chmod(0o755)
    code = """
import os
from skelzoo.inference.files import Refusal, read_files
list(read_files(["good/a.npz"]))  # imports what it takes while it may
os.getuid() or os.setuid(54321)
for item in read_files(["."]):
    print(str(item) if isinstance(item, Refusal) else item.file)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()
    (tmp_path / "closed").chmod(0o755)
    assert [line.split(":")[0] for line in out] == ["closed", "good/a.npz", "good/b.json", "no_entry/a.npz"]
    assert all("ermission" in line for line in out if "good/a.npz" not in line)


def test_copies_of_a_clip_have_its_layout(tmp_path: Path) -> None:
    own = skelzoo.make_layout("mine", {"hip": "hip_center", "neck": "shoulder_center"}, [None, "hip"])
    for clips in ([make_clip(), make_clip(1)], [skelzoo.Clip(np.ones((4, 2, 3)), own), skelzoo.Clip(np.ones((5, 2, 3)), own)]):
        back = [pickle.loads(pickle.dumps(clips[0])), copy.deepcopy(clips[1])]
        assert [c.layout for c in back] == [c.layout for c in clips] and len({c.layout for c in [*back, *clips]}) == 1
        skelzoo.save_clips(tmp_path / "clips.npz", back)
        assert [c.layout.name for c in skelzoo.read(tmp_path / "clips.npz")] == [c.layout.name for c in clips]


@pytest.mark.parametrize("content", [codecs.BOM_UTF8, gzip.compress(b"")], ids=["mark", "gzip"])
def test_files_of_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "S001C001P001R001A001.skeleton").write_bytes(content)
    with pytest.raises(ReadError, match="holds no text"):
        skelzoo.read(tmp_path / "S001C001P001R001A001.skeleton")
