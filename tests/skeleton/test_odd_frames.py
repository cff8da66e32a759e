"""What is odd about the frames of clips that are taken all the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import skelzoo
from skelzoo import Clip, Contract, prepare, select_persons
from skelzoo.learn.cameras import film
from skelzoo.skeleton.procedural import make

RESAMPLE, DROP = {"step": "resample", "frames": 16}, {"step": "drop_empty_frames"}
SPACE = Contract("kinect20", 3, 1, 16, (DROP, {"step": "center"}, RESAMPLE))
PICTURE = Contract("coco17", 2, 1, 16, (DROP, {"step": "fill_gaps"}, {"step": "center", "reference": "mean"}, RESAMPLE))
EVERY = SPACE.replace(steps=(DROP, {"step": "center", "reference": "every_frame"}, RESAMPLE))


def told(clip: Clip, contract: Contract = SPACE) -> list[str]:
    """What is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare(clip, contract)
    return [str(w.message) for w in caught]


def pictures(clip: Clip) -> tuple[Clip, Contract]:
    return film(clip, 0), PICTURE


def space(clip: Clip) -> tuple[Clip, Contract]:
    """As a sensor gives it, never twice the same."""
    return clip.replace(keypoints=clip.keypoints + np.random.default_rng(0).normal(0, 0.003, clip.keypoints.shape).astype(np.float32) + [0, 0, 2]), SPACE


BOTH = pytest.mark.parametrize("given", [space, pictures])


@BOTH
@pytest.mark.parametrize("motion", ["walk", "wave", "squat", "kick"])
def test_nothing_is_said_of_a_person_who_moves_or_is_not_there_at_the_ends(given: Callable[[Clip], tuple[Clip, Contract]], motion: str) -> None:
    clip, contract = given(make(motion, frames=40))
    absent = np.zeros_like(clip.keypoints[:, :20])
    assert not told(clip.replace(keypoints=np.concatenate([absent, clip.keypoints, absent], 1), scores=None), contract)


JUMPS = pytest.mark.parametrize("at", [[20], [20, 21, 22], range(5, 40, 10), range(20, 40)], ids=["a frame", "some", "now and then", "from there on"])


@JUMPS
@pytest.mark.parametrize("lost", [0, 0.3])
def test_a_body_that_jumps_in_the_picture_is_warned_of_and_filled_as_advised(at: list[int], lost: float) -> None:
    """Also where joints are lost; the frame is told."""
    clip = film(make("walk", frames=40), 0)
    keypoints = clip.keypoints * (np.random.default_rng(0).random((1, 40, 17, 1)) >= lost)
    jumping = keypoints.copy()
    jumping[0, list(at)] = (keypoints[0, list(at)] * 0.5 + [700, 0]) * keypoints[0, list(at)].any(-1, keepdims=True)
    (text,) = told(clip.replace(keypoints=jumping), PICTURE)
    assert "the whole body jumps by more than its size" in text and text.endswith(f"in frame {at[0]}.")
    jumping[0, list(at)] = np.nan
    advice = text[text.index("skelzoo.fill_missing") :].split(", or")[0]
    assert not told(clip.replace(keypoints=eval(advice, {"skelzoo": skelzoo, "keypoints": jumping})).take(frames=slice(20)), PICTURE)


@JUMPS
def test_a_body_that_jumps_in_space_is_warned_of_and_filled_as_advised(at: list[int]) -> None:
    clip, _ = space(make("walk", frames=40))
    jumping = clip.keypoints.copy()
    jumping[0, list(at)] += np.float32([2, 0, 0])
    (text,) = told(clip.replace(keypoints=jumping))
    assert "the whole body jumps by more than its size" in text and text.endswith(f"in frame {at[0]}.")
    jumping[0, list(at)] = np.nan
    advice = text[text.index("skelzoo.fill_missing") :].split(", or")[0]
    assert not told(clip.replace(keypoints=eval(advice, {"skelzoo": skelzoo, "keypoints": jumping})).take(frames=slice(20)))


