"""Clip + contract -> array. Every step is a named pure function on keypoints (M, T, V, C) and is listed in the contract."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ContractError, CoverageError
from skelzoo.skeleton.clip import Clip, FloatArray, check_clip
from skelzoo.skeleton.contract import STREAMS_HERE, Contract
from skelzoo.skeleton.doubts import Doubt, Doubts, noted_doubts, warn_of_clip
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.odd_frames import odd_frames
from skelzoo.skeleton.odd_joints import odd_joints
from skelzoo.skeleton.points import is_present, mixes
from skelzoo.skeleton.remap import remap
from skelzoo.skeleton.steps import CHOOSES_PERSONS, apply_step, stream

TALLEST = 20.0
"""No body of 3-D joints in metres is as tall; one in pixels is."""

FLAT = 0.02
"""Share of its height that no body is as thin as."""


def prepare(clip: Clip, contract: Contract) -> FloatArray:
    """One clip as the net wants it.

    Returns:
        (C, T, V, M) float32 of ``contract.shape``.

    Raises:
        ClipError: no clip, too many persons, too few frames, too few coordinates, no ``image_size`` where a step needs one.
        ContractError: no contract.
        CoverageError: the clip's layout does not give enough of the contract's joints, or a pose estimator found too few of them.

    Warns of joints in another order than the layout's, without a depth or rounded far from the origin, of bodies that stand along another axis than y, or, in 2-D, upside down, of 3-D ones
    with left and right exchanged, of 3-D joints lost at the origin or far away, or in pixels, of shares of a picture, of 2-D ones at (-1, -1), guessed or outside of the picture, of bodies that jump, of clips centred in
    every frame, with a first frame far from the second, padded, frozen, with gaps or with persons who change places, and of those so short, or so long, that hardly a motion is left of them.
    """
    check_clip(clip)
    if not isinstance(contract, Contract):
        raise ContractError(f"a clip is prepared by a skelzoo.Contract, found {type(contract).__name__}. Give encoder.contract.")
    array, found = prepare_doubtfully(clip, contract)
    warn_of_clip(found, clip.name)
    return array


def prepare_doubtfully(clip: Clip, contract: Contract) -> tuple[FloatArray, tuple[Doubt, ...]]:
    """``prepare``, and what it would warn of, for callers with many clips."""
    _check_depth(clip, contract.channels)
    given, clip = clip, remap(clip, contract.layout, contract.min_coverage)
    joints = _present_persons(clip, contract)
    keypoints = _take_channels(joints, contract.channels, clip.name)
    doubts = odd_joints(given, joints, get_layout(contract.layout), {"step": "stand_upright"} in contract.steps, {"step": "fill_gaps"} in contract.steps)
    doubts += odd_frames(given, contract)
    frames = int(keypoints.any(axis=(0, 2, 3)).sum())
    if frames < contract.min_frames:
        raise ClipError(
            f"{clip.name}: {frames} frame(s) with a tracked person, the encoder needs at least {contract.min_frames}. Leave it out or give a longer recording."
        )
    if frames > 1 and {"step": "fill_gaps"} in contract.steps:  # a single frame, where it is taken, has what it has
        _check_found(keypoints, contract, clip.name)
    for step in contract.steps if STREAMS_HERE in contract.steps else (*contract.steps, STREAMS_HERE):
        try:
            keypoints = _all_streams(keypoints, contract) if step == STREAMS_HERE else apply_step(step, keypoints, get_layout(contract.layout), clip.image_size)
        except ClipError as error:
            raise ClipError(f"{clip.name}: {error}") from error
    if keypoints.shape[1] != contract.frames:
        raise ContractError(f"the steps left {keypoints.shape[1]} frames, the contract wants {contract.frames}. End its steps with resample to that number.")
    if len(keypoints) > contract.persons:
        raise ContractError(
            f"the steps left {len(keypoints)} persons, the contract wants at most {contract.persons}. Lower the count of the step that chooses them."
        )
    out = np.zeros(contract.shape, np.float32)
    out[..., : keypoints.shape[0]] = keypoints.transpose(3, 1, 2, 0)
    return out, doubts


def _present_persons(clip: Clip, contract: Contract) -> FloatArray:
    keypoints = clip.keypoints
    there = keypoints.any(axis=(1, 2, 3))
    if there.any() and not there.all():
        keypoints = keypoints[there]
    if len(keypoints) > contract.persons and not any(s["step"] in CHOOSES_PERSONS for s in contract.steps):
        if is_present(keypoints).sum(axis=0).max() <= 1:
            raise ClipError(
                f"{clip.name}: {len(keypoints)} persons, but never two at a time; the encoder takes {contract.persons}. If the tracker gave one person several ids, "
                "join them: clip.replace(keypoints=clip.keypoints.sum(0), scores=None); else make one clip per person with skelzoo.each_person(clip), --each-person."
            )
        # What the first axis may be instead.
        axes = "c t v m" if clip.keypoints.shape[::3] == (3, 2) else "t m v c" if clip.persons > clip.frames else "n t v c"
        raise ClipError(
            f"{clip.name}: {len(keypoints)} persons, the encoder takes {contract.persons}. Choose with skelzoo.select_persons(clip, {contract.persons}) "
            "(those that move most; --select-persons), or make one clip per person with skelzoo.each_person(clip) (--each-person); if the first axis of the array "
            f"is not persons, say so to skelzoo.clips_from_array: axes={axes!r}."
        )
    return keypoints


def _check_depth(clip: Clip, channels: int) -> None:
    if clip.channels == 3 and _confidences(clip, channels):
        raise ClipError(
            f"{clip.name}: the third coordinate is from 0 to {max(1, np.ceil(clip.keypoints[..., 2].max())):.0f} throughout, as confidences are. Give those as scores: "
            "skelzoo.Clip(keypoints[..., :2], layout, scores=keypoints[..., 2]); 3-D joints in that range, less their mean."
        )


def _confidences(clip: Clip, channels: int) -> bool:
    """Whether z is rather how sure or visible a joint is, which pose estimators give in shares, in percent or as 0, 1 and 2."""
    depth, height = clip.keypoints[..., 2], np.ptp(clip.keypoints[..., 1], axis=2).max()
    least, most = float(depth.min()), float(depth.max())
    if least < 0 or (most <= 1 and (channels == 2 or height > TALLEST)):
        return least >= 0
    if clip.layout.dimensions == 3 or most == 0:
        return False
    if most <= FLAT * height or np.isin(depth, (0, 1, 2)).all():
        return True
    weights = mixes(clip.layout, ("hip_center", "shoulder_center"))
    if weights is None or clip.keypoints.min() < 0 or not (most <= 1 or (most <= 100 and 4 * most <= height)):
        return False
    hips, shoulders = (weights @ clip.keypoints[..., 1:2]).mean(axis=(0, 1))
    return bool(shoulders < hips)  # y points down, as in pictures


def _take_channels(keypoints: FloatArray, channels: int, name: str) -> FloatArray:
    if keypoints.shape[-1] < channels:
        raise ClipError(
            f"{name}: the clip is {keypoints.shape[-1]}-D, the encoder needs {channels}-D joints. "
            f"Use a {keypoints.shape[-1]}-D encoder (`skelzoo list`: names that end in -{keypoints.shape[-1]}d) or lift the pose to 3-D first."
        )
    if keypoints.shape[-1] == channels:
        return keypoints
    # As a camera in front would see it: y of pictures points down.
    return keypoints[..., :2] * np.array([1, -1], np.float32)


def _check_found(keypoints: FloatArray, contract: Contract, name: str) -> None:
    """What a pose estimator never found can be neither centred and scaled by, nor guessed from the rest; the face need not be found."""
    layout = get_layout(contract.layout)
    needed = [joint for point in ("hip_center", "shoulder_center") for joint in layout.point(point) or ()]
    body = np.setdiff1d(np.arange(len(layout)), layout.region_indices.get("head", ()))
    found: NDArray[np.bool_] = np.asarray(keypoints[keypoints.any(axis=(1, 2, 3))].any(axis=(1, 3)))
    usable = found[:, needed].all(axis=1) & (found[:, body].mean(axis=1) >= contract.min_coverage)
    if usable.sum() < min(contract.persons, len(found)):
        lost = ", ".join(layout.joints[j] for j in body[~found[int(np.argmin(usable))][body]])
        raise CoverageError(
            f"{name}: {lost} found in no frame. The encoder needs hips and shoulders, and {contract.min_coverage:.0%} of the body's joints in {layout.name!r}. "
            "Record more of the person, or leave the clip out."
        )


def _all_streams(keypoints: FloatArray, contract: Contract) -> FloatArray:
    """The contract's streams of joints (M, T, V, C) on the channel axis: (M, T, V, streams * C)."""
    return np.concatenate([stream(keypoints, get_layout(contract.layout), s) for s in contract.streams], axis=-1)


def prepare_batch(clips: Sequence[Clip], contract: Contract, doubts: Doubts | None = None, first: int | None = None) -> FloatArray:
    """Prepared clips stacked: (N, C, T, V, M).

    Args:
        doubts: gathers what ``prepare`` would warn of; None warns here.
        first: number of the first clip in the list that these are part of, which messages then name.

    Raises:
        ClipError, CoverageError: as ``prepare``.
    """
    noted, out = doubts or noted_doubts(), np.zeros((len(clips), *contract.shape), np.float32)
    for i, clip in enumerate(clips, first or 0):
        try:
            out[i - (first or 0)], found = prepare_doubtfully(clip, contract)
        except (ClipError, CoverageError) as error:
            if first is None or clip.name == f"array[{i}]":
                raise
            raise type(error)(f"clips[{i}] ({clip.name!r}): {str(error).removeprefix(f'{clip.name}: ')}") from error
        noted.add(found, i, clip.name)
    if doubts is None:
        noted.warn()
    return out
