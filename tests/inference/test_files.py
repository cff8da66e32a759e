"""Many files to clips: what cannot be used is named, and everything else comes through."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny import CONTRACT, make_clip

import skelzoo
from skelzoo.errors import ClipError, ReadError
from skelzoo.inference.files import FileClip, PreparedClip, Refusal, prepare_items, read_files
from skelzoo.skeleton.procedural import make


@pytest.mark.parametrize("kind", ["array", "parquet"])
def test_one_bad_clip_of_a_file_is_left_out_alone(tmp_path: Path, kind: str) -> None:
    x = np.stack([make_clip(i).keypoints for i in range(5)])
    x[3, 0, 5, 2] = np.nan
    if kind == "array":
        np.savez(tmp_path / "clips.npz", keypoints=x, layout="kinect20")
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rows = {"keypoints": [c.ravel() for c in x], "layout": ["kinect20"] * 5, "frames": [x.shape[2]] * 5}
        pq.write_table(pa.table(rows), tmp_path / "clips.parquet")
    items = list(read_files([str(tmp_path)]))
    assert [item.clip.name if isinstance(item, FileClip) else None for item in items] == [None if i == 3 else f"clips[{i}]" for i in range(5)]
    assert isinstance(items[3], Refusal) and items[3].clip == "clips[3]" and "NaN" in str(items[3])


def test_a_result_among_the_recordings_is_no_recording(tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    np.savez(tmp_path / "vectors.npz", embeddings=np.zeros((1, 4)))
    (item,) = read_files([str(tmp_path)], leave_out=tmp_path / "vectors.npz")
    assert isinstance(item, FileClip) and len(list(read_files([str(tmp_path)]))) == 2
    (refused,) = read_files([str(tmp_path / "a.npz")], leave_out=tmp_path / "a.npz")
    assert "is where the result goes" in str(refused)


def test_a_refusal_names_its_file_and_its_clip_once() -> None:
    assert str(Refusal("a.npz", ClipError("few: 1 frame(s)\nGive more."), "few")) == "a.npz: few: 1 frame(s); Give more."
    assert str(Refusal("a.npz", ClipError("too few joints"), "few")) == "a.npz: few: too few joints"
    assert str(Refusal("a.npz", ReadError("a.npz", "is damaged", "Get it again."))).count("a.npz") == 1


def test_windows_of_a_recording_are_of_the_same_persons() -> None:
    first, second = (make(name, frames=60).keypoints[0].copy() for name in ("walk", "kick"))
    first[20:], second[:20] = first[20], second[20]
    clip, contract = make("walk", frames=60).replace(keypoints=np.stack([first, second]), first=7), dataclasses.replace(CONTRACT, persons=1)
    apart = [skelzoo.select_persons(window, 1).keypoints[0] for window in skelzoo.windows(clip, 20)]
    assert (apart[0] == first[:20]).all() and (apart[1] == second[20:40]).all()
    made = list(prepare_items([FileClip(clip, "two.npz")], contract, select_persons=True, window=20))
    for item, start in zip(made, (0, 20, 40), strict=True):
        assert isinstance(item, PreparedClip) and item.id.name == f"{clip.name}[{7 + start}:{27 + start}]"
        assert (item.id.start, item.id.stop_s) == (7 + start, round((27 + start) / 30, 4)), "of the recording, of which the first 7 frames were left out"
        np.testing.assert_array_equal(item.source.clip.keypoints[0], second[start : start + 20])
        np.testing.assert_array_equal(item.array, skelzoo.prepare(item.source.clip, contract))
