"""What else pose estimators save: the kinds that are read, and the lines that convert the others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelzoo import find_files, get_layout, read
from skelzoo.errors import ClipError, ReadError

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


def as_texts(person: np.ndarray) -> list[str]:
    """Results.to_json of every frame as they come, older versions' with line breaks."""
    return [json.dumps(frame, indent=2 if t % 2 else None) for t, frame in enumerate(ultralytics(person))]


@pytest.mark.parametrize("kind", [
    annotations, ultralytics, as_texts, mmpose, lambda person: {"predictions": mmpose(person), "visualization": []},
    lambda person: [{"visualization": [], "predictions": [frame]} for frame in mmpose(person)],
    lambda person: [{"predictions": mmpose(person)[:4]}, {"predictions": mmpose(person)[4:]}],
    lambda person: [{"frame": 7 + t, "track_id": 1, **frame[0]} for t, frame in enumerate(ultralytics(person)) if frame],
])  # fmt: skip
def test_other_kinds_of_json_are_read(tmp_path: Path, person: np.ndarray, kind: Any) -> None:
    for name in ("walk.json", "walk_1.json"):  # which is no picture, though named like one
        (tmp_path / name).write_text(json.dumps(kind(person), indent=1))
    (path, numbered) = find_files(tmp_path)
    (clip,), (other,) = read(path), read(numbered)
    assert (clip.layout.name, clip.name, clip.frames) == ("coco17", "walk", 6) and clip.scores is not None
    assert np.array_equal(other.keypoints, clip.keypoints)
    np.testing.assert_allclose(clip.keypoints[0], person[..., :2], rtol=1e-6)
    np.testing.assert_allclose(clip.scores[0], person[..., 2], rtol=1e-6)


def test_a_row_of_one_frame_in_a_numbered_file_is_of_a_file_per_frame(tmp_path: Path, person: np.ndarray) -> None:
    for t, frame in enumerate(ultralytics(person)):
        (tmp_path / f"walk_{t}.json").write_text(json.dumps([{"frame": t, **row} for row in frame]))
    (clip,) = read(find_files(tmp_path)[0])
    np.testing.assert_allclose(clip.keypoints[0], person[..., :2], rtol=1e-6)


