"""Files that change or go while a store is extended cost themselves alone, and are taken up again; old refusals are no failure of a new run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import make_clip

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import StoreError
from skelzoo.inference.bulk import Settings, ShardEmbedder, embed_store
from skelzoo.inference.job import Job
from skelzoo.inference.store import open_store, read_store


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Seven clips in three files."""
    folder = tmp_path / "clips"
    skelzoo.save_clips(folder / "a.npz", [make_clip(1)])
    skelzoo.save_clips(folder / "b.npz", [make_clip(s) for s in (2, 3, 4, 5)])
    skelzoo.save_clips(folder / "c.npz", [make_clip(6), make_clip(7)])
    return folder


def table(store: Path, name: str) -> list[dict[str, str]]:
    with (store / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(store: Path) -> list[str]:
    assert len(np.load(store / "embeddings.npy")) == len(table(store, "ids.csv"))
    return [row["name"] for row in table(store, "ids.csv")]


def clip_names(*numbers: int) -> list[str]:
    return [f"clip{n}" for n in numbers]


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Any, shards: range) -> None:
    """Have something done before some of the shards that are made, in order."""
    real, made = ShardEmbedder.embed, [0]

    def embed(self: ShardEmbedder, shard: int) -> list[str]:
        if made[0] in shards:
            do()
        made[0] += 1
        return real(self, shard)

    monkeypatch.setattr(ShardEmbedder, "embed", embed)


def grow(file: Path) -> None:
    with file.open("ab") as more:
        more.write(b" ")


@pytest.mark.parametrize("begun", [True, False], ids=["extended", "new"])
@pytest.mark.parametrize("shard_size", [1, 100])
@pytest.mark.parametrize("change", ["grows", "goes"])
def test_a_file_that_changes_all_the_while_is_refused_alone(
    model: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str, shard_size: int, begun: bool
) -> None:
    out, job, file = tmp_path / "store", Job(model, shard_size=shard_size), clips / "b.npz"
    if begun:
        embed_store(job, [str(clips / "a.npz")], out, devices=["cpu"], extend=True)
    before = np.load(out / "embeddings.npy") if begun else np.zeros((0, 16))
    with monkeypatch.context() as patch:
        meanwhile(patch, lambda: grow(file) if change == "grows" else file.unlink(missing_ok=True), range(1000))
        store = embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    assert names(out) == clip_names(1, 6, 7) and (store.refused, store.refused_before) == (1, 0)
    (row,) = table(out, "refused.csv")
    says = "changed" if change == "grows" else "went away"
    assert row["file"] == str(file) and f"{says} while the store was made. Once it is complete, give the same command with --extend." in row["error"]
    assert f"error: {row['error']}" in capsys.readouterr().err
    skelzoo.save_clips(file, [make_clip(s) for s in (2, 3, 4, 5)])
    with pytest.raises(StoreError, match=r"b\.npz is new\. .*--extend"):
        embed_store(job, [str(clips)], out, devices=["cpu"])
    assert embed_store(job, [str(clips)], out, devices=["cpu"], extend=True).refused == 0
    assert names(out) == clip_names(1, 6, 7, 2, 3, 4, 5) and np.array_equal(np.load(out / "embeddings.npy")[: len(before)], before)
    fresh = embed_store(job, [str(clips / f"{name}.npz") for name in "acb"], tmp_path / "fresh", devices=["cpu"])
    np.testing.assert_allclose(np.load(out / "embeddings.npy"), np.load(fresh.folder / "embeddings.npy"), atol=1e-5)
    assert sorted(map(str, table(out, "files.csv"))) == sorted(map(str, table(fresh.folder, "files.csv")))


@pytest.mark.parametrize("shard", range(4))
def test_a_file_that_changed_once_is_taken_as_it_is_in_the_end(model: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: int) -> None:
    """Wherever the run is by then: of no file are there clips of two versions."""
    out, job = tmp_path / "store", Job(model, shard_size=2)
    new = [make_clip(s) for s in (12, 13, 14, 15, 16)]
    meanwhile(monkeypatch, lambda: skelzoo.save_clips(clips / "b.npz", new), range(shard, shard + 1))
    store = embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    assert names(out) == clip_names(1, 6, 7, 12, 13, 14, 15, 16) and store.refused == 0 and not (out / "plan").exists()
    row = embed_store(job, [str(clips)], out, devices=["cpu"]).row
    assert row == store.row == read_store(out).row


@pytest.mark.parametrize("begun", [True, False], ids=["extended", "new"])
@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize("change", ["another", "goes"])
def test_files_that_changed_after_a_run_was_killed_are_looked_up_again(model: str, clips: Path, tmp_path: Path, change: str, done: int, begun: bool) -> None:
    out, job, file = tmp_path / "store", Job(model, shard_size=2), clips / "b.npz"
    if begun:
        embed_store(job, [str(clips / "a.npz")], out, devices=["cpu"])
        before = (out / "embeddings.npy").read_bytes()

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        meanwhile(patch, kill, range(done, done + 1))
        embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    if change == "another":
        skelzoo.save_clips(file, [make_clip(12)])
    else:
        file.unlink()
    more = tmp_path / "more.npz"
    skelzoo.save_clips(more, [make_clip(21)])
    store = embed_store(job, [str(more)], out, devices=["cpu"], extend=True)
    assert names(out) == clip_names(1, 6, 7, 21, *([12] if change == "another" else [])) and store.refused == 0
    assert not begun or np.load(out / "embeddings.npy")[0].tobytes() == before[-64:]
    whole = {p.name: p.read_bytes() for p in out.iterdir()}
    embed_store(job, [str(clips), str(more)], out, devices=["cpu"], extend=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == whole


def test_an_open_plan_may_lose_all_of_its_files(model: str, clips: Path, tmp_path: Path) -> None:
    out, job = tmp_path / "store", Job(model)
    with open_store(out, job, [str(clips / "b.npz")]) as begun:
        ShardEmbedder(begun, Settings("cpu")).embed(0)
    (clips / "b.npz").unlink()
    embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    assert names(out) == clip_names(1, 6, 7)


def test_old_refusals_are_no_failure_of_a_new_run(model: str, clips: Path, tmp_path: Path) -> None:
    def run(*args: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["embed", model, str(clips), "--out", str(tmp_path / "store"), "--device", "cpu", *map(str, args)])
        return done.exit_code, done.stderr

    note, failure = "note: 1 file(s) or clip(s) were left out earlier; ", "1 file(s) or clip(s) left out, "
    (clips / "broken.npz").write_bytes(b"PK")
    code, said = run("--extend")
    assert code == 1 and failure in said and note not in said
    for change in (lambda: None, lambda: skelzoo.save_clips(clips / "d.npz", [make_clip(8)]), (clips / "broken.npz").unlink, lambda: None):
        change()
        code, said = run("--extend")
        assert code == 0 and note in said and failure not in said and "refused.csv lists them" in said
    (clips / "other.bvh").write_text("HIERARCHY\n")
    code, said = run("--extend")
    assert code == 1 and note in said and failure in said
    (clips / "broken.npz").write_bytes(b"PK\x03")
    code, said = run("--extend")
    assert code == 1 and note in said and failure in said, "taken again, and refused again"
    (clips / "other.bvh").unlink()
    skelzoo.save_clips(clips / "broken.npz", [make_clip(9)])
    code, said = run("--extend")
    assert code == 0 and note in said and [Path(row["file"]).name for row in table(tmp_path / "store", "refused.csv")] == ["other.bvh"]
