"""What else pose estimators save: the kinds that are read, and the lines that convert the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelzoo import find_files, get_layout, read
from skelzoo.errors import ReadError

COCO = [joint.replace("left_", "Left ") for joint in get_layout("coco17").joints]


@pytest.fixture
def person() -> np.ndarray:
    """Someone (T, 17, x y and score) in pixels, of whom nothing was found in frame 3."""
    found = np.random.default_rng(0).uniform((10, 10, 0.5), (1270, 710, 1), (6, 17, 3))
    found[3] = 0
    return found


def annotations(person: np.ndarray, joints: list[str] = COCO, picture: str = "videos/a_{:05}.jpg", frames: int = 6) -> dict[str, Any]:
    """COCO annotations, the pictures in an order of their own."""
    return {
        "images": [{"id": 70 - t, "file_name": picture.format(t), "width": 1280, "height": 720} for t in reversed(range(frames))],
        "annotations": [
            {"id": t, "image_id": 70 - t, "bbox": [0, 0, 1, 1], **({"keypoints": p.ravel().tolist()} if p.any() else {})} for t, p in enumerate(person)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": joints}, {"id": 2, "name": "car"}],
    }


def ultralytics(person: np.ndarray) -> list[Any]:
    """Results.to_json of every frame."""
    return [[{"name": "person", "class": 0, "keypoints": dict(zip(("x", "y", "visible"), p.T.tolist(), strict=True))}] if p.any() else [] for p in person]


def mmpose(person: np.ndarray) -> list[Any]:
    return [[{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}] if p.any() else [] for p in person]


@pytest.mark.parametrize("kind", [annotations, ultralytics, mmpose, lambda person: {"predictions": mmpose(person), "visualization": []}])
def test_other_kinds_of_json_are_read(tmp_path: Path, person: np.ndarray, kind: Any) -> None:
    path = tmp_path / "walk.json"
    path.write_text(json.dumps(kind(person), indent=1))
    (clip,) = read(find_files(tmp_path)[0])
    assert (clip.layout.name, clip.name, clip.frames) == ("coco17", "walk", 6) and clip.scores is not None
    np.testing.assert_allclose(clip.keypoints[0], person[..., :2], rtol=1e-6)
    np.testing.assert_allclose(clip.scores[0], person[..., 2], rtol=1e-6)


def test_frames_of_annotations_are_those_of_all_pictures(tmp_path: Path, person: np.ndarray) -> None:
    """Also of those behind the last person; many stand before the first annotation in the file."""
    (tmp_path / "a.json").write_text(json.dumps(annotations(person, frames=2000)))
    assert read(find_files(tmp_path)[0])[0].frames == 2000


@pytest.mark.parametrize(("changes", "message"), [
    ({"joints": ["nose", "head_bottom", "head_top", *COCO[3:]]}, "its 17 joints are nose, head_bottom, .*, not those of coco17 in its order"),
    ({"joints": [COCO[0], COCO[2], COCO[1], *COCO[3:]]}, "its 17 joints are nose, right_eye, .*, not those of coco17 in its order"),
    ({"picture": "{0}/7.jpg"}, "of several videos, such as 0/ and 1/"),
    ({"picture": "face.jpg"}, "'face.jpg' has no number"),
])  # fmt: skip
def test_annotations_of_other_joints_or_videos_are_refused(tmp_path: Path, person: np.ndarray, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(annotations(person, **changes)))
    with pytest.raises(ReadError, match=message):
        read(tmp_path / "a.json")
