"""Pose estimators' JSON, written as the estimators do: the joints come out by name, frame by frame and person by person."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelzoo import Clip, find_files, get_layout, read
from skelzoo.errors import DoubtWarning, ReadError
from skelzoo.skeleton.io import files_of, passed_over
from skelzoo.skeleton.io.pose import LAYOUTS
from skelzoo.skeleton.io.tracks import MOST
from skelzoo.skeleton.remap import remap

RNG = np.random.default_rng(0)
Frames = list[list[np.ndarray]]


def walk(joints: int, frames: int = 6, start: float = 300.0, step: float = 4.0) -> np.ndarray:
    """Someone who crosses the picture: x, y and score (T, V, 3)."""
    body = np.concatenate([RNG.uniform((0, 0), (80, 200), (joints, 2)), RNG.uniform(0.3, 0.9, (joints, 1))], 1)
    return np.stack([body + np.array([start + step * t, 100, 0]) for t in range(frames)])


def openpose(folder: Path, frames: Frames, name: str = "video_1_", first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for t, persons in enumerate(frames, first):
        people = [{"person_id": [-1], "pose_keypoints_2d": p.ravel().tolist(), "face_keypoints_2d": [], "pose_keypoints_3d": []} for p in persons]
        (folder / f"{name}{t:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


def alphapose(path: Path, frames: Frames, ids: list[list[Any]] | None = None, picture: str = "{}.jpg") -> Path:
    rows = [
        {"image_id": picture.format(t), "category_id": 1, "keypoints": p.ravel().tolist(), "score": 2.5, **({"idx": ids[t][i]} if ids else {})}
        for t, persons in enumerate(frames)
        for i, p in enumerate(persons)
    ]
    path.write_text(json.dumps(rows))
    return path


def mmpose(path: Path, frames: Frames, around: bool) -> Path:
    rows: Any = [
        {"frame_id": t, "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist(), "bbox": [[0, 0, 1, 1]]} for p in persons]}
        for t, persons in enumerate(frames)
    ]
    path.write_text(json.dumps({"meta_info": {"dataset_name": "coco"}, "instance_info": rows} if around else rows))
    return path


def the_clip(path: Path) -> Clip:
    (file,) = find_files(path)
    (clip,) = read(file)
    return clip


def check(clip: Clip, *persons: np.ndarray) -> None:
    assert clip.persons == len(persons) and clip.channels == 2 and clip.fps is None and clip.scores is not None
    for m, person in enumerate(persons):
        np.testing.assert_allclose(clip.keypoints[m], person[..., :2], atol=1e-3)
        np.testing.assert_allclose(clip.scores[m], person[..., 2], atol=1e-6)


@pytest.mark.parametrize(("joints", "layout"), [(25, "body25"), (18, "openpose18")])
def test_openposes_frames_are_one_clip_from_any_of_them(tmp_path: Path, joints: int, layout: str) -> None:
    person = walk(joints)
    folder = openpose(tmp_path / "out [1]", [[p] for p in person])
    openpose(folder, [[p] for p in walk(joints, 3)], name="other_")
    (folder / "notes.json").write_text('{"fps": 30}')
    other, first = find_files(folder)
    assert [c.frames for c in read(other)] == [3]
    (clip,) = read(first)
    assert clip.layout is get_layout(layout) and clip.name == "video_1"
    check(clip, person)
    np.testing.assert_array_equal(read(folder / "video_1_000000000004_keypoints.json")[0].keypoints, clip.keypoints)


def test_frames_without_anyone_or_without_a_file_keep_their_place(tmp_path: Path) -> None:
    person = walk(25, 8)
    folder = openpose(tmp_path / "out", [[] if t == 3 else [p] for t, p in enumerate(person)], first=100)
    (folder / "video_1_000000000105_keypoints.json").unlink()
    person[[3, 5]] = 0
    check(the_clip(folder), person)


def test_persons_without_ids_are_followed_in_whatever_order_they_come(tmp_path: Path) -> None:
    """One goes right, one left, listed by chance; the second leaves for two frames, and someone else comes for the last one."""
    right, left, late = walk(25, 10, 100, 5), walk(25, 10, 700, -5), walk(25, 10, 1500)
    left[4:6] = 0
    late[:9] = 0
    shown = [[p[t] for p in (right, left, late) if p[t].any()] for t in range(10)]
    folder = openpose(tmp_path / "out", [persons[:: (-1) ** t] for t, persons in enumerate(shown)])
    check(the_clip(folder), right, left, late)


def test_people_who_stand_close_are_whom_they_are_nearest(tmp_path: Path) -> None:
    one = walk(25, 8)
    other = one + np.array([40, 0, 0])
    check(the_clip(openpose(tmp_path / "out", [[other[t], one[t]] if t % 3 else [one[t], other[t]] for t in range(8)])), one, other)


@pytest.mark.parametrize(("change", "persons"), [("away long", 3), ("away", 2), ("150 pixels away", 3), ("50 pixels away", 2), ("small", 2)])
def test_who_is_near_soon_enough_is_the_same_whatever_the_size(tmp_path: Path, change: str, persons: int) -> None:
    """Beside somebody who is there all the time."""
    frames = 78
    person, other = walk(25, frames, step=0), walk(25, frames, 1500, 0)
    if change.startswith("away"):
        person[10 : 68 if change == "away long" else 35] = 0
    elif change == "small":
        centre = person[0, :, :2].mean(0)
        person[10:, :, :2] = centre + 0.3 * (person[10:, :, :2] - centre)
    else:
        person[10:, :, 0] += int(change.split()[0])
    assert the_clip(openpose(tmp_path / "out", [[p[t] for p in (person, other) if p[t].any()] for t in range(frames)])).persons == persons


@pytest.mark.parametrize("kind", [int, float, lambda i: [float(i)]])
def test_ids_of_the_tracker_count_more_than_places(tmp_path: Path, kind: Any) -> None:
    a, b = walk(17, start=300, step=0), walk(17, start=310, step=0)
    frames: Frames = [[a[t], b[t]] if t % 2 else [b[t], a[t]] for t in range(6)]
    clip = the_clip(alphapose(tmp_path / "alphapose-results.json", frames, [[kind(7), kind(9)] if t % 2 else [kind(9), kind(7)] for t in range(6)]))
    assert clip.layout is get_layout("coco17")
    check(clip, *((a, b) if clip.keypoints[0, 0, 0, 0] == np.float32(a[0, 0, 0]) else (b, a)))


@pytest.mark.parametrize("joints", LAYOUTS)
def test_the_number_of_joints_tells_the_layout_and_more_than_a_body_is_cut(tmp_path: Path, joints: int) -> None:
    person = walk(joints)
    clip = the_clip(alphapose(tmp_path / "a.json", [[p] for p in person], picture="frame_{:05d}.png"))
    assert clip.layout is get_layout(LAYOUTS[joints])
    check(clip, person[:, : len(clip.layout)])


@pytest.mark.parametrize("around", [True, False])
def test_mmpose(tmp_path: Path, around: bool) -> None:
    person = walk(17)
    check(the_clip(mmpose(tmp_path / "results_video.json", [[p] for p in person], around)), person)


@pytest.mark.parametrize("layout", ["body25", "openpose18", "halpe26", "mediapipe33"])
def test_joints_become_coco_by_name(layout: str) -> None:
    joints = get_layout(layout).joints
    clip = Clip(np.stack([np.arange(len(joints)), np.ones(len(joints))], 1)[None] + 1, layout)
    coco = remap(clip, "coco17")
    for name, (x, _) in zip(coco.layout.joints, coco.keypoints[0, 0], strict=True):
        same = {name, "".join((name[0].upper(), name.split("_")[-1].title())), name.title()}
        assert joints[int(x) - 1] in same


def test_every_fifth_frame_is_a_video_too(tmp_path: Path) -> None:
    """Where all pictures are there; AlphaPose leaves out those without anyone, who may have been away."""
    person = walk(17, 4)
    rows = [{"frame_id": 5 * t + 2, "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}]} for t, p in enumerate(person)]
    (tmp_path / "a.json").write_text(json.dumps(rows[::-1]))
    check(the_clip(tmp_path / "a.json"), person)
    rows = json.loads(alphapose(tmp_path / "a.json", [[p] for p in person]).read_text())
    for row in rows:
        row["image_id"] = f"{5 * int(row['image_id'].split('.')[0]) + 2:06d}.jp2"
    (tmp_path / "a.json").write_text(json.dumps(rows[::-1]))
    spread = np.zeros((16, 17, 3))
    spread[::5] = person
    check(the_clip(tmp_path / "a.json"), spread)


def test_untracked_crowds_keep_those_in_most_frames(tmp_path: Path) -> None:
    crowd = [walk(25, 6, 400.0 * i, 0) for i in range(MOST + 3)]
    frames: Frames = [[p[t] for i, p in enumerate(crowd) if i < MOST or t == 0] for t in range(6)]
    with pytest.warns(DoubtWarning, match=f"{MOST + 3} persons, of whom the {MOST}"):
        check(the_clip(openpose(tmp_path / "out", frames)), *crowd[:MOST])
    ids = [[i for i in range(MOST + 3) if i < MOST or t == 0] for t in range(6)]
    assert the_clip(alphapose(tmp_path / "a.json", [[p[:17] for p in persons] for persons in frames], ids)).persons == MOST + 3


def test_shares_of_a_picture_are_read_with_its_size(tmp_path: Path) -> None:
    """Of every estimator; and pixels stay."""
    person, size = walk(25), [1280, 720, 1]
    for frames, path in ((person, tmp_path / "pixels"), (person / size, tmp_path / "shares")):
        (clip,) = read(openpose(path, [[p] for p in frames]), image_size="1280x720")
        check(clip, person)
    (clip,) = read(alphapose(tmp_path / "a.json", [[p] for p in person[:, :17] / size]), image_size="1280x720")
    check(clip, person[:, :17])
    assert clip.image_size == (720, 1280)


def test_of_many_ids_in_a_long_video_those_in_most_frames_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, two frames each and the last three: a clip has room for each in every frame."""
    count, kept = MOST + 3, MOST + 1
    monkeypatch.setattr("skelzoo.skeleton.io.tracks.ROOM", kept * (2 * count + 1))
    who = [t // 2 for t in range(2 * count)] + [count - 1]
    path = alphapose(tmp_path / "a.json", [[walk(17, 1)[0]] for _ in who], [[i] for i in who])
    with pytest.warns(
        DoubtWarning, match=f"{count} persons in {len(who)} frames .* The {kept} in most .* in {2 * kept + 1} of the {len(who)} frames .* into 2 or more parts"
    ):
        clip = read(path)[0]
    np.testing.assert_array_equal(clip.keypoints.any((2, 3)).sum(1), [3] + [2] * (kept - 1))
    assert clip.keypoints[1, :2].any() and clip.keypoints[0, -3:].any()


def rows(n: int = 2, **changes: Any) -> list[dict[str, Any]]:
    return [{"image_id": f"{t}.jpg", "category_id": 1, "keypoints": walk(17, 1).ravel().tolist(), "score": 1.0, **changes} for t in range(n)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"people": []}, "nobody was found"),
        ([], "nobody was found"),
        (rows(keypoints=[1.0, 2.0, 0.5] * 15), "have 15 joints.*17 .coco17."),
        (rows(keypoints=[0.1, 0.2, 0.5] * 17), "shares of the picture.*--image-size 1280x720.*keypoint_scale"),
        (rows(keypoints=[1.0, 2.0]), "joints of a person are"),
        (rows(keypoints=None), "joints of a person are"),
        (rows(keypoints=["a"] * 51), "joints of a person are"),
        (rows(image_id="face.jpg"), "'face.jpg' has no number"),
        ([*rows(image_id="a_1.jpg"), *rows(image_id="b_1.jpg")], "several videos, such as a_ and b_"),
        ([*rows(1, image_id=139), *rows(1, image_id=581929), *rows(1, image_id=285)], "are no video"),
        ([*rows(image_id="1.jpg", idx=3), *rows(1, idx=4)], "picture 1 has two persons with the id 3.*take the id from"),
        ([{"frame_id": 0, "instances": []}, {"frame_id": 0, "instances": []}], "has frame 0 twice"),
        ([{"frame_id": 0, "instances": [{"keypoints": [[1, 2, 3]] * 17, "keypoint_scores": [1] * 17}]}], "3-D"),
        ({"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}, "nobody was found"),
        ({"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": 3}, "not a list of people or pictures"),
        ({"people": 3}, "not a list of people or pictures"),
        ({"0.jpg": {"bodies": [{"joints": [1, 2, 3]}]}}, "not its format cmu"),
        ({"meta_info": {"dataset_name": "h36m"}, "instance_info": [{"frame_id": 0, "instances": []}]}, r"layout h36m17.*--up z.*python -c"),
        ({"meta_info": {"dataset_name": "ap10k"}, "instance_info": []}, "data set 'ap10k'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, data: Any, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ReadError, match=f"(?s)a.json.*{message}"):
        read(path)


@pytest.mark.parametrize(("numbers", "says"), [
    ([*range(60), *range(1000, 1060)], r"^a\.json: no picture is from 60 to 999, which is longer than all 120 that are there\. .*two videos"),
    ([*range(60), *range(160, 260)], None),
    ([0, 1, 2, 90, 91], None),
    ([7], None),
])  # fmt: skip
def test_a_hole_longer_than_all_pictures_is_warned_of(tmp_path: Path, numbers: list[int], says: str | None) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{**row, "image_id": n} for row, n in zip(rows(len(numbers)), numbers, strict=True)]))
    with warnings.catch_warnings() if says is None else pytest.warns(DoubtWarning, match=says):
        if says is None:
            warnings.simplefilter("error")
        assert read(tmp_path / "a.json")[0].frames == numbers[-1] - numbers[0] + 1


