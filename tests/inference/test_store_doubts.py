"""What is odd about clips of a store is told of the whole run, whichever process found it, and by one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny import CONTRACT, make_clip

import skelzoo
from skelzoo import Clip
from skelzoo.errors import DoubtWarning
from skelzoo.inference.bulk import Settings, ShardEmbedder, embed_store
from skelzoo.inference.files import FileClip, PreparedClip, prepare_items, warn_of
from skelzoo.inference.job import Job
from skelzoo.inference.store import open_store
from skelzoo.skeleton.procedural import make

LYING = np.float32([[1, 0, 0], [0, 0, 1], [0, -1, 0]])


def walks(count: int, lying: range) -> list[Clip]:
    """Short clips, some of which have z up, which are not told from people who lie."""
    made = [make("walk", frames=8, seed=i).replace(name=f"walk{i}") for i in range(count)]
    return [clip.replace(keypoints=clip.keypoints @ LYING) if i in lying else clip for i, clip in enumerate(made)]


@pytest.mark.parametrize(("lying", "says"), [(range(4), []), (range(34, 40), ["walk34 and 5 more of 40 clips: the spine points along z"])])
def test_axes_are_judged_by_all_clips_of_a_run(model: str, tmp_path: Path, lying: range, says: list[str]) -> None:
    """However small its shards are."""
    skelzoo.save_clips(tmp_path / "a.npz", walks(40, lying))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embed_store(Job(model, shard_size=4), tmp_path / "a.npz", tmp_path / "store", devices=["cpu"])
    assert [str(w.message).removeprefix(f"{tmp_path / 'a.npz'} ")[: len(says[0])] for w in caught] == says if says else not caught
    assert all(w.filename == __file__ for w in caught)


def test_shards_that_others_ask_for_are_told_of_at_the_end(model: str, tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", walks(4, range(4)))
    told = pytest.warns(DoubtWarning, match="walk0 and 3 more clips: the spine points along z")
    with open_store(tmp_path / "store", Job(model, shard_size=2), [str(tmp_path / "a.npz")]) as store, told, ShardEmbedder(store, Settings("cpu")) as embedder:
        embedder.embed(0), embedder.embed(1)


@pytest.mark.slow
def test_workers_find_and_this_process_tells(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What readers warn of too; here a column of times."""
    skelzoo.save_clips(tmp_path / "a.npz", walks(4, range(4)))
    joints = [f"{joint}_{axis}" for joint in skelzoo.get_layout("kinect20").joints for axis in "xyz"]
    rows = [",".join(["soon", *map(str, frame.ravel())]) for frame in make_clip(1).keypoints[0]]
    (tmp_path / "b.csv").write_text("\n".join([",".join(["time", *joints]), *rows]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embed_store(Job(model, shard_size=2), [str(tmp_path / "a.npz"), str(tmp_path / "b.csv")], tmp_path / "store", devices=["cpu"], workers=2)
    texts = sorted(str(w.message) for w in caught)
    assert len([text for text in texts if "walk" in text]) == 1 and "and 3 more clips: the spine points along z" in texts[0], texts
    assert "the column 'time' holds no times that are understood" in texts[-1] and all(issubclass(w.category, DoubtWarning) for w in caught)
    assert "Warning" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("clips", "lying", "says"), [(24, 22, "walk0 and 21 more of 24 clips of this file: the spine points along z"), (24, 12, None), (10, 10, None)]
)
def test_a_file_of_other_axes_among_many_is_told(clips: int, lying: int, says: str | None) -> None:
    made = [FileClip(clip, "odd.npz") for clip in walks(clips, range(lying))] + [FileClip(clip, f"{i}.bvh") for i, clip in enumerate(walks(200, range(0)))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of([item for item in prepare_items(made, CONTRACT) if isinstance(item, PreparedClip)])
    assert [str(w.message).startswith(f"odd.npz {says}") for w in caught] == [True] * bool(says)


def test_recordings_are_counted_and_not_what_is_made_of_them() -> None:
    """And the first that it is true of is named."""
    clip = make_clip(persons=3, frames=40)
    brief = clip.replace(keypoints=clip.keypoints * (np.arange(40) < [[40], [1], [40]])[..., None, None])
    items = prepare_items([FileClip(clip, "a.json"), *(FileClip(brief, f"{i}.json") for i in "bcd")], CONTRACT, each_person=True, window=10)
    with pytest.warns(DoubtWarning) as caught:
        warn_of([item for item in items if isinstance(item, PreparedClip)])
    (text,) = [str(w.message) for w in caught if "fewer than" in str(w.message)]
    assert text.startswith("b.json clip0 and 2 more recordings: persons who are in fewer than 2 frames") and text.endswith("Here they are 1 of 3.")