@BOTH
@pytest.mark.parametrize("step", [1, 6])
@pytest.mark.parametrize("hole", [0, 12])
def test_a_body_that_runs_does_not_jump(given: Callable[[Clip], tuple[Clip, Contract]], step: int, hole: int) -> None:
    """To and fro once in two seconds, at up to six trunks a second, at 30 and 5 fps; also lost on the way."""
    clip, contract = given(make("walk", frames=120))
    trunk = np.ptp(clip.keypoints[0, 0, :, 1]) / 3
    way = 6 * trunk / np.pi * np.sin(np.pi * np.arange(120) / 30)
    running = clip.keypoints + (way[:, None, None] * np.eye(clip.channels)[0]).astype(np.float32) * clip.keypoints.any(-1, keepdims=True)
    running[:, 50 : 50 + hole] = 0
    assert not [text for text in told(clip.replace(keypoints=running[:, ::step], scores=None), contract) if "jumps by" in text]


@pytest.mark.parametrize("point", ["HipCenter", "Spine", "ShoulderCenter"])
def test_a_point_taken_off_in_every_frame_is_warned_of_where_travel_counts(point: str) -> None:
    clip, _ = space(make("walk", frames=40))
    at = clip.keypoints[:, :, [clip.layout.index(point)]]
    centred, absent = clip.replace(keypoints=clip.keypoints - at), np.zeros_like(clip.keypoints)
    (text,) = told(centred)
    assert f"the point {clip.layout.own[point]} is in the same place in every frame" in text and "names that end in -2d" in text
    two = centred.replace(keypoints=np.concatenate([absent, centred.keypoints]))
    assert told(two, SPACE.replace(persons=2)) == [text] and not told(centred, EVERY)
    assert not told(clip.replace(keypoints=clip.keypoints - at[:, :1]))


def test_a_picture_centred_in_every_frame_is_warned_of() -> None:
    clip, _ = pictures(make("walk", frames=40))
    hips = clip.keypoints[:, :, [clip.layout.index("left_hip"), clip.layout.index("right_hip")]].mean(2, keepdims=True)
    assert ["hip_center is in the same place" in text for text in told(clip.replace(keypoints=clip.keypoints - hips), PICTURE)] == [True]


