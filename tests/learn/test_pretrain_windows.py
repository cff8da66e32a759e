"""The windows that pretraining reads, and the array they are kept in."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import OWN, make_clip, rows_of, write_corpus

from skelzoo.errors import TrainingError
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.pretrain import windows as module
from skelzoo.learn.pretrain.batches import Batches
from skelzoo.learn.pretrain.windows import pretraining_array, windows_of
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.skeleton.prepare import prepare, prepare_doubtfully
from skelzoo.skeleton.procedural import make


def array_of(folder: Path, **options: Any) -> np.ndarray:
    return pretraining_array(folder, DataOptions(**{"files": ["a.npz"], "max_step": 100.0, **options}), OWN, folder / "run")


def found(folder: Path, **options: Any) -> set[bytes]:
    array = array_of(folder, **options)
    assert array.dtype == np.float32 and array.shape[1:] == OWN.shape
    return {row.tobytes() for row in array}


def test_the_corpus_files_of_the_tests_are_read_back(tmp_path: Path, clips: list[Clip]) -> None:
    table = read_corpus(write_corpus(tmp_path / "a.npz", clips, subject=np.arange(12, dtype=np.int32)))
    for read, written in zip(table.clips, clips, strict=True):
        np.testing.assert_allclose(read.keypoints, written.keypoints, atol=6e-4)
        assert read.name == written.name and read.layout is written.layout


@pytest.mark.parametrize(("frames", "expected"), [(14, [(0, 14)]), (20, [(0, 10), (6, 16), (12, 20)]), (15, [(0, 10), (6, 15)]), (16, [(0, 10), (6, 16)])])
def test_windows(frames: int, expected: list[tuple[int, int]]) -> None:
    clip = make_clip(frames=frames)
    cut = windows_of(clip, DataOptions(["a.npz"], window=10, hop=6))
    assert len(cut) == len(expected)
    for window, (start, stop) in zip(cut, expected, strict=True):
        assert np.array_equal(window.keypoints, clip.keypoints[:, start:stop])
    assert cut[-1].name == ("clip0" if len(expected) == 1 else f"clip0@{expected[-1][0]}")


@pytest.mark.parametrize(("clip", "says"), [(slice(None), []), (slice(4, 24), ["padded by its last frame"]), (slice(12, 32), ["padded by its first frame"])])
def test_padding_is_of_clips_and_not_of_windows_cut_out_of_them(tmp_path: Path, clip: slice, says: list[str]) -> None:
    """A person who stands still for twelve frames between two motions; and clips that end or begin with these."""
    joints = make("walk", frames=50).keypoints[:, np.repeat(np.arange(39), [1] * 12 + [12] + [1] * 26)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_corpus(tmp_path / "a.npz", [Clip(joints[:, clip], "kinect20", name="take")])
        array_of(tmp_path, window=20, hop=4, shortest=16)
    assert [says in str(w.message) for w, says in zip(caught, says, strict=True)] == [True] * len(says)


def test_windows_without_anybody_are_left_out() -> None:
    clip = make_clip(frames=40)
    clip.keypoints[:, 9:31] = 0
    assert [w.name for w in windows_of(clip, DataOptions(["a.npz"], window=10, hop=10))] == ["clip0@0", "clip0@30"]


def test_windows_short_clips_and_jumps(tmp_path: Path) -> None:
    long, short, jumping = make_clip(0, frames=40), make_clip(1, frames=5), make_clip(2, frames=20)
    jumping.keypoints[0, 10, 3] += 5
    table = read_corpus(write_corpus(tmp_path / "a.npz", [long, short, jumping]))
    options = DataOptions(["a.npz"], window=16, hop=8)
    expected = rows_of([w for w in windows_of(table.clips[0], options)])
    assert found(tmp_path, window=16, hop=8, shortest=6, max_step=4.0) == expected and len(expected) > 2
    assert found(tmp_path, window=16, hop=8, shortest=5, max_step=4.0) == expected | rows_of([table.clips[1]])
    assert len(found(tmp_path, window=16, hop=8, shortest=6, max_step=9.0)) == len(expected) + 1


def test_files_without_max_step_are_kept(tmp_path: Path, clips: list[Clip]) -> None:
    write_corpus(tmp_path / "a.npz", clips, max_step=np.full(12, np.nan, np.float32))
    assert len(found(tmp_path, max_step=1.0)) == 12


def test_missing_data(tmp_path: Path, clips: list[Clip]) -> None:
    with pytest.raises(TrainingError, match=r"no corpus file .*a\.npz.*--data"):
        found(tmp_path)
    write_corpus(tmp_path / "a.npz", clips)
    with pytest.raises(TrainingError, match="no training window is left"):
        found(tmp_path, shortest=1000)


def test_the_array_is_mapped_from_disk_in_the_order_of_the_files(tmp_path: Path, clips: list[Clip]) -> None:
    tables = [read_corpus(write_corpus(tmp_path / f"{n}.npz", part)) for n, part in (("a", clips[:7]), ("b", clips[7:]))]
    array = array_of(tmp_path, files=["b.npz", "a.npz"], window=16, hop=8, shortest=4)
    expected = np.stack([prepare(w, OWN) for t in tables[::-1] for c in t.clips for w in windows_of(c, DataOptions(["a.npz"], window=16, hop=8))])
    assert isinstance(array, np.memmap) and not array.flags.writeable and len(array) > 12
    assert array.tobytes() == expected.tobytes() and array.shape == expected.shape


def test_the_array_is_prepared_once_and_anew_when_anything_changes(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    files = {"first": array_of(tmp_path).filename}
    with monkeypatch.context() as patched:
        patched.setattr(module, "prepare_doubtfully", lambda *_: pytest.fail("prepared again"))
        assert array_of(tmp_path).filename == files["first"]
    files["options"] = array_of(tmp_path, shortest=30).filename
    files["contract"] = pretraining_array(tmp_path, DataOptions(["a.npz"], max_step=100.0), OWN.replace(min_frames=3), tmp_path / "run").filename
    with monkeypatch.context() as patched:
        patched.setattr(module, "__version__", "another")
        files["version"] = array_of(tmp_path).filename
    write_corpus(tmp_path / "nw_ucla.npz", clips[:1], split=[1])
    files["benchmark"] = array_of(tmp_path).filename
    write_corpus(tmp_path / "a.npz", clips[1:])
    array = array_of(tmp_path)
    assert len(array) == 11 and len({*files.values(), array.filename}) == 6
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(Path(f).name for f in {*files.values(), array.filename})


def test_a_preparation_that_fails_leaves_no_array(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    done = []

    def fail_at_the_fifth(*arguments: Any) -> Any:
        done.append(arguments)
        return prepare_doubtfully(*arguments) if len(done) < 5 else pytest.fail("killed")

    with monkeypatch.context() as patched, pytest.raises(pytest.fail.Exception, match="killed"):
        patched.setattr(module, "prepare_doubtfully", fail_at_the_fifth)
        array_of(tmp_path)
    assert list((tmp_path / "run").iterdir()) == [] and len(array_of(tmp_path)) == 12


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    long = make_clip(frames=400)
    files = [f"{i}.npz" for i in range(8)]
    for i, file in enumerate(files):
        write_corpus(tmp_path / file, [long.replace(keypoints=long.keypoints + i)])

    def peak(files: list[str]) -> tuple[int, int]:
        tracemalloc.start()
        array = array_of(tmp_path, files=files, window=16, hop=4)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high, array.nbytes

    peak(files[:1])  # imports and caches
    (few, small), (many, size) = peak(files[:2]), peak(files)
    assert many - few < (size - small) / 8 and many < size / 2  # each file's names and numbers stay, its windows do not


def test_batches_are_the_rows_asked_for_in_that_order(tmp_path: Path, clips: list[Clip]) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    array = array_of(tmp_path)
    batches = Batches(array, torch.device("cpu"))
    indices = torch.tensor([7, 2, 11, 2, 0])
    assert len(batches) == 12 and batches.device.type == "cpu"
    assert batches[indices].dtype == torch.float32 and torch.equal(batches[indices], torch.from_numpy(np.array(array))[indices])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_holds_a_copy_when_it_has_room(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    array, gpu, indices = array_of(tmp_path), torch.device("cuda", 0), torch.tensor([7, 2, 11])
    copied = Batches(array, gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * array.nbytes, 0))
    mapped = Batches(array, gpu)
    assert copied.device == gpu and mapped.device.type == "cpu"
    for batches in (copied, mapped):
        batch = batches[indices.to(batches.device)]
        assert batch.device == gpu and torch.equal(batch.cpu(), torch.from_numpy(np.array(array))[indices])
