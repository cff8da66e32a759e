"""The preparation of PSP's data: the authors' arrays, each step against a slow formulation, and streams before resampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_clip

from skelzoo import Clip, Contract, get_layout, prepare
from skelzoo.errors import ClipError, ContractError
from skelzoo.skeleton.steps import apply_step, stream
from skelzoo.weights.manifest import manifest

LAYOUT = get_layout("ntu25")
HIP, CHEST, ELBOW = 0, 20, 5
TOP = {"top": "SpineShoulder"}
NORMALISE = ({"step": "drop_empty_frames"}, {"step": "center_opening"}, {"step": "scale_spine", **TOP}, {"step": "stand_upright", **TOP})
RESAMPLE = {"step": "resample", "frames": 50, "method": "floor_index"}
CONTRACT = manifest().find("psp-ntu60").config.contract


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return dict(np.load(shared / "golden/psp/psp_data.npz"))


@pytest.fixture(params=["one_83", "two_120_40", "short_31", "late_start_70", "four_bodies"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def bodies(golden: dict[str, Any], name: str) -> np.ndarray:
    """(M, T, V, 3); the other two of the five rows are places in the colour picture."""
    return golden[f"{name}/bodies"][:, :3].transpose(0, 2, 3, 1).astype(np.float32)


def run(x: np.ndarray, *steps: dict[str, Any]) -> np.ndarray:
    for step in steps:
        before = x.copy()
        out = apply_step(step, x, LAYOUT)
        assert out.dtype == np.float32 and np.array_equal(x, before)
        x = out
    return x


@pytest.mark.needs_shared
def test_bodies_are_chosen_as_the_authors_do(golden: dict[str, Any], name: str) -> None:
    assert np.array_equal(run(bodies(golden, name), {"step": "likely_persons"}), golden[f"{name}/filtered"][..., :3].astype(np.float32))


@pytest.mark.needs_shared
def test_normalised_clips_are_the_authors(golden: dict[str, Any], name: str) -> None:
    """The steps of the contract one by one; theirs keep empty frames and a place for an absent second person."""
    assert CONTRACT.steps == ({"step": "likely_persons"}, *NORMALISE, {"step": "streams"}, RESAMPLE) and CONTRACT.streams == ("joint", "motion")
    expected = golden[f"{name}/normalised"].transpose(3, 1, 2, 0)
    out = run(bodies(golden, name), {"step": "likely_persons"}, *NORMALISE)
    frames = expected.any((0, 2, 3))
    assert frames.sum() == out.shape[1] and not expected[len(out) :].any()
    np.testing.assert_allclose(out, expected[: len(out), frames], atol=1e-5)


@pytest.mark.needs_shared
def test_the_contract_gives_the_authors_test_clips(golden: dict[str, Any], name: str) -> None:
    out = prepare(Clip(bodies(golden, name), "ntu25"), CONTRACT)
    np.testing.assert_allclose(out, np.concatenate([golden[f"{name}/val_joint"], golden[f"{name}/val_motion"]]), atol=1e-5)
    # Negative control: motion between resampled frames is something else.
    late = prepare(Clip(bodies(golden, name), "ntu25"), CONTRACT.replace(steps=tuple(s for s in CONTRACT.steps if s != {"step": "streams"})))
    assert np.array_equal(late[:3], out[:3]) and np.abs(late - out).max() > 0.01


@pytest.mark.needs_shared
@pytest.mark.parametrize("frames", [31, 50, 83, 120])
def test_frames_are_taken_as_the_authors_do(golden: dict[str, Any], frames: int) -> None:
    ramp = np.arange(frames, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 25, 3), np.float32)
    assert np.array_equal(run(ramp, RESAMPLE)[0, :, 0, 0], golden[f"uniform_idx/{frames}"])


def person(sway: float, width: float = 1.0, travel: float = 0.0, frames: int = 12) -> np.ndarray:
    """A body 2 tall that sways in depth about its hip, and travels."""
    body = make_clip(layout="ntu25").keypoints[0, 0]
    body = (body - body.min(0)) / np.ptp(body, axis=0) * [width, 2, 0.1]
    t = np.arange(frames)[:, None, None]
    return (body + np.sin(t) * np.arange(25)[:, None] / 25 * [0, 0, sway] + travel * t).astype(np.float32)


def energy(body: np.ndarray) -> float:
    there = body[body.any((1, 2))]
    return float(sum((there - there[:, HIP : HIP + 1])[..., c].std() for c in range(3)))


def test_likely_persons_are_those_that_move_most_relative_to_their_hip() -> None:
    x = np.stack([person(1, travel=9), person(3), person(2, travel=1)])
    assert np.array_equal(run(x, {"step": "likely_persons"}), x[[1, 2]])
    assert np.array_equal(run(x, {"step": "likely_persons", "count": 1}), x[[1]])
    assert np.array_equal(run(x, {"step": "likely_persons", "count": 9}), x[[1, 2, 0]])
    absent = np.stack([np.zeros_like(x[0]), x[0]])
    assert np.array_equal(run(absent, {"step": "likely_persons"}), absent[1:]) and np.array_equal(run(absent[:1], {"step": "likely_persons"}), absent[:1])


@pytest.mark.parametrize(("width", "kept"), [(1.0, True), (1.59, True), (1.61, False), (3.0, False)])
def test_a_body_that_hardly_moves_must_be_slim_in_its_first_frame(width: float, kept: bool) -> None:
    """Two tall, so less than 1.6 wide; frames in which it is absent do not count, later ones neither."""
    moving, still = person(20), person(0, width)
    still[:2] = 0
    still[3:, :, 0] *= 50 if kept else 0.01
    if kept:
        moving[..., 2] *= 100
    assert energy(still) < 0.8 * energy(moving)
    x = np.stack([still, moving])
    assert np.array_equal(run(x, {"step": "likely_persons"}), x[[1, 0]] if kept else x[[1]])


@pytest.mark.parametrize(("sway", "kept"), [(16.0, False), (18.0, True)])
def test_a_wide_body_must_have_85_percent_of_the_highest_energy(sway: float, kept: bool) -> None:
    x = np.stack([person(20, 3), person(sway, 3)])
    assert (energy(x[1]) >= 0.85 * energy(x[0])) == kept
    assert np.array_equal(run(x, {"step": "likely_persons"}), x if kept else x[:1])


@pytest.fixture
def x() -> np.ndarray:
    """Two persons; the second enters late, and has one joint at zero."""
    keypoints = make_clip(persons=2, frames=9, layout="ntu25").keypoints.copy()
    keypoints[1, :4] = 0
    keypoints[1, 6, 3] = 0
    return keypoints


def test_center_opening_moves_all_joints_but_those_at_zero(x: np.ndarray) -> None:
    for options, joint in (({}, HIP), ({"point": "Head"}, LAYOUT.index("Head"))):
        out = run(x, {"step": "center_opening", **options})
        for m, t, v in np.ndindex(*x.shape[:3]):
            np.testing.assert_allclose(out[m, t, v], x[m, t, v] - x[0, 0, joint] if x[m, t, v].any() else np.zeros(3), atol=1e-6)


def test_scale_spine_goes_by_the_first_frame_of_the_first_person(x: np.ndarray) -> None:
    x[0, :2] = 0
    length = float(np.sqrt(((x[0, 2, CHEST] - x[0, 2, HIP]).astype(float) ** 2).sum()))
    np.testing.assert_allclose(run(x, {"step": "scale_spine", **TOP}), x / length, rtol=1e-5)
    x[0] = 0
    with pytest.raises(ClipError, match="first person's spine has no length"):
        run(x, {"step": "scale_spine", **TOP})


def test_stand_upright_turns_the_spine_up_and_the_left_arm_along_x(x: np.ndarray) -> None:
    out = run(x, {"step": "stand_upright", **TOP})
    spine, arm = out[0, 0, CHEST] - out[0, 0, HIP], out[0, 0, ELBOW] - out[0, 0, CHEST]
    np.testing.assert_allclose(spine / np.linalg.norm(spine), [0, 0, 1], atol=1e-5)
    assert arm[0] > 0 and abs(arm[1]) < 1e-5
    flat, turned = x.reshape(-1, 3).astype(float), out.reshape(-1, 3).astype(float)
    turn = np.linalg.lstsq(flat, turned, rcond=None)[0]
    np.testing.assert_allclose(flat @ turn, turned, atol=1e-5)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(turn) > 0
    np.testing.assert_allclose(run(out, {"step": "stand_upright", **TOP}), out, atol=1e-5)


def test_the_opening_is_the_very_first_frame_even_without_the_person(x: np.ndarray) -> None:
    """As in the authors' data: a first person who enters late leaves the clip where it is, unturned."""
    late = x[::-1].copy()
    assert not late[0, 0].any()
    assert np.array_equal(run(late, {"step": "center_opening"}), late)
    np.testing.assert_allclose(run(late, {"step": "stand_upright", **TOP}), late, atol=1e-6)


