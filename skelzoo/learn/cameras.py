"""Simulated cameras: 3-D clips as a pose estimator would report them from a video, or a depth camera's tracker. This project's own.

Batches are (N, C, T, V, M) with y up, and everything is drawn per clip. Lengths are in trunks, the median distance from hip centre to
shoulder centre (about half a metre), so that clips of any unit will do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from skelzoo.errors import ClipError, CoverageError, TrainingError
from skelzoo.learn.joints import joints_on
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.contract import STREAMS_HERE, Contract
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.remap import coverage

SEEN, STORED = "coco17", "kinect20"
"""Layout that cameras give, and the 3-D one in which a recipe keeps the clips that it films anew at every step."""

FILMED = ({"step": "fill_gaps"}, {"step": "center", "point": "hip_center", "reference": "mean"}, {"step": "scale_torso", "length": 1.0})
"""Steps that leave joints as ``film_joints`` gives them, beside those of ``TIMING``, which change no joint of a frame."""

TIMING = frozenset({"drop_empty_frames", "resample", "streams"})

PICTURE = (1080, 1920)
"""Height and width of ``film``'s picture in pixels."""

PITCH, DISTANCE, NEAREST = (-10.0, 30.0), (5.0, 12.0), 3.0
"""Degrees that the camera looks down, trunks that it is away, and the least of them between it and any joint."""

FACE: Mapping[str, tuple[float, float, float]] = {
    "nose": (0.0, 0.0, 0.45),
    "left_eye": (0.15, 0.15, 0.4),
    "right_eye": (-0.15, 0.15, 0.4),
    "left_ear": (0.35, 0.0, 0.0),
    "right_ear": (-0.35, 0.0, 0.0),
}
"""Points of the face that a layout lacks, from its head joint: to the left, up and forward, in distances from shoulder centre to head.
Left is along the shoulders and up from shoulder centre to head, so that the head always looks where the chest does."""


def film(clip: Clip, seed: int) -> Clip:
    """A 3-D clip (y up, any layout) as a pose estimator reports it: COCO joints in pixels, with scores.

    The camera stands as in ``watch``, at most 90 degrees to either side of the person's mean facing, and has the whole clip in its picture.

    Args:
        seed: of all that is drawn; the same clip and seed give the same result.

    Returns:
        A ``coco17`` clip of the same persons and frames with ``scores`` and ``image_size``; joints not found are (0, 0) with score 0.

    Raises:
        ClipError: the clip is 2-D.
        CoverageError: the layout cannot tell where a joint of COCO's is.
    """
    if clip.channels != 3:
        raise ClipError(f"{clip.name}: a camera films 3-D joints, these are 2-D. Use the clip as it is.")
    generator = torch.Generator().manual_seed(seed)
    seen = watch(coco_body(rearrange(torch.tensor(clip.keypoints), "m t v c -> 1 c t v m"), clip.layout), generator=generator)
    seen = rearrange(seen, "1 c t v m -> m t v c")
    points, scores = seen[..., :2], seen[..., 2]
    found = (scores > 0)[..., None].expand(points.shape)
    low, high = (torch.where(found, points, -sign * torch.inf).mul(sign).amax((0, 1, 2)) * sign for sign in (-1, 1))
    room, share = torch.tensor(PICTURE[::-1]), torch.rand(3, generator=generator)
    zoom = (0.4 + 0.5 * share[0]) * (room / (high - low)).min()
    corner = share[1:] * (room - zoom * (high - low))
    pixels = torch.where(found, (points - low) * zoom + corner, 0)
    return Clip(pixels, SEEN, clip.fps, scores, clip.label, clip.name, PICTURE)


def as_read(clip: Clip, contract: Contract, seed: int) -> Clip:
    """The clip as an encoder of this contract can read it: filmed where the clip is 3-D and the contract of camera pictures."""
    return film(clip, seed) if contract.layout == SEEN and clip.channels == 3 else clip


