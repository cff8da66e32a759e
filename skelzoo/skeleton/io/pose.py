"""What pose estimators save of a video as JSON: OpenPose, AlphaPose and other COCO results, MMPose.

============================================================  =====================================================================
``{"people": [{"pose_keypoints_2d": [x, y, score, ...]}]}``   OpenPose, a file per frame, ``NAME_000000000012_keypoints.json``; any of
                                                              them stands for all of that folder and name
``[{"image_id": ..., "keypoints": [x, y, score, ...]}]``      AlphaPose and COCO results, a row per person and frame
``[{"instances": [{"keypoints": [[x, y], ...]}]}]``           MMPose, a row per frame; or ``{"instance_info": [...]}`` around it
============================================================  =====================================================================
"""

from __future__ import annotations

import glob
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skelzoo.errors import ReadError
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.io.files import PathLike, build_clip, load_json, read_head
from skelzoo.skeleton.layouts import Layout, get_layout

LAYOUTS: Mapping[int, str] = {17: "coco17", 18: "openpose18", 25: "body25", 26: "halpe26", 133: "coco17", 136: "halpe26"}
"""Layouts by the number of joints. COCO-WholeBody (133) and Halpe (136) begin with a body; face, hands and feet after it are left out."""

MOST_PERSONS = 20
"""Persons kept of a recording whose estimator did not track them."""

NEAR, PATIENCE = 0.5, 30
"""A person is the one of an earlier frame whose joints are at most this far away on average, in sizes of the person, and who was away for at most so many frames."""

SPARSE = 100
"""Times as many frames as there are pictures with numbers, at most, for the pictures to be of one video."""

_FRAME = re.compile(r"(?P<name>.*?)(?P<number>\d+)_keypoints\.json", re.IGNORECASE)
_MARKS = (b'"people"', b'"instances"', b'"instance_info"', b'"keypoint_scores"')
_BUILD = "Load the numbers yourself and build skelzoo.Clip(keypoints, layout, scores=scores)."


@dataclass(frozen=True)
class _Person:
    """Someone in one picture: joints (V, 2), scores (V,), and who it is where the estimator says so."""

    joints: FloatArray
    scores: FloatArray
    id: str | None


@dataclass
class _Track:
    """Someone over time: frame number -> the person of that picture."""

    seen: dict[int, _Person] = field(default_factory=dict)


