"""Whatever is wrong with a file: a SkelzooError that names it, never a traceback out of numpy, zlib or scipy."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from skeleton_samples import PERSON, ntu_frames, write_bvh, write_ntu, write_of_a_data_set
from tiny import make_clip

from skelzoo.errors import ClipError, ReadError, SkelzooError
from skelzoo.skeleton import io
from skelzoo.skeleton.io import array
from skelzoo.skeleton.io.files import read_head
from skelzoo.skeleton.layouts import get_layout

needs_shared = pytest.mark.needs_shared
pytestmark = pytest.mark.filterwarnings("error", "ignore:.*that name no layout are read as")

AMC = "HDM_mm_rotateArmsBothBackward1Reps_013_120.amc"
# how the sample is called here -> files to copy (the first is damaged), the file to read
REAL = {
    "bandai.bvh": (["bandai_bvh/dataset-1_walk-back_normal_001.bvh"], None),
    "daz.bvh": (["broken/standard.bvh"], None),
    "cmu.amc": ([f"hdm05/{AMC}", "hdm05/HDM_mm.asf"], None),
    "cmu.asf": (["hdm05/HDM_mm.asf", f"hdm05/{AMC}"], AMC),
    "ucla.json": (["nw_ucla/a01_s10_e00_v03.json"], None),
    "utd.mat": (["utd_mhad/a1_s1_t1_skeleton.mat"], None),
    "prmd.txt.gz": (["uiprmd/m01_s01_e01_angles.txt.gz", "uiprmd/m01_s01_e01_positions.txt.gz"], None),
}
MADE = (
    "ntu.skeleton", "rig.bvh", "plain.mat", "prmd.txt", "clips.npz", "bare.npy", "corpus.npz", "joints.csv", "joints.tsv.gz", "poses.json", "kinetics.json", "azure.json",
    "stgcn.npy", "ctrgcn.npz", "clips.parquet",
)  # fmt: skip
LINES = ("cmu.amc", "cmu.asf", "prmd.txt", "joints.csv")
"""Formats that end wherever a frame (or a last section that is not needed) ends: cut there they are whole files."""


def sample(kind: str, shared: Path, folder: Path) -> tuple[Path, Path]:
    """(file to damage, file to read)"""
    if kind in REAL:
        files, read = REAL[kind]
        for file in files:
            shutil.copyfile(shared / "data/raw" / file, folder / Path(file).name)
        damaged = folder / Path(files[0]).name
        return damaged, folder / read if read else damaged
    path = folder / kind
    if kind == "ntu.skeleton":
        write_ntu(path, ntu_frames())
    elif kind == "rig.bvh":
        write_bvh(path, {j: j for j in PERSON})
    elif kind == "prmd.txt":
        path = folder / "m01_s01_e01_angles.txt"
        rng = np.random.default_rng(0)
        for name in (path, folder / "m01_s01_e01_positions.txt"):
            np.savetxt(name, rng.normal(size=(8, 66)), fmt="%.6f", delimiter=",")
    elif kind == "clips.npz":
        clips = io.read(write_ntu(folder / "ntu.skeleton", ntu_frames()))
        array.save(path, [clips[0], clips[0].replace(keypoints=clips[0].keypoints[:1], scores=clips[0].scores[:1])])
    elif kind == "plain.mat":  # not compressed, so that damage reaches the parser
        pytest.importorskip("scipy.io").savemat(path, {"d_skel": np.random.default_rng(0).normal(size=(20, 3, 5))})
    elif kind == "bare.npy":
        np.save(path, np.random.default_rng(0).normal(size=(2, 6, 25, 3)))
    elif kind.startswith("joints"):
        split = "," if kind.endswith(".csv") else "\t"
        header = split.join(f"{joint}_{axis}" for joint in get_layout("kinect20").joints for axis in "xyz")
        np.savetxt(path, np.random.default_rng(0).normal(size=(8, 60)), fmt="%.6f", delimiter=split, header=header, comments="")
    elif kind == "corpus.npz":
        write_corpus(path)
    else:
        write_of_a_data_set(path)
    return path, path


def write_corpus(path: Path, **changes: object) -> Path:
    names = "HipCenter Spine ShoulderCenter Head LeftShoulder LeftElbow LeftWrist LeftHand RightShoulder RightElbow RightWrist RightHand LeftHip LeftKnee "
    joints = np.array((names + "LeftAnkle LeftFoot RightHip RightKnee RightAnkle RightFoot").split())
    steps = np.random.default_rng(0).integers(-9, 9, size=(12, 20, 3)).astype(np.int16)
    arrays: dict[str, object] = {
        "joints_delta": steps, "scale": np.float32(0.001), "clip_origin": np.zeros((2, 3), np.float32), "offsets": np.array([0, 5, 12]),
        "label": np.array([0, -1], np.int32), "label_names": np.array(["walk"]), "clip_name": np.array(["a", "b"]), "joint_names": joints,
        "fps": np.float32(30),
    }  # fmt: skip
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


def marked(kinds: tuple[str, ...]) -> list[object]:
    return [pytest.param(k, marks=needs_shared) if k in REAL else k for k in kinds]


@needs_shared
def test_every_format_has_a_sample(shared: Path, tmp_path: Path) -> None:
    """So that the tests below cut and flip it."""
    found = {next(f.title for f in io.FORMATS if f.sniff(read_head(sample(kind, shared, tmp_path)[0]))) for kind in (*REAL, *MADE)}
    assert [f.title for f in io.FORMATS if f.title not in found] == [], "give these a sample in REAL or MADE"


def test_files_of_every_suffix_are_found_in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also twofold ones, of a format that is new."""
    new = io.Format("joints text", (".joints", ".joints.gz"), lambda head: head.startswith(b"# joints"), lambda path: [make_clip().replace(name=path.name)])
    monkeypatch.setattr(io, "FORMATS", (*io.FORMATS, new))
    monkeypatch.setattr(io, "READABLE", (*io.READABLE, *new.suffixes))
    (tmp_path / "a.joints").write_bytes(b"# joints")
    (tmp_path / "b.JOINTS.gz").write_bytes(gzip.compress(b"# joints"))
    files = io.find_files(tmp_path)
    assert [clip.name for file in files for clip in io.read(file)] == ["a.joints", "b.JOINTS.gz"] and io.passed_over([tmp_path]) == []


