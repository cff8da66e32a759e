"""A store that is given more files holds what a new one would, and its rows stay where they are."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import StoreError
from skelzoo.inference import extend as extending
from skelzoo.inference import store as stores
from skelzoo.inference.bulk import Settings, ShardEmbedder, embed_store
from skelzoo.inference.job import Job
from skelzoo.inference.store import open_store


class Killed(BaseException):
    """The end of a run."""


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five clips in two files, and a broken one."""
    folder = tmp_path / "clips"
    skelzoo.save_clips(folder / "b.npz", [make_clip(1), make_clip(2)])
    skelzoo.save_clips(folder / "d.npz", [make_clip(s, frames=30) for s in (3, 4, 5)])
    (folder / "broken.bvh").write_text("HIERARCHY\nROOT Hips\n{\n")
    return folder


def add(clips: Path) -> None:
    """Five more clips, sorted before, between and after the others, and two that cannot be used."""
    for name, seeds in (("a", (6,)), ("c", (7, 8, 9)), ("e", (10,))):
        skelzoo.save_clips(clips / f"{name}.npz", [make_clip(s) for s in seeds])
    skelzoo.save_clips(clips / "f.npz", [make_clip(11, persons=3), make_clip(12, frames=1)])


def content(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file() and p.name != ".lock"}


