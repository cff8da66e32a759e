"""Simulated cameras: what they see against a projection of the tests' own, and what the estimator gets wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import make_clip
from torch import Tensor

import skelzoo
from skelzoo import Clip, Contract, get_layout, prepare
from skelzoo.errors import ClipError, CoverageError, TrainingError
from skelzoo.learn.cameras import as_read, coco_body, film, film_joints, sense_joints, watch

COCO = get_layout("coco17")
CONTRACT = Contract("coco17", 2, 1, 24, ({"step": "fill_gaps"}, {"step": "center", "point": "hip_center", "reference": "mean"}, {"step": "scale_torso"}))
TRUNK = 0.5
"""Metres of ``body``."""


def body() -> np.ndarray:
    """Somebody who stands, faces +z and lifts one arm forward: COCO joints in metres, y up (17, 3)."""
    half = {
        "shoulder": (0.2, 1.4, 0),
        "elbow": (0.28, 1.15, 0),
        "wrist": (0.3, 0.9, 0.05),
        "hip": (0.12, 0.9, 0),
        "knee": (0.12, 0.5, 0.03),
        "ankle": (0.12, 0.08, 0),
    }
    half |= {"eye": (0.03, 1.65, 0.09), "ear": (0.07, 1.62, 0)}
    places = {"nose": (0, 1.62, 0.1)}
    for name, (x, y, z) in half.items():
        places |= {f"left_{name}": (x, y, z), f"right_{name}": (-x, y, z)}
    places |= {"left_elbow": (0.22, 1.4, 0.28), "left_wrist": (0.22, 1.42, 0.55)}
    return np.array([places[j] for j in COCO.joints], np.float32)


def standing(frames: int, copies: int = 1) -> Tensor:
    """``body`` that does not move: (N, 3, T, 17, 1)."""
    return torch.from_numpy(body()).T[None, :, None, :, None].expand(copies, 3, frames, 17, 1).contiguous()


def turned(x: np.ndarray, degrees: float) -> np.ndarray:
    sin, cos = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.stack([cos * x[..., 0] + sin * x[..., 2], x[..., 1], cos * x[..., 2] - sin * x[..., 0]], -1)


@pytest.mark.parametrize("layout", skelzoo.list_layouts())
def test_a_clip_of_any_layout_becomes_a_picture(layout: str) -> None:
    clip = make_clip(3, frames=40, persons=2, layout=layout)
    seen = film(clip, 7)
    assert seen.layout is COCO and seen.keypoints.shape == (2, 40, 17, 2) and seen.image_size == (1080, 1920)
    assert (seen.name, seen.fps, seen.label) == (clip.name, clip.fps, clip.label)
    assert seen.scores is not None and seen.scores.min() == 0 and 0.5 < seen.scores.max() <= 1
    found = seen.scores > 0
    assert not seen.keypoints[~found].any() and 0.9 < found.mean() < 1
    assert (seen.keypoints >= 0).all() and (seen.keypoints <= [1920, 1080]).all()
    assert (np.ptp(seen.keypoints[found], axis=0) / [1920, 1080]).max() == pytest.approx(0.65, abs=0.26), "the people fill 0.4 to 0.9 of the picture"


def test_the_seed_decides_everything() -> None:
    one, again, other = film(make_clip(), 1), film(make_clip(), 1), film(make_clip(), 2)
    assert one.scores is not None and again.scores is not None
    assert np.array_equal(one.keypoints, again.keypoints) and np.array_equal(one.scores, again.scores)
    assert not np.allclose(one.keypoints, other.keypoints, atol=20)


def test_place_unit_and_facing_of_the_recording_do_not_matter() -> None:
    """The camera stands in front of the person, wherever the recording's origin is."""
    clip = make_clip(5, frames=30)
    there = clip.replace(keypoints=turned(clip.keypoints * 1000, 123) + np.array([4000, 300, -9000]))
    np.testing.assert_allclose(film(there, 4).keypoints, film(clip, 4).keypoints, atol=0.5)
    upside_down = clip.replace(keypoints=clip.keypoints * [1, -1, -1])
    assert np.abs(film(upside_down, 4).keypoints - film(clip, 4).keypoints).max() > 50, "negative control"