def sniff(head: bytes) -> bool:
    """Whether JSON that starts with these bytes looks like a pose estimator's."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] not in (b"{", b"["):
        return False
    return text.split() == [b"[]"] or any(mark in head for mark in _MARKS) or (b'"keypoints"' in head and b'"image_id"' in head)


def frame_of(path: Path) -> Path | None:
    """One path for all of OpenPose's frames of a recording; None for what is not named like such a frame, or is another estimator's."""
    name = _FRAME.fullmatch(path.name)
    if name is None or (sniff(head := read_head(path)) and b'"people"' not in head):
        return None
    return path.with_name(f"{name['name']}_keypoints.json")


def read(path: PathLike) -> list[Clip]:
    """Read one recording.

    Persons are told apart by the ids of the estimator's tracker (AlphaPose's ``idx``, ``track_id``, ``person_id``), or, without them, by
    where they were in the frames before. They are ordered by the number of frames they are in, most first, then by who came first, and all
    zero in the others. Frames are counted by the numbers in the names of files or pictures, so that one without anyone in it is not skipped.

    Returns:
        One clip (M, T, V, 2) with scores, in pixels, y down; fps and picture size, which these files do not state, are None.

    Raises:
        ReadError: not such JSON, cut off, joints of no known layout, coordinates that are not pixels, pictures that are no video, nobody in any.
        ClipError: NaN.
    """
    path = Path(path)
    data = load_json(path)
    name, pictures = _openpose(path) if isinstance(data, dict) and "people" in data else (path.stem, _pictures(data, path))
    frames = _renumbered(pictures, path)
    people = [person for persons in frames.values() for person in persons]
    if not people:
        raise ReadError(path, f"nobody was found in it ({len(frames)} pictures)", "Leave this recording out.")
    layout = _layout(people, path)
    # Without a tracker some write the same id for everyone.
    crowd = max(map(len, frames.values())) > 1
    unknown = any(person.id is None for person in people) or (crowd and len({person.id for person in people}) == 1)
    tracks = _tracked(frames) if unknown else _by_id(frames, path)
    tracks.sort(key=lambda track: (-len(track.seen), min(track.seen)))
    if len(tracks) > MOST_PERSONS:
        warnings.warn(f"{path.name}: {len(tracks)} persons, of whom the {MOST_PERSONS} in most frames are kept. Have the estimator track them.", stacklevel=2)
    shape = (min(len(tracks), MOST_PERSONS), max(frames) + 1, len(layout))
    keypoints, scores = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
    for m, track in enumerate(tracks[:MOST_PERSONS]):
        for number, person in track.seen.items():
            keypoints[m, number], scores[m, number] = person.joints[: len(layout)], person.scores[: len(layout)]
    return [build_clip(keypoints, layout, fps=None, scores=scores, name=name)]


def _layout(people: Sequence[_Person], path: Path) -> Layout:
    """What the joints are, by their number; or a ReadError, also where they are not in pixels."""
    joints = {len(person.joints) for person in people}
    if len(joints) > 1 or min(joints) not in LAYOUTS:
        told = ", ".join(f"{count} ({layout})" for count, layout in LAYOUTS.items())
        raise ReadError(path, f"its people have {' and '.join(map(str, sorted(joints)))} joints", f"Known are {told}. {_BUILD}")
    if max(float(np.abs(person.joints).max()) for person in people) <= 2:
        how = "Save pixels (OpenPose: --keypoint_scale 0), so that x and y have one unit."
        raise ReadError(path, "its coordinates are shares of the picture and no pixels", how)
    return get_layout(LAYOUTS[min(joints)])


def _openpose(path: Path) -> tuple[str, dict[int, list[_Person]]]:
    """Name of a recording, and the people of each frame, from the files of its frames."""
    named = _FRAME.fullmatch(path.name)
    if named is None:
        return path.stem, {0: _people(load_json(path)["people"], path)}
    # The folder's own name may hold what glob takes for a pattern.
    folder = glob.escape(os.fspath(path.parent))
    files = [(match, file) for file in map(Path, glob.glob(f"{folder}/*.[jJ][sS][oO][nN]")) if (match := _FRAME.fullmatch(file.name))]
    pictures: dict[int, list[_Person]] = {}
    for match, file in files:
        if match["name"] == named["name"]:
            data = load_json(file)
            if not isinstance(data, dict) or "people" not in data:
                raise ReadError(file, "has no people, unlike the other frames of its recording", "Move it elsewhere, or save the recording again.")
            pictures[int(match["number"])] = _people(data["people"], file)
    return named["name"].rstrip("_-. ") or path.parent.name, pictures


def _pictures(data: Any, path: Path) -> dict[int, list[_Person]]:
    """People of each picture by its number, of AlphaPose, COCO results or MMPose."""
    if isinstance(data, dict):
        data = data.get("instance_info")
    rows = _rows(data, path)
    if rows and all("instances" in row for row in rows):
        numbers = [row.get("frame_id", i) for i, row in enumerate(rows)]
        if len(set(map(str, numbers))) < len(rows):
            raise ReadError(path, "has a frame twice", "Save each video to a file of its own.")
        return {_number(number, path): _people(row["instances"], path) for number, row in zip(numbers, rows, strict=True)}
    if all("image_id" not in row for row in rows):
        return {0: _people(rows, path)}
    pictures: dict[int, list[_Person]] = {}
    videos = {re.sub(r"\d+(?=\D*$)", "", str(row.get("image_id"))) for row in rows}
    if len(videos) > 1:
        raise ReadError(path, f"its pictures are of several videos, such as {' and '.join(sorted(videos)[:2])}", "Save each video to a file of its own.")
    for row in rows:
        pictures.setdefault(_number(row.get("image_id"), path), []).extend(_people([row], path))
    return pictures


def _rows(data: Any, path: Path) -> list[Any]:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise ReadError(path, "is JSON, but not a list of people or pictures", f"Read are OpenPose, AlphaPose, COCO results and MMPose. {_BUILD}")
    return data


def _number(picture: Any, path: Path) -> int:
    """The number of a picture: the last one in its name."""
    digits = re.findall(r"\d+", os.path.splitext(str(picture))[0])
    if not digits:
        raise ReadError(path, f"the picture {str(picture)[:60]!r} has no number, so that its place in the video is not known", _BUILD)
    return int(digits[-1])


def _renumbered(pictures: Mapping[int, list[_Person]], path: Path) -> dict[int, list[_Person]]:
    """Pictures counted from 0, in steps as they were taken: every fifth frame of a video is a video of its own."""
    numbers = sorted(pictures)
    step = math.gcd(*(number - numbers[0] for number in numbers)) or 1
    frames = {(number - numbers[0]) // step: pictures[number] for number in numbers}
    if max(frames) >= SPARSE * len(frames):
        raise ReadError(path, f"its {len(frames)} pictures have numbers from {numbers[0]} to {numbers[-1]}, and are no video", "Give the frames of one video.")
    return frames


def _people(data: Any, path: Path) -> list[_Person]:
    """The persons of a picture, without those of whom no joint was found."""
    return [person for row in _rows(data, path) if (person := _person(row, path)) is not None and person.joints.any()]


def _person(row: Mapping[str, Any], path: Path) -> _Person | None:
    values = next((row[key] for key in ("pose_keypoints_2d", "pose_keypoints", "keypoints") if key in row), None)
    if values == []:  # a face or a hand alone
        return None
    try:
        table = np.asarray(values, dtype=np.float64)
        given = row.get("keypoint_scores")
        if table.ndim == 1:
            table = table.reshape(-1, 2 if given is not None and table.size == 2 * len(given) else 3)
        scores = table[:, 2] if given is None and table.shape[1] == 3 else np.ones(len(table)) if given is None else np.asarray(given, dtype=np.float64)
        if table.shape[1] not in (2, 3) or scores.shape != (len(table),) or not len(table):
            raise ValueError
    except (ValueError, TypeError, IndexError, OverflowError):
        raise ReadError(path, f"the joints of a person are {str(values)[:60]}", "They must be x, y and score of each joint, as numbers.") from None
    if given is not None and table.shape[1] == 3:
        raise ReadError(path, "its joints are 3-D", f"Of pose estimators 2-D joints are read. {_BUILD} Turn them so that y points up.")
    return _Person(table[:, :2].astype(np.float32), scores.astype(np.float32), _id(row))


def _id(row: Mapping[str, Any]) -> str | None:
    """Who a person is by the estimator's tracker; OpenPose says -1 where it has none."""
    value = next((row[key] for key in ("idx", "track_id", "person_id") if key in row), None)
    while isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
        value = value[0]
    return None if value is None or isinstance(value, (Sequence, Mapping)) or value == -1 else str(value)


