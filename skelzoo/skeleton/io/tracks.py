"""Who is who from picture to picture, of the persons that a pose estimator found in a video; and of how many persons a clip has room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skelzoo.errors import DoubtWarning, ReadError, warn
from skelzoo.skeleton.clip import FloatArray

NEAR, PATIENCE = 0.5, 30
"""A person is the one of an earlier frame whose joints are at most this far away on average, in sizes of the person, and who was away for at most so many frames."""

MOST = 20
"""Persons kept of those who were not tracked by the estimator."""

ROOM = 2_000_000
"""Persons times frames of one clip, unless ``MOST`` persons are more: a clip has room for each person in every frame, here 0.4 GB of 17 joints."""

DOUBLE = 0.1
"""Of two persons in one picture who are nearer than this, in the same unit, the one with fewer joints is the other one found twice, in part or whole."""


@dataclass(frozen=True)
class Person:
    """Someone in one picture: joints (V, 2), or (V, 3) in space, scores (V,), and who it is where the estimator says so."""

    joints: FloatArray
    scores: FloatArray
    id: str | None


Frames = Mapping[int, Sequence[Person]]
Track = dict[int, Person]
"""Someone over time: frame number -> the person of that picture."""


def tracks_of(frames: Frames, path: Path) -> list[Track]:
    """Everyone in a video, or as many as there is room for, who is in most frames first, then who came first.

    Persons with an id are told apart by it, those without by where they were in the frames before; one alone in every picture is one and the same.

    Raises:
        ReadError: two persons of a picture have the same id.
    """
    known = {person.id for persons in frames.values() for person in persons if person.id is not None}
    # Without a tracker some write the same id for everyone.
    trusted = len(known) > 1 or all(sum(p.id is not None for p in persons) < 2 for persons in frames.values())
    if not trusted:
        frames = {number: [replace(person, id=None) for person in persons] for number, persons in frames.items()}
    frames = {number: without_doubles(persons) for number, persons in frames.items()}
    if not (known and trusted) and all(len(persons) < 2 for persons in frames.values()):
        return [{number: persons[0] for number, persons in frames.items() if persons}]
    named, untracked = _followed(frames, path)
    if len(untracked) > MOST:
        warn(f"{path.name}: {len(untracked)} persons, of whom the {MOST} in most frames are kept. Have the estimator track them.", DoubtWarning)
    tracks = _in_order([*named, *_in_order(untracked)[:MOST]])
    return [tracks[i] for i in with_room(tracks, max(frames) - min(frames) + 1, path)]


def with_room(persons: Sequence[Collection[int]], length: int, path: Path) -> list[int]:
    """Which persons a clip has room for, of all whose frames are given: those in most frames, with a warning where that is not all.

    Args:
        length: frames of the clip.
    """
    most = max(MOST, ROOM // length)
    if len(persons) <= most:
        return list(range(len(persons)))
    kept = sorted(sorted(range(len(persons)), key=lambda i: -len(persons[i]))[:most])
    left, there = (len({number for i in some for number in persons[i]}) for some in (kept, range(len(persons))))
    parts = math.ceil(math.sqrt(len(persons) / most))  # each has fewer frames, and fewer persons
    warn(
        f"{path.name}: {len(persons)} persons in {length} frames take too much memory. The {most} in most frames are kept, who are in {left} of the {there} frames with anyone. "
        f"Cut the video into {parts} or more parts, each a file of its own.",
        DoubtWarning,
    )
    return kept


def ids_of(tracks: Sequence[Track]) -> list[str]:
    """Who the tracks are by the estimator, ``?1``, ``?2`` and so on of those it did not track; none where it tracked nobody."""
    ids = [next((person.id for person in track.values() if person.id is not None), None) for track in tracks]
    unknown = (name for name in map("?{}".format, itertools.count(1)) if name not in ids)
    return [next(unknown) if one is None else one for one in ids] if any(ids) else []


def _in_order(tracks: Sequence[Track]) -> list[Track]:
    return sorted(tracks, key=lambda track: (-len(track), min(track)))


def without_doubles(persons: Sequence[Person]) -> list[Person]:
    """The persons of a picture, each once: estimators report an arm or a face, or all of somebody, as one more person. Who has an id stays."""
    if len(persons) < 2:
        return list(persons)
    distances, kept = _distances(persons, persons), list[int]()
    for i in sorted(range(len(persons)), key=lambda i: (persons[i].id is None, -int(persons[i].joints.any(1).sum()), -float(persons[i].scores.sum()))):
        if persons[i].id is not None or all(distances[i, j] > DOUBLE for j in kept):
            kept.append(i)
    return [persons[i] for i in sorted(kept)]


def _followed(frames: Frames, path: Path) -> tuple[list[Track], list[Track]]:
    """Tracks of those with an id, and of the others.

    People of one picture after the other are given to whom they are nearest, the nearest pair first; who is near to nobody is new. Those with an
    id are who it says, and when it is new perhaps somebody who had none before.
    """
    tracks: list[Track] = []
    of_id: dict[str, int] = {}
    latest: dict[int, int] = {}
    for number, persons in frames.items():
        latest = {i: last for i, last in latest.items() if number - last <= PATIENCE}
        given: dict[int, int] = {p: of_id[person.id] for p, person in enumerate(persons) if person.id in of_id}
        known = list(latest)
        distances = _distances([tracks[i][latest[i]] for i in known], persons)
        for k, p in zip(*np.unravel_index(np.argsort(distances, axis=None, kind="stable"), distances.shape), strict=True):
            free = p not in given and known[k] not in given.values() and (persons[p].id is None or known[k] not in of_id.values())
            if free and distances[k, p] <= NEAR:
                given[int(p)] = known[k]
        for p, person in enumerate(persons):
            if p not in given:
                given[p] = len(tracks)
                tracks.append({})
            if (person.id is not None and of_id.setdefault(person.id, given[p]) != given[p]) or number in tracks[given[p]]:
                raise ReadError(
                    path,
                    f"picture {number} has two persons with the id {person.id}",
                    "If the file is of several videos, save each to a file of its own; else take the id from one of the two, or from all, who are then told apart by their places.",
                )
            tracks[given[p]][number], latest[given[p]] = person, number
    return [tracks[i] for i in of_id.values()], [track for i, track in enumerate(tracks) if i not in of_id.values()]


def _distances(before: Sequence[Person], now: Sequence[Person]) -> FloatArray:
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
