"""Long recordings are cut into windows, and nothing of them is lost."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from tiny import CONTRACT, make_clip

import skelzoo
from skelzoo.errors import ClipError
from skelzoo.skeleton.procedural import make


@pytest.mark.parametrize(
    ("length", "frames", "step", "expected"),
    [
        (20, 5, None, [(0, 5), (5, 10), (10, 15), (15, 20)]), (22, 5, None, [(0, 5), (5, 10), (10, 15), (15, 20), (17, 22)]), (20, 8, 6, [(0, 8), (6, 14), (12, 20)]),
        (21, 8, 6, [(0, 8), (6, 14), (12, 20), (13, 21)]), (20, 4, 10, [(0, 4), (10, 14), (16, 20)]), (20, 20, 3, [(0, 20)]), (20, 64, None, [(0, 20)]), (3, 1, None, [(0, 1), (1, 2), (2, 3)]),
    ],
)  # fmt: skip
def test_windows_are_parts_of_the_recording(length: int, frames: int, step: int | None, expected: list[tuple[int, int]]) -> None:
    clip = make_clip(persons=2, frames=length)
    clip = clip.replace(scores=np.random.default_rng(0).random(clip.keypoints.shape[:3]), label="a")
    cut = skelzoo.windows(clip, frames, step)
    assert [c.name for c in cut] == [f"clip0[{start}:{stop}]" for start, stop in expected]
    for window, (start, stop) in zip(cut, expected, strict=True):
        assert np.array_equal(window.keypoints, clip.keypoints[:, start:stop]) and (window.label, window.fps, window.layout) == ("a", 30, clip.layout)
        assert window.scores is not None and clip.scores is not None and np.array_equal(window.scores, clip.scores[:, start:stop])


def test_windows_without_anybody_are_left_out() -> None:
    keypoints = make_clip(frames=20).keypoints.copy()
    keypoints[:, 4:13] = 0
    assert [c.name for c in skelzoo.windows(skelzoo.Clip(keypoints, "kinect20", name="a"), 4)] == ["a[0:4]", "a[12:16]", "a[16:20]"]


@pytest.mark.parametrize(
    ("fps", "frames", "step", "bounds"),
    [
        (30, "9" * 400 + "s", None, (20, 20)),
        (30, "0.2s", "9" * 400 + "s", (6, 20)),
        (30, "0.2s", "0.1 s", (6, 3)),
        (29.97, "0.2s", None, (6, 6)),
        (120, ".05s", 4, (6, 4)),
        (30, 4, "0.001s", (4, 1)),
    ],
)
def test_windows_of_seconds_are_cut_by_the_frame_rate(fps: float, frames: int | str, step: int | str | None, bounds: tuple[int, int]) -> None:
    clip = make_clip(frames=20).replace(fps=fps)
    assert [c.name for c in skelzoo.windows(clip, frames, step)] == [c.name for c in skelzoo.windows(clip, *bounds)]
    with pytest.raises(ClipError, match=r"clip0: has no frame rate.*Give --fps"):
        skelzoo.windows(clip.replace(fps=None), frames, step)


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("frames", v) for v in (0, -1, 2.5, True, "0s", "-1s", "3 min", "nans")), ("step", 0), ("step", "3")],
)
def test_windows_of_no_length_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ClipError, match=rf"clip0: {name} of a window is .*whole number of at least 1"):
        skelzoo.windows(make_clip(), **{"frames": 4, name: value})


@pytest.mark.parametrize(("fps", "longest", "says"), [(10, 600, "is longer than 60 seconds"), (None, 480, "has more than 480 frames")])
def test_recordings_too_long_for_one_vector_are_warned_of(fps: float | None, longest: int, says: str) -> None:
    clip = make("walk", frames=longest + 1).replace(fps=fps)
    with pytest.warns(UserWarning, match=rf"the clip {says}, .* one vector of 16 frames\. .*--window FRAMES"):
        skelzoo.prepare(clip, CONTRACT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for window in skelzoo.windows(clip, longest):
            skelzoo.prepare(window, CONTRACT)