def table(store: Path, name: str) -> list[dict[str, str]]:
    with (store / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def held(store: Path) -> dict[tuple[str, str], Any]:
    rows = table(store, "ids.csv")
    assert [int(row["row"]) for row in rows] == list(range(len(rows)))
    return {(row["file"], row["name"]): vector for row, vector in zip(rows, np.load(store / "embeddings.npy"), strict=True)}


@pytest.mark.parametrize(("shard_size", "window", "workers"), [(2, None, 1), (100, None, 1), (2, 16, 1), pytest.param(2, None, 2, marks=pytest.mark.slow)])
def test_it_holds_what_a_new_store_would(model: str, clips: Path, tmp_path: Path, shard_size: int, window: int | None, workers: int) -> None:
    job, out, paths = Job(model, shard_size=shard_size, window=window), tmp_path / "store", [str(clips)]
    before = embed_store(job, paths, out, devices=["cpu"], extend=True)
    vectors, rows = np.load(out / "embeddings.npy"), table(out, "ids.csv")
    add(clips)
    store = embed_store(job, paths, out, devices=["cpu"], workers=workers, extend=True)
    fresh = embed_store(job, paths, tmp_path / "fresh", devices=["cpu"])
    assert np.array_equal(np.load(out / "embeddings.npy")[: before.clips], vectors) and table(out, "ids.csv")[: before.clips] == rows
    assert sorted(content(out)) == sorted(content(fresh.folder)) and store.complete and store.row["extended"] == 1
    assert (store.clips, store.refused, store.dim) == (fresh.clips, fresh.refused, fresh.dim) and store.clips > before.clips and store.refused > before.refused
    expected = held(fresh.folder)
    assert held(out).keys() == expected.keys()
    for key, vector in held(out).items():
        np.testing.assert_allclose(vector, expected[key], atol=1e-5)
    for name in ("refused.csv", "files.csv"):
        assert sorted(map(str, table(out, name))) == sorted(map(str, table(fresh.folder, name)))
    whole = content(out)
    for extend, given in ((False, paths), (True, paths), (True, [str(clips / "c.npz")]), (True, [os.path.relpath(clips)])):
        assert embed_store(job, given, out, devices=["cpu"], extend=extend).row == store.row and content(out) == whole


@pytest.mark.parametrize("extend", [True, False])
@pytest.mark.parametrize(
    ("place", "name", "call"),
    [(extending, "write_row", 1), (stores.Store, "write", 1), (stores.Store, "write", 2), (stores, "write_row", 1), (shutil, "rmtree", 4)],
    ids=["planned", "first shard", "second shard", "tables", "store.json"],
)
def test_an_extension_that_was_killed_goes_on(
    model: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int, extend: bool
) -> None:
    job, out, paths, calls, real = Job(model, shard_size=2), tmp_path / "store", [str(clips)], itertools.count(1), getattr(place, name)
    embed_store(job, paths, out, devices=["cpu"])
    before = content(out)
    add(clips)
    shutil.copytree(out, tmp_path / "whole")
    embed_store(job, paths, tmp_path / "whole", devices=["cpu"], extend=True)

    def killed(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return real(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(place, name, killed)
        embed_store(job, paths, out, devices=["cpu"], extend=True)
    if name == "write":
        assert {key: content(out)[key] for key in before.keys() - {"store.json"}} == {key: before[key] for key in before.keys() - {"store.json"}}
        assert not stores.read_store(out).complete
    if place is extending and not extend:
        with pytest.raises(StoreError, match=r"a\.npz is new\. Give the same command to go on with it, --extend to add files that are new"):
            embed_store(job, paths, out, devices=["cpu"])
    else:
        embed_store(job, paths, out, devices=["cpu"], extend=extend)
        assert content(out) == content(tmp_path / "whole")


def test_a_store_that_is_not_done_is_finished_first(model: str, clips: Path, tmp_path: Path) -> None:
    job, out = Job(model, shard_size=1), tmp_path / "store"
    with open_store(out, job, [str(clips)]) as begun:
        ShardEmbedder(begun, Settings("cpu")).embed(0)
    add(clips)
    with pytest.raises(StoreError, match="--extend to add files that are new"):
        embed_store(job, [str(clips)], out, devices=["cpu"])
    store = embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    assert [row["name"] for row in table(out, "ids.csv")] == [f"clip{s}" for s in range(1, 11)] and store.row["extended"] == 1


def test_extended_again_and_by_other_paths(model: str, clips: Path, tmp_path: Path) -> None:
    job, out = Job(model), tmp_path / "store"
    for number, seed in enumerate((21, 22)):
        embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
        skelzoo.save_clips(tmp_path / f"more{seed}/g.npz", make_clip(seed))
        store = embed_store(job, [str(tmp_path / f"more{seed}/*.npz")], out, devices=["cpu"], extend=True)
        assert store.clips == 6 + number and store.row["extended"] == number + 1 and list(held(out))[-1][1] == f"clip{seed}"
    with pytest.raises(StoreError, match=r"its files are not as they were: .*g\.npz is not among the paths given\. Give"):
        embed_store(job, [str(clips)], out, devices=["cpu"])


@pytest.mark.parametrize("repaired", [True, False])
def test_files_without_a_vector_may_change_or_go(model: str, clips: Path, tmp_path: Path, repaired: bool) -> None:
    job, out = Job(model), tmp_path / "store"
    skelzoo.save_clips(clips / "f.npz", make_clip(1, persons=3))
    embed_store(job, [str(clips)], out, devices=["cpu"])
    if repaired:
        skelzoo.save_clips(clips / "f.npz", make_clip(13))
    else:
        (clips / "f.npz").unlink()
    for _ in range(2):
        embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
        assert [name for _, name in held(out)] == [f"clip{s}" for s in (1, 2, 3, 4, 5, *([13] if repaired else []))]
        assert [Path(row["file"]).name for row in table(out, "refused.csv")] == ["broken.bvh", *([] if repaired else ["f.npz"])]


def test_what_is_lost_before_an_extension_is_done_is_named(model: str, clips: Path, tmp_path: Path) -> None:
    job, out = Job(model), tmp_path / "store"
    embed_store(job, [str(clips)], out, devices=["cpu"])
    add(clips)
    with open_store(out, job, [str(clips)], extend=True) as store:
        assert not extending.extend_store(store, [str(clips)]).complete
    (out / "embeddings.npy").unlink()
    with pytest.raises(StoreError, match=r"was complete, but embeddings\.npy is gone"):
        embed_store(job, [str(clips)], out, devices=["cpu"])


def test_a_store_without_a_vector_is_extended_too(model: str, clips: Path, tmp_path: Path) -> None:
    job, out = Job(model), tmp_path / "store"
    assert embed_store(job, [str(clips / "broken.bvh")], out, devices=["cpu"]).clips == 0
    store = embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    assert [name for _, name in held(out)] == [f"clip{s}" for s in (1, 2, 3, 4, 5)] and store.refused == 1
    assert [Path(row["file"]).name for row in table(out, "refused.csv")] == ["broken.bvh"]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("gone", r"b\.npz: is not there any more since .* holds its vectors\. Put it back"),
        ("changed", r"d\.npz: it or another file of its recording has changed since"),
        ("both", r"b\.npz: is not there any more .*, and of 1 more"),
        ("window", "its window is null, now it is 16"),
        ("weights", "its model is"),
        ("files.csv", r"was complete, but files\.csv is gone\. Put it back"),
        ("rows", r"has fewer rows than the 5 that store\.json tells"),
    ],
)
def test_what_keeps_a_store_from_being_extended(model: str, clips: Path, tmp_path: Path, what: str, says: str) -> None:
    out, job = tmp_path / "store", Job(model)
    embed_store(job, [str(clips)], out, devices=["cpu"])
    if what in ("gone", "both"):
        (clips / "b.npz").unlink()
    if what in ("changed", "both"):
        os.utime(clips / "d.npz", (1, 1))
    if what == "window":
        job = Job(model, window=16)
    if what == "weights":
        job = Job(f"local:{make_encoder(seed=1).save(tmp_path / 'other')}")
    if what == "files.csv":
        (out / "files.csv").unlink()
    if what == "rows":
        np.save(out / "embeddings.npy", np.load(out / "embeddings.npy")[:4])
    add(clips)
    before = content(out)
    with pytest.raises(StoreError, match=says):
        embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    assert content(out) == before


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("how", ["relative", "copy", "version"])
def test_the_same_weights_go_on_whatever_their_name(model: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, complete: bool) -> None:
    out, folder = tmp_path / "store", Path(model.removeprefix("local:"))
    job = Job(model if how == "version" else f"local:{shutil.copytree(folder, tmp_path / 'm')}", shard_size=1)
    with open_store(out, job, [str(clips)]) as begun:
        ShardEmbedder(begun, Settings("cpu")).embed(0)
    if complete:
        embed_store(job, [str(clips)], out, devices=["cpu"])
    if how == "version":
        (out / "store.json").write_text((out / "store.json").read_text().replace(f'"{skelzoo.__version__}"', '"0.0.1"'))
    elif how == "copy":
        shutil.move(tmp_path / "m", tmp_path / "other")
        job = Job(f"local:{tmp_path / 'other'}", shard_size=1)
    else:
        monkeypatch.chdir(tmp_path)
        job = Job("local:./m", shard_size=1)
    add(clips)
    embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    told = stores.read_store(out)
    assert told.clips == 10 and told.job == job and told.row["skelzoo"] == ("0.0.1" if how == "version" else skelzoo.__version__)
    assert embed_store(Job(model, shard_size=1), [str(clips)], out, devices=["cpu"]).clips == 10


def test_parquet_of_an_extended_store(model: str, clips: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    job, out = Job(model, shard_size=2, parquet=True), tmp_path / "store"
    embed_store(job, [str(clips)], out, devices=["cpu"])
    add(clips)
    embed_store(job, [str(clips)], out, devices=["cpu"], extend=True)
    rows = pq.read_table(out / "embeddings.parquet")
    assert rows["row"].to_pylist() == list(range(10)) and rows["name"].to_pylist() == [row["name"] for row in table(out, "ids.csv")]
    assert np.array_equal(np.array(rows["embedding"].to_pylist(), np.float32), np.load(out / "embeddings.npy"))


def test_command_line(model: str, clips: Path, tmp_path: Path) -> None:
    def run(*args: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["embed", model, str(clips), *map(str, args)])
        return done.exit_code, done.stdout, done.stderr

    (clips / "broken.bvh").unlink()
    assert run("--out", tmp_path / "store", "--device", "cpu")[0] == 0
    skelzoo.save_clips(clips / "c.npz", make_clip(7))
    code, _, err = run("--out", tmp_path / "store", "--device", "cpu")
    assert code == 1 and "c.npz is new. Give the same command to go on with it, --extend to add files that are new, or another folder." in err
    code, told, _ = run("--out", tmp_path / "store", "--device", "cpu", "--extend")
    assert code == 0 and "6 vectors of 16 numbers" in told
    assert run("-o", tmp_path / "v.npz", "--extend")[0] == 2
