"""Rows of a Ray dataset get the vectors that embed gives, none is lost when a worker is killed, and none when a clip is bad."""

from __future__ import annotations

import os
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_clip

import skelzoo
from skelzoo.errors import ClipError
from skelzoo.inference.ray import EmbedActor, embed_dataset


def rows_of(clips: list[skelzoo.Clip]) -> dict[str, Any]:
    return {
        "keypoints": [c.keypoints.ravel() for c in clips], "frames": [c.frames for c in clips], "persons": [c.persons for c in clips],
        "layout": [c.layout.name for c in clips], "name": [c.name for c in clips], "mine": list(range(len(clips))),
    }  # fmt: skip


def test_an_actor_keeps_every_row(model: str) -> None:
    clips = [make_clip(s, frames=10 + s, persons=1 + s % 2) for s in range(5)]
    batch = {key: np.array([*values, None], object)[:-1] for key, values in rows_of(clips).items()}
    batch["frames"][1] = 3
    batch["layout"][2] = None
    batch["persons"][4] = float("nan")
    batch["fps"] = np.array([30, 30, 30, 30, np.nan], np.float32)
    out = EmbedActor(model, device="cpu")(batch)
    expected = skelzoo.load(model, device="cpu").embed(clips)
    np.testing.assert_allclose(out["embedding"][[0, 3, 4]], expected[[0, 3, 4]], atol=1e-5)
    assert out["embedding"].dtype == np.float32 and np.isnan(out["embedding"][[1, 2]]).all() and out["mine"].tolist() == list(range(5))
    assert out["error"][[0, 3, 4]].tolist() == [""] * 3 and "3 frames" in out["error"][1] and "layout are empty" in out["error"][2]


def test_an_actor_takes_arrays_of_equal_clips(model: str) -> None:
    x = np.stack([make_clip(s, persons=2).keypoints for s in range(3)])
    out = EmbedActor(model, device="cpu")({"keypoints": x, "layout": np.array(["kinect20"] * 3)})
    np.testing.assert_allclose(out["embedding"], skelzoo.load(model, device="cpu").embed(x, axes="n m t v c"), atol=1e-5)


@pytest.mark.parametrize("axes", [3, 4])
def test_an_actor_takes_nested_lists_as_ray_gives_them(model: str, axes: int) -> None:
    clips = [make_clip(s, frames=10 + s) for s in range(3)]
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    nested = [c.keypoints.tolist() if axes == 4 else c.keypoints[0].tolist() for c in clips]
    ragged = [[[0.0] * 3] * 20, [[0.0] * 3] * 19]
    table = pa.table(
        {
            "keypoints": pa.array([*nested, [ragged] if axes == 4 else ragged]),
            "layout": ["kinect20"] * 4,
            "scores": [np.ones((10 + s, 20)).tolist() for s in range(4)],
        }
    )
    out = EmbedActor(model, device="cpu")({name: table[name].to_numpy() for name in table.column_names})
    np.testing.assert_allclose(out["embedding"][:3], skelzoo.load(model, device="cpu").embed(clips), atol=1e-5)
    assert out["error"][:3].tolist() == [""] * 3 and "skelzoo docs bulk" in out["error"][3] and np.isnan(out["embedding"][3]).all()


def test_an_actor_cuts_windows(model: str) -> None:
    clips = [make_clip(0, frames=40), make_clip(1, frames=10), make_clip(2), make_clip(3, persons=3, frames=20), make_clip(4, frames=35)]
    batch = {key: np.array([*values, None], object)[:-1] for key, values in rows_of(clips).items()}
    batch["keypoints"][2], batch["fps"] = np.zeros_like(batch["keypoints"][2]), np.full(5, 30.0)
    out = EmbedActor(model, device="cpu", window=16, step=12)(batch)
    cut = {i: skelzoo.windows(clips[i], 16, 12) for i in (0, 1, 3, 4)}
    windows = [(i, window) for i in range(5) for window in cut.get(i, clips[2:3])]
    assert out["mine"].tolist() == [i for i, _ in windows] and out.keys() == (
        batch.keys() | {"name", "embedding", "error", "start", "stop", "start_s", "stop_s"}
    ) - {"keypoints"}
    assert out["name"].tolist() == [window.name for _, window in windows]
    good = np.array([i not in (2, 3) for i, _ in windows])
    assert out["stop"].tolist() == [int(w.name.rpartition(":")[2][:-1]) if ok else -1 for (_, w), ok in zip(windows, good, strict=True)]
    assert np.array_equal(out["start_s"], np.where(good, np.round(out["start"] / 30, 4), np.nan), equal_nan=True)
    np.testing.assert_allclose(out["embedding"][good], skelzoo.load(model, device="cpu").embed([*cut[0], *cut[1], *cut[4]]), atol=1e-5)
    assert np.isnan(out["embedding"][~good]).all() and (out["error"] == "").tolist() == good.tolist()
    assert "nobody was tracked" in out["error"][out["mine"] == 2][0] and "3 persons" in out["error"][out["mine"] == 3][0]


