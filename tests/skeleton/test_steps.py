"""Preparation steps, each against a slow formulation of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip

from skelzoo import get_layout
from skelzoo.errors import ClipError, ContractError
from skelzoo.skeleton.procedural import make
from skelzoo.skeleton.steps import STEPS, apply_step

LAYOUT = get_layout("kinect20")
LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER = (LAYOUT.index(j) for j in ("LeftHip", "RightHip", "LeftShoulder", "RightShoulder"))
HIP, CHEST = LAYOUT.index("HipCenter"), LAYOUT.index("ShoulderCenter")


@pytest.fixture
def x() -> np.ndarray:
    """Two persons; the first enters at frame 3, the second leaves after frame 8; nobody is there in frame 5."""
    keypoints = make_clip(persons=2, frames=13).keypoints.copy()
    keypoints[0, :3], keypoints[1, 9:], keypoints[:, 5] = 0, 0, 0
    return keypoints


def run(keypoints: np.ndarray, step: str, **options: Any) -> np.ndarray:
    before = keypoints.copy()
    out = apply_step({"step": step, **options}, keypoints, LAYOUT)
    assert out.dtype == np.float32 and np.array_equal(keypoints, before)
    return out


def frames_of(keypoints: np.ndarray, person: int = 0) -> list[int]:
    """Frames in which a person is there."""
    return [t for t in range(keypoints.shape[1]) if any(v != 0 for v in keypoints[person, t].ravel())]


def moved(keypoints: np.ndarray, move: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
    """Every joint position of every present person through a function of (position, person, frame)."""
    out = np.zeros(keypoints.shape)
    for m in range(len(keypoints)):
        for t in frames_of(keypoints, m):
            for v in range(keypoints.shape[2]):
                out[m, t, v] = move(keypoints[m, t, v].astype(float), m, t)
    return out


def test_drop_empty_frames(x: np.ndarray) -> None:
    kept = [t for t in range(13) if t in frames_of(x, 0) or t in frames_of(x, 1)]
    assert kept == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert np.array_equal(run(x, "drop_empty_frames"), x[:, kept])
    flat = make_clip(frames=4).keypoints.copy()
    for axis in range(3):
        flat[0, axis, :, [axis, (axis + 1) % 3]] = 0
    assert np.array_equal(run(flat, "drop_empty_frames"), flat), "somebody in a plane or on an axis is there"


def test_center_on_the_first_frame_or_the_mean(x: np.ndarray) -> None:
    np.testing.assert_allclose(run(x, "center"), moved(x, lambda p, m, t: p - x[0, 3, HIP]), atol=1e-5)
    mean = np.mean([x[0, t, CHEST] for t in frames_of(x)], axis=0)
    np.testing.assert_allclose(run(x, "center", point="shoulder_center", reference="mean"), moved(x, lambda p, m, t: p - mean), atol=1e-5)


def test_center_in_every_frame(x: np.ndarray) -> None:
    out = run(x, "center", point="Spine", reference="every_frame")
    np.testing.assert_allclose(out, moved(x, lambda p, m, t: p - x[m, t, LAYOUT.index("Spine")]), atol=1e-5)
    assert not out[:, :, LAYOUT.index("Spine")].any()


def test_center_skips_a_person_who_is_never_there() -> None:
    x = make_clip(persons=2).keypoints.copy()
    x[0] = 0
    np.testing.assert_allclose(run(x, "center"), moved(x, lambda p, m, t: p - x[1, 0, HIP]), atol=1e-5)


def test_scale_torso(x: np.ndarray) -> None:
    lengths = sorted(float(np.sqrt(((x[0, t, CHEST] - x[0, t, HIP]).astype(float) ** 2).sum())) for t in frames_of(x))
    median = (lengths[len(lengths) // 2] + lengths[(len(lengths) - 1) // 2]) / 2
    np.testing.assert_allclose(run(x, "scale_torso"), moved(x, lambda p, m, t: p / median), rtol=1e-5)
    np.testing.assert_allclose(run(x, "scale_torso", length=2.5), moved(x, lambda p, m, t: p * 2.5 / median), rtol=1e-5)


def test_every_step_is_tested_here() -> None:
    tested = {
        "drop_empty_frames",
        "center",
        "normalize_image",
        "scale_torso",
        "yaw",
        "yaw_every_frame",
        "first_tracked_frames",
        "fill_gaps",
        "median_filter",
        "resample",
        "pad",
        "most_moving",
    }
    of_psp = {"likely_persons", "center_opening", "scale_spine", "stand_upright"}  # in test_psp_data.py
    assert set(STEPS) == tested | of_psp


def test_pad(x: np.ndarray) -> None:
    out = run(x, "pad", frames=x.shape[1] + 4)
    assert np.array_equal(out[:, :-4], x) and not out[:, -4:].any() and np.array_equal(run(x, "pad", frames=x.shape[1]), x)
    with pytest.raises(ClipError, match=f"has {x.shape[1]} frames, and at most 5 are kept"):
        run(x, "pad", frames=5)


def test_fill_gaps(x: np.ndarray) -> None:
    filled, gaps = x.copy(), x.copy()
    gaps[0, [4, 7, 8], 3] = gaps[0, :5, 9] = gaps[1, 6:, 2] = gaps[1, :, 11] = 0
    for c in range(3):
        filled[0, 4, 3, c] = x[0, 3, 3, c] + (x[0, 6, 3, c] - x[0, 3, 3, c]) / 3
        filled[0, 7, 3, c], filled[0, 8, 3, c] = (x[0, 6, 3, c] + k * (x[0, 9, 3, c] - x[0, 6, 3, c]) / 3 for k in (1, 2))
    filled[0, 3:5, 9] = x[0, 6, 9]
    filled[1, 6:9, 2] = x[1, 4, 2]
    for t in frames_of(x, 1):
        filled[1, t, 11] = np.mean([filled[1, t, v] for v in range(20) if v != 11], axis=0)
    np.testing.assert_allclose(run(gaps, "fill_gaps"), filled, atol=1e-5)
    assert np.array_equal(run(x, "fill_gaps"), x)


def test_a_face_that_is_never_found_stands_where_the_face_is() -> None:
    coco, x = get_layout("coco17"), make_clip(frames=4, layout="coco17", channels=2).keypoints
    nose, left_ear, *trunk = (coco.index(j) for j in ("nose", "left_ear", "left_shoulder", "right_shoulder", "left_hip", "right_hip"))
    for lost, place in (
        ([1, 2, 4], x[:, :, [nose, left_ear]].mean(2)),
        (range(5), (1.5 * x[:, :, trunk[:2]] - 0.5 * x[:, :, trunk[2:]]).mean(2)),
        ([*range(5), trunk[0]], np.delete(x, [*range(5), trunk[0]], axis=2).mean(2)),
    ):
        gaps = x.copy()
        gaps[:, :, list(lost)] = 0
        filled = apply_step({"step": "fill_gaps"}, gaps, coco)
        for joint in lost:
            np.testing.assert_allclose(filled[:, :, joint], place, atol=1e-5)
        assert np.array_equal(np.delete(filled, list(lost), 2), np.delete(x, list(lost), 2))


def test_normalize_image() -> None:
    """Left and top edge to -1, right and bottom edge to 1, each axis by its own side; nobody stays nobody."""
    x = np.zeros((2, 3, 17, 2), np.float32)
    x[0] = np.random.default_rng(0).uniform((0, 0), (1920, 1080), size=(3, 17, 2))
    x[0, 0, :5] = [(0, 0), (1920, 1080), (960, 540), (1920, 0), (480, 540)]
    x[0, 1] = 0
    out = apply_step({"step": "normalize_image"}, x, get_layout("coco17"), (1080, 1920))
    assert out.dtype == np.float32 and out[0, 0, :5].tolist() == [[-1, -1], [1, 1], [0, 0], [1, -1], [-0.5, 0]]
    for t, v in np.ndindex(3, 17):
        px, py = (float(n) for n in x[0, t, v])
        expected = (0, 0) if t == 1 else ((px - 960) / 960, (py - 540) / 540)
        np.testing.assert_allclose(out[0, t, v], expected, atol=1e-6)
    assert not out[1].any()


def test_normalize_image_of_what_is_no_picture(x: np.ndarray) -> None:
    with pytest.raises(ContractError, match="normalize_image needs 2-D joints"):
        apply_step({"step": "normalize_image"}, x, LAYOUT, (1080, 1920))


def test_scale_torso_of_a_body_without_a_torso() -> None:
    x = make_clip().keypoints.copy()
    x[:, :, CHEST] = x[:, :, HIP]
    with pytest.raises(ClipError, match="hip centre to shoulder centre is zero"):
        run(x, "scale_torso")


@pytest.mark.parametrize("step", ["center", "scale_torso", "yaw"])
def test_steps_that_need_a_body_refuse_where_there_is_none(step: str) -> None:
    with pytest.raises(ClipError, match="all joints are at one point"):
        run(np.zeros((2, 4, 20, 3), np.float32), step)


@pytest.mark.parametrize("reference", ["first_frame", "mean"])
def test_yaw(x: np.ndarray, reference: str) -> None:
    lines = [(x[0, t, LEFT_HIP] - x[0, t, RIGHT_HIP] + x[0, t, LEFT_SHOULDER] - x[0, t, RIGHT_SHOULDER]).astype(float) for t in frames_of(x)]
    line = lines[0] if reference == "first_frame" else np.mean(lines, axis=0)
    turn = complex(line[0], -line[2]) / abs(complex(line[0], line[2]))

    def turned(p: np.ndarray, m: int, t: int) -> np.ndarray:
        z = complex(p[0], p[2]) * turn
        return np.array([z.real, p[1], z.imag])

    out = run(x, "yaw", reference=reference)
    np.testing.assert_allclose(out, moved(x, turned), atol=1e-5)
    if reference == "first_frame":
        across = out[0, 3, LEFT_HIP] - out[0, 3, RIGHT_HIP] + out[0, 3, LEFT_SHOULDER] - out[0, 3, RIGHT_SHOULDER]
        assert across[0] > 0 and abs(across[2]) < 1e-5


def test_yaw_every_frame(x: np.ndarray) -> None:
    """theta = arccos(v_x / (|v| + 1e-4)), negated for a person's whole clip where v_z sums to 0 or more (facts/skeattnclr.md, section 9)."""
    out = run(x, "yaw_every_frame")
    for m in range(2):
        lines = [x[m, t, RIGHT_SHOULDER].astype(float) - x[m, t, LEFT_SHOULDER] for t in range(13)]
        sign = -1 if sum(v[2] for v in lines) >= 0 else 1
        for t, v in enumerate(lines):
            theta = sign * np.arccos(v[0] / (np.sqrt(v[0] ** 2 + v[2] ** 2) + 1e-4))
            turn = np.array([[np.cos(theta), 0, -np.sin(theta)], [0, 1, 0], [np.sin(theta), 0, np.cos(theta)]])
            np.testing.assert_allclose(out[m, t], x[m, t] @ turn.T, atol=1e-5)
    with pytest.raises(ContractError, match="yaw_every_frame needs 3-D"):
        run(x[..., :2], "yaw_every_frame")