def _by_id(frames: Mapping[int, Sequence[_Person]], path: Path) -> list[_Track]:
    tracks: dict[str, _Track] = {}
    for number, persons in frames.items():
        for person in persons:
            seen = tracks.setdefault(str(person.id), _Track()).seen
            if number in seen:
                raise ReadError(path, f"picture {number + 1} has two persons with the id {person.id}", "Save each video to a file of its own.")
            seen[number] = person
    return list(tracks.values())


def _tracked(frames: Mapping[int, Sequence[_Person]]) -> list[_Track]:
    """People of one picture after the other given to whom they are nearest, the nearest pair first; who is near to nobody is new."""
    tracks: list[_Track] = []
    latest: dict[int, int] = {}
    for number, persons in frames.items():
        latest = {i: last for i, last in latest.items() if number - last <= PATIENCE}
        known = list(latest)
        distances = _distances([tracks[i].seen[latest[i]] for i in known], persons)
        given: dict[int, int] = {}
        for k, p in zip(*np.unravel_index(np.argsort(distances, axis=None, kind="stable"), distances.shape), strict=True):
            if distances[k, p] <= NEAR and p not in given and known[k] not in given.values():
                given[p] = known[k]
        for p, person in enumerate(persons):
            if p not in given:
                tracks.append(_Track())
            i = given.get(p, len(tracks) - 1)
            tracks[i].seen[number], latest[i] = person, number
    return tracks


def _distances(before: Sequence[_Person], now: Sequence[_Person]) -> FloatArray:
    """Mean distances of the joints that both have, in sizes of the larger one, (before, now); infinite without any."""
    if not before or not now:
        return np.zeros((len(before), len(now)), np.float32)
    a, b = (np.stack([person.joints for person in persons]) for persons in (before, now))
    both = np.asarray(a.any(2))[:, None] & np.asarray(b.any(2))
    apart = (np.linalg.norm(a[:, None] - b, axis=3) * both).sum(2)
    larger = np.maximum(_sizes(a)[:, None], _sizes(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(both.any(2), apart / both.sum(2) / np.maximum(larger, 1e-6), np.inf), np.float32)


def _sizes(joints: FloatArray) -> FloatArray:
    """Diagonals of the boxes around the joints (N, V, 2) that were found: (N,)."""
    found = np.asarray(joints.any(2))[..., None]
    box = np.where(found, joints, -np.inf).max(1) - np.where(found, joints, np.inf).min(1)
    return np.asarray(np.linalg.norm(box, axis=1), np.float32)