def camera_of(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Yaw, pitch (degrees) and distance (trunks) whose projection of ``body`` is nearest to (17, 2), and the largest distance left."""
    from scipy.optimize import least_squares

    joints = body()
    hips = joints[[COCO.index("left_hip"), COCO.index("right_hip")]].mean(0)

    def project(camera: np.ndarray) -> np.ndarray:
        yaw, pitch, distance = np.radians(camera[0]), np.radians(camera[1]), camera[2]
        eye = distance * np.array([-np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        ahead = -eye / np.linalg.norm(eye)
        right = np.cross(ahead, [0, 1, 0]) / np.linalg.norm(np.cross(ahead, [0, 1, 0]))
        down = np.cross(ahead, right)
        points = (joints - hips) / TRUNK - eye
        return distance * np.stack([points @ right, points @ down], -1) / (points @ ahead)[:, None]

    fits = [least_squares(lambda c: (project(c) - picture).ravel(), [yaw, 10, 8]) for yaw in (-60, 0, 60)]
    best = min(fits, key=lambda f: f.cost)
    return (*best.x, float(np.abs(project(best.x) - picture).max()))


def test_joints_are_projected_by_a_camera_within_the_limits() -> None:
    """The mean over many frames of somebody who stands still is without noise, but for the few frames with left and right exchanged."""
    seen = watch(standing(4000, copies=12), generator=torch.Generator().manual_seed(0))
    found = torch.where(seen[:, 2:] > 0, seen[:, :2], torch.nan)
    cameras = np.array([camera_of(picture) for picture in found[..., 0].nanmedian(2).values.transpose(1, 2).numpy()])
    assert (cameras[:, 3] < 0.03).all(), "trunks"
    yaw, pitch, distance = cameras[:, 0], cameras[:, 1], cameras[:, 2]
    assert np.abs(yaw).max() < 91 and yaw.min() < -30 and yaw.max() > 30
    assert pitch.min() > -11 and pitch.max() < 31 and np.ptp(pitch) > 15
    assert distance.min() > 4.5 and distance.max() < 13 and np.ptp(distance) > 3


def test_what_the_estimator_gets_wrong() -> None:
    many = 400
    seen = watch(standing(48, copies=many), generator=torch.Generator().manual_seed(0))
    points, scores = seen[:, :2, ..., 0], seen[:, 2, ..., 0]
    lost = scores == 0
    assert not points.movedim(1, -1)[lost].any()
    assert 0.008 < lost.float().mean() < 0.018, "one joint of 20 for a quarter of the frames"
    starts = (lost[:, 1:] & ~lost[:, :-1]).sum(1) + lost[:, 0]
    assert starts.max() == 1, "in one stretch"

    middle = torch.where(lost[:, None], torch.nan, points).nanmedian(2, keepdim=True).values
    error = (points - middle).norm(dim=1)
    pairs = [[COCO.index(f"{side}_{p}") for side in ("left", "right")] for p in ("shoulder", "hip")]
    swapped = (
        torch.stack([((points[:, 0, :, left] - points[:, 0, :, right]) * (middle[:, 0, :, left] - middle[:, 0, :, right])) for left, right in pairs]).sum(0) < 0
    )
    wide = (middle[:, 0, :, pairs[0][0]] - middle[:, 0, :, pairs[0][1]]).abs()[:, 0] > 0.3
    clips = swapped[wide].any(1).float().mean()
    assert 0.04 < clips < 0.16 and swapped[wide].float().mean() < 0.02, "left and right in a clip of 10, for a tenth of it at most"

    usual = ~lost & ~swapped[..., None]
    low, high = scores[usual].quantile(0.2), scores[usual].quantile(0.8)
    doubtful, sure = (error[usual & part].median() for part in (scores < low, scores > high))
    assert doubtful > 1.3 * sure and 0.01 < sure < 0.06


def test_points_of_the_face_lie_around_the_head() -> None:
    clip = make_clip(2, frames=6)
    kinect, x = get_layout("kinect20"), torch.from_numpy(clip.keypoints).permute(3, 1, 2, 0)[None]
    out = coco_body(x, kinect)[0, ..., 0].permute(1, 2, 0)
    place = {j: out[:, COCO.index(j)] for j in COCO.joints}
    joint = {j: x[0, :, :, kinect.index(j), 0].T for j in kinect.joints}
    for name in ("Shoulder", "Wrist", "Ankle"):
        assert torch.equal(place[f"left_{name.lower()}"], joint[f"Left{name}"])
    neck, across = joint["Head"] - joint["ShoulderCenter"], joint["LeftShoulder"] - joint["RightShoulder"]
    size = neck.norm(dim=1)
    torch.testing.assert_close((place["left_ear"] + place["right_ear"]) / 2, joint["Head"])
    torch.testing.assert_close((place["left_ear"] - place["right_ear"]).norm(dim=1), 0.7 * size)
    nose = place["nose"] - joint["Head"]
    torch.testing.assert_close(nose.norm(dim=1), 0.45 * size)
    for direction in (neck, place["left_ear"] - place["right_ear"]):
        torch.testing.assert_close((nose * direction).sum(1), torch.zeros(6), atol=1e-4, rtol=0)
    assert (torch.linalg.cross(across, neck) * nose).sum(1).min() > 0, "forward is to the right of up seen from the left"
    assert ((place["left_eye"] - place["right_eye"]) * across).sum(1).min() > 0


def test_points_of_the_face_that_a_layout_has_are_its_own() -> None:
    assert torch.equal(coco_body(standing(3), COCO), standing(3))


@pytest.mark.parametrize("seed", range(6))
def test_filmed_joints_are_what_preparation_makes_of_a_filmed_clip(seed: int) -> None:
    clip = make_clip(seed, frames=24)
    torch.manual_seed(seed)
    joints = film_joints(torch.from_numpy(clip.keypoints).permute(3, 1, 2, 0)[None])[0]
    np.testing.assert_allclose(joints.numpy(), prepare(film(clip, seed), CONTRACT), atol=2e-3)


def test_people_who_are_absent_are_not_filmed() -> None:
    x = torch.from_numpy(make_clip(frames=24, persons=2).keypoints).permute(3, 1, 2, 0)[None].repeat(2, 1, 1, 1, 1)
    x[0, ..., 1] = x[1, :, :5, :, 0] = 0
    out = film_joints(x)
    assert out.isfinite().all() and not out[0, ..., 1].any() and not out[1, :, :5, :, 0].any()
    assert out[1, ..., 1].any(0).all() and out[1, :, 5:, :, 0].any(0).all()


def test_a_depth_camera_misses_more_what_is_behind_the_body() -> None:
    kinect = get_layout("kinect20")
    front, back, hip = (kinect.index(name) for name in ("LeftHand", "RightHand", "LeftHip"))
    still = torch.from_numpy(make_clip(1).keypoints[:1, :1]).permute(3, 1, 2, 0)[None].repeat(400, 1, 24, 1, 1)
    still[:, 2] = 0
    still[:, 2, :, front], still[:, 2, :, back] = 1, -1
    torch.manual_seed(0)
    ahead, around = ((sense_joints(still, degrees) - still).abs().median(2).values.median(0).values for degrees in (0.0, 180.0))
    assert (ahead[:, back] > 1.3 * ahead[:, hip]).all() and (ahead[:, front] < 1.2 * ahead[:, hip]).all()
    assert (around[:, front] > 1.3 * ahead[:, front]).all(), "a camera behind hides what is in front"
    still[0, ..., 0] = still[1, :, :5] = 0
    seen = sense_joints(still)
    assert not seen[0].any() and not seen[1, :, :5].any() and seen[1, :, 5:].any(0).all(), "lost joints are interpolated, absent people stay absent"
    spared = (sense_joints(still, probability=0.3) == still).flatten(1).all(1)[1:]
    assert 0.6 < spared.float().mean() < 0.8, "a share of the clips stays as it is"


def test_the_yaw_of_the_camera_is_as_wide_as_asked() -> None:
    wrist = COCO.index("left_wrist")
    ahead, around = (watch(standing(8, copies=200), degrees, torch.Generator().manual_seed(0))[:, 0, 0, wrist, 0] for degrees in (1.0, 180.0))
    assert ahead.std() < 0.2 < 0.4 < around.std()


def test_what_cannot_be_filmed() -> None:
    with pytest.raises(ClipError, match=r"these are 2-D\. Use the clip as it is"):
        film(make_clip(layout="coco17", channels=2), 0)
    pair = skelzoo.make_layout("pair", {"pelvis": "hip_center", "skull": "head"}, [None, "pelvis"])
    with pytest.raises(CoverageError, match=r"(?s)cannot film layout 'pair': nothing tells where left_shoulder, .*make_layout"):
        film(Clip(np.ones((4, 2, 3)), pair), 0)
    for shape in ((1, 3, 4, 17, 1), (1, 2, 4, 20, 1)):
        with pytest.raises(TrainingError, match=f"these are {shape[3]} of {shape[1]} coordinates"):
            film_joints(torch.zeros(shape))
        with pytest.raises(TrainingError, match=f"sense_joints takes 3-D joints of kinect20, these are {shape[3]} of {shape[1]}"):
            sense_joints(torch.zeros(shape))


def test_only_3d_clips_are_filmed_and_only_for_contracts_of_pictures() -> None:
    flat, clip = make_clip(layout="coco17", channels=2), make_clip()
    assert as_read(flat, CONTRACT, 0) is flat and as_read(clip, CONTRACT.replace(layout="kinect20", channels=3), 0) is clip
    assert np.array_equal(as_read(clip, CONTRACT, 5).keypoints, film(clip, 5).keypoints)