def test_an_actor_keeps_a_row_without_windows(model: str) -> None:
    keypoints = make_clip(frames=40).keypoints.copy()
    keypoints[:, [*range(8), *range(32, 40)]] = 0
    rows = rows_of([make_clip(frames=40).replace(keypoints=keypoints)])
    out = EmbedActor(model, device="cpu", window=8, step=50)({key: np.array(values) for key, values in rows.items()})
    assert np.isnan(out["embedding"]).all() and "nobody is there in any of its windows" in out["error"][0] and list(out["name"]) == ["clip0"]


@pytest.mark.parametrize(("window", "step", "says"), [(0, None, "of a window is 0"), (None, 16, "step is given without a window")])
def test_an_actor_refuses_windows_that_are_none(model: str, window: int | None, step: int | None, says: str) -> None:
    with pytest.raises(ClipError, match=says):
        EmbedActor(model, device="cpu", window=window, step=step)


def test_columns_that_are_not_there_are_named(model: str) -> None:
    rows = {key: np.array(values) for key, values in rows_of([make_clip()]).items() if key != "name"}
    assert EmbedActor(model, device="cpu")(rows)["error"] == [""]
    with pytest.raises(ClipError, match=r"no column name, which tells windows .*\. Add one"):
        EmbedActor(model, device="cpu", window=16)(rows)
    with pytest.raises(ClipError, match=r"no column keypoints; they have joints, layout\..*skelzoo docs bulk"):
        EmbedActor(model, device="cpu")({"joints": np.zeros((2, 3)), "layout": np.array(["kinect20"] * 2)})


def workers() -> list[int]:
    """Actors of Ray that embed."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::") and b"EmbedActor" in command:
            found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine, with a CPU for each of two workers and one for reading."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find the workers")
def test_two_workers_of_ray_one_of_them_killed(model: str, cluster: Any) -> None:
    clips = [make_clip(s, frames=8, persons=2) for s in range(4000)]
    table = rows_of(clips)
    dataset = cluster.data.from_items([dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)], override_num_blocks=16)
    killed: list[int] = []
    rows = []
    for row in embed_dataset(dataset, model, workers=2, device="cpu").iter_rows():
        if not rows:
            killed = workers()
            os.kill(killed[0], signal.SIGKILL)
        rows.append(row)
    rows.sort(key=lambda row: row["mine"])
    assert len(killed) == 2 and [row["mine"] for row in rows] == list(range(4000)) and {row["error"] for row in rows} == {""}
    expected = skelzoo.load(model, device="cpu").embed(clips)
    np.testing.assert_allclose(np.stack([row["embedding"] for row in rows]), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_example_embed_ray(model: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    clips = [make_clip(s, frames=8 + s % 3, persons=1 + s % 2) for s in range(20)]
    (tmp_path / "clips").mkdir()
    pq.write_table(pa.table(rows_of(clips)), tmp_path / "clips/a.parquet")
    runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples/embed_ray.py"))["main"](str(tmp_path / "clips"), str(tmp_path / "out"), model, "1")
    rows = pq.read_table(tmp_path / "out").sort_by("mine").to_pydict()
    assert rows["name"] == [c.name for c in clips] and "keypoints" not in rows
    np.testing.assert_allclose(np.array(rows["embedding"]), skelzoo.load(model, device="cpu").embed(clips), atol=1e-5)
