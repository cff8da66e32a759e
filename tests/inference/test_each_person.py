"""Results of each person apart: the same rows in files, stores and with Ray, as of the clips made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import CONTRACT, make_clip

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import ClipError, DoubtWarning
from skelzoo.inference.files import FileClip, PreparedClip, Refusal, prepare_items, warn_of
from skelzoo.inference.job import Job
from skelzoo.inference.ray import EmbedActor

COLUMNS = ["person", "start", "stop", "start_s", "stop_s"]
WHO = "Ann", "Bob"


def run(*args: object) -> None:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [json.loads(line) for line in file] if path.suffix == ".jsonl" else list(csv.DictReader(file))


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """A table of two persons with names, and a recording of two without."""
    (tmp_path / "takes").mkdir()
    clip = make_clip(persons=2)
    header = ["time_s", "person", *(f"{joint}_{axis}" for joint in clip.layout.joints for axis in "xyz")]
    rows = [
        [f"{t / 30:.4f}", who, *map(str, joints[t].ravel())]
        for t in range(9)
        for who, joints in zip(WHO, clip.keypoints, strict=True)
        if t < 6 or who == WHO[0]
    ]
    (tmp_path / "takes/a.csv").write_text("\n".join(map(",".join, [header, *rows])))
    skelzoo.save_clips(tmp_path / "takes/b.npz", clip.replace(keypoints=clip.keypoints * (np.arange(20) > [[3], [7]])[..., None, None]))
    return tmp_path / "takes"


@pytest.mark.parametrize("window", [None, 8])
def test_each_person_has_a_row(model: str, takes: Path, window: int | None) -> None:
    each = [one for file in skelzoo.find_files(takes) for clip in skelzoo.read(file) for one in skelzoo.each_person(clip)]
    persons = [one.person_ids[0] for one in each]
    assert persons == [*WHO, "0", "1"]
    if window is not None:
        persons, each = map(list, zip(*((who, cut) for who, one in zip(persons, each, strict=True) for cut in skelzoo.windows(one, window)), strict=True))
    expected = [[who, str(c.first), str(c.first + c.frames)] for who, c in zip(persons, each, strict=True)]
    options = ["--each-person", "--device", "cpu", *(["--window", window] if window else [])]
    out = takes.parent
    for name in ("v.npz", "v.npy", "v.npz"):  # and over an earlier result
        run("embed", model, takes, "-o", out / name, *options)
    run("embed", model, takes / "a.csv", "--out", out / "store", "--parquet", "--shard-size", 1, *options)
    run("embed", model, takes, "--out", out / "store", "--parquet", "--shard-size", 1, "--extend", *options)
    for name in ("c.csv", "c.jsonl", "c.csv"):
        run("classify", model, takes, "-o", out / name, *options)
    for name in ("v.ids.csv", "store/ids.csv", "c.csv", "c.jsonl"):
        rows = rows_of(out / name)
        assert [row["name"] for row in rows] == [clip.name for clip in each], name
        assert [[str(row[key]) for key in COLUMNS[:3]] for row in rows] == expected, name
    vectors = skelzoo.load(model, device="cpu").embed(each)
    with np.load(out / "v.npz") as z:
        assert [[str(value) for value in row] for row in zip(*(z[key] for key in COLUMNS[:3]), strict=True)] == expected
        np.testing.assert_array_equal(z["stop_s"], np.round(z["stop"] / 30, 4))
        for found in (z["embeddings"], np.load(out / "v.npy"), np.load(out / "store/embeddings.npy")):
            np.testing.assert_allclose(found, vectors, atol=1e-5)
    table = pytest.importorskip("pyarrow.parquet").read_table(out / "store/embeddings.parquet")
    assert table.column_names == ["row", "name", "file", "label", *COLUMNS, "embedding"] and table["person"].to_pylist() == persons


def test_with_ray(model: str, takes: Path) -> None:
    clip = skelzoo.read(takes / "b.npz")[0]
    ghost = clip.keypoints * (np.arange(20) < [[20], [1]])[..., None, None]
    nobody = np.zeros(clip.keypoints.size)
    batch = {
        "keypoints": np.array([clip.keypoints.ravel(), nobody, ghost.ravel(), None], object)[:-1],
        "layout": np.array(["kinect20"] * 3),
        "name": np.array(["b", "empty", "ghost"]),
        "frames": np.array([20] * 3),
        "persons": np.array([2] * 3),
        "fps": np.array([30.0] * 3),
        "person_ids": np.array([["7", "Bob"], None, ["3", "4"], None], object)[:-1],
    }
    out = EmbedActor(model, device="cpu", each_person=True)(batch)
    assert out["name"].tolist() == ["b#7", "b#Bob", "empty", "ghost#3"] and out["start"].tolist() == [4, 8, -1, 4]
    assert out["person"].tolist() == ["7", "Bob", "", "3"]
    np.testing.assert_allclose(out["embedding"][:2], skelzoo.load(model, device="cpu").embed(skelzoo.each_person(clip)), atol=1e-5)
    assert np.isnan(out["embedding"][2]).all() and "nobody" in out["error"][2]


def test_those_who_move_most_and_each_are_not_both_had(model: str, takes: Path) -> None:
    both = {"select_persons": True, "each_person": True}
    for make in (lambda: Job(model, **both), lambda: EmbedActor(model, device="cpu", **both)):
        with pytest.raises(ClipError, match="Give one of --select-persons and --each-person"):
            make()
    for verb in ("embed", "classify"):
        result = CliRunner().invoke(main, [verb, model, str(takes), "-o", str(takes.parent / "x.npz"), "--select-persons", "--each-person"])
        assert result.exit_code == 1 and "Give one of" in result.stderr


def test_who_is_in_fewer_frames_than_the_encoder_needs_is_left_out() -> None:
    """As whoever a tracker finds in a single picture; with one warning."""
    clip = make_clip(persons=3)
    keypoints = clip.keypoints * (np.arange(20) < [[20], [1], [4]])[..., None, None]
    contract = CONTRACT.replace(min_frames=4)
    items = list(prepare_items([FileClip(clip.replace(keypoints=keypoints), "a.json")], contract, each_person=True))
    assert [item.id.name for item in items if isinstance(item, PreparedClip)] == ["clip0#0", "clip0#2"] and len(items) == 2
    with pytest.warns(DoubtWarning, match=r"fewer than 4 frames are left out, .* Here they are 1 of 3\."):
        warn_of([item for item in items if isinstance(item, PreparedClip)])
    (refused,) = prepare_items([FileClip(clip.replace(keypoints=keypoints[1:2]), "a.json")], contract, each_person=True)
    assert isinstance(refused, Refusal) and "clip0: nobody is in 4 frames or more" in str(refused)