def stored_contract(contract: Contract, frames: int, filmed: bool, native: bool = False) -> Contract:
    """How a recipe keeps clips for its augmentations: joints by the contract, or 3-D ones to ``film_joints``.

    Args:
        frames: that are kept.
        filmed: whether the augmentations begin with ``film_joints``.
        native: keep the recording's own frames, with empty ones behind them, of a contract that computes its streams from these.
    """
    if filmed:
        return Contract(
            STORED, 3, contract.persons, frames, ({"step": "drop_empty_frames"}, {"step": "resample", "frames": frames}), min_frames=contract.min_frames
        )
    if native:
        steps = (*contract.steps[: contract.steps.index(STREAMS_HERE)], {"step": "pad", "frames": frames})
    else:
        steps = tuple({**s, "frames": frames} if s["step"] == "resample" else s for s in contract.steps)
    return contract.replace(steps=steps, frames=frames, streams=("joint",))


def is_filmed(contract: Contract) -> bool:
    """Whether clips prepared by the contract are centred and scaled as ``film_joints`` leaves those that it films."""
    defaults: Mapping[str, Mapping[str, Any]] = {"center": {"point": get_layout(SEEN).center}, "scale_torso": {"length": 1.0}}
    steps = [{**defaults.get(s["step"], {}), **s} for s in contract.steps if s["step"] not in TIMING]
    return contract.layout == SEEN and steps == list(FILMED)


def film_joints(x: Tensor, degrees: float = 90.0) -> Tensor:
    """Film ``kinect20`` joints: (N, 3, T, 20, M) -> (N, 2, T, 17, M), as steps ``fill_gaps``, ``center`` (mean) and ``scale_torso`` leave them.

    Args:
        degrees: most yaw of the camera to either side.

    Raises:
        TrainingError: joints of another shape.
    """
    _check_stored("film_joints", x)
    seen = watch(coco_body(x, get_layout(STORED)), degrees)
    points = _fill_gaps(seen[:, :2], seen[:, 2:] > 0)
    hips, shoulders = (points[:, :, :, _pair(part, x.device), :1].mean(3, keepdim=True) for part in ("hip", "shoulder"))
    here = points[..., :1].any(1, keepdim=True).any(3, keepdim=True)
    origin = _mean_where(hips, here)
    trunk = _median_where((shoulders - hips).norm(dim=1, keepdim=True), here)
    there = points.any(1, keepdim=True).any(3, keepdim=True)
    return torch.where(there, (points - origin) / trunk, 0)


def _check_stored(name: str, x: Tensor) -> None:
    if x.shape[1] != 3 or x.shape[3] != len(get_layout(STORED)):
        raise TrainingError(f"{name} takes 3-D joints of {STORED}, these are {x.shape[3]} of {x.shape[1]} coordinates. Let it be the first augmentation.")


def coco_body(x: Tensor, layout: Layout) -> Tensor:
    """3-D joints of any layout (N, 3, T, V, M) -> COCO's (N, 3, T, 17, M); points of the face that it lacks by ``FACE``.

    Raises:
        CoverageError: the layout cannot tell where a joint is.
    """
    mixes = {name: layout.point(name) for name in (*get_layout(SEEN).joints, "head", "shoulder_center")}
    lacking = [name for name, mix in mixes.items() if mix is None and name not in FACE]
    if lacking:
        raise CoverageError(
            f"a camera cannot film layout {layout.name!r}: nothing tells where {', '.join(lacking)} is.\n{coverage(layout, SEEN)}\n"
            "Have your joint names matched by skelzoo.layout_from_names(names, parents), or describe the missing points with skelzoo.make_layout(..., points=...)."
        )
    known = {name: torch.stack([w * x[:, :, :, j] for j, w in mix.items()]).sum(0) for name, mix in mixes.items() if mix is not None}
    neck = known["head"] - known["shoulder_center"]
    size = neck.norm(dim=1, keepdim=True)
    up = F.normalize(neck, dim=1)
    across = known["left_shoulder"] - known["right_shoulder"]
    left = F.normalize(across - (across * up).sum(1, keepdim=True) * up, dim=1)
    axes = (left, up, torch.linalg.cross(left, up, dim=1))
    derived = {name: known["head"] + size * sum(w * a for w, a in zip(place, axes, strict=True)) for name, place in FACE.items()}
    return torch.stack([{**derived, **known}[name] for name in get_layout(SEEN).joints], 3)