def test_stand_upright_needs_three_dimensions(x: np.ndarray) -> None:
    with pytest.raises(ContractError, match="stand_upright needs 3-D"):
        run(x[..., :2], {"step": "stand_upright"})


@pytest.mark.parametrize("streams", [("joint", "motion"), ("motion", "bone")])
def test_streams_are_computed_where_the_contract_says(x: np.ndarray, streams: tuple[str, ...]) -> None:
    contract = CONTRACT.replace(streams=streams, steps=({"step": "center_opening"}, {"step": "streams"}, {**RESAMPLE, "method": "linear"}))
    joints = run(x, {"step": "center_opening"})
    expected = np.concatenate([run(stream(joints, LAYOUT, s), {**RESAMPLE, "method": "linear"}) for s in streams], axis=-1)
    assert np.array_equal(prepare(Clip(x, "ntu25"), contract), expected.transpose(3, 1, 2, 0))


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (({"step": "streams"}, {"step": "center"}, RESAMPLE), "followed by center, but"),
        (({"step": "streams"}, {"step": "streams"}, RESAMPLE), "followed by streams, but"),
        (({"step": "streams", "names": "motion"}, RESAMPLE), "'streams' takes no options"),
    ],
)
def test_streams_where_they_cannot_stand(steps: tuple[dict[str, Any], ...], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        CONTRACT.replace(steps=steps)


def test_a_contract_that_chooses_takes_any_number_of_persons() -> None:
    x = np.stack([person(s) for s in (1, 3, 2)])
    contract = Contract("ntu25", 3, 2, 12, ({"step": "likely_persons"},))
    assert np.array_equal(prepare(Clip(x, "ntu25"), contract), x[[1, 2]].transpose(3, 1, 2, 0))
    with pytest.raises(ClipError, match="3 persons, the encoder takes 2"):
        prepare(Clip(x, "ntu25"), contract.replace(steps=()))
    with pytest.raises(ContractError, match=r"left 3 persons.*at most 2.*count"):
        prepare(Clip(x, "ntu25"), contract.replace(steps=({"step": "likely_persons", "count": 3},)))
