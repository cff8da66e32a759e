"""Which persons are taken, those who move most or each apart, and who they are: what trackers, tables and the Kinect say of it."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skeleton_samples import ntu_frames, write_ntu
from tiny import make_clip

import skelzoo
from skelzoo import Clip, each_person, get_layout, read, select_persons
from skelzoo.errors import ClipError, DoubtWarning
from skelzoo.skeleton.procedural import make


def group() -> Clip:
    """Three persons, the second in frames 5 to 14 but for 8, the third in none."""
    clip = make_clip(persons=3)
    keypoints = clip.keypoints.copy()
    keypoints[1, [*range(5), 8, *range(15, 20)]] = keypoints[2] = 0
    return clip.replace(keypoints=keypoints, scores=np.arange(3 * 20 * 20).reshape(3, 20, 20), label="meet", first=4, person_ids=("7", "12", "ghost"))


def test_each_person_is_a_clip_of_the_frames_he_is_in() -> None:
    clip = group()
    first, second = each_person(clip)
    assert np.array_equal(first.keypoints, clip.keypoints[:1]) and np.array_equal(second.keypoints, clip.keypoints[1:2, 5:15])
    assert clip.scores is not None and second.scores is not None and np.array_equal(second.scores, clip.scores[1:2, 5:15])
    assert [(c.name, c.person_ids, c.first, c.label, c.fps) for c in (first, second)] == [
        ("clip0#7", ("7",), 4, "meet", 30),
        ("clip0#12", ("12",), 9, "meet", 30),
    ]
    assert [c.name for c in each_person(clip.replace(person_ids=()))] == ["clip0#0", "clip0#1"]
    assert [w.name for w in skelzoo.windows(second, 5)] == ["clip0#12[9:14]", "clip0#12[14:19]"]


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        (lambda c: c.take(persons=[2, 0]), ("ghost", "7")),
        (lambda c: c.take(persons=1), ("12",)),
        (lambda c: c.take(persons=np.array([True, True, False])), ("7", "12")),
        (lambda c: c.take(persons=[0, 0]), ()),
        (lambda c: c.take(frames=slice(3)), ("7", "12", "ghost")),
        (lambda c: c.replace(keypoints=c.keypoints * 2), ("7", "12", "ghost")),
        (lambda c: c.replace(keypoints=c.keypoints.sum(0), scores=None), ()),
        (lambda c: c.replace(person_ids=[3, 4, np.int64(5)]), ("3", "4", "5")),
        (lambda c: skelzoo.remap(c, "ntu25", 0.5), ("7", "12", "ghost")),
    ],
)
def test_ids_stay_with_their_persons(change: Callable[[Clip], Clip], ids: tuple[str, ...]) -> None:
    assert change(group()).person_ids == ids


@pytest.mark.parametrize("ids", [("a", "b"), ("a", "b", "b"), ("a", "b", ""), (1, 1.0, 2), (1, 2, np.nan), "abc", 3, None])
def test_ids_that_are_none_are_refused(ids: Any) -> None:
    with pytest.raises(ClipError, match=r"clip0: person_ids are .* for 3 person\(s\)\. Give a text or number for each, all different"):
        group().replace(person_ids=ids)


def of_tracker(path: Path, ids: tuple[Any, ...] = ([9], 30, None)) -> Path:
    """Someone with an id, from frame 2 on another, from frame 3 on a third."""
    body = np.concatenate([np.random.default_rng(0).uniform(size=(17, 2)) * 99, np.ones((17, 1))], 1)
    rows = [
        {"image_id": f"{t}.jpg", "keypoints": (body + np.array([400 * i, 0, 0])).ravel().tolist(), **({} if who is None else {"idx": who})}
        for t in range(6)
        for i, who in enumerate(ids[: 1 + (t > 1) + (t > 2)])
    ]
    path.write_text(json.dumps(rows))
    return path


def of_table(path: Path, column: bool, spell: Callable[[str, int], str] = lambda who, t: who) -> Path:
    joints, rows = get_layout("coco17").joints, []
    for t in range(4):
        cells = {who: [str(10 * m + v + t) for v in range(17) for _ in "xy"] for m, who in enumerate(("Ann", "Bob"))}
        rows += [[str(t), spell(who, t), *of] for who, of in cells.items()] if column else [[str(t), *cells["Ann"], *cells["Bob"]]]
    names = [f"{joint}_{axis}" for joint in joints for axis in "xy"]
    header = ["frame", "person", *names] if column else ["frame", *(f"{who}:{name}" for who in ("Ann", "Bob") for name in names)]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]))
    return path


@pytest.mark.parametrize(
    ("write", "name", "ids"),
    [
        (lambda path: write_ntu(path, ntu_frames()), "kinect.skeleton", ("72057594037931101", "72057594037931102", "72057594037931103")),
        (of_tracker, "alphapose.json", ("9", "30", "?1")),
        (lambda path: of_tracker(path, ("player-A", 1.0, "?1")), "texts.json", ("player-A", "1", "?1")),
        (lambda path: of_tracker(path, ("a", np.nan, "-1")), "nan.json", ("a", "?1", "?2")),
        (lambda path: of_tracker(path, ("?1", -1, None)), "question.json", ("?1", "?2", "?3")),
        (lambda path: of_table(path, column=True), "column.csv", ("Ann", "Bob")),
        (lambda path: of_table(path, column=False), "header.csv", ("Ann", "Bob")),
        (lambda path: of_table(path, True, lambda who, t: {"Ann": "1.0" if t else "1", "Bob": "2.50"}[who]), "numbers.csv", ("1", "2.50")),
        (lambda path: of_table(path, True, lambda who, t: who if who == "Ann" else ("nan", "", "NaN", "NA")[t]), "nobody.csv", ("Ann", "?1")),
    ],
)
def test_files_say_who_persons_are(write: Callable[[Path], Path], name: str, ids: tuple[str, ...], tmp_path: Path) -> None:
    (clip,) = read(write(tmp_path / name))
    assert clip.person_ids == ids and [c.name for c in each_person(clip)] == [f"{Path(name).stem}#{who}" for who in ids]


def unlike_people() -> np.ndarray:
    """Four persons who move 1, 3, 0 and 2 times as much as one does."""
    x = make_clip(0).keypoints
    return np.concatenate([x[:, :1] + (x - x[:, :1]) * factor for factor in (1, 3, 0, 2)]).astype(np.float32)


def test_select_persons_keeps_scores_with_their_person() -> None:
    x, scores = unlike_people(), np.random.default_rng(0).uniform(size=(4, 20, 20)).astype(np.float32)
    clip = Clip(x, "kinect20", scores=scores, label="a")
    chosen, order = select_persons(clip, 2), [1, 3]
    assert np.array_equal(chosen.keypoints, x[order]) and chosen.scores is not None and np.array_equal(chosen.scores, scores[order])
    assert chosen.label == "a" and select_persons(clip, 4) is clip and select_persons(Clip(x, "kinect20"), 1).scores is None


def test_choosing_among_ids_of_one_person_is_warned_of() -> None:
    clip = make("squat", frames=20)
    first, then = np.repeat(clip.keypoints, 2, 0)
    both = np.stack([first, then])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select_persons(clip.replace(keypoints=both), 1)
    both[0, 12:] = both[1, :12] = 0
    with pytest.warns(DoubtWarning, match="squat-0: .* only while one of the chosen is not.*Persons 0 and 1, counted"):
        select_persons(clip.replace(keypoints=both), 1)


@pytest.mark.parametrize("always", [0, 1, 2])
def test_choosing_two_among_ids_of_the_second_is_warned_of(always: int) -> None:
    """What is advised adds only ids that are never there together, and persons stay in their order."""
    first, other = (make("squat", frames=20, seed=seed).keypoints[0] for seed in (0, 1))
    before, after = other.copy(), other.copy()
    before[12:] = after[:12] = 0
    people = [before, after]
    people.insert(always, first)
    clip = Clip(np.stack(people), "kinect20", name="pair")
    with pytest.warns(DoubtWarning, match="^pair: .*Persons (.) and (.), counted") as caught:
        chosen = select_persons(clip, 2)
    advice = re.search(r": (x = .*)\.$", str(caught[0].message))
    assert advice is not None
    space = {"clip": clip}
    exec(advice[1], space)
    assert [k.any((1, 2)).sum() for k in select_persons(space["clip"], 2).keypoints] == [20, 20]
    at = [int(np.flatnonzero([np.array_equal(k, p) for p in clip.keypoints])[0]) for k in chosen.keypoints]
    assert at == sorted(at)