def watch(body: Tensor, degrees: float = 90.0, generator: torch.Generator | None = None) -> Tensor:
    """What an estimator reports of 3-D COCO joints (N, 3, T, 17, M) that a random camera sees: x, y and score (N, 3, T, 17, M).

    The camera stands up to ``degrees`` of yaw to either side of the way the people face on average over the clip, 5 to 12 trunks away,
    and looks 10 degrees up to 30 down. Scores fall for what lies behind the body's middle, and drift; points miss by noise half of
    which drifts too, larger where the score is low. A joint of 20 is lost for up to half of the clip; in a clip of 10, left and
    right are exchanged for up to a tenth of it.

    Returns:
        x to the right, y down, in trunks at the people's distance; absent people and lost joints are zero.
    """
    draw = _Draw(body, generator)
    there = body.any(1, keepdim=True).any(3, keepdim=True)
    x, y, z = _before_camera(body, there, draw, degrees)
    distance = torch.maximum(draw.uniform((len(body), 1, 1, 1, 1), *DISTANCE), (z * there).amax((1, 2, 3, 4), keepdim=True) + NEAREST)
    points = torch.cat([x, -y], 1) * distance / (distance - z)

    return _reported(points, z, there, get_layout(SEEN), draw)


def sense_joints(x: Tensor, degrees: float = 90.0, probability: float = 1.0) -> Tensor:
    """What a depth camera's tracker reports of ``kinect20`` joints (N, 3, T, 20, M), as steps ``center``, ``scale_torso`` and ``yaw`` leave them.

    The camera stands up to ``degrees`` to either side of where people face; errors are those of ``watch``, in depth too, and lost joints are interpolated.

    Args:
        probability: that a clip gets them; else it stays as it is.

    Raises:
        TrainingError: joints of another shape.
    """
    _check_stored("sense_joints", x)
    draw = _Draw(x, None)
    there = x.any(1, keepdim=True).any(3, keepdim=True)
    yaw = draw.uniform((len(x), 1, 1, 1, 1), -degrees, degrees) * math.pi / 180
    seen = _reported(x, yaw.sin() * x[:, :1] + yaw.cos() * x[:, 2:], there, get_layout(STORED), draw)
    sensed = draw.uniform((len(x), 1, 1, 1, 1)) < probability
    return torch.where(sensed, _fill_gaps(seen[:, :3], seen[:, 3:] > 0), x)


def _reported(points: Tensor, depth: Tensor, there: Tensor, layout: Layout, draw: _Draw) -> Tensor:
    """Joints (N, C, T, V, M) with an estimator's errors, then scores: (N, C + 1, T, V, M), zero for absent people and lost joints.

    Args:
        depth: how far towards the camera each joint is, (N, 1, T, V, M).
    """
    n, _, frames, joints, persons = points.shape
    trunk = tuple(joint for part in ("hip", "shoulder") for side in ("left", "right") for joint in layout.point(f"{side}_{part}") or ())
    middle = depth[:, :, :, joints_on(depth.device, trunk)].mean(3, keepdim=True)
    score = (0.95 - 0.4 * (middle - depth).clamp(0, 1) - 0.15 * draw.drift((n, 1, frames, joints, persons)).abs()).clamp(min=0.05)
    error = 0.7 * (draw.drift(tuple(points.shape)) + draw.normal(tuple(points.shape)))
    seen = torch.cat([points + draw.uniform((n, 1, 1, 1, 1), 0.01, 0.04) * (5 - 4 * score) * error, score], 1)

    exchanged = draw.stretch((n, 1, frames, 1, 1), 0.1, 0.1)
    seen = torch.where(exchanged, seen[:, :, :, joints_on(seen.device, tuple(layout.mirror_permutation))], seen)
    lost = draw.stretch((n, 1, frames, joints, persons), 0.05, 0.5)
    return torch.where(there & ~lost, seen, 0)