def hold(x: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([x, np.repeat(x[:, -1:], frames, 1)], 1)


def hold_first(x: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([np.repeat(x[:, :1], frames, 1), x], 1)


def loop(x: np.ndarray, frames: int) -> np.ndarray:
    return np.resize(x, (1, x.shape[1] + frames, *x.shape[2:]))


@BOTH
@pytest.mark.parametrize(("pad", "says"), [(hold, "by its last frame"), (hold_first, "by its first frame"), (loop, "by itself")])
@pytest.mark.parametrize(("frames", "warned"), [(60, True), (14, True), (7, False)])
def test_padding_is_warned_of_and_cut_as_advised(
    given: Callable[[Clip], tuple[Clip, Contract]], pad: Callable[[np.ndarray, int], np.ndarray], says: str, frames: int, warned: bool
) -> None:
    clip, contract = given(make("kick", frames=40))
    late = np.concatenate([np.zeros_like(clip.keypoints[:, :3]), pad(clip.keypoints, frames)], 1)
    found = told(clip.replace(keypoints=late, scores=None), contract)
    assert [f"a clip is padded {says}" in text for text in found] == [True] * warned
    for text in found:
        cut = eval(text[text.rindex("clip.take") :].rstrip("."), {"clip": clip.replace(keypoints=late, scores=None)})
        assert np.array_equal(cut.keypoints[:, 3 * (pad is not hold_first) :], clip.keypoints)


@pytest.mark.parametrize(("change", "frame"), [
    (lambda x: np.concatenate([x[:, :20], x[:, 20:] + [3, 0, 0]], 1), 20), (lambda x: hold(x, 30), 40), (lambda x: hold_first(x, 30), 30), (lambda x: loop(x, 20), 40),
    (lambda x: np.concatenate([x[:, :1] * [1, 3, 1], x], 1), 1), (lambda x: np.where(np.arange(40 * 20).reshape(40, 20, 1) == 9 * 20 + 7, -9999, x), 9),
], ids=["jump", "held", "held first", "repeated", "apart", "-9999"])  # fmt: skip
def test_frames_of_one_persons_clip_are_told_of_the_recording_too(change: Callable[[np.ndarray], np.ndarray], frame: int) -> None:
    clip, _ = space(make("walk", frames=40))
    clip = clip.replace(keypoints=change(clip.keypoints), scores=None)
    recording = clip.replace(keypoints=np.concatenate([np.zeros_like(clip.keypoints[:, :33]), clip.keypoints], 1))
    (one,) = skelzoo.each_person(recording)
    (text,) = [text for text in told(clip) if "Here it is" in text]
    assert f"{text} Frame {frame} of the clip is frame {33 + frame} of the recording." in told(one.replace(name=clip.name))


def test_many_padded_clips_are_one_warning() -> None:
    clips = [make("kick", frames=n) for n in (30, 40, 50)]
    padded = [c.replace(keypoints=hold(c.keypoints, 60), name=f"clip{c.frames}") for c in clips]
    with pytest.warns(UserWarning) as caught:
        skelzoo.load("skeattnclr-openskel").embed(padded)
    (text,) = (str(w.message) for w in caught)
    assert text.startswith("clip30 and 2 more clips: many frames at the end are exactly the same") and text.endswith("clip.take(frames=slice(30)).")


@BOTH
def test_a_tracker_that_hangs_is_warned_of(given: Callable[[Clip], tuple[Clip, Contract]]) -> None:
    clip, contract = given(make("walk", frames=40))
    assert ["all frames are exactly the same" in text for text in told(clip.replace(keypoints=np.repeat(clip.keypoints[:, :1], 40, 1)), contract)] == [True]


@BOTH
@pytest.mark.parametrize(("lost", "warned"), [(8, True), (1, False)])
def test_lost_frames_are_warned_of_and_filled_as_advised(given: Callable[[Clip], tuple[Clip, Contract]], lost: int, warned: bool) -> None:
    clip, contract = given(make("walk", frames=40))
    keypoints = clip.keypoints.copy()
    keypoints[:, 15 : 15 + lost] = 0
    found = told(clip.replace(keypoints=keypoints), contract)
    assert ["set all joints of those frames to NaN" in text for text in found] == [True] * warned
    for text in found:
        keypoints[:, 15 : 15 + lost] = np.nan
        call = text[text.index("skelzoo.fill_missing") :].rstrip(".")
        filled = clip.replace(keypoints=eval(call, {"skelzoo": skelzoo, "keypoints": keypoints}))
        assert not told(filled, contract) and np.ptp(filled.keypoints[0, 14:24], axis=0).any()


@BOTH
@pytest.mark.parametrize(("frames", "warned"), [(7, True), (8, False)])
def test_few_frames_are_warned_of_but_not_where_one_is_enough(given: Callable[[Clip], tuple[Clip, Contract]], frames: int, warned: bool) -> None:
    clip, contract = given(make("kick", frames=frames))
    absent = np.zeros_like(clip.keypoints)
    clip = clip.replace(keypoints=np.concatenate([clip.keypoints, absent], 1), scores=None)
    assert ["fewer than 8 frames have a person" in text for text in told(clip, contract)] == [True] * warned
    assert not told(clip, contract.replace(min_frames=1))


def couple(apart: float, frames: int = 60, picture: bool = False) -> Clip:
    """Two persons beside each other."""
    clips = [make(motion, frames=frames, seed=i) for i, motion in enumerate(("walk", "wave"))]
    if picture:
        clips = [film(clip, 1) for clip in clips]
    moved = [
        clip.keypoints[0] + np.eye(clip.channels, dtype=np.float32)[0] * i * apart * (clip.keypoints[0].any(-1, keepdims=True)) for i, clip in enumerate(clips)
    ]
    return clips[0].replace(keypoints=np.stack(moved), scores=None)


@pytest.mark.parametrize("late", [0, 50])
@pytest.mark.parametrize("picture", [False, True])
def test_persons_in_the_order_of_detections_are_warned_of(picture: bool, late: int) -> None:
    """Also where they are chosen among, or others were there before them; persons who cross, once or in every frame beside each other, are not."""
    contract = Contract("coco17" if picture else "kinect20", 2 if picture else 3, 3, 16, ({"step": "resample", "frames": 16},))
    clip = couple(300 if picture else 1, picture=picture)
    mixed, once = clip.keypoints.copy(), clip.keypoints.copy()
    order = np.random.default_rng(0).random(clip.frames) < 0.2
    mixed[:, order] = mixed[::-1, order]
    once[:, 30:] = once[::-1, 30:]
    for keypoints, says in ((clip.keypoints, False), (once, False), (mixed, True)):
        people = np.zeros((3, late + clip.frames, *keypoints.shape[2:]))
        people[0, :late], people[1:, late:] = keypoints[0, :late], keypoints
        given = clip.replace(keypoints=people)
        for act in (partial(prepare, given, contract), partial(select_persons, given, 1)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                act()
            assert any("stand where the other stood in the frame before" in str(w.message) for w in caught) == says


def test_persons_who_turn_round_each_other_are_not_warned_of() -> None:
    """Once a second at 10 frames a second, in one another's arms."""
    clip = couple(0, 100)
    angle = np.arange(100) * 2 * np.pi / 10
    circle = np.stack([np.cos(angle), np.zeros(100), np.sin(angle)], -1)[:, None] * 0.25
    keypoints = clip.keypoints - clip.keypoints[:, :, :1] + np.stack([circle, -circle]).astype(np.float32)
    contract = Contract("kinect20", 3, 2, 16, ({"step": "resample", "frames": 16},))
    assert not any("the other stood" in text for text in told(clip.replace(keypoints=keypoints), contract))


@pytest.mark.parametrize("whose", [lambda clip: clip, lambda clip: skelzoo.each_person(clip)[-1]], ids=["a recording's", "somebody's who comes later"])
def test_windows_begin_with_a_t_pose_where_the_clip_does(whose: Callable[[Clip], Clip]) -> None:
    clip, contract = space(make("walk", frames=40))
    keypoints = clip.keypoints.copy()
    keypoints[0, [0, 20]] = keypoints[0, [0, 20]] @ np.float32([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) + np.float32([0, 2, 1])
    late = np.concatenate([np.zeros_like(keypoints[:, :7]), keypoints], 1)
    given = whose(clip.replace(keypoints=np.concatenate([np.concatenate([clip.keypoints, clip.keypoints[:, ::-1][:, :7]], 1) + np.float32([2, 0, 0]), late])))
    first, second = skelzoo.windows(given.take(frames=slice(7 - given.first, None)), 20)[:2]
    assert [any("T-pose" in text for text in told(window, contract.replace(persons=2))) for window in (first, second)] == [True, False]


@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("late", [0, 3])
def test_a_first_frame_far_from_the_second_is_warned_of_and_cut_as_advised(persons: int, late: int) -> None:
    """Wherever it stands, and whoever's it is."""
    clip, contract = space(make("walk", frames=40))
    pose = make("wave", frames=1).keypoints
    pose[:, :, [clip.layout.index(f"{side}{joint}") for side in ("Left", "Right") for joint in ("Elbow", "Wrist", "Hand")], 1] += 0.5
    jumps = np.concatenate([np.zeros_like(clip.keypoints[:, :late]), pose - np.float32([0, 0, 4]), clip.keypoints], 1)
    other = np.concatenate([np.zeros_like(clip.keypoints[:, : late + 1]), clip.keypoints + np.float32([2, 0, 0])], 1)
    given = clip.replace(keypoints=np.concatenate([other, jumps][-persons:]))
    (text,) = told(given, contract.replace(persons=2))
    assert "the first frame is far from the second, as where a T-pose stands" in text
    cut = eval(text[text.rindex("clip.take") :].rstrip("."), {"clip": given})
    assert np.array_equal(cut.keypoints[-1], clip.keypoints[0]) and not told(cut, contract.replace(persons=2))
    assert not told(film(given.take(persons=[-1]), 0), PICTURE), "where the person faces is nothing that pictures are turned by"
