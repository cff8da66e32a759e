"""Clip + contract -> array. Every step is a named pure function on keypoints (M, T, V, C) and is listed in the contract."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ContractError
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.remap import MIN_COVERAGE, remap

STREAMS = ("joint", "bone", "motion")


@dataclass(frozen=True)
class Contract:
    """What a set of weights expects of a clip; it travels in ``config.json`` beside them.

    Attributes:
        layout: layout name of the net's joints; clips in other layouts are remapped by name.
        channels: coordinates C of a joint, 2 or 3.
        persons: M, the persons of a prepared clip; fewer are padded with zeros, more are refused.
        frames: T, the frames of a prepared clip (the last step resamples to it).
        steps: preparation steps in order, each {"step": name, option: value, ...}; see ``STEPS``.
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
        unknown = [s for s in self.streams if s not in STREAMS]
        if unknown or not self.streams:
            raise ContractError(f"streams {list(self.streams)} are not known. Use one or more of {', '.join(STREAMS)}.")
        for step in self.steps:
            _check_step(step)

    @property
    def input_channels(self) -> int:
        """Channels of a prepared tensor: coordinates times streams."""
        return self.channels * len(self.streams)

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
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown, missing = set(row) - set(fields), {"layout", "channels", "persons", "frames"} - set(row)
        if unknown or missing:
            raise ContractError(f"the contract has unknown fields {sorted(unknown)} and lacks {sorted(missing)}. Its fields are: {', '.join(fields)}.")
        for name in ("steps", "streams"):
            if not isinstance(row.get(name, []), list):
                raise ContractError(f"the contract's {name} must be a list, not {row[name]!r}.")
        return cls(**{**row, "steps": tuple(row.get("steps", ())), "streams": tuple(row.get("streams", ("joint",)))})


def prepare(clip: Clip, contract: Contract) -> FloatArray:
    """One clip as the net wants it.

    Returns:
        (C, T, V, M) float32 of ``contract.shape``.

    Raises:
        ClipError: too many persons, too few frames, too few coordinates.
        CoverageError: the clip's layout does not give enough of the contract's joints.
    """
    clip = remap(clip, contract.layout, contract.min_coverage)
    keypoints = _take_channels(_present_persons(clip, contract), contract.channels, clip.name)
    frames = int(keypoints.any(axis=(0, 2, 3)).sum())
    if frames < contract.min_frames:
        raise ClipError(
            f"{clip.name}: {frames} frame(s) with a tracked person, the encoder needs at least {contract.min_frames}. Leave it out or give a longer recording."
        )
    for step in contract.steps:
        keypoints = apply_step(step, keypoints, get_layout(contract.layout))
    if keypoints.shape[1] != contract.frames:
        raise ContractError(f"the steps left {keypoints.shape[1]} frames, the contract wants {contract.frames}. End its steps with resample to that number.")
    keypoints = np.concatenate([stream(keypoints, get_layout(contract.layout), s) for s in contract.streams], axis=-1)
    out = np.zeros(contract.shape, np.float32)
    out[..., : keypoints.shape[0]] = keypoints.transpose(3, 1, 2, 0)
    return out


def _present_persons(clip: Clip, contract: Contract) -> FloatArray:
    keypoints = clip.keypoints
    if clip.persons > contract.persons:
        keypoints = keypoints[keypoints.any(axis=(1, 2, 3))]
    if len(keypoints) > contract.persons:
        raise ClipError(
            f"{clip.name}: {len(keypoints)} persons, the encoder takes {contract.persons}. Choose with skelzoo.select_persons(clip, {contract.persons}) "
            "(those that move most; --select-persons on the command line), or make one clip per person."
        )
    return keypoints


def _take_channels(keypoints: FloatArray, channels: int, name: str) -> FloatArray:
    if keypoints.shape[-1] < channels:
        raise ClipError(
            f"{name}: the clip is {keypoints.shape[-1]}-D, the encoder needs {channels}-D joints. Use a {keypoints.shape[-1]}-D encoder or lift the pose to 3-D first."
        )
    return keypoints[..., :channels]