def outcome(path: Path) -> list[object] | SkelzooError:
    try:
        return list(io.read(path))
    except SkelzooError as error:
        assert str(path.stem.split("_")[0]) in str(error), "the message names the file"
        return error


@pytest.mark.parametrize("kind", marked((*REAL, *MADE)))
def test_every_prefix_is_refused_or_whole(kind: str, shared: Path, tmp_path: Path) -> None:
    damaged, read = sample(kind, shared, tmp_path)
    data = damaged.read_bytes()
    whole = outcome(read)
    assert isinstance(whole, list) and whole
    points = {0, 1, 7, *(int(len(data) * share) for share in (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97))}
    for size in sorted(points):
        damaged.write_bytes(data[:size])
        result = outcome(read)
        assert isinstance(result, SkelzooError) or (kind in LINES and result), f"cut to {size} of {len(data)} bytes gives {result}"


@pytest.mark.parametrize("kind", marked((*REAL, *MADE)))
def test_flipped_bytes_never_escape(kind: str, shared: Path, tmp_path: Path) -> None:
    damaged, read = sample(kind, shared, tmp_path)
    data = damaged.read_bytes()
    rng = random.Random(kind)
    for _ in range(20):
        flipped = bytearray(data)
        reach = rng.choice([len(data), min(len(data), 1500)])
        for _ in range(rng.choice([1, 1, 2, 8])):
            flipped[rng.randrange(reach)] = rng.choice([rng.randrange(256), rng.choice(b"0123456789-.:{} \n\te")])
        damaged.write_bytes(flipped)
        assert outcome(read)


