"""Readers of one clip at a time give what ``read`` gives, from any clip on, and go on past clips that cannot be used."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_clip, write_corpus

import skelzoo
from skelzoo import Clip
from skelzoo.errors import ClipError, ReadError
from skelzoo.skeleton.io.one_by_one import BadClip, open_reader

CLIPS = [make_clip(s, frames=5 + s) for s in range(7)]
EQUAL = np.stack([make_clip(s, frames=6, persons=2).keypoints for s in range(7)])


def save(kind: str, path: Path) -> Path:
    if kind == "clips":
        names = dict(zip(CLIPS[0].layout.joints, CLIPS[0].layout.joints, strict=True))
        layout = skelzoo.make_layout("mine", names, [None] * 20, strict=False)
        scored = [Clip(c.keypoints, layout, fps=20 + i, scores=np.full(c.keypoints.shape[:3], 0.5), label=f"l{i}", name=f"n{i}") for i, c in enumerate(CLIPS)]
        skelzoo.save_clips(path, scored)
    elif kind == "equal":
        np.savez(path, keypoints=EQUAL, layout="kinect20", fps=30.0)
    elif kind == "axes":
        np.savez(path, keypoints=EQUAL[:, 0].transpose(0, 3, 1, 2), axes="n c t v", layout="kinect20", label=[f"l{i}" for i in range(7)])
    elif kind == "corpus":
        write_corpus(path, CLIPS, labels=[0, 1, 2, 0, 1, 2, 0])
    elif kind == "parquet":
        write_parquet(path, CLIPS)
    else:
        np.save(path, EQUAL)
    return path


def write_parquet(path: Path, clips: list[Clip], **columns: Any) -> Path:
    pa, pq = pytest.importorskip("pyarrow", reason="pyarrow is not installed"), pytest.importorskip("pyarrow.parquet")
    table = {
        "keypoints": [c.keypoints.ravel() for c in clips], "frames": [c.frames for c in clips], "persons": [c.persons for c in clips],
        "layout": [c.layout.name for c in clips], "fps": [c.fps for c in clips], "label": [c.label for c in clips],
    }  # fmt: skip
    pq.write_table(pa.table({**table, **columns}), path, row_group_size=3)
    return path


def same(a: Clip, b: Clip) -> bool:
    scores = (a.scores is None and b.scores is None) or np.array_equal(a.scores, b.scores)
    fields = ("fps", "label", "name", "image_size")
    return np.array_equal(a.keypoints, b.keypoints) and a.layout.joints == b.layout.joints and scores and all(getattr(a, f) == getattr(b, f) for f in fields)


@pytest.mark.parametrize("name", ["clips.npz", "equal.npz", "axes.npz", "corpus.npz", "bare.npy", "parquet.parquet"])
def test_a_reader_gives_what_read_gives(name: str, tmp_path: Path) -> None:
    path = save(name.split(".")[0], tmp_path / name)
    if name == "bare.npy":  # 20 joints tell no layout
        np.save(path, np.repeat(EQUAL, 2, 3)[:, :, :, :25])
    expected = skelzoo.read(path)
    reader = open_reader(path)
    assert reader is not None and reader.count == len(expected) == 7
    for first, last in ((0, 3), (3, 7), (6, 7), (1, 2), (1, 5), (5, 5)):
        found = list(reader.clips(first, last))
        assert all(isinstance(c, Clip) for c in found) and [same(c, e) for c, e in zip(found, expected[first:last], strict=True)] == [True] * (last - first)
    reader.close()


@pytest.mark.parametrize("columns", [["frame", "joint", "x", "y", "z"], ["frame", "Head_x", "Head_y", "Head_z"]], ids=["long", "wide"])
def test_parquet_of_a_table_of_joints_is_to_be_saved_as_csv(tmp_path: Path, columns: list[str]) -> None:
    pa, pq = pytest.importorskip("pyarrow", reason="pyarrow is not installed"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({name: [1, 2] for name in columns}), tmp_path / "a.parquet")
    with pytest.raises(ReadError, match=r"holds a table of joints, .*Save it as CSV: .*read_parquet\('.*a\.parquet'\)\.to_csv\('a\.csv'\)"):
        skelzoo.read(tmp_path / "a.parquet")


def test_parquet_of_nested_lists_scores_and_pictures(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    clips = [make_clip(s, frames=4, persons=2, layout="coco17", channels=2) for s in range(3)]
    nested = pa.array([c.keypoints.tolist() for c in clips])
    scores = [np.full((2, 4, 17), 0.1 * i).ravel() for i in range(3)]
    path = write_parquet(tmp_path / "a.parquet", clips, keypoints=nested, scores=scores, image_height=[480] * 3, image_width=[640] * 3, name=["a", "b", "c"])
    for i, (found, clip) in enumerate(zip(skelzoo.read(path), clips, strict=True)):
        assert np.allclose(found.keypoints, clip.keypoints) and found.image_size == (480, 640) and found.name == "abc"[i]
        assert found.scores is not None and np.allclose(found.scores, 0.1 * i)


def test_nested_keypoints_must_be_in_the_order_that_is_read(tmp_path: Path) -> None:
    k = np.random.default_rng(0).random((2, 6, 20, 3))
    clip = make_clip(0, frames=6, persons=2)
    for right in (k, k.reshape(12, 20, 3), k.reshape(12, 60), k.reshape(2, 6, 60), k.reshape(2, 360), k.ravel()):
        (found,) = skelzoo.read(write_parquet(tmp_path / "a.parquet", [clip], keypoints=[right.tolist()], persons=[2.0]))
        np.testing.assert_allclose(found.keypoints, k, rtol=1e-6)
    (found,) = skelzoo.read(write_parquet(tmp_path / "d.parquet", [clip], keypoints=[k[0].tolist()], persons=[None], frames=[None], scores=[np.ones(120)]))
    assert found.scores is not None and found.scores.shape == (1, 6, 20)
    with pytest.raises(ClipError, match=r"0 person"):
        skelzoo.read(write_parquet(tmp_path / "a.parquet", [clip], keypoints=[k.tolist()], persons=[0]))
    for wrong in (k.transpose(1, 0, 2, 3), k[0].transpose(2, 0, 1), k[:, :3]):
        with pytest.raises(ClipError, match=r"6 frames and 20 joints.*ordered \(persons, frames, joints, coordinates\)"):
            skelzoo.read(write_parquet(tmp_path / "b.parquet", [clip], keypoints=[wrong.tolist()]))
    (found,) = skelzoo.read(write_parquet(tmp_path / "c.parquet", [clip], keypoints=[k[0].tolist()], persons=[np.nan], image_height=[np.nan]))
    assert found.persons == 1 and found.image_size is None


def test_bad_clips_are_named_and_passed_over(tmp_path: Path) -> None:
    keypoints = EQUAL.copy()
    keypoints[2, 0, 3, 4] = np.nan
    keypoints[5] = 0
    np.savez(tmp_path / "a.npz", keypoints=keypoints, layout="kinect20")
    reader = open_reader(tmp_path / "a.npz")
    assert reader is not None
    found = list(reader.clips(0, 7))
    assert [i for i, c in enumerate(found) if isinstance(c, BadClip)] == [2, 5]
    assert found[2].name == "a[2]" and isinstance(found[2].error, ClipError) and "a[2]" in str(found[2].error)
    clips = [make_clip(s, frames=4) for s in range(4)]
    write_parquet(tmp_path / "b.parquet", clips, frames=[4, 5, 4, None], layout=["kinect20", "kinect20", "nonsense", "kinect20"])
    reader = open_reader(tmp_path / "b.parquet")
    assert reader is not None
    errors = [str(c.error) if isinstance(c, BadClip) else "" for c in reader.clips(0, 4)]
    write_parquet(tmp_path / "c.parquet", clips, frames=["4", "four", "4", "-4"])
    reader = open_reader(tmp_path / "c.parquet")
    assert reader is not None
    assert [isinstance(c, BadClip) for c in reader.clips(0, 4)] == [False, True, False, True]
    assert errors[0] == "" and "240 numbers for 1 person(s), 5 frames" in errors[1] and "nonsense" in errors[2] and "0 frames" in errors[3]


def test_what_is_not_in_order_is_left_to_read(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")

    def reader_of(**arrays: Any) -> object:
        np.savez(tmp_path / "a.npz", **{"layout": "kinect20", **arrays})
        return open_reader(tmp_path / "a.npz")

    assert reader_of(keypoints=EQUAL) is not None
    assert reader_of(keypoints=EQUAL[0]) is None
    assert reader_of(keypoints=np.asfortranarray(EQUAL)) is None
    assert reader_of(keypoints=EQUAL, names=["a", "b"]) is None
    assert reader_of(keypoints=EQUAL, layout="nonsense") is None
    assert reader_of(keypoints=EQUAL > 0) is None
    assert reader_of(keypoints=EQUAL[:, 0].transpose(3, 1, 2, 0), axes="c t v n") is None
    assert reader_of(keypoints=EQUAL.reshape(-1, 20, 3), shapes=[[1, 84], [1, 0]]) is None
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
    assert open_reader(tmp_path / "a.npz") is None
    write_corpus(tmp_path / "a.npz", CLIPS, offsets=[1, *np.cumsum([c.frames for c in CLIPS])])
    assert open_reader(tmp_path / "a.npz") is None
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    assert open_reader(tmp_path / "a.parquet") is None
    with pytest.raises(ReadError, match="parquet"):
        skelzoo.read(tmp_path / "a.parquet")
    with pytest.raises(ReadError, match="holds no rows"):
        skelzoo.read(write_parquet(tmp_path / "none.parquet", []))
    with pytest.raises(ReadError, match="no column layout, frames"):
        skelzoo.read(rewritten(tmp_path / "b.parquet"))


def rewritten(path: Path) -> Path:
    """A parquet file that lacks columns."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"keypoints": [[1.0]]}), path)
    return path


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_damage_is_met_at_the_latest_at_the_end(save_as: Any, tmp_path: Path) -> None:
    save_as(tmp_path / "a.npz", keypoints=EQUAL, layout="kinect20")
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[2000] ^= 64
    (tmp_path / "a.npz").write_bytes(data)
    reader = open_reader(tmp_path / "a.npz")
    assert reader is not None
    with pytest.raises(ReadError, match=r"a\.npz: is cut off, damaged"):
        list(reader.clips(0, 7))
    reader = open_reader(tmp_path / "a.npz")
    assert reader is not None
    with pytest.raises(ReadError, match=r"a\.npz: is cut off, damaged"):
        list(reader.clips(6, 7))


