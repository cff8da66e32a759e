"""Preparation steps and streams: pure functions on keypoints (M, T, V, C), known to a contract by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ContractError
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.layouts import FACE_POINTS, Layout
from skelzoo.skeleton.points import interpolate, is_found, is_present, point_track
from skelzoo.skeleton.steps_psp import center_opening, likely_persons, scale_spine, stand_upright

FROM_CLIP = "image_size"
"""The parameter of a step that comes from the clip, not from the contract."""


def apply_step(step: Mapping[str, Any], keypoints: FloatArray, layout: Layout, image_size: tuple[int, int] | None = None) -> FloatArray:
    """Apply one step of a contract to keypoints (M, T, V, C) of a clip with that ``image_size``.

    Raises:
        ClipError: the clip has nothing for the step to go by, or no frame is left.
        ContractError: options that the step does not know.
    """
    options, run = {k: v for k, v in step.items() if k != "step"}, STEPS[step["step"]]
    if _takes_picture(step["step"]):
        options[FROM_CLIP] = image_size
    result: FloatArray = run(keypoints, layout, **options)
    if result.shape[1] == 0:
        raise ClipError(f"step {step['step']!r} leaves no frame. Give raw recordings: persons in their place, absent ones all zero.")
    return result


@cache  # a signature takes longer than most steps
def _takes_picture(name: str) -> bool:
    return FROM_CLIP in inspect.signature(STEPS[name]).parameters


def check_step(step: Mapping[str, Any]) -> None:
    """Raise ContractError unless a row of a contract is a known step with options it takes."""
    name = step.get("step") if isinstance(step, Mapping) else step
    if not isinstance(name, str) or name not in STEPS:
        raise ContractError(f"no preparation step {name!r}. Known: {', '.join(STEPS)}.")
    allowed = _defaults(name)
    unknown = set(step) - {"step"} - set(allowed)
    if unknown:
        raise ContractError(f"step {name!r} has no option {', '.join(sorted(unknown))}. Its options: {', '.join(allowed) or 'none'}.")
    for option, value in step.items():
        if option != "step" and not _option_fits(value, allowed[option]):
            raise ContractError(f"step {name!r}: {option} cannot be {value!r}. Numbers are positive; the default is {allowed[option]!r}.")


def with_defaults(step: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a contract with all options of its step, those left out at their default."""
    name = step["step"]
    return {"step": name, **(_defaults(name) if name in STEPS else {}), **step}


def _defaults(name: str) -> dict[str, Any]:
    return {n: p.default for n, p in list(inspect.signature(STEPS[name]).parameters.items())[2:] if n != FROM_CLIP}


def _option_fits(value: Any, default: Any) -> bool:
    """Whether an option is of the type of its default (None stands for a name), and positive if a number."""
    if default is None or isinstance(default, str):
        return isinstance(value, str) or value is default
    return (type(value) is type(default) or (type(default) is float and type(value) is int)) and 0 < value < float("inf")


def _first_person(present: NDArray[np.bool_]) -> int:
    """The first person who is there in some frame."""
    if not present.any():
        raise ClipError("all joints are at one point in every frame, so the clip cannot be centred, scaled or turned. Leave this recording out.")
    return int(present.any(axis=1).argmax())


def _where_present(moved: FloatArray, keypoints: FloatArray) -> FloatArray:
    """Keep absent persons at exactly zero."""
    return np.where(is_present(keypoints)[:, :, None, None], moved, 0).astype(np.float32)


def drop_empty_frames(keypoints: FloatArray, layout: Layout) -> FloatArray:
    """Drop frames in which nobody is tracked (every coordinate of every person is 0)."""
    return keypoints[:, is_present(keypoints).any(axis=0)]


def fill_gaps(keypoints: FloatArray, layout: Layout | None = None) -> FloatArray:
    """Fill joints at exactly zero, where pose estimators put those they do not find, by linear interpolation over time.

    Before the first and after the last frame that has the joint its nearest position is held; a joint that the person never has
    goes to the mean of their others in the frame, one of the face to the face, or where that ought to be. Frames without the person stay zero.
    """
    filled = keypoints.copy()
    found = is_found(keypoints)
    here = is_present(keypoints)
    for person, joint in np.argwhere(found.any(axis=1) & (here[:, :, None] & ~found).any(axis=1)):
        ok = found[person, :, joint]
        interpolate(filled[person, :, joint], ~ok, ok)
    for person in np.flatnonzero(here.any(axis=1)):
        ever = found[person].any(axis=0)
        filled[person][:, ~ever] = filled[person][:, ever].mean(axis=1, keepdims=True)
        if layout is not None:
            _place_face(filled[person], ever, layout)
    return _where_present(filled, keypoints)


def _place_face(person: FloatArray, ever: NDArray[np.bool_], layout: Layout) -> None:
    """Put joints (T, V, C) of the face that are never found, (V,) bool, to the middle of those that are, or above the shoulders by half a trunk."""
    face = np.array([layout.own.get(joint) in FACE_POINTS for joint in layout.joints])
    trunk = ("shoulder_center", "hip_center")
    if (face & ever).any():
        person[:, face & ~ever] = person[:, face & ever].mean(axis=1, keepdims=True)
    elif all((mix := layout.point(point)) and ever[list(mix)].all() for point in trunk):
        shoulders, hips = (point_track(person[None], layout, point)[0] for point in trunk)
        person[:, face] = (shoulders + (shoulders - hips) / 2)[:, None]