def apply_step(step: Mapping[str, Any], keypoints: FloatArray, layout: Layout) -> FloatArray:
    """Apply one step of a contract to keypoints (M, T, V, C)."""
    options = {k: v for k, v in step.items() if k != "step"}
    result: FloatArray = STEPS[step["step"]](keypoints, layout, **options)
    return result


def _check_step(step: Mapping[str, Any]) -> None:
    name = step.get("step") if isinstance(step, Mapping) else step
    if not isinstance(name, str) or name not in STEPS:
        raise ContractError(f"no preparation step {name!r}. Known: {', '.join(STEPS)}.")
    allowed = {n: p.default for n, p in list(inspect.signature(STEPS[name]).parameters.items())[2:]}
    unknown = set(step) - {"step"} - set(allowed)
    if unknown:
        raise ContractError(f"step {name!r} has no option {', '.join(sorted(unknown))}. Its options: {', '.join(allowed) or 'none'}.")
    for option, value in step.items():
        if option != "step" and not _option_fits(value, allowed[option]):
            raise ContractError(f"step {name!r}: {option} cannot be {value!r}. Numbers are positive; the default is {allowed[option]!r}.")


def _option_fits(value: Any, default: Any) -> bool:
    """Whether an option is of the type of its default (None stands for a name), and positive if a number."""
    if default is None or isinstance(default, str):
        return isinstance(value, str) or value is default
    return (type(value) is type(default) or (type(default) is float and type(value) is int)) and 0 < value < float("inf")


def _point(keypoints: FloatArray, layout: Layout, name: str) -> FloatArray:
    """A joint or body point over time: (M, T, C)."""
    mix = layout.mix(name)
    if mix is None:
        raise ContractError(f"layout {layout.name!r} has no point {name!r}, which a preparation step needs. Use another layout or drop the step.")
    return np.asarray(sum(w * keypoints[:, :, j] for j, w in mix.items()), dtype=np.float32)


def _present(keypoints: FloatArray) -> NDArray[np.bool_]:
    """(M, T): whether the person is there in the frame (not all zero)."""
    return np.asarray(keypoints.any(axis=(2, 3)))


def _where_present(moved: FloatArray, keypoints: FloatArray) -> FloatArray:
    """Keep absent persons at exactly zero."""
    return np.where(_present(keypoints)[:, :, None, None], moved, 0).astype(np.float32)


def drop_empty_frames(keypoints: FloatArray, layout: Layout) -> FloatArray:
    """Drop frames in which nobody is tracked (every coordinate of every person is 0)."""
    return keypoints[:, _present(keypoints).any(axis=0)]


def center(keypoints: FloatArray, layout: Layout, point: str | None = None, reference: str = "first_frame") -> FloatArray:
    """Move a point to the origin.

    Args:
        point: joint or body point; None is the layout's centre.
        reference: ``first_frame`` and ``mean`` subtract one position for the whole clip, the first present
            person's, so that travel and the distance between persons stay; ``every_frame`` subtracts each person's
            own point in each frame (SkeAttnCLR and PSP data), so that all travel is lost.
    """
    where = _point(keypoints, layout, point or layout.center)
    present = _present(keypoints)
    if reference == "every_frame":
        origin = where[:, :, None]
    elif reference in ("first_frame", "mean"):
        person = int(present.any(axis=1).argmax())
        seen = where[person, present[person]]
        origin = seen[0] if reference == "first_frame" else seen.mean(axis=0)
    else:
        raise ContractError(f"center: reference {reference!r} is not known. Use first_frame, mean or every_frame.")
    return _where_present(keypoints - origin, keypoints)


