"""Clip + contract -> array. Every step is a named pure function on keypoints (M, T, V, C) and is listed in the contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ContractError, CoverageError
from skelzoo.skeleton.clip import Clip, FloatArray, check_clip, numbers
from skelzoo.skeleton.doubts import Doubt, Doubts, noted_doubts, warn_of_clip
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.odd_frames import odd_frames
from skelzoo.skeleton.odd_joints import odd_joints
from skelzoo.skeleton.points import interpolate, is_present, mixes
from skelzoo.skeleton.remap import MIN_COVERAGE, remap
from skelzoo.skeleton.steps import CHOOSES_PERSONS, apply_step, check_step

STREAMS = ("joint", "bone", "motion")
"""In the order in which nets of several streams have them on the channel axis."""

STREAMS_HERE = {"step": "streams"}
"""The step at which a contract computes its streams, if it says where."""

TALLEST = 20.0
"""No body of 3-D joints in metres is as tall; one in pixels is."""

FLAT = 0.02
"""Share of its height that no body is as thin as."""


@dataclass(frozen=True)
class Contract:
    """What a set of weights expects of a clip; it travels in ``config.json`` beside them.

    Attributes:
        layout: layout name of the net's joints; clips in other layouts are remapped by name.
        channels: coordinates C of a joint, 2 or 3.
        persons: M, the persons of a prepared clip; fewer are padded with zeros, more are refused unless a step chooses among them.
        frames: T, the frames of a prepared clip (the last step resamples to it).
        steps: preparation steps in order, each {"step": name, option: value, ...}; see ``skelzoo.skeleton.steps``. At
            {"step": "streams"} the streams are computed, without it after all steps; only resample can follow it (PSP: motion at
            the recording's own rate).
        streams: concatenated on the channel axis in this order: ``joint``, ``bone``, ``motion``.
        min_frames: shortest clip accepted, counted after empty frames are dropped.
        min_coverage: share of joints a remap must measure, see ``remap``.
    """

    layout: str
    channels: int
    persons: int
    frames: int
    steps: tuple[Mapping[str, Any], ...] = ()
    streams: tuple[str, ...] = ("joint",)
    min_frames: int = 2
    min_coverage: float = MIN_COVERAGE

    def __post_init__(self) -> None:
        if not isinstance(self.layout, str):
            raise ContractError(f"the contract's layout must be the name of a layout, not {self.layout!r}.")
        get_layout(self.layout)
        for name in ("channels", "persons", "frames", "min_frames"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (name == "channels" and value not in (2, 3)):
                raise ContractError(f"the contract's {name} is {value!r}; it must be {'2 or 3' if name == 'channels' else 'a whole number of at least 1'}.")
        if isinstance(self.min_coverage, bool) or not isinstance(self.min_coverage, (int, float)) or not 0 <= self.min_coverage <= 1:
            raise ContractError(f"the contract's min_coverage is {self.min_coverage!r}; it must be a number from 0 to 1.")
        for name in ("steps", "streams"):
            if not isinstance(getattr(self, name), (list, tuple)):
                raise ContractError(f"the contract's {name} must be a list, not {getattr(self, name)!r}.")
        unknown = [s for s in self.streams if s not in STREAMS]
        if unknown or not self.streams:
            raise ContractError(f"streams {list(self.streams)} are not known. Use one or more of {', '.join(STREAMS)}.")
        _check_steps(self.steps)

    @property
    def input_channels(self) -> int:
        """Channels of a prepared tensor: coordinates times streams."""
        return self.channels * len(self.streams)

    @property
    def streams_of_recording(self) -> bool:
        """Whether the streams are those of the recording's own frames, before any resampling."""
        return STREAMS_HERE in self.steps and all(s["step"] != "resample" for s in self.steps[: self.steps.index(STREAMS_HERE)])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (C, T, V, M) of one prepared clip."""
        return self.input_channels, self.frames, len(get_layout(self.layout)), self.persons

    def replace(self, **changes: Any) -> Contract:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**row, "steps": [dict(s) for s in self.steps], "streams": list(self.streams)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Contract:
        """Read back ``to_dict``.

        Raises:
            ContractError: missing, unknown or ill-typed fields.
        """
        if not isinstance(row, Mapping):
            raise ContractError(f"a contract is made of a dict, not of {type(row).__name__}. Give what contract.to_dict() gives.")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        problem = wrong_keys(row, fields, ("layout", "channels", "persons", "frames"))
        if problem:
            raise ContractError(f"the contract has other fields than it must: {problem}. Its fields are: {', '.join(fields)}.")
        for name in ("steps", "streams"):
            if not isinstance(row.get(name, []), list):
                raise ContractError(f"the contract's {name} must be a list, not {row[name]!r}.")
        return cls(**{**row, "steps": tuple(row.get("steps", ())), "streams": tuple(row.get("streams", ("joint",)))})


def wrong_keys(row: Mapping[str, Any], known: Iterable[str], needed: Iterable[str]) -> str:
    """Which keys are unknown and which are missing, for a message; "" for none."""
    unknown, missing = sorted(set(row) - set(known)), sorted(set(needed) - set(row))
    newer = f"unknown are {', '.join(unknown)}, which a newer skelzoo may have written: upgrade skelzoo then" if unknown else ""
    return "; ".join(filter(None, (newer, f"missing are {', '.join(missing)}" if missing else "")))


def _check_steps(steps: Sequence[Mapping[str, Any]]) -> None:
    for step in steps:
        if not isinstance(step, Mapping) or step.get("step") != "streams":
            check_step(step)
        elif step != STREAMS_HERE:
            raise ContractError("step 'streams' takes no options. Which they are stands in the contract's streams.")
    after = [s["step"] for s in steps[steps.index(STREAMS_HERE) + 1 :]] if STREAMS_HERE in steps else []
    wrong = [name for name in after if name != "resample"]
    if wrong:
        raise ContractError(f"step 'streams' is followed by {', '.join(wrong)}, but after it only resample can stand. Move it behind them; it stands once.")


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


def fill_missing(keypoints: Any, scores: Any = None, threshold: float = 0.0) -> FloatArray:
    """Fill NaN joints (and joints scored at or below ``threshold``) by linear interpolation over time.

    Args:
        keypoints: (M, T, V, C) or (T, V, C), NaN or infinite where unknown.
        scores: confidence (M, T, V) or (T, V); with it low-scored joints are filled too.

    Returns:
        The same shape, finite. Before the first and after the last known frame the nearest known value is held. Frames in which a person is
        absent, all zero, stay so.

    Raises:
        ClipError: a joint that is never known, or what is no array of such shapes.
    """
    x = np.array(numbers(keypoints, "fill_missing"))
    scores = scores if scores is None or isinstance(scores, np.ndarray) else numbers(scores, "fill_missing", "scores")
    if x.ndim not in (3, 4) or not x.size or (scores is not None and np.shape(scores) != x.shape[:-1]):
        raise ClipError(
            f"keypoints of shape {x.shape} and scores of shape {np.shape(scores)}: give (M, T, V, C) or (T, V, C), and scores without the last axis."
        )
    known: NDArray[np.bool_] = np.asarray(np.isfinite(x).all(-1))
    if scores is not None:
        known &= np.asarray(scores) > threshold
    present = x.any((-1, -2))
    people, seen, there = x.reshape(-1, *x.shape[-3:]), known.reshape(-1, *known.shape[-2:]), present.reshape(-1, x.shape[-3])
    for person, joint in np.ndindex(len(people), x.shape[-2]):
        ok, lost = (there[person] & found for found in (seen[person, :, joint], ~seen[person, :, joint]))
        if x.shape[-1] == 2 and lost.any() and not ok.any() and np.isfinite(people[person, :, joint]).all() and not people[person, :, joint].any():
            continue  # not found
        if lost.any() and not ok.any():
            never = np.flatnonzero(~(seen[person] & there[person, :, None]).any(axis=0)).tolist()
            where = f"keypoints[{f'{person}, ' if x.ndim == 4 else ''}:, {never}] = 0"
            step = f"2-D joints that were not found are (0, 0) for the models: {where}" if x.shape[-1] == 2 else "Use a layout without it"
            raise ClipError(f"joint {joint} of person {person} is known in no frame, so it cannot be filled. {step}.")
        if lost.any():
            interpolate(people[person, :, joint], lost, ok)
    return x


def stream(keypoints: FloatArray, layout: Layout, name: str) -> FloatArray:
    """A stream computed from joints (M, T, V, C), same shape.

    ``joint`` as is; ``bone`` joint minus parent, roots zero; ``motion`` next frame minus this one, last frame zero
    (SkeAttnCLR's views).
    """
    if name == "bone":
        parents = [p if p >= 0 else i for i, p in enumerate(layout.parents)]
        return keypoints - keypoints[:, :, parents]
    if name == "motion":
        return np.concatenate([np.diff(keypoints, axis=1), np.zeros_like(keypoints[:, :1])], axis=1)
    return keypoints


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