def test_a_broken_frame_is_named(tmp_path: Path) -> None:
    folder = openpose(tmp_path / "out", [[p] for p in walk(25, 3)])
    broken = folder / "video_1_000000000001_keypoints.json"
    broken.write_text(broken.read_text()[:50])
    with pytest.raises(ReadError, match=broken.name):
        read(find_files(folder)[0])
    broken.write_text("[]")
    with pytest.raises(ReadError, match=broken.name):
        read(find_files(folder)[0])


def test_one_id_for_everyone_is_none(tmp_path: Path) -> None:
    a, b = walk(17, 6, 100), walk(17, 6, 900)
    check(the_clip(alphapose(tmp_path / "a.json", [[b[t], a[t]] if t % 2 else [a[t], b[t]] for t in range(6)], [[[0.0], [0.0]]] * 6)), a, b)


def test_people_of_whom_nothing_was_found_are_nobody(tmp_path: Path) -> None:
    person = walk(25, 4)
    folder = openpose(tmp_path / "out", [[np.zeros_like(p), p] for p in person])
    face = json.loads((folder / "video_1_000000000002_keypoints.json").read_text())
    face["people"].append({"pose_keypoints_2d": [], "face_keypoints_2d": [1, 2, 3]})
    (folder / "video_1_000000000002_keypoints.json").write_text(json.dumps(face))
    check(the_clip(folder), person)


