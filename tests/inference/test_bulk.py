"""Many files to one store: what is in it, and that no kill -9 changes a byte of it."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import current_process
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from filelock import FileLock
from forked import SERVER
from tiny import make_clip, make_encoder, write_corpus

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import StoreError, WriteError
from skelzoo.inference.bulk import Settings, ShardEmbedder, embed_store
from skelzoo.inference.job import Job
from skelzoo.inference.store import open_store


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Six clips that can be used, in a file of one, a file of three and a corpus of two; beside them a broken file and three clips that cannot."""
    folder = tmp_path / "clips"
    folder.mkdir()
    skelzoo.save_clips(folder / "a.npz", [make_clip(1)])
    skelzoo.save_clips(folder / "b.npz", [make_clip(2), make_clip(3, frames=1), make_clip(4, frames=9), make_clip(5, persons=2), make_clip(6, persons=3)])
    (folder / "broken.bvh").write_text("HIERARCHY\nROOT Hips\n{\n")
    write_corpus(folder / "c.npz", [make_clip(7), make_clip(8)], labels=[0, 1])
    np.savez(folder / "d.npz", keypoints=np.stack([np.sign(make_clip(9).keypoints) * 3e38, np.full((1, 20, 20, 3), np.nan)]), layout="kinect20")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small clips for a run of 20 shards: 600 in one file, 20 in files of their own."""
    folder = tmp_path_factory.mktemp("many")
    skelzoo.save_clips(folder / "all.npz", [make_clip(s, frames=8) for s in range(600)])
    for s in range(20):
        skelzoo.save_clips(folder / f"one{s:02}.npz", [make_clip(s, frames=9)])
    return folder


def content(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file() and p.name != ".lock"}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("shard_size", [1, 4, 100])
def test_a_store_holds_what_embed_gives(model: str, clips: Path, tmp_path: Path, shard_size: int, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(clips), str(clips / "a.npz"), str(tmp_path / "nothing")]
    store = embed_store(Job(model, shard_size=shard_size), paths, tmp_path / "store", devices=["cpu"])
    assert sorted(content(tmp_path / "store")) == ["embeddings.npy", "files.csv", "ids.csv", "refused.csv", "store.json"]
    vectors = np.load(tmp_path / "store/embeddings.npy", mmap_mode="r")
    usable = [c for s in (1, 2, 4, 5) for c in [make_clip(s, frames=9 if s == 4 else 20, persons=2 if s == 5 else 1)]]
    expected = skelzoo.load(model, device="cpu").embed([*usable, *skelzoo.read(clips / "c.npz")])
    assert vectors.dtype == np.float32 and isinstance(vectors, np.memmap)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    ids = table(tmp_path / "store/ids.csv")
    assert [r["row"] for r in ids] == list("012345") and [r["name"] for r in ids] == ["clip1", "clip2", "clip4", "clip5", "clip7", "clip8"]
    assert ids[5] == {"row": "5", "name": "clip8", "file": str(clips / "c.npz"), "label": "class1"}
    refused = {(Path(r["file"]).name, r["clip"]): r["error"] for r in table(tmp_path / "store/refused.csv")}
    assert set(refused) == {("b.npz", "clip3"), ("b.npz", "clip6"), ("broken.bvh", ""), ("d.npz", "d[0]"), ("d.npz", "d[1]"), ("nothing", "")}
    assert "1 frame(s)" in refused["b.npz", "clip3"] and "too large" in refused["d.npz", "d[0]"] and "NaN" in refused["d.npz", "d[1]"]
    assert sum(line.startswith("error: ") for line in capsys.readouterr().err.splitlines()) == 6
    row = json.loads((tmp_path / "store/store.json").read_text())
    sums = json.loads((Path(model.removeprefix("local:")) / "checksums.json").read_text())
    assert row == store.row and (row["clips"], row["dim"], row["refused"], row["model"]) == (6, 16, 6, model)
    assert row["weights_sha256"] == sums["model.safetensors"]["sha256"] and row["contract"]["frames"] == 16 and row["skelzoo"] == skelzoo.__version__
    assert store.job == Job(model, shard_size=shard_size) and (store.clips, store.dim, store.refused) == (6, 16, 6)
    open_files = {os.readlink(link) for link in Path("/proc/self/fd").glob("*") if os.path.lexists(link)}  # none where the system has no such folder
    assert not [file for file in open_files if file.startswith(str(clips))]
    before = content(tmp_path / "store")
    embed_store(Job(model, shard_size=shard_size), paths, tmp_path / "store", devices=["cpu"])
    assert content(tmp_path / "store") == before and capsys.readouterr().err == ""


def test_parquet(model: str, clips: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    embed_store(Job(model, select_persons=True, shard_size=2, parquet=True), [str(clips)], tmp_path / "store", devices=["cpu"])
    rows = pq.read_table(tmp_path / "store/embeddings.parquet")
    assert rows["name"].to_pylist() == [r["name"] for r in table(tmp_path / "store/ids.csv")] and "clip6" in rows["name"].to_pylist()
    assert rows["row"].to_pylist() == list(range(7)) and rows["label"][6].as_py() == "class1"
    assert np.array_equal(np.array(rows["embedding"].to_pylist(), np.float32), np.load(tmp_path / "store/embeddings.npy"))


def test_another_run_is_refused(model: str, clips: Path, tmp_path: Path) -> None:
    out, paths = tmp_path / "store", [str(clips)]
    embed_store(Job(model), paths, out, devices=["cpu"])
    before = content(out)
    other = f"local:{make_encoder(seed=1).save(tmp_path / 'other')}"
    for job, files, told in ((Job(other), paths, "its model is"), (Job(model, dtype="bfloat16"), paths, 'dtype is "auto", now it is "bfloat16"'),
                             (Job(model), [str(clips / "a.npz")], "its files are not as they were"), (Job(model, shard_size=3), paths, "shard_size")):  # fmt: skip
        with pytest.raises(StoreError, match=f"holds another run: .*{told}"):
            embed_store(job, files, out, devices=["cpu"])
    os.utime(clips / "a.npz", (1, 1))
    with pytest.raises(StoreError, match="its files are not as they were"):
        embed_store(Job(model), paths, out, devices=["cpu"])
    assert content(out) == before


def test_a_store_does_not_go_on_with_other_persons(model: str, clips: Path, tmp_path: Path) -> None:
    embed_store(Job(model, select_persons=True), [str(clips)], tmp_path / "store", devices=["cpu"])
    with pytest.raises(StoreError, match="its select_persons is true, now it is false"):
        embed_store(Job(model), [str(clips)], tmp_path / "store", devices=["cpu"])


def test_a_store_that_lost_a_file_is_not_called_complete(model: str, clips: Path, tmp_path: Path) -> None:
    embed_store(Job(model), [str(clips)], tmp_path / "store", devices=["cpu"])
    (tmp_path / "store/embeddings.npy").unlink()
    with pytest.raises(StoreError, match=r"was complete, but embeddings\.npy is gone"):
        embed_store(Job(model), [str(clips)], tmp_path / "store", devices=["cpu"])


def test_folders_that_cannot_be_taken(model: str, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no store"):
        embed_store(Job(model), [str(clips)], clips)
    (tmp_path / "empty").mkdir()
    for out in ("new", "empty"):
        with pytest.raises(StoreError, match=r"nothing to embed \(.*nowhere.*\)\. Nothing was written"):
            embed_store(Job(model), [str(tmp_path / "nowhere")], tmp_path / out)
    assert (tmp_path / "empty").is_dir(), "what was there before stays"
    with pytest.raises(StoreError, match="1 devices and 0 workers"):
        embed_store(Job(model), [str(clips)], tmp_path / "new", devices=["cpu"], workers=0)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="is a file"):
        embed_store(Job(model), [str(clips)], tmp_path / "file")
    with open_store(tmp_path / "store", Job(model), [str(clips)]) as store:
        with pytest.raises(WriteError, match="another process works on it"):
            embed_store(Job(model), [str(clips)], tmp_path / "store")
        with pytest.raises(StoreError, match="1 of 1 shards are missing"):
            store.finish()
    (tmp_path / "store/store.json").write_text("[]")
    with pytest.raises(StoreError, match="no store of embeddings"):
        embed_store(Job(model), [str(clips)], tmp_path / "store")


def test_command_line(model: str, clips: Path, tmp_path: Path) -> None:
    def run(*args: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["embed", model, str(clips), *map(str, args)])
        return done.exit_code, done.stdout, done.stderr

    code, out, err = run("--out", tmp_path / "store", "--device", "cpu", "--shard-size", 2)
    assert code == 1 and "6 vectors of 16 numbers" in out
    assert "5 file(s) or clip(s) left out, 6 clip(s) done" in err and "clip6: 3 persons" in err and "broken.bvh" in err
    assert run("--out", tmp_path / "store", "-o", tmp_path / "v.npz")[0] == 2
    assert run()[0] == 2 and run("-o", tmp_path / "v.npz", "--workers", 2)[0] == 2
    code, _, err = run("--out", tmp_path / "other", "--device", "cpu", "--devices", "2")
    assert code == 2 and "Give --device or --devices. A number in --devices is one of CUDA" in err and not (tmp_path / "other").exists()
    code, out, err = run("--out", tmp_path / "other", "--devices", "0,7")
    assert code == 1 and "cuda:" in err and "is not on this machine" in err and not (tmp_path / "other").exists()


def test_workers_leave_nothing_behind(model: str, clips: Path, tmp_path: Path) -> None:
    """Python warns of semaphores that nobody gave back."""
    options = ["--out", str(tmp_path / "store"), "--devices", "cpu,cpu", "--shard-size", "1"]
    command = [sys.executable, "-c", "from skelzoo.cli import main; main()", "embed", model, str(clips / "a.npz"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 and "leaked" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def whole(model: str, many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store of a run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole") / "store"
    embed_store(Job(model, shard_size=32), [str(many)], out, devices=["cpu"])
    return content(out)


def shards(out: Path) -> int:
    return len(list((out / "shards").glob("*.npz")))


def killed(model: str, many: Path, out: Path, more: int, later: float) -> None:
    """A run that is killed once so many more shards are done, and so many seconds later; or that ends before."""
    process = SERVER.Process(target=embed_store, args=(Job(model, shard_size=32), [str(many)], out), kwargs={"devices": ["cpu"]})
    wanted = shards(out) + more
    process.start()
    while process.is_alive() and shards(out) < wanted:
        time.sleep(0.001)
    process.join(later)
    process.kill()
    process.join()


def kill_and_go_on(model: str, many: Path, out: Path, points: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(points):
        killed(model, many, out, rng.choice([0, 1, 2, 5]), rng.random() * 0.05)
    embed_store(Job(model, shard_size=32), [str(many)], out, devices=["cpu"])


def test_killed_runs_end_as_one_that_was_not(model: str, many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    kill_and_go_on(model, many, tmp_path / "store", 4, seed=0)
    assert content(tmp_path / "store") == whole


@pytest.mark.slow
def test_runs_killed_at_twenty_points_end_as_one_that_was_not(model: str, many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    for seed in range(1, 5):
        kill_and_go_on(model, many, tmp_path / f"store{seed}", 5, seed)
        assert content(tmp_path / f"store{seed}") == whole


def test_finished_shards_are_not_made_again(model: str, many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """And a run that dies while it brings them together goes on there."""
    out = tmp_path / "store"
    killed(model, many, out, 5, 0)
    made = {p: p.stat().st_mtime_ns for p in (out / "shards").glob("*.npz")}
    last = sorted(made)[-1]
    for scratch in (out / f"shards/.{last.name}.1.part", out / ".embeddings.npy.1.part"):
        scratch.write_bytes(b"half")
    last.unlink()
    killed(model, many, out, 1, 0)
    assert 5 <= len(made) < 20 and last.is_file() and not (out / f"shards/.{last.name}.1.part").exists()
    assert {p: p.stat().st_mtime_ns for p in made if p != last} == {p: t for p, t in made.items() if p != last}
    (out / "embeddings.npy").write_bytes(b"of an end that was not reached")
    embed_store(Job(model, shard_size=32), [str(many)], out, devices=["cpu"])
    assert content(out) == whole


def workers_of(pid: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in command:
            yield int(folder.name)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the workers")


def test_a_killed_worker_is_named_and_its_shard_made_again(
    model: str, many: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = tmp_path / "store", []
    forked = SimpleNamespace(Pipe=SERVER.Pipe, Process=lambda **settings: found.append(SERVER.Process(**settings)) or found[-1])

    def kill_one() -> None:
        while shards(out) < 3:
            time.sleep(0.001)
        os.kill(found[0].pid, signal.SIGKILL)

    monkeypatch.setattr("skelzoo.inference.bulk.multiprocessing", SimpleNamespace(get_context=lambda _: forked, current_process=current_process))
    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    embed_store(Job(model, shard_size=32), [str(many)], out, devices=["cpu"], workers=2)
    err = capsys.readouterr().err
    assert len(found) == 3 and "worker on cpu died (exit code -9) at shard" in err and "tried again (1 of 2)" in err
    assert content(out) == whole


@needs_proc
def test_a_shard_that_always_kills_its_worker_ends_the_run(model: str, many: Path, tmp_path: Path) -> None:
    over = threading.Event()

    def kill_all() -> None:
        while not over.wait(0.005):
            for worker in workers_of(os.getpid()):
                os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill_all, daemon=True)
    killer.start()
    try:
        with pytest.raises(StoreError, match=r"all\.npz, 3 times\. Look there for a file"):
            embed_store(Job(model, shard_size=32), [str(many)], tmp_path / "store", devices=["cpu"], workers=2)
    finally:
        over.set()
        killer.join()
    assert list(workers_of(os.getpid())) == []


@needs_proc
@pytest.mark.slow
def test_workers_end_with_the_run(model: str, many: Path, tmp_path: Path) -> None:
    code = "from skelzoo.cli import main; main()"
    command = [sys.executable, "-c", code, "embed", model, str(many), "--out", str(tmp_path / "store"), "--shard-size", "32", "--workers", "2"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(skelzoo.__file__).parents[1])}, stderr=subprocess.DEVNULL)
    while shards(tmp_path / "store") < 1 and process.poll() is None:
        time.sleep(0.001)
    workers = list(workers_of(process.pid))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{w}").exists() for w in workers):
        assert time.monotonic() < deadline, "workers live on"
        time.sleep(0.01)
    with FileLock(tmp_path / "store/.lock", timeout=0):
        assert len(workers) == 2


@needs_proc
@pytest.mark.slow
def test_memory_does_not_grow_with_the_clips(model: str, tmp_path: Path) -> None:
    """A file of six times the clips, 230 MB of joints, takes no more of it."""
    keypoints = np.repeat(np.repeat(make_clip(persons=2).keypoints[None], 500, 0), 8, 2)
    peaks = []
    for times in (1, 6):
        np.savez(tmp_path / f"{times}.npz", keypoints=np.concatenate([keypoints] * times), layout="kinect20")
        code = f"""
