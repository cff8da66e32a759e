"""The JSON of Azure Kinect's offline_processor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skelzoo
from skelzoo.errors import ReadError

PLACES = np.random.default_rng(0).normal((0, 0, 2500), 500, size=(2, 8, 32, 3))


def recording() -> dict[str, Any]:
    """Body 4 in frames 0 to 7, but for 3 without a frame and 5 without a body; body 9 before it in 6 and 7."""
    ids = [[4], [4], [4], [], [4], [], [9, 4], [9, 4]]
    frames = [
        {"timestamp_usec": 10**6 + 33333 * t, "bodies": [{"body_id": i, "joint_positions": PLACES[int(i == 9), t].tolist()} for i in who]}
        for t, who in enumerate(ids)
        if t != 3
    ]
    return {"k4abt_sdk_version": "1.1", "joint_names": ["PELVIS"], "frames": frames}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_bodies_by_id_in_metres_with_y_up(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a_12.json").write_text(json.dumps(recording()), encoding=encoding)
    assert skelzoo.find_files(tmp_path) == [tmp_path / "a_12.json"]
    (clip,) = skelzoo.read(tmp_path / "a_12.json")
    assert (clip.layout.name, clip.fps, clip.person_ids, clip.notes, clip.name) == ("azurekinect32", 30, ("4", "9"), ("turned from -y up",), "a_12")
    there = np.array([[1, 1, 1, 0, 1, 0, 1, 1], [0] * 6 + [1, 1]])[..., None, None]
    np.testing.assert_allclose(clip.keypoints, PLACES / 1000 * [1, -1, -1] * there, atol=1e-5)
    said, left = (skelzoo.read(tmp_path / "a_12.json", up=up)[0] for up in ("-y", "y"))
    assert np.array_equal(said.keypoints, clip.keypoints) and np.allclose(left.keypoints, clip.keypoints * [1, -1, -1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("frames"), "offline_processor.*KeyError: 'frames'"),
        (lambda d: d["frames"][0]["bodies"][0].update(joint_positions=[[0, 0, 1]] * 26), r"offline_processor.*32 x 3"),
        (lambda d: d["frames"][0].update(timestamp_usec=float("nan")), "the time nan"),
        (lambda d: d["frames"][0].update(timestamp_usec=d["frames"][1]["timestamp_usec"]), "has the time 1033333 twice"),
        (lambda d: d["frames"][0].update(timestamp_usec=10**15), "are no video"),
        (lambda d: d["frames"][0].update(bodies=d["frames"][0]["bodies"] * 2), "picture 0 has two persons with the id 4"),
        (lambda d: [row.update(bodies=[]) for row in d["frames"]], r"nobody was found in it \(7 frames\)"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    data = recording()
    change(data)
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ReadError, match=rf"a\.json: .*{message}"):
        skelzoo.read(tmp_path / "a.json")