def test_other_files_named_like_frames_are_recordings_of_their_own(tmp_path: Path) -> None:
    for take in (1, 2):
        mmpose(tmp_path / f"take{take}_keypoints.json", [[p] for p in walk(17)], around=False)
    assert [read(file)[0].name for file in find_files(tmp_path)] == ["take1_keypoints", "take2_keypoints"]
    for name in ("x_1_", "x1_"):
        openpose(tmp_path / "out", [[p] for p in walk(25)], name=name)
    assert [read(file)[0].name for file in find_files(tmp_path / "out")] == ["x1", "x_1"]


def test_an_empty_frame_is_named_once(tmp_path: Path) -> None:
    folder = openpose(tmp_path / "out", [[p] for p in walk(25, 3)])
    empty = folder / "video_1_000000000001_keypoints.json"
    empty.write_text("")
    with pytest.raises(ReadError) as error:
        read(find_files(folder)[0])
    assert str(error.value).count(empty.name) == 1


def test_who_is_found_twice_in_part_or_whole_is_one_person(tmp_path: Path) -> None:
    person, other = walk(25, 40), walk(25, 40, 900)
    arm = np.zeros_like(person)
    arm[:, 2:6] = person[:, 2:6] + RNG.normal(0, 2, (40, 4, 3)) * [1, 1, 0]
    arm[..., 2] *= 0.5
    again = person + RNG.normal(0, 2, person.shape) * [1, 1, 0] - [0, 0, 0.1]
    other[39] = 0
    shown = [[p[t] for p in (arm, again, other) if (t < 39 if p is other else t % 3 == 0)] + [person[t]] for t in range(40)]
    check(the_clip(openpose(tmp_path / "out", [persons[:: (-1) ** t] for t, persons in enumerate(shown)])), person, other)


