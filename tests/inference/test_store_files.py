"""Files of a store that are damaged, or change while it is made; the rest of the store is in test_bulk.py."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import make_clip

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import StoreError, WriteError
from skelzoo.inference import plan
from skelzoo.inference.bulk import Settings, ShardEmbedder, embed_store
from skelzoo.inference.extend import extend_store
from skelzoo.inference.job import Job
from skelzoo.inference.output import ClipId
from skelzoo.inference.shard import Shard
from skelzoo.inference.store import open_store, read_store


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("compressed", [True, False])
def test_no_clip_of_a_damaged_file_gets_a_vector(model: str, tmp_path: Path, compressed: bool) -> None:
    keypoints = np.stack([make_clip(s).keypoints for s in range(6)])
    (np.savez_compressed if compressed else np.savez)(tmp_path / "bad.npz", keypoints=keypoints, layout="kinect20")
    skelzoo.save_clips(tmp_path / "good.npz", [make_clip(7), make_clip(8)])
    data = bytearray((tmp_path / "bad.npz").read_bytes())
    data[len(data) // 2] ^= 16
    (tmp_path / "bad.npz").write_bytes(data)
    store = embed_store(Job(model, shard_size=2), [str(tmp_path / "bad.npz"), str(tmp_path / "good.npz")], tmp_path / "store", devices=["cpu"])
    assert [row["name"] for row in table(store.folder / "ids.csv")] == ["clip7", "clip8"]
    (refused,) = table(store.folder / "refused.csv")
    assert refused["file"] == str(tmp_path / "bad.npz") and refused["clip"] == "" and "damaged" in refused["error"]


def test_empty_files_are_in_the_table_of_what_was_refused(model: str, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    skelzoo.save_clips(tmp_path / "clips/good.npz", [make_clip()])
    empty = [str(tmp_path / "clips" / f"empty{suffix}") for suffix in (".csv", ".json", ".npz")]
    for name in empty:
        Path(name).touch()
    result = CliRunner().invoke(main, ["embed", model, str(tmp_path / "clips"), "--out", str(tmp_path / "store")])
    assert result.exit_code == 1 and "of no format that is read" not in result.stderr
    assert [(row["file"], "is empty (0 bytes)" in row["error"]) for row in table(tmp_path / "store/refused.csv")] == [(name, True) for name in empty]


@pytest.mark.parametrize("change", ["another", "gone", "size of a frame", "time of a frame"])
def test_a_file_that_changes_before_its_shard_is_written_ends_the_run(model: str, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in "ab":
        skelzoo.save_clips(folder / f"{name}.npz", [make_clip(ord(name))])
    person = ", ".join(str(100 + 7 * i % 90) for i in range(75))
    for t in range(3):
        (folder / f"c_{t:012d}_keypoints.json").write_text(f'{{"people": [{{"pose_keypoints_2d": [{person}]}}]}}' + " " * 9 * (t == 0))
    job, out, changed = Job(model, shard_size=1), tmp_path / "store", folder / ("c_000000000001_keypoints.json" if "frame" in change else "b.npz")
    with open_store(out, job, [str(folder)]) as store:
        embedder = ShardEmbedder(store, Settings("cpu"))
        embedder.embed(0)
        stat = shutil.copy2(changed, tmp_path / "kept")
        if change == "gone":
            changed.unlink()
        else:
            changed.write_bytes(changed.read_bytes() + b" " * (change != "time of a frame"))
        if change == "size of a frame":
            shutil.copystat(stat, changed)
        named = "c_000000000000_keypoints.json" if "frame" in change else "b.npz"
        with pytest.raises(StoreError, match=rf"{named}: .*Put it back and give the same command"):
            embedder.embed(2 if "frame" in change else 1)
        assert [store.has(i) for i in range(3)] == [True, False, False]
    shutil.copy2(stat, changed)
    done = embed_store(job, [str(folder)], out, devices=["cpu"])
    assert [row["name"] for row in table(done.folder / "ids.csv")] == ["clip97", "clip98"]


def test_a_folder_that_cannot_be_made_is_named(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, **options: bool) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(WriteError, match=rf"^{tmp_path / 'new'}: cannot be written \({os.strerror(errno.ENOSPC)}\)"):
        embed_store(Job(model), [str(tmp_path / "a.npz")], tmp_path / "new", devices=["cpu"])


def test_a_disk_that_fills_up_is_said_of_the_file_that_it_stops(model: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    with open_store(tmp_path / "store", Job(model), [str(tmp_path / "a.npz")]) as store:
        store.write(0, Shard(np.zeros((1, 100_000), np.float32), [ClipId("clip0", "a.npz")], []))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))  # enough for the tables, not for the vectors
        try:
            with pytest.raises(WriteError, match=r"embeddings\.npy: cannot be written"):
                store.finish()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {path.name for path in store.folder.iterdir()} == {".lock", "plan", "shards", "store.json"}


@pytest.mark.parametrize(
    ("name", "left", "says", "extending"),
    [
        ("embeddings.npy", -1, "is cut off or damaged", False),
        ("embeddings.npy", 60, "is cut off or damaged", True),
        ("ids.csv", -1, "has fewer rows than the 2 that store.json tells", False),
        ("ids.csv", 0, "has fewer rows than the 2", True),
        ("refused.csv", -9, "has fewer rows than the 1", False),
        ("files.csv", -1, "has fewer rows than the 1", False),
        ("files.csv", -1, "has fewer rows than the 1", True),
        ("embeddings.parquet", -1, "has fewer rows than the 2", True),
        ("embeddings.parquet", 0, "is cut off or damaged", False),
    ],
)
def test_a_store_whose_tables_were_cut_off_is_not_called_complete(model: str, tmp_path: Path, name: str, left: int, says: str, extending: bool) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    skelzoo.save_clips(tmp_path / "a/a.npz", [make_clip(0), make_clip(1), make_clip(2, persons=3)])
    job, out = Job(model, parquet=True), tmp_path / "store"
    embed_store(job, tmp_path / "a", out, devices=["cpu"])
    if extending:
        skelzoo.save_clips(tmp_path / "a/b.npz", make_clip(3))
        with open_store(out, job, tmp_path / "a", extend=True) as store:
            extend_store(store, tmp_path / "a")
    os.truncate(out / name, left if left >= 0 else (out / name).stat().st_size + left)
    for extend in (False, True):
        with pytest.raises(StoreError, match=f"store.json: was complete, but {name} {says}.*Put it back"):
            embed_store(job, tmp_path / "a", out, devices=["cpu"], extend=extend)


@pytest.mark.parametrize("damage", ["empty", "cut off", "a byte", "its end", "a row"])
def test_damaged_shards_are_made_again(model: str, tmp_path: Path, damage: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [make_clip(s) for s in range(3)])
    job, out = Job(model, shard_size=1), tmp_path / "store"
    with open_store(out, job, tmp_path / "a.npz") as store, ShardEmbedder(store, Settings("cpu")) as embedder:
        for i in range(3):
            embedder.embed(i)
    for file in sorted((out / "shards").iterdir())[1:]:
        data = bytearray(file.read_bytes())
        if damage == "a row":
            with np.load(file) as z:
                np.savez(file, **{**z, "vectors": z["vectors"][:0]})
            continue
        data[-4 if damage == "its end" else len(data) // 20] ^= 1
        file.write_bytes({"empty": b"", "cut off": data[:-100]}.get(damage, data))
    with pytest.raises(StoreError, match=r"00000001\.npz \(.*\): is damaged and was removed, as were 1 more\. Give the same command again"):
        embed_store(job, tmp_path / "a.npz", out, devices=["cpu"])
    assert embed_store(job, tmp_path / "a.npz", out, devices=["cpu"]).clips == 3
    np.testing.assert_array_equal(
        np.load(out / "embeddings.npy"), np.load(embed_store(job, tmp_path / "a.npz", tmp_path / "whole", devices=["cpu"]).folder / "embeddings.npy")
    )


def test_a_shard_with_a_flipped_bit_in_a_header_is_damaged(model: str, tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    with open_store(tmp_path / "store", Job(model), tmp_path / "a.npz") as store:
        store.write(0, Shard(np.ones((1, 4096), np.float32), [ClipId("clip0", "a.npz")], []))
        shard = tmp_path / "store/shards/00000000.npz"
        shard.write_bytes(shard.read_bytes().replace(b"(1, 4096)", b"(1, 4094)"))
        with pytest.raises(StoreError, match=r"00000000\.npz \(.*checksums.*\): is damaged and was removed"):
            store.finish()


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("plan/00000000.json", b'"first": 0', b'"firs', r"plan/00000000\.json: is damaged"),
        ("plan/00000000.json", b'"first": 0', b'"first": "0"', r"plan/00000000\.json: is damaged"),
        ("plan/00000000.json", b'"first"', b'"f\xff"', r"plan/00000000\.json: is damaged"),
        ("plan/00000000.json", None, None, r"plan/00000000\.json: is gone"),
        ("files.csv", b"size", b"sise", r"files\.csv is damaged \(it does not begin with file,size,modified\)"),
        ("files.csv", b"npz,", b"npz,x", r"files\.csv is damaged \(invalid literal"),
        ("files.csv", b"npz,", b"npz;", r"files\.csv is damaged \(line 2 has not as many cells"),
        ("refused.csv", b"file,", b"fil", r"refused\.csv is damaged \(it does not begin"),
        ("store.json", b'"shards": 1', b'"shards": "x"', r"store\.json: is damaged \(shards is 'x'\)"),
        ("store.json", b'"refused": 1', b'"refused": null', r"store\.json: is damaged \(refused is None\)"),
        ("store.json", b'"shards": 1', b'"shards": 1, "held": {"clips": 1}', r"store\.json: is damaged \(held shards is None\)"),
        ("store.json", b"{", b"[" * 100_000, r"store\.json: no store of embeddings \(it is nested too deeply\)"),
    ],
)
def test_damage_to_what_a_store_says_of_itself_is_named(model: str, tmp_path: Path, name: str, old: bytes | None, new: bytes | None, says: str) -> None:
    skelzoo.save_clips(tmp_path / "a/a.npz", [make_clip(0), make_clip(2, persons=3)])
    out = tmp_path / "store"
    if name.startswith("plan"):
        with open_store(out, Job(model), tmp_path / "a"):
            pass
    else:
        embed_store(Job(model), tmp_path / "a", out, devices=["cpu"])
    data = (out / name).read_bytes()
    (out / name).unlink()
    if old is not None and new is not None:
        assert old in data
        (out / name).write_bytes(data.replace(old, new, 1))
    with pytest.raises(StoreError, match=f"{says}.*(Put it back|They are written by)"):
        embed_store(Job(model), tmp_path / "a", out, devices=["cpu"], extend=True)


def test_a_folder_in_which_a_run_was_killed_as_it_began_is_taken(model: str, tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    (tmp_path / "store/plan").mkdir(parents=True)
    (tmp_path / "store/.store.json.12345678.part").touch()
    store = embed_store(Job(model), tmp_path / "a.npz", tmp_path / "store", devices=["cpu"])
    assert read_store(store.folder).clips == 1 and not list(store.folder.glob("*.part"))


def test_a_file_that_is_damaged_while_it_keeps_size_and_date_is_refused_alone(model: str, tmp_path: Path) -> None:
    for name in "ab":
        skelzoo.save_clips(tmp_path / f"{name}.npz", [make_clip(ord(name)), make_clip(2)])
    file, paths = tmp_path / "b.npz", [tmp_path / "a.npz", tmp_path / "b.npz"]
    with open_store(tmp_path / "store", Job(model), paths):
        pass
    stat, data = file.stat(), file.read_bytes()
    file.write_bytes(data[:100] + bytes(len(data) - 200) + data[-100:])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    store = embed_store(Job(model), paths, tmp_path / "store", devices=["cpu"])
    (refused,) = table(store.folder / "refused.csv")
    assert store.clips == 2 and refused["file"] == str(file) and "changed while it was read" in refused["error"]


@pytest.mark.parametrize("complete", [True, False])
def test_going_on_opens_no_file_to_look_at_it(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: bool) -> None:
    for name in "ab":
        skelzoo.save_clips(tmp_path / f"{name}.npz", [make_clip(ord(name))])
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    with open_store(tmp_path / "store", Job(model), paths):
        pass
    if complete:
        embed_store(Job(model), paths, tmp_path / "store", devices=["cpu"])
    monkeypatch.setattr(plan, "open_reader", None)
    assert embed_store(Job(model), paths, tmp_path / "store", devices=["cpu"]).clips == 2
    with pytest.raises(StoreError, match=r"its files are not as they were: their order\. Give"):
        embed_store(Job(model), paths[::-1], tmp_path / "store", devices=["cpu"])


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("change", ["is new", "is gone", "has changed"])
def test_the_first_file_that_is_not_as_it_was_is_named(model: str, tmp_path: Path, change: str, complete: bool) -> None:
    folder, out = tmp_path / "clips", tmp_path / "store"
    for name in "acd":
        skelzoo.save_clips(folder / f"{name}.npz", [make_clip(ord(name))])
    with open_store(out, Job(model), [str(folder)]):
        pass
    if complete:
        embed_store(Job(model), [str(folder)], out, devices=["cpu"])
    if change == "is new":
        skelzoo.save_clips(folder / "b.npz", [make_clip(9)])
    elif change == "is gone":
        (folder / "c.npz").unlink()
    else:
        later = (out / "store.json").stat().st_mtime + 60
        os.utime(folder / "d.npz", (later, later))
    named = {"is new": "b.npz is new", "is gone": "c.npz is gone", "has changed": "d.npz has changed"}[change]
    with pytest.raises(
        StoreError,
        match=rf"holds another run: its files .*{named}\. Give the same command to go on with it, {'--extend to add files that are new, ' * (change == 'is new')}or another folder",
    ):
        embed_store(Job(model), [str(folder)], out, devices=["cpu"])


@pytest.mark.parametrize("given", ["clips", "clips/*"])
def test_a_store_beside_the_clips_is_no_recording(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    skelzoo.save_clips("clips/a.npz", [make_clip(0), make_clip(1)])
    job, other = Job(model, shard_size=1), Job(model, shard_size=1, window=16)
    with open_store("clips/begun", other, given) as begun, ShardEmbedder(begun, Settings("cpu")) as embedder:
        embedder.embed(0)
    for out, extend in (("clips/one", False), ("clips/begun", True), ("clips/one", True)):
        store = embed_store(other if "begun" in out else job, given, out, devices=["cpu"], extend=extend)
        assert (store.clips, store.refused) == (2 + 2 * ("begun" in out), 0), out
    assert skelzoo.find_files(given) == [Path("clips/a.npz")] and skelzoo.find_files("clips/one") == [Path("clips/one/embeddings.npy")]
    Path("clips/one/store.json").write_text("{}")
    assert Path("clips/one/embeddings.npy") in skelzoo.find_files(given)