def scale_torso(keypoints: FloatArray, layout: Layout, length: float = 1.0) -> FloatArray:
    """Scale the clip so that the median distance from hip centre to shoulder centre is ``length``.

    All persons share one scale, the first present person's, so that relative height stays.
    """
    present = _present(keypoints)
    person = int(present.any(axis=1).argmax())
    torso = _point(keypoints, layout, "shoulder_center") - _point(keypoints, layout, "hip_center")
    size = float(np.median(np.linalg.norm(torso[person, present[person]], axis=-1)))
    if size < 1e-6:
        raise ClipError(
            "the distance from hip centre to shoulder centre is zero, so the clip cannot be scaled by its torso. Check the joint order of the recording."
        )
    return (keypoints * (length / size)).astype(np.float32)


def yaw(keypoints: FloatArray, layout: Layout, reference: str = "first_frame") -> FloatArray:
    """Turn the clip about the vertical (y) axis so that the first present person faces +z.

    Facing is judged from the line right to left through hips and shoulders together, which the turn lays along +x.

    Args:
        reference: ``first_frame`` or ``mean`` (the average line over the clip, steadier for noisy trackers).
    """
    if keypoints.shape[-1] != 3:
        raise ContractError("yaw needs 3-D joints. Drop the step from a 2-D contract.")
    across = sum((_point(keypoints, layout, f"left_{p}") - _point(keypoints, layout, f"right_{p}")) for p in ("hip", "shoulder"))
    present = _present(keypoints)
    person = int(present.any(axis=1).argmax())
    line = np.asarray(across)[person, present[person]]
    if reference not in ("first_frame", "mean"):
        raise ContractError(f"yaw: reference {reference!r} is not known. Use first_frame or mean.")
    x, _, z = line[0] if reference == "first_frame" else line.mean(axis=0)
    angle = np.arctan2(z, x)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32)
    return np.asarray(keypoints @ turn.T, dtype=np.float32)


def yaw_every_frame(keypoints: FloatArray, layout: Layout) -> FloatArray:
    """The rotation of the SkeAttnCLR data: every person and frame apart, right shoulder minus left laid along x.

    theta = arccos(v_x / (|v| + 1e-4)) of v = right - left shoulder in the ground plane, negated for the whole clip
    where the sum of v_z is not negative. All turning of the person is lost.
    """
    if keypoints.shape[-1] != 3:
        raise ContractError("yaw_every_frame needs 3-D joints. Drop the step from a 2-D contract.")
    across = _point(keypoints, layout, "right_shoulder") - _point(keypoints, layout, "left_shoulder")
    x, z = across[..., 0], across[..., 2]
    angle = np.arccos(x / (np.hypot(x, z) + 1e-4))
    angle = np.where(z.sum(axis=1, keepdims=True) >= 0, -angle, angle)[..., None]
    px, py, pz = np.moveaxis(keypoints, -1, 0)
    return np.stack([np.cos(angle) * px - np.sin(angle) * pz, py, np.sin(angle) * px + np.cos(angle) * pz], axis=-1).astype(np.float32)


def first_tracked_frames(keypoints: FloatArray, layout: Layout) -> FloatArray:
    """Keep the first L frames, L being how many frames have the first person's first joint off the origin (SkeAttnCLR data)."""
    return keypoints[:, : int(keypoints[0, :, 0].any(axis=-1).sum())]


