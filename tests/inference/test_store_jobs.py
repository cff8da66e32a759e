"""What a job asks for decides the content of a store; the rest of the store is in test_bulk.py."""

from __future__ import annotations

import csv
import itertools
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.errors import ClipError, SkelzooError, StoreError
from skelzoo.inference import progress
from skelzoo.inference.bulk import embed_store
from skelzoo.inference.extend import extend_store
from skelzoo.inference.job import Job
from skelzoo.inference.output import ClipId
from skelzoo.inference.shard import Shard
from skelzoo.inference.store import open_store


def column(path: Path, name: str) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


@pytest.mark.parametrize("shard_size", [1, 100])
def test_a_store_of_windows(model: str, tmp_path: Path, shard_size: int) -> None:
    several, one = [make_clip(0, frames=40), make_clip(1, frames=10), make_clip(2, persons=3, frames=30)], make_clip(3, frames=35)
    skelzoo.save_clips(tmp_path / "a.npz", several)
    skelzoo.save_clips(tmp_path / "b.npz", one)
    store = embed_store(Job(model, shard_size=shard_size, window=16, step=12), [str(tmp_path / "*.npz")], tmp_path / "store", devices=["cpu"])
    cut = [window for clip in (*several[:2], one) for window in skelzoo.windows(clip, 16, 12)]
    assert column(store.folder / "ids.csv", "name") == [window.name for window in cut]
    starts = [0, 12, 24, 0, 0, 12, 19]
    assert column(store.folder / "ids.csv", "start") == [str(start) for start in starts]
    assert column(store.folder / "ids.csv", "start_s") == [str(round(start / 30, 4)) for start in starts]
    assert column(store.folder / "refused.csv", "clip") == [window.name for window in skelzoo.windows(several[2], 16, 12)]
    np.testing.assert_allclose(np.load(store.folder / "embeddings.npy"), skelzoo.load(model).embed(cut), atol=1e-5)
    with pytest.raises(StoreError, match="its window is 16, now it is null"):
        embed_store(Job(model, shard_size=shard_size), [str(tmp_path / "*.npz")], store.folder, devices=["cpu"])


def test_shards_are_full_and_go_from_one_file_to_the_next(model: str, tmp_path: Path) -> None:
    for name in "ab":
        skelzoo.save_clips(tmp_path / f"{name}.npz", [make_clip(s) for s in range(3)])
    with open_store(tmp_path / "store", Job(model, shard_size=2), [str(tmp_path / "*.npz")]) as store:
        pieces = [[(Path(piece.file).stem, piece.first, piece.last) for piece in store.pieces(i)] for i in range(store.shards)]
    assert pieces == [[("a", 0, 2)], [("a", 2, 3), ("b", 0, 1)], [("b", 1, 3)]]


@pytest.mark.parametrize(("options", "says"), [({}, ""), ({"shard_size": 3}, "; its shard_size is 1024, now it is 3")])
def test_of_another_model_the_name_and_the_options_given_are_said(model: str, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    other, out, paths = f"local:{make_encoder(seed=1).save(tmp_path / 'other')}", tmp_path / "store", [str(tmp_path / "a.npz")]
    embed_store(Job(other, window=16), paths, out, devices=["cpu"])
    with pytest.raises(StoreError, match=rf"holds another run: its model is [^;]*{says}\. Give the same command"):
        embed_store(Job(model, **options), paths, out, devices=["cpu"])


@pytest.mark.parametrize(
    ("window", "step", "says"),
    [
        (0, None, "of a window is 0"),
        (16, 0, "of a window is 0"),
        (2.5, None, "of a window is 2.5"),
        (None, 16, "without a window. Give both, or leave step out"),
    ],
)
def test_windows_that_are_none(window: Any, step: int | None, says: str) -> None:
    with pytest.raises(ClipError, match=says):
        Job("skeattnclr-openskel", window=window, step=step)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "bf16"}, "dtype 'bf16' is not supported. Use auto, float32, tf32, bfloat16"),
        ({"dtype": torch.bfloat16}, "dtype 'torch.bfloat16' is not supported. Use auto"),
        ({"shard_size": 0}, "shard_size is 0. Give an int"),
        ({"shard_size": 2.5}, "shard_size is 2.5. Give an int"),
        ({"compile": "fast"}, "compile 'fast' is not supported"),
    ],
)
def test_nothing_is_begun_that_could_not_be_done(model: str, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [make_clip(0), make_clip(1)])
    with pytest.raises(SkelzooError, match=re.escape(says)):
        compile = options.pop("compile", False)
        embed_store(Job(model, **options), [str(tmp_path / "a.npz")], tmp_path / "store", devices=["cpu"], compile=compile)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("given", [str, Path, lambda path: (p for p in [path])], ids=["text", "Path", "generator"])