@pytest.mark.parametrize(("texts", "message"), [
    (lambda texts: "".join(texts), "holds more than one JSON text .* make one list of them"),
    (lambda texts: "\n".join(texts), "holds more than one JSON text .* make one list of them"),
    (lambda texts: json.dumps(texts[0]), "saved as JSON once more, .* Save the text as it is"),
    (lambda texts: json.dumps([texts[0][:-1]]), "is no complete JSON"),
    (lambda texts: json.dumps([{"frame": 1, "boxes": json.loads(texts[0])}]), "no keypoints, but frame, boxes. Read are OpenPose"),
])  # fmt: skip
def test_results_saved_otherwise_are_refused_with_what_to_do(tmp_path: Path, person: np.ndarray, texts: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(texts(as_texts(person)))
    with pytest.raises(ReadError, match=message):
        read(find_files(tmp_path)[0])


def test_frames_of_annotations_are_those_of_all_pictures(tmp_path: Path, person: np.ndarray) -> None:
    """Also of those behind the last person; many stand before the first annotation in the file."""
    (tmp_path / "a.json").write_text(json.dumps(annotations(person, frames=2000)))
    assert read(find_files(tmp_path)[0])[0].frames == 2000


@pytest.mark.parametrize(("images", "size"), [
    ({}, (720, 1280)), ({3: {"width": 640}}, (720, 1280)), ({2: {"width": 640}}, None), ({2: {"height": None}}, None), ({t: {"width": 0} for t in range(6)}, None),
    ({t: {"width": 1280.0, "height": 720.0} for t in range(6)}, (720, 1280)), ({t: {"width": 1280.5} for t in range(6)}, None),
    ({t: {"width": float("inf")} for t in range(6)}, None), ({t: {"width": True, "height": True} for t in range(6)}, None),
])  # fmt: skip
def test_the_size_of_the_pictures_with_people_is_kept_where_it_is_one(tmp_path: Path, person: np.ndarray, images: Any, size: tuple[int, int] | None) -> None:
    """Nobody is in picture 3."""
    data = annotations(person)
    data["images"] = [{**image, **images.get(70 - image["id"], {})} for image in data["images"]]
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert repr(read(tmp_path / "a.json")[0].image_size) == repr(size), "whole numbers"
    if size is not None:
        assert read(tmp_path / "a.json", image_size="1280x720")[0].image_size == size
        with pytest.raises(ClipError, match="its file says a picture of 1280x720, and you say 720x1280"):
            read(tmp_path / "a.json", image_size="720x1280")


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


def easy_vitpose(path: Path, person: np.ndarray) -> None:
    """With a neck behind the ears, as of its 25 joints."""
    joints = np.insert(person[..., [1, 0, 2]], 5, 1, axis=1)
    names = ["nose", "left_eye", "right_eye", "left_ear", "right_ear", "neck", *get_layout("coco17").joints[5:]]
    data = {"keypoints": [{"4": p.tolist()} if p.any() else {} for p in joints], "skeleton": dict(enumerate(names))}
    path.with_suffix(".json").write_text(json.dumps(data))


def landmarks(person: np.ndarray) -> list[list[dict[str, float]]]:
    found = np.concatenate([person, person[:, :16]], 1) / (1280, 720, 1)
    return [[{"x": x, "y": y, "z": -0.1, "visibility": v} for x, y, v in p.tolist()] if p.any() else [] for p in found]


def mediapipe(path: Path, person: np.ndarray) -> None:
    path.with_suffix(".json").write_text(json.dumps([{"timestamp": t, "pose_landmarks": [p] if p else []} for t, p in enumerate(landmarks(person))]))


def mediapipe_alone(path: Path, person: np.ndarray) -> None:
    path.with_suffix(".json").write_text(json.dumps(landmarks(person)))


def lifted(path: Path, person: np.ndarray) -> None:
    """Of a lifter: x, y and a depth."""
    rows = [{"frame_id": t, "instances": [{"keypoints": p.tolist()}] if p.any() else []} for t, p in enumerate(person)]
    path.with_suffix(".json").write_text(json.dumps({"meta_info": {"dataset_name": "h36m"}, "instance_info": rows}))


def json_lines(path: Path, person: np.ndarray) -> None:
    """Of MediaPipe's landmarks, which then are named in their turn."""
    path.with_suffix(".json").write_text("".join(json.dumps({"frame": t, "landmarks": p}) + "\n" for t, p in enumerate(landmarks(person))))


def yolo(path: Path, person: np.ndarray, behind: str = "") -> None:
    for t, p in enumerate(person):
        if p.any():
            row = " ".join(f"{value:g}" for value in (p / (1280, 720, 1)).ravel())
            path.with_name(f"a_{t + 1}.txt").write_text(f"0 0.5 0.5 0.2 0.8 {row}{behind}\n")
    path.with_name("classes.txt").write_text("person\n")


def yolo_tracked(path: Path, person: np.ndarray) -> None:
    yolo(path, person, " 0.9 12")


@pytest.mark.parametrize("save", [easy_vitpose, mediapipe, mediapipe_alone, lifted, json_lines, yolo, yolo_tracked])
def test_the_lines_for_kinds_that_are_not_read_convert_them(tmp_path: Path, person: np.ndarray, monkeypatch: pytest.MonkeyPatch, save: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    save(tmp_path / "in/take", person)
    (path,) = find_files(tmp_path / "in")
    for _ in range(2 if save is json_lines else 1):
        with pytest.raises(ReadError, match="not read") as caught:
            read(path)
        (code,) = re.findall(r'python -c "(.*)"', str(caught.value))
        exec(code, {})
        path = max((tmp_path / "out").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    (clip,) = read(path)
    assert (clip.layout.name, clip.frames) == ("h36m17" if save is lifted else "mediapipe33" if path.suffix == ".npz" else "coco17", 6)
    np.testing.assert_allclose(clip.keypoints[0, :, :17, :2], person[..., :2], rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("row", [[1, *[0.5] * 4, "0.1.2", *[0.5] * 50], [1, 2, *[0.5] * 54], [0.5] * 56, [1, *[0.5] * 50]])
def test_text_that_is_no_labels_is_not_named_so(tmp_path: Path, row: list[Any]) -> None:
    (tmp_path / "a_1.txt").write_text(" ".join(map(str, row)) + "\n")
    with pytest.raises(ReadError, match="is text of no known format"):
        read(find_files(tmp_path / "a_1.txt")[0])


def test_a_numbered_file_that_is_gone_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a1.json").symlink_to("gone.json")
    (tmp_path / "a2.json").write_text("[]")
    assert [file.name for file in find_files(tmp_path)] == ["a1.json", "a2.json"]