@pytest.mark.parametrize("suffix", io.READABLE)
def test_garbage_and_emptiness_under_every_suffix(suffix: str, tmp_path: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for name, data in {"empty": b"", "garbage": random.Random(0).randbytes(5000), "words": b"hello\nworld\n", "zeros": bytes(300)}.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(data)
        assert isinstance(outcome(path), ReadError)


def test_empty_files_of_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    names = [f"a{suffix}" for suffix in set(io.READABLE) if not suffix.startswith(".txt")]
    for name in (*names, "done", "log.txt"):
        (tmp_path / name).touch()
    assert sorted(path.name for path in io.find_files(tmp_path)) == sorted(names)
    assert [path.name for path in io.passed_over([tmp_path])] == ["done", "log.txt"]


@pytest.mark.parametrize("suffix", io.READABLE)
@pytest.mark.parametrize("kind", marked(("daz.bvh", "cmu.amc", "ucla.json", "utd.mat", "prmd.txt", "ntu.skeleton", "bare.npy", "clips.npz", "joints.csv")))
def test_renamed_files_are_told_by_content(kind: str, suffix: str, shared: Path, tmp_path: Path) -> None:
    _, path = sample(kind, shared, tmp_path)
    if kind.endswith(suffix) or (kind == "joints.csv" and suffix in io.TABLES):
        return
    renamed = path.rename(tmp_path / f"renamed{suffix}")
    error = outcome(renamed)
    assert isinstance(error, ReadError)
    if (kind, suffix) != ("prmd.txt", ".txt.gz"):
        assert f"is named {suffix}, but its content looks like" in str(error)


@needs_shared
def test_content_without_a_known_suffix_is_read(shared: Path, tmp_path: Path) -> None:
    shutil.copy(shared / "data/raw/broken/standard.bvh", tmp_path / "take.motion")
    assert io.read(tmp_path / "take.motion")[0].frames == 3


@needs_shared
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("broken/truncated.bvh", "promises 55 frames of 132 channels, but 35 frames"),
        ("broken/a13_s09_e02_skeleton3D.txt", r"MSR-Action3D text file.*not read.*numpy\.loadtxt"),
        ("broken/a13_s08_e02_skeleton_proj.txt", "MSRDailyActivity3D text file.*not supported.*Read are .bvh.*numpy"),
        ("hdm05/HDM_mm.asf", "without motion.*Give the .amc"),
        ("README.md", "no known format.*Read are .bvh"),
        ("../layout_map.json", "without the key 'skeletons'"),
        ("..", "is a folder"),
        ("nothing.bvh", "no such file"),
    ],
)
def test_broken_files_at_hand(shared: Path, file: str, message: str) -> None:
    with pytest.raises(ReadError, match=message) as caught:
        io.read(shared / "data/raw" / file)
    assert Path(caught.value.path).name == Path(file).name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Frames: 3", "Frames: 2", "promises 2 frames of 72 channels, but 3 frames"),
        ("Frames: 3", "Frames: 0", "no motion"),
        ("Frames: 3", "Frames: many", "'many'"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "frame time"),
        ("CHANNELS 3", "CHANNELS 4", "states 4 channels, but names 3"),
        ("Xrotation", "Wrotation", "unknown channel 'Wrotation'"),
        ("JOINT l_hip", "JOINT r_hip", "two joints named 'r_hip'"),
        ("ROOT hips", "JOINT hips", "outside the ROOT"),
        ("MOTION", "", "no MOTION"),
        ("0 0 0", "0 x 0", "'x'"),
        ("0 0 0", "0 nan 0", "'nan'"),
        ("0 0 0", "0 1e30 0", "'1e30'"),
        ("0 0 0", "0 1_5 0", "motion data is '1_5', not a usable number"),
        ("0 0 0", "0 \u0661 0", "motion data is '\u0661', not a usable number"),
        ("Frames: 3", "Frames: 0_3", "'0_3'"),
        ("OFFSET 0 1 0", "OFFSET 0 1", "has 2 numbers"),
        ("OFFSET 0 1 0", "", "has no OFFSET"),
        ("0 0 0 0 0 0", "0 0 0 0 0", "frame 1 has 71 numbers"),
    ],
)
def test_bvh_says_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_bvh(tmp_path / "a.bvh", {j: j for j in PERSON})
    head, mark, motion = path.read_text().partition("MOTION")
    text = (head + mark).replace(old, new, 1) + motion if old in head + mark and not old.startswith("0 ") else head + mark + motion.replace(old, new, 1)
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        io.read(path)