def test_one_alone_who_comes_back_is_the_same(tmp_path: Path) -> None:
    person = np.concatenate([walk(25, 10), np.zeros((40, 25, 3)), walk(25, 10, 1200)])
    check(the_clip(openpose(tmp_path / "out", [[p] if p.any() else [] for p in person])), person)


def test_ids_are_kept_for_those_who_have_one(tmp_path: Path) -> None:
    person, stray = np.concatenate([walk(17, 10), np.zeros((40, 17, 3)), walk(17, 10, 1200)]), walk(17, 1, 2000)[0]
    frames: Frames = [[p] if p.any() else [] for p in person]
    frames[5].append(stray)
    path = alphapose(tmp_path / "a.json", frames, [[7, -1] if t == 5 else [7] * len(f) for t, f in enumerate(frames)])
    second = np.zeros_like(person)
    second[5] = stray
    check(the_clip(path), person, second)


def test_folders_of_frames_are_recordings_in_patterns_and_for_read(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        openpose(tmp_path / name / "json", [[p] for p in walk(25, 3)], name=f"{name}_")
    assert [read(file)[0].name for file in find_files(str(tmp_path / "*" / "json"))] == ["a", "b"]
    assert read(tmp_path / "a/json")[0].name == "a"
    openpose(tmp_path / "a/json", [[p] for p in walk(25, 3)], name="c_")
    for folder in ("a", "a/json"):
        with pytest.raises(ReadError, match=r"is a folder, not a file\. List its files with skelzoo\.find_files"):
            read(tmp_path / folder)


@pytest.mark.parametrize("kind", ["mmpose", "alphapose"])
def test_numbered_files_of_a_picture_each_are_one_recording(tmp_path: Path, kind: str) -> None:
    """Of every fifth frame, beside whole videos whose names end in numbers too; the first picture and another have nobody."""
    folder, person = tmp_path / "street", walk(17 if kind == "mmpose" else 18, 12)
    folder.mkdir()
    person[[0, 5]] = 0
    for t, p in enumerate(person, 7):
        rows = [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}] if p.any() else []
        data = rows if kind == "mmpose" else {"version": "v0.3", "people": [{"pose_keypoints_2d": p.ravel().tolist()}] if p.any() else []}
        (folder / f"{5 * t}.json").write_text(json.dumps(data))
    check(read(folder)[0], person)
    check(read(folder / "60.json")[0], person)
    mmpose(folder / "101.json", [[p] for p in walk(17)], around=False)
    alphapose(folder / "102.json", [[p] for p in walk(17)])
    files = find_files(folder)
    assert [file.name for file in files] == ["101.json", "102.json", "35.json"] and len(files_of(files[2])) == 12
    assert [(c.name, c.frames) for file in files for c in read(file)] == [("101", 6), ("102", 6), ("street", 12)]


