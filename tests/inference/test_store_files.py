"""Files of a store that are damaged, or change while it is made; the rest of the store is in test_bulk.py."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.inference.bulk import embed_store
from skelzoo.inference.store import Job


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{make_encoder().save(tmp_path_factory.mktemp('models') / 'tiny')}"


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
