"""What pose estimators save of a video as JSON: OpenPose, AlphaPose and other COCO results, COCO annotations, MMPose, Ultralytics.

============================================================  =====================================================================
``{"people": [{"pose_keypoints_2d": [x, y, score, ...]}]}``   OpenPose, a file per frame, ``NAME_000000000012_keypoints.json``, or of AlphaPose
                                                              ``12.json``; any of them stands for all of that folder and name
``[{"image_id": ..., "keypoints": [x, y, score, ...]}]``      AlphaPose and COCO results, a row per person and frame
``[{"instances": [{"keypoints": [[x, y], ...]}]}]``           MMPose, a row per frame; or ``{"instance_info": [...]}`` around it
``[{"keypoints": [[x, y], ...]}]``                            MMPose of pictures, Ultralytics, a file per frame, ``NAME_000012.json``; of all
                                                              frames in a list, also as texts, or in ``{"predictions": [...]}`` or a list of these;
                                                              or a row per person with its ``"frame"``
``{"images": [...], "annotations": [{"keypoints": ...}]}``    COCO annotations, a row per person and picture
============================================================  =====================================================================
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from skelzoo.errors import DoubtWarning, ReadError, warn
from skelzoo.skeleton.clip import Clip, label_of
from skelzoo.skeleton.io import nwucla, pose_others
from skelzoo.skeleton.io.files import PathLike, build_clip, check_video, is_json, load_json, parse_json, read_head
from skelzoo.skeleton.io.joint_names import known_layout
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.io.tracks import Person, ids_of, tracks_of
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.odd_pictures import in_shares

LAYOUTS: Mapping[int, str] = {17: "coco17", 18: "openpose18", 25: "body25", 26: "halpe26", 133: "coco17", 136: "halpe26"}
"""Layouts by the number of joints. COCO-WholeBody (133) and Halpe (136) begin with a body; face, hands and feet after it are left out."""

DATASETS = ("coco", "coco_wholebody", "body8", "halpe", "halpe26")
"""Data sets whose joints MMPose's files may say they hold."""

SETTLED = 2_000_000_000
"""Nanoseconds after its last change from which on a folder's listing is kept."""

HOLE = 100
"""Frames in a row without a picture that one video may have, where nobody is found; or as many as it has pictures, if these are more."""

_FRAME = re.compile(r"(?P<name>.*?)(?P<number>\d+)(?P<end>_keypoints|)\.json", re.IGNORECASE)
_OF_VIDEOS = (b'"image_id"', b'"instances"', b'"predictions"')
_MARKS = (b'"people"', b'"bodies"', b'"instances"', b'"instance_info"', b'"keypoint_scores"')
_OF_ULTRALYTICS = re.compile(rb'"keypoints\\?"\s*:\s*\{(\s|\\n)*\\?"x\\?"')
"""Also in a text within JSON, where quotes have a backslash before them."""
_OF_FRAME = re.compile(rb'"frame(?:_id)?"\s*:\s*("[^"]*"|[^\s,}]+)')
_FRAMES = ("image_id", "frame_id", "frame")
"""What rows of one person each call their picture."""
_READ_ARE = "Read are OpenPose, AlphaPose (not its format cmu), COCO results and annotations, MMPose and Ultralytics."
_BUILD = "Load the numbers yourself and build skelzoo.Clip(keypoints, layout, scores=scores)."


def sniff(head: bytes) -> bool:
    """Whether JSON that starts with these bytes looks like a pose estimator's."""
    if not is_json(head):
        return False
    # Of COCO annotations all images may come first.
    of_coco = (b'"keypoints"' in head and b'"image_id"' in head) or (b'"images"' in head and b'"file_name"' in head)
    return of_coco or head.split() == [b"[]"] or any(mark in head for mark in _MARKS) or _OF_ULTRALYTICS.search(head) is not None


def frame_of(path: Path) -> Path | None:
    """One path for all frames of a recording that has a file per frame; None for what is not named like such a frame, or is no single picture."""
    name = _FRAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        head = read_head(path)
    except ReadError:  # reading it says so
        return None
    picture = (b'"people"' in head or not (sniff(head) or nwucla.sniff(head))) if name["end"] else _is_picture(head)
    return path.with_name(_recording(name)) if picture else None


def _recording(name: re.Match[str]) -> str:
    """What the files of all its frames are called."""
    return f"{name['name']}*{name['end']}.json"