@needs_shared
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"lowerback 2", b"lowerbeck 2", "'lowerbeck'.*not there"),
        (b"\n3\n", b"\n4\n", "frame 4 follows frame 2"),
        (b"\n2\n", b"\n", "exactly once"),
        (b"rtoes -", b"rtoes 1 -", "'rtoes' 2 numbers"),
        (b"rtoes -", b"rtoes x", "'x"),
        (b"rtoes -", b"rtoes -1_", "motion of 'rtoes' is '-1_"),
    ],
)
def test_amc_says_what_is_wrong(shared: Path, tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    damaged, _ = sample("cmu.amc", shared, tmp_path)
    data = damaged.read_bytes()
    assert old in data
    damaged.write_bytes(data.replace(old, new, 1))
    with pytest.raises(ReadError, match=message):
        io.read(damaged)


def test_uiprmd_pairs_that_do_not_fit(tmp_path: Path) -> None:
    path, _ = sample("prmd.txt", tmp_path, tmp_path)
    partner = tmp_path / "m01_s01_e01_positions.txt"
    lines = partner.read_text().splitlines()
    partner.write_text("\n".join(lines[:-1]))
    with pytest.raises(ReadError, match=r"8 frames, but its partner m01_s01_e01_positions\.txt has 7"):
        io.read(path)
    partner.write_text("\n".join(",".join(["1"] * 117) for _ in lines))
    with pytest.raises(ReadError, match=r"117.*Kinect"):
        io.read(path)
    partner.unlink()
    with pytest.raises(ReadError, match="positions file is missing"):
        io.read(path)
    with pytest.raises(ReadError, match="neither _angles nor _positions"):
        io.read(path.rename(tmp_path / "m01.txt"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("2\n0\n0\n", ReadError, "nobody was tracked in any of its 2 frames"),
        ("0\n", ReadError, "frame count is 0"),
        ("3\n0\n0\n", ReadError, "promises 3 frames, but 2 were found"),
        ("1\n0\n0\n", ReadError, "goes on after"),
    ],
)
def test_ntu_without_bodies(tmp_path: Path, text: str, error: type[SkelzooError], message: str) -> None:
    path = tmp_path / "a.skeleton"
    path.write_text(text)
    with pytest.raises(error, match=message):
        io.read(path)


def test_ntu_says_what_is_wrong(tmp_path: Path) -> None:
    path = write_ntu(tmp_path / "a.skeleton", ntu_frames())
    text = path.read_text()
    changes = [("\n25\n", "\n24\n", "promises 24 joints"), (" 2\n", "\n", "values"), ("931102", "931101", "two bodies"), (" 2\n2", " 7\n2", "state")]
    for old, new, message in changes:
        path.write_text(text.replace(old, new))
        with pytest.raises(ReadError, match=message):
            io.read(path)
    with pytest.raises(ClipError, match=r"zeros.*nobody was tracked"):
        io.read(write_ntu(tmp_path / "zeros.skeleton", [{"1": np.zeros((25, 3))}]))


def test_nan_and_shapes_in_json(tmp_path: Path) -> None:
    good = np.ones((2, 20, 3)).tolist()
    path = tmp_path / "a01_s01_e00_v01.json"
    irregular = "no regular table"
    for value, message in (([], "shape"), (good[0], "shape"), ([good[0], good[1][:-1]], irregular), ({"a": 1}, irregular), ("x", irregular)):
        path.write_text(json.dumps({"skeletons": value}))
        with pytest.raises(ReadError, match=message):
            io.read(path)
    good[1][3][2] = float("nan")
    path.write_text(json.dumps({"skeletons": good}))
    with pytest.raises(ClipError, match=r"a01_s01_e00_v01: 1 joint positions are NaN.*frame 1, joint 'Head'"):
        io.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": None}, "lacks the keys scale. The file is damaged or of another schema; copy it again, or build it with `skelzoo corpus build`"),
        ({"joints_delta": np.zeros((12, 20, 3))}, "not int16"),
        ({"joints_delta": np.ones((12, 2, 20, 3), np.int16)}, "persons is not one number from 1 to 2 per clip"),
        ({"joints_delta": np.ones((12, 2, 20, 3), np.int16), "persons": np.array([1, 3])}, "persons is not one number from 1 to 2 per clip"),
        ({"joints_delta": np.ones((12, 20, 2), np.int16)}, "clip_origin is not 2 numbers"),
        ({"joints_delta": np.ones((12, 20, 2), np.int16), "clip_origin": np.zeros((2, 2), np.float32), "scores": np.ones((12, 3))}, "not one per joint"),
        ({"offsets": np.array([0, 5])}, "offsets for 2 clips"),
        ({"offsets": np.array([0, 12, 5])}, "do not cut"),
        ({"label": np.array([0, 1])}, "label_names"),
        ({"label": np.array([0])}, "one value per clip"),
        ({"fps": np.float32(0)}, "positive"),
        ({"split": np.array([0.5, 1.0])}, "split"),
        ({"joint_names": np.array([str(i) for i in range(20)])}, "no layout"),
        ({"label": np.array([{}, {}], dtype=object)}, "pickle"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_corpus_says_what_is_wrong(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ReadError, match=message):
        io.read(write_corpus(tmp_path / "a.npz", **changes))


def test_foreign_files(tmp_path: Path) -> None:
    for name, data, message in (
        ("a.pkl", pickle.dumps({"a": 1}), "pickle"),
        ("a.npy", pickle.dumps(np.ones(3)), "pickle"),
        ("a.mat", b"\x89HDF\r\n\x1a\n" + bytes(99), "v7.3"),
        ("a.bvh.gz", gzip.compress(b"HIERARCHY\nROOT a\n"), "gunzip"),
        ("a.npz", b"PK\x03\x04" + bytes(100), "cut off, damaged"),
        ("a.txt", b"1 2 3 4 5 6\n" * 9, "text of no known format"),
        ("b.txt", b"0 " * 66, "looks like a UI-PRMD file, but its name"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ReadError, match=message):
            io.read(path)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives_of_recordings_are_to_be_unpacked(tmp_path: Path, kind: str) -> None:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings/a.bvh").write_text("HIERARCHY")
    archive = shutil.make_archive(str(tmp_path / "clips"), kind, tmp_path, "recordings")
    with pytest.raises(ReadError, match=r"archive.*Unpack it first, and give the folder"):
        io.read(archive)


@pytest.mark.parametrize(("name", "inside"), [("a.xlsx", "xl/workbook.xml"), ("a.ods", "content.xml"), ("a.xls", None), ("a.csv", "xl/workbook.xml")])
def test_spreadsheets_are_to_be_saved_as_csv(tmp_path: Path, name: str, inside: str | None) -> None:
    if inside is None:
        (tmp_path / name).write_bytes(bytes.fromhex("d0cf11e0a1b11ae1"))
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as workbook:
            workbook.writestr("[Content_Types].xml", "<Types/>")
            workbook.writestr(inside, "<workbook/>")
    with pytest.raises(ReadError, match=r"looks like a spreadsheet, which is not read\. Save its sheet as CSV"):
        io.read(tmp_path / name)


def test_mat_without_skeleton(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "a1_s1_t1_inertial.mat", {"d_iner": np.ones((9, 6))})
    with pytest.raises(ReadError, match="no variable 'd_skel'; it has d_iner"):
        io.read(tmp_path / "a1_s1_t1_inertial.mat")
    for value in (np.ones((25, 3, 9)), np.ones((20, 3, 0)), "text", {"a": 1}, np.full((20, 3, 2), 1j)):
        scipy_io.savemat(tmp_path / "b.mat", {"d_skel": value})
        with pytest.raises(ReadError, match="must be numbers of shape"):
            io.read(tmp_path / "b.mat")
