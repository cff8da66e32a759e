"""Clip and contract -> array, and the contract itself; the steps are in test_steps.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import make_clip

from skelzoo import Clip, Contract, fill_missing, get_layout, prepare
from skelzoo.errors import ClipError, ContractError, CoverageError, LayoutError, SkelzooError
from skelzoo.learn.cameras import film
from skelzoo.skeleton.prepare import prepare_batch
from skelzoo.skeleton.procedural import make
from skelzoo.skeleton.remap import remap
from skelzoo.skeleton.steps import apply_step, stream
from skelzoo.weights.manifest import manifest

LAYOUT = get_layout("kinect20")
STEPS = ({"step": "drop_empty_frames"}, {"step": "center"}, {"step": "scale_torso"}, {"step": "yaw"}, {"step": "resample", "frames": 16})
CONTRACT = Contract("kinect20", 3, 2, 16, STEPS)


@pytest.fixture
def x() -> np.ndarray:
    """Two persons; the first enters at frame 3, the second leaves after frame 8; nobody is there in frame 5."""
    keypoints = make_clip(persons=2, frames=13).keypoints.copy()
    keypoints[0, :3], keypoints[1, 9:], keypoints[:, 5] = 0, 0, 0
    return keypoints


@pytest.mark.needs_shared
def test_the_contract_of_ntu_is_the_authors_preprocessing(shared: Path) -> None:
    golden, contract = load_file(shared / "golden/skeattnclr/preprocess.safetensors"), manifest().find("skeattnclr-ntu60").config.contract
    assert len(golden["in::raw"]) == 4 and contract.shape == (3, 64, 25, 2)
    for raw, expected in zip(golden["in::raw"].numpy(), golden["out::position"].numpy(), strict=True):
        np.testing.assert_allclose(prepare(Clip(raw.transpose(3, 1, 2, 0), "ntu25"), contract), expected, atol=1e-5)


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


def test_a_recording_that_a_step_leaves_nothing_of() -> None:
    x = make_clip().keypoints
    contract = CONTRACT.replace(steps=({"step": "first_tracked_frames"}, *STEPS))
    with pytest.raises(ClipError, match=r"^clip: step 'first_tracked_frames' leaves no frame"):
        prepare(Clip(x - x[:, :, :1], "kinect20"), contract)


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


@pytest.mark.parametrize("persons", [1, 2, 3])
def test_who_is_absent_throughout_makes_room(x: np.ndarray, persons: int) -> None:
    """Also where there is room: as the first person it would be the one whom steps go by."""
    contract, absent = CONTRACT.replace(persons=persons, steps=({"step": "first_tracked_frames"}, *STEPS)), 0 * x[:1]
    alone, among = (prepare(Clip(k, "kinect20"), contract) for k in (x[1:], np.concatenate([absent, x[1:], absent])))
    assert np.array_equal(alone, among) and among[..., 0].any() and not among[..., 1:].any()


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
    assert np.array_equal(out[..., 0], (clip.keypoints[0, ..., :2] * [1, -1]).transpose(2, 0, 1)), "y of pictures points down"


def test_confidences_are_not_taken_for_depth() -> None:
    keypoints = make_clip().keypoints.copy()
    keypoints[..., 2] = np.random.default_rng(0).uniform(size=keypoints.shape[:-1])
    with pytest.raises(ClipError, match=r"third coordinate is from 0 to 1 throughout, as confidences are.*scores="):
        prepare(Clip(keypoints, "kinect20"), Contract("kinect20", 2, 1, 20))
    assert prepare(Clip(keypoints, "kinect20"), Contract("kinect20", 3, 1, 20)).shape == (3, 20, 20, 1)


def test_two_dimensional_clips_are_taken_to_their_pictures() -> None:
    steps = ({"step": "drop_empty_frames"}, {"step": "normalize_image"}, {"step": "resample", "frames": 8, "method": "uniform_index"})
    contract = Contract("coco17", 2, 2, 8, steps)
    clip = make_clip(3, layout="coco17", channels=2).replace(image_size=(6, 4))
    out = prepare(clip, contract)
    frames = [int((i + 0.5) * 20 / 8) for i in range(8)]
    np.testing.assert_allclose(out[..., 0], (clip.keypoints[0, frames].transpose(2, 0, 1) - [[[2]], [[3]]]) / [[[2]], [[3]]], atol=1e-6)
    assert not out[..., 1].any()
    with pytest.raises(ClipError, match=r"clip3: .*image_size=\(height, width\)"):
        prepare(clip.replace(image_size=None), contract)
    with pytest.raises(ContractError, match=r"no option image_size\. Its options: none"):
        contract.replace(steps=({"step": "normalize_image", "image_size": [6, 4]},))


@pytest.mark.parametrize(
    ("clip", "contract", "error", "says"),
    [
        (make_clip(3, persons=3), CONTRACT, ClipError, ["clip3: 3 persons", "takes 2", "skelzoo.select_persons(clip, 2)", "axes='n t v c'"]),
        (Clip(np.ones((3, 9, 20, 2)), "kinect20"), CONTRACT, ClipError, ["3 persons", "axes='c t v m'"]),
        (Clip(np.ones((30, 1, 20, 3)), "kinect20"), CONTRACT, ClipError, ["30 persons", "axes='t m v c'"]),
        (make_clip(3, frames=1), CONTRACT, ClipError, ["clip3: 1 frame(s)", "at least 2"]),
        (make_clip(3, frames=9), CONTRACT.replace(min_frames=10), ClipError, ["clip3: 9 frame(s)", "at least 10"]),
        (make_clip(3, layout="coco17", channels=2), CONTRACT, ClipError, ["clip3: the clip is 2-D", "3-D"]),
        (Clip(np.ones((4, 20, 3)), "kinect20", name="clip3"), CONTRACT, ClipError, ["clip3: all joints are at one point"]),
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
    assert np.array_equal(fill_missing(x.transpose(1, 0, 2, 3).copy().transpose(1, 0, 2, 3)), filled), "whatever the order in memory"
    Clip(filled, "kinect20")


def test_fill_missing_by_score() -> None:
    x = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    x[2, 0], x[4, 1] = 99, 99
    scores = np.ones((5, 2))
    scores[2, 0], scores[4, 1] = 0.3, 0.2
    filled = fill_missing(x, scores, threshold=0.3)
    assert np.array_equal(filled, fill_missing(torch.tensor(x, requires_grad=True), torch.tensor(scores, requires_grad=True), threshold=0.3))
    assert filled[:, 0, 0].tolist() == [0, 1, 2, 3, 4] and filled[:, 1, 0].tolist() == [0, 1, 2, 3, 3]
    assert fill_missing(x, scores)[2, 0, 0] == 99


def test_fill_missing_leaves_absent_people_absent() -> None:
    """A person who leaves is not drawn towards the origin, and one who is never there needs no joints."""
    x = np.ones((3, 6, 20, 3), np.float32) * np.arange(1, 7, dtype=np.float32)[:, None, None]
    x[0, 4:], x[2] = 0, 0
    x[0, 3, 5], x[1, 2, 5] = np.nan, np.nan
    scores = x.any(-1).astype(float)
    for given in (None, scores):
        filled = fill_missing(x, given)
        assert filled[0, :, 5, 0].tolist() == [1, 2, 3, 3, 0, 0] and filled[1, :, 5, 0].tolist() == [1, 2, 3, 4, 5, 6]
        assert not filled[0, 4:].any() and not filled[2].any()


def test_fill_missing_refuses_what_is_never_known_or_does_not_fit() -> None:
    x = make_clip(persons=2).keypoints.copy()
    x[1, :, 4] = np.nan
    with pytest.raises(ClipError, match="joint 4 of person 1 is known in no frame"):
        fill_missing(x)
    with pytest.raises(ClipError, match="shape"):
        fill_missing(x[0], np.ones((20, 19)))
    with pytest.raises(ClipError, match="shape"):
        fill_missing(x[0, 0])
    with pytest.raises(ClipError, match="shape"):
        fill_missing(np.zeros((0, 20, 3)))


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
    with pytest.raises(ContractError, match=rf": missing are {field}\. Its fields"):
        Contract.from_dict({k: v for k, v in CONTRACT.to_dict().items() if k != field})


def test_unknown_layout_of_a_contract() -> None:
    with pytest.raises(LayoutError, match="Did you mean"):
        Contract.from_dict({**CONTRACT.to_dict(), "layout": "kinect-20"})


def test_whole_numbers_will_do_for_options_that_are_floats() -> None:
    assert CONTRACT.replace(steps=({"step": "scale_torso", "length": 2}, *STEPS)).steps[0]["length"] == 2


@pytest.mark.parametrize(("lost", "says"), [((11, 12), "left_hip, right_hip found in no frame"), ((9, 10, 13, 14, 15), "left_wrist, right_wrist, left_knee")])
def test_joints_that_were_never_found_are_not_made_up(lost: tuple[int, ...], says: str) -> None:
    contract = Contract("coco17", 2, 1, 16, ({"step": "fill_gaps"}, {"step": "center"}, {"step": "scale_torso"}, {"step": "resample", "frames": 16}))
    clip = film(make("squat", frames=40), 0)
    keypoints = clip.keypoints.copy()
    keypoints[:, 1:, list(lost)] = 0
    prepare(clip.replace(keypoints=keypoints), contract)
    keypoints[:, :, list(lost)] = 0
    with pytest.raises(CoverageError, match=says):
        prepare(clip.replace(keypoints=keypoints), contract)
    both = clip.replace(keypoints=np.concatenate([clip.keypoints, keypoints]), scores=None)
    with pytest.raises(CoverageError, match=says):
        prepare(both, contract.replace(persons=2))


def test_what_is_known_in_no_frame_is_filled_in_no_space() -> None:
    """In 2-D (0, 0) says that a joint was not found; in 3-D it is a place."""
    scores = np.ones((6, 20))
    scores[:, 5] = 0
    for channels in (2, 3):
        keypoints = np.random.default_rng(0).random((6, 20, channels))
        keypoints[:, 5] = 0
        if channels == 2:
            np.testing.assert_allclose(fill_missing(keypoints, scores), keypoints, rtol=1e-6)
        else:
            with pytest.raises(ClipError, match="joint 5 of person 0 is known in no frame"):
                fill_missing(keypoints, scores)


def test_one_person_under_several_ids_is_told_from_several_persons() -> None:
    clip, contract = make("squat", frames=20), Contract("kinect20", 3, 1, 16, ({"step": "resample", "frames": 16},))
    first, then = np.repeat(clip.keypoints, 2, 0)
    first[10:] = then[:10] = 0
    with pytest.raises(ClipError, match=r"never two at a time.*keypoints.sum"):
        prepare(clip.replace(keypoints=np.stack([first, then])), contract)
    with pytest.raises(ClipError, match=r"20 persons.*axes='t m v c'"):
        prepare(clip.replace(keypoints=clip.keypoints.swapaxes(0, 1)), contract)
    with pytest.raises(ClipError, match="select_persons"):
        prepare(clip.replace(keypoints=np.repeat(clip.keypoints, 2, 0)), contract)


@pytest.mark.parametrize("layout", ["coco17", "ntu25", "kinect20", "uiprmd22"])
def test_pixels_with_confidences_are_not_taken_for_depth(layout: str) -> None:
    rng, joints = np.random.default_rng(0), len(get_layout(layout))
    pose = np.concatenate([500 * rng.random((30, joints, 2)), rng.uniform(0.3, 1, (30, joints, 1))], axis=2)
    for channels in (2, 3):
        with pytest.raises(ClipError, match="as confidences are"):
            prepare(Clip(pose, layout), Contract("kinect20", channels, 1, 16, ({"step": "resample", "frames": 16},)))


@pytest.mark.parametrize(
    ("values", "most"), [((0, 2), "2"), ((2, 2), "2"), ((0.4, 1.2), "2"), ((20, 100), "100")], ids=["visibility", "all visible", "above 1", "percent"]
)
def test_other_confidences_are_not_taken_for_depth_in_layouts_of_pictures(values: tuple[float, float], most: str) -> None:
    filmed = film(make("walk", frames=30), 0)
    sure = np.random.default_rng(0).uniform(*values, filmed.keypoints.shape[:3])
    pose = np.concatenate([filmed.keypoints, (sure.round() if values[0] in (0, 2) else sure)[..., None]], axis=3)
    contract = Contract("coco17", 3, 1, 16, ({"step": "resample", "frames": 16},))
    with pytest.raises(ClipError, match=f"from 0 to {most} throughout, as confidences are"):
        prepare(Clip(pose, "coco17"), contract)


@pytest.mark.parametrize("motion", ["walk", "wave"])
@pytest.mark.parametrize("unit", [1, 100, 1000])
def test_bodies_in_layouts_of_pictures_are_taken(motion: str, unit: float) -> None:
    body = remap(make(motion, frames=30), "coco17")
    before_a_camera = (body.keypoints - body.keypoints.min((0, 1, 2))) * np.float32(unit)
    assert prepare(Clip(before_a_camera, "coco17"), Contract("coco17", 3, 1, 16, ({"step": "resample", "frames": 16},))).any()


def test_the_face_and_bystanders_need_not_be_found() -> None:
    steps = ({"step": "fill_gaps"}, {"step": "most_moving"}, {"step": "center"}, {"step": "scale_torso"}, {"step": "resample", "frames": 16})
    patient = film(make("squat", frames=40), 0).keypoints.copy()
    patient[:, :, :5] = 0
    bystander = np.repeat(patient[:, :1], 40, axis=1) + 10
    bystander[:, :, [11, 12]] = 0
    x = prepare(Clip(np.concatenate([bystander, patient]), "coco17"), Contract("coco17", 2, 1, 16, steps))
    assert np.array_equal(x, prepare(Clip(patient, "coco17"), Contract("coco17", 2, 1, 16, steps)))