def _is_picture(head: bytes) -> bool:
    """Whether JSON that starts with these bytes holds the people of one picture, or nobody."""
    if re.match(rb'\s*\{\s*("version"\s*:[^{\[]*)?"people"', head):
        return True
    if re.match(rb"\s*\[\s*[{\]]", head) is None or not sniff(head) or any(mark in head for mark in _OF_VIDEOS):
        return False
    return len(set(_OF_FRAME.findall(head))) < 2


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read one recording.

    Persons are told apart by the ids of the estimator's tracker (AlphaPose's ``idx``, ``track_id``, ``person_id``), or, without them, by
    where they were in the frames before (``tracks``). They are ordered by the number of frames they are in, most first, then by who came
    first, and all zero in the others. Frames are counted by the numbers in the names of files or pictures, so that one without anyone in it is not skipped;
    a long hole in them is warned of, since they may be of two videos; the first that there is becomes frame 0, also where its number is 300 since
    nobody was found before.

    Returns:
        One clip (M, T, V, 2) with scores, in pixels, or shares where ``reading`` has the size of the picture, y down; fps, which these files do not state, is None, and so is
        the picture's size but of COCO annotations whose pictures with people all have the same.

    Raises:
        ReadError: not such JSON, cut off, joints of no known layout, shares of a picture whose size is not said, pictures that are no video, nobody in any.
        ClipError: NaN.
    """
    path = Path(path)
    data = load_json(path)
    single = frame_of(path) is not None or (isinstance(data, dict) and "people" in data)
    name, pictures = _files(path) if single else (path.stem, _pictures(data, path))
    # AlphaPose and COCO results have nothing of pictures without anyone.
    frames = _renumbered(pictures, path, whole=single or isinstance(data, dict) or any("instances" in row for row in data))
    people = [person for persons in frames.values() for person in persons]
    if not people:
        raise ReadError(path, f"nobody was found in it ({len(frames)} pictures)", "Leave this recording out.")
    layout = _layout(people, path, reading)
    tracks = tracks_of(frames, path)
    shape = (len(tracks), max(frames) + 1, len(layout))
    keypoints, scores = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
    for m, track in enumerate(tracks):
        for number, person in track.items():
            keypoints[m, number], scores[m, number] = person.joints[: len(layout)], person.scores[: len(layout)]
    return [build_clip(keypoints, layout, fps=None, scores=scores, name=name, image_size=_image_size(data), person_ids=ids_of(tracks))]


def _layout(people: Sequence[Person], path: Path, reading: ReadOptions) -> Layout:
    """What the joints are, by their number; or a ReadError, also where they are shares of a picture of which no size is said."""
    joints = {len(person.joints) for person in people}
    if len(joints) > 1 or min(joints) not in LAYOUTS:
        told = ", ".join(f"{count} ({layout})" for count, layout in LAYOUTS.items())
        raise ReadError(path, f"its people have {' and '.join(map(str, sorted(joints)))} joints", f"Known are {told}. {_BUILD}")
    if reading.image_size is None and in_shares(np.stack([person.joints for person in people])):
        how = "Read it with --image-size 1280x720, the picture's width and height in pixels (image_size='1280x720' in skelzoo.read), or save pixels (OpenPose: --keypoint_scale 0)."
        raise ReadError(path, "its coordinates are shares of the picture and no pixels", how)
    return get_layout(LAYOUTS[min(joints)])


def _files(path: Path) -> tuple[str, dict[int, list[Person]]]:
    """Name of a recording, and the people of each frame, from the files of its frames."""
    named, files = _FRAME.fullmatch(path.name), _frames(path)
    if named is None or (len(files) < 2 and not named["end"]):
        return path.stem, {0: _picture(path)}
    return named["name"].rstrip("_-. ") or path.parent.name, {number: _picture(file) for number, file in files.items()}


def _picture(path: Path) -> list[Person]:
    """The people of a file of one picture."""
    data = load_json(path)
    people = data.get("people") if isinstance(data, dict) else None if path.stem.casefold().endswith("_keypoints") else data
    if people is None:
        raise ReadError(path, "has no people, unlike the other frames of its recording", "Move it elsewhere, or save the recording again.")
    return _people(people, path)


def _frames(path: Path) -> dict[int, Path]:
    """The frames of a recording by their numbers, of its folder; none if the file is not named like one."""
    named = _FRAME.fullmatch(path.name)
    if named is None:
        return {}
    changed = path.parent.stat().st_mtime_ns
    # One that changes just now may change again within a tick of its clock.
    listing = _listing if time.time_ns() - changed > SETTLED else _listing.__wrapped__
    files = {number: path.with_name(file) for number, file in listing(path.parent, changed).get(_recording(named), {}).items()}
    # Whole videos may have such names too.
    return files if named["end"] else {number: file for number, file in files.items() if frame_of(file) is not None}


@lru_cache(maxsize=2)
def _listing(folder: Path, changed: int) -> dict[str, dict[int, str]]:
    """The frames of every recording of a folder as it was at a time in ns, listed once for all of them."""
    recordings: dict[str, dict[int, str]] = {}
    with os.scandir(folder) as entries:
        for match in filter(None, map(_FRAME.fullmatch, sorted(entry.name for entry in entries))):
            recordings.setdefault(_recording(match), {})[int(match["number"])] = match.string
    return recordings


def frames_of(path: Path) -> list[Path]:
    """All frames of the recording that a file is one of; none if it is no such frame."""
    return [] if frame_of(path) is None else list(_frames(path).values())


def one_recording(folder: Path) -> Path | None:
    """A frame of the recording in a folder that has a file per frame; None where there is none, or more than one."""
    try:
        names = [match for match in map(_FRAME.fullmatch, sorted(os.listdir(folder))) if match and not match.string.startswith(".")]
    except OSError:
        return None
    firsts = [folder / name.string for name in {_recording(match): match for match in reversed(names)}.values()]
    firsts = [first for first in firsts if frame_of(first) is not None]
    return firsts[0] if len(firsts) == 1 else None


def _pictures(data: Any, path: Path) -> dict[int, list[Person]]:
    """People of each picture by its number, of AlphaPose, COCO results or MMPose."""
    if isinstance(data, dict):
        about = data.get("meta_info")
        made_of = str(about.get("dataset_name", "coco")) if isinstance(about, dict) else "coco"
        if made_of not in DATASETS:
            if made_of.startswith("h36m"):
                raise pose_others.lifted(path)
            raise ReadError(path, f"its joints are those of the data set {made_of!r}", f"Read are {', '.join(DATASETS)}. {_BUILD}")
        if "annotations" in data:
            return _annotated(data, path)
        data = data.get("instance_info", data.get("predictions"))
    if _is_list(data, str):
        data = [parse_json(text, path) for text in data]
    if _is_list(data, list):
        return {i: _people(row, path) for i, row in enumerate(data)}
    rows = _rows(data, path)
    if rows and all("predictions" in row for row in rows):  # what MMPose's inferencer yields, one picture or more at a time
        batches = [row["predictions"] if _is_list(row["predictions"], list) else [row["predictions"]] for row in rows]
        return {i: _people(picture, path) for i, picture in enumerate(chain(*batches))}
    if rows and all("instances" in row for row in rows):
        numbers = [row.get("frame_id", i) for i, row in enumerate(rows)]
        twice, count = Counter(map(str, numbers)).most_common(1)[0]
        if count > 1:
            raise ReadError(path, f"has frame {twice} twice", "Save each video to a file of its own.")
        return {_number(number, path): _people(row["instances"], path) for number, row in zip(numbers, rows, strict=True)}
    key = next((key for key in _FRAMES if any(key in row for row in rows)), None)
    if key is None:
        return {0: _people(rows, path)}
    pictures: dict[int, list[Person]] = {}
    _check_one_video((row.get(key) for row in rows), path)
    for row in rows:
        pictures.setdefault(_number(row.get(key), path), []).extend(_people([row], path))
    return pictures


def _is_list(data: Any, kind: type) -> bool:
    """Whether it is a list of these alone, not an empty one."""
    return isinstance(data, list) and bool(data) and all(isinstance(row, kind) for row in data)


def _annotated(data: Mapping[str, Any], path: Path) -> dict[int, list[Person]]:
    """People of each picture by the number in its name, of COCO annotations."""
    for joints in (kind.get("keypoints") for kind in _rows(data.get("categories", []), path)):
        layout = get_layout(LAYOUTS[len(joints)]) if isinstance(joints, list) and len(joints) in LAYOUTS else None
        if layout is not None and known_layout(list(map(str, joints[: len(layout)]))) != (layout, layout.joints):
            raise ReadError(path, f"its {len(joints)} joints are {', '.join(map(str, joints[:4]))} and so on, not those of {layout.name} in its order", _BUILD)
    names = {str(image.get("id")): image.get("file_name", image.get("id")) for image in _rows(data.get("images", []), path)}
    rows = [{**row, "image_id": names.get(str(row.get("image_id")), row.get("image_id"))} for row in _rows(data["annotations"], path) if "keypoints" in row]
    _check_one_video(names.values(), path)
    return {**{_number(name, path): [] for name in names.values()}, **(_pictures(rows, path) if rows else {})}


def _image_size(data: Any) -> tuple[int, int] | None:
    """Height and width that COCO annotations give alike for all pictures with people; None in other files."""
    if not (isinstance(data, dict) and "annotations" in data):
        return None
    used = {str(row.get("image_id")) for row in data["annotations"] if row.get("keypoints")}
    sizes = [(image.get("height"), image.get("width")) for image in data.get("images", []) if str(image.get("id")) in used]
    if not sizes or any(size != sizes[0] for size in sizes) or not all(type(n) in (int, float) and n > 0 and n % 1 == 0 for n in sizes[0]):
        return None
    height, width = sizes[0]
    return int(height), int(width)


def _check_one_video(names: Iterable[Any], path: Path) -> None:
    backwards = {os.path.splitext(str(name))[0][::-1] for name in names}  # the last number is then the first, and found in one go
    videos = {re.sub(r"\d+", "", name, count=1)[::-1] for name in backwards}
    if len(videos) > 1:
        raise ReadError(path, f"its pictures are of several videos, such as {' and '.join(sorted(videos)[:2])}", "Save each video to a file of its own.")


def _rows(data: Any, path: Path) -> list[Any]:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise ReadError(path, "is JSON, but not a list of people or pictures", f"{_READ_ARE} {_BUILD}")
    return data


def _number(picture: Any, path: Path) -> int:
    """The number of a picture: the last one in its name."""
    digits = re.findall(r"\d+", os.path.splitext(str(picture))[0])
    if not digits:
        raise ReadError(path, f"the picture {str(picture)[:60]!r} has no number, so that its place in the video is not known", _BUILD)
    return int(digits[-1])


def _renumbered(pictures: Mapping[int, list[Person]], path: Path, whole: bool) -> dict[int, list[Person]]:
    """Pictures counted from 0; where all are there, in steps as they were taken: every fifth frame of a video is a video of its own."""
    numbers = sorted(pictures)
    step = (math.gcd(*(number - numbers[0] for number in numbers)) if whole else 0) or 1
    frames = {(number - numbers[0]) // step: pictures[number] for number in numbers}
    check_video(path, len(frames), max(frames) + 1, f"pictures have numbers from {numbers[0]} to {numbers[-1]}")
    hole, last = max(((later - number, number) for number, later in pairwise(numbers)), default=(0, 0))
    if hole // step > max(HOLE, len(frames)):
        warn(
            f"{path.name}: no picture is from {last + step} to {last + hole - step}, which is longer than all {len(frames)} that are there. "
            "If they are of two videos, save each to a file of its own; if nobody was there, all is well.",
            DoubtWarning,
        )
    return frames


def _people(data: Any, path: Path) -> list[Person]:
    """The persons of a picture, without those of whom no joint was found."""
    return [person for row in _rows(data, path) if (person := _person(row, path)) is not None and person.joints.any()]


def _person(row: Mapping[str, Any], path: Path) -> Person | None:
    named = next((key for key in ("pose_keypoints_2d", "pose_keypoints", "keypoints") if key in row), None)
    if named is None:
        raise ReadError(path, f"one of its people has no keypoints, but {', '.join(map(str, row)) or 'nothing'}"[:200], f"{_READ_ARE} {_BUILD}")
    values = row[named]
    if values == []:  # a face or a hand alone
        return None
    try:
        if isinstance(values, dict):  # Ultralytics
            values = np.stack([values[key] for key in ("x", "y", "visible") if key in values], 1)
        table = np.asarray(values, dtype=np.float64)
        if table.ndim > 2:
            raise ValueError
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
    return Person(table[:, :2].astype(np.float32), scores.astype(np.float32), _id(row))


def _id(row: Mapping[str, Any]) -> str | None:
    """Who a person is by the estimator's tracker; OpenPose says -1 where it has none."""
    value = next((row[key] for key in ("idx", "track_id", "person_id") if key in row), None)
    while isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return None
    text = (label_of(value) or "").strip()
    return None if text.casefold() in ("", "-1", "nan") else text