def center(keypoints: FloatArray, layout: Layout, point: str | None = None, reference: str = "first_frame") -> FloatArray:
    """Move a point to the origin.

    Args:
        point: joint or body point; None is the layout's centre.
        reference: ``first_frame`` and ``mean`` subtract one position for the whole clip, the first present
            person's, so that travel and the distance between persons stay; ``every_frame`` subtracts each person's
            own point in each frame (SkeAttnCLR data), so that all travel is lost.
    """
    where = point_track(keypoints, layout, point or layout.center)
    present = is_present(keypoints)
    if reference == "every_frame":
        origin = where[:, :, None]
    elif reference in ("first_frame", "mean"):
        person = _first_person(present)
        seen = where[person, present[person]]
        origin = seen[0] if reference == "first_frame" else seen.mean(axis=0)
    else:
        raise ContractError(f"center: reference {reference!r} is not known. Use first_frame, mean or every_frame.")
    return _where_present(keypoints - origin, keypoints)


def normalize_image(keypoints: FloatArray, layout: Layout, image_size: tuple[int, int] | None) -> FloatArray:
    """Pixels to -1..1 over the picture: (x - w/2) / (w/2), (y - h/2) / (h/2) (PoseConv3D's and PYSKL's 2-D normalisation, without its threshold).

    Args:
        image_size: (height, width) of the picture in pixels.
    """
    if keypoints.shape[-1] != 2:
        raise ContractError("normalize_image needs 2-D joints. Drop the step from a 3-D contract.")
    if image_size is None:
        raise ClipError(
            "the encoder needs joints in pixels and the size of their picture. Set image_size=(height, width) in skelzoo.Clip or skelzoo.clips_from_array."
        )
    half = np.array([n / 2 for n in reversed(image_size)], np.float32)
    return _where_present((keypoints - half) / half, keypoints)


def scale_torso(keypoints: FloatArray, layout: Layout, length: float = 1.0) -> FloatArray:
    """Scale the clip so that the median distance from hip centre to shoulder centre is ``length``.

    All persons share one scale, the first present person's, so that relative height stays.
    """
    present = is_present(keypoints)
    person = _first_person(present)
    torso = point_track(keypoints, layout, "shoulder_center") - point_track(keypoints, layout, "hip_center")
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
    across = sum((point_track(keypoints, layout, f"left_{p}") - point_track(keypoints, layout, f"right_{p}")) for p in ("hip", "shoulder"))
    present = is_present(keypoints)
    person = _first_person(present)
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
    across = point_track(keypoints, layout, "right_shoulder") - point_track(keypoints, layout, "left_shoulder")
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
            sampling of PoseConv3D); ``floor_index`` takes the first frame of each segment (PSP's test clips); ``half_pixel``
            interpolates with half-pixel centres and edge clamp (the SkeAttnCLR data).
    """
    length = keypoints.shape[1]
    place_in_segment = {"uniform_index": 0.5, "floor_index": 0.0}.get(method)
    if place_in_segment is not None:
        return np.ascontiguousarray(keypoints[:, ((np.arange(frames) + place_in_segment) * length / frames).astype(int)])
    if method == "linear":
        position = np.linspace(0, length - 1, frames)
    elif method == "half_pixel":
        position = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    else:
        raise ContractError(f"resample: method {method!r} is not known. Use linear, half_pixel, uniform_index or floor_index.")
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, length - 1)
    weight = (position - low).astype(np.float32)[None, :, None, None]
    return np.asarray(keypoints[:, low] * (1 - weight) + keypoints[:, high] * weight, dtype=np.float32)


def pad(keypoints: FloatArray, layout: Layout, frames: int = 300) -> FloatArray:
    """Put frames without anyone behind the clip, up to a fixed number."""
    if keypoints.shape[1] > frames:
        raise ClipError(f"has {keypoints.shape[1]} frames, and at most {frames} are kept. Keep more, or cut it into shorter windows.")
    return np.pad(keypoints, ((0, 0), (0, frames - keypoints.shape[1]), (0, 0), (0, 0)))


def most_moving(keypoints: FloatArray, layout: Layout, count: int = 1) -> FloatArray:
    """Keep the ``count`` persons with the highest motion energy, most moving first.

    Motion energy is the sum, over pairs of joints and the frames in which the person is present, of the squared deviation of their
    distance from its mean. So walking past, turning round, entering the picture, a short track and a tracker's trembling count
    little. Gaps are filled first, see ``fill_gaps``.
    """
    return keypoints if len(keypoints) <= count else keypoints[motion_order(keypoints)[:count]]


def motion_order(keypoints: FloatArray) -> NDArray[np.intp]:
    """Indices of the persons by falling motion energy, see ``most_moving``."""
    present, filled = is_present(keypoints), fill_gaps(keypoints)
    energy = np.zeros(len(keypoints))
    for m in np.flatnonzero(present.any(axis=1)):
        pose = filled[m, present[m]] - filled[m, present[m]].mean(axis=1, keepdims=True)
        for joint in range(pose.shape[1]):
            distance = np.linalg.norm(pose - pose[:, joint, None], axis=2)
            energy[m] += ((distance - distance.mean(axis=0)) ** 2).sum()
    return np.argsort(-energy, kind="stable")


STEPS: Mapping[str, Callable[..., FloatArray]] = {
    f.__name__: f
    for f in (
        drop_empty_frames, first_tracked_frames, fill_gaps, center, center_opening, normalize_image, scale_torso, scale_spine, yaw, yaw_every_frame, stand_upright,
        median_filter, resample, pad, most_moving, likely_persons,
    )
}  # fmt: skip
"""Preparation steps by the name they have in a contract."""

CHOOSES_PERSONS = frozenset({"most_moving", "likely_persons"})
"""Steps after which at most ``count`` persons are left."""


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