def test_first_tracked_frames_cuts_the_tail(x: np.ndarray) -> None:
    x[0, 7, 0] = 0
    tracked = [t for t in range(13) if x[0, t, 0].any()]
    assert len(tracked) == 8
    assert np.array_equal(run(x, "first_tracked_frames"), x[:, :8])
    centred = x - x[:, :, :1]
    with pytest.raises(ClipError, match="'first_tracked_frames' leaves no frame"):
        run(centred, "first_tracked_frames")


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_median_filter(x: np.ndarray, frames: int) -> None:
    half, expected = frames // 2, np.zeros(x.shape)
    for m, t, v, c in np.ndindex(*x.shape):
        if x[m, t].any():
            expected[m, t, v, c] = sorted(float(x[m, min(max(t + d, 0), 12), v, c]) for d in range(-half, half + 1))[half]
    np.testing.assert_allclose(run(x, "median_filter", frames=frames), expected, atol=1e-7)


@pytest.mark.parametrize("frames", [1, 2, 7, 13, 40])
def test_resample_linear(x: np.ndarray, frames: int) -> None:
    out = run(x, "resample", frames=frames)
    assert out.shape == (2, frames, 20, 3)
    for m, v, c in np.ndindex(2, 20, 3):
        np.testing.assert_allclose(out[m, :, v, c], np.interp(np.linspace(0, 12, frames), np.arange(13), x[m, :, v, c]), atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 7, 13, 40])
