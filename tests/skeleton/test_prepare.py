"""Clip and contract -> array: each step against a slow formulation of its own, and the contract itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import make_clip

from skelzoo import Clip, Contract, fill_missing, get_layout, prepare, select_persons
from skelzoo.errors import ClipError, ContractError, LayoutError, SkelzooError
from skelzoo.skeleton.prepare import apply_step, prepare_batch, stream

LAYOUT = get_layout("kinect20")
LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER = (LAYOUT.index(j) for j in ("LeftHip", "RightHip", "LeftShoulder", "RightShoulder"))
HIP, CHEST = LAYOUT.index("HipCenter"), LAYOUT.index("ShoulderCenter")
STEPS = ({"step": "drop_empty_frames"}, {"step": "center"}, {"step": "scale_torso"}, {"step": "yaw"}, {"step": "resample", "frames": 16})
CONTRACT = Contract("kinect20", 3, 2, 16, STEPS)


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


def test_scale_torso_of_a_body_without_a_torso() -> None:
    with pytest.raises(ClipError, match="hip centre to shoulder centre is zero"):
        run(np.ones((1, 4, 20, 3), np.float32), "scale_torso")


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


@pytest.mark.parametrize("method", ["linear", "half_pixel", "uniform_index"])
def test_resample_of_one_frame_repeats_it(method: str) -> None:
    x = make_clip(frames=1).keypoints
    assert np.array_equal(run(x, "resample", frames=5, method=method), np.repeat(x, 5, axis=1))


def energy(keypoints: np.ndarray, m: int) -> float:
    there = frames_of(keypoints, m)
    return sum(float(((keypoints[m, t + 1].astype(float) - keypoints[m, t]) ** 2).sum()) for t in there if t + 1 in there)


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


def test_select_persons_keeps_scores_with_their_person() -> None:
    x, scores = people(), np.random.default_rng(0).uniform(size=(4, 20, 20)).astype(np.float32)
    clip = Clip(x, "kinect20", scores=scores, label="a")
    chosen, order = select_persons(clip, 2), sorted(range(4), key=lambda m: -energy(x, m))[:2]
    assert np.array_equal(chosen.keypoints, x[order]) and chosen.scores is not None and np.array_equal(chosen.scores, scores[order])
    assert chosen.label == "a" and select_persons(clip, 4) is clip and select_persons(Clip(x, "kinect20"), 1).scores is None


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


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", ["bone", "motion"])
def test_streams_are_those_of_the_authors(shared: Path, name: str) -> None:
    golden = load_file(shared / "golden/skeattnclr/stgcn_small_pretrain_step.safetensors")
    for clip, expected in zip(golden["in::xq"].numpy(), golden[f"view::{name}_of_xq"].numpy(), strict=True):
        np.testing.assert_allclose(stream(clip.transpose(3, 1, 2, 0), get_layout("ntu25"), name), expected.transpose(3, 1, 2, 0), atol=1e-6)


def test_streams_by_definition(x: np.ndarray) -> None:
    bone, motion = stream(x, LAYOUT, "bone"), stream(x, LAYOUT, "motion")
    for m, t, v in np.ndindex(*x.shape[:3]):
        parent = LAYOUT.parents[v]
        assert np.array_equal(bone[m, t, v], x[m, t, v] - x[m, t, parent] if parent >= 0 else np.zeros(3))
        assert np.array_equal(motion[m, t, v], x[m, t + 1, v] - x[m, t, v] if t < 12 else np.zeros(3))
    assert np.array_equal(stream(x, LAYOUT, "joint"), x)


def test_prepare_is_its_steps_streams_and_axes(x: np.ndarray) -> None:
    contract = CONTRACT.replace(streams=("motion", "joint"), persons=3)
    expected = x
    for step in contract.steps:
        expected = apply_step(step, expected, LAYOUT)
    out = prepare(Clip(x, "kinect20"), contract)
    assert out.shape == contract.shape == (6, 16, 20, 3) and out.dtype == np.float32
    for m in range(2):
        assert np.array_equal(out[:3, :, :, m], stream(expected, LAYOUT, "motion")[m].transpose(2, 0, 1))
        assert np.array_equal(out[3:, :, :, m], expected[m].transpose(2, 0, 1))
    assert not out[..., 2].any()


@pytest.mark.parametrize("reference", ["first_frame", "mean"])
def test_prepared_clips_do_not_depend_on_place_heading_and_size(x: np.ndarray, reference: str) -> None:
    """Turned about y, moved and scaled, also with two persons who come and go: the same tensor."""
    steps = tuple({**s, "reference": reference} if s["step"] in ("center", "yaw") else s for s in STEPS)
    contract, angle = CONTRACT.replace(steps=steps, streams=("joint", "bone", "motion")), 2.1
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    other = np.where(x.any((2, 3), keepdims=True), (x @ turn.T) * 3.7 + [5, -1, 2], 0)
    before, after = prepare(Clip(x, "kinect20"), contract), prepare(Clip(other, "kinect20"), contract)
    np.testing.assert_allclose(after, before, atol=2e-4)
    tilted = np.where(x.any((2, 3), keepdims=True), x[..., [1, 2, 0]], 0)
    assert np.abs(prepare(Clip(tilted, "kinect20"), contract) - before).max() > 0.1


def test_other_layouts_are_remapped_by_name() -> None:
    clip = make_clip(layout="utdmhad20")
    by_hand = clip.keypoints[:, :, [clip.layout.index(j) for j in LAYOUT.joints]]
    assert np.array_equal(prepare(clip, CONTRACT), prepare(Clip(by_hand, "kinect20"), CONTRACT))


def test_absent_persons_make_room_and_missing_ones_are_zero() -> None:
    clip = make_clip(persons=1)
    padded = np.zeros((4, 20, 20, 3), np.float32)
    padded[2] = clip.keypoints[0]
    assert np.array_equal(prepare(Clip(padded, "kinect20"), CONTRACT), prepare(clip, CONTRACT))


def test_a_two_dimensional_contract_takes_x_and_y() -> None:
    clip = make_clip()
    out = prepare(clip, Contract("kinect20", 2, 1, 20))
    assert np.array_equal(out[..., 0], clip.keypoints[0, ..., :2].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("clip", "contract", "error", "says"),
    [
        (make_clip(3, persons=3), CONTRACT, ClipError, ["clip3: 3 persons", "takes 2", "skelzoo.select_persons(clip, 2)"]),
        (make_clip(3, frames=1), CONTRACT, ClipError, ["clip3: 1 frame(s)", "at least 2"]),
        (make_clip(3, frames=9), CONTRACT.replace(min_frames=10), ClipError, ["clip3: 9 frame(s)", "at least 10"]),
        (make_clip(3, layout="coco17", channels=2), CONTRACT, ClipError, ["clip3: the clip is 2-D", "3-D"]),
        (make_clip(3), CONTRACT.replace(steps=STEPS[:-1]), ContractError, ["20 frames", "wants 16", "resample"]),
    ],
)
def test_clips_that_do_not_fit_the_contract(clip: Clip, contract: Contract, error: type[SkelzooError], says: list[str]) -> None:
    with pytest.raises(error) as caught:
        prepare(clip, contract)
    for part in says:
        assert part in str(caught.value)


def test_frames_without_anybody_do_not_count() -> None:
    x = make_clip(frames=9).keypoints.copy()
    x[:, 1:] = 0
    with pytest.raises(ClipError, match=r"1 frame\(s\)"):
        prepare(Clip(x, "kinect20"), CONTRACT)
    assert prepare(Clip(x, "kinect20"), CONTRACT.replace(min_frames=1)).shape == CONTRACT.shape


def test_a_batch_is_its_clips() -> None:
    clips = [make_clip(0), make_clip(1, frames=5, persons=2), make_clip(2, layout="ntu25")]
    batch = prepare_batch(clips, CONTRACT)
    assert batch.shape == (3, *CONTRACT.shape) and all(np.array_equal(b, prepare(c, CONTRACT)) for b, c in zip(batch, clips, strict=True))
    assert prepare_batch([], CONTRACT).shape == (0, *CONTRACT.shape)


def test_fill_missing_interpolates_each_joint_over_time() -> None:
    x, rng = make_clip(persons=2).keypoints.copy(), np.random.default_rng(0)
    gaps = rng.uniform(size=x.shape[:3]) < 0.4
    gaps[:, 7] = False
    x[gaps, rng.integers(0, 3, gaps.sum())] = rng.choice([np.nan, np.inf, -np.inf], gaps.sum())
    before = x.copy()
    filled = fill_missing(x)
    assert np.array_equal(x, before, equal_nan=True)
    for m, v, c in np.ndindex(2, 20, 3):
        known = [t for t in range(20) if not gaps[m, t, v]]
        np.testing.assert_allclose(filled[m, :, v, c], np.interp(range(20), known, x[m, known, v, c]), atol=1e-6)
    assert np.array_equal(fill_missing(x[1]), filled[1])
    Clip(filled, "kinect20")


def test_fill_missing_by_score() -> None:
    x = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    x[2, 0], x[4, 1] = 99, 99
    scores = np.ones((5, 2))
    scores[2, 0], scores[4, 1] = 0.3, 0.2
    filled = fill_missing(x, scores, threshold=0.3)
    assert filled[:, 0, 0].tolist() == [0, 1, 2, 3, 4] and filled[:, 1, 0].tolist() == [0, 1, 2, 3, 3]
    assert fill_missing(x, scores)[2, 0, 0] == 99


def test_fill_missing_refuses_what_is_never_known_or_does_not_fit() -> None:
    x = make_clip(persons=2).keypoints.copy()
    x[1, :, 4] = np.nan
    with pytest.raises(ClipError, match="joint 4 of person 1 is known in no frame"):
        fill_missing(x)
    with pytest.raises(ClipError, match="shape"):
        fill_missing(x[0], np.ones((20, 19)))
    with pytest.raises(ClipError, match="shape"):
        fill_missing(x[0, 0])


def test_contract_round_trip() -> None:
    contract = CONTRACT.replace(streams=("joint", "motion"), min_frames=4, min_coverage=0.9)
    row = json.loads(json.dumps(contract.to_dict()))
    assert Contract.from_dict(row) == contract and row["steps"][-1] == {"step": "resample", "frames": 16}
    assert Contract.from_dict({"layout": "ntu25", "channels": 3, "persons": 1, "frames": 8}) == Contract("ntu25", 3, 1, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layout", 7), ("layout", None), ("channels", 4), ("channels", "3"), ("persons", 0), ("persons", True), ("persons", 1.0), ("frames", -16), ("frames", None),
        ("min_frames", 0), ("min_coverage", "all"), ("min_coverage", 1.5), ("min_coverage", True), ("min_coverage", float("nan")),
        ("steps", {}), ("steps", None), ("steps", ["resample"]), ("steps", [{}]), ("steps", [{"step": "fly"}]), ("steps", [{"step": ["resample"]}]),
        ("steps", [{"step": "resample", "speed": 2}]), ("steps", [{"step": "resample", "frames": "16"}]), ("steps", [{"step": "resample", "frames": 0}]),
        ("steps", [{"step": "resample", "frames": 1.5}]), ("steps", [{"step": "most_moving", "count": True}]), ("steps", [{"step": "scale_torso", "length": -1.0}]),
        ("steps", [{"step": "scale_torso", "length": float("inf")}]), ("steps", [{"step": "center", "point": 3}]), ("steps", [{"step": "yaw", "reference": None}]),
        ("streams", "joint"), ("streams", []), ("streams", ["velocity"]), ("streams", [3]), ("streams", [["joint"]]), ("colour", "red"),
    ],
)  # fmt: skip
def test_each_bad_field_of_a_contract(field: str, value: Any) -> None:
    with pytest.raises(ContractError, match=r"step|" + field):
        Contract.from_dict({**CONTRACT.to_dict(), field: value})


@pytest.mark.parametrize("field", ["layout", "channels", "persons", "frames"])
def test_each_missing_field_of_a_contract(field: str) -> None:
    with pytest.raises(ContractError, match=rf"lacks \['{field}'\]"):
        Contract.from_dict({k: v for k, v in CONTRACT.to_dict().items() if k != field})


def test_unknown_layout_of_a_contract() -> None:
    with pytest.raises(LayoutError, match="Did you mean"):
        Contract.from_dict({**CONTRACT.to_dict(), "layout": "kinect-20"})


def test_whole_numbers_will_do_for_options_that_are_floats() -> None:
    assert CONTRACT.replace(steps=({"step": "scale_torso", "length": 2}, *STEPS)).steps[0]["length"] == 2
