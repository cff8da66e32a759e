"""The made-up motions: bones keep their length, feet stay where they stand, knees bend the right way, sides are right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from skelzoo.errors import ClipError, SkelzooError
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.procedural import make, motions

LAYOUT = get_layout("kinect20")
SEEDS = range(12)
NAMES = list(motions())


def joints(name: str, seed: int, frames: int = 120) -> NDArray[np.float32]:
    return make(name, frames=frames, seed=seed, noise=0).keypoints[0]


def at(pose: NDArray[np.float32], joint: str) -> NDArray[np.float32]:
    return pose[:, LAYOUT.index(joint)]


def bend(pose: NDArray[np.float32], a: str, b: str, c: str) -> NDArray[np.float32]:
    """Angle in degrees by which a-b-c departs from straight."""
    u, v = at(pose, b) - at(pose, a), at(pose, c) - at(pose, b)
    cosine = (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_body_is_sound(name: str, seed: int) -> None:
    pose = joints(name, seed)
    bones = np.stack([np.linalg.norm(pose[:, j] - pose[:, p], axis=-1) for j, p in enumerate(LAYOUT.parents) if p >= 0])
    assert np.ptp(bones, axis=1).max() < 1e-5
    assert pose[..., 1].min() > 0.0
    assert np.linalg.norm(np.diff(pose, axis=0), axis=-1).max() < 0.35
    for joint in ("Hip", "Shoulder", "Ankle"):
        assert (at(pose, f"Left{joint}") - at(pose, f"Right{joint}"))[:, 0].min() > 0.05
    for side in ("Left", "Right"):
        hip, knee, ankle = (at(pose, f"{side}{j}") for j in ("Hip", "Knee", "Ankle"))
        along = (ankle - hip) / np.linalg.norm(ankle - hip, axis=-1, keepdims=True)
        ahead = np.cross(along, np.array([1.0, 0, 0]))  # forward of the line from hip to ankle, in its sagittal plane
        assert ((knee - hip) * ahead).sum(-1).min() > 0.0
        assert bend(pose, f"{side}Hip", f"{side}Knee", f"{side}Ankle").max() < 130


@pytest.mark.parametrize("name", NAMES)
def test_stands_about_as_tall_as_a_person(name: str) -> None:
    head = at(joints(name, 0), "Head")[:, 1].max()
    assert 1.58 < head < 1.66


@pytest.mark.parametrize("seed", SEEDS)
def test_walk(seed: int) -> None:
    pose = joints("walk", seed)
    seconds = (len(pose) - 1) / 30
    speed = (at(pose, "HipCenter")[-1, 2] - at(pose, "HipCenter")[0, 2]) / seconds
    assert 0.8 < speed < 1.5
    assert 0.02 < np.ptp(at(pose, "HipCenter")[:, 1]) < 0.06
    for side in ("Left", "Right"):
        foot = at(pose, f"{side}Foot") - at(pose, "HipCenter")
        hand = at(pose, f"{side}Hand") - at(pose, "HipCenter")
        assert np.corrcoef(foot[:, 2], hand[:, 2])[0, 1] < -0.8
        knee = bend(pose, f"{side}Hip", f"{side}Knee", f"{side}Ankle")
        assert 50 < knee.max() < 75
        ankle, toe = at(pose, f"{side}Ankle"), at(pose, f"{side}Foot")
        still = (abs(ankle[1:, 1] - 0.075) < 1e-4) & (abs(toe[1:, 1] - 0.02) < 1e-4)
        still &= np.roll(still, 1) & (np.arange(len(still)) > 0)
        assert still.mean() > 0.1
        assert np.linalg.norm(np.diff(ankle, axis=0), axis=-1)[still].max() < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_squat(seed: int) -> None:
    pose = joints("squat", seed)
    for joint in ("LeftAnkle", "RightAnkle", "LeftFoot", "RightFoot"):
        assert np.ptp(at(pose, joint), axis=0).max() < 0.02
    hip = at(pose, "HipCenter")
    low = int(hip[:, 1].argmin())
    assert hip[0, 1] - hip[low, 1] > 0.3
    assert hip[low, 2] < hip[0, 2] - 0.15
    assert 85 < bend(pose, "LeftHip", "LeftKnee", "LeftAnkle").max() < 120
    for side in ("Left", "Right"):
        arm = at(pose, f"{side}Wrist")[low] - at(pose, f"{side}Shoulder")[low]
        assert arm[2] > 0.4 and abs(arm[1]) < 0.2
    mirrored = pose[:, list(LAYOUT.mirror_permutation)] * np.array([-1, 1, 1], np.float32)
    assert np.abs(mirrored - pose).max() < 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_wave(seed: int) -> None:
    pose = joints("wave", seed)
    late = pose[40:]
    assert (at(late, "RightHand") - at(late, "RightShoulder"))[:, 1].min() > 0.1
    assert (at(late, "LeftHand") - at(late, "LeftShoulder"))[:, 1].max() < -0.4
    forearm = at(late, "RightWrist") - at(late, "RightElbow")
    assert np.ptp(forearm[:, 0]) > 0.15
    assert np.ptp(forearm[:, 0]) > 2 * np.ptp(at(late, "RightElbow")[:, 0])
    for joint in ("LeftAnkle", "RightAnkle"):
        assert np.ptp(at(pose, joint), axis=0).max() < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_kick(seed: int) -> None:
    pose = joints("kick", seed)
    assert np.ptp(at(pose, "LeftAnkle"), axis=0).max() < 0.02
    ankle = at(pose, "RightAnkle")
    assert ankle[0] == pytest.approx([-0.10, 0.075, 0.0], abs=1e-3)
    reach = ankle[:, 2].max()
    strike = int(ankle[:, 2].argmax())
    assert reach > 0.6 and ankle[strike, 1] > 0.45
    assert ankle[:strike, 2].min() < -0.2
    assert bend(pose, "RightHip", "RightKnee", "RightAnkle")[strike] < 35
    assert at(pose, "LeftHand")[strike, 2] > at(pose, "RightHand")[strike, 2]


def test_clips_are_seeded_and_differ() -> None:
    one, again, other = make("walk", seed=1), make("walk", seed=1), make("walk", seed=2)
    assert np.array_equal(one.keypoints, again.keypoints)
    assert not np.array_equal(one.keypoints, other.keypoints)
    assert (one.layout.name, one.fps, one.label, one.name) == ("kinect20", 30, "walk", "walk-1")
    assert one.keypoints.shape == (1, 90, 20, 3)
    noise = make("squat", seed=3).keypoints - make("squat", seed=3, noise=0).keypoints
    assert 0.0015 < noise.std() < 0.0025


def test_fps_only_samples_the_same_motion() -> None:
    assert np.allclose(make("kick", frames=30, fps=15, noise=0).keypoints, make("kick", frames=60, fps=30, noise=0).keypoints[:, ::2], atol=1e-5)


@pytest.mark.parametrize("wrong", [{"name": "wlak"}, {"name": "walk", "frames": 0}, {"name": "walk", "fps": 0}])
def test_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ClipError, match="walk") as caught:
        make(**wrong)  # type: ignore[arg-type]
    assert isinstance(caught.value, SkelzooError)