def median_filter(keypoints: FloatArray, layout: Layout, frames: int = 3) -> FloatArray:
    """Median over a sliding window of an odd number of frames: takes out single-frame tracking jumps."""
    half = frames // 2
    padded = np.pad(keypoints, ((0, 0), (half, half), (0, 0), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
    return _where_present(np.median(windows, axis=-1).astype(np.float32), keypoints)


def resample(keypoints: FloatArray, layout: Layout, frames: int = 64, method: str = "linear") -> FloatArray:
    """Bring the clip to a fixed number of frames over its whole length.

    Args:
        method: ``linear`` interpolates at equal steps from the first to the last frame; ``uniform_index`` takes
            existing frames, the middle one of each of ``frames`` equal segments (deterministic form of the uniform
            sampling of PoseConv3D); ``half_pixel`` interpolates with half-pixel centres and edge clamp (the
            SkeAttnCLR data).
    """
    length = keypoints.shape[1]
    if method == "uniform_index":
        return np.ascontiguousarray(keypoints[:, ((np.arange(frames) + 0.5) * length / frames).astype(int)])
    if method == "linear":
        position = np.linspace(0, length - 1, frames)
    elif method == "half_pixel":
        position = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    else:
        raise ContractError(f"resample: method {method!r} is not known. Use linear, half_pixel or uniform_index.")
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, length - 1)
    weight = (position - low).astype(np.float32)[None, :, None, None]
    return np.asarray(keypoints[:, low] * (1 - weight) + keypoints[:, high] * weight, dtype=np.float32)


def most_moving(keypoints: FloatArray, layout: Layout, count: int = 1) -> FloatArray:
    """Keep the ``count`` persons with the highest motion energy, most moving first.

    Motion energy is the sum over frames and joints of squared displacement between consecutive frames in
    which the person is present, so that entering and leaving the picture do not count as motion.
    """
    return keypoints if len(keypoints) <= count else keypoints[_motion_order(keypoints)[:count]]


def _motion_order(keypoints: FloatArray) -> NDArray[np.intp]:
    present = _present(keypoints)
    both = (present[:, 1:] & present[:, :-1])[:, :, None, None]
    energy = (np.where(both, np.diff(keypoints, axis=1), 0) ** 2).sum(axis=(1, 2, 3))
    return np.argsort(-energy, kind="stable")


STEPS: Mapping[str, Callable[..., FloatArray]] = {
    f.__name__: f for f in (drop_empty_frames, first_tracked_frames, center, scale_torso, yaw, yaw_every_frame, median_filter, resample, most_moving)
}
"""Preparation steps by the name they have in a contract."""


def select_persons(clip: Clip, count: int = 1) -> Clip:
    """The clip with only its ``count`` most moving persons, see ``most_moving``."""
    order = _motion_order(clip.keypoints)[:count]
    if clip.persons <= count:
        return clip
    return clip.replace(keypoints=clip.keypoints[order], scores=None if clip.scores is None else clip.scores[order])


def fill_missing(keypoints: Any, scores: Any = None, threshold: float = 0.0) -> FloatArray:
    """Fill NaN joints (and joints scored at or below ``threshold``) by linear interpolation over time.

    Args:
        keypoints: (M, T, V, C) or (T, V, C), NaN or infinite where unknown.
        scores: confidence (M, T, V) or (T, V); with it low-scored joints are filled too.

    Returns:
        The same shape, finite. Before the first and after the last known frame the nearest known value is held.

    Raises:
        ClipError: a joint that is never known, or shapes that do not fit.
    """
    x = np.array(keypoints, dtype=np.float32)
    if x.ndim not in (3, 4) or (scores is not None and np.shape(scores) != x.shape[:-1]):
        raise ClipError(
            f"keypoints of shape {x.shape} and scores of shape {np.shape(scores)}: give (M, T, V, C) or (T, V, C), and scores without the last axis."
        )
    known: NDArray[np.bool_] = np.asarray(np.isfinite(x).all(-1))
    if scores is not None:
        known &= np.asarray(scores) > threshold
    frames = np.arange(x.shape[-3])
    for index in np.ndindex(*x.shape[:-3], x.shape[-2]):
        *person, joint = index
        ok = known[(*person, slice(None), joint)]
        if not ok.any():
            raise ClipError(f"joint {joint} of person {person[0] if person else 0} is known in no frame, so it cannot be filled. Use a layout without it.")
        if not ok.all():
            for c in range(x.shape[-1]):
                track = x[(*person, slice(None), joint, c)]
                track[~ok] = np.interp(frames[~ok], frames[ok], track[ok])
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


def prepare_batch(clips: Sequence[Clip], contract: Contract) -> FloatArray:
    """Prepared clips stacked: (N, C, T, V, M)."""
    return np.stack([prepare(clip, contract) for clip in clips]) if clips else np.zeros((0, *contract.shape), np.float32)
