"""What Microsoft's offline_processor makes of an Azure Kinect's recording: JSON with ``frames``, of each ``timestamp_usec`` and ``bodies``.

Of each body ``body_id`` and ``joint_positions``, 32 places in millimetres in the order of the SDK, as the depth camera sees them: y down, z away from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skelzoo.errors import ReadError
from skelzoo.skeleton.axes import TURNED, turned
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, build_clip, is_json, load_json
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.io.table_times import by_time, rate
from skelzoo.skeleton.io.tracks import Person, ids_of, tracks_of

LAYOUT, JOINTS, UP = "azurekinect32", 32, "-y"


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like this JSON."""
    return is_json(head) and re.search(rb'"(k4abt_sdk_version|timestamp_usec|joint_positions)"', head) is not None


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read one recording.

    Args:
        reading: of it ``up``, which turns the joints as they are in the file; without it they are turned y up.

    Returns:
        One clip (M, T, 32, 3), layout azurekinect32, metres, fps by the times, persons by their ``body_id``, those in most frames first, all zero where they are absent.

    Raises:
        ReadError: not such JSON, cut off, times that are none of a video or there twice, an id twice in a frame where not everyone has that one, nobody in any frame.
        ClipError: NaN.
    """
    path = Path(path)
    rows = sorted(_frames(load_json(path), path), key=lambda row: row[0])
    times = np.array([time for time, _ in rows])
    if not any(persons for _, persons in rows):
        raise ReadError(path, f"nobody was found in it ({len(rows)} frames)", "Leave this recording out.")
    if (np.diff(times) == 0).any():
        raise ReadError(path, f"has the time {times[:-1][np.diff(times) == 0][0]:.0f} twice", "Save each recording to a file of its own.")
    places = by_time(times, "times", path)
    tracks = tracks_of({int(place): persons for place, (_, persons) in zip(places, rows, strict=True)}, path)
    keypoints = np.zeros((len(tracks), int(places[-1]) + 1, JOINTS, 3))
    for m, track in enumerate(tracks):
        for place, person in track.items():
            keypoints[m, place] = person.joints
    notes = [] if reading.up else [TURNED.format(UP)]
    keypoints = keypoints if reading.up else turned(keypoints, UP)
    return [build_clip(keypoints, LAYOUT, fps=rate(times, places, 1e-6), name=path.stem, notes=notes, person_ids=ids_of(tracks))]


def _frames(data: Any, path: Path) -> Iterator[tuple[float, list[Person]]]:
    """Time of each frame in microseconds, and the people in it, in metres."""
    try:
        for row in data["frames"]:
            time = float(row["timestamp_usec"])
            if not np.isfinite(time):
                raise ValueError(f"the time {time}")
            places = [(np.asarray(body["joint_positions"], np.float64).reshape(JOINTS, 3) / 1000).astype(np.float32) for body in row["bodies"]]
            yield time, [Person(joints, np.ones(JOINTS, np.float32), str(body["body_id"])) for joints, body in zip(places, row["bodies"], strict=True)]
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        problem = f"is not as the JSON of Azure Kinect's offline_processor is ({type(error).__name__}: {str(error)[:80]})"
        raise ReadError(path, problem, f"It must hold frames: timestamp_usec and bodies, body_id and joint_positions ({JOINTS} x 3) of each.") from None
