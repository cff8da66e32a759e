"""Content that nobody thought of: a ReadError that names the file, so that the rest of a batch goes on; in no time and without hanging."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skeleton_samples import PERSON, write_bvh, write_of_a_data_set
from tiny import make_clip, write_corpus

import skelzoo
from skelzoo.errors import ClipError, ReadError, SkelzooError
from skelzoo.skeleton.io import table
from skelzoo.skeleton.io.one_by_one import open_reader

pytestmark = pytest.mark.filterwarnings("error")

ROW = [float(i) for i in range(5, 39)]
NO_TEXT = np.array([0x110000], np.uint32).view("<U1").reshape(())
"""A text beyond Unicode, as a changed byte makes one."""


def write_parquet(path: Path, **columns: Any) -> Path:
    pa, pq = pytest.importorskip("pyarrow", reason="pyarrow is not installed"), pytest.importorskip("pyarrow.parquet")
    rows = {"keypoints": [np.arange(1.0, 241)] * 2, "layout": ["kinect20"] * 2, "frames": [4] * 2, "name": ["Rene", "Jose"], **columns}
    pq.write_table(pa.table(rows).replace_schema_metadata(), path, compression="none", use_dictionary=False, write_statistics=False, store_schema=False)
    return path


def test_a_fault_in_a_reader_refuses_its_file_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bool:
        raise AttributeError("no such thing")

    (tmp_path / "a.csv").write_text("a,b\n")
    skelzoo.save_clips(tmp_path / "b.npz", make_clip())
    monkeypatch.setattr(table, "sniff", fails)
    monkeypatch.setattr(table, "cells_of", fails)
    odd, whole = skelzoo.find_files(tmp_path)
    with pytest.raises(ReadError, match=r"a\.csv: is damaged, or of a form that is not known \(AttributeError: no such thing\).*please report it") as caught:
        skelzoo.read(odd)
    assert isinstance(caught.value.__cause__, AttributeError)
    assert len(skelzoo.read(whole)) == 1


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("overflow.npz", {"shapes": np.array([[2**32, 2**32], [1, 5]])}, "do not fit its shapes"),
        ("unnamed.npz", {"layout_table": "{}", "layout": None}, "layout_table cannot be used"),
        ("deep.npz", {"layout_table": "[" * 20000}, "layout_table cannot be used"),
        ("text.npz", {"label": NO_TEXT}, "SystemError"),
        ("layout.npz", {"layout": NO_TEXT}, "SystemError"),
    ],
)
def test_odd_arrays_are_refused_by_name(tmp_path: Path, name: str, arrays: dict[str, Any], message: str) -> None:
    rows = {"keypoints": np.ones((5, 25, 3)), "layout": "ntu25", **arrays}
    np.savez(tmp_path / name, **{key: value for key, value in rows.items() if value is not None})
    with pytest.raises(ReadError, match=rf"{name}: .*{message}"):
        skelzoo.read(tmp_path / name)


def test_shapes_of_any_whole_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.ones((10, 25, 3)), layout="ntu25", shapes=np.array([[1, 3], [1, 7]], np.uint64))
    assert [clip.frames for clip in skelzoo.read(tmp_path / "a.npz")] == [3, 7]
    reader = open_reader(tmp_path / "a.npz")
    assert reader is not None and [clip.frames for clip in reader.clips(0, 2)] == [3, 7]  # type: ignore[union-attr]
    reader.close()


@pytest.mark.parametrize(
    ("person", "message"),
    [
        ({"image_id": "1.jpg", "keypoints": np.reshape(ROW, (17, 2, 1)).tolist(), "keypoint_scores": [1] * 17}, "the joints of a person are"),
        ({"image_id": "9" * 4301, "keypoints": [*ROW, *[1.0] * 17]}, "ValueError"),
    ],
)
def test_odd_poses_are_refused_by_name(tmp_path: Path, person: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps([person]))
    with pytest.raises(ReadError, match=rf"a\.json: .*{message}"):
        skelzoo.read(tmp_path / "a.json")


def test_rows_of_deeplabcut_in_another_order(tmp_path: Path) -> None:
    joints = [joint for joint in skelzoo.get_layout("coco17").joints for _ in "xy"]
    rows = {"scorer": ["a"] * 34, "coords": list("xy") * 17, "bodyparts": joints, "0": map(str, ROW), "1": map(str, ROW)}
    (tmp_path / "a.csv").write_text("\n".join(",".join([key, *row]) for key, row in rows.items()))
    assert skelzoo.find_files(tmp_path) == [tmp_path / "a.csv"]
    (clip,) = skelzoo.read(tmp_path / "a.csv")
    assert clip.keypoints[0, 1].ravel().tolist() == ROW


@pytest.mark.needs_shared
def test_cmu_without_a_hand_is_another_rig(shared: Path, tmp_path: Path) -> None:
    text = (shared / "data/raw/cmu_bvh/02_03.bvh").read_text()
    (tmp_path / "a.bvh").write_text(re.sub(r"JOINT LeftHand\b", "JOINT LeftPalm", text))
    (clip,) = skelzoo.read(tmp_path / "a.bvh")
    assert clip.layout.name.startswith("rig") and "LeftPalm" in clip.layout.joints


def test_long_names_of_a_pair(tmp_path: Path) -> None:
    name = f"m01_{'x' * 240}_angles"[-251:] + ".txt"
    (tmp_path / name).write_text(",".join(["1"] * 66) + "\n")
    assert skelzoo.find_files(tmp_path) == [tmp_path / name]
    with pytest.raises(ReadError, match="positions file is missing"):
        skelzoo.read(tmp_path / name)


def test_parquet_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes().replace(b"Rene", b"Ren\xe9"))
    with pytest.raises(ReadError, match=r"holds the text b'Ren\\xe9', which is not UTF-8"):
        skelzoo.read(path)


@pytest.mark.parametrize("column", ["keypoints", "scores"])
def test_parquet_of_structs(tmp_path: Path, column: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", **{column: [[{"x": 1.0}]] * 2})
    with pytest.raises(ReadError, match=f"its column {column} is list<.*struct<x: double>>, not lists of numbers"):
        skelzoo.read(path)


def test_no_changed_byte_makes_clips_of_parquet_vanish(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    data, counts = path.read_bytes(), set()
    for at in range(4, 30):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        for read in (skelzoo.read, one_by_one):
            try:
                counts.add(len(read(path)))
            except SkelzooError as error:
                assert str(path) in str(error)
    for at in range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data) - 8):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        reader = open_reader(path)
        if reader is not None:
            counts.add(reader.count)
            reader.close()
    assert counts == {2}


def one_by_one(path: Path) -> list[Any]:
    reader = open_reader(path)
    if reader is None:
        return skelzoo.read(path)
    try:
        return list(reader.clips(0, reader.count))
    finally:
        reader.close()


def test_halves_of_characters_are_replaced_and_bytes_of_file_names_kept(tmp_path: Path) -> None:
    """So that results can be written."""
    poses = [{"frame_index": 1, "skeleton": [{"pose": [0.1 + i / 50 for i in range(36)], "score": [1] * 18}]}]
    (tmp_path / "a.json").write_text(json.dumps({"data": poses, "label": "jump \ud83d"}))
    assert skelzoo.read(tmp_path / "a.json")[0].label == "jump \ufffd"
    keypoints = np.ones((2, 1, 4, 25, 3))
    keypoints[1, 0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "b.npz", keypoints=keypoints, layout="ntu25", names=["Ren\udce9\udc00", "\udfff"])
    clip, bad = one_by_one(tmp_path / "b.npz")
    assert [clip.name, bad.name] == ["Ren\udce9\ufffd", "\ufffd"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "-" * 16000 + "\nhello\n"),
        ("a.csv", "a" + " " * 16000 + "b\nhello\n"),
        ("b.txt", "\n" * 30000 + "hello\n"),
        ("c.txt", "0 " * 55 + "1" * 30000 + "x\n"),
        ("a.json", "{}" + "\n" * 30000 + "x"),
        ("b.json", json.dumps([{"image_id": "1" * 16000 + "a1.jpg", "keypoints": [*ROW, *[1.0] * 17]}])),
    ],
)
def test_hostile_repetitions_take_no_time(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    start = time.process_time()
    skelzoo.find_files(tmp_path / name)
    with contextlib.suppress(SkelzooError):
        skelzoo.read(tmp_path / name)
    assert time.process_time() - start < 0.7


def wrapped(text: str, *lengths: int) -> str:
    """The numbers of a motion of 3 frames in lines of these lengths."""
    head, frames = text.split("Frame Time: 0.0333333\n")
    numbers = iter(frames.split())
    return head + "Frame Time: 0.0333333\n" + "\n".join(" ".join(itertools.islice(numbers, length)) for length in lengths) + "\n"


def test_bvh_rows_of_unequal_length_are_refused_where_a_line_is_a_frame(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", {j: j for j in PERSON})
    text, right = path.read_text(), skelzoo.read(path)[0].keypoints
    for lengths in ((216,), (36,) * 6, (50,) * 4 + (16,), (70, 2, 72, 72)):
        path.write_text(wrapped(text, *lengths))
        assert np.array_equal(skelzoo.read(path)[0].keypoints, right)
    for lengths, first in (((71, 73, 72), "1 has 71"), ((72, 73, 71), "2 has 73")):
        path.write_text(wrapped(text, *lengths))
        with pytest.raises(ReadError, match=f"frame {first} numbers, but the joints have 72 channels"):
            skelzoo.read(path)


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "v_000000000001_keypoints.json"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        for function in (skelzoo.read, skelzoo.find_files):
            with pytest.raises(ReadError, match=r"is neither a file nor a folder\. Save what comes out of it to a file"):
                function(path)
    for function in (skelzoo.read, skelzoo.find_files):
        with pytest.raises(ReadError, match=r"is a folder|holds no readable file"):
            function(tmp_path)
    (tmp_path / "f").mkdir()
    os.mkfifo(tmp_path / "f/store.json")
    skelzoo.save_clips(tmp_path / "f/a.npz", make_clip())
    assert skelzoo.find_files(tmp_path) == [tmp_path / "f/a.npz"]


@pytest.mark.parametrize("large", [1e300, np.inf, -1e39])
@pytest.mark.parametrize("at", [0, 2])
def test_infinite_numbers_are_refused_without_warnings_of_numpy(tmp_path: Path, large: float, at: int) -> None:
    people = np.concatenate([np.reshape(ROW, (17, 2)), np.ones((17, 1))], axis=1) + np.array([[[0, 0, 0]], [[500, 0, 0]]])
    people[0, 1, at] = large
    rows = [{"image_id": f"{t}.jpg", "keypoints": person.ravel().tolist()} for t in range(2) for person in people]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(ClipError, match=r"a: .*infinite"):
        skelzoo.read(tmp_path / "a.json")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("name", ["stgcn.npy", "ctrgcn.npz"])
def test_what_is_not_finite_in_files_of_data_sets_gives_no_warnings_of_numpy(tmp_path: Path, name: str, value: float) -> None:
    write_of_a_data_set(tmp_path / name)
    if name == "stgcn.npy":
        rows = np.load(tmp_path / name).astype(np.float64)
        rows[0, 0, 0, 0, 0] = value
        np.save(tmp_path / name, rows)
    else:
        arrays = {key: rows.astype(np.float64) for key, rows in np.load(tmp_path / name).items()}
        arrays["x_train"][0, 0, 0] = value
        np.savez(tmp_path / name, **arrays)
    with pytest.raises(SkelzooError, match=r"NaN or infinite|not their coordinates in metres"):
        skelzoo.read(tmp_path / name)


@pytest.mark.parametrize(("key", "value"), [("clip_origin", np.full((1, 3), 1e300)), ("scale", np.float64(1e-300)), ("fps", np.float32(1e-4))])
def test_corpus_files_of_absurd_numbers(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(SkelzooError):
        skelzoo.read(write_corpus(tmp_path / "a.npz", [make_clip()], **{key: value}))


def test_errors_name_the_file_beside_clips_with_names_of_their_own(tmp_path: Path) -> None:
    keypoints = np.ones((2, 1, 4, 25, 3))
    keypoints[1, 0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", keypoints=keypoints, layout="ntu25", names=["walk", "run"])
    np.savez(tmp_path / "b.npz", keypoints=keypoints, layout="ntu25")
    for name, message in (("a.npz", f"^{re.escape(str(tmp_path))}/a.npz: run: 1 joint"), ("b.npz", r"^b\[1\]: 1 joint")):
        with pytest.raises(ClipError, match=message):
            skelzoo.read(tmp_path / name)


@pytest.mark.parametrize("cell", ["1_000", "\uff13", "\uff13.5"])
def test_cells_that_only_python_takes_for_numbers(tmp_path: Path, cell: str) -> None:
    joints = skelzoo.get_layout("coco17").joints
    (tmp_path / "a.csv").write_text(",".join(f"{j}_{axis}" for j in joints for axis in "xy") + "\n" + ",".join([cell, *map(str, ROW[1:])]) + "\n")
    with pytest.raises(ReadError, match=f"line 2, column 'nose_x': '{cell}' is not a usable number"):
        skelzoo.read(tmp_path / "a.csv")


@pytest.mark.parametrize(("packed", "other", "refused"), [
    (zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, False),
])  # fmt: skip
def test_arrays_that_would_unpack_out_of_all_proportion_are_refused_before(tmp_path: Path, packed: int, other: int, refused: bool) -> None:
    """Not those that deflate packs, nor keys that are not used."""
    joints = np.zeros((2, 9000, 20, 3), np.float32)
    joints[:, :4] = 1
    arrays = {"keypoints": joints, "axes": np.array("n t v c"), "layout": np.array("kinect20"), "unused": joints}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key, value in arrays.items():
            info = zipfile.ZipInfo(f"{key}.npy")
            info.compress_type = packed if key == "keypoints" else other if key == "unused" else zipfile.ZIP_STORED
            with archive.open(info, "w") as file:
                np.save(file, value)
    assert open_reader(tmp_path / "a.npz") is None
    if not refused:
        assert [clip.frames for clip in skelzoo.read(tmp_path / "a.npz")] == [9000] * 2
        return
    with pytest.raises(ReadError, match=r"'keypoints' in it would unpack to 4.32 MB.*save the arrays anew with numpy.savez_compressed"):
        skelzoo.read(tmp_path / "a.npz")