@pytest.mark.parametrize("extend", [False, True])
def test_paths_are_one_or_several(model: str, tmp_path: Path, given: Any, extend: bool) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [make_clip(0), make_clip(1)])
    store = embed_store(Job(model), given(tmp_path / "a.npz"), tmp_path / "store", devices=["cpu"], extend=extend)
    with open_store(store.folder, Job(model), given(tmp_path / "a.npz"), extend) as again:
        assert extend_store(again, given(tmp_path / "a.npz")).clips == 2 and list(again.files()) == [str(tmp_path / "a.npz")]


@pytest.mark.parametrize("given", [[make_clip()], (make_clip(s) for s in itertools.count()), make_clip(), 5, b"a.npz"], ids=lambda given: type(given).__name__)
def test_paths_that_are_none(model: str, tmp_path: Path, given: Any) -> None:
    with pytest.raises(StoreError, match=r"found (Clip|int)\. Save clips with skelzoo\.save_clips, some thousand in a file"):
        embed_store(Job(model), given, tmp_path / "store", devices=["cpu"])
    assert not (tmp_path / "store").exists()


def test_clips_of_a_program_are_saved_as_the_page_says(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/bulk.md").read_text()
    (code,) = (block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "stream = iter(clips)" in block)
    monkeypatch.chdir(tmp_path)
    exec(code.replace("1000", "2"), {"clips": (make_clip(s) for s in range(5))})
    assert column(embed_store(Job(model), "clips", "store", devices=["cpu"]).folder / "ids.csv", "name") == [f"clip{s}" for s in range(5)]


@pytest.mark.parametrize(
    ("state", "workers", "says"),
    [("_inheriting", 1, 'below a line if __name__ == "__main__":'), ("daemon", 2, "MainProcess: 2 workers cannot be started .*Give one device and workers=1")],
)
def test_processes_that_can_start_no_others(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, workers: int, says: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    process: Any = multiprocessing.current_process()
    if state == "daemon":
        monkeypatch.setitem(process._config, state, True)
        assert embed_store(Job(model), tmp_path / "a.npz", tmp_path / "alone", devices=["cpu"]).clips == 1
    else:
        monkeypatch.setattr(process, state, True, raising=False)
    with pytest.raises(StoreError, match=says):
        embed_store(Job(model), tmp_path / "a.npz", tmp_path / "store", devices=["cpu"], workers=workers)
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_script_without_a_guard_ends_at_once_and_is_told(model: str, tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [make_clip(0), make_clip(1)])
    script = tmp_path / "script.py"
    script.write_text(
        "from skelzoo.inference.bulk import embed_store\nfrom skelzoo.inference.job import Job\n"
        f"embed_store(Job({model!r}, shard_size=1), {str(tmp_path / 'a.npz')!r}, {str(tmp_path / 'store')!r}, devices=['cpu'], workers=2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(skelzoo.__file__).parents[1])}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "embed_store stands in a script that its own workers import" in done.stderr
    assert "worker on cpu could not start; what it said stands above" in done.stderr and "tried again" not in done.stderr and ".lock" not in done.stderr


def test_a_log_file_gets_lines_about_progress(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [make_clip(s) for s in range(4)])
    job, paths = Job(model, shard_size=2), [str(tmp_path / "a.npz")]
    embed_store(job, paths, tmp_path / "seldom", devices=["cpu"])
    assert "shard" not in capsys.readouterr().err
    monkeypatch.setattr(progress, "EVERY", 0)
    embed_store(job, paths, tmp_path / "store", devices=["cpu"])
    assert capsys.readouterr().err.splitlines() == ["listing: file 1", "shard 1 of 2", "shard 2 of 2"]


def test_windows_have_times_where_the_frame_rate_is_known(model: str, tmp_path: Path) -> None:
    """Those of clips that a store takes on later too, and another extension keeps them."""
    out = tmp_path / "store"
    for name, fps in (("a", 30), ("b", None), ("c", 30)):
        skelzoo.save_clips(tmp_path / f"{name}.npz", make_clip(1, frames=16).replace(fps=fps))
        embed_store(Job(model, window=16), [str(tmp_path / f"{name}.npz")], out, devices=["cpu"], extend=True)
    assert column(out / "ids.csv", "stop") == ["16", "16", "16"]
    assert column(out / "ids.csv", "stop_s") == ["0.5333", "", "0.5333"]


@pytest.mark.parametrize("lost", ["window", "files"])
def test_what_lacks_an_entry_is_no_store(model: str, tmp_path: Path, lost: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", make_clip())
    out, paths = tmp_path / "store", [str(tmp_path / "a.npz")]
    embed_store(Job(model), paths, out, devices=["cpu"])
    row = json.loads((out / "store.json").read_text())
    (out / "store.json").write_text(json.dumps({key: value for key, value in row.items() if key != lost}))
    with pytest.raises(StoreError, match=r"store\.json: no store of embeddings of format 1"):
        embed_store(Job(model), paths, out, devices=["cpu"])


def test_the_stores_of_a_collection_that_grew_are_read_as_the_page_says(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/bulk.md").read_text()
    (code,) = (block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "store-2" in block)
    monkeypatch.chdir(tmp_path)
    for name, store, window in (("a", "store", None), ("b", "store-2", None), ("c", "store-2", 16)):
        skelzoo.save_clips(f"{name}.npz", [make_clip(0).replace(name=f"{name}0"), make_clip(1).replace(name=f"{name}1")])
        shutil.rmtree(store, ignore_errors=True)
        embed_store(Job(model, window=window), [f"{name}.npz"], store, devices=["cpu"])
        if name == "b":
            exec(code, found := {})
            assert found["vectors"].shape == (4, 16) and [row["name"] for row in found["ids"]] == ["a0", "a1", "b0", "b1"]
    with pytest.raises(AssertionError, match="window"):
        exec(code, {})


def test_a_store_begun_before_there_was_an_option_goes_on(model: str, tmp_path: Path) -> None:
    """With the shards that it has, and grows when it is done."""
    skelzoo.save_clips(tmp_path / "a.npz", [make_clip(0), make_clip(1)])
    out, paths, job = tmp_path / "store", [str(tmp_path / "a.npz")], Job(model, shard_size=1)
    with open_store(out, job, paths) as store:
        store.write(0, Shard(np.full((1, 16), 7, np.float32), [ClipId("clip0", paths[0])], ()))
    with np.load(out / "shards/00000000.npz") as z:
        kept = {key: z[key] for key in z if key != "persons"}
    np.savez(out / "shards/00000000.npz", **kept)
    for grown in (False, True):
        row = json.loads((out / "store.json").read_text())
        (out / "store.json").write_text(json.dumps({key: value for key, value in row.items() if key != "each_person"}))
        if grown:
            skelzoo.save_clips(tmp_path / "b.npz", make_clip(2))
            paths.append(str(tmp_path / "b.npz"))
        embed_store(job, paths, out, devices=["cpu"], extend=grown)
        vectors = np.load(out / "embeddings.npy")
        assert (vectors[0] == 7).all() and (vectors[1:] != 7).all() and column(out / "ids.csv", "name") == ["clip0", "clip1", "clip2"][: len(vectors)]
    assert len(vectors) == 3