def test_a_single_numbered_picture_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "take7.json").write_text(json.dumps([{"keypoints": [[1, 200]] * 17, "keypoint_scores": [1] * 17}]))
    assert [(c.name, c.frames) for c in read(tmp_path / "take7.json")] == [("take7", 1)]


def test_json_of_other_kinds_is_counted_among_what_is_passed_over(tmp_path: Path) -> None:
    openpose(tmp_path, [[p] for p in walk(25, 3)])
    (tmp_path / "notes.json").write_text('{"fps": 30}')
    assert [p.name for p in passed_over([tmp_path])] == ["notes.json"]


def test_other_json_named_like_frames_is_not_lost(tmp_path: Path) -> None:
    for take in range(3):
        (tmp_path / f"take{take}_keypoints.json").write_text(json.dumps({"file_name": "x", "skeletons": RNG.random((4, 20, 3)).tolist()}))
    assert [len(read(file)) for file in find_files(tmp_path)] == [1, 1, 1]
    text = (tmp_path / "take0_keypoints.json").read_text()
    (tmp_path / "take0_keypoints.json").write_text(text, encoding="utf-16")
    assert read(tmp_path / "take0_keypoints.json")[0].frames == 4


@pytest.mark.parametrize("lost", [range(20, 25), range(3), range(57, 60)])
def test_who_loses_the_id_for_some_frames_is_the_same(tmp_path: Path, lost: range) -> None:
    person = walk(17, 60)
    arm = np.where(np.isin(np.arange(17), [5, 7, 9])[:, None], person[40] + [2, 2, -0.2], 0)
    frames: Frames = [[p] if t != 40 else [arm, p] for t, p in enumerate(person)]
    ids = [[-1] if t in lost else [-1, 1] if t == 40 else [1] for t in range(60)]
    check(the_clip(alphapose(tmp_path / "a.json", frames, ids)), person)


def test_a_folder_of_many_recordings_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it has just been changed: what is added then is seen."""
    for i in range(20):
        openpose(tmp_path, [[p] for p in walk(25, 3)], name=f"v{i:02}_")
    os.utime(tmp_path, (1e9, 1e9))
    listed, scandir = [], os.scandir
    monkeypatch.setattr("skelzoo.skeleton.io.pose.os.scandir", lambda folder: listed.append(folder) or scandir(folder))
    files = [tmp_path / f"v{i:02}_{0:012d}_keypoints.json" for i in range(20)]
    assert [len(files_of(file)) for file in files] == [3] * 20 and [read(file)[0].frames for file in files] == [3] * 20
    assert len(listed) == 1
    for frame in (3, 4):
        openpose(tmp_path, [[p] for p in walk(25, 1)], name="v07_", first=frame)
        assert len(files_of(files[7])) == frame + 1