def test_resample_half_pixel(x: np.ndarray, frames: int) -> None:
    rows = torch.from_numpy(x).permute(0, 2, 3, 1).reshape(1, -1, 13)
    expected = torch.nn.functional.interpolate(rows, size=frames, mode="linear", align_corners=False)
    expected = expected.reshape(2, 20, 3, frames).permute(0, 3, 1, 2).numpy()
    np.testing.assert_allclose(run(x, "resample", frames=frames, method="half_pixel"), expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 7, 13, 40])
def test_resample_uniform_index(x: np.ndarray, frames: int) -> None:
    out = run(x, "resample", frames=frames, method="uniform_index")
    for i in range(frames):
        middle = (i * 13 / frames + (i + 1) * 13 / frames) / 2
        assert np.array_equal(out[:, i], x[:, int(middle)])


@pytest.mark.parametrize("frames", [1, 2, 7, 13, 40])
def test_resample_floor_index(x: np.ndarray, frames: int) -> None:
    out = run(x, "resample", frames=frames, method="floor_index")
    for i in range(frames):
        assert np.array_equal(out[:, i], x[:, i * 13 // frames])


@pytest.mark.parametrize("method", ["linear", "half_pixel", "uniform_index", "floor_index"])
def test_resample_of_one_frame_repeats_it(method: str) -> None:
    x = make_clip(frames=1).keypoints
    assert np.array_equal(run(x, "resample", frames=5, method=method), np.repeat(x, 5, axis=1))


def energy(keypoints: np.ndarray, m: int) -> float:
    poses = keypoints[m, frames_of(keypoints, m)].astype(float)
    distances = np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1)
    return float(((distances - distances.mean(0)) ** 2).sum())


def people() -> np.ndarray:
    """Four persons of unlike motion; the third stands still but enters late, far from the origin."""
    x = np.concatenate([make_clip(s).keypoints for s in range(4)])
    x[:, :] = x[:, :1] + (x - x[:, :1]) * np.array([1.0, 3.0, 0.0, 2.0])[:, None, None, None]
    x[2] += 50
    x[2, :5] = 0
    return x


def test_most_moving_persons() -> None:
    x = people()
    order = sorted(range(4), key=lambda m: -energy(x, m))
    assert order != [0, 1, 2, 3] and order[-1] == 2
    for count in (1, 2, 3):
        assert np.array_equal(run(x, "most_moving", count=count), x[order[:count]])
    assert np.array_equal(run(x, "most_moving", count=4), x)


def test_a_short_track_counts_little() -> None:
    """However much moves in its frames."""
    x = np.repeat(make_clip(frames=60).keypoints, 2, 0)
    x[1] = x[0, :1] + 2 * (x[0] - x[0, :1])
    x[1, np.arange(60) % 10 > 0] = 0
    assert np.array_equal(run(x, "most_moving"), x[:1]) and np.array_equal(run(x[::-1].copy(), "most_moving"), x[:1])


@pytest.mark.parametrize(
    ("step", "options", "says"),
    [
        ("center", {"reference": "last"}, "reference 'last'"),
        ("center", {"point": "tail"}, "no point 'tail'"),
        ("yaw", {"reference": "last"}, "reference 'last'"),
        ("resample", {"method": "cubic"}, "method 'cubic'"),
    ],
)
def test_options_that_do_not_exist(x: np.ndarray, step: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        run(x, step, **options)


def test_yaw_needs_three_dimensions(x: np.ndarray) -> None:
    with pytest.raises(ContractError, match="yaw needs 3-D"):
        run(x[..., :2], "yaw")


@pytest.mark.parametrize("motion", ["squat", "wave", "kick"])
@pytest.mark.parametrize("other", ["trembles", "passes", "turns", "appears", "loses joints"])
@pytest.mark.parametrize("channels", [3, 2])
def test_who_exercises_is_chosen_before_who_does_not(other: str, channels: int, motion: str) -> None:
    rng = np.random.default_rng(0)
    scale = 1.0 if channels == 3 else 100.0
    patient = (make(motion, frames=60).keypoints[..., :channels] + 2) * scale
    bystander = np.repeat(patient[:, :1], 60, axis=1) + scale
    if other == "trembles":
        bystander = bystander + 0.02 * scale * rng.normal(size=bystander.shape)
    elif other == "passes":
        bystander = bystander + scale * np.linspace(0, 5, 60)[:, None, None]
    elif other == "appears":
        bystander[:, 13:], bystander[:, :10] = 0, 0
        bystander[:, 12] += 0.3 * scale
    elif other == "turns" and channels == 3:
        angle = np.linspace(0, np.pi, 60)
        turn = np.moveaxis(
            np.array([[np.cos(angle), 0 * angle, np.sin(angle)], [0 * angle, 1 + 0 * angle, 0 * angle], [-np.sin(angle), 0 * angle, np.cos(angle)]]), 2, 0
        )
        bystander = np.einsum("tij,mtvj->mtvi", turn, bystander)
    elif other == "loses joints":
        bystander[:, ::2, 9] = 0
    both = np.concatenate([bystander, patient]).astype(np.float32)
    assert np.array_equal(run(both, "most_moving"), both[1:])