def _before_camera(body: Tensor, there: Tensor, draw: _Draw, degrees: float) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and z (N, 1, T, 17, M) in trunks around the people's mean place, the camera far out on +z."""
    hips, shoulders = (body[:, :, :, _pair(part, body.device)] for part in ("hip", "shoulder"))
    trunk = _median_where((shoulders - hips).mean(3, keepdim=True).norm(dim=1, keepdim=True), there)
    across = _mean_where((hips + shoulders)[:, :, :, :1] - (hips + shoulders)[:, :, :, 1:], there)
    x, y, z = ((body - _mean_where(hips.mean(3, keepdim=True), there)) / trunk).chunk(3, dim=1)
    yaw = torch.atan2(across[:, 2:], across[:, :1]) + draw.uniform((len(body), 1, 1, 1, 1), -degrees, degrees) * math.pi / 180
    x, z = yaw.cos() * x + yaw.sin() * z, yaw.cos() * z - yaw.sin() * x
    pitch = draw.uniform((len(body), 1, 1, 1, 1), *PITCH) * math.pi / 180
    return x, pitch.cos() * y - pitch.sin() * z, pitch.sin() * y + pitch.cos() * z


class _Draw:
    """Random numbers like a tensor: from a generator, or torch's global one."""

    def __init__(self, like: Tensor, generator: torch.Generator | None) -> None:
        self.like, self.generator = like, generator

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.like.device, dtype=self.like.dtype)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.like.device, dtype=self.like.dtype)

    def drift(self, shape: tuple[int, ...], every: int = 8) -> Tensor:
        """Noise of (N, C, T, V, M) that changes slowly: N(0, 1) every so many frames, linear in between."""
        n, c, frames, v, m = shape
        knots = self.normal((n, c * v * m, frames // every + 2))
        return rearrange(F.interpolate(knots, size=frames, mode="linear", align_corners=True), "n (c v m) t -> n c t v m", c=c, v=v)

    def stretch(self, shape: tuple[int, ...], probability: float, longest: float) -> Tensor:
        """(N, 1, T, V, M) bool: with this probability true in one stretch of up to ``longest`` of the frames."""
        frames, rows = shape[2], (shape[0], 1, 1, *shape[3:])
        length = self.uniform(rows, 0, longest * frames) * (self.uniform(rows) < probability)
        start = self.uniform(rows) * (frames - length)
        at = torch.arange(frames, device=self.like.device)[:, None, None] + 0.5
        return (at >= start) & (at < start + length)


def _pair(part: str, device: torch.device) -> Tensor:
    """Indices of the left and the right one in COCO."""
    return joints_on(device, tuple(get_layout(SEEN).index(f"{side}_{part}") for side in ("left", "right")))


def _mean_where(x: Tensor, here: Tensor) -> Tensor:
    """Mean of (N, C, T, V, M) over frames and persons that are there: (N, C, 1, V, 1)."""
    return (x * here).sum((2, 4), keepdim=True) / here.sum((2, 4), keepdim=True).clamp(min=1)


def _median_where(x: Tensor, here: Tensor) -> Tensor:
    """Median of (N, 1, T, 1, M) over what is there: (N, 1, 1, 1, 1), above zero."""
    return torch.where(here, x, torch.nan).flatten(1).nanquantile(0.5, dim=1).nan_to_num(1.0).clamp(min=1e-6)[:, None, None, None, None]


def _fill_gaps(x: Tensor, found: Tensor) -> Tensor:
    """Step ``fill_gaps`` on a batch: (N, C, T, V, M) and which are found (N, 1, T, V, M)."""
    frames = x.shape[2]
    at = torch.arange(frames, device=x.device)[:, None, None].expand(found.shape)
    before = torch.where(found, at, -1).cummax(2).values
    after = torch.where(found, at, frames).flip(2).cummin(2).values.flip(2)
    low, high = torch.where(before < 0, after, before).clamp(max=frames - 1), torch.where(after == frames, before, after).clamp(min=0)
    weight = (at - low) / (high - low).clamp(min=1)
    low, high = (i.expand(x.shape) for i in (low, high))
    filled = torch.lerp(x.gather(2, low), x.gather(2, high), weight.to(x.dtype))
    ever = found.any(2, keepdim=True)
    middle = (filled * ever).sum(3, keepdim=True) / ever.sum(3, keepdim=True).clamp(min=1)
    return torch.where(found.any(3, keepdim=True), torch.where(ever, filled, middle), 0)
