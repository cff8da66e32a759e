"""Results are written whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import make_clip

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import SkelzooError, WriteError
from skelzoo.inference.classification import Classification
from skelzoo.inference.files import FileClip
from skelzoo.inference.output import CLASS_SUFFIXES, EMBEDDING_SUFFIXES, ClipId, check_output, write_classes, write_embeddings
from skelzoo.inference.screen import classes_table, table
from skelzoo.skeleton.procedural import make
from skelzoo.skeleton.writing import csv_bytes, whole_file

IDS = [ClipId("läuft, schnell", "a/b.bvh", "walk"), ClipId("x", "c.npz")]
VECTORS = np.arange(8, dtype=np.float32).reshape(2, 4)
RESULT = Classification(np.array([["walk", "run"], ["run", "walk"]]), np.array([[0.75, 0.25], [0.534321, 0.465679]], np.float32), np.array([[0, 1], [1, 0]]))


def test_npz(tmp_path: Path) -> None:
    assert write_embeddings(tmp_path / "new" / "v.npz", VECTORS, IDS, "tiny") == [tmp_path / "new" / "v.npz"]
    with np.load(tmp_path / "new" / "v.npz", allow_pickle=False) as z:
        assert np.array_equal(z["embeddings"], VECTORS) and z["embeddings"].dtype == np.float32
        assert z["names"].tolist() == ["läuft, schnell", "x"]
        assert z["files"].tolist() == ["a/b.bvh", "c.npz"]
        assert z["labels"].tolist() == ["walk", ""]
        assert str(z["model"]) == "tiny"
    assert os.listdir(tmp_path / "new") == ["v.npz"]


def test_npy_with_ids(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "v.npy", VECTORS, IDS, "tiny")
    assert np.array_equal(np.load(tmp_path / "v.npy"), VECTORS)
    with (tmp_path / "v.ids.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["name"] for r in rows] == ["läuft, schnell", "x"]
    assert rows[1] == {"row": "1", "name": "x", "file": "c.npz", "label": "", "model": "tiny"}
    assert sorted(os.listdir(tmp_path)) == ["v.ids.csv", "v.npy"]


def test_classes_csv_and_jsonl(tmp_path: Path) -> None:
    with write_classes(tmp_path / "c.csv", RESULT, IDS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "file", "label", "class_1", "score_1", "class_2", "score_2"]
    assert rows[0]["class_1"] == "walk" and float(rows[1]["score_1"]) == pytest.approx(0.534321, abs=1e-6)
    lines = [json.loads(line) for line in write_classes(tmp_path / "c.jsonl", RESULT, IDS).read_text(encoding="utf-8").splitlines()]
    assert lines[1] == {"name": "x", "file": "c.npz", "label": None, "classes": [{"class": "run", "score": 0.534321}, {"class": "walk", "score": 0.465679}]}


@pytest.mark.parametrize(("fps", "seconds"), [(30, ("0.1", "0.7667")), (None, ("", ""))])
def test_results_of_windows_say_when_they_are_and_replace_each_other(tmp_path: Path, fps: float | None, seconds: tuple[str, str]) -> None:
    ids = [FileClip(make_clip(frames=20).replace(fps=fps, first=3), "a.bvh", part=True).id] * 2
    for i in (IDS, ids, ids, IDS, ids):
        for name in ("v.npz", "v.npy"):
            write_embeddings(tmp_path / name, VECTORS, i, "tiny")
        for name in ("c.csv", "c.jsonl"):
            write_classes(tmp_path / name, RESULT, i)
    expected = {"start": "3", "stop": "23", "start_s": seconds[0], "stop_s": seconds[1]}
    for name in ("v.ids.csv", "c.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            assert all(expected.items() <= row.items() for row in csv.DictReader(file))
    line = json.loads((tmp_path / "c.jsonl").read_text().splitlines()[0])
    assert [line[key] for key in expected] == [3, 23, *(float(s) if s else None for s in seconds)]
    with np.load(tmp_path / "v.npz") as z:
        assert z["stop"].tolist() == [23, 23] and np.array_equal(z["start_s"], [float(seconds[0] or "nan")] * 2, equal_nan=True)
    assert ("0.10-0.77" in classes_table(RESULT, ids)) == bool(fps)


def test_tables() -> None:
    assert classes_table(RESULT, IDS).splitlines()[1].split("  ")[0] == "läuft, schnell"
    assert table(["a", "b"], [["1\n2", "\x1b[31m"]]).splitlines() == ["a    b", "1 2   [31m"]


@pytest.mark.parametrize("verb", ["read", "classify"])
def test_clips_of_one_name_are_shown_with_their_files(model: str, tmp_path: Path, verb: str) -> None:
    paths = [str(tmp_path / f"{who}.npz") for who in ("anna", "bert", "cleo")]
    for path, name in zip(paths, ("take1", "take1", "take2"), strict=True):
        skelzoo.save_clips(path, [make("walk").replace(name=name)])
    shown = [CliRunner().invoke(main, [verb, *[model][verb == "read" :], *some]).stdout.splitlines() for some in (paths, paths[1:])]
    assert [line.split()[1] for line in shown[0]] == ["file", *paths] and not any("file" in line or ".npz" in line for line in shown[1])


@pytest.mark.parametrize("name", ["v", "v.txt", "v.npz.gz", "npz"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(WriteError, match=r"\.npz or \.npy") as caught:
        check_output(tmp_path / name, EMBEDDING_SUFFIXES)
    assert isinstance(caught.value, SkelzooError)
    with pytest.raises(WriteError, match=r"\.csv or \.jsonl"):
        write_classes(tmp_path / name, RESULT, IDS)
    assert not os.listdir(tmp_path)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "w.ids.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for place, problem in (("folder.npz", "is a folder"), ("file/v.npz", "is a file"), ("w.npy", "is a folder")):
        with pytest.raises(WriteError, match=problem):
            write_embeddings(tmp_path / place, VECTORS, IDS, "tiny")
    with pytest.raises(WriteError, match="device or pipe"):
        check_output(tmp_path / "pipe.csv", CLASS_SUFFIXES)
    with pytest.raises(WriteError, match="cannot be written"):
        check_output(tmp_path / f"{'x' * 300}.npz", EMBEDDING_SUFFIXES)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.npz", "pipe.csv", "w.ids.csv"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_failure_to_open_is_an_error_of_ours() -> None:
    with pytest.raises(WriteError, match=r"/proc/v\.npz"):
        write_embeddings("/proc/v.npz", VECTORS, IDS, "tiny")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="no permission"):
        check_output(tmp_path / "v.npz", EMBEDDING_SUFFIXES)


@pytest.mark.parametrize(
    ("failure", "seen"),
    [(OSError(errno.ENOSPC, "No space left on device"), WriteError), (ValueError("other"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_failure_half_way_leaves_the_old_file(tmp_path: Path, failure: BaseException, seen: type[BaseException]) -> None:
    target = tmp_path / "v.npz"
    target.write_bytes(b"old")
    with pytest.raises(seen), whole_file(target) as file:
        file.write(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["v.npz"]


def test_two_threads_may_write_the_same_file(tmp_path: Path) -> None:
    target, together = tmp_path / "v.npz", threading.Barrier(2)

    def write(text: bytes) -> None:
        with whole_file(target) as file:
            together.wait(10)
            file.write(text)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [b"one", b"two"]))
    assert target.read_bytes() in (b"one", b"two") and os.listdir(tmp_path) == ["v.npz"]


def test_a_folder_in_the_way_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "v.npz").mkdir()
    with pytest.raises(WriteError, match=r"v\.npz: is a folder, not a file\. Choose another name\.$"), whole_file(tmp_path / "v.npz"):
        pass


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        ((errno.ENOSPC, "No space left on device"), r"\(No space left on device\)"),
        (("8 requested and 3 written",), r"\(8 requested and 3 written; the disk may be full\)"),
    ],
)
@pytest.mark.parametrize(("function", "file"), [("numpy.save", "v.npy"), ("skelzoo.inference.output.csv_bytes", r"v\.ids\.csv")])
def test_neither_of_a_pair_is_written_when_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: tuple[object, ...], says: str, function: str, file: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(*failure)

    monkeypatch.setattr(function, full)
    with pytest.raises(WriteError, match=rf"{file}: cannot be written {says}"):
        write_embeddings(tmp_path / "v.npy", VECTORS, IDS, "tiny")
    assert not os.listdir(tmp_path)


def test_replaces_and_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write_embeddings(tmp_path / "real" / "v.npz", VECTORS[:1], IDS[:1], "older")
    (tmp_path / "v.npz").symlink_to(tmp_path / "real" / "v.npz")
    write_embeddings(tmp_path / "v.npz", VECTORS, IDS, "tiny")
    assert (tmp_path / "v.npz").is_symlink()
    with np.load(tmp_path / "real" / "v.npz") as z:
        assert np.array_equal(z["embeddings"], VECTORS)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "real" / "v.npz").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("text", ["walk\r", "a\rb", "a\nb", 'a"b', "a,b", "\r\n"])
def test_any_text_comes_back_from_csv(text: str) -> None:
    rows = [["name", "label"], [text, "x"], ["y", text]]
    assert list(csv.reader(io.StringIO(csv_bytes(rows).decode(), newline=""))) == rows
    assert csv_bytes([["plain", 1.5]]) == b"plain,1.5\n"