from pathlib import Path
from skelzoo.inference.bulk import embed_store
from skelzoo.inference.job import Job
embed_store(Job({model!r}), [{str(tmp_path / f"{times}.npz")!r}], {str(tmp_path / f"store{times}")!r}, devices=["cpu"])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(skelzoo.__file__).parents[1])}
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 25, peaks


@pytest.mark.slow
def test_example_embed_torchrun(model: str, clips: Path, tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "examples/embed_torchrun.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(skelzoo.__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(example), str(clips), str(tmp_path / "store"), model]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "6 vectors of 16 numbers" in done.stdout and done.stderr.count("left out: ") == 5, done.stderr
    embed_store(Job(model), [str(clips)], tmp_path / "one", devices=["cpu"])
    assert content(tmp_path / "store") == content(tmp_path / "one")
    skelzoo.save_clips(clips / "a_new_one.npz", make_clip(7))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "7 vectors of 16 numbers" in done.stdout and "left out: " not in done.stderr, done.stderr


def test_a_store_among_its_recordings_goes_on_and_is_no_recording(model: str, clips: Path, tmp_path: Path) -> None:
    (clips / "broken.bvh").unlink()
    job, store = Job(model, shard_size=2), clips / "store"
    with open_store(store, job, [str(clips)]) as begun:
        embedder = ShardEmbedder(begun, Settings("cpu"))
        embedder.embed(0)
    done = embed_store(job, [str(clips)], store, devices=["cpu"])
    assert done.complete and embed_store(job, [str(clips)], store, devices=["cpu"]).row == done.row
    expected = embed_store(job, [str(clips)], tmp_path / "elsewhere", devices=["cpu"])
    # Of a folder with another store in it, which is no result of this run, the vectors and what was refused of them are no clips.
    ids = [row["name"] for row in csv.DictReader((store / "ids.csv").open())]
    assert len(ids) == done.clips and ids == [row["name"] for row in csv.DictReader((expected.folder / "ids.csv").open())]
    assert "embeddings.npy" not in (store / "refused.csv").read_text()


def test_a_recording_of_which_a_file_is_gone_is_refused_alone(model: str, clips: Path, tmp_path: Path) -> None:
    for t in range(2):
        (tmp_path / f"rec/a_{t:012d}_keypoints.json").parent.mkdir(exist_ok=True)
        (tmp_path / f"rec/a_{t:012d}_keypoints.json").symlink_to(tmp_path / "gone")
    done = embed_store(Job(model), [str(clips), str(tmp_path / "rec")], tmp_path / "store", devices=["cpu"])
    alone = embed_store(Job(model), [str(clips)], tmp_path / "alone", devices=["cpu"])
    assert done is not None and alone is not None and len(table(tmp_path / "store/ids.csv")) == len(table(tmp_path / "alone/ids.csv"))
    assert any("keypoints.json" in row["file"] for row in table(tmp_path / "store/refused.csv"))


@pytest.mark.parametrize("change", ["more frames", "fewer frames", "another partner"])
def test_all_files_of_a_recording_count(model: str, clips: Path, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    person = ", ".join(str(100 + 7 * i % 90) for i in range(75))
    for t in range(3):
        (folder / f"a_{t:012d}_keypoints.json").write_text(f'{{"people": [{{"pose_keypoints_2d": [{person}]}}]}}')
    for kind in ("positions", "angles"):
        (folder / f"m01_s01_e01_{kind}.txt").write_text("1 2 3\n")
    embed_store(Job(model), [str(clips), str(folder)], tmp_path / "store", devices=["cpu"])
    if change == "more frames":
        shutil.copy(folder / "a_000000000002_keypoints.json", folder / "a_000000000003_keypoints.json")
    elif change == "fewer frames":
        (folder / "a_000000000002_keypoints.json").unlink()
    else:
        (folder / "m01_s01_e01_positions.txt").write_text("1 2 3 4\n")
    with pytest.raises(StoreError, match="its files are not as they were"):
        embed_store(Job(model), [str(clips), str(folder)], tmp_path / "store", devices=["cpu"])
