"""Content that nobody thought of: a ReadError that names the file, so that the rest of a batch goes on; in no time and without hanging."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_clip

import skelzoo
from skelzoo.errors import ReadError, SkelzooError
from skelzoo.skeleton.io import table
from skelzoo.skeleton.io.stream import open_stream

pytestmark = pytest.mark.filterwarnings("error")

ROW = [float(i) for i in range(5, 39)]
NO_TEXT = np.array([0x110000], np.uint32).view("<U1").reshape(())
"""A text beyond Unicode, as a changed byte makes one."""


def write_parquet(path: Path, **columns: Any) -> Path:
    pa, pq = pytest.importorskip("pyarrow", reason="pyarrow is not installed"), pytest.importorskip("pyarrow.parquet")
    rows = {"keypoints": [np.arange(1.0, 241)] * 2, "layout": ["kinect20"] * 2, "frames": [4] * 2, "name": ["Rene", "Jose"], **columns}
    pq.write_table(pa.table(rows), path, compression="none", use_dictionary=False, write_statistics=False)
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
    stream = open_stream(tmp_path / "a.npz")
    assert stream is not None and [clip.frames for clip in stream.clips(0, 2)] == [3, 7]  # type: ignore[union-attr]
    stream.close()


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
        for read in (skelzoo.read, streamed):
            try:
                counts.add(len(read(path)))
            except SkelzooError as error:
                assert str(path) in str(error)
    assert counts == {2}


def streamed(path: Path) -> list[Any]:
    stream = open_stream(path)
    if stream is None:
        return skelzoo.read(path)
    try:
        return list(stream.clips(0, stream.count))
    finally:
        stream.close()


def test_halves_of_characters_are_replaced_and_bytes_of_file_names_kept(tmp_path: Path) -> None:
    """So that results can be written."""
    poses = [{"frame_index": 1, "skeleton": [{"pose": [0.1 + i / 50 for i in range(36)], "score": [1] * 18}]}]
    (tmp_path / "a.json").write_text(json.dumps({"data": poses, "label": "jump \ud83d"}))
    assert skelzoo.read(tmp_path / "a.json")[0].label == "jump \ufffd"
    keypoints = np.ones((2, 1, 4, 25, 3))
    keypoints[1, 0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "b.npz", keypoints=keypoints, layout="ntu25", names=["Ren\udce9\udc00", "\udfff"])
    clip, bad = streamed(tmp_path / "b.npz")
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
