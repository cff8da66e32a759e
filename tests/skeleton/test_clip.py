"""Clips, and what is said of arrays that are not clips."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import skelzoo
from skelzoo import Clip, clips_from_array
from skelzoo.errors import AxesError, ClipError, LayoutError, SkelzooError
from skelzoo.skeleton.clip import mirrored


def joints(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_clip_keeps_what_it_is_given() -> None:
    x, scores = joints(2, 7, 20, 3), np.random.default_rng(1).uniform(size=(2, 7, 20))
    clip = Clip(x, "kinect20", fps=25, scores=scores, label="wave", name="a")
    assert np.array_equal(clip.keypoints, x) and clip.keypoints.dtype == np.float32
    assert (clip.persons, clip.frames, clip.channels, clip.fps, clip.label, clip.name) == (2, 7, 3, 25, "wave", "a")
    assert clip.layout is skelzoo.get_layout("kinect20") and clip.scores is not None and clip.scores.shape == (2, 7, 20)
    assert "2 person(s), 7 frames, kinect20, 3-D, 25 fps" in repr(clip)


@pytest.mark.parametrize("make", [np.asarray, lambda x: x.tolist(), torch.from_numpy, lambda x: torch.from_numpy(x).double().requires_grad_()])
def test_one_person_without_a_person_axis_from_any_array_like(make: Any) -> None:
    x = joints(7, 20, 3)
    assert np.array_equal(Clip(make(x), "kinect20", scores=make(np.abs(x[..., 0]))).keypoints, x[None])


def test_replace_checks_again() -> None:
    clip = Clip(joints(7, 20, 3), "kinect20", name="a")
    assert clip.replace(name="b").name == "b" and clip.name == "a"
    with pytest.raises(LayoutError):
        clip.replace(layout="ntu25")


@pytest.mark.parametrize("size", [(1080, 1920), [1080, 1920], np.array([1080, 1920])])
def test_the_size_of_the_picture_is_kept(size: Any) -> None:
    clip = Clip(joints(2, 7, 17, 2), "coco17", image_size=size, first=4)
    assert clip.image_size == (1080, 1920) and Clip(clip.keypoints, "coco17").image_size is None
    eyes = skelzoo.make_layout("eyes", {"right": "right_eye", "left": "left_eye"}, [None, "right"], dimensions=2)
    for same in (clip.replace(name="b"), skelzoo.select_persons(clip), skelzoo.remap(clip, eyes)):
        assert (same.image_size, same.first) == ((1080, 1920), 4) and same is not clip
    assert [c.image_size for c in clips_from_array(joints(2, 7, 17, 2), "coco17", "n t v c", image_size=size)] == [(1080, 1920)] * 2


def test_persons_and_frames_are_taken_with_their_scores() -> None:
    x, scores = joints(3, 7, 20, 3), np.random.default_rng(1).random((3, 7, 20), np.float32)
    clip = Clip(x, "kinect20", fps=30, scores=scores, label="a", first=4)
    for persons, frames in ((None, slice(2, 5)), ([2, 0], None), (np.array([True, False, True]), np.arange(7) % 2 == 0), ((1,), (6, 0))):
        taken = clip.take(persons, frames)
        who, when = (
            np.arange(n) if chosen is None else np.arange(n)[list(chosen) if isinstance(chosen, tuple) else chosen] for n, chosen in ((3, persons), (7, frames))
        )
        assert np.array_equal(taken.keypoints, x[np.ix_(who, when)]) and np.array_equal(taken.scores, scores[np.ix_(who, when)])
        assert taken.label == "a" and taken.keypoints.base is None
    assert clip.replace(scores=None).take(frames=[0]).scores is None
    assert np.array_equal(clip.take(2, slice(2, 5)).keypoints, x[2:, 2:5])
    for odd in (
        dict(persons=3),
        dict(frames=[7]),
        dict(persons=np.array([True])),
        dict(persons=[[0, 1]]),
        dict(frames=slice(0.0, 2.0)),
        dict(frames=slice(0, 2, 0)),
        dict(persons="a"),
    ):
        with pytest.raises(ClipError, match="cannot be taken of 3 and 7"):
            clip.take(**odd)
    assert (clip.take(frames=[0]).name, clip.take(frames=[0], name="cut").name) == (clip.name, "cut")
    with pytest.raises(ClipError, match="no frames"):
        clip.take(frames=slice(9, None))


@pytest.mark.parametrize(("frames", "fps", "first"), [
    (None, 30, 6), (slice(2, 5), 30, 8), (slice(None, None, 3), 10, 2), (slice(3, None, 3), 10, 3), (slice(None, None, -1), 30, 0), ([6, 3, 0], 10, 0),
    (np.arange(7) % 2 == 0, 15, 3), ([0, 1, 3], None, 0), ([2, 2], None, 0), (5, 30, 11),
])  # fmt: skip
def test_frames_that_are_taken_have_the_rate_at_which_they_follow_each_other(frames: Any, fps: float | None, first: int) -> None:
    """And the first of them the number that it has at this rate, so that its second stays."""
    clip = Clip(joints(7, 20, 3), "kinect20", fps=30, first=6)
    assert (clip.take(frames=frames).fps, clip.take(frames=frames).first) == (fps, first) and clip.replace(fps=None).take(frames=frames).fps is None
    assert clip.replace(fps=0.001).take(frames=frames).fps in (0.001, None), "what is no rate of a recording is none"


def test_clips_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Clip(joints(7, 20, 3), "kinect20").fps = 3  # type: ignore[misc]


def nan_at(m: int, t: int, v: int, value: float = np.nan) -> np.ndarray:
    x = joints(2, 7, 20, 3)
    x[m, t, v, 1] = value
    return x


@pytest.mark.parametrize(
    ("keypoints", "settings", "error", "says"),
    [
        (joints(7, 25, 3), {}, LayoutError, ["25 joints", "'kinect20' has 20", "Layouts with 25 joints: ntu25"]),
        (joints(7, 19, 3), {}, LayoutError, ["19 joints", "skelzoo.make_layout"]),
        (joints(7, 20, 3), {"layout": "kinect2"}, LayoutError, ["'kinect2'", "Did you mean ntu25"]),
        (joints(20, 3), {}, ClipError, ["2 axes", "(20, 3)", "clips_from_array"]),
        (joints(1, 2, 7, 21, 3), {}, ClipError, ["5 axes"]),
        (joints(4, 1, 7, 20, 3), {}, ClipError, ["axes='n m t v c'", "clips_from_array(x, 'kinect20', axes='n m t v c')"]),
        (joints(3, 7, 20), {}, ClipError, ["(3, 7, 20)", "axes='c t v'"]),
        (joints(7, 20, 1, 3), {}, ClipError, ["would fit axes='t v m c'"]),
        (joints(7, 20, 4), {}, ClipError, ["4 coordinates", "scores="]),
        (joints(0, 7, 20, 3), {}, ClipError, ["no persons"]),
        (joints(2, 0, 20, 3), {}, ClipError, ["no frames"]),
        (nan_at(1, 4, 7), {}, ClipError, ["1 joint positions", "person 1, frame 4, joint 'LeftHand' (7)", "fill_missing"]),
        (nan_at(0, 0, 0, np.inf), {}, ClipError, ["person 0, frame 0, joint 'HipCenter' (0)"]),
        (np.zeros((2, 7, 20, 3)), {}, ClipError, ["all 7 frames", "zero", "Leave this recording out"]),
        (np.full((7, 20, 3), "x"), {}, ClipError, ["not numbers"]),
        (joints(7, 20, 3) + 1j, {}, ClipError, ["complex", "not numbers"]),
        (joints(7, 20, 3), {"scores": np.ones((7, 19))}, ClipError, ["scores have shape (1, 7, 19)", "(1, 7, 20)"]),
        (joints(7, 20, 3), {"image_size": (1080, 1920)}, ClipError, ["3-D joints", "for 2-D joints alone"]),
        *((joints(7, 20, 2), {"image_size": s}, ClipError, [f"image_size is {s!r}", "(height, width)"]) for s in (1080, (1080,), (0, 1), (1.5, 2.0), "hd")),
        (joints(7, 20, 3), {"fps": 0}, ClipError, ["fps is 0"]),
        (joints(7, 20, 3), {"fps": "30"}, ClipError, ["fps is '30'"]),
        ([[[1.0, 2.0, 3.0]], [[1.0, 2.0]]], {}, ClipError, ["lists of unequal lengths"]),
        (nan_at(0, 2, 0, 1e20), {}, ClipError, ["beyond 1e+15 are too large", "frame 2"]),
        (np.ma.masked_greater(nan_at(0, 3, 1, 1e6), 1e5), {}, ClipError, ["1 joint positions are NaN", "frame 3"]),
        (joints(7, 20, 3), {"fps": float("nan")}, ClipError, ["fps is nan"]),
        (joints(7, 20, 3), {"fps": float("inf")}, ClipError, ["fps is inf"]),
        *((joints(7, 20, 3), {"fps": fps}, ClipError, [f"fps is {fps!r}", "from 0.001 to 100000"]) for fps in (1e-307, 9e-4, 1.1e5, 1e308)),
        (joints(7, 20, 3), {"scores": np.full((7, 20), -np.inf)}, ClipError, ["140 scores are infinite", "NaN where there is none"]),
    ],
)
def test_bad_clips_are_refused_by_name_and_place(keypoints: Any, settings: dict[str, Any], error: type[SkelzooError], says: list[str]) -> None:
    with pytest.raises(error) as caught:
        Clip(keypoints, **{"layout": "kinect20", "name": "clip 7", **settings})
    for part in says:
        assert part in str(caught.value)
    if "layout" not in settings:
        assert str(caught.value).startswith("clip 7: ")


def test_values_too_large_for_float32_are_not_let_through_as_infinity() -> None:
    with warnings.catch_warnings(), pytest.raises(ClipError, match="infinite"):
        warnings.simplefilter("error")
        Clip(np.full((7, 20, 3), 1e300), "kinect20")


def test_an_absent_person_is_fine_beside_a_present_one() -> None:
    x = joints(2, 7, 20, 3)
    x[1] = 0
    assert Clip(x, "kinect20").persons == 2


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("n c t v m", (4, 3, 7, 20, 2)),
        ("n m t v c", (4, 2, 7, 20, 3)),
        ("n t v c", (4, 7, 20, 3)),
        ("t v c", (7, 20, 3)),
        ("c t v", (3, 7, 20)),
        ("m v c t", (2, 20, 3, 7)),
    ],
)
def test_arrays_of_any_axes(axes: str, shape: tuple[int, ...]) -> None:
    """Element by element against the definition of the axes."""
    x, names = joints(*shape), axes.split()
    clips = clips_from_array(x, "kinect20", axes, fps=30)
    size = dict(zip(names, shape, strict=True))
    assert len(clips) == size.get("n", 1) and clips[0].persons == size.get("m", 1)
    for i, clip in enumerate(clips):
        for place in np.ndindex(*clip.keypoints.shape):
            at = {"n": i, **dict(zip("mtvc", place, strict=True))}
            assert clip.keypoints[place] == x[tuple(at[a] for a in names)]
        assert clip.name == f"array[{i}]" and clip.fps == 30


@pytest.mark.parametrize(
    ("shape", "axes", "fits"),
    [
        ((4, 7, 20, 3), "n c t v", "'n t v c'"),
        ((4, 3, 7, 20, 1), "n m t v c", "'n c t v m'"),
        ((4, 1, 7, 20, 3), "n c t v m", "'n m t v c'"),
        ((7, 20, 3), "n c t v m", "'t v c'"),
        ((3, 7, 20), "t v c", "'c t v'"),
    ],
)
def test_wrong_axes_are_told_the_right_ones(shape: tuple[int, ...], axes: str, fits: str) -> None:
    with pytest.raises(AxesError) as caught:
        clips_from_array(joints(*shape), "kinect20", axes)
    assert str(shape) in str(caught.value) and repr(axes) in str(caught.value) and fits in str(caught.value)
    assert len(clips_from_array(joints(*shape), "kinect20", fits.strip("'"))) == (shape[0] if fits.startswith("'n") else 1)


@pytest.mark.parametrize("axes", ["n c t v x", "n c t v v", "n c t", "", "ntvc"])
def test_axes_that_are_no_axes(axes: str) -> None:
    with pytest.raises(AxesError, match="are not understood"):
        clips_from_array(joints(4, 3, 7, 20), "kinect20", axes)


def test_no_axes_fit() -> None:
    with pytest.raises(AxesError, match="No order of axes fits layout 'kinect20'"):
        clips_from_array(joints(4, 3, 7, 19), "kinect20", "n c t v")


@pytest.mark.parametrize(("layout", "channels"), [("kinect20", 3), ("coco17", 2)])
def test_flat_rows_are_told_how_they_become_joints(layout: str, channels: int) -> None:
    x = joints(7, len(skelzoo.get_layout(layout)), channels)
    flat = x.reshape(7, -1)
    with pytest.raises(ClipError, match=re.escape(call := f"keypoints.reshape(len(keypoints), -1, {channels})")):
        Clip(flat, layout)
    assert np.array_equal(Clip(eval(call, {"keypoints": flat}), layout).keypoints[0], x)
    many = np.stack([flat, flat])
    with pytest.raises(AxesError, match=re.escape(call := f"keypoints.reshape(*keypoints.shape[:-1], -1, {channels})")):
        clips_from_array(many, layout, "n t v c")
    assert np.array_equal(clips_from_array(eval(call, {"keypoints": many}), layout, "n t v c")[1].keypoints[0], x)


def test_a_sample_of_an_array_is_named() -> None:
    x = joints(3, 7, 20, 3)
    x[2, 5, 1, 0] = np.nan
    with pytest.raises(ClipError, match=r"array\[2\]: .*frame 5, joint 'Spine'"):
        clips_from_array(x, "kinect20", "n t v c")
    x[2] = 0
    with pytest.raises(ClipError, match=r"array\[2\]: every coordinate"):
        clips_from_array(x, "kinect20", "n t v c")


def test_the_mirror_image_of_a_clip() -> None:
    layout = skelzoo.get_layout("kinect20")
    clip = Clip(joints(2, 7, 20, 3), layout, fps=25, scores=np.random.default_rng(1).uniform(size=(2, 7, 20)), label="wave", name="a")
    image = mirrored(clip)
    left, right = (layout.joints.index(name) for name in layout.mirror[0])
    assert np.array_equal(image.keypoints[:, :, left], clip.keypoints[:, :, right] * np.array([-1, 1, 1], np.float32))
    assert image.scores is not None and clip.scores is not None and np.array_equal(image.scores[:, :, left], clip.scores[:, :, right])
    assert (image.label, image.name, image.fps) == ("wave", "a", 25) and np.array_equal(mirrored(image).keypoints, clip.keypoints)


def test_the_mirror_image_of_a_picture_keeps_what_was_not_found() -> None:
    x = np.random.default_rng(0).uniform(1, 640, (1, 5, 17, 2)).astype(np.float32)
    x[0, 2, 9] = 0
    clip = Clip(x, "coco17", image_size=(480, 640))
    image = mirrored(clip).keypoints
    assert (
        np.array_equal(image[0, 2, 10], [0, 0])
        and image[0, 2, 9, 0] == 640 - x[0, 2, 10, 0]
        and np.array_equal(image[..., 1], x[:, :, list(clip.layout.mirror_permutation), 1])
    )
    np.testing.assert_allclose(mirrored(mirrored(clip)).keypoints, x, atol=1e-4)


def test_what_is_written_into_the_array_afterwards_does_not_reach_the_clip() -> None:
    buffer, scores = joints(1, 7, 20, 3), np.ones((1, 7, 20), np.float32)
    assert buffer.dtype == np.float32
    clip, before = Clip(buffer, "kinect20", scores=scores), buffer.copy()
    buffer[:] = scores[:] = np.nan
    assert np.array_equal(clip.keypoints, before) and clip.scores is not None and (clip.scores == 1).all()


@pytest.mark.parametrize(("given", "kept"), [
        (0, "0"), (3, "3"), (np.int64(0), "0"), ("walk", "walk"), (None, None), (float("nan"), None), (np.str_("walk"), "walk"), (b"walk", "walk"),
        (2.0, "2"), (0.5, "0.5"), (np.array(3), "3"), (np.array([3.0]), "3"), (torch.tensor(3), "3"), (torch.tensor([2.0]), "2"),
    ],
)  # fmt: skip
def test_labels_are_text(given: Any, kept: str | None) -> None:
    assert Clip(joints(7, 20, 3), "kinect20", label=given).label == kept


@pytest.mark.parametrize("given", [np.eye(3)[0], torch.eye(3)[0], [0, 1, 0], {"label": 1}, np.array([])], ids=str)
def test_a_label_is_one_name_or_number(given: Any) -> None:
    with pytest.raises(ClipError, match=r"a label is one name or number, not .*labels\.argmax\(1\)"):
        Clip(joints(7, 20, 3), "kinect20", label=given)


@pytest.mark.parametrize(("given", "kept"), [(Path("a.bvh"), "a.bvh"), (None, "clip"), (np.str_("a"), "a")])
def test_names_are_text_that_is_read_again(tmp_path: Path, given: Any, kept: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", Clip(joints(7, 20, 3), "kinect20", name=given))
    assert [clip.name for clip in skelzoo.read(tmp_path / "a.npz")] == [kept]


def test_lists_of_tensors_and_masks_for_scores() -> None:
    x = joints(7, 20, 3)
    rows = [torch.tensor(row, requires_grad=True) for row in x]
    assert np.allclose(Clip(rows, "kinect20").keypoints[0], x)
    assert np.allclose(Clip([rows], "kinect20").keypoints[0], x) and np.allclose(Clip([[list(row) for row in rows]], "kinect20").keypoints[0], x)
    assert np.allclose(Clip([row.bfloat16() for row in rows], "kinect20").keypoints[0], x, atol=0.05)
    seen = x[..., 0] > 0
    clip = Clip(x, "kinect20", scores=seen)
    assert clip.scores is not None and np.array_equal(clip.scores[0], seen)
    with pytest.raises(ClipError, match="scores of type object"):
        Clip(x, "kinect20", scores=np.full((7, 20), None))
    for odd in (torch.zeros(7, 20, 3, device="meta"), torch.zeros(7, 20, 3).to_sparse()):
        with pytest.raises(ClipError, match="a dense one"):
            Clip(odd, "kinect20")