def test_what_is_passed_over_takes_little_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", keypoints=np.ones((1000, 1, 100, 20, 3), np.float32), layout="kinect20", names=np.array([str(i) for i in range(1000)]))
    reader = open_reader(tmp_path / "many.npz")
    assert reader is not None
    tracemalloc.start()
    (clip,) = reader.clips(998, 999)
    assert isinstance(clip, skelzoo.Clip) and clip.name == "998" and tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
    reader.close()


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [0.0, np.nan]])
def test_labels_of_rows_are_text_and_nan_is_none(tmp_path: Path, labels: list[Any]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    rows = {"keypoints": [np.ones(180).tolist()] * 2, "layout": ["kinect20"] * 2, "frames": [3, 3], "label": labels, "fps": [np.nan, 30.0], "name": ["", "b"]}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    clips = skelzoo.read(tmp_path / "rows.parquet")
    assert [c.label for c in clips] == [None if value != value else str(value).removesuffix(".0") for value in labels]
    assert [c.fps for c in clips] == [None, 30.0] and [c.name for c in clips] == ["rows[0]", "b"]


@pytest.mark.parametrize("scored", [True, False])
def test_three_persons_in_pictures_come_back(tmp_path: Path, scored: bool) -> None:
    x = np.random.default_rng(0).random((2, 3, 6, 17, 2))
    clips = [Clip(k, "coco17", scores=np.ones(k.shape[:3]) if scored else None) for k in x]
    skelzoo.save_clips(tmp_path / "a.npz", clips)
    np.savez(tmp_path / "b.npz", keypoints=x, layout="coco17", axes="n m t v c")
    reader = open_reader(tmp_path / "a.npz")
    assert reader is not None
    for found in (skelzoo.read(tmp_path / "a.npz"), skelzoo.read(tmp_path / "b.npz"), list(reader.clips(0, 2))):
        assert all(isinstance(c, Clip) and np.array_equal(c.keypoints, e.keypoints) for c, e in zip(found, clips, strict=True))
    reader.close()


def test_arrays_whose_axes_could_be_others_are_left_to_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.ones((8, 3, 6, 20, 2)), layout="kinect20")
    assert open_reader(tmp_path / "a.npz") is None
